package gates_test

import (
	"crypto/sha256"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// A tally is a state that shares memory with its copies.
type tally struct {
	seen map[event.Clock]byte
	sum  int
}

// A river is a stream, its events with hashes that link them, and how many were read.
type river struct {
	events []event.Event
	stored event.Clock
	read   int
	fail   error
}

func (r *river) append(b byte) {
	e := event.Event{Header: event.Header{Entity: "a", Clock: event.Clock(len(r.events) + 1)}, Payload: []byte{b}}
	if n := len(r.events); n > 0 {
		e.Prev = r.events[n-1].Hash
	}
	e.Hash = sha256.Sum256(append(e.Prev[:], b))
	r.events = append(r.events, e)
}

func (r *river) store(values ...byte) {
	for _, b := range values {
		r.append(b)
	}
	r.stored = event.Clock(len(r.events))
}

func (r *river) head() gates.Head {
	h := gates.Head{Stream: event.Stream{Entity: "a"}, Clock: event.Clock(len(r.events)), Stored: min(r.stored, event.Clock(len(r.events)))}
	if n := len(r.events); n > 0 {
		h.Hash = r.events[n-1].Hash
	}
	h.Events = func(after event.Clock) iter.Seq2[event.Event, error] {
		return func(yield func(event.Event, error) bool) {
			for _, e := range r.events[after:] {
				r.read++
				if !yield(e, nil) {
					return
				}
			}
			if r.fail != nil {
				yield(event.Event{}, r.fail)
			}
		}
	}
	return h
}

// sumAtMost permits an event as long as the sum of the stream and its own value is at most limit. It checks that each
// event was folded once.
func sumAtMost(limit int, foldErr func(event.Event) error) gates.Gate[gates.Head] {
	fold := func(s *tally, e event.Event) error {
		if s.seen == nil {
			s.seen = map[event.Clock]byte{}
		}
		if _, twice := s.seen[e.Clock]; twice {
			return errors.New("folded twice")
		}
		s.seen[e.Clock] = e.Payload[0]
		s.sum += int(e.Payload[0])
		return foldErr(e)
	}
	check := func(s tally, e event.Event) *gates.Denial {
		sum := 0
		for _, b := range s.seen {
			sum += int(b)
		}
		if sum != s.sum {
			return gates.Deny("STATE", "state is torn")
		}
		if s.sum+int(e.Payload[0]) > limit {
			return gates.Deny("FULL", "%d", s.sum)
		}
		return nil
	}
	return gates.Invariant("sum", fold, check)
}

func fine(event.Event) error { return nil }

// ask returns the code and the message of the answer to an event with this value.
func ask(set *gates.Set[gates.Head], h gates.Head, value byte) (code, message string) {
	if d := set.Judge(h, event.Event{Payload: []byte{value}}); d != nil {
		return d.Code, d.Message
	}
	return "", ""
}

func TestInvariantFoldsOnlyWhatIsNew(t *testing.T) {
	set := setOf(t, sumAtMost(10, fine))
	var r river
	for i, tt := range []struct {
		store []byte
		value byte
		code  string
		sum   string
		read  int
	}{
		{nil, 10, "", "", 0},
		{nil, 11, "FULL", "0", 0},
		{[]byte{1, 2, 3}, 4, "", "", 3},
		{nil, 5, "FULL", "6", 0}, // also a denial keeps the state
		{nil, 4, "", "", 0},
		{[]byte{4}, 1, "FULL", "10", 1},
		{nil, 0, "", "", 0},
	} {
		r.store(tt.store...)
		r.read = 0
		code, sum := ask(set, r.head(), tt.value)
		if code != tt.code || sum != tt.sum || r.read != tt.read {
			t.Errorf("%d: got %q, sum %q, %d events read", i, code, sum, r.read)
		}
	}
}

func TestInvariantPending(t *testing.T) {
	set := setOf(t, sumAtMost(10, fine))
	var r river
	r.store(1, 2)
	if code, _ := ask(set, r.head(), 7); code != "" || r.read != 2 {
		t.Fatal(code, r.read)
	}
	r.append(6) // not stored
	if code, sum := ask(set, r.head(), 2); code != "FULL" || sum != "9" || r.read != 3 {
		t.Error(code, sum, r.read)
	}
	r.events = r.events[:2] // and given up
	if code, sum := ask(set, r.head(), 8); code != "FULL" || sum != "3" {
		t.Error("the state has an event that came to nothing:", code, sum)
	}
	if code, _ := ask(set, r.head(), 7); code != "" {
		t.Error(code)
	}
	r.append(6)
	ask(set, r.head(), 0)
	r.events = r.events[:2]
	r.store(5) // another one in its place
	if code, sum := ask(set, r.head(), 3); code != "FULL" || sum != "8" {
		t.Error(code, sum)
	}
	r.read = 0
	for i := range 2 { // each proposal of a commit costs the one before it
		r.append(0)
		if code, sum := ask(set, r.head(), 3); code != "FULL" || sum != "8" || r.read != i+1 {
			t.Error(code, sum, r.read)
		}
	}
}

// A flat state is there still when events of a commit came to nothing: what is judged next is not folded from the beginning.
func TestInvariantFlat(t *testing.T) {
	set := setOf(t, gates.Invariant("sum", func(sum *int, e event.Event) error { *sum += int(e.Payload[0]); return nil }, func(sum int, e event.Event) *gates.Denial {
		if sum+int(e.Payload[0]) > 100 {
			return gates.Deny("FULL", "%d", sum)
		}
		return nil
	}))
	var r river
	r.store(1, 2, 3, 4)
	ask(set, r.head(), 0)
	for range 3 {
		r.append(50) // not stored
		r.append(20)
		if code, _ := ask(set, r.head(), 21); code != "FULL" {
			t.Error(code)
		}
		r.events = r.events[:4] // and given up
		r.read = 0
		if code, _ := ask(set, r.head(), 90); code != "" || r.read > 0 {
			t.Errorf("%q after %d events were read", code, r.read)
		}
		if code, _ := ask(set, r.head(), 91); code != "FULL" {
			t.Error(code)
		}
	}
}

// Streams of one name in two stores are told apart by their hashes.
func TestInvariantOtherHistory(t *testing.T) {
	for name, other := range map[string][]byte{
		"as long": {9, 9, 9}, "longer": {9, 9, 9, 1}, "much longer": {9, 9, 9, 1, 2, 3}, "shorter": {9, 9}, "empty": nil,
		"same up to the last": {1, 2, 9}, "same and longer": {1, 2, 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			set := setOf(t, sumAtMost(100, fine))
			var a, b river
			a.store(1, 2, 3)
			b.store(other...)
			want := 0
			for _, v := range other {
				want += int(v)
			}
			for range 3 {
				if code, _ := ask(set, a.head(), 94); code != "" {
					t.Error(code)
				}
				if code, sum := ask(set, b.head(), byte(100-want)); code != "" {
					t.Error(code, sum)
				}
				if code, _ := ask(set, b.head(), byte(101-want)); code != "FULL" {
					t.Error(code)
				}
			}
		})
	}
}

