package deps

import (
	"os"
	"path"
	"strings"
	"testing"
)

// guides are the pages whose Go code is taken from files that are compiled and run by the tests.
var guides = []string{"README.md", "docs/guide.md"}

// TestGuides checks that each block of Go code in the guides is in some Go file as it stands, but for its indentation.
func TestGuides(t *testing.T) {
	var tree []string
	for _, s := range sources(t) {
		b, err := os.ReadFile(path.Join(root, s.name))
		if err != nil {
			t.Fatal(err)
		}
		tree = append(tree, dedented(string(b)))
	}
	for _, guide := range guides {
		b, err := os.ReadFile(path.Join(root, guide))
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split("\n"+string(b), "\n```go\n")[1:]
		if len(blocks) == 0 {
			t.Errorf("%s has no code", guide)
		}
		for _, block := range blocks {
			code, _, ended := strings.Cut(block, "\n```\n")
			if !ended || !contained(tree, dedented(code)+"\n") {
				t.Errorf("%s: no Go file has\n%s", guide, code)
			}
		}
	}
}

func contained(tree []string, code string) bool {
	for _, text := range tree {
		if strings.HasPrefix(text, code) || strings.Contains(text, "\n"+code) {
			return true
		}
	}
	return false
}

// dedented returns the text with its lines trimmed on the left.
func dedented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, " \t"))
	}
	return b.String()
}
