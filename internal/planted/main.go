// Command planted shows that the tests find errors: it plants one error at a time in the code and runs the test that must
// find it.
//
//	go run ./internal/planted            all of them
//	go run ./internal/planted -list      their names
//	go run ./internal/planted sync link  those with one of these words in their name
//
// An error is a small change of the text of one file, in errors.go. The files themselves are never changed: the compiler is
// given a changed copy in their place (go test -overlay). First the tests run on the code as it is, and must pass. Then each
// error is planted by itself, and its test must fail, which is not the same as the code failing to build, or the test
// hanging. It prints one line for each error: its name, the file, the test that failed, the time it took with building, and
// what the test said first. The exit code is 1 if an error is not found or no longer fits the code.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	list := flag.Bool("list", false, "print the errors and their tests, and run nothing")
	flag.Parse()
	chosen := choose(errorsToPlant, flag.Args())
	if *list {
		for _, e := range chosen {
			fmt.Printf("%-*s  %-18s  go test -run '%s' %s\n", width(chosen), e.name, e.file, e.run, e.pkg)
		}
		return
	}
	if err := run(chosen); err != nil {
		fmt.Fprintln(os.Stderr, "planted:", err)
		os.Exit(1)
	}
}

// choose returns the errors that have one of the words in their name, or all without words.
func choose(all []planted, words []string) []planted {
	if len(words) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(e planted) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(e.name, w) })
	})
}

// run runs the tests without and with the errors, and prints what came of it.
func run(chosen []planted) error {
	if len(chosen) == 0 {
		return fmt.Errorf("no error has such a name")
	}
	begin := time.Now()
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "planted")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	t := tester{root: root, temp: temp}
	if err := t.pass(chosen); err != nil {
		return err
	}
	fmt.Printf("the tests pass on the code as it is: %.1f s\n\n", time.Since(begin).Seconds())
	missed := 0
	for i := range chosen {
		e := &chosen[i]
		o := t.plant(e)
		if !o.found {
			missed++
			o.said = "NOT FOUND: " + o.said
		}
		fmt.Printf("%-*s  %-18s  %5.1f s  %s: %s\n", width(chosen), e.name, e.file, o.took.Seconds(), o.test, shorten(o.said, 140))
	}
	fmt.Printf("\n%d of %d errors found in %.0f s\n", len(chosen)-missed, len(chosen), time.Since(begin).Seconds())
	if missed > 0 {
		return fmt.Errorf("%d errors were not found", missed)
	}
	return nil
}

// moduleRoot returns the directory of the module that the working directory belongs to.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod in this directory or above")
		}
		dir = parent
	}
}

// width returns the length of the longest name.
func width(es []planted) int {
	n := 0
	for i := range es {
		n = max(n, len(es[i].name))
	}
	return n
}

// shorten returns s on one line, of at most n characters.
func shorten(s string, n int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}
