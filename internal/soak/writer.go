package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/batpak/batpak"
)

// followTimeout bounds how long the follower in the writer may be behind when nothing is appended any more.
const followTimeout = time.Minute

// write opens the store and appends to it from several goroutines, beside a follower, until ctx is done; then it closes it.
func (c *child) write(ctx context.Context) {
	opts := batpak.Options{Durability: c.Durability, SegmentBytes: c.SegmentBytes, Logger: slog.New(warner{c.out})}
	s, err := batpak.Open(c.Dir, &opts)
	if err != nil {
		c.fail(err, true)
	}
	st, err := s.Stats()
	if err != nil {
		c.fail(err, true)
	}
	c.out.say(kindOpened, opening{Store: st.Store, Visible: s.Visible(), Report: st.Opened})
	c.After = min(c.After, s.Visible()) // what was written and not durable may be gone
	var follower, callers, samples sync.WaitGroup
	var seen gauge
	seen.set(c.After)
	follower.Go(func() {
		c.follow(context.Background(), s, &seen, func(err error) bool { return errors.Is(err, batpak.ErrClosed) })
	})
	samples.Go(func() { sendSamples(ctx, c.out, s.Visible) })
	quit := make(chan struct{})
	select {
	case <-c.begin:
		c.repeat(s)
		for i := range c.Callers {
			callers.Go(func() { c.call(s, i, quit) })
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	samples.Wait()
	if c.Verify {
		c.verify(s)
	}
	if !c.Abrupt {
		close(quit)
		callers.Wait()
		c.settle(s, &seen)
	}
	if err := s.Close(); err != nil {
		c.fail(fmt.Errorf("close: %w", err), false)
	}
	callers.Wait()
	follower.Wait()
}

// verify verifies the store and its index while events are appended.
func (c *child) verify(s *batpak.Store) {
	report, err := s.Verify(context.Background(), nil)
	if err == nil && !report.OK() {
		err = fmt.Errorf("%d findings, the first: %+v", len(report.Findings)+report.More, report.Findings[0])
	}
	if err != nil {
		c.fail(fmt.Errorf("verify in the writer: %w", err), false)
	}
}

// settle makes everything durable and waits until the follower has seen it.
func (c *child) settle(s *batpak.Store, seen *gauge) {
	if err := s.Sync(); err != nil {
		c.fail(fmt.Errorf("sync: %w", err), false)
	}
	f := s.Frontier()
	if f.Visible != f.Accepted || f.Durable != f.Accepted {
		c.fail(fmt.Errorf("after a sync with nothing under way the frontier is %+v", f), false)
	}
	ctx, cancel := context.WithTimeout(context.Background(), followTimeout)
	defer cancel()
	if at, err := seen.wait(ctx, f.Visible); err != nil {
		c.fail(fmt.Errorf("the follower in the writer stays at %d while %d are visible", at, f.Visible), false)
	}
}

// repeat commits once more what has been acknowledged in earlier lives: the keys must give the receipts of then.
func (c *child) repeat(s *batpak.Store) {
	for _, r := range c.Again {
		p := planner{c.Seed}.plan(r.Name)
		marks, err := commit(s, &p, 0)
		if err == nil {
			err = sameMarks(r.Marks, marks)
		}
		if err != nil {
			c.fail(fmt.Errorf("commit %+v again: %w", r.Name, err), false)
		}
	}
}

// sameMarks compares the receipts of a repeated commit with the original ones.
func sameMarks(want, got []mark) error {
	if len(want) != len(got) {
		return fmt.Errorf("%d receipts, not %d", len(got), len(want))
	}
	for i := range want {
		if want[i].Seq != got[i].Seq || want[i].Hash != got[i].Hash || want[i].ID != got[i].ID {
			return fmt.Errorf("event %d with hash %s, not event %d with hash %s", got[i].Seq, got[i].Hash, want[i].Seq, want[i].Hash)
		}
	}
	return nil
}

// commit appends a plan; with clock not 0 its first event is expected at that clock, and each other one behind it.
func commit(s *batpak.Store, p *plan, clock batpak.Clock) ([]mark, error) {
	for i := range p.proposals {
		e := p.entries[i]
		if clock > 0 {
			e.Clock = clock + batpak.Clock(i)
		}
		if clock > 0 && p.style != excluding {
			p.proposals[i].Expect = batpak.AtClock(e.Clock - 1)
		}
		p.proposals[i].Payload = e
	}
	receipts, err := s.Commit(p.proposals...)
	var marks []mark
	for _, r := range receipts {
		marks = append(marks, mark{r.Seq, r.Hash, r.ID, r.Durability})
	}
	return marks, err
}

// call appends commits as one caller until quit is closed or the store is.
func (c *child) call(s *batpak.Store, number int, quit <-chan struct{}) {
	a := caller{child: c, s: s, number: number}
	err := a.open()
	for n := 0; err == nil; n++ {
		select {
		case <-quit:
			return
		default:
			err = a.commit(n)
		}
	}
	if !errors.Is(err, batpak.ErrClosed) {
		c.fail(fmt.Errorf("caller %d: %w", number, err), false)
	}
}

// A caller appends one commit after another and knows the head of its own stream.
type caller struct {
	*child
	s      *batpak.Store
	number int
	own    mark
	clock  batpak.Clock // of own
}

// open finds the head of the caller's stream.
func (a *caller) open() (err error) {
	a.own.Seq, a.clock, err = a.head(ownEntity(a.number))
	return err
}

// head returns the newest visible event of lane 0 of an entity.
func (a *caller) head(entity string) (batpak.Seq, batpak.Clock, error) {
	for e, err := range a.s.Query(batpak.Query{Entity: entity, Lane: new(batpak.Lane), Reverse: true, Limit: 1}) {
		return e.Seq, e.Clock, err
	}
	return 0, 0, nil
}

// commit makes commit n, and reports it.
func (a *caller) commit(n int) error {
	p := planner{a.Seed}.plan(commitName{a.Life, a.number, n})
	var marks []mark
	var err error
	switch p.style {
	case expecting, excluding:
		marks, err = a.commitOwn(&p)
	case contested:
		marks, err = a.contend(&p)
	case keyed:
		marks, err = a.commitKeyed(&p)
	default:
		marks, err = commit(a.s, &p, 0)
	}
	if err != nil {
		return fmt.Errorf("commit %d: %w", n, err)
	}
	if len(marks) > 0 {
		done := acknowledgement{a.number, n, p.style == keyed, marks}
		a.out.send(kindAcknowledged, done.encode(), true)
	}
	return nil
}

// commitOwn appends to the caller's own stream, whose head nobody else moves: a condition that fits must hold and a wrong
// one must not.
func (a *caller) commitOwn(p *plan) ([]mark, error) {
	none := batpak.IfNone{Query: batpak.Query{Entity: ownEntity(a.number)}, After: a.own.Seq}
	if p.extra {
		wrong := p.proposals[0]
		wrong.Payload = p.entries[0]
		if wrong.Expect = batpak.AtClock(a.clock + 1); p.style == excluding && a.clock > 0 {
			wrong.Expect, wrong.IfNone = batpak.Expect{}, &batpak.IfNone{Query: none.Query, After: none.After - 1}
		}
		if _, err := a.s.Commit(wrong); !errors.Is(err, batpak.ErrConflict) {
			return nil, fmt.Errorf("a condition that does not hold gave %w", orNone(err))
		}
	}
	if p.style == excluding {
		p.proposals[0].IfNone = &none
	}
	marks, err := commit(a.s, p, a.clock+1)
	if err != nil {
		return nil, err
	}
	a.own, a.clock = marks[len(marks)-1], a.clock+batpak.Clock(len(marks))
	return marks, nil
}

var errNone = errors.New("no error")

// orNone makes no error an error, for text.
func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// contend appends behind the head of the stream that all callers want, unless another caller was faster.
func (a *caller) contend(p *plan) ([]mark, error) {
	_, clock, err := a.head(contestedEntity)
	if err != nil {
		return nil, err
	}
	marks, err := commit(a.s, p, clock+1)
	if errors.Is(err, batpak.ErrConflict) {
		return nil, nil
	}
	return marks, err
}

// commitKeyed appends events with keys. Repeating it gives the same receipts, and another request with a key nothing.
func (a *caller) commitKeyed(p *plan) ([]mark, error) {
	marks, err := commit(a.s, p, 0)
	if err != nil || !p.extra {
		return marks, err
	}
	again, err := commit(a.s, p, 0)
	if err == nil {
		err = sameMarks(marks, again)
	}
	if err != nil {
		return nil, fmt.Errorf("with the same keys: %w", err)
	}
	p.proposals[0].At.Scope += "?"
	if _, err := commit(a.s, p, 0); !errors.Is(err, batpak.ErrIdempotencyMismatch) {
		return nil, fmt.Errorf("another request with the same key gave %w", orNone(err))
	}
	return marks, nil
}