func TestInvariantFails(t *testing.T) {
	oops := errors.New("oops")
	for name, broken := range map[string]func(event.Event) error{
		gates.CodeState:  func(event.Event) error { return oops },
		gates.CodeDefect: func(event.Event) error { panic(oops) },
	} {
		t.Run(name, func(t *testing.T) {
			fail := false
			set := setOf(t, sumAtMost(10, func(e event.Event) error {
				if fail && e.Clock == 3 {
					return broken(e)
				}
				return nil
			}))
			var r river
			r.store(1, 2)
			ask(set, r.head(), 0)
			r.store(3, 4)
			for fail = true; ; fail = false {
				r.read = 0
				code, _ := ask(set, r.head(), 0)
				if !fail {
					if code != "" || r.read != 4 {
						t.Error("the state that failed was kept:", code, r.read)
					}
					break
				}
				if code != name {
					t.Errorf("got %q", code)
				}
			}
		})
	}
	set := setOf(t, sumAtMost(10, fine))
	var r river
	r.store(1, 2)
	r.fail = event.ErrCorrupt
	if code, _ := ask(set, r.head(), 0); code != gates.CodeState {
		t.Error("an error of the events:", code)
	}
	r.fail = nil
	for name, change := range map[string]func(*gates.Head){
		"too few events":  func(h *gates.Head) { h.Clock = 3 },
		"too many events": func(h *gates.Head) { h.Clock = 1 },
		"another head":    func(h *gates.Head) { h.Hash[0]++ },
		"a gap": func(h *gates.Head) {
			all := slices.Collect(func(yield func(event.Event) bool) {
				for e := range h.Events(0) {
					if !yield(e) {
						return
					}
				}
			})
			all[1].Clock = 3
			h.Clock = 3
			h.Events = func(event.Clock) iter.Seq2[event.Event, error] {
				return func(yield func(event.Event, error) bool) { _ = yield(all[0], nil) && yield(all[1], nil) }
			}
		},
		"no events": func(h *gates.Head) { h.Events = nil },
	} {
		h := r.head()
		change(&h)
		if code, _ := ask(set, h, 0); code != gates.CodeState && code != gates.CodeDefect {
			t.Errorf("%s: %q", name, code)
		}
	}
	if code, _ := ask(set, r.head(), 0); code != "" {
		t.Error(code)
	}
	panics := setOf(t, gates.Invariant("check", func(n *[]int, e event.Event) error { *n = append(*n, 1); return nil }, func(n []int, e event.Event) *gates.Denial {
		if len(n) != 2 {
			return gates.Deny("COUNT", "%d", len(n))
		}
		panic("check")
	}))
	for range 3 {
		r.read = 0
		if code, _ := ask(panics, r.head(), 0); code != gates.CodeDefect || r.read != 2 {
			t.Error("the state of a check that panicked was kept:", code, r.read)
		}
	}
}

