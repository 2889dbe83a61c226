package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A planted error is a change of one file, and the test that must find it.
type planted struct {
	name string // what is wrong, in a few words
	file string // within the module
	old  string // text that the file has exactly once
	new  string // what stands there instead
	pkg  string // the package of the test, as go test wants it
	run  string // which test, as for -run
}

// apply returns the file with the error in it.
func (p *planted) apply(root string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(root, p.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(b, []byte(p.old)); n != 1 {
		return nil, fmt.Errorf("%s has the text to change %d times", p.file, n)
	}
	return bytes.Replace(b, []byte(p.old), []byte(p.new), 1), nil
}

// A tester runs tests of the module in root. It keeps its files in temp.
type tester struct{ root, temp string }

// An outcome is what came of one planted error.
type outcome struct {
	found bool
	test  string // that failed
	said  string // its first line, or why the error does not count as found
	took  time.Duration
}

// Bounds of one run of go test, on a machine that is busy with other things: of the tests of one error, of all tests in one
// package, and with building.
const (
	testTimeout  = 2 * time.Minute
	passTimeout  = 5 * time.Minute
	buildTimeout = 10 * time.Minute
)

// pass runs the tests of all errors, which must pass on the code as it is.
func (t *tester) pass(all []planted) error {
	tests := map[string][]string{} // by package
	var pkgs []string
	for i := range all {
		e := &all[i]
		if _, ok := tests[e.pkg]; !ok {
			pkgs = append(pkgs, e.pkg)
		}
		if !slices.Contains(tests[e.pkg], e.run) {
			tests[e.pkg] = append(tests[e.pkg], e.run)
		}
	}
	for _, pkg := range pkgs {
		out, err := t.test(pkg, strings.Join(tests[pkg], "|"), passTimeout)
		if err != nil || bytes.Contains(out, []byte("no tests to run")) {
			return fmt.Errorf("the tests of %s do not pass on the code as it is: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// plant runs the test of one error with the error in the code.
func (t *tester) plant(e *planted) outcome {
	begin := time.Now()
	overlay, err := t.overlay(e)
	if err != nil {
		return outcome{said: err.Error()}
	}
	out, err := t.test(e.pkg, e.run, testTimeout, "-overlay="+overlay)
	o := judge(string(out), err)
	o.took = time.Since(begin)
	return o
}

// overlay writes the changed file and the list that puts it in the place of the other, and returns the list's name.
func (t *tester) overlay(e *planted) (string, error) {
	b, err := e.apply(t.root)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(t.temp, filepath.Base(e.file))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(t.root, e.file): changed}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(t.temp, "overlay.json")
	return name, errors.Join(os.WriteFile(changed, b, 0o600), os.WriteFile(name, list, 0o600))
}

// test runs go test in one package.
func (t *tester) test(pkg, run string, timeout time.Duration, flags ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	args := append([]string{"test", "-count=1", "-failfast", "-vet=off", "-timeout=" + timeout.String(), "-run=" + run}, flags...)
	c := exec.CommandContext(ctx, "go", append(args, pkg)...)
	c.Dir = t.root
	return c.CombinedOutput()
}

var (
	failLine = regexp.MustCompile(`^\s*--- FAIL: (\S+)`)
	saidLine = regexp.MustCompile(`^\s+(\w+\.go:\d+: .*)`)
	panicked = regexp.MustCompile(`^\s*(panic: .*)`)
)

// judge reads the output of go test with an error in the code. The error is found if a test failed: the code was built, and
// the test ended by itself.
func judge(out string, err error) outcome {
	switch {
	case err == nil:
		return outcome{said: "the test passes"}
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return outcome{said: "the code does not build: " + out}
	case strings.Contains(out, "panic: test timed out"):
		return outcome{said: "the test hangs"}
	}
	var o outcome
	for line := range strings.Lines(out) {
		if m := failLine.FindStringSubmatch(line); m != nil {
			o.found, o.test = true, m[1]
		} else if m := saidLine.FindStringSubmatch(line); m != nil && o.found {
			o.said = m[1]
			return o
		} else if m := panicked.FindStringSubmatch(line); m != nil && o.found {
			o.said = m[1]
		}
	}
	if !o.found {
		o.said = fmt.Sprintf("no test failed: %v: %s", err, out)
	}
	return o
}
