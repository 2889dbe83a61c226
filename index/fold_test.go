package index

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

func openMemory(t testing.TB) *Index {
	t.Helper()
	return must[*Index](t)(Open(kv.NewMemory(), testStore))
}

func openBolt(t testing.TB) *Index {
	t.Helper()
	root := must[*os.Root](t)(os.OpenRoot(t.TempDir()))
	db := must[kv.DB](t)(kv.OpenBolt(root, "index.bolt", kv.LargePages))
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), root.Close()); err != nil {
			t.Error(err)
		}
	})
	return must[*Index](t)(Open(db, testStore))
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// appendAll appends n new events of m.
func appendAll(x *Index, m *model, n int) {
	s := seedTail(m, n)
	for seq := s.first; seq <= s.last; seq++ {
		x.Append(s.entry(seq), nil)
	}
}

// TestFoldFails makes the transaction of a fold, and then that of a merge, fail. Nothing is lost and the next Fold makes
// up for it.
func TestFoldFails(t *testing.T) {
	var m model
	x := openMemory(t)
	x.merging.fanIn = 2
	appendAll(x, &m, 10)
	good := x.folded.Load()
	failure := errors.New("disk full")

	x.folded.Store(&folded{failingDB{DB: good.db, err: failure}, good.meta})
	if err := x.Fold(Position{Seq: 10}); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if n, _ := x.Tail(); n != 10 || x.Position().Seq != 0 {
		t.Fatalf("%d events in the tail, folded to %d", n, x.Position().Seq)
	}
	x.folded.Store(good)
	if err := x.Fold(Position{Seq: 10}); err != nil {
		t.Fatal(err)
	}

	appendAll(x, &m, 10)
	x.folded.Store(&folded{&failingAfter{DB: good.db, updates: 1, err: failure}, x.folded.Load().meta})
	if err := x.Fold(Position{Seq: 20}); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if n, _ := x.Tail(); n != 0 || x.Position().Seq != 20 {
		t.Fatalf("%d events in the tail, folded to %d", n, x.Position().Seq)
	}
	x.folded.Store(&folded{good.db, x.folded.Load().meta})
	if err := x.Fold(Position{Seq: 20}); err != nil {
		t.Fatal(err)
	}
	if st, err := x.Stats(); err != nil || len(st.Runs) != 1 {
		t.Fatalf("%+v %v", st, err)
	}
	if got, want := pages(t, x, &m, event.Query{Scope: "s"}, 7), m.query(&event.Query{}); !slices.Equal(got, want) {
		t.Fatalf("got %d", got)
	}
}

// failingAfter fails Updates with err after the first few.
type failingAfter struct {
	kv.DB
	updates int
	err     error
}

func (d *failingAfter) Update(fn func(kv.Tx) error) error {
	if d.updates--; d.updates < 0 {
		return d.err
	}
	return d.DB.Update(fn)
}

// TestFoldMany folds more events than one new run may have, in which one stream has more than a page walks back for.
func TestFoldMany(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testFoldMany(t, openMemory(t)) })
	t.Run("bolt", func(t *testing.T) { testFoldMany(t, openBolt(t)) })
}

func testFoldMany(t *testing.T, x *Index) {
	var m model
	appendAll(x, &m, foldSpan+5000)
	stream := event.Query{Entity: "a:b", Lane: new(event.Lane(1)), ClockAfter: 100}
	for _, folded := range []event.Seq{0, 1000, m.last() - 3000, m.last()} {
		x.Trim()
		if err := x.Fold(Position{Seq: folded}); err != nil {
			t.Fatal(err)
		}
		for _, reverse := range []bool{false, true} {
			stream.Reverse = reverse
			if got, want := pages(t, x, &m, stream, 700), m.query(&stream); !slices.Equal(got, want) {
				t.Fatalf("folded to %d, reverse %v: %s", folded, reverse, firstDifference(got, want))
			}
		}
	}
	if st, err := x.Stats(); err != nil || len(st.Runs) != 4 {
		t.Fatalf("%+v %v", st, err)
	}
}

