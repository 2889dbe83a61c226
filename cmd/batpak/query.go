package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

// queryFlags are the flags that select events.
type queryFlags struct {
	q                        batpak.Query
	kind, correlation        string
	since, until             string
	category, lane           uint32
	after, through           uint64
	clockAfter, clockThrough uint64
}

const queryHelp = `Events are selected by all the conditions given; without any, all are. Positions and clocks are half-open, (after, through]:
who has seen up to n continues with --after n. Times are RFC 3339 or a date, [since, until).`

// add declares the flags.
func (f *queryFlags) add(cmd *cobra.Command, limit int, limitHelp string) {
	flags := cmd.Flags()
	flags.StringVar(&f.q.Entity, "entity", "", "events of this entity")
	flags.StringVar(&f.q.Prefix, "prefix", "", "events of entities in this namespace: a selects a and a:b, not ab")
	flags.StringVar(&f.q.Scope, "scope", "", "events in this scope")
	flags.StringVar(&f.kind, "kind", "", "events of this kind, as 0xF001")
	flags.Uint32Var(&f.category, "category", 0, "events whose kind is in this category, 0 to 15")
	flags.Uint32Var(&f.lane, "lane", 0, "events in this lane")
	flags.StringVar(&f.correlation, "correlation", "", "events with this correlation id")
	flags.Uint64Var(&f.after, "after", 0, "events behind this seq")
	flags.Uint64Var(&f.through, "through", 0, "events up to this seq (0: no bound)")
	flags.Uint64Var(&f.clockAfter, "clock-after", 0, "events behind this clock of their stream")
	flags.Uint64Var(&f.clockThrough, "clock-through", 0, "events up to this clock of their stream (0: no bound)")
	flags.StringVar(&f.since, "since", "", "events at or after this time")
	flags.StringVar(&f.until, "until", "", "events before this time")
	flags.IntVar(&f.q.Limit, "limit", limit, limitHelp)
}

// query returns what the flags select.
func (f *queryFlags) query(cmd *cobra.Command) (q batpak.Query, err error) {
	q = f.q
	q.After, q.Through = batpak.Seq(f.after), batpak.Seq(f.through)
	q.ClockAfter, q.ClockThrough = batpak.Clock(f.clockAfter), batpak.Clock(f.clockThrough)
	if cmd.Flags().Changed("lane") {
		q.Lane = new(batpak.Lane(f.lane))
	}
	if cmd.Flags().Changed("category") {
		q.Category = new(batpak.Category(min(f.category, 255)))
	}
	if err := f.texts(&q); err != nil {
		return q, withCode(exitUsage, err)
	}
	if err := q.Validate(); err != nil {
		return q, withCode(exitUsage, err)
	}
	return q, nil
}

// texts reads the conditions that are texts of a certain form.
func (f *queryFlags) texts(q *batpak.Query) (err error) {
	if f.kind != "" {
		if q.Kind, err = event.ParseKind(f.kind); err != nil {
			return err
		}
	}
	if f.correlation != "" {
		if q.Correlation, err = event.ParseID(f.correlation); err != nil {
			return err
		}
	}
	if q.Since, err = parseTime("since", f.since); err != nil {
		return err
	}
	if q.Until, err = parseTime("until", f.until); f.until != "" && q.Until.IsZero() {
		q.Until = q.Until.Add(1) // the zero time would be no bound
	}
	return err
}

// parseTime reads RFC 3339 or a date in UTC. An empty text is no time.
func parseTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s %q is neither RFC 3339, as 2001-03-31T22:27:00Z, nor a date", flag, s)
}
