package projection

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
)

const snapshotID = "balance/1/" + key

// plant keeps a snapshot of the key that is right but for what change does to it and for its state, which has a million
// cents too many: who sees them has believed it.
func plant(t *testing.T, src *memory, change func(*snapshot)) {
	t.Helper()
	delete(src.snapshots, snapshotID)
	must[State[account]](t)(Get(src, MustNew(balance()), key, Consistent))
	var s snapshot
	if !s.decode(snapshotID, src.snapshots[snapshotID]) {
		t.Fatal("there is no snapshot")
	}
	a := account7(src).Value
	a.Cents += 1_000_000
	s.State = bytesOf(a)
	change(&s)
	src.snapshots[snapshotID] = must[[]byte](t)(s.encode(snapshotID))
}

// TestSnapshotsLeftAside: whatever is not as it is now, the events are folded from the first.
func TestSnapshotsLeftAside(t *testing.T) {
	same := func(*snapshot) {}
	spec := func(change func(*Spec[account])) Spec[account] {
		s := balance()
		change(&s)
		return s
	}
	for name, tt := range map[string]struct {
		change   func(*snapshot)
		spec     Spec[account]
		believed bool
	}{
		"all as it is now":      {same, balance(), true},
		"another SnapshotEvery": {same, spec(func(s *Spec[account]) { s.SnapshotEvery = 9 }), true},
		"another version":       {same, spec(func(s *Spec[account]) { s.Version = 2 }), false},
		"another name":          {same, spec(func(s *Spec[account]) { s.Name = "cents" }), false},
		"other handlers": {same, spec(func(s *Spec[account]) {
			s.Handlers = append(s.Handlers, On(func(*account, event.Event, noted) error { return nil }))
		}), false},
		"the same query, said": {same, spec(func(s *Spec[account]) {
			s.Query = func(key string) event.Query { return event.Query{Entity: key, Lane: new(event.Lane(0))} }
		}), true},
		"another query": {same, spec(func(s *Spec[account]) {
			s.Query = func(key string) event.Query { return event.Query{Entity: key, Lane: new(event.Lane(0)), Scope: "bank"} }
		}), false},
		"a payload's version": {same, spec(func(s *Spec[account]) { s.Handlers[0] = On(deposit2) }), false},
		"beyond the log":      {func(s *snapshot) { s.Seq = 7 }, balance(), false},
		"another hash":        {func(s *snapshot) { s.Hash[31] ^= 1 }, balance(), false},
		"no hash":             {func(s *snapshot) { s.Hash = event.Hash{} }, balance(), false},
		"another event":       {func(s *snapshot) { s.Seq = 4 }, balance(), false},
		"a later format":      {func(s *snapshot) { s.Format++ }, balance(), false},
		"a state cut off":     {func(s *snapshot) { s.State = s.State[:len(s.State)-1] }, balance(), false},
		"no state":            {func(s *snapshot) { s.State = nil }, balance(), false},
		"a state of another":  {func(s *snapshot) { s.State = bytesOf("hello") }, balance(), false},
	} {
		for _, f := range []Freshness{Consistent, AtMost(time.Hour)} {
			src := some()
			plant(t, src, tt.change)
			want := account7(src)
			if tt.believed {
				want.Value.Cents += 1_000_000
			}
			src.read = 0
			got, err := Get(src, MustNew(tt.spec), key, f)
			if diff := cmp.Diff(want, got, butOf); diff != "" || err != nil || (src.read == 0) != tt.believed {
				t.Errorf("%s, %v: %v, %d events read %s", name, f, err, src.read, diff)
			}
		}
	}
}

// TestSnapshotOfAnother: what was kept under one id is nothing under another.
func TestSnapshotOfAnother(t *testing.T) {
	src := some()
	s := balance()
	s.Query = func(string) event.Query { return event.Query{Kind: 0x1001} }
	must[State[account]](t)(Get(src, MustNew(s), "a", Consistent))
	src.snapshots["balance/1/b"] = src.snapshots["balance/1/a"]
	src.read = 0
	if must[State[account]](t)(Get(src, MustNew(s), "b", Consistent)); src.read != 4 {
		t.Errorf("%d events read", src.read)
	}
}

