package batpak

import (
	"context"
	"fmt"
	"iter"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/log"
)

// Rows per look at the index: few at first, for those who want one event, then more each time.
const (
	firstRows = 64
	moreRows  = 4 // times as many
	mostRows  = 4096
)

// A Page is a part of the result of a query. Next continues it: set [Query.After] to it, or with Reverse
// [Query.Through]. Without More there was nothing left when the page was read; in the forward direction Next then lies
// behind everything that was visible, so that polling with it misses nothing.
type Page struct {
	Events []Event
	Next   Seq
	More   bool
}

// Query yields the events that q selects, in commit order or the reverse. It sees what was visible when the loop began
// and holds no lock and no transaction while the loop body runs. If an event cannot be read, the last pair is the error.
func (v *view) Query(q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s, err := v.scan(q)
		if err != nil {
			yield(Event{}, err)
			return
		}
		for more := true; more; {
			if more, err = s.next(yield); err != nil {
				yield(Event{}, v.unlessClosed(err))
				return
			}
		}
	}
}

// Page returns at most q.Limit events (all, if it is 0), and where to go on.
func (v *view) Page(q Query) (Page, error) {
	s, err := v.scan(q)
	if err != nil {
		return Page{}, err
	}
	var p Page
	for more := true; more; {
		more, err = s.next(func(e Event, _ error) bool {
			p.Events = append(p.Events, e)
			return true
		})
		if err != nil {
			return Page{}, v.unlessClosed(err)
		}
	}
	p.Next, p.More = s.position(), !s.exhausted
	return p, nil
}

// Follow yields the events that q selects, those that are there and then those to come, each once and in order, until ctx
// is done, the store is closed or q.Limit events were seen. The last pair is the error, [context.Cause] of ctx or
// [ErrClosed]; there is none after Limit events or past q.Through. It reads the log at the pace of the loop body, so a slow
// one loses nothing and holds up nobody.
func (v *view) Follow(ctx context.Context, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := v.follow(ctx, q, yield); err != nil {
			yield(Event{}, v.unlessClosed(err))
		}
	}
}

func (v *view) follow(ctx context.Context, q Query, yield func(Event, error) bool) error {
	if q.Reverse {
		return fmt.Errorf("follow: query is in reverse: %w", ErrInvalid)
	}
	s, err := v.scan(q)
	if err != nil {
		return err
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		changed := v.changed.wait()
		if err := v.ready(); err != nil {
			return err
		}
		s.extend(v.Visible())
		more := true
		for more {
			if more, err = s.next(yield); err != nil {
				return err
			}
			if ctx.Err() != nil && more {
				return context.Cause(ctx)
			}
		}
		if s.stopped || s.finished() {
			return nil
		}
		if err := v.await(ctx, changed); err != nil {
			return err
		}
		s.following = true
	}
}

// A scanning is a query under way.
type scanning struct {
	v         *view
	q         Query // After and Through move as it proceeds
	through   Seq   // what the caller asked for; 0 means no bound
	left      int   // events still wanted; negative means all
	rows      int   // for the next look at the index
	links     links
	exhausted bool // nothing is left in q's range
	following bool // it has seen all there was, and waits for what comes
	stopped   bool // the loop body ended it, or Limit was reached
}

// scan checks q and bounds it by what is visible now.
func (v *view) scan(q Query) (*scanning, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := v.ready(); err != nil {
		return nil, err
	}
	s := v.newScan(q)
	s.extend(v.Visible())
	return s, nil
}

// newScan returns a scan that has yet to be extended.
func (v *view) newScan(q Query) *scanning {
	s := &scanning{v: v, q: q, through: q.Through, left: -1, rows: firstRows, links: links{v: v}}
	if q.Limit > 0 {
		s.left = q.Limit
		s.rows = min(q.Limit, mostRows)
	}
	return s
}

// extend lets the scan go up to visible.
func (s *scanning) extend(visible Seq) {
	s.q.Through = visible
	if s.through > 0 {
		s.q.Through = min(s.through, visible)
	}
	s.exhausted = s.q.After >= s.q.Through
}

// finished reports whether nothing to come can be selected.
func (s *scanning) finished() bool { return s.through > 0 && s.q.After >= s.through }

// position returns where the scan has got to, as Page.Next.
func (s *scanning) position() Seq {
	if s.q.Reverse {
		return s.q.Through
	}
	return s.q.After
}

