package projection

import (
	"bytes"
	"errors"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
)

// TestTargetsShareNothing: a handler may change and keep the payload and the extensions that it is given; the other targets of a
// fold have their own.
func TestTargetsShareNothing(t *testing.T) {
	type seen struct {
		Last  []byte
		Extra map[string][]byte
		Cents int64
	}
	spoil := func(name string) *Projection[seen] {
		return MustNew(Spec[seen]{Name: name, Version: 1, Handlers: []Handler[seen]{On(func(s *seen, e event.Event, p deposited) error {
			s.Last, s.Extra, s.Cents = e.Payload, e.Extensions, s.Cents+p.Cents
			s.Last[len(s.Last)-1] ^= 1
			s.Extra["a"] = append(s.Extra["a"], 'x')
			return nil
		})}})
	}
	src := newMemory()
	src.put(event.Header{Entity: key, Scope: "bank", Kind: 0x1001, Extensions: map[string][]byte{"a": {'1'}}}, bytesOf(deposited{4}))
	original := src.events[0]
	alone := must[State[seen]](t)(Get(clean{src, original}, spoil("c"), key, Consistent))
	var states [3]State[seen]
	if err := Fold(clean{src, original}, Into(&states[0], spoil("a"), key), Into(&states[1], spoil("b"), key), Into(&states[2], spoil("c"), key)); err != nil {
		t.Fatal(err)
	}
	for i := range states {
		if diff := cmp.Diff(alone, states[i], butOf); diff != "" {
			t.Errorf("target %d: %s", i, diff)
		}
	}
}

// A clean source gives away a copy of its one event each time, as a store does.
type clean struct {
	*memory
	event event.Event
}

func (c clean) Query(q event.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		if e := c.event; q.After < e.Seq {
			e.Header, e.Payload = e.Header.Clone(), bytes.Clone(e.Payload)
			yield(e, nil)
		}
	}
}

// TestFoldOfACopy: a copy of a state shares its maps, so a fold that goes on with the original has changed the copy too. To fold
// into the copy begins again, and no snapshot is made of what was changed twice.
func TestFoldOfACopy(t *testing.T) {
	src := newMemory()
	spec := balance()
	spec.SnapshotEvery = 2
	p := MustNew(spec)
	src.append(key, deposited{1})
	var live State[account]
	fold := func(s *State[account]) {
		t.Helper()
		if err := Fold(src, Into(s, p, key)); err != nil {
			t.Fatal(err)
		}
	}
	fold(&live)
	before := live
	for range 3 {
		src.append(key, deposited{1})
		fold(&live)
	}
	fold(&before)
	got := must[State[account]](t)(Get(src, p, key, Consistent))
	want := account{Cents: 4, Moves: map[string]int{"in": 4}}
	for name, s := range map[string]State[account]{"the original": live, "the copy": before, "the snapshot": got} {
		if diff := cmp.Diff(want, s.Value); diff != "" || s.Events != 4 {
			t.Errorf("%s, of %d events: %s", name, s.Events, diff)
		}
	}
}

// TestFoldOfWhatWas puts an older copy of a state back into the variable that it is a copy of, after a fold that went well and after one
// that did not. To fold into it begins again.
func TestFoldOfWhatWas(t *testing.T) {
	for _, fails := range []bool{false, true} {
		failing := false
		spec := balance()
		spec.SnapshotEvery = 2
		spec.Handlers[0] = On(func(a *account, e event.Event, p deposited) error {
			if err := deposit(a, e, p); err != nil {
				return err
			}
			if failing && e.Seq == 3 {
				return errors.New("out of order")
			}
			return nil
		})
		src, p := newMemory(), MustNew(spec)
		src.append(key, deposited{1})
		var s State[account]
		if err := Fold(src, Into(&s, p, key)); err != nil {
			t.Fatal(err)
		}
		saved := s
		src.append(key, deposited{1}, deposited{1}, deposited{1})
		failing = fails
		if err := Fold(src, Into(&s, p, key)); (err != nil) != fails {
			t.Fatal(err)
		}
		failing, s = false, saved
		if err := Fold(src, Into(&s, p, key)); err != nil {
			t.Fatal(err)
		}
		got := must[State[account]](t)(Get(src, p, key, Consistent))
		want := account{Cents: 4, Moves: map[string]int{"in": 4}}
		for name, s := range map[string]State[account]{"the state": s, "the snapshot": got} {
			if diff := cmp.Diff(want, s.Value); diff != "" || s.Events != 4 {
				t.Errorf("after a failure %v, %s, of %d events: %s", fails, name, s.Events, diff)
			}
		}
	}
}

// TestFoldAfterFailure: a handler that fails or panics may have changed the state. To fold into it again begins again.
func TestFoldAfterFailure(t *testing.T) {
	for _, panics := range []bool{false, true} {
		fails := true
		p := MustNew(Spec[int64]{Name: "sum", Version: 1, SnapshotEvery: 2, Handlers: []Handler[int64]{On(func(s *int64, _ event.Event, d deposited) error {
			*s += d.Cents
			if d.Cents == 2 && fails {
				fails = false
				if panics {
					panic("out of order")
				}
				return errors.New("out of order")
			}
			return nil
		})}})
		src := newMemory()
		src.append(key, deposited{1}, deposited{2}, deposited{3})
		var s State[int64]
		failed := func() (failed bool) {
			defer func() { failed = recover() != nil || failed }()
			return Fold(src, Into(&s, p, key)) != nil
		}()
		if !failed {
			t.Fatalf("panics %v: no failure", panics)
		}
		if err := Fold(src, Into(&s, p, key)); err != nil || s.Value != 6 {
			t.Errorf("panics %v: folded again it is %d, %v", panics, s.Value, err)
		}
		if got := must[State[int64]](t)(Get(src, p, key, Consistent)); got.Value != 6 {
			t.Errorf("panics %v: the snapshot has %d", panics, got.Value)
		}
	}
}
