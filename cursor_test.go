package batpak

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/batpak/batpak/kv"
)

// mustCursor opens a cursor that is closed at the end of the test, unless the test did.
func mustCursor(t testing.TB, s *Store, name string, q Query) *Cursor {
	t.Helper()
	c, err := s.Cursor(name, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	return c
}

func mustSave(t testing.TB, c *Cursor, seq Seq) {
	t.Helper()
	if err := c.Save(seq); err != nil {
		t.Fatal(err)
	}
}

// TestCursorQuery checks that a name belongs to its first query, but for After, until it is deleted.
func TestCursorQuery(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0, 1, 2, 3, 4, 5)
	c := mustCursor(t, s, "c", Query{Prefix: "order", After: 2})
	if c.Name() != "c" || c.Position() != 2 {
		t.Errorf("a new cursor %q is at %d", c.Name(), c.Position())
	}
	mustSave(t, c, 4)
	closeTest(t, c)
	_, err := s.Cursor("c", Query{Entity: "order:1"})
	var other *CursorError
	if !errors.As(err, &other) || !errors.Is(err, ErrCursorQuery) || *other != (CursorError{"c", `prefix="order"`, `entity="order:1"`}) {
		t.Errorf("with another query: %v", err)
	}
	c = mustCursor(t, s, "c", Query{Prefix: "order", After: 1})
	if c.Position() != 4 {
		t.Errorf("opened again with another After it is at %d", c.Position())
	}
	closeTest(t, c)
	for range 2 { // the second has nothing to delete
		if err := s.DeleteCursor("c"); err != nil {
			t.Fatal(err)
		}
	}
	c = mustCursor(t, s, "c", Query{Entity: "order:1"})
	if c.Position() != 0 {
		t.Errorf("deleted and opened again it is at %d", c.Position())
	}
}

// TestCursorRefused tries what a cursor cannot be.
// TestCursorKeepsItsQuery changes what the caller's query points to, which is not the cursor's.
func TestCursorKeepsItsQuery(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	for _, lane := range []Lane{0, 2, 0} {
		mustCommit(t, s, Proposal{At: At("x", "s"), Lane: lane, Kind: 0xF001, Data: []byte{1}})
	}
	lane, category := Lane(0), Category(15)
	q := func() Query { return Query{Entity: "x", Lane: &lane, Category: &category} }
	c := mustCursor(t, s, "c", q())
	lane, category = 2, 1
	p, err := c.Page(0)
	if err != nil || len(p.Events) != 2 || p.Events[0].Seq != 1 || p.Events[1].Seq != 3 {
		t.Errorf("%v, %v", p.Events, err)
	}
	mustSave(t, c, p.Next)
	closeTest(t, c)
	lane, category = 0, 15
	if c := mustCursor(t, s, "c", q()); c.Position() != 3 {
		t.Errorf("opened again it is at %d", c.Position())
	}
}

