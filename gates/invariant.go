package gates

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"sync"

	"github.com/batpak/batpak/event"
)

// A Head is the head of the stream that a proposed event will extend, as a gate at the commit point of a store sees it.
type Head struct {
	Stream event.Stream
	Seq    event.Seq   // of the newest event of the stream
	Clock  event.Clock // of the same; 0 for an empty stream
	Hash   event.Hash  // of the same

	// Stored is the clock of the newest event that has been appended. Those above it, up to Clock, are earlier proposals of the
	// same commit, which may still come to nothing.
	Stored event.Clock

	// Events yields the stream's events after a clock, up to Clock, in order and with their hashes. It is good in the goroutine of
	// the gate, until that has answered.
	Events func(after event.Clock) iter.Seq2[event.Event, error]
}

// MaxInvariantStates is how many streams one [Invariant] keeps the state of. The others are folded anew for each judgement.
const MaxInvariantStates = 1024

// Invariant returns a gate that judges with the state of the very stream that the event is to extend. The state is the zero S
// with each event of the stream folded on, in order; check gets it and the proposed event. It is kept from one judgement to
// the next, so that a judgement costs the events since the last one.
//
// A kept state is the one of a history, known by the hash of its last event: where the stream has another, as in another
// store, the state is built from nothing. One whose fold or check failed is not kept. When events of a commit came to nothing,
// the state without them is there still if S has no pointers, slices, maps or the like; else it is built from nothing, while
// all appends wait. An error of fold or of reading is a denial with [CodeState].
//
// fold and check are pure but for the state that fold changes; check does not change it. The gate may be used by several
// stores and goroutines at once. Copies of the gate share what is kept.
func Invariant[S any](name string, fold func(s *S, e event.Event) error, check func(s S, e event.Event) *Denial) Gate[Head] {
	if fold == nil || check == nil {
		return Gate[Head]{Name: name} // which NewSet refuses
	}
	m := &memory[S]{fold: fold, check: check, flat: flat(reflect.TypeFor[S]()), states: map[event.Stream]kept[S]{}}
	return Gate[Head]{Name: name, Check: m.judge}
}

// A memory is the states that an invariant keeps.
type memory[S any] struct {
	fold  func(*S, event.Event) error
	check func(S, event.Event) *Denial
	flat  bool // a copy of an S shares nothing with it

	mu     sync.Mutex
	states map[event.Stream]kept[S] // nobody else holds these states
}

// A kept is what is kept of a stream: the newest state that was judged with, maybe with events that are not stored yet, and of a
// flat S the newest without such events.
type kept[S any] struct {
	ahead, stored folded[S]
}

// A folded is the state of a stream up to an event.
type folded[S any] struct {
	state S
	clock event.Clock
	hash  event.Hash
}

// judge takes the state out of the memory while it works with it, so that a state which fold or check gave up on, by an
// error or a panic, is not there any more.
func (m *memory[S]) judge(h Head, e event.Event) *Denial {
	k := m.take(h.Stream)
	var f folded[S]
	var err error
	for _, f = range [...]folded[S]{k.ahead, k.stored, {}} {
		if err = m.catchUp(&f, &k, &h); !errors.Is(err, errOtherHistory) {
			break
		}
	}
	if err != nil {
		return Deny(CodeState, "state of %s/%d cannot be had: %v", h.Stream.Entity, h.Stream.Lane, err)
	}
	d := m.check(f.state, e)
	if k.ahead = f; h.Clock > 0 {
		m.put(h.Stream, k)
	}
	return d
}

var errOtherHistory = errors.New("events do not lead to the head")

// catchUp folds the events up to the head. The error is errOtherHistory if f is not a state of this stream's past. How the
// events that it is given link to each other is for whoever yields them to check.
func (m *memory[S]) catchUp(f *folded[S], k *kept[S], h *Head) error {
	kept := f.clock
	switch {
	case kept > h.Clock, kept > 0 && kept == h.Clock && f.hash != h.Hash:
		return errOtherHistory
	}
	m.note(f, k, h)
	if kept == h.Clock {
		return nil
	}
	for e, err := range h.Events(kept) {
		switch {
		case err != nil:
			return err
		case e.Clock != f.clock+1, kept > 0 && f.clock == kept && e.Prev != f.hash:
			return errOtherHistory
		}
		if err := m.fold(&f.state, e); err != nil {
			return fmt.Errorf("event %d: %w", e.Seq, err)
		}
		f.clock, f.hash = e.Clock, e.Hash
		m.note(f, k, h)
	}
	if f.clock != h.Clock || f.hash != h.Hash {
		return errOtherHistory
	}
	return nil
}

// note keeps a copy of the state at the stored head.
func (m *memory[S]) note(f *folded[S], k *kept[S], h *Head) {
	if m.flat && f.clock == h.Stored {
		k.stored = *f
	}
}

// flat reports whether a copy of a value of the type shares nothing that can be changed with it.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return t.Kind() <= reflect.Complex128 || t.Kind() == reflect.String
}

// take removes the state of a stream and returns it; the zero one if there is none.
func (m *memory[S]) take(s event.Stream) kept[S] {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.states[s]
	delete(m.states, s)
	return k
}

// put keeps a state, in place of some other if there are too many.
func (m *memory[S]) put(s event.Stream, k kept[S]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.states {
		if _, known := m.states[s]; known || len(m.states) < MaxInvariantStates {
			break
		}
		delete(m.states, other)
	}
	m.states[s] = k
}
