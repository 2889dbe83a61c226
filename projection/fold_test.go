package projection

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
)

// some is a source of four events of the key, of which one is of no handler's kind, among two others.
func some() *memory {
	m := newMemory()
	m.append(key, deposited{100}, withdrawn{30})
	m.append("account:8", deposited{1000})
	m.append(key, noted{"hello"}, deposited{5})
	m.put(event.Header{Entity: key, Scope: "bank", Kind: 0x1001, Lane: 1}, bytesOf(deposited{7}))
	return m
}

// account7 is what some has of the key.
func account7(src *memory) State[account] {
	e := src.events[4]
	return State[account]{Value: account{75, map[string]int{"in": 2, "out": 1}}, Seq: 5, Hash: e.Hash, Events: 4}
}

func TestGet(t *testing.T) {
	src, p := some(), MustNew(balance())
	for name, from := range map[string]Source{"with snapshots": src, "without": src.only()} {
		for range 2 {
			got, err := Get(from, p, key, Consistent)
			if diff := cmp.Diff(account7(src), got, butOf); diff != "" || err != nil {
				t.Errorf("%s: %v %s", name, err, diff)
			}
		}
	}
	if src.read != 3*4 || src.saved != 1 {
		t.Errorf("%d events read, %d snapshots", src.read, src.saved)
	}
}

// TestNoEvents: the state is the initial one, at position 0, also from a snapshot.
func TestNoEvents(t *testing.T) {
	src, p := some(), MustNew(balance())
	for _, f := range []Freshness{Consistent, AtMost(1), AtMost(1), AtMost(-1)} {
		got, err := Get(src, p, "account:9", f)
		if diff := cmp.Diff(State[account]{Value: p.Init()}, got, butOf); diff != "" || err != nil {
			t.Errorf("%+v: %v %s", f, err, diff)
		}
		got.Value.Moves["in"]++ // there is a map, and it is the caller's
	}
	if src.queries != 3 {
		t.Errorf("%d queries", src.queries)
	}
	src.append("account:9", deposited{1})
	if got := must[State[account]](t)(Get(src, p, "account:9", Consistent)); got.Value.Cents != 1 || got.Events != 1 {
		t.Errorf("%+v", got)
	}
}

// TestQueries: what a projection may not ask for is refused before anything is read.
func TestQueries(t *testing.T) {
	src := some()
	for name, q := range map[string]event.Query{
		"after": {After: 1}, "limit": {Limit: 1}, "reverse": {Reverse: true}, "inverted": {ClockAfter: 3, ClockThrough: 2},
	} {
		s := balance()
		s.Query = func(string) event.Query { return q }
		p := MustNew(s)
		for i, err := range errs(src, p) {
			if !errors.Is(err, event.ErrInvalid) {
				t.Errorf("%s, call %d: %v", name, i, err)
			}
		}
	}
	if _, err := Get(src, MustNew(balance()), "", Consistent); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("no key: %v", err)
	}
	if src.queries > 0 || src.saved > 0 {
		t.Errorf("%d queries, %d snapshots", src.queries, src.saved)
	}
	s := balance()
	s.Query = func(key string) event.Query { return event.Query{Kind: 0x1001, Through: 4} }
	if got := must[State[account]](t)(Get(src, MustNew(s), "", Consistent)); got.Value.Cents != 1100 || got.Seq != 3 || got.Events != 2 {
		t.Errorf("%+v", got)
	}
}

// errs are the errors of all that reads a state.
func errs(src Source, p *Projection[account]) (all []error) {
	_, get := Get(src, p, key, Consistent)
	_, young := Get(src, p, key, AtMost(1))
	_, _, changed := GetIfChanged(src, p, key, 0)
	_, rebuild := Rebuild(src, p, key)
	var s State[account]
	return append(all, get, young, changed, rebuild, Fold(src, Into(&s, p, key)))
}

// failing is a source of which something cannot be read.
type failing struct {
	*memory
	at, query error
}

func (f *failing) At(seq event.Seq) (event.Event, error) {
	if f.at != nil {
		return event.Event{}, f.at
	}
	return f.memory.At(seq)
}

