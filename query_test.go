package batpak

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
)

// A model is the log as it must be, built from what was proposed. Of the receipts it believes only what it cannot know:
// the random part of an id, and the time.
type model struct {
	store  StoreID
	events []Event
	heads  map[event.Stream]Event
}

// append adds the events of a commit and returns what is wrong with its receipts.
func (m *model) append(ps []Proposal, rs []Receipt) error {
	if len(rs) != len(ps) {
		return fmt.Errorf("%d receipts for %d proposals", len(rs), len(ps))
	}
	first := len(m.events)
	for i, p := range ps {
		stream := event.Stream{Entity: p.At.Entity, Lane: p.Lane}
		h := Header{
			Seq: Seq(first + i + 1), ID: rs[i].ID, Entity: p.At.Entity, Scope: p.At.Scope, Lane: p.Lane, Clock: 1, Kind: p.Kind,
			Time: rs[i].Time, Correlation: p.Correlation, Causation: p.Cause.ID, PayloadLength: uint32(len(p.Data)),
			Content: chain.Content(p.Data), Prev: chain.Genesis(m.store, stream), Key: p.Key, Extensions: p.Extensions,
		}
		if before, ok := m.heads[stream]; ok {
			h.Clock, h.Prev = before.Clock+1, before.Hash
		}
		if h.Correlation.IsZero() {
			h.Correlation = h.ID
		}
		if item, ok := p.Cause.Item(); ok {
			h.Causation = m.events[first+item].ID
		}
		if len(m.events) > 0 && h.Time <= m.events[len(m.events)-1].Time {
			return fmt.Errorf("event %d is not later than the one before", h.Seq)
		}
		e := Event{Header: h, Payload: append([]byte{}, p.Data...), Hash: chain.Event(event.AppendHeader(nil, &h))}
		if want := chain.NewReceipt(m.store, &h, e.Hash, rs[i].Durability); rs[i] != want {
			return fmt.Errorf("receipt of event %d (- model, + store):\n%s", h.Seq, cmp.Diff(want, rs[i]))
		}
		m.events = append(m.events, e)
		m.heads[stream] = e
	}
	return nil
}

// selects is [Query.Match] in other words.
func selects(q *Query, h *Header) bool {
	in := func(entity, prefix string) bool {
		return entity == prefix || strings.HasPrefix(entity, prefix+":")
	}
	switch {
	case q.Entity != "" && q.Entity != h.Entity,
		q.Prefix != "" && !in(h.Entity, q.Prefix),
		q.Scope != "" && q.Scope != h.Scope,
		q.Kind != 0 && q.Kind != h.Kind,
		q.Category != nil && uint16(*q.Category) != uint16(h.Kind)/0x1000,
		q.Lane != nil && *q.Lane != h.Lane,
		!q.Correlation.IsZero() && q.Correlation != h.Correlation,
		h.Seq <= q.After, q.Through != 0 && h.Seq > q.Through,
		h.Clock <= q.ClockAfter, q.ClockThrough != 0 && h.Clock > q.ClockThrough,
		!q.Since.IsZero() && h.Time.Time().Before(q.Since),
		!q.Until.IsZero() && !h.Time.Time().Before(q.Until):
		return false
	}
	return true
}

// answer is what q must give: a filter of the whole log.
func (m *model) answer(t *rapid.T, q Query) (es []Event) {
	for i := range m.events {
		want := selects(&q, &m.events[i].Header)
		if q.Match(&m.events[i].Header) != want {
			t.Fatalf("Match of event %d is not %v for %+v", m.events[i].Seq, want, q)
		}
		if want {
			es = append(es, m.events[i])
		}
	}
	if q.Reverse {
		slices.Reverse(es)
	}
	if q.Limit > 0 {
		es = es[:min(len(es), q.Limit)]
	}
	return es
}

// equal is reflect.DeepEqual, at a tenth of the cost: the encoding has every field of a header.
func equal(a, b *Event) bool {
	return a.Hash == b.Hash && bytes.Equal(a.Payload, b.Payload) && bytes.Equal(event.AppendHeader(nil, &a.Header), event.AppendHeader(nil, &b.Header))
}

// same fails the test if the events are not the ones wanted, to the last bit of each and in their order.
func same(t *rapid.T, what string, got, want []Event) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: %d events where %d are due; event %d is missing", what, len(got), len(want), want[i].Seq)
		case i >= len(want):
			t.Fatalf("%s: %d events where %d are due; event %d is too many", what, len(got), len(want), got[i].Seq)
		}
		if !equal(&got[i], &want[i]) {
			t.Fatalf("%s: at %d of %d (- model, + store):\n%s", what, i, len(want), cmp.Diff(want[i], got[i]))
		}
	}
}

