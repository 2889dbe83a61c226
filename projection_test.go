package batpak

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/projection"
)

var (
	_ projection.Snapshots = (*Store)(nil)
	_ projection.Follower  = (*Store)(nil)
	_ projection.Follower  = (*Reader)(nil)
)

const (
	weighedKind = 0x4001
	renamedKind = 0x4002
	scannedKind = 0x5001
)

// A weighed has had three versions: kilograms, grams, and grams with the scales that were used.
type (
	weighed struct {
		Grams  int64  `cbor:"grams"`
		Scales string `cbor:"scales"`
	}
	weighed1 struct {
		Kilograms int64 `cbor:"kilograms"`
	}
	weighed2 struct {
		Grams int64 `cbor:"grams"`
	}
	renamed struct{ To string }
	scanned struct{ Codes []uint32 }
)

func (weighed) EventType() Type  { return Type{Kind: weighedKind, Name: "weighed", Version: 3} }
func (weighed1) EventType() Type { return Type{Kind: weighedKind, Name: "weighed", Version: 1} }
func (weighed2) EventType() Type { return Type{Kind: weighedKind, Name: "weighed", Version: 2} }
func (renamed) EventType() Type  { return Type{Kind: renamedKind, Name: "renamed", Version: 1} }
func (scanned) EventType() Type  { return Type{Kind: scannedKind, Name: "scanned", Version: 1} }

func (weighed) Upcasts() []event.Step {
	return []event.Step{
		event.Upcast(1, func(old weighed1) (weighed2, error) { return weighed2{old.Kilograms * 1000}, nil }),
		event.Upcast(2, func(old weighed2) (weighed, error) { return weighed{old.Grams, "old"}, nil }),
	}
}

// A parcel is a state in which the order of events shows.
type parcel struct {
	Grams  int64
	Order  uint64
	Scales map[string]int
	Names  []string
	Codes  map[uint32][]event.Seq
}

func newParcel() parcel { return parcel{Scales: map[string]int{}, Codes: map[uint32][]event.Seq{}} }

func (p *parcel) weigh(e Event, w weighed) error {
	p.Grams += w.Grams
	p.Scales[w.Scales]++
	p.Order = p.Order*31 + uint64(w.Grams) + uint64(e.Seq)
	return nil
}

func (p *parcel) rename(e Event, r renamed) error {
	p.Names = append(p.Names, r.To)
	p.Order = p.Order*37 + uint64(e.Seq)
	return nil
}

func (p *parcel) scan(e Event, s scanned) error {
	for _, c := range s.Codes {
		p.Codes[c] = append(p.Codes[c], e.Seq)
	}
	return nil
}

// parcels returns a projection onto a parcel that folds what query selects.
func parcels(name string, every int, query func(string) Query) *projection.Projection[parcel] {
	return projection.MustNew(projection.Spec[parcel]{
		Name: name, Version: 1, SnapshotEvery: every, Init: newParcel, Query: query,
		Handlers: []projection.Handler[parcel]{projection.On((*parcel).weigh), projection.On((*parcel).rename), projection.On((*parcel).scan)},
	})
}

// weights is a projection of another state and fewer handlers, over the same events.
func weights(every int, query func(string) Query) *projection.Projection[[]int64] {
	return projection.MustNew(projection.Spec[[]int64]{
		Name: "weights", Version: 1, SnapshotEvery: every, Query: query,
		Handlers: []projection.Handler[[]int64]{projection.On(func(s *[]int64, _ Event, p weighed) error {
			*s = append(*s, p.Grams)
			return nil
		})},
	})
}

// parcelQueries are the forms that a query of a projection may have. The key picks among the entities or scopes.
var parcelQueries = map[string]func(key string) Query{
	"entity":            nil,
	"entity, all lanes": func(key string) Query { return Query{Entity: "parcel:" + key} },
	"prefix":            func(string) Query { return Query{Prefix: "parcel"} },
	"scope":             func(key string) Query { return Query{Scope: "depot:" + key} },
	"kind":              func(string) Query { return Query{Kind: weighedKind} },
	"category":          func(string) Query { return Query{Category: new(event.Category(4))} },
	"lane":              func(string) Query { return Query{Lane: new(Lane(1))} },
	"scope and kind":    func(key string) Query { return Query{Scope: "depot:" + key, Kind: weighedKind} },
	"prefix and clocks": func(key string) Query { return Query{Prefix: "parcel:" + key, ClockAfter: 1, ClockThrough: 9} },
	"through":           func(key string) Query { return Query{Through: map[string]Seq{"a": 7, "b": 15}[key]} },
	"everything":        func(string) Query { return Query{} },
}

// A folded is a projection under test, the state that it is brought up from, and what the brute force knows.
type folded struct {
	form, key string
	query     Query
	p         *projection.Projection[parcel]
	w         *projection.Projection[[]int64]
	every     int
	kept      projection.State[parcel] // folded further at each look
}

