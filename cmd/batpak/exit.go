package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/batpak/batpak"
)

// The exit codes, part of the contract of every command.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotFound     = 3  // no such event, no such store
	exitConflict     = 4  // a condition did not hold, or a key belongs to another request
	exitIntegrity    = 10 // stored bytes, or a receipt, are not what they should be
	exitUnverifiable = 11 // nothing could be said
)

const exitHelp = `Exit codes: 0 fine, 1 failed, 2 usage, 3 not found, 4 conflict, 10 integrity failure, 11 cannot verify.`

// A codedError is an error with the exit code that it leads to.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func withCode(code int, err error) error { return &codedError{code, err} }

// usagef returns an error in how a command was called.
func usagef(format string, args ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, args...))
}

// exitCode returns the code that stands for an error.
func exitCode(err error) int {
	var coded *codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, batpak.ErrCorrupt):
		return exitIntegrity
	case errors.Is(err, batpak.ErrNotFound):
		return exitNotFound
	case errors.Is(err, batpak.ErrConflict), errors.Is(err, batpak.ErrIdempotencyMismatch), errors.Is(err, batpak.ErrIdempotencyPartial):
		return exitConflict
	}
	return exitFailed
}

// report writes an error to stderr: as a line for people and, with --json, as an object for programs.
func (c *cli) report(stderr io.Writer, args []string, err error) {
	text := strings.Join(strings.Fields(err.Error()), " ")
	fmt.Fprintf(stderr, "batpak: %s\n", text)
	if !c.json && !slices.Contains(args, "--json") { // the flags may not have been read
		return
	}
	b, _ := json.Marshal(struct {
		Error string `json:"error"`
		Code  int    `json:"code"`
	}{text, exitCode(err)}) // a text and a number always encode
	fmt.Fprintf(stderr, "%s\n", b)
}
