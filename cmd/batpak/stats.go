package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

// A statsJSON is what the command knows about a store.
type statsJSON struct {
	Store         batpak.StoreID `json:"store"`
	Created       instant        `json:"created"`
	Events        batpak.Seq     `json:"events"`
	Frontier      readerFrontier `json:"frontier"`
	First         *instant       `json:"first_time,omitempty"`
	Last          *instant       `json:"last_time,omitempty"`
	Segments      int            `json:"segments"`
	LogBytes      int64          `json:"log_bytes"`
	BytesPerEvent float64        `json:"bytes_per_event"`
	IndexBytes    int64          `json:"index_bytes"`
	Counts        *countsJSON    `json:"counts,omitempty"`
}

// A readerFrontier is what a process that does not write knows of the frontier.
type readerFrontier struct {
	Visible batpak.Seq `json:"visible"`
}

// A countsJSON says what the events are made of.
type countsJSON struct {
	Entities int            `json:"entities"`
	Scopes   int            `json:"scopes"`
	Streams  int            `json:"streams"`
	Kinds    map[string]int `json:"kinds"`
}

func (c *cli) statsCommand() *cobra.Command {
	var counts bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "show figures about the store",
		Long: `stats shows what a process that does not write can know about a store.

With --json it writes one object: store, created, events, frontier (visible: the newest seq that can be read), first_time and
last_time (of the oldest and newest event, if there is one), segments, log_bytes, bytes_per_event (of the log, what was
allocated ahead included), index_bytes (of index.bolt, 0 if there is none), and with --counts counts: entities, scopes,
streams, kinds (an object: events by kind).

` + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&counts, "counts", false, "read all events and count entities, scopes, streams and kinds")
	cmd.RunE = c.reading(func(cmd *cobra.Command, _ []string, r *batpak.Reader) error {
		j, err := c.stats(r)
		if err == nil && counts {
			j.Counts, err = count(r)
		}
		if err != nil {
			return err
		}
		if c.json {
			return writeJSON(cmd.OutOrStdout(), j)
		}
		printStats(cmd.OutOrStdout(), &j)
		return nil
	})
	return cmd
}

func (c *cli) stats(r *batpak.Reader) (j statsJSON, err error) {
	st, err := r.Stats()
	if err != nil {
		return j, err
	}
	j = statsJSON{Store: st.Store, Created: instant(st.Created), Events: st.Events, Frontier: readerFrontier{st.Frontier.Visible},
		Segments: st.Segments, LogBytes: st.LogBytes}
	if st.Events > 0 {
		j.BytesPerEvent = float64(st.LogBytes) / float64(st.Events)
		if j.First, err = timeAt(r, 1); err != nil {
			return j, err
		}
		if j.Last, err = timeAt(r, st.Events); err != nil {
			return j, err
		}
	}
	dir, err := c.dir()
	if err != nil {
		return j, err
	}
	info, err := os.Stat(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err == nil {
		j.IndexBytes = info.Size()
	}
	return j, err
}

func timeAt(r *batpak.Reader, seq batpak.Seq) (*instant, error) {
	e, err := r.At(seq)
	return new(instant(e.Time)), err
}

// count reads every event.
func count(r *batpak.Reader) (*countsJSON, error) {
	type stream struct {
		entity string
		lane   batpak.Lane
	}
	entities, scopes, streams := map[string]bool{}, map[string]bool{}, map[stream]bool{}
	j := &countsJSON{Kinds: map[string]int{}}
	for e, err := range r.Query(batpak.Query{}) {
		if err != nil {
			return nil, err
		}
		entities[e.Entity], scopes[e.Scope], streams[stream{e.Entity, e.Lane}] = true, true, true
		j.Kinds[e.Kind.String()]++
	}
	j.Entities, j.Scopes, j.Streams = len(entities), len(scopes), len(streams)
	return j, nil
}

func printStats(w io.Writer, j *statsJSON) {
	f := fields{w}
	f.add("store", j.Store)
	f.add("created", batpak.Timestamp(j.Created))
	f.add("events", grouped(j.Events))
	f.add("visible", fmt.Sprintf("up to event %d", j.Frontier.Visible))
	if j.First != nil {
		f.add("oldest", batpak.Timestamp(*j.First))
		f.add("newest", batpak.Timestamp(*j.Last))
	}
	f.add("log", fmt.Sprintf("%s in %s, %.0f bytes/event", size(j.LogBytes), plural(j.Segments, "segment"), j.BytesPerEvent))
	index := "none"
	if j.IndexBytes > 0 {
		index = size(j.IndexBytes)
	}
	f.add("index", index)
	if j.Counts == nil {
		return
	}
	f.add("entities", grouped(j.Counts.Entities))
	f.add("scopes", grouped(j.Counts.Scopes))
	f.add("streams", grouped(j.Counts.Streams))
	for _, kind := range sortedKeys(j.Counts.Kinds) {
		f.add("kind "+kind, grouped(j.Counts.Kinds[kind]))
	}
}
