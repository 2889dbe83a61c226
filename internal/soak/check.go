package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/batpak/batpak"
)

// A checker reads a whole store, event by event, and compares it with the ledger and with the plans. It finds an event that
// was acknowledged and is not there or another one, a gap or a step back in positions or clocks, a commit that is not whole,
// one that is there twice, and a changed byte of anything that the plan determines.
type checker struct {
	ledger  *ledger
	planner planner

	last         batpak.Seq
	clocks       map[stream]batpak.Clock
	commits      map[[2]int]int // by life and caller: the newest commit
	name         commitName     // of the commit under way
	plan         plan
	index        int       // of the next event of it; 0 when none is under way
	id           batpak.ID // of the event before
	acknowledged int
}

type stream struct {
	entity string
	lane   batpak.Lane
}

func newChecker(l *ledger, p planner) *checker {
	return &checker{ledger: l, planner: p, clocks: map[stream]batpak.Clock{}, commits: map[[2]int]int{}}
}

// event checks the next event.
func (c *checker) event(e *batpak.Event) error {
	stream := stream{e.Entity, e.Lane}
	if e.Seq != c.last+1 {
		return fmt.Errorf("event %d follows event %d", e.Seq, c.last)
	}
	if e.Clock != c.clocks[stream]+1 {
		return fmt.Errorf("event %d has clock %d in stream %s/%d, after clock %d", e.Seq, e.Clock, e.Entity, e.Lane, c.clocks[stream])
	}
	c.last, c.clocks[stream] = e.Seq, e.Clock
	if err := c.known(e); err != nil {
		return err
	}
	got, err := batpak.Decode[entry](*e)
	if err == nil {
		err = c.member(&got)
	}
	if err == nil {
		err = c.content(e, &got)
	}
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	c.index = (c.index + 1) % got.Size
	c.id = e.ID
	return nil
}

// known compares the event with the ledger.
func (c *checker) known(e *batpak.Event) error {
	if e.Seq > batpak.Seq(len(c.ledger.known)) {
		return nil // nobody has heard of it
	}
	k := &c.ledger.known[e.Seq-1]
	if k.is && (k.hash != e.Hash || k.id != e.ID) {
		return fmt.Errorf("event %d is %s with hash %s, but it was %s with hash %s", e.Seq, e.ID, e.Hash, k.id, k.hash)
	}
	if k.acknowledged {
		c.acknowledged++
	}
	return nil
}

// member checks that the event belongs where it is: it continues the commit under way, or begins one that is newer than
// every other of its caller.
func (c *checker) member(e *entry) error {
	if c.index > 0 {
		if e.name() != c.name || e.Index != c.index {
			return fmt.Errorf("event %d of commit %+v stands in the middle of commit %+v", e.Index, e.name(), c.name)
		}
		return nil
	}
	caller := [2]int{e.Life, e.Caller}
	if newest, ok := c.commits[caller]; ok && e.Commit <= newest {
		return fmt.Errorf("commit %+v comes after commit %d", e.name(), newest)
	}
	c.commits[caller] = e.Commit
	c.name, c.plan = e.name(), c.planner.plan(e.name())
	if e.Index != 0 {
		return fmt.Errorf("commit %+v begins with event %d", c.name, e.Index)
	}
	return nil
}

var errPlan = errors.New("is not what was planned")

// content compares the event with the plan.
func (c *checker) content(e *batpak.Event, got *entry) error {
	if got.Size != len(c.plan.entries) {
		return fmt.Errorf("size %d %w: %d", got.Size, errPlan, len(c.plan.entries))
	}
	want, p := &c.plan.entries[got.Index], &c.plan.proposals[got.Index]
	conditional := c.plan.style == expecting || c.plan.style == excluding || c.plan.style == contested
	var cause batpak.ID
	if p.Cause != (batpak.Cause{}) {
		cause = c.id
	}
	switch {
	case !bytes.Equal(got.Fill, want.Fill):
		return fmt.Errorf("payload %w", errPlan)
	case e.Coordinate() != p.At || e.Lane != p.Lane:
		return fmt.Errorf("coordinate %v, lane %d %w: %v, lane %d", e.Coordinate(), e.Lane, errPlan, p.At, p.Lane)
	case e.Key != p.Key:
		return fmt.Errorf("key %q %w: %q", e.Key, errPlan, p.Key)
	case e.Causation != cause:
		return fmt.Errorf("cause %s %w: %s", e.Causation, errPlan, cause)
	case !maps.EqualFunc(e.Extensions, p.Extensions, bytes.Equal):
		return fmt.Errorf("extensions %v %w: %v", e.Extensions, errPlan, p.Extensions)
	case conditional && got.Clock != e.Clock:
		return fmt.Errorf("clock %d is not the one expected: %d", e.Clock, got.Clock)
	}
	return nil
}

// finish checks that nothing is missing at the end.
func (c *checker) finish() error {
	if c.index > 0 {
		return fmt.Errorf("commit %+v ends after %d events", c.name, c.index)
	}
	if newest := batpak.Seq(len(c.ledger.known)); c.last < newest {
		return fmt.Errorf("the store ends with event %d, but event %d was there", c.last, newest)
	}
	if c.acknowledged != c.ledger.acknowledged {
		return fmt.Errorf("%d events that were acknowledged are there, of %d", c.acknowledged, c.ledger.acknowledged)
	}
	return nil
}

// check verifies the files of a store that no process writes to and compares every event.
func (c *checker) check(ctx context.Context, dir string) error {
	report, err := batpak.VerifyDir(ctx, dir, nil)
	if err == nil && !report.OK() {
		err = fmt.Errorf("%d findings, the first: %+v", len(report.Findings)+report.More, report.Findings[0])
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	r, err := batpak.OpenReader(dir, nil)
	if err != nil {
		return fmt.Errorf("open a reader: %w", err)
	}
	defer r.Close() // it only read
	for e, err := range r.Query(batpak.Query{}) {
		if err == nil {
			err = c.event(&e)
		}
		if err != nil {
			return fmt.Errorf("check: %w", err)
		}
	}
	if err := c.finish(); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if report.Last != c.last || batpak.Seq(report.Events) != c.last {
		return fmt.Errorf("check: %d events were verified, %d read", report.Events, c.last)
	}
	return nil
}