func TestInvariantForgets(t *testing.T) {
	set := setOf(t, sumAtMost(10, fine))
	var r river
	r.store(1)
	const streams = gates.MaxInvariantStates + 100
	reads := 0
	for range 2 {
		r.read = 0
		for i := range streams {
			h := r.head()
			h.Stream = event.Stream{Entity: "a", Lane: event.Lane(i)}
			if code, _ := ask(set, h, 9); code != "" {
				t.Fatal(code)
			}
		}
		reads = r.read
	}
	if reads < 100 || reads == streams {
		t.Errorf("%d of %d were folded anew", reads, streams)
	}
}

// Whatever becomes of commits, in two stores, the gate says what a fold of the whole stream says.
func TestInvariantModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, err := gates.NewSet(sumAtMost(60, fine))
		if err != nil {
			t.Fatal(err)
		}
		var rivers [2]river
		for range rapid.IntRange(1, 30).Draw(t, "commits") {
			r := &rivers[rapid.IntRange(0, 1).Draw(t, "store")]
			begin := len(r.events)
			for range rapid.IntRange(1, 3).Draw(t, "proposals") {
				v, sum := rapid.Byte().Draw(t, "value")%20, 0
				for _, e := range r.events {
					sum += int(e.Payload[0])
				}
				code, _ := ask(set, r.head(), v)
				if want := map[bool]string{true: "FULL"}[sum+int(v) > 60]; code != want {
					t.Fatalf("got %q at %d and %d", code, sum, v)
				}
				r.append(v)
			}
			if rapid.Bool().Draw(t, "comes to nothing") {
				r.events = r.events[:begin]
			}
		}
	})
}

func TestInvariantConcurrently(t *testing.T) {
	set := setOf(t, sumAtMost(60, fine))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var r river
			for n := range 200 {
				if n%20 == 0 {
					r = river{}
				}
				r.store(byte(i % 3))
				sum := (n%20 + 1) * (i % 3)
				if code, _ := ask(set, r.head(), byte(60-sum)); code != "" {
					t.Error(code)
				}
				if code, _ := ask(set, r.head(), byte(61-sum)); code != "FULL" {
					t.Error(code)
				}
			}
		})
	}
	wg.Wait()
}

// In a store the gate is given what the store has.
func TestInvariantOfStore(t *testing.T) {
	store := openStore(t)
	set := setOf(t, gates.Invariant("few", func(n *int, e event.Event) error { *n++; return nil }, func(n int, _ event.Event) *gates.Denial {
		if n >= 3 {
			return gates.Deny("FULL", "%d", n)
		}
		return nil
	}))
	var said []bool
	for range 5 {
		h := gates.Head{Stream: event.Stream{Entity: account.Entity}}
		for e, err := range store.Query(event.Query{Entity: account.Entity, Reverse: true, Limit: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			h.Seq, h.Clock, h.Hash = e.Seq, e.Clock, e.Hash
		}
		h.Events = func(after event.Clock) iter.Seq2[event.Event, error] {
			return store.Query(event.Query{Entity: account.Entity, Lane: new(event.Lane(0)), ClockAfter: after})
		}
		p := event.Proposal{At: account, Payload: withdrawn{1}}
		permit, err := set.Evaluate(h, p)
		said = append(said, err == nil)
		if err == nil {
			if _, err := gates.Commit(permit, store.Commit); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []bool{true, true, true, false, false}; !slices.Equal(said, want) {
		t.Error(said)
	}
}
