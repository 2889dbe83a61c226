package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/chain"
)

// A walkJSON is a walk as the command writes it.
type walkJSON struct {
	End    chain.End   `json:"end"`
	Error  string      `json:"error,omitempty"`
	Events []eventJSON `json:"events"`
}

func (c *cli) walkCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "walk ID|SEQ",
		Short: "follow an event back through its stream",
		Long: `walk shows an event and the events before it in its stream, newest first, checking each against the hash that the one after
it names, and says where it ended: genesis, limit, missing or mismatch. The last two are integrity failures.

With --json it writes one object: end, error (why, for missing and mismatch), events.
` + eventHelp + "\n\n" + exitHelp,
		Args: arguments(cobra.ExactArgs(1)),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many events")
	cmd.RunE = c.reading(func(cmd *cobra.Command, args []string, r *batpak.Reader) error {
		if limit < 1 {
			return usagef("--limit %d is not positive", limit)
		}
		e, err := find(r, args[0])
		if err != nil {
			return err
		}
		w, err := r.Walk(e.ID, limit)
		if err != nil {
			return err
		}
		if err := buffered(cmd.OutOrStdout(), func(out io.Writer) error { return c.printWalk(out, &w) }); err != nil {
			return err
		}
		return walkError(&w)
	})
	return cmd
}

// walkError returns an error for a walk that found the chain broken.
func walkError(w *batpak.Walk) error {
	if w.End == chain.ReachedGenesis || w.End == chain.ReachedLimit {
		return nil
	}
	return withCode(exitIntegrity, fmt.Errorf("walk ended with %s: %w", w.End, w.Err))
}

func (c *cli) printWalk(out io.Writer, w *batpak.Walk) error {
	if c.json {
		return writeJSON(out, newWalkJSON(w))
	}
	var rows [][]string
	for i := range w.Events {
		rows = append(rows, walkCells(&w.Events[i]))
	}
	t := &table{w: out, right: 2, titles: []string{"clock", "seq", "time", "hash", "prev", "payload"}}
	if err := t.rows(rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s, ended at: %s\n", plural(len(w.Events), "event"), w.End)
	return err
}

func walkCells(e *batpak.Event) []string {
	return []string{fmt.Sprint(e.Clock), fmt.Sprint(e.Seq), e.Time.String(), e.Hash.String()[:16] + "…", e.Prev.String()[:16] + "…", payloadText(e, 80)}
}

func newWalkJSON(w *batpak.Walk) walkJSON {
	j := walkJSON{End: w.End, Events: make([]eventJSON, len(w.Events))}
	for i := range w.Events {
		j.Events[i] = newEventJSON(&w.Events[i])
	}
	if w.Err != nil {
		j.Error = w.Err.Error()
	}
	return j
}