// TestMisuse is of what only a bug of the caller can do.
func TestMisuse(t *testing.T) {
	var m model
	x := openMemory(t)
	appendAll(x, &m, 10)
	for name, misuse := range map[string]func(){
		"append again":      func() { x.Append(m.at(10), nil) },
		"fold the unknown":  func() { x.Fold(Position{Seq: 11}) },
		"fold what is past": func() { x.Fold(Position{Seq: 5}); x.Fold(Position{Seq: 4}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

// TestMergingDue has runs by their level, span and size.
func TestMergingDue(t *testing.T) {
	type r struct {
		level uint32
		span  event.Seq
		size  uint32
	}
	g := merging{fanIn: 3, span: 100, bytes: 1000}
	for _, c := range []struct {
		name     string
		runs     []r
		from, to int
	}{
		{"none", nil, 0, 0},
		{"too few", []r{{0, 1, 1}, {0, 1, 1}}, 0, 0},
		{"too few of a level", []r{{2, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}}, 0, 0},
		{"the newest", []r{{1, 1, 1}, {0, 9, 1}, {0, 1, 1}, {0, 1, 1}}, 1, 4},
		{"of a higher level", []r{{2, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}}, 1, 4},
		{"as many as fit the span", []r{{0, 50, 1}, {0, 50, 1}, {0, 1, 1}}, 0, 2},
		{"as many as fit the bytes", []r{{0, 1, 600}, {0, 1, 400}, {0, 1, 1}}, 0, 2},
		{"only one fits", []r{{0, 99, 1}, {0, 2, 1}, {0, 2, 1}}, 0, 1},
		{"not even one fits", []r{{0, 101, 1}, {0, 2, 1}, {0, 2, 1}}, 0, 1},
	} {
		var refs []runRef
		end := event.Seq(0)
		for i, r := range c.runs {
			refs = append(refs, newRunRef(end+1, end+r.span, r.size, uint32(i), r.level))
			end += r.span
		}
		if from, to := g.due(refs); from != c.from || to != c.to {
			t.Errorf("%s: runs %d to %d, want %d to %d", c.name, from, to, c.from, c.to)
		}
	}
}

// TestRunCount folds one, three or five events at a time. Whatever the sizes, the runs count the folds in base 8.
func TestRunCount(t *testing.T) {
	var m model
	x := openMemory(t)
	for n := range 2000 {
		appendAll(x, &m, 1+n%3*2)
		if err := x.Fold(Position{Seq: m.last()}); err != nil {
			t.Fatal(err)
		}
		st, err := x.Stats()
		if err != nil {
			t.Fatal(err)
		}
		folds := 0
		for _, r := range st.Runs {
			folds += 1 << (3 * r.Level)
		}
		if folds != n+1 || len(st.Runs) != digits(n+1) {
			t.Fatalf("after %d folds: %+v", n+1, st.Runs)
		}
	}
}

// digits returns the sum of the digits of n in base 8.
func digits(n int) (sum int) {
	for ; n > 0; n /= 8 {
		sum += n % 8
	}
	return sum
}

// TestAdopt replaces the folded part of an index beside readers.
func TestAdopt(t *testing.T) {
	var m model
	x, y := openMemory(t), openMemory(t)
	appendAll(x, &m, 100)
	for seq := event.Seq(1); seq <= 60; seq++ {
		y.Append(m.at(seq), nil)
	}
	old := x.folded.Load().db
	if err := x.Fold(Position{Seq: 60}); err != nil {
		t.Fatal(err)
	}
	if err := x.Adopt(y); err == nil {
		t.Fatal("adopted an index that ends elsewhere")
	}
	if err := y.Fold(Position{Seq: 60}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			if got := pages(t, x, &m, event.Query{Scope: "s"}, 50); len(got) != 100 {
				t.Errorf("%d events", len(got))
				return
			}
		}
	}()
	if err := x.Adopt(y); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}

// closedDB is a database that is closed while another is adopted.
type closedDB struct {
	kv.DB
	adopt func()
}

func (d closedDB) View(func(kv.Tx) error) error {
	d.adopt()
	return kv.ErrClosed
}

func TestAdoptBetween(t *testing.T) {
	var m model
	x := openMemory(t)
	appendAll(x, &m, 10)
	if err := x.Fold(Position{Seq: 10}); err != nil {
		t.Fatal(err)
	}
	y := &Index{}
	y.folded.Store(x.folded.Load())
	x.folded.Store(&folded{closedDB{y.folded.Load().db, func() { x.Adopt(y) }}, y.folded.Load().meta})
	if r, err := x.Row(3); err != nil || r.Seq != 3 {
		t.Fatal(r, err)
	}
}