// The alphabets are small, so that most queries meet events. Some entities lie deeper than the index has namespaces for,
// some differ in what stands at a colon only.
var (
	entities = []string{"a", "ab", "a:b", "a:bc", "a:b:c", "b:", "c", ":", ":a",
		"d:1:2:3:4:5:6:7:8:9:10", "d:1:2:3:4:5:6:7:8:9:11", "d:1:2:3:4:5:6:7:8", "d:1:2:3:4:5:6:7", "d:1:2:3:4:5:6:7:88:9"}
	prefixes = append([]string{"b", "d", "d:1", "d:1:2:3:4:5:6", "d:1:2:3:4:5:6:7:8:9", "a:", "::", "x"}, entities...)
	scopes   = []string{"room", "hall", "é"}
	kinds    = []Kind{0x1000, 0x1001, 0xF001, 0xFFFF, 0xE001}
)

// drawCommit draws the proposals of one commit.
func drawCommit(t *rapid.T, m *model) []Proposal {
	known := len(m.events)
	ps := make([]Proposal, rapid.SampledFrom([]int{1, 1, 1, 2, 5, 30}).Draw(t, "size"))
	for i := range ps {
		p := &ps[i]
		p.At = At(rapid.SampledFrom(entities).Draw(t, "entity"), rapid.SampledFrom(scopes).Draw(t, "scope"))
		p.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
		p.Data = make([]byte, rapid.IntRange(0, 120).Draw(t, "bytes"))
		for j := range p.Data {
			p.Data[j] = byte(known + i + j)
		}
		p.Lane = rapid.SampledFrom([]Lane{0, 0, 0, 1, 1 << 31}).Draw(t, "lane")
		switch rapid.IntRange(0, 5).Draw(t, "relation") {
		case 0:
			if known > 0 {
				p.Correlation = m.events[rapid.IntRange(0, known-1).Draw(t, "correlation")].Correlation
			}
		case 1:
			if known > 0 {
				p.Cause = CauseID(m.events[rapid.IntRange(0, known-1).Draw(t, "cause")].ID)
			}
		case 2:
			if i > 0 {
				p.Cause = CauseItem(rapid.IntRange(0, i-1).Draw(t, "item"))
			}
		case 3:
			p.Extensions = map[string][]byte{"test.n": {byte(i)}, "test.empty": {}}
		case 4:
			p.Correlation = event.NewID(5, Seq(rapid.IntRange(1, 400).Draw(t, "foreign")), 7) // an id that no event has
		}
	}
	return ps
}

// drawQuery draws a query: each field is set in few of them, so that conjunctions still select something.
func drawQuery(t *rapid.T, m *model) Query {
	var q Query
	n := len(m.events)
	some := func(name string, in int) bool { return rapid.IntRange(1, in).Draw(t, name) == 1 }
	seq := func(name string) Seq { return Seq(rapid.IntRange(0, n+2).Draw(t, name)) }
	clock := func(name string) Clock { return Clock(rapid.IntRange(0, n/6+2).Draw(t, name)) }
	instant := func(name string) time.Time {
		at := m.events[rapid.IntRange(0, n-1).Draw(t, name)].Time.Time()
		return at.Add(time.Duration(rapid.SampledFrom([]int{-1000, -1, 0, 1, 1000, 1e9, -1e9}).Draw(t, name+" off")))
	}
	if some("by entity", 3) {
		q.Entity = rapid.SampledFrom(entities).Draw(t, "entity")
	} else if some("by prefix", 2) {
		q.Prefix = rapid.SampledFrom(prefixes).Draw(t, "prefix")
	}
	if q.Entity != "" && some("by both", 8) {
		q.Prefix = rapid.SampledFrom(prefixes).Draw(t, "prefix")
	}
	if some("by scope", 4) {
		q.Scope = rapid.SampledFrom(scopes).Draw(t, "scope")
	}
	if some("by kind", 4) {
		q.Kind = rapid.SampledFrom(append(kinds, 0x2001)).Draw(t, "kind")
	}
	if some("by category", 4) {
		q.Category = new(Category(rapid.SampledFrom([]Category{0x1, 0xF, 0xE, 0x0, 0x2}).Draw(t, "category")))
	}
	if some("by lane", 3) {
		q.Lane = new(Lane(rapid.SampledFrom([]Lane{0, 1, 2, 1 << 31}).Draw(t, "lane")))
	}
	if some("by correlation", 5) {
		e := m.events[rapid.IntRange(0, n-1).Draw(t, "correlation")]
		q.Correlation = rapid.SampledFrom([]ID{e.Correlation, e.ID, e.Causation, event.NewID(5, e.Seq, 7)}).Draw(t, "whose")
	}
	if some("by seq", 3) {
		q.After, q.Through = seq("after"), seq("through")
	}
	if some("by clock", 4) {
		q.ClockAfter, q.ClockThrough = clock("clock after"), clock("clock through")
	}
	if some("since", 5) {
		q.Since = instant("since")
	}
	if some("until", 5) {
		q.Until = instant("until")
	}
	q.Reverse = some("reverse", 3)
	if some("limited", 3) {
		q.Limit = rapid.IntRange(1, 40).Draw(t, "limit")
	}
	if q.Validate() != nil { // an inverted range
		q.Through, q.ClockThrough, q.Until = 0, 0, time.Time{}
	}
	return q
}

