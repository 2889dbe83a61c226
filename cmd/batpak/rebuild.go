package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

// indexFile is derived from the log, and may be deleted while nobody has the store open for writing.
const indexFile = "index.bolt"

// A rebuildJSON is what rebuilding the index came to.
type rebuildJSON struct {
	Events     int           `json:"events"`
	IndexBytes int64         `json:"index_bytes"`
	Took       time.Duration `json:"took_ns"`
}

func (c *cli) rebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild-index",
		Short: "build the index anew from the log",
		Long: `rebuild-index deletes index.bolt and builds it anew from the log. It needs the store for itself. The log must be whole up to
what the old index knew to be durable; if it is not, nothing is deleted.

With --json it writes one object: events (indexed), index_bytes, took_ns.

` + exitHelp,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.dir()
			if err != nil {
				return err
			}
			if err := exists(dir, exitNotFound); err != nil {
				return err
			}
			j, err := rebuild(dir)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(cmd.OutOrStdout(), j)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s indexed in %s, index of %s\n", plural(j.Events, "event"), short(j.Took), size(j.IndexBytes))
			return err
		},
	}
}

// rebuild opens the store once with the old index, to be sure that nobody writes and that nothing is missing that the
// index knows of, and then once without.
func rebuild(dir string) (j rebuildJSON, err error) {
	s, err := batpak.Open(dir, nil)
	if err != nil {
		return j, err
	}
	if err := s.Close(); err != nil {
		return j, err
	}
	path := filepath.Join(dir, indexFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return j, err
	}
	begin := time.Now()
	if s, err = batpak.Open(dir, nil); err != nil {
		return j, err
	}
	st, err := s.Stats()
	if err := errors.Join(err, s.Close()); err != nil { // what is left of the index is written by Close
		return j, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return j, err
	}
	return rebuildJSON{st.Opened.Replayed, info.Size(), time.Since(begin)}, nil
}
