package gates_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFixtures type-checks each file of testdata/compile. Those that begin with "// want: " must not compile, for that reason
// and no other; the rest must.
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/compile/*.go")
	if err != nil || len(files) < 12 {
		t.Fatal(files, err)
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", exports(t))
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".go"), func(t *testing.T) {
			file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			want, wrong := strings.CutPrefix(file.Comments[0].List[0].Text, "// want: ")
			var got []string
			conf := types.Config{Importer: imports, Error: func(err error) { got = append(got, err.Error()) }}
			_, _ = conf.Check("fixture", fset, []*ast.File{file}, nil) // which tells Error
			switch {
			case !wrong && len(got) > 0:
				t.Errorf("does not compile: %s", got)
			case wrong && (len(got) != 1 || !strings.Contains(got[0], want)):
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// exports opens the compiled form of the packages that fixtures may import.
func exports(t *testing.T) importer.Lookup {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	compiled := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		compiled[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(compiled[path]) }
}