// A snapshot that is larger than states may be now is left aside: what the state has become may fit.
func TestSnapshotTooLarge(t *testing.T) {
	src := newMemory()
	last := Spec[string]{Name: "last", Version: 1, SnapshotEvery: 1, Handlers: []Handler[string]{On(func(s *string, _ event.Event, n noted) error {
		*s = n.Text
		return nil
	})}}
	src.append(key, noted{strings.Repeat("x", 900)})
	must[State[string]](t)(Get(src, MustNew(last), key, Consistent))
	src.append(key, noted{"short"})
	last.MaxStateBytes = 500
	if s := must[State[string]](t)(Get(src, MustNew(last), key, Consistent)); s.Value != "short" || src.saved != 2 {
		t.Errorf("%q after %d snapshots", s.Value, src.saved)
	}
}

// TestSnapshotDamage changes each byte of a snapshot, cuts it off everywhere and adds to it: the state stays right, and is
// folded from the first event.
func TestSnapshotDamage(t *testing.T) {
	src, p := some(), MustNew(balance())
	must[State[account]](t)(Get(src, p, key, Consistent))
	whole := src.snapshots[snapshotID]
	check := func(name string, damaged []byte) {
		for _, f := range []Freshness{Consistent, AtMost(time.Hour)} {
			src.snapshots[snapshotID], src.read = damaged, 0
			got, err := Get(src, p, key, f)
			if diff := cmp.Diff(account7(src), got, butOf); diff != "" || err != nil || src.read != 4 {
				t.Errorf("%s, %v: %v, %d events read %s", name, f, err, src.read, diff)
			}
			if f == Consistent && !cmp.Equal(src.snapshots[snapshotID], whole) {
				t.Errorf("%s: the snapshot was not made again", name)
			}
		}
	}
	for i := range whole {
		for _, mask := range []byte{1, 0x20, 0x80, 0xFF} {
			b := append([]byte{}, whole...)
			b[i] ^= mask
			check(fmt.Sprintf("byte %d ^ %#x", i, mask), b)
		}
		check(fmt.Sprintf("the first %d bytes", i), whole[:i])
	}
	check("none", nil)
	check("a byte more", append(append([]byte{}, whole...), 0))
	check("twice", append(append([]byte{}, whole...), whole...))
	check("zeros", make([]byte, len(whole)))
}

// TestSnapshotEvery: a snapshot is saved once so many events were folded since the one before.
func TestSnapshotEvery(t *testing.T) {
	for every := 1; every <= 5; every++ {
		s := balance()
		s.SnapshotEvery = every
		src, p := newMemory(), MustNew(s)
		for n := 1; n <= 20; n++ {
			src.append(key, deposited{1})
			got := must[State[account]](t)(Get(src, p, key, Consistent))
			if got.Value.Cents != int64(n) || got.Events != uint64(n) || src.saved != n/every {
				t.Errorf("every %d: %+v after %d events, %d snapshots", every, got, n, src.saved)
			}
		}
	}
	src := newMemory()
	s := balance()
	s.SnapshotEvery = 0
	for range DefaultSnapshotEvery - 1 {
		src.append(key, deposited{1})
	}
	for want := range 2 {
		if must[State[account]](t)(Get(src, MustNew(s), key, Consistent)); src.saved != want {
			t.Errorf("%d events, %d snapshots", len(src.events), src.saved)
		}
		src.append(key, deposited{1})
	}
}

// TestRebuild folds from the first event and puts what it has in the place of a snapshot that is wrong and believed.
func TestRebuild(t *testing.T) {
	s := balance()
	s.SnapshotEvery = 1000
	src, p := some(), MustNew(s)
	plant(t, src, func(*snapshot) {})
	if got := must[State[account]](t)(Get(src, p, key, Consistent)); got.Value.Cents != 1_000_075 {
		t.Fatalf("the planted snapshot is not believed: %+v", got)
	}
	src.read = 0
	for name, read := range map[string]func() (State[account], error){
		"rebuilt": func() (State[account], error) { return Rebuild(src, p, key) },
		"after":   func() (State[account], error) { return Rebuild(src.only(), p, key) },
	} {
		if diff := cmp.Diff(account7(src), must[State[account]](t)(read()), butOf); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if src.read != 8 {
		t.Errorf("%d events read", src.read)
	}
	for _, f := range []Freshness{Consistent, AtMost(time.Hour)} {
		if diff := cmp.Diff(account7(src), must[State[account]](t)(Get(src, p, key, f)), butOf); diff != "" || src.read != 8 {
			t.Errorf("%d events read %s", src.read, diff)
		}
	}
	must[State[account]](t)(Get(src, p, "account:9", AtMost(1)))
	if got := must[State[account]](t)(Rebuild(src, p, "account:9")); got.Seq != 0 || got.Value.Moves == nil {
		t.Errorf("%+v", got)
	}
}
