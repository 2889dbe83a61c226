package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// TestREADME checks that the program is the first one of the README, that it has at most 60 lines, and what it prints.
func TestREADME(t *testing.T) {
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, append(append([]byte("```go\n"), program...), "```"...)) {
		t.Error("the README has another program")
	}
	if n := bytes.Count(program, []byte("\n")); n > 60 {
		t.Errorf("%d lines", n)
	}
	want := `1 player:42 room:dungeon {10 2}
2 player:42 room:attic {0 5}
2 events back to room:dungeon and the stream's genesis
receipt: unsigned accepted
{X:10 Y:7 Moves:2} after event 2
`
	if got := printed(t, t.TempDir()); got != want {
		t.Errorf("printed\n%s", got)
	}
}

// printed runs the program on a store in dir.
func printed(t *testing.T, dir string) string {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	args, stdout := os.Args, os.Stdout
	defer func() { os.Args, os.Stdout = args, stdout }()
	os.Args, os.Stdout = []string{"game", dir}, w
	main() // prints less than the pipe holds
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}