// A folding is a store, what was appended to it, and projections of it.
type folding struct {
	t     *rapid.T
	dir   string
	s     *Store
	model []Payload // by position, as it is read now; nil: no handler's
	all   []*folded
	count *counts
}

// counting counts what a store yields.
type counting struct {
	*Store
	read uint64
}

func (c *counting) Query(q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for e, err := range c.Store.Query(q) {
			c.read++
			if !yield(e, err) {
				return
			}
		}
	}
}

// bare is a store that keeps no snapshots.
func (f *folding) bare() projection.Source { return struct{ projection.Source }{f.s} }

func (f *folding) fine(what string, err error) {
	if err != nil {
		f.t.Helper()
		f.t.Fatalf("%s: %v", what, err)
	}
}

func (f *folding) open(o Options) {
	o.Durability, o.SyncInterval = Written, time.Hour
	s, err := Open(f.dir, &o)
	f.fine("open", err)
	f.s = s
}

// reopen closes the store, may delete what can be derived, and opens it with other options.
func (f *folding) reopen() {
	f.fine("close", f.s.Close())
	for _, file := range []string{indexFile, stateFile} {
		if rapid.IntRange(0, 2).Draw(f.t, "delete "+file) == 0 {
			if err := os.Remove(filepath.Join(f.dir, file)); !errors.Is(err, fs.ErrNotExist) {
				f.fine("delete", err)
				f.count.add(file + " deleted")
			}
		}
	}
	f.open(drawFoldingOptions(f.t))
}

func drawFoldingOptions(t *rapid.T) Options {
	return Options{
		SegmentBytes: rapid.SampledFrom([]int64{4096, 64 << 10}).Draw(t, "segment"),
		foldEvents:   rapid.SampledFrom([]int{1, 7, 1000}).Draw(t, "fold"),
		MemoryIndex:  rapid.IntRange(0, 4).Draw(t, "memory") == 0,
	}
}

// append commits up to 12 events of any stream and type.
func (f *folding) append() {
	var ps []Proposal
	for i := range rapid.IntRange(1, 12).Draw(f.t, "events") {
		entity := rapid.SampledFrom([]string{"parcel:a", "parcel:a", "parcel:b", "parcel:a:lid", "van:1"}).Draw(f.t, "entity")
		p := Proposal{At: At(entity, rapid.SampledFrom([]string{"depot:a", "depot:b"}).Draw(f.t, "scope")), Lane: Lane(rapid.IntRange(0, 3).Draw(f.t, "lane") / 3)}
		n := int64(rapid.IntRange(-5, 100).Draw(f.t, "n"))
		var is Payload
		switch rapid.IntRange(0, 6).Draw(f.t, "type") {
		case 0:
			p.Payload, is = weighed1{n}, weighed{n * 1000, "old"}
		case 1:
			p.Payload, is = weighed2{n}, weighed{n, "old"}
		case 2:
			is = weighed{n, fmt.Sprint("scales ", n%3)}
			p.Payload = is
		case 3: // without a version
			is = weighed{n, "by hand"}
			b, err := event.Marshal(is)
			f.fine("encode", err)
			p.Kind, p.Data = weighedKind, b
		case 4:
			is = renamed{fmt.Sprint("name ", n)}
			p.Payload = is
		case 5:
			is = scanned{Codes: []uint32{uint32(n + 5), uint32(i)}}
			p.Payload = is
		case 6: // of no handler
			p.Kind, p.Data = 0x4003, []byte{0xFF}
		}
		f.model, ps = append(f.model, is), append(ps, p)
	}
	_, err := f.s.Commit(ps...)
	f.fine("commit", err)
}

// brute folds what the store says that a query selects, with payloads from the model.
func (f *folding) brute(q Query) (projection.State[parcel], []int64) {
	s := projection.State[parcel]{Value: newParcel()}
	var w []int64
	for e, err := range f.s.Query(q) {
		f.fine("query", err)
		s.Seq, s.Hash, s.Events = e.Seq, e.Hash, s.Events+1
		switch p := f.model[e.Seq-1].(type) {
		case weighed:
			err = s.Value.weigh(e, p)
			w = append(w, p.Grams)
		case renamed:
			err = s.Value.rename(e, p)
		case scanned:
			err = s.Value.scan(e, p)
		}
		f.fine("brute force", err)
	}
	return s, w
}