func TestCursorRefused(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	for what, open := range map[string]func() (*Cursor, error){
		"no name":      func() (*Cursor, error) { return s.Cursor("", Query{}) },
		"a slash":      func() (*Cursor, error) { return s.Cursor("a/b", Query{}) },
		"reverse":      func() (*Cursor, error) { return s.Cursor("c", Query{Reverse: true}) },
		"limit":        func() (*Cursor, error) { return s.Cursor("c", Query{Limit: 1}) },
		"an empty one": func() (*Cursor, error) { return s.Cursor("c", Query{After: 2, Through: 1}) },
	} {
		if _, err := open(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	mustCursor(t, s, "c", Query{}) // the name is free still
}

// TestCursorOpenOnce checks that a name has one open cursor, which nobody deletes.
func TestCursorOpenOnce(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	c := mustCursor(t, s, "c", Query{})
	mustCursor(t, s, "another", Query{})
	for range 2 {
		if _, err := s.Cursor("c", Query{}); !errors.Is(err, ErrCursorOpen) {
			t.Errorf("a second one: %v", err)
		}
	}
	if err := s.DeleteCursor("c"); !errors.Is(err, ErrCursorOpen) {
		t.Errorf("deleted: %v", err)
	}
	if err := s.React(t.Context(), Reaction{Name: "c", Handlers: shipping(nil).Handlers}); !errors.Is(err, ErrCursorOpen) {
		t.Errorf("a reaction: %v", err)
	}
	closeTest(t, c)
	again := mustCursor(t, s, "c", Query{})
	if err := c.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	if err := c.Save(0); !errors.Is(err, ErrClosed) {
		t.Errorf("saved after Close: %v", err)
	}
	if _, err := s.Cursor("c", Query{}); !errors.Is(err, ErrCursorOpen) {
		t.Errorf("beside the one opened again: %v", err)
	}
	closeTest(t, s)
	if err := again.Save(0); !errors.Is(err, ErrClosed) {
		t.Errorf("saved in a closed store: %v", err)
	}
	if _, err := again.Page(0); !errors.Is(err, ErrClosed) {
		t.Errorf("read in a closed store: %v", err)
	}
	if _, err := s.Cursor("third", Query{}); !errors.Is(err, ErrClosed) {
		t.Errorf("opened in a closed store: %v", err)
	}
	if err := s.DeleteCursor("third"); !errors.Is(err, ErrClosed) {
		t.Errorf("deleted in a closed store: %v", err)
	}
	closeTest(t, again)
}

// Figures about a cursor are right also while it is opened, in vain and not.
func TestCursorStatsBesideOpening(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{Durability: Written})
	fill(t, s, 0, 20, 5)
	c := mustCursor(t, s, "c", Query{Kind: 0xF001})
	if err := c.Save(20); err != nil {
		t.Fatal(err)
	}
	closeTest(t, c)
	var over atomic.Bool
	var opening sync.WaitGroup
	opening.Go(func() {
		defer over.Store(true)
		for range 300 {
			if c, err := s.Cursor("c", Query{Kind: 0xF001}); err != nil {
				t.Error(err)
			} else {
				closeTest(t, c)
			}
			if _, err := s.Cursor("c", Query{Kind: 0x1002}); !errors.Is(err, ErrCursorQuery) {
				t.Error(err)
			}
		}
	})
	for !over.Load() {
		st, err := s.Stats()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range st.Cursors {
			if c.Open = false; c != (CursorStats{Name: "c", Query: "kind=0xF001", Position: 20}) {
				t.Fatalf("%+v", c)
			}
		}
	}
	opening.Wait()
}

// TestCursorSave saves positions, and such as cannot be, over reopenings.
func TestCursorSave(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, nil)
	order(t, s, 0, 1, 2, 3)
	c := mustCursor(t, s, "c", Query{})
	mustSave(t, c, 0)
	for _, at := range []Seq{2, 2, 4} {
		mustSave(t, c, at)
		for _, bad := range []Seq{at - 1, 5} {
			if err := c.Save(bad); !errors.Is(err, ErrInvalid) {
				t.Errorf("saved at %d after %d: %v", bad, at, err)
			}
		}
		if c.Position() != at {
			t.Errorf("at %d, saved %d", c.Position(), at)
		}
		closeTest(t, s)
		s = openTest(t, dir, nil)
		if c = mustCursor(t, s, "c", Query{}); c.Position() != at {
			t.Errorf("opened again at %d, saved %d", c.Position(), at)
		}
	}
}

// TestCursorThrough reads a query that ends, and saves a position behind its end.
func TestCursorThrough(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0, 1, 2, 3)
	c := mustCursor(t, s, "c", Query{Through: 2})
	for _, at := range []Seq{0, 1, 2, 4} {
		mustSave(t, c, at)
		want := int(2 - min(at, 2))
		p, err := c.Page(0)
		if err != nil || len(p.Events) != want || p.More || p.Next != 2 {
			t.Errorf("at %d: %d events, next %d, %v", at, len(p.Events), p.Next, err)
		}
		if es, err := gather(c.Follow(t.Context())); err != nil || len(es) != want {
			t.Errorf("at %d followed: %d events, %v", at, len(es), err)
		}
	}
}

// TestCursorFromTheEnd polls at the end, again and again, and sees what is appended then, in order, once.
func TestCursorFromTheEnd(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	c := mustCursor(t, s, "c", Query{Prefix: "order"})
	seen := 0
	for round := range 20 {
		for range 2 {
			p, err := c.Page(0)
			if err != nil || len(p.Events) != 0 {
				t.Fatalf("at the end there are %d events, %v", len(p.Events), err)
			}
		}
		for i := range round {
			order(t, s, seen+i)
			mustCommit(t, s, raw("other", ""))
		}
		for more := true; more; {
			p, err := c.Page(3)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Events {
				if o, err := Decode[ordered](e); err != nil || o.Number != seen {
					t.Fatalf("order %d, %v, where %d is due", o.Number, err, seen)
				}
				seen++
			}
			more = p.More
			mustSave(t, c, p.Next)
		}
	}
	if seen != 190 {
		t.Errorf("%d orders", seen)
	}
}

