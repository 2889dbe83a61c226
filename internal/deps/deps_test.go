// Package deps has only tests. They state rules about the source of every package and check them.
package deps

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/batpak/batpak"
)

// imports is the policy: which packages of ours each package may import. The root may import all, and so may commands,
// examples and other modules. A package that is not named may import none.
const imports = `
event:
internal/vfs:      event
internal/crashfs:  internal/vfs
kv:                event
kv/kvtest:         event kv
log:               event internal/vfs
index:             event kv
chain:             event
projection:        event
gates:             event
substrate:         event
`

// requirements are the modules that the core may require directly. Those after "test" may be imported by tests only.
const requirements = `
go.etcd.io/bbolt
github.com/zeebo/blake3
github.com/fxamacker/cbor/v2
github.com/oklog/ulid/v2
golang.org/x/sys
golang.org/x/crypto
golang.org/x/mod
test
github.com/anishathalye/porcupine
github.com/google/go-cmp
github.com/rogpeppe/go-internal
pgregory.net/rapid
`

// internalTypes are the exported names whose signature mentions a package under internal, with the reason.
var internalTypes = map[string]string{
	"log.Open":         "the file system is the caller's, who is the root or a test",
	"log.OpenSegments": "the same",
	"log.OneSegment":   "the same",
	"log.Identify":     "the same",
	"log.Examine":      "the same",
	"log.Behind":       "the same",
	"log.Cut":          "the same",
}

// A source is one Go file of the tree.
type source struct {
	dir  string // of the package, within the tree; "." is the root
	name string
	core bool // in the core module
	test bool
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file, of all modules, outside testdata.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	modules := map[string]bool{".": true}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		switch {
		case err != nil:
			return err
		case d.IsDir() && rel != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")):
			return fs.SkipDir
		case d.Name() == "go.mod":
			modules[path.Dir(rel)] = true
		case d.IsDir() || !strings.HasSuffix(rel, ".go"):
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		s := source{dir: path.Dir(rel), name: rel, test: strings.HasSuffix(rel, "_test.go"), fset: token.NewFileSet()}
		if s.file, err = parser.ParseFile(s.fset, rel, b, parser.ParseComments); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		in := all[i].dir
		for !modules[in] {
			in = path.Dir(in)
		}
		all[i].core = in == "."
	}
	if len(all) < 30 {
		t.Fatalf("only %d files", len(all))
	}
	return all
}

// imported returns the paths that a file imports.
func (s *source) imported() (paths []string) {
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

func TestImports(t *testing.T) {
	allowed := map[string][]string{}
	for line := range strings.Lines(imports) {
		if pkg, list, ok := strings.Cut(line, ":"); ok {
			allowed[pkg] = strings.Fields(list)
		}
	}
	for _, s := range sources(t) {
		top, _, _ := strings.Cut(s.dir, "/")
		if s.test || !s.core || s.dir == "." || top == "examples" || s.file.Name.Name == "main" {
			continue
		}
		list, known := allowed[s.dir]
		if !known { // a package below one that is named keeps its rule and may import it
			if list, known = allowed[top]; known {
				list = append(slices.Clone(list), top)
			}
		}
		if !known {
			t.Errorf("%s: package %s is not in the policy", s.name, s.dir)
		}
		for _, p := range s.imported() {
			ours, is := strings.CutPrefix(p, module+"/")
			switch {
			case p == module:
				t.Errorf("%s imports the root", s.name)
			case is && !slices.Contains(list, ours):
				t.Errorf("%s imports %s", s.name, ours)
			}
		}
	}
}

// TestMiddlePackages checks the policy itself: the middle packages do not know each other.
func TestMiddlePackages(t *testing.T) {
	middle := []string{"projection", "gates", "substrate", "chain", "index", "log"}
	for line := range strings.Lines(imports) {
		pkg, list, _ := strings.Cut(line, ":")
		for _, p := range strings.Fields(list) {
			if slices.Contains(middle, pkg) && slices.Contains(middle, p) {
				t.Errorf("%s may import %s", pkg, p)
			}
		}
	}
}

// TestRequirements checks the direct requirements of the core's go.mod, and what its files import.
func TestRequirements(t *testing.T) {
	both, tests, _ := strings.Cut(requirements, "\ntest\n")
	code, test := strings.Fields(both), strings.Fields(tests)
	file, err := os.Open(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line, comment, _ := strings.Cut(lines.Text(), "//")
		f := strings.Fields(line)
		switch {
		case len(f) > 0 && (f[0] == "replace" || f[0] == "exclude" || f[0] == "tool"):
			t.Errorf("go.mod: %s", lines.Text())
		case len(f) == 2 && f[0] == "require" && f[1] == "(":
			block = true
			continue
		case len(f) == 1 && f[0] == ")":
			block = false
		case len(f) == 3 && f[0] == "require":
			f = f[1:]
		case !block || len(f) != 2:
			continue
		}
		if len(f) == 2 && strings.TrimSpace(comment) != "indirect" && !slices.Contains(code, f[0]) && !slices.Contains(test, f[0]) {
			t.Errorf("go.mod: new direct requirement %s", f[0])
		}
	}
	for _, s := range sources(t) {
		if !s.core {
			continue
		}
		for _, p := range s.imported() {
			first, _, _ := strings.Cut(p, "/")
			if !strings.Contains(first, ".") || p == module || strings.HasPrefix(p, module+"/") {
				continue
			}
			in := func(modules []string) bool {
				return slices.ContainsFunc(modules, func(m string) bool { return p == m || strings.HasPrefix(p, m+"/") })
			}
			if !in(code) && !(in(test) && (s.test || strings.HasSuffix(s.dir, "test"))) {
				t.Errorf("%s imports %s", s.name, p)
			}
		}
	}
}

// exported calls visit for each exported declaration of a file: its name, its comment, and what of it others see.
func exported(file *ast.File, visit func(name string, doc bool, at token.Pos, signature ...ast.Node)) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name, ok := d.Name.Name, d.Name.IsExported()
			if d.Recv != nil {
				recv := receiver(d.Recv.List[0].Type)
				name, ok = recv+"."+name, ok && ast.IsExported(recv)
			}
			if ok {
				visit(name, d.Doc != nil, d.Pos(), d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						visit(s.Name.Name, d.Doc != nil || s.Doc != nil, s.Pos(), typeNodes(s.Type)...)
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() {
							visit(n.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil, s.Pos(), typeNodes(s.Type)...)
						}
					}
				}
			}
		}
	}
}

