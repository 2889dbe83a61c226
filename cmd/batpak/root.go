package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

// cli holds the flags that every command has.
type cli struct {
	store string
	json  bool
}

const rootHelp = `batpak keeps events in a directory, binds each to the one before it by a hash, and gives receipts that a stranger can
verify. Start with "batpak demo".

Every command but demo works on the store that --store or the environment variable BATPAK_STORE names. Commands that read
take no lock and work beside a process that writes.

With --json a command writes one JSON object, or one per line. Field names are part of the contract and are listed in the
help of each command. Ids, hashes and kinds are text ("0xF001"), times are RFC 3339 in UTC with microseconds, durations are
nanoseconds (names ending in _ns). Errors go to stderr as one line "batpak: …", with --json followed by {"error": …, "code":
the exit code}.

` + exitHelp

// root returns the command with all its subcommands.
func (c *cli) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "batpak",
		Short:         "an embedded tamper-evident event store",
		Long:          rootHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see batpak --help", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.PersistentFlags().StringVar(&c.store, "store", "", "the store's directory (default $BATPAK_STORE)")
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "write JSON")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(exitUsage, err) })
	cmd.AddCommand(c.demoCommand(), c.importCommand(), c.appendCommand(), c.lsCommand(), c.getCommand(), c.walkCommand(),
		c.followCommand(), c.verifyCommand(), c.receiptCommand(), c.statsCommand(), c.doctorCommand(), c.repairCommand(), c.rebuildCommand())
	return cmd
}

// arguments wraps a check of the arguments so that it gives the exit code of a usage error.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%s: %w", cmd.Name(), err)
		}
		return nil
	}
}

// dir returns the directory of the store.
func (c *cli) dir() (string, error) {
	if c.store != "" {
		return c.store, nil
	}
	if dir := os.Getenv("BATPAK_STORE"); dir != "" {
		return dir, nil
	}
	return "", usagef("no store given: use --store DIR or set BATPAK_STORE")
}

// exists returns an error with this exit code if there is no store in dir.
func exists(dir string, code int) error {
	_, err := os.Stat(filepath.Join(dir, "STORE"))
	if errors.Is(err, fs.ErrNotExist) {
		if names, listErr := os.ReadDir(filepath.Join(dir, "log")); listErr == nil && len(names) > 0 {
			return nil // a store that has lost this file: what opens it will say so
		}
		return withCode(code, fmt.Errorf("no store in %s", dir))
	}
	return nil // anything else is for what opens it
}

// reader opens the store for reading. A missing one gives the exit code missing.
func (c *cli) reader(missing int) (*batpak.Reader, error) {
	dir, err := c.dir()
	if err != nil {
		return nil, err
	}
	if err := exists(dir, missing); err != nil {
		return nil, err
	}
	return batpak.OpenReader(dir, nil)
}

// reading wraps a command that reads the store.
func (c *cli) reading(do func(cmd *cobra.Command, args []string, r *batpak.Reader) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r, err := c.reader(exitNotFound)
		if err != nil {
			return err
		}
		defer r.Close()
		return do(cmd, args, r)
	}
}