// TestCursorBesideWriters reads two of four entities with a cursor each, beside writers to all four, over a reopening.
func TestCursorBesideWriters(t *testing.T) {
	const each = 300
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{Durability: Written, foldEvents: 50})
	entity := func(i int) string { return fmt.Sprint("e:", i) }
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range each {
				if _, err := s.Append(At(entity(i), "s"), ordered{n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]int{}
	read := func(c *Cursor, entity string, count int) {
		for e, err := range c.Follow(t.Context()) {
			if err != nil {
				t.Error(err)
				return
			}
			if o, err := Decode[ordered](e); err != nil || e.Entity != entity || o.Number != seen[entity] {
				t.Errorf("order %d of %s, %v, where %d of %s is due", o.Number, e.Entity, err, seen[entity], entity)
			}
			if seen[entity]++; seen[entity]%7 == 0 || seen[entity] == count {
				mustSave(t, c, e.Seq)
			}
			if seen[entity] == count {
				return
			}
		}
	}
	for i := range 2 {
		read(mustCursor(t, s, entity(i), Query{Entity: entity(i)}), entity(i), each/2)
	}
	wg.Wait()
	closeTest(t, s)
	s = openTest(t, dir, nil)
	for i := range 2 {
		c := mustCursor(t, s, entity(i), Query{Entity: entity(i)})
		read(c, entity(i), each)
		if p, err := c.Page(0); err != nil || len(p.Events) > 0 {
			t.Errorf("%d more events of %s, %v", len(p.Events), entity(i), err)
		}
	}
}

// TestCursorResumes reads 50 of 100 events, saves every tenth and forgets about the cursor. It goes on behind the last saved.
func TestCursorResumes(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, nil)
	for n := range 100 {
		order(t, s, n)
	}
	c := mustCursor(t, s, "c", Query{})
	for e, err := range c.Follow(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq%10 == 0 {
			mustSave(t, c, e.Seq)
		}
		if e.Seq == 57 {
			break
		}
	}
	closeTest(t, s)
	s = openTest(t, dir, nil)
	p, err := mustCursor(t, s, "c", Query{}).Page(0)
	if err != nil || len(p.Events) != 50 || p.Events[0].Seq != 51 {
		t.Errorf("%d events are left, %v", len(p.Events), err)
	}
}

// TestCursorStats looks at the figures of cursors that are open, and that are not.
func TestCursorStats(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, nil)
	order(t, s, 0, 1, 2, 3)
	mustSave(t, mustCursor(t, s, "b", Query{Prefix: "order"}), 3)
	mustCursor(t, s, "a", Query{After: 1})
	check := func(s *Store, want ...CursorStats) {
		t.Helper()
		if st, err := s.Stats(); err != nil || !slices.Equal(st.Cursors, want) {
			t.Errorf("%+v, %v; want %+v", st.Cursors, err, want)
		}
	}
	check(s, CursorStats{"a", "everything", 1, 3, true}, CursorStats{"b", `prefix="order"`, 3, 1, true})
	closeTest(t, s)
	s = openTest(t, dir, nil)
	a := CursorStats{"a", "everything", 1, 3, false} // saved when it was made
	check(s, a, CursorStats{"b", `prefix="order"`, 3, 1, false})
	if err := s.DeleteCursor("b"); err != nil {
		t.Error(err)
	}
	check(s, a)
}