func (f *failing) Query(q event.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		n := 0
		for e, err := range f.memory.Query(q) {
			if n++; n == 2 && f.query != nil {
				yield(event.Event{}, f.query)
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// TestErrors: an error of the source, of a payload or of a handler ends each call, nothing is kept, and the next call is as
// if it had not been.
func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	p := MustNew(balance())
	spoil := func(i int, payload []byte) func(*failing) { return func(f *failing) { f.events[i].Payload = payload } }
	for name, tt := range map[string]struct {
		spoil  func(*failing)
		err    error
		decode bool
	}{
		"reading":              {func(f *failing) { f.query = broken }, broken, false},
		"a payload is cut off": {spoil(4, []byte{0xA1}), event.ErrInvalid, true},
		"a payload is empty":   {spoil(4, nil), event.ErrInvalid, true},
		"a later version":      {func(f *failing) { f.events[4].PayloadVersion = 2 }, event.ErrFutureVersion, true},
		"a handler":            {spoil(1, bytesOf(withdrawn{-1})), errNegative, false},
	} {
		src := &failing{memory: some()}
		tt.spoil(src)
		for i, err := range errs(src, p) {
			var bad *event.DecodeError
			if i == 2 && name == "reading" {
				continue // it reads one event and, since there is one, folds
			}
			if !errors.Is(err, tt.err) || errors.As(err, &bad) != tt.decode {
				t.Errorf("%s, call %d: %v", name, i, err)
			}
		}
		if src.saved > 0 {
			t.Errorf("%s: %d snapshots", name, src.saved)
		}
	}
	src := &failing{memory: some(), query: nil}
	src.events[3].Payload = []byte{0xA1} // of a kind that no handler is for
	for i, err := range errs(src, p) {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	src.at = broken // of the event that the snapshot is of
	if _, err := Get(src, p, key, Consistent); !errors.Is(err, broken) {
		t.Errorf("anchor: %v", err)
	}
	if _, err := Get(src, p, key, AtMost(1)); !errors.Is(err, broken) {
		t.Errorf("anchor: %v", err)
	}
}

// TestErrorTexts: an error names the projection, the key and, once, the event.
func TestErrorTexts(t *testing.T) {
	for _, last := range []struct {
		version uint16
		payload []byte
	}{{1, bytesOf(withdrawn{-1})}, {1, []byte{0xA1}}, {2, bytesOf(withdrawn{1})}} {
		src := some()
		src.put(event.Header{Entity: key, Scope: "bank", Kind: 0x1002, PayloadVersion: last.version}, last.payload)
		_, err := Get(src, MustNew(balance()), key, Consistent)
		begin := `projection "balance": state of "account:7": event 7`
		if text := fmt.Sprint(err); !strings.HasPrefix(text, begin) || strings.Count(text, "event 7") != 1 {
			t.Error(text)
		}
	}
}

// grow is a state that grows by what is noted.
func grow(maxBytes int) Spec[string] {
	return Spec[string]{Name: "grow", Version: 1, SnapshotEvery: 1, MaxStateBytes: maxBytes,
		Handlers: []Handler[string]{On(func(s *string, _ event.Event, p noted) error { *s += p.Text; return nil })}}
}

// TestTooLarge: a state that outgrows its bound fails the fold, at its end and, in a long one, on the way. What it was
// before stays in its snapshot.
func TestTooLarge(t *testing.T) {
	src, p := newMemory(), MustNew(grow(11))
	src.append(key, noted{"1234567890"})
	if got := must[State[string]](t)(Get(src, p, key, Consistent)); got.Value != "1234567890" {
		t.Errorf("%q", got.Value)
	}
	src.append(key, noted{"1"})
	_, err := Get(src, p, key, Consistent)
	var large *TooLargeError
	if want := (TooLargeError{"grow", key, 2, 12, 11}); !errors.As(err, &large) || *large != want || !errors.Is(err, event.ErrTooLarge) {
		t.Errorf("%#v", err)
	}
	if src.saved != 1 {
		t.Errorf("%d snapshots", src.saved)
	}
	if _, err := Get(src.only(), p, key, Consistent); !errors.As(err, &large) {
		t.Errorf("without snapshots: %v", err)
	}
	if _, err := Get(src, MustNew(grow(12)), key, Consistent); err != nil {
		t.Error(err)
	}
	for range sizeEvery + 10 {
		src.append("long", noted{"x"})
	}
	_, err = Get(src, p, "long", Consistent)
	if !errors.As(err, &large) || large.Seq != 2+sizeEvery || large.Bytes != sizeEvery+3 {
		t.Errorf("%v", err)
	}
	for range sizeEvery - 10 { // so that the fold ends where the size was looked at
		src.append("long", noted{"x"})
	}
	if _, err = Get(src, MustNew(grow(sizeEvery*2+2)), "long", Consistent); !errors.As(err, &large) || large.Seq != 2+2*sizeEvery {
		t.Errorf("%v", err)
	}
	if got := must[State[string]](t)(Get(src, MustNew(grow(sizeEvery*2+3)), "long", Consistent)); len(got.Value) != 2*sizeEvery {
		t.Errorf("%d bytes", len(got.Value))
	}
}

// A state is looked at while it grows by large events, long before there are many of them.
func TestTooLargeSoon(t *testing.T) {
	src, p := newMemory(), MustNew(grow(1000))
	for range 100 {
		src.append(key, noted{strings.Repeat("x", sizeBytes/4)})
	}
	var large *TooLargeError
	if _, err := Get(src, p, key, Consistent); !errors.As(err, &large) || large.Seq != 4 {
		t.Errorf("%v", err)
	}
	src.read = 0
	must[State[string]](t)(Get(src, MustNew(grow(100*sizeBytes)), key, Consistent))
	if src.read != 100 {
		t.Errorf("%d events read", src.read)
	}
}

// A state cannot be that of two keys at a time, or of two projections: neither would be right, and both be kept.
func TestFoldIntoOneStateOfTwo(t *testing.T) {
	src := some()
	p, other := MustNew(balance()), balance()
	other.Name = "other"
	for name, second := range map[string]func(*State[account]) Target{
		"keys":        func(s *State[account]) Target { return Into(s, p, "account:8") },
		"projections": func(s *State[account]) Target { return Into(s, MustNew(other), key) },
	} {
		var s State[account]
		if err := Fold(src, Into(&s, p, key), second(&s)); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), key) {
			t.Errorf("two %s: %v", name, err)
		}
		if err := Fold(src, second(&s), Into(&s, p, "nothing")); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("two %s, one without events: %v", name, err)
		}
	}
	if src.saved != 0 {
		t.Errorf("%d snapshots", src.saved)
	}
}

