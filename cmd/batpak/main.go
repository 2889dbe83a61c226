// Command batpak is the command line of batpak, an embedded tamper-evident event store: it appends to a store, imports
// JSON lines into it, reads, follows and verifies it. Reading works beside a process that writes.
//
//	batpak demo
//	batpak import --store s --entity 'route:{{.origin}}-{{.destination}}' --scope '{{.origin}}' --kind 0xF001 flights.jsonl
//	batpak ls --store s --prefix route --limit 10
//	batpak verify --store s
//
// Each command explains itself with --help. Exit codes are in exit.go.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	c.report(stderr, args, err)
	return exitCode(err)
}
