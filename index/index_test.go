package index

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

var testStore = event.StoreID{1, 2, 3}

// model is the events themselves: what the index must agree with.
type model struct {
	entries []*Entry
	clocks  map[event.Stream]event.Clock
}

func (m *model) last() event.Seq { return event.Seq(len(m.entries)) }

func (m *model) at(seq event.Seq) *Entry { return m.entries[seq-1] }

// add completes an entry as the next event and keeps it.
func (m *model) add(h event.Header, step event.Timestamp) *Entry {
	if m.clocks == nil {
		m.clocks = make(map[event.Stream]event.Clock)
	}
	h.Seq = m.last() + 1
	h.Time = 1_000_000 + step
	if h.Seq > 1 {
		h.Time = m.at(h.Seq-1).Header.Time + step
	}
	m.clocks[h.Stream()]++
	h.Clock = m.clocks[h.Stream()]
	h.ID = event.NewID(h.Time, h.Seq, 7)
	if h.Correlation.IsZero() {
		h.Correlation = h.ID
	}
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], uint64(h.Seq))
	e := &Entry{Header: h, Hash: sha256.Sum256(seq[:]), Offset: uint32(h.Seq) * 100, Length: 100}
	m.entries = append(m.entries, e)
	return e
}

// query returns the events that q selects, in its order.
func (m *model) query(q *event.Query) (found []event.Seq) {
	for _, e := range m.entries {
		if q.Match(&e.Header) {
			found = append(found, e.Header.Seq)
		}
	}
	if q.Reverse {
		slices.Reverse(found)
	}
	return found
}