// look folds one of the projections in every way, which must all give what the brute force does.
func (f *folding) look(i int) {
	d := f.all[i]
	want, wantWeights := f.brute(d.query)
	expect := func(how string, got projection.State[parcel], err error) {
		f.t.Helper()
		f.fine(how, err)
		if diff := cmp.Diff(want, got, butOf); diff != "" {
			f.t.Fatalf("%s of %s %q, every %d, is not what brute force has: %s", how, d.form, d.key, d.every, diff)
		}
	}
	f.fine("incremental", projection.Fold(f.bare(), projection.Into(&d.kept, d.p, d.key)))
	expect("incremental", d.kept, nil)

	whole, err := projection.Get(f.bare(), d.p, d.key, projection.Consistent)
	expect("whole", whole, err)

	src := &counting{Store: f.s}
	got, err := projection.Get(src, d.p, d.key, projection.Consistent)
	expect("from a snapshot", got, err)
	if src.read < want.Events {
		f.count.add("resumed")
		f.count.add("resumed by " + d.form)
	}
	f.fused(i, want, wantWeights)
	if rapid.IntRange(0, 4).Draw(f.t, "rebuild") == 0 {
		rebuilt, err := projection.Rebuild(f.s, d.p, d.key)
		expect("rebuilt", rebuilt, err)
		src := &counting{Store: f.s}
		got, err := projection.Get(src, d.p, d.key, projection.Consistent)
		expect("behind a rebuild", got, err)
		if src.read > 0 && want.Seq > 0 {
			f.t.Fatalf("%d events read behind a rebuild", src.read)
		}
	}
}

// fused folds the i-th projection in one pass with a second of the same events and a third of others, from snapshots or
// without.
func (f *folding) fused(i int, want projection.State[parcel], wantWeights []int64) {
	d, o := f.all[i], f.all[(i+1)%len(f.all)]
	src := projection.Source(f.s)
	if rapid.Bool().Draw(f.t, "without snapshots") {
		src = f.bare()
	}
	var one, third projection.State[parcel]
	var two projection.State[[]int64]
	targets := []projection.Target{projection.Into(&one, d.p, d.key), projection.Into(&two, d.w, d.key)}
	if rapid.Bool().Draw(f.t, "three") {
		if rapid.Bool().Draw(f.t, "ahead") {
			third = o.kept
			third.Value = clone(f.t, third.Value)
		}
		targets = append(targets, projection.Into(&third, o.p, o.key))
		f.count.add("three fused")
	}
	f.fine("fused", projection.Fold(src, targets...))
	if diff := cmp.Diff(want, one, butOf); diff != "" {
		f.t.Fatalf("fused: the first, of %s: %s", d.form, diff)
	}
	if diff := cmp.Diff(wantWeights, two.Value, butOf); diff != "" || two.Seq != want.Seq || two.Events != want.Events {
		f.t.Fatalf("fused: the second, of %s: %+v %s", d.form, two, diff)
	}
	if len(targets) == 3 {
		other, _ := f.brute(o.query)
		if diff := cmp.Diff(other, third, butOf); diff != "" {
			f.t.Fatalf("fused: the third, of %s: %s", o.form, diff)
		}
	}
}

// clone returns a state that shares nothing with p.
func clone(t *rapid.T, p parcel) (c parcel) {
	b, err := event.Marshal(p)
	if err == nil {
		err = event.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestProjectionsAgree appends events of several types, one of them in all its versions, to a real store that is reopened
// and loses its index and its snapshots in between. However a state comes about it is the one that brute force has:
// brought up to date, folded from the first event, from a snapshot of any frequency, and fused with others. That holds for
// every form of query.
func TestProjectionsAgree(t *testing.T) {
	t.Parallel()
	root, count := memoryDir(t), counts{}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		f := &folding{t: t, dir: dir, count: &count}
		f.open(drawFoldingOptions(t))
		defer func() { _ = errors.Join(f.s.Close(), os.RemoveAll(dir)) }() // the test has looked at it, or has failed
		for range rapid.IntRange(2, 4).Draw(t, "projections") {
			f.all = append(f.all, drawFolded(t, len(f.all)))
		}
		for range rapid.IntRange(3, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				f.append()
			case 3, 4:
				f.look(rapid.IntRange(0, len(f.all)-1).Draw(t, "projection"))
			case 5:
				f.reopen()
			}
		}
		for i := range f.all {
			f.look(i)
		}
		f.reopen()
		for i := range f.all {
			f.look(i)
		}
	})
	count.need(t, 10, "resumed", "three fused", indexFile+" deleted", stateFile+" deleted")
	for form := range parcelQueries {
		count.need(t, 1, "resumed by "+form)
	}
}

// drawFolded draws a projection that none of the others shares its snapshots with.
func drawFolded(t *rapid.T, number int) *folded {
	d := &folded{form: rapid.SampledFrom(slices.Sorted(maps.Keys(parcelQueries))).Draw(t, "form"), every: rapid.IntRange(1, 20).Draw(t, "every")}
	query := parcelQueries[d.form]
	d.key = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
	if query == nil {
		d.key = "parcel:" + d.key
		d.query = Query{Entity: d.key, Lane: new(Lane(0))}
	} else {
		d.query = query(d.key)
	}
	d.p = parcels(fmt.Sprint("parcels ", number), d.every, query)
	d.w = weights(d.every, query)
	return d
}

// butOf leaves out of a comparison what a state says that it is of.
var butOf = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Of" || p.Last().String() == ".left" }, cmp.Ignore())