// move makes the scan go on behind seq, or in reverse before it.
func (s *scanning) move(seq Seq) {
	if s.q.Reverse {
		s.q.Through = seq - 1
	} else {
		s.q.After = seq
	}
	s.exhausted = s.q.After >= s.q.Through
}

// next yields one page of rows. It reports whether to go on; an error has not been yielded.
func (s *scanning) next(yield func(Event, error) bool) (more bool, err error) {
	if s.exhausted || s.stopped {
		return false, nil
	}
	s.v.reading.Add(1)
	defer s.v.reading.Add(-1)
	r := s.v.pageReader(s.following)
	defer r.release()
	r.openers[0].pause(s.v)
	var next Seq
	err = s.v.indexed(func(x *index.Index) (err error) {
		r.rows, next, more, err = x.Page(&s.q, s.rows, r.rows)
		return err
	})
	if err != nil {
		return false, err
	}
	for e, err := range r.events(r.rows) {
		if err == nil && s.v.closed.Load() {
			err = ErrClosed
		}
		if err != nil {
			return false, err
		}
		match := s.q.Match(&e.Header)
		s.move(e.Seq)
		if !match {
			continue
		}
		if err := s.links.check(&s.q, &e); err != nil {
			return false, err
		}
		if s.left > 0 {
			s.left--
		}
		s.stopped = !yield(e, nil) || s.left == 0
		if s.stopped {
			return false, nil
		}
	}
	s.jump(next, more)
	s.rows = min(moreRows*s.rows, mostRows)
	return !s.exhausted, nil
}

// jump goes on from where the index says that the next candidate may be.
func (s *scanning) jump(next Seq, more bool) {
	switch {
	case !more && s.q.Reverse:
		s.q.Through = s.q.After
	case !more:
		s.q.After = s.q.Through
	case s.q.Reverse:
		s.q.Through = min(s.q.Through, next)
	default:
		s.q.After = max(s.q.After, next)
	}
	s.exhausted = s.q.After >= s.q.Through
}

// links checks the events of a query against each other where they are neighbours in their stream. A query of one entity
// sees all of them, so each of its events is checked against the one before, the first one included.
type links struct {
	v    *view
	last map[event.Lane]link // of the entity
}

type link struct {
	clock event.Clock
	hash  event.Hash
	prev  event.Hash
}

func (l *links) check(q *Query, e *Event) error {
	if q.Entity == "" {
		return nil
	}
	if l.last == nil {
		l.last = map[event.Lane]link{}
	}
	known, ok := l.last[e.Lane]
	l.last[e.Lane] = link{e.Clock, e.Hash, e.Prev}
	var bad *chain.Finding
	switch {
	case e.Clock == 1:
		bad = chain.Follows(e, 0, chain.Genesis(l.v.store, e.Stream()))
	case ok && known.clock+1 == e.Clock:
		bad = chain.Follows(e, known.clock, known.hash)
	case ok && known.clock == e.Clock+1:
		if e.Hash != known.prev {
			bad = &chain.Finding{Seq: e.Seq, ID: e.ID, Check: "hash named by the next event", Expected: known.prev.String(), Found: e.Hash.String()}
		}
	default:
		return l.checkBefore(e)
	}
	return l.v.locate(bad)
}

// checkBefore checks e against what the index remembers of the event before it.
func (l *links) checkBefore(e *Event) error {
	var row index.Row
	err := l.v.indexed(func(x *index.Index) (err error) {
		row, _, err = x.Clock(e.Stream(), e.Clock-1)
		return err
	})
	if err != nil {
		return err
	}
	if [8]byte(e.Prev[:8]) == row.Check {
		return nil
	}
	return l.v.locate(&chain.Finding{Seq: e.Seq, ID: e.ID, Check: "previous hash", Expected: fmt.Sprintf("%x…", row.Check), Found: e.Prev.String()})
}

// locate adds to a finding where its event is, and makes it an error; nil stays nil.
func (v *view) locate(bad *chain.Finding) error {
	if bad == nil {
		return nil
	}
	if row, err := v.row(bad.Seq); err == nil {
		bad.File, bad.Offset = log.SegmentName(v.segments.Locate(bad.Seq)), int64(row.Offset)
	}
	return bad.Error()
}
