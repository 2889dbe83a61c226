package deps

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scenarios says how many there are in each group of docs/conformance.md.
var scenarios = map[string]int{"A": 15, "B": 22, "C": 21, "D": 16, "E": 14, "F": 11, "G": 13, "H": 28, "I": 22, "J": 5, "K": 13}

var (
	// conformanceRow is a row of a table: the scenario, or the first and the last of several, and where it is shown.
	conformanceRow = regexp.MustCompile(`^\| ([A-K])(\d+)(?:–([A-K])(\d+))? \| [^|]+ \| ([^|]+) \|$`)
	// namedTest is a test as that page names it: package, if not the root, function, and what is meant of it.
	namedTest = regexp.MustCompile("`(?:([a-z/]+)\\.)?((?:Test|Fuzz|Example)\\w*)(?:/([^`]+))?`")
)

// TestConformance checks that docs/conformance.md has each scenario once, that a row without a test says why, and that the
// tests it names are in the tree, with the row, sub-test or script that it means.
func TestConformance(t *testing.T) {
	b, err := os.ReadFile(root + "/docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	tree := namedTests(t)
	seen := map[string]int{}
	named := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		row := conformanceRow.FindStringSubmatch(line)
		if row == nil {
			if strings.HasPrefix(line, "|") && line != "| | scenario | shown by |" && line != "|---|---|---|" {
				t.Errorf("not a row: %s", line)
			}
			continue
		}
		for _, id := range rowScenarios(t, row) {
			seen[id]++
		}
		tests := namedTest.FindAllStringSubmatch(row[5], -1)
		if reason := strings.HasPrefix(row[5], "*Not here*: ") || strings.HasPrefix(row[5], "*To come*"); len(tests) == 0 && !reason {
			t.Errorf("%s%s names no test and no reason", row[1], row[2])
		}
		if strings.Count(row[5], "`") != 2*len(tests) {
			t.Errorf("%s%s names something that is no test: %s", row[1], row[2], row[5])
		}
		for _, test := range tests {
			named++
			if why := tree.lacks(path.Clean(test[1]), test[2], test[3]); why != "" {
				t.Errorf("%s%s: %s: %s", row[1], row[2], test[0], why)
			}
		}
	}
	for group, count := range scenarios {
		for n := range count {
			id := fmt.Sprint(group, n+1)
			if seen[id] != 1 {
				t.Errorf("scenario %s is there %d times", id, seen[id])
			}
			delete(seen, id)
		}
	}
	if len(seen) > 0 {
		t.Errorf("there are no such scenarios: %v", seen)
	}
	if named < 100 {
		t.Errorf("only %d tests are named", named)
	}
	t.Logf("%d tests are named", named)
}

// rowScenarios returns the scenarios of a row.
func rowScenarios(t *testing.T, row []string) (ids []string) {
	t.Helper()
	first, _ := strconv.Atoi(row[2])
	last := first
	if row[3] != "" {
		last, _ = strconv.Atoi(row[4])
		if row[3] != row[1] || last <= first {
			t.Errorf("no range of scenarios: %s", row[0])
		}
	}
	for n := first; n <= last; n++ {
		ids = append(ids, fmt.Sprint(row[1], n))
	}
	return ids
}

// A testTree is the functions of tests, and the texts in the files of tests, by package.
type testTree struct{ functions, texts map[string][]string }

func namedTests(t *testing.T) testTree {
	t.Helper()
	tree := testTree{map[string][]string{}, map[string][]string{}}
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				tree.functions[s.dir] = append(tree.functions[s.dir], f.Name.Name)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					tree.texts[s.dir] = append(tree.texts[s.dir], text)
				}
			}
			return true
		})
	}
	return tree
}

// lacks says what is not there of a test, if anything is not.
func (r *testTree) lacks(dir, function, part string) string {
	if !slices.Contains(r.functions[dir], function) {
		return "there is no such function in " + dir
	}
	if part == "" || slices.Contains(r.texts[dir], part) {
		return ""
	}
	if _, err := os.Stat(path.Join(root, dir, "testdata/script", part+".txt")); err != nil {
		return "no test in " + dir + " has such a text"
	}
	return ""
}