func (m *model) terms(tag byte) []Term {
	found := make(map[string]Term)
	for _, e := range m.entries {
		for _, n := range namesOf(tag, &e.Header) {
			found[n] = Term{n, found[n].Count + 1, e.Header.Seq}
		}
	}
	var out []Term
	for _, t := range found {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Term) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func namesOf(tag byte, h *event.Header) (names []string) {
	switch tag {
	case Entities:
		return []string{h.Entity}
	case Scopes:
		return []string{h.Scope}
	case Kinds:
		return []string{h.Kind.String()}
	}
	parts := strings.Split(h.Entity, ":")
	for i := 1; i < len(parts) && i <= maxNamespaces; i++ {
		if n := strings.Join(parts[:i], ":"); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// pages reads all pages of a query and returns what it selects, checking what Page promises of each page.
func pages(t rapid.TB, x *Index, m *model, q event.Query, limit int) (found []event.Seq) {
	t.Helper()
	for {
		rows, next, more, err := x.Page(&q, limit, nil)
		if err != nil {
			t.Fatalf("page of %+v: %v", q, err)
		}
		if len(rows) > limit {
			t.Fatalf("page of %d rows, the limit is %d", len(rows), limit)
		}
		for _, r := range rows {
			checkRow(t, m, r)
			matches := q.Match(&m.at(r.Seq).Header)
			if !matches && (r.Entry != nil || exact(&q)) {
				t.Fatalf("row %d does not match %+v", r.Seq, q)
			}
			if matches {
				found = append(found, r.Seq)
			}
		}
		switch {
		case !more:
			return found
		case q.Reverse && q.Through != 0 && next >= q.Through || !q.Reverse && next <= q.After || next == 0:
			t.Fatalf("no progress: next is %d for %+v", next, q)
		case q.Reverse:
			q.Through = next
		default:
			q.After = next
		}
	}
}

// exact reports whether terms alone decide q, so that no other row may come.
func exact(q *event.Query) bool {
	return q.Since.IsZero() && q.Until.IsZero() && q.ClockAfter == 0 && q.ClockThrough == 0 && q.Correlation.IsZero() &&
		(q.Entity == "" || q.Prefix == "") && strings.Count(q.Prefix, ":") < maxNamespaces &&
		(q.Kind == 0 || q.Category == nil) && (q.Lane == nil || *q.Lane != 0 || q.Entity != "")
}

func checkRow(t rapid.TB, m *model, r Row) {
	t.Helper()
	e := m.at(r.Seq)
	want := Row{Seq: e.Header.Seq, Offset: e.Offset, Length: e.Length, Check: [8]byte(e.Hash[:8]), Entry: r.Entry}
	if r != want || r.Entry != nil && r.Entry != e {
		t.Fatalf("row %+v, want %+v", r, want)
	}
}

var (
	entities = []string{
		"a", "b", "ab", "a:b", "a:b:c", "a:bc", "a::b", ":a", "a:", "1:2:3:4:5:6:7:8:9:10", "1:2:3:4:5:6:7:8:x", "1:2:3:4:5:6:7:8",
	}
	prefixes = []string{
		"a", "b", "a:b", "a:", "x", ":a", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8:9:10",
	}
	scopes = []string{"s", "t", "st"}
	lanes  = []event.Lane{0, 0, 0, 1, 255, 1 << 31}
	kinds  = []event.Kind{0x1000, 0x1001, 0x1FFF, 0x2000, 0xF000, 0xFFFF}
	keys   = []string{"", "", "k", "l", "kk"}
)

// machine is an index and its model under random operations.
type machine struct {
	model
	x     *Index
	db    kv.DB
	heads map[event.Stream]*Head
}

func (c *machine) open(t *rapid.T) {
	x, err := Open(c.db, testStore)
	if err != nil {
		t.Fatal(err)
	}
	x.merging = merging{fanIn: 3, span: 300, bytes: 1 << 20}
	c.x = x
	c.heads = map[event.Stream]*Head{}
	for seq := x.Position().Seq + 1; seq <= c.last(); seq++ {
		x.Append(c.at(seq), nil)
	}
}

func (c *machine) Append(t *rapid.T) {
	n := rapid.SampledFrom([]int{1, 3, 40, 400}).Draw(t, "count")
	r := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "events")))
	for range n {
		h := event.Header{
			Entity: pick(r, entities),
			Scope:  pick(r, scopes),
			Lane:   pick(r, lanes),
			Kind:   pick(r, kinds),
			Key:    pick(r, keys),
		}
		if back := r.IntN(10); back > 5 && back-5 <= len(c.entries) {
			h.Correlation = c.entries[len(c.entries)-back+5].Header.Correlation
		}
		known := c.heads[h.Stream()]
		if r.IntN(4) == 0 {
			known = nil // forgotten
		}
		c.heads[h.Stream()] = c.x.Append(c.add(h, 1+event.Timestamp(r.IntN(5))), known)
	}
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (c *machine) Fold(t *rapid.T) {
	seq := event.Seq(rapid.Uint64Range(uint64(c.x.Position().Seq), uint64(c.last())).Draw(t, "fold to"))
	if rapid.Bool().Draw(t, "fold all") {
		seq = c.last()
	}
	p := Position{Seq: seq, Segment: seq / 2, Offset: int64(seq) * 100, Link: event.Hash{byte(seq)}}
	if err := c.x.Fold(p); err != nil {
		t.Fatal(err)
	}
	if got := c.x.Position(); got != p {
		t.Fatalf("position %+v, want %+v", got, p)
	}
}

func (c *machine) Reopen(t *rapid.T) { c.open(t) }

func (c *machine) Query(t *rapid.T) {
	for range 5 {
		q, limit := c.drawQuery(t), rapid.SampledFrom([]int{1, 2, 7, 1000}).Draw(t, "limit")
		if got, want := pages(t, c.x, &c.model, q, limit), c.query(&q); !slices.Equal(got, want) {
			t.Fatalf("%+v by %d of %d events: got %d, want %d", q, limit, c.last(), got, want)
		}
	}
}

func (c *machine) drawQuery(t *rapid.T) (q event.Query) {
	has := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	if has("entity?") {
		q.Entity = rapid.SampledFrom(entities).Draw(t, "entity")
	}
	if has("prefix?") {
		q.Prefix = rapid.SampledFrom(prefixes).Draw(t, "prefix")
	}
	if has("scope?") {
		q.Scope = rapid.SampledFrom(scopes).Draw(t, "scope")
	}
	if has("kind?") {
		q.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
	}
	if has("category?") {
		q.Category = new(event.Category(rapid.SampledFrom([]int{1, 2, 3, 15}).Draw(t, "category")))
	}
	if has("lane?") {
		q.Lane = new(rapid.SampledFrom(lanes).Draw(t, "lane"))
	}
	if has("correlation?") && c.last() > 0 {
		q.Correlation = c.entries[rapid.IntRange(0, len(c.entries)-1).Draw(t, "correlation")].Header.Correlation
	}
	seqs := rapid.Uint64Range(0, uint64(c.last())+2)
	if has("after?") {
		q.After = event.Seq(seqs.Draw(t, "after"))
	}
	if has("through?") {
		q.Through = event.Seq(seqs.Draw(t, "through"))
	}
	if has("clock after?") {
		q.ClockAfter = event.Clock(rapid.IntRange(0, 40).Draw(t, "clock after"))
	}
	if has("clock through?") {
		q.ClockThrough = event.Clock(rapid.IntRange(0, 80).Draw(t, "clock through"))
	}
	if c.last() > 0 {
		from, to := c.at(1).Header.Time, c.at(c.last()).Header.Time
		moments := rapid.Int64Range(int64(from)*1000-1500, int64(to)*1000+1500)
		if has("since?") {
			q.Since = time.Unix(0, moments.Draw(t, "since"))
		}
		if has("until?") {
			q.Until = time.Unix(0, moments.Draw(t, "until"))
		}
	}
	q.Reverse = rapid.Bool().Draw(t, "reverse")
	return q
}

func (c *machine) Rows(t *rapid.T) {
	for range 5 {
		seq := event.Seq(rapid.Uint64Range(0, uint64(c.last())+1).Draw(t, "seq"))
		r, err := c.x.Row(seq)
		if seq == 0 || seq > c.last() {
			if !errors.Is(err, event.ErrNotFound) {
				t.Fatalf("row %d of %d: %v", seq, c.last(), err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		checkRow(t, &c.model, r)
	}
}

func (c *machine) Seek(t *rapid.T) {
	for range 5 {
		at := event.Timestamp(rapid.Int64Range(999_999, 1_000_010+6*int64(c.last())).Draw(t, "time"))
		got, err := c.x.Seek(at)
		if err != nil {
			t.Fatal(err)
		}
		i, _ := slices.BinarySearchFunc(c.entries, at, func(e *Entry, at event.Timestamp) int { return cmp.Compare(e.Header.Time, at) })
		if want := event.Seq(i + 1); got > want || got == 0 || want-got >= timeStride {
			t.Fatalf("seek %d: %d, the first event at or after it is %d of %d", at, got, want, c.last())
		}
	}
}

func (c *machine) Streams(t *rapid.T) {
	s := event.Stream{Entity: rapid.SampledFrom(entities).Draw(t, "entity"), Lane: rapid.SampledFrom(lanes).Draw(t, "lane")}
	seqs := c.query(&event.Query{Entity: s.Entity, Lane: &s.Lane})
	head, ok, err := c.x.Head(s, event.MaxSeq)
	if err != nil || ok != (len(seqs) > 0) || ok && !c.isRow(head, seqs[len(seqs)-1]) {
		t.Fatalf("head of %v: %+v %v %v, want the last of %d", s, head, ok, err, seqs)
	}
	for clock := range event.Clock(len(seqs) + 2) {
		row, ok, err := c.x.Clock(s, clock)
		if want := clock > 0 && int(clock) <= len(seqs); err != nil || ok != want || ok && !c.isRow(row, seqs[clock-1]) {
			t.Fatalf("event %d of %v: %+v %v %v, they are %d", clock, s, row, ok, err, seqs)
		}
	}
}

// isRow reports whether row is that of the event at seq.
func (c *machine) isRow(row Row, seq event.Seq) bool {
	e := c.at(seq)
	return row.Seq == seq && row.Offset == e.Offset && row.Length == e.Length && row.Check == [8]byte(e.Hash[:8]) && (row.Entry == nil || row.Entry == e)
}

func (c *machine) Keys(t *rapid.T) {
	for _, key := range []string{"k", "l", "kk", "absent"} {
		var want event.Seq
		for _, e := range c.entries {
			if e.Header.Key == key {
				want = e.Header.Seq
			}
		}
		got, ok, err := c.x.Key(key)
		if err != nil || ok != (want != 0) || ok && !c.isRow(got, want) {
			t.Fatalf("key %q: %+v %v %v, want %d", key, got, ok, err, want)
		}
	}
}

func (c *machine) Terms(t *rapid.T) {
	tag := rapid.SampledFrom([]byte{Entities, Namespaces, Scopes, Kinds}).Draw(t, "tag")
	prefix := rapid.SampledFrom([]string{"", "", "a", "a:", "s", "0x1", "1:"}).Draw(t, "prefix")
	limit := rapid.SampledFrom([]int{1, 2, 100}).Draw(t, "limit")
	var got []Term
	for after := ""; ; after = got[len(got)-1].Name {
		page, err := c.x.Terms(tag, prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if len(page) < limit {
			break
		}
	}
	want := slices.DeleteFunc(c.terms(tag), func(u Term) bool { return !strings.HasPrefix(u.Name, prefix) })
	if d := gocmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("terms %q of %q: %s", prefix, tag, d)
	}
}

func (c *machine) Check(t *rapid.T) {
	st, err := c.x.Stats()
	if err != nil || st.Events != c.last() || st.Folded+event.Seq(st.TailCount) != st.Events {
		t.Fatalf("%+v %v after %d events", st, err, c.last())
	}
}

func TestModelMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { runMachine(t, kv.NewMemory()) })
}

func TestModelBolt(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	rapid.Check(t, func(t *rapid.T) {
		root.Remove("index.bolt")
		db, err := kv.OpenBolt(root, "index.bolt", kv.LargePages)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		runMachine(t, db)
	})
}

func runMachine(t *rapid.T, db kv.DB) {
	c := &machine{db: db}
	c.open(t)
	t.Repeat(rapid.StateMachineActions(c))
}
