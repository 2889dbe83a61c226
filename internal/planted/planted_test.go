package main

import (
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// TestList checks that each error fits the code as it is now, changes something, still is Go, and names a test that exists.
func TestList(t *testing.T) {
	names := map[string]bool{}
	for i := range errorsToPlant {
		e := &errorsToPlant[i]
		t.Run(e.name, func(t *testing.T) {
			if e.name == "" || names[e.name] {
				t.Error("the name is empty or taken")
			}
			names[e.name] = true
			if e.old == e.new || strings.HasSuffix(e.file, "_test.go") {
				t.Errorf("nothing is changed in %s, or a test is", e.file)
			}
			changed, err := e.apply(root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), e.file, changed, 0); err != nil {
				t.Error(err)
			}
			if !hasTest(t, e.pkg, e.run) {
				t.Errorf("package %s has no test %q", e.pkg, e.run)
			}
		})
	}
	if len(errorsToPlant) < 40 {
		t.Errorf("only %d errors", len(errorsToPlant))
	}
}

// hasTest reports whether a package has a test that the expression selects, by its first part.
func hasTest(t *testing.T, pkg, run string) bool {
	t.Helper()
	top, _, _ := strings.Cut(run, "/")
	selected, err := regexp.Compile(top)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(b, -1) {
			if selected.Match(m[1]) {
				return true
			}
		}
	}
	return false
}

// TestJudge holds outputs of go test against what is to be made of them.
func TestJudge(t *testing.T) {
	failed := errors.New("exit status 1")
	for name, c := range map[string]struct {
		out  string
		err  error
		want outcome
	}{
		"passes":         {"ok  \tx\t0.1s\n", nil, outcome{said: "the test passes"}},
		"fails":          {"--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        a_test.go:7: wrong: 3\n        a_test.go:8: more\nFAIL\n", failed, outcome{found: true, test: "TestA/b", said: "a_test.go:7: wrong: 3"}},
		"panics":         {"--- FAIL: TestA (0.00s)\npanic: nil map [recovered]\n\tpanic: nil map\n\ngoroutine 7 [running]:\n\t/src/a_test.go:7 +0x1\n", failed, outcome{found: true, test: "TestA", said: "panic: nil map"}},
		"does not build": {"# x\n./a.go:1: bad\nFAIL\tx [build failed]\n", failed, outcome{}},
		"hangs":          {"panic: test timed out after 1m0s\n--- FAIL: TestA (60.00s)\n", failed, outcome{said: "the test hangs"}},
		"killed":         {"signal: killed\n", failed, outcome{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(c.out, c.err)
			if got.found != c.want.found || got.test != c.want.test || got.said == "" || c.want.said != "" && !strings.HasPrefix(got.said, c.want.said) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