func receiver(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// typeNodes returns what others see of a type: of a struct only the exported and the embedded fields.
func typeNodes(e ast.Expr) (nodes []ast.Node) {
	s, ok := e.(*ast.StructType)
	if !ok {
		if e == nil {
			return nil
		}
		return []ast.Node{e}
	}
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			nodes = append(nodes, f.Type)
		}
	}
	return nodes
}

// TestSignatures checks that no exported name of a public package mentions a type of an internal one.
func TestSignatures(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" || strings.HasPrefix(s.dir, "internal/") {
			continue
		}
		internal := map[string]bool{} // by the name that the file uses
		for _, spec := range s.file.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			if strings.Contains(p, "/internal/") {
				internal[path.Base(p)] = true
				if spec.Name != nil {
					internal[spec.Name.Name] = true
				}
			}
		}
		exported(s.file, func(name string, _ bool, at token.Pos, signature ...ast.Node) {
			for _, n := range signature {
				ast.Inspect(n, func(n ast.Node) bool {
					sel, ok := n.(*ast.SelectorExpr)
					if x, is := selX(sel, ok); is && internal[x] {
						full := s.dir + "." + name
						if found[full] = true; internalTypes[full] == "" {
							t.Errorf("%v: %s mentions %s.%s", s.fset.Position(at), full, x, sel.Sel.Name)
						}
					}
					return true
				})
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(internalTypes)) {
		if !found[name] {
			t.Errorf("%s is an exception that is not needed", name)
		}
	}
}

func selX(sel *ast.SelectorExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}

// TestDocComments checks that every exported name, of every package of every module, and every package has a comment. Of the
// programs under examples, whose names nobody imports, only the packages need one.
func TestDocComments(t *testing.T) {
	packages := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		packages[s.dir] = packages[s.dir] || s.file.Doc != nil
		exported(s.file, func(name string, doc bool, at token.Pos, _ ...ast.Node) {
			if !doc && !strings.HasPrefix(s.dir, "examples/") {
				t.Errorf("%v: %s has no comment", s.fset.Position(at), name)
			}
		})
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if !packages[dir] {
			t.Errorf("package %s has no comment", dir)
		}
	}
}

// TestLeftovers checks that nothing is left to be done in comments, outside bench, and that no test sleeps.
func TestLeftovers(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
	for _, s := range sources(t) {
		if s.dir != "bench" && !strings.HasPrefix(s.dir, "bench/") {
			for _, group := range s.file.Comments {
				for _, c := range group.List {
					for _, m := range marks {
						if strings.Contains(c.Text, m) {
							t.Errorf("%v: %s", s.fset.Position(c.Pos()), m)
						}
					}
				}
			}
		}
		if !s.test {
			continue
		}
		clock := ""
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"time"` {
				clock = "time"
				if spec.Name != nil {
					clock = spec.Name.Name
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if x, is := selX(sel, ok); is && x == clock && sel.Sel.Name == "Sleep" {
				t.Errorf("%v: a test sleeps", s.fset.Position(sel.Pos()))
			}
			return true
		})
	}
}
