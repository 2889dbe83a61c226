package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/batpak/batpak"
)

// childVariable holds, in the environment of a child, what it is to do, as JSON.
const childVariable = "BATPAK_SOAK_CHILD"

// Roles of a child.
const (
	roleWriter = "writer"
	roleReader = "reader"
)

// A job is what a child is to do until its standard input ends. Before it appends anything it waits there for a byte.
type job struct {
	Role  string
	Dir   string
	After batpak.Seq // its follower has seen the events up to here

	// For a reader.
	Poll time.Duration

	// For a writer.
	Seed         uint64 // of the planner
	Life         int
	Callers      int
	Durability   batpak.Durability `json:",omitempty"`
	SegmentBytes int64
	Verify       bool      // before it closes the store, beside the callers
	Abrupt       bool      // close the store without waiting for the callers
	Again        []receipt // commits with keys to repeat first
}

// A receipt is what is kept of a commit with keys, to repeat it in a later life.
type receipt struct {
	Name  commitName
	Marks []mark
}

// runChild does the job that the environment describes, if there is one, and does not return then.
func runChild() {
	text := os.Getenv(childVariable)
	if text == "" {
		return
	}
	signal.Ignore(os.Interrupt) // it is meant for the parent, who ends this process
	r, w, err := os.Pipe()      // the first one makes the runtime open files of its own
	if err == nil {
		err = errors.Join(r.Close(), w.Close())
	}
	c := &child{before: takeCensus(), out: &sender{w: bufio.NewWriterSize(os.Stdout, 64<<10)}}
	if err = errors.Join(err, json.Unmarshal([]byte(text), &c.job)); err != nil {
		c.fail(err, false)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	c.begin = make(chan struct{})
	go func() {
		defer close(ended)
		if n, _ := os.Stdin.Read(make([]byte, 1)); n > 0 {
			close(c.begin)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it has ended
		cancel()
	}()
	if c.Role == roleReader {
		c.read(ctx)
	} else {
		c.write(ctx)
	}
	<-ended
	end := closing{Before: c.before, After: censusAfter(c.before)}
	if end.more() {
		end.Leftovers = leftovers()
	}
	c.out.say(kindClosed, end)
	os.Exit(0)
}

// A child is this process in one of the roles.
type child struct {
	job
	before census
	out    *sender
	begin  chan struct{} // closed when the parent has heard that the store is open
}

// fail reports why the process ends, and ends it.
func (c *child) fail(err error, opening bool) {
	c.out.say(kindFailed, failure{Text: err.Error(), Corrupt: errors.Is(err, batpak.ErrCorrupt), Opening: opening})
	os.Exit(1)
}

// follow reports each event that the follower yields, until done says that its error is the end it should have.
func (c *child) follow(ctx context.Context, s follower, seen *gauge, done func(error) bool) {
	for e, err := range s.Follow(ctx, batpak.Query{After: c.After}) {
		if err != nil {
			if !done(err) {
				c.fail(err, false)
			}
			return
		}
		m := mark{Seq: e.Seq, Hash: e.Hash, ID: e.ID}
		c.out.send(kindSeen, appendMark(nil, &m), e.Seq >= s.Visible())
		seen.set(e.Seq)
	}
	if !done(nil) {
		c.fail(errors.New("a follower ended without an error"), false)
	}
}

// A warner is a slog.Handler that reports what is above information.
type warner struct{ out *sender }

// Enabled is for warnings and above.
func (w warner) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle reports the record.
func (w warner) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		text.WriteString(" " + a.String())
		return true
	})
	w.out.say(kindWarned, warning{r.Level >= slog.LevelError, text.String()})
	return nil
}

// WithAttrs returns w: the store sets none.
func (w warner) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup returns w: the store opens none.
func (w warner) WithGroup(string) slog.Handler { return w }