// TestFold: several states in one pass, also of different positions, and each goes on from where it was.
func TestFold(t *testing.T) {
	src := some()
	p, g := MustNew(balance()), MustNew(grow(0))
	every := balance()
	every.Name, every.Query = "every", func(string) event.Query { return event.Query{Scope: "bank", Lane: new(event.Lane(0))} }
	e := MustNew(every)
	var seven, eight, all State[account]
	var text State[string]
	fold := func() error {
		return Fold(src.only(), Into(&seven, p, key), Into(&eight, p, "account:8"), Into(&all, e, ""), Into(&text, g, key))
	}
	if n := src.counted(func() { must[int](t)(0, fold()) }); n != 5 || src.queries != 1 {
		t.Errorf("%d events read in %d queries", n, src.queries)
	}
	if diff := cmp.Diff(account7(src), seven, butOf); diff != "" {
		t.Error(diff)
	}
	if eight.Value.Cents != 1000 || eight.Seq != 3 || eight.Events != 1 || all.Value.Cents != 1075 || all.Events != 5 || text.Value != "hello" || text.Events != 4 {
		t.Errorf("%+v %+v %+v", eight, all, text)
	}
	src.append("account:8", withdrawn{1})
	if n := src.counted(func() { must[int](t)(0, fold()) }); n != 1+2 { // the state of account:8 goes on from event 3
		t.Errorf("%d events read", n)
	}
	if seven.Events != 4 || text.Value != "hello" || eight.Value.Cents != 999 || eight.Events != 2 || all.Value.Cents != 1074 || all.Seq != 7 {
		t.Errorf("%+v %+v %+v %+v", seven, eight, all, text)
	}
	if err := Fold(src); err != nil {
		t.Error(err)
	}
}

// TestFoldOfAnother: a state of another source is not gone on from.
func TestFoldOfAnother(t *testing.T) {
	p := MustNew(balance())
	for name, spoil := range map[string]func(*State[account]){
		"a position that is not there": func(s *State[account]) { s.Seq = 7 },
		"another hash":                 func(s *State[account]) { s.Hash[0] ^= 1 },
		"the hash of another event":    func(s *State[account]) { s.Seq-- },
		"no position":                  func(s *State[account]) { s.Seq = 0 },
	} {
		src := some()
		s := must[State[account]](t)(Get(src.only(), p, key, Consistent))
		s.Value.Cents = -1
		spoil(&s)
		if err := Fold(src, Into(&s, p, key)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(account7(src), s, butOf); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestFoldOfAnotherKey brings a state up to date for one key and then for another, for another version, and twice in one fold.
func TestFoldOfAnotherKey(t *testing.T) {
	src := some()
	p := MustNew(balance())
	var s State[account]
	if err := Fold(src, Into(&s, p, key)); err != nil {
		t.Fatal(err)
	}
	if err := Fold(src, Into(&s, p, "account:8")); err != nil || s.Value.Cents != 1000 || s.Events != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := Fold(src, Into(&s, p, key), Into(&s, p, key)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(account7(src), s, butOf); diff != "" {
		t.Error(diff)
	}
	next := balance()
	next.Version++
	src.read = 0
	if err := Fold(src.only(), Into(&s, MustNew(next), key)); err != nil || src.read == 0 {
		t.Errorf("%d events were read, %v", src.read, err)
	}
}