func gather(seq func(func(Event, error) bool)) (es []Event, err error) {
	for e, err := range seq {
		if err != nil {
			return es, err
		}
		es = append(es, e)
	}
	return es, nil
}

// checkForms holds every form of one query against the model.
func (m *model) checkForms(t *rapid.T, what string, v *view, q Query) {
	what = fmt.Sprintf("%s: %+v", what, q)
	got, err := gather(v.Query(q))
	if err != nil {
		t.Fatalf("query %s: %v", what, err)
	}
	same(t, "query "+what, got, m.answer(t, q))
	m.checkPages(t, what, v, q)

	f := q
	if f.Reverse {
		if _, err := gather(v.Follow(t.Context(), f)); !errors.Is(err, ErrInvalid) {
			t.Fatalf("follow in reverse: %v", err)
		}
		f.Reverse = false
	}
	want := m.answer(t, f)
	if end := Seq(len(m.events)); f.Limit == 0 || len(want) < f.Limit {
		if f.After > end { // nothing to wait for
			return
		}
		f.Through = min(f.Through, end)
		if f.Through == 0 {
			f.Through = end
		}
	}
	if got, err = gather(v.Follow(t.Context(), f)); err != nil {
		t.Fatalf("follow %s: %v", what, err)
	}
	same(t, "follow "+what, got, want)
}

// checkPages pages through a query, with its limit as the size of a page.
func (m *model) checkPages(t *rapid.T, what string, v *view, q Query) {
	all := q
	all.Limit = 0
	want := m.answer(t, all)
	var got []Event
	for pages := 0; ; pages++ {
		p, err := v.Page(q)
		if err != nil {
			t.Fatalf("page %d of %s: %v", pages, what, err)
		}
		if q.Limit > 0 && len(p.Events) > q.Limit || pages > len(m.events) {
			t.Fatalf("page %d of %s has %d events", pages, what, len(p.Events))
		}
		got = append(got, p.Events...)
		if !p.More {
			if !q.Reverse && p.Next < v.Visible() && (q.Through == 0 || p.Next < q.Through) {
				t.Fatalf("pages of %s: the last one leads to %d, and more is visible", what, p.Next)
			}
			break
		}
		if q.Reverse {
			q.Through = p.Next
		} else {
			q.After = p.Next
		}
	}
	same(t, "pages of "+what, got, want)
}

// checkPoints reads single events.
func (m *model) checkPoints(t *rapid.T, what string, v *view) {
	for _, want := range m.events {
		byID, err := v.Get(want.ID)
		if err != nil {
			t.Fatalf("%s: get: %v", what, err)
		}
		bySeq, err := v.At(want.Seq)
		if err != nil {
			t.Fatalf("%s: at: %v", what, err)
		}
		same(t, what+": get and at", []Event{byID, bySeq}, []Event{want, want})
	}
	e := m.events[rapid.IntRange(0, len(m.events)-1).Draw(t, "walked")]
	other := e.ID
	other[15]++
	for _, id := range []ID{{}, other, event.NewID(e.Time, Seq(len(m.events)+1), 1)} {
		if _, err := v.Get(id); !errors.Is(err, ErrNotFound) {
			t.Fatalf("%s: get of %s, which is not there: %v", what, id, err)
		}
	}
	limit := rapid.IntRange(0, 40).Draw(t, "steps")
	want := m.answer(t, Query{Entity: e.Entity, Lane: &e.Lane, Through: e.Seq, Reverse: true})
	end := chain.ReachedGenesis
	if limit < len(want) {
		want, end = want[:limit], chain.ReachedLimit
	}
	w, err := v.Walk(e.ID, limit)
	if err != nil || w.End != end || w.Err != nil {
		t.Fatalf("%s: walk of %d from %d ended at %q: %v, %v", what, limit, e.Seq, w.End, w.Err, err)
	}
	same(t, what+": walk", w.Events, want)
}

