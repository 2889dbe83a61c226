package projection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
)

// TestAtMost: a snapshot is the answer up to the age, that included, by the clock of the source, and not if it is from the
// future.
func TestAtMost(t *testing.T) {
	const age = 5 * time.Second
	for name, tt := range map[string]struct {
		passed time.Duration
		age    time.Duration
		served bool
	}{
		"at once":            {0, age, true},
		"younger":            {age - 1, age, true},
		"at the age":         {age, age, true},
		"a nanosecond above": {age + 1, age, false},
		"much older":         {time.Hour, age, false},
		"from the future":    {-1, age, false},
		"a far future":       {-time.Hour, age, false},
		"no age":             {0, 0, false},
		"a negative age":     {0, -age, false},
		"no age, in future":  {-time.Hour, -2 * time.Hour, false},
		"any age":            {1000 * time.Hour, 1<<63 - 1, true},
	} {
		src, p := some(), MustNew(balance())
		must[State[account]](t)(Get(src, p, key, AtMost(age)))
		src.append(key, deposited{1})
		src.now = src.now.Add(tt.passed)
		want := int64(76)
		if tt.served {
			want = 75
		}
		var got State[account]
		n := src.counted(func() { got = must[State[account]](t)(Get(src, p, key, AtMost(tt.age))) })
		if got.Value.Cents != want || tt.served != (n == 0) {
			t.Errorf("%s: %+v, %d events read", name, got, n)
		}
		if got := must[State[account]](t)(Get(src, p, key, Consistent)); got.Value.Cents != 76 {
			t.Errorf("%s: consistent state is %+v", name, got)
		}
	}
}

// TestAtMostAges: a snapshot is as old as the look at the source that it is of, not as the last event; each look that was
// too old to be used is a snapshot of its own, so that calls in a row read events once in each age.
func TestAtMostAges(t *testing.T) {
	src, p := some(), MustNew(balance())
	reads := 0
	for range 100 {
		if src.counted(func() { must[State[account]](t)(Get(src, p, "account:9", AtMost(10*time.Second))) }); src.queries > reads {
			reads = src.queries
		}
		src.now = src.now.Add(time.Second)
	}
	if reads != 100/11+1 {
		t.Errorf("%d reads in 100 s", reads)
	}
	got := must[State[account]](t)(Get(src.only(), p, key, AtMost(time.Hour))) // no snapshots: always consistent
	if diff := cmp.Diff(account7(src), got, butOf); diff != "" {
		t.Error(diff)
	}
}

func TestGetIfChanged(t *testing.T) {
	src, p := some(), MustNew(balance())
	got, changed, err := GetIfChanged(src, p, key, 0)
	if diff := cmp.Diff(account7(src), got, butOf); diff != "" || !changed || err != nil {
		t.Errorf("at first: %t, %v %s", changed, err, diff)
	}
	expect := func(name string, since event.Seq, want bool, cents int64, seq event.Seq) {
		t.Helper()
		n := src.counted(func() { got, changed, err = GetIfChanged(src, p, key, since) })
		if changed != want || err != nil || got.Value.Cents != cents || got.Seq != seq {
			t.Errorf("%s: %t, %v, %+v", name, changed, err, got)
		}
		if n > 2 || !want && n > 0 {
			t.Errorf("%s: %d events read", name, n)
		}
	}
	expect("no event", 5, false, 0, 0)
	src.append("account:8", deposited{1})
	expect("an event of another stream", 5, false, 0, 0)
	src.append(key, noted{"hello"})
	expect("an event of no handler", 5, true, 75, 8)
	expect("none behind it", 8, false, 0, 0)
	src.append(key, deposited{1})
	expect("an event of a handler", 8, true, 76, 9)
	expect("one long seen", 1, true, 76, 9)
	expect("a position to come", 50, false, 0, 0)
	got, changed, err = GetIfChanged(src, p, "account:9", 0)
	if changed || err != nil || got.Value.Moves != nil {
		t.Errorf("no events: %t, %v, %+v", changed, err, got)
	}
	first := balance()
	first.Query = func(string) event.Query { return event.Query{Through: 2} }
	for since, want := range []bool{true, true, false, false} {
		if _, changed, err := GetIfChanged(src, MustNew(first), key, event.Seq(since)); changed != want || err != nil {
			t.Errorf("through 2, since %d: %t, %v", since, changed, err)
		}
	}
	src.put(event.Header{Entity: key, Scope: "bank", Kind: 0x1001}, []byte{0xFF})
	if _, changed, err = GetIfChanged(src, p, key, 9); changed || err == nil {
		t.Errorf("an event that does not decode: %t, %v", changed, err)
	}
}

var errEnough = errors.New("enough")

