package batpak

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// moved is a payload of the tests.
type moved struct {
	X int `cbor:"x"`
	Y int `cbor:"y,omitempty"`
}

func (moved) EventType() Type { return Type{Kind: 0xF001, Name: "moved", Version: 1} }

// openTest opens a store in dir that is closed at the end of the test, unless the test did.
func openTest(t testing.TB, dir string, opts *Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func closeTest(t testing.TB, s interface{ Close() error }) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAppendReopenRead(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, &Options{SegmentBytes: 4096, foldEvents: 7})
	var receipts []Receipt
	for i := range 100 {
		r, err := s.Append(At(fmt.Sprintf("player:%d", i%5), "room"), moved{X: i})
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	check := func(s *Store) {
		t.Helper()
		for i, r := range receipts {
			if v := s.VerifyReceipt(r); !v.OK() {
				t.Errorf("receipt %d: %+v", i, v)
			}
			e, err := s.Get(r.ID)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Decode[moved](e)
			if err != nil || p.X != i {
				t.Errorf("event %d is %+v, %v", i, p, err)
			}
		}
		n := Seq(0)
		for e, err := range s.Query(Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; e.Seq != n {
				t.Errorf("event %d where %d is due", e.Seq, n)
			}
		}
		if n != 100 {
			t.Errorf("%d events", n)
		}
		w, err := s.Walk(receipts[99].ID, 50)
		if err != nil || w.End != "genesis" || len(w.Events) != 20 {
			t.Errorf("walk: %d events, %s, %v", len(w.Events), w.End, err)
		}
		rep, err := s.Verify(context.Background(), nil)
		if err != nil || !rep.OK() || rep.Events != 100 || rep.Streams != 5 {
			t.Errorf("verify: %+v, %v", rep, err)
		}
	}
	check(s)
	closeTest(t, s)
	s = openTest(t, dir, nil)
	check(s)
	if s.opened.Replayed != 0 {
		t.Errorf("a clean open replayed %d events", s.opened.Replayed)
	}
	closeTest(t, s)
	s = openTest(t, dir, &Options{MemoryIndex: true})
	check(s)
	closeTest(t, s)
	rep, err := VerifyDir(context.Background(), dir, nil)
	if err != nil || !rep.OK() || rep.Events != 100 {
		t.Errorf("verify dir: %+v, %v", rep, err)
	}
	r, err := OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	es := 0
	for _, err := range r.Query(Query{Entity: "player:3"}) {
		if err != nil {
			t.Fatal(err)
		}
		es++
	}
	if es != 20 {
		t.Errorf("reader: %d events", es)
	}
}