// Every event that any form of reading returns equals a filter of the log, while the store is open and partly indexed,
// after reopening it, without its index file, with an index in memory, and in a reader.
func TestQueriesEqualAFilterOfTheLog(t *testing.T) {
	t.Parallel()
	root := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		clock := time.UnixMicro(1_700_000_000_000_000)
		opts := Options{SegmentBytes: 4096, Durability: Written, SyncInterval: time.Hour, Clock: func() time.Time { return clock }}
		opts.foldEvents = rapid.SampledFrom([]int{20, 1 << 20}).Draw(t, "fold events")
		s, err := Open(dir, &opts)
		if err != nil {
			t.Fatal(err)
		}
		open := []interface{ Close() error }{s}
		defer func() {
			for _, c := range open {
				c.Close()
			}
		}()
		m := &model{store: s.StoreID(), heads: map[event.Stream]Event{}}
		check := func(what string, v *view) {
			m.checkPoints(t, what, v)
			for range 8 {
				m.checkForms(t, what, v, drawQuery(t, m))
			}
		}
		for range rapid.IntRange(10, 70).Draw(t, "commits") {
			clock = clock.Add(time.Duration(rapid.SampledFrom([]int64{0, 0, 1000, 1999, 1e6, 5e9, -3e9}).Draw(t, "time passes")))
			ps := drawCommit(t, m)
			rs, err := s.Commit(ps...)
			if err == nil {
				err = m.append(ps, rs)
			}
			if err == nil && opts.foldEvents > 1000 && rapid.IntRange(1, 12).Draw(t, "fold") == 1 {
				err = s.foldTo(s.accepted()) // the keeper, who would do so at another moment, sleeps
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		check("live", &s.view)
		r, err := OpenReader(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
		check("reader", &r.view)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		reopen := func(what string, o Options) {
			s, err := Open(dir, &o)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			defer s.Close()
			check(what, &s.view)
			if rep, err := s.Verify(t.Context(), nil); err != nil || !rep.OK() || rep.Events != len(m.events) {
				t.Fatalf("%s: verify: %+v, %v", what, rep, err)
			}
		}
		reopen("reopened", opts)
		if err := os.Remove(filepath.Join(dir, indexFile)); err != nil {
			t.Fatal(err)
		}
		reopen("without the index file", opts)
		opts.MemoryIndex = true
		reopen("index in memory", opts)
	})
}

// TestQueryMemory reads 38 MiB of payloads of which the loop body keeps nothing: neither does the query.
func TestQueryMemory(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{Durability: Written})
	data := make([]byte, 32<<10)
	const events = 1200 // so many that others open them ahead of the loop body
	for i := range events {
		data[0] = byte(i)
		mustCommit(t, s, Proposal{At: At("a", "s"), Kind: 0xF001, Data: data})
	}
	closeTest(t, s)
	s = openTest(t, dir, nil)
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, seen := live(), 0
	for e, err := range s.Query(Query{Limit: events}) {
		if err != nil || len(e.Payload) != len(data) || e.Payload[0] != byte(seen) {
			t.Fatalf("event %d: %v", seen+1, err)
		}
		if seen++; seen%16 != 0 {
			continue
		}
		if more := live() - before; more > 3*maxOpenBytes {
			t.Fatalf("%d MiB are live after %d events", more>>20, seen)
		}
	}
	if seen != events {
		t.Errorf("%d events", seen)
	}
}

// TestReadersLeaveNothingBehind ends loops over many events in each way. No reader or helper is counted when they are over: others
// would be kept from theirs.
func TestReadersLeaveNothingBehind(t *testing.T) {
	s := openTest(t, t.TempDir(), &Options{Durability: Written})
	defer closeTest(t, s)
	for range 3 {
		ps := make([]Proposal, 1000)
		for i := range ps {
			ps[i] = benchProposal(i)
		}
		if _, err := s.Commit(ps...); err != nil {
			t.Fatal(err)
		}
	}
	for _, most := range []int{1, 100, 700, 3000} {
		seen := 0
		for _, err := range s.Query(Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; seen == most {
				break
			}
		}
		if reading, helping := s.reading.Load(), s.helping.Load(); seen != most || reading != 0 || helping != 0 {
			t.Errorf("after %d events of %d: %d readers, %d helpers", seen, most, reading, helping)
		}
	}
}
