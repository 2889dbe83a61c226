package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// TestConcurrent appends, folds and reads at once. Each reader follows a query to the end, and sees each event that it
// selects once, in order.
func TestConcurrent(t *testing.T) {
	const events, maxTail = 20_000, 3000
	var m model
	r := rand.New(rand.NewPCG(1, 2))
	for range events {
		h := event.Header{Entity: pick(r, entities), Scope: pick(r, scopes), Lane: pick(r, lanes), Kind: pick(r, kinds), Key: pick(r, keys)}
		m.add(h, 3)
	}
	x, err := Open(kv.NewMemory(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	x.merging = merging{fanIn: 4, span: 5000, bytes: 1 << 30}

	var wg sync.WaitGroup
	wg.Go(func() {
		for _, e := range m.entries {
			for count, _ := x.Tail(); count >= maxTail && !t.Failed(); count, _ = x.Tail() {
				runtime.Gosched()
			}
			x.Append(e, nil)
		}
	})
	wg.Go(func() {
		for x.Position().Seq < events && !t.Failed() {
			if err := x.Fold(Position{Seq: x.Last()}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	queries := []event.Query{
		{},
		{Scope: "s"},
		{Entity: "a:b", Lane: new(event.Lane(0))},
		{Entity: "a:b", Lane: new(event.Lane(0)), ClockAfter: 100},
		{Prefix: "a", Kind: 0x1000},
		{Category: new(event.Category(1)), Since: event.Timestamp(1_000_000 + events).Time()},
	}
	for i, q := range queries {
		wg.Go(func() { follow(t, x, &m, q, 10+90*i) })
		wg.Go(func() { goBack(t, x, &m, q, 1000) })
	}
	wg.Go(func() { askHeads(t, x, &m) })
	wg.Wait()
}

// follow reads from the first event until the last one has been seen.
func follow(t *testing.T, x *Index, m *model, q event.Query, limit int) {
	want := m.query(&q)
	var got []event.Seq
	for q.After < m.last() && !t.Failed() {
		last := x.Last()
		rows, next, more, err := x.Page(&q, limit, nil)
		if err != nil {
			t.Error(err)
			return
		}
		got = append(got, selected(m, &q, rows)...)
		if next < q.After || !more && next < last {
			t.Errorf("%d after %d of %d, more is %v", next, q.After, last, more)
			return
		}
		if next == q.After {
			runtime.Gosched()
		}
		q.After = next
	}
	if !t.Failed() && !slices.Equal(got, want) {
		t.Errorf("%+v: %s", q, firstDifference(got, want))
	}
}

// goBack reads from the newest event to the first, again and again until all events are there.
func goBack(t *testing.T, x *Index, m *model, q event.Query, limit int) {
	q.Reverse = true
	for last := event.Seq(0); last < m.last() && !t.Failed(); {
		last = x.Last()
		if last == 0 {
			runtime.Gosched()
			continue
		}
		q.Through = last
		want := m.query(&q)
		var got []event.Seq
		for more := true; more; {
			rows, next, m2, err := x.Page(&q, limit, nil)
			if err != nil {
				t.Error(err)
				return
			}
			got = append(got, selected(m, &q, rows)...)
			if m2 && (next == 0 || next >= q.Through) {
				t.Errorf("%d after %d on the way back", next, q.Through)
				return
			}
			q.Through, more = next, m2
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v from %d: %s", q, last, firstDifference(got, want))
			return
		}
	}
}

// askHeads checks that a stream never has fewer events than the tail showed before.
func askHeads(t *testing.T, x *Index, m *model) {
	seen := make(map[event.Stream]event.Seq)
	for last := event.Seq(0); last < m.last() && !t.Failed(); {
		last = x.Last()
		for _, entity := range entities {
			s := event.Stream{Entity: entity}
			row, ok, err := x.Head(s, event.MaxSeq)
			seq := row.Seq
			if err != nil || ok && (seq < seen[s] || m.at(seq).Header.Stream() != s) || !ok && seen[s] != 0 {
				t.Errorf("head of %v: %d %v %v after %d", s, seq, ok, err, seen[s])
				return
			}
			seen[s] = seq
			if !ok {
				continue
			}
			c := m.at(seq).Header.Clock
			if at, ok, err := x.Clock(s, c); err != nil || !ok || at.Seq != seq {
				t.Errorf("event %d of %v: %d %v %v, want %d", c, s, at.Seq, ok, err, seq)
				return
			}
		}
		terms, err := x.Terms(Kinds, "", "", 100)
		if n := countOf(terms); err != nil || n < uint64(last) || n > uint64(x.Last()) {
			t.Errorf("%d events in %v, %d to %d were there (%v)", n, terms, last, x.Last(), err)
			return
		}
	}
}

func countOf(terms []Term) (n uint64) {
	for _, t := range terms {
		n += t.Count
	}
	return n
}

func selected(m *model, q *event.Query, rows []Row) (seqs []event.Seq) {
	for _, r := range rows {
		if q.Match(&m.at(r.Seq).Header) {
			seqs = append(seqs, r.Seq)
		}
	}
	return seqs
}

func firstDifference(got, want []event.Seq) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("number %d is %d, want %d", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d events, want %d", len(got), len(want))
}