// TestNoStateFile checks that state.bolt is not made before something is kept in it.
func TestNoStateFile(t *testing.T) {
	dir := memoryDir(t)
	path := filepath.Join(dir, stateFile)
	s := openTest(t, dir, nil)
	order(t, s, 0)
	_, err := s.Stats()
	n, err2 := s.DropSnapshots("")
	b := s.LoadSnapshot("a")
	if err := errors.Join(err, err2, s.DeleteCursor("c")); err != nil || n != 0 || b != nil {
		t.Errorf("%d snapshots, %q, %v", n, b, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", stateFile, err)
	}
	closeTest(t, s)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there after Close: %v", stateFile, err)
	}
	s = openTest(t, dir, nil)
	mustCursor(t, s, "c", Query{})
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestSnapshots saves, loads and drops snapshots. A damaged one is none.
func TestSnapshots(t *testing.T) {
	db := kv.NewMemory()
	s := openTest(t, memoryDir(t), &Options{openState: func() (kv.DB, error) { return db, nil }})
	ids := []string{"balance/1/a", "balance/1/b", "balance/2/a", "balances/1/a"}
	for _, id := range ids {
		s.SaveSnapshot(id, []byte("older"))
		s.SaveSnapshot(id, []byte(id))
	}
	for _, id := range ids {
		if b := s.LoadSnapshot(id); string(b) != id {
			t.Errorf("%s is %q", id, b)
		}
	}
	eachByte(t, db, snapshotsBucket, ids[0], func(what string) {
		if b := s.LoadSnapshot(ids[0]); b != nil {
			t.Errorf("%s: %q", what, b)
		}
	})
	for _, drop := range []struct {
		prefix string
		count  int
		left   []string
	}{{"balance/1", 2, ids[2:]}, {"balance/1", 0, ids[2:]}, {"z", 0, ids[2:]}, {"balance/", 1, ids[3:]}, {"", 1, nil}, {"", 0, nil}} {
		n, err := s.DropSnapshots(drop.prefix)
		var left []string
		for _, id := range ids {
			if s.LoadSnapshot(id) != nil {
				left = append(left, id)
			}
		}
		if err != nil || n != drop.count || !slices.Equal(left, drop.left) {
			t.Errorf("dropped %q: %d, %q left, %v", drop.prefix, n, left, err)
		}
	}
}

// eachByte calls try with the value of a key damaged in each of its bytes, cut off at each, longer, and in the place of another
// key's; then it is as before.
func eachByte(t *testing.T, db kv.DB, bucket, key string, try func(what string)) {
	t.Helper()
	var whole []byte
	put := func(b []byte) {
		if err := db.Update(func(tx kv.Tx) error { return tx.Put(bucket, []byte(key), b) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.View(func(tx kv.Tx) error { whole = bytes.Clone(tx.Get(bucket, []byte(key))); return nil }); err != nil || whole == nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		put(b)
		try(fmt.Sprintf("byte %d of %d", i, len(whole)))
		put(whole[:i])
		try(fmt.Sprintf("%d bytes of %d", i, len(whole)))
	}
	put(append(bytes.Clone(whole), 0))
	try("a byte more")
	put(whole)
}

// TestCursorDamaged damages what is kept of a cursor. It is never opened, and never at the start.
func TestCursorDamaged(t *testing.T) {
	db := kv.NewMemory()
	s := openTest(t, memoryDir(t), &Options{openState: func() (kv.DB, error) { return db, nil }})
	order(t, s, 0, 1, 2)
	for name, at := range map[string]Seq{"c": 2, "d": 3} {
		c := mustCursor(t, s, name, Query{})
		mustSave(t, c, at)
		closeTest(t, c)
	}
	refused := func(what, name string) {
		t.Helper()
		c, err := s.Cursor(name, Query{})
		var bad *CorruptError
		if err == nil {
			_ = c.Close()
		}
		if !errors.As(err, &bad) || bad.File != stateFile {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.Stats(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: figures: %v", what, err)
		}
	}
	eachByte(t, db, cursorsBucket, "c", func(what string) { refused(what, "c") })
	if c := mustCursor(t, s, "c", Query{}); c.Position() != 2 {
		t.Errorf("mended it is at %d", c.Position())
	} else {
		closeTest(t, c)
	}
	rename := func(from, to string) func(kv.Tx) error {
		return func(tx kv.Tx) error {
			b := bytes.Clone(tx.Get(cursorsBucket, []byte(from)))
			return errors.Join(tx.Delete(cursorsBucket, []byte(from)), tx.Put(cursorsBucket, []byte(to), b))
		}
	}
	if err := db.Update(rename("c", "d")); err != nil {
		t.Fatal(err)
	}
	refused("the value of another", "d")
	if err := db.Update(rename("d", "k")); err != nil {
		t.Fatal(err)
	}
	refused("a changed name", "c")
	if err := s.DeleteCursor("k"); err != nil { // what is damaged can be let go
		t.Fatal(err)
	}
	refused("a missing position", "c")
	if err := errors.Join(s.DeleteCursor("c"), s.DeleteCursor("d")); err != nil {
		t.Fatal(err)
	}
	if c := mustCursor(t, s, "c", Query{}); c.Position() != 0 {
		t.Errorf("deleted it is at %d", c.Position())
	}
}

// stateVictim makes a store of some orders, the file of whose cursor has been written several times, and returns its files and
// the positions that were saved.
func stateVictim(t *testing.T, dir string) (files, []Seq) {
	t.Helper()
	s := openTest(t, dir, nil)
	order(t, s, 0, 1, 2, 3, 4)
	c := mustCursor(t, s, "shipping", Query{})
	saved := []Seq{1, 2, 3, 4}
	for _, at := range saved {
		mustSave(t, c, at)
	}
	closeTest(t, s)
	return readFiles(t, dir), saved
}

// openCursor opens the store in dir and its cursor, and returns the position.
func openCursor(t *testing.T, dir string) (Seq, error) {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeTest(t, s)
	c, err := s.Cursor("shipping", Query{})
	if err != nil {
		return 0, err
	}
	defer closeTest(t, c)
	return c.Position(), nil
}

// TestStateFileDamaged changes each byte of state.bolt that is not zero. The cursor is refused, or is at a position that was
// saved: the last one, or, if that writing is damaged as a whole, the one before.
func TestStateFileDamaged(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "store")
	f, saved := stateVictim(t, dir)
	whole := f[stateFile]
	refused, tried := 0, 0
	for i := range whole {
		if whole[i] == 0 {
			continue
		}
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		if err := os.WriteFile(filepath.Join(dir, stateFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		tried++
		at, err := openCursor(t, dir)
		if errors.Is(err, ErrCorrupt) {
			refused++
		} else if err != nil || !slices.Contains(saved[2:], at) {
			t.Errorf("byte %d: at %d, %v", i, at, err)
		}
	}
	t.Logf("%d bytes, %d refused", tried, refused)
	if refused < 50 {
		t.Error("that is too few to mean anything")
	}
}

// TestStateFileForeign puts other files in the place of state.bolt.
func TestStateFileForeign(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "store")
	f, saved := stateVictim(t, dir)
	other, _ := stateVictim(t, filepath.Join(memoryDir(t), "other"))
	for what, b := range map[string][]byte{
		"of another store": other[stateFile], "empty": {}, "cut off": f[stateFile][:6000], "a page less": f[stateFile][:len(f[stateFile])-4096], "text": []byte("hello"),
		"zeros": make([]byte, len(f[stateFile])),
	} {
		damaged := maps.Clone(f)
		damaged[stateFile] = b
		damaged.write(t, dir)
		at, err := openCursor(t, dir)
		if what == "a page less" && err == nil && at == saved[3] {
			continue // it is not in use
		}
		var bad *CorruptError
		if !errors.As(err, &bad) || bad.File != stateFile || what == "of another store" && bad.Check != "store id" {
			t.Errorf("%s: at %d, %v", what, at, err)
		}
		after, _ := os.ReadFile(filepath.Join(dir, stateFile))
		if !bytes.Equal(after, b) {
			t.Errorf("%s: the file was changed", what)
		}
	}
}

// TestStateWithoutIdentity takes the identity out of a file that has cursors. It may be of any store, and is refused.
func TestStateWithoutIdentity(t *testing.T) {
	db := kv.NewMemory()
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{openState: func() (kv.DB, error) { return db, nil }})
	order(t, s, 0)
	mustSave(t, mustCursor(t, s, "c", Query{}), 0)
	other := kv.NewMemory()
	if err := db.View(func(tx kv.Tx) error {
		b := bytes.Clone(tx.Get(cursorsBucket, []byte("c")))
		return other.Update(func(tx kv.Tx) error { return tx.Put(cursorsBucket, []byte("c"), b) })
	}); err != nil {
		t.Fatal(err)
	}
	closeTest(t, s)
	s = openTest(t, dir, &Options{openState: func() (kv.DB, error) { return other, nil }})
	if _, err := s.Cursor("c", Query{}); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// TestCursorOfAnotherLog puts a newer state.bolt beside an older log of the same store, as a restored copy would be.
func TestCursorOfAnotherLog(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "store")
	s := openTest(t, dir, nil)
	order(t, s, 0, 1)
	closeTest(t, s)
	older := readFiles(t, dir)
	s = openTest(t, dir, nil)
	order(t, s, 2)
	mustSave(t, mustCursor(t, s, "shipping", Query{}), 3)
	closeTest(t, s)
	state := readFiles(t, dir)[stateFile]
	for _, more := range [][]int{nil, {3}, {3, 4}} {
		older.write(t, dir)
		s := openTest(t, dir, nil)
		order(t, s, more...)
		closeTest(t, s)
		if err := os.WriteFile(filepath.Join(dir, stateFile), state, 0o600); err != nil {
			t.Fatal(err)
		}
		if at, err := openCursor(t, dir); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with %d other events: at %d, %v", len(more), at, err)
		}
	}
}
