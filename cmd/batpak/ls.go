package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

// pageEvents is how many events are read at a time when all are asked for.
const pageEvents = 500

func (c *cli) lsCommand() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list events",
		Long: "ls lists the events that the flags select, in the order in which they were committed, and says how to go on.\n\n" + queryHelp + `

With --json it writes one event per line; to go on, give the seq of the last one as --after (with --reverse, one less as
--through).
` + eventHelp + "\n\n" + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	f.add(cmd, 20, "at most so many events (0: all)")
	cmd.Flags().BoolVar(&f.q.Reverse, "reverse", false, "newest first")
	cmd.RunE = c.reading(func(cmd *cobra.Command, _ []string, r *batpak.Reader) error {
		q, err := f.query(cmd)
		if err != nil {
			return err
		}
		return buffered(cmd.OutOrStdout(), func(w io.Writer) error { return c.list(w, r, q) })
	})
	return cmd
}

// list writes the events of a query page by page.
func (c *cli) list(w io.Writer, r *batpak.Reader, q batpak.Query) error {
	if err := r.Refresh(); err != nil {
		return err
	}
	if visible := r.Visible(); q.Through == 0 || q.Through > visible {
		q.Through = max(visible, q.After) // what is appended meanwhile is not listed
	}
	t := &table{w: w, right: 1, titles: eventTitles}
	for left := q.Limit; ; {
		q.Limit = pageEvents
		if left > 0 {
			q.Limit = min(left, pageEvents)
		}
		p, err := r.Page(q)
		if err != nil {
			return err
		}
		if err := c.writePage(t, p.Events); err != nil {
			return err
		}
		left -= len(p.Events)
		if !p.More || left == 0 {
			return c.listEnd(w, q, p)
		}
		proceed(&q, p.Next)
	}
}

// proceed makes a query go on from Page.Next.
func proceed(q *batpak.Query, next batpak.Seq) {
	if q.Reverse {
		q.Through = next
	} else {
		q.After = next
	}
}

// writePage writes events as rows or as lines of JSON.
func (c *cli) writePage(t *table, events []batpak.Event) error {
	for i := range events {
		if !c.json {
			t.fit(eventCells(&events[i]))
		}
	}
	for i := range events {
		if err := c.writeEvent(t, &events[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) writeEvent(t *table, e *batpak.Event) error {
	if c.json {
		return writeJSON(t.w, newEventJSON(e))
	}
	return t.row(eventCells(e))
}

// listEnd says how to go on, to people.
func (c *cli) listEnd(w io.Writer, q batpak.Query, p batpak.Page) error {
	flag := "after"
	if q.Reverse {
		flag = "through"
	}
	if c.json || !p.More {
		return nil
	}
	_, err := fmt.Fprintf(w, "more: --%s %d\n", flag, p.Next)
	return err
}
