package projection

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/batpak/batpak/event"
)

// A Freshness says how old a state may be: see [Consistent] and [AtMost].
type Freshness struct {
	maxAge time.Duration
}

// Consistent asks for a state that holds every event that could be read when the call began.
var Consistent = Freshness{}

// AtMost allows a state that held every event that could be read at some moment at most age ago, by the clock of the source: should
// that be set back, a state may be as much older. It is answered from a
// snapshot as long as there is one of that age, without reading the events since.
func AtMost(age time.Duration) Freshness { return Freshness{age} }

// Get returns the state of a key. Without events it is the initial state, with Seq 0. Errors are those of reading, of
// decoding ([event.DecodeError]), of the handlers, and [*TooLargeError].
func Get[S any](src Source, p *Projection[S], key string, f Freshness) (State[S], error) {
	var s State[S]
	t := &target[S]{p: p, key: key, dst: &s, maxAge: f.maxAge}
	if snaps, ok := src.(Snapshots); ok && f.maxAge > 0 {
		if young, err := t.young(snaps); young != nil || err != nil {
			return deref(young), err
		}
	}
	err := Fold(src, t)
	s.left = nil // the caller has a copy
	return s, err
}

// young returns the state of the snapshot if it is no older than allowed. One from the future is not: the clock was set.
func (t *target[S]) young(snaps Snapshots) (*State[S], error) {
	var err error
	if t.query, err = t.p.query(t.key); err != nil {
		return nil, err
	}
	s, asOf, err := t.load(snaps)
	if age := snaps.Now().Sub(asOf); s == nil || err != nil || age < 0 || age > t.maxAge {
		return nil, err
	}
	return s, nil
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// GetIfChanged returns the state of a key if it has events behind since, which is the Seq of a state seen before; else it
// reports false, having read one event at most. That is so too of a since that is still to come, as a reader that lags behind the
// writer may meet it, and says nothing of a log that was put back to an earlier one: [State.Hash] does, compared with that of the event
// at since.
func GetIfChanged[S any](src Source, p *Projection[S], key string, since event.Seq) (s State[S], changed bool, err error) {
	q, err := p.query(key)
	if err != nil || q.Through != 0 && since >= q.Through {
		return s, false, err
	}
	q.After, q.Limit = since, 1
	for _, err = range src.Query(q) {
		changed = true
	}
	if err != nil || !changed {
		return s, false, err
	}
	s, err = Get(src, p, key, Consistent)
	return s, err == nil, err
}

// Rebuild folds the state of a key from the first event, without a snapshot, and puts a snapshot of it in place of the one
// that was there. Until then others go on with that.
func Rebuild[S any](src Source, p *Projection[S], key string) (State[S], error) {
	var s State[S]
	err := Fold(src, &target[S]{p: p, key: key, dst: &s, anew: true})
	s.left = nil
	return s, err
}

// A Follower is a [Source] that can wait for events, as a store does.
type Follower interface {
	Source
	Follow(ctx context.Context, q event.Query) iter.Seq2[event.Event, error]
}

// Watch yields the state of a key as it is, and again whenever there are events that its query selects. A slow loop body misses no event:
// it sees fewer states, each newer. A state belongs to the loop body, which may keep it. The last pair is the error,
// [context.Cause] of ctx or that of a [Get]; there is none if the query has a Through and all up to it is folded.
func Watch[S any](ctx context.Context, src Follower, p *Projection[S], key string) iter.Seq2[State[S], error] {
	return func(yield func(State[S], error) bool) {
		var s State[S]
		t := &target[S]{p: p, key: key, dst: &s}
		for {
			err := Fold(src, t)
			var own State[S]
			if err == nil {
				own, err = s.clone(p)
			}
			if !yield(own, err) || err != nil {
				return
			}
			more, err := next(ctx, src, t.query, s.Seq)
			if err != nil {
				yield(State[S]{}, err)
			}
			if !more {
				return
			}
		}
	}
}

// next waits for an event that q selects behind seq. It reports false if there can be none.
func next(ctx context.Context, src Follower, q event.Query, seq event.Seq) (more bool, err error) {
	q.After, q.Limit = seq, 1
	for _, err := range src.Follow(ctx, q) {
		return err == nil, err
	}
	return false, nil
}

// clone returns the state with a value that shares nothing with it.
func (s *State[S]) clone(p *Projection[S]) (State[S], error) {
	c := *s
	b, err := event.Marshal(s.Value)
	if err != nil {
		return c, fmt.Errorf("projection %q: %w", p.spec.Name, err)
	}
	var v S
	if err := event.Unmarshal(b, &v); err != nil {
		return c, fmt.Errorf("projection %q: %w", p.spec.Name, err)
	}
	c.Value, c.left = v, nil
	return c, nil
}