// TestWatch: the loop sees the state as it is, then each newer one, never one twice, though it appends several at a time; a
// state is its own; the end is the cause of the context.
func TestWatch(t *testing.T) {
	for name, every := range map[string]int{"snapshots": 1, "few snapshots": 1000} {
		t.Run(name, func(t *testing.T) {
			s := balance()
			s.SnapshotEvery = every
			src, p := some(), MustNew(s)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var kept []State[account]
			var saw []string
			var end error
			for s, err := range Watch(ctx, src, p, key) {
				if err != nil {
					end = err
					saw = append(saw, "the end")
					continue
				}
				saw = append(saw, fmt.Sprint(s.Seq, s.Events, s.Value.Cents, s.Value.Moves))
				s.Value.Moves["in"] += 1000
				s.Value.Cents += 1000
				kept = append(kept, s)
				switch len(saw) {
				case 1:
					src.append(key, deposited{1}, deposited{1}, withdrawn{3})
				case 2:
					src.append("account:8", deposited{1})
					src.append(key, noted{"hello"})
				case 3:
					src.append(key, deposited{20})
				case 4:
					cancel(errEnough)
				}
			}
			want := []string{"5 4 75 map[in:2 out:1]", "9 7 74 map[in:4 out:2]", "11 8 74 map[in:4 out:2]", "12 9 94 map[in:5 out:2]", "the end"}
			if diff := cmp.Diff(want, saw, butOf); diff != "" || end != errEnough {
				t.Errorf("%v %s", end, diff)
			}
			if kept[0].Value.Moves["in"] != 1002 || kept[3].Value.Moves["in"] != 1005 {
				t.Errorf("what was kept has changed: %v", kept)
			}
			if got := must[State[account]](t)(Get(src, p, key, Consistent)); got.Value.Cents != 94 || got.Value.Moves["in"] != 5 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestWatchWaits: between states the watch waits, and events of others do not wake it.
func TestWatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, p := newMemory(), MustNew(balance())
		ctx, cancel := context.WithCancelCause(t.Context())
		var seen []event.Seq
		ended := make(chan error, 1)
		go func() {
			for s, err := range Watch(ctx, src, p, key) {
				if err != nil {
					ended <- err
					return
				}
				if s.Value.Moves == nil {
					t.Error("no initial state")
				}
				seen = append(seen, s.Seq)
			}
		}()
		expect := func(what string, want ...event.Seq) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, seen, butOf); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		expect("the state without events", 0)
		src.append("account:8", deposited{1})
		expect("an event of another", 0)
		src.append(key, deposited{1})
		expect("an event", 0, 2)
		src.append(key, deposited{1}, deposited{1})
		synctest.Wait()
		if n := len(seen); seen[n-1] != 4 {
			t.Errorf("%v", seen)
		}
		cancel(errEnough)
		if err := <-ended; err != errEnough {
			t.Error(err)
		}
	})
}

// TestWatchEnds: when the loop body does, when an event does not decode, and behind the last event of a query that has one.
func TestWatchEnds(t *testing.T) {
	src, p := some(), MustNew(balance())
	n := 0
	for range Watch(t.Context(), src, p, key) {
		n++
		break
	}
	var bad *event.DecodeError
	var last error
	for s, err := range Watch(t.Context(), src, p, key) {
		if n++; err == nil && s.Seq == 5 {
			src.put(event.Header{Entity: key, Scope: "bank", Kind: 0x1001}, []byte{0xFF})
		}
		last = err
	}
	if n != 3 || !errors.As(last, &bad) || bad.Seq != 7 {
		t.Errorf("%d pairs, the last with %v", n, last)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	n, src = 0, some()
	for _, err := range Watch(ctx, src, p, key) {
		n++
		last = err
	}
	if n != 2 || last != errEnough {
		t.Errorf("a context that is done: %d pairs, the last with %v", n, last)
	}
	first := balance()
	first.Query = func(string) event.Query { return event.Query{Through: 2} }
	ctx, cancel = context.WithCancelCause(t.Context())
	n = 0
	for s, err := range Watch(ctx, through{src}, MustNew(first), key) {
		if n++; err != nil || s.Seq != 2 {
			t.Errorf("%+v, %v", s, err)
		}
	}
	cancel(nil)
	if n != 1 {
		t.Errorf("up to the last event: %d pairs", n)
	}
}

// through is a source that, as a store does, ends following where the query does.
type through struct{ *memory }

func (m through) Follow(ctx context.Context, q event.Query) iter.Seq2[event.Event, error] {
	if q.Through > 0 && q.After >= q.Through {
		return func(func(event.Event, error) bool) {}
	}
	return m.memory.Follow(ctx, q)
}
