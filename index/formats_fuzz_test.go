package index

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// foldedPairs returns what is in the database of an index of 96 events in a few runs, of which one is merged.
func foldedPairs(t testing.TB) (all []pairKV) {
	t.Helper()
	db := kv.NewMemory()
	x, err := Open(db, testStore)
	if err != nil {
		t.Fatal(err)
	}
	x.merging.fanIn = 3
	var m model
	for range 8 {
		s := seedTail(&m, 12)
		for seq := s.first; seq <= s.last; seq++ {
			x.Append(s.entry(seq), nil)
		}
		if err := x.Fold(Position{Seq: s.last, Time: s.entry(s.last).Header.Time, Offset: 7}); err != nil {
			t.Fatal(err)
		}
	}
	buckets := []string{metaBucket}
	for _, r := range x.folded.Load().runs {
		buckets = append(buckets, r.bucket)
	}
	if err := db.View(func(tx kv.Tx) error {
		for _, bucket := range buckets {
			for k, v := range tx.Scan(bucket, nil) {
				all = append(all, pairKV{bucket, bytes.Clone(k), bytes.Clone(v)})
			}
		}
		return nil
	}); err != nil || len(all) < 3 {
		t.Fatalf("%d values, %v", len(all), err)
	}
	return all
}

// pairsDB returns a database with the pairs.
func pairsDB(t testing.TB, pairs []pairKV) kv.DB {
	t.Helper()
	db := kv.NewMemory()
	if err := db.Update(func(tx kv.Tx) error {
		for _, p := range pairs {
			if err := tx.Put(p.bucket, p.key, p.value); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return db
}

// patched returns b with the patch at a place, counted round its length, and then cut or extended to its length plus by.
func patched(b []byte, at uint16, patch []byte, by int8) []byte {
	b = bytes.Clone(b)
	if len(b) > 0 {
		copy(b[int(at)%len(b):], patch)
	}
	return append(b, make([]byte, 128)...)[:max(0, len(b)+int(by))]
}

// FuzzIndex patches two values of an index, the meta record or runs with their names, and asks it everything. With the
// checksums left as they were every answer stays as it was or is ErrDamaged. With checksums made right answers may be wrong,
// but nothing panics, and memory does not follow what a length says. Then it appends, folds and merges.
func FuzzIndex(f *testing.F) {
	pairs := foldedPairs(f)
	good := answers(pairsDB(f, pairs))
	f.Add(true, uint8(0), uint16(0), []byte{}, int8(0), uint8(0), uint16(0), []byte{}, int8(0))
	f.Add(true, uint8(1), uint16(24), []byte{0xFF, 0xFF, 0xFF, 0xFF}, int8(0), uint8(0), uint16(0), []byte{}, int8(0)) // terms
	f.Fuzz(func(t *testing.T, repair bool, one uint8, at1 uint16, patch1 []byte, by1 int8, two uint8, at2 uint16, patch2 []byte,
		by2 int8) {
		damaged := append([]pairKV{}, pairs...)
		size := uint64(0)
		for _, c := range []struct {
			which uint8
			at    uint16
			patch []byte
			by    int8
		}{{one, at1, patch1, by1}, {two, at2, patch2, by2}} {
			p := &damaged[int(c.which)%len(damaged)]
			p.value = patched(p.value, c.at, c.patch, c.by)
			if repair {
				p.value = withChecksum(p.value)
			}
		}
		for _, p := range damaged {
			size += uint64(len(p.value))
		}
		db := pairsDB(t, damaged)
		if n := allocated(func() {
			if !repair {
				checkAnswers(t, db, good, "patched")
			} else {
				answers(db)
			}
			foldMore(t, db)
		}); n > 8<<20+512*size {
			t.Errorf("%d bytes allocated for %d", n, size)
		}
	})
}

// foldMore appends and folds until runs are merged. If anything goes wrong it is damage.
func foldMore(t *testing.T, db kv.DB) {
	x, err := Open(db, testStore)
	if err != nil {
		wantDamaged(t, err)
		return
	}
	x.merging.fanIn = 2
	for range 3 {
		last := x.Last()
		if last+3 > event.MaxSeq {
			return
		}
		for i := range event.Seq(3) {
			h := event.Header{Seq: last + i + 1, Entity: "a:b", Scope: "s", Kind: 0x1000, Clock: 1, Time: 1 << 40}
			h.ID = event.NewID(h.Time, h.Seq, 1)
			x.Append(&Entry{Header: h, Length: 1}, nil)
		}
		if err := x.Fold(Position{Seq: last + 3}); err != nil {
			wantDamaged(t, err)
			return
		}
	}
}

// wantDamaged checks that an error is of damage and says of what.
func wantDamaged(t *testing.T, err error) {
	t.Helper()
	var d *DamagedError
	if !errors.Is(err, ErrDamaged) || !errors.As(err, &d) || d.What == "" {
		t.Errorf("%v", err)
	}
}

// FuzzTerms gives a run names of any bytes, with the checksum right, and lists them: what is listed is in order, each name
// once, begins as asked for, and a listing that goes on behind a name finds the rest.
func FuzzTerms(f *testing.F) {
	f.Add([]byte("ea\x00\x00\x00\x00\x00|eb\x00\x00\x00\x00\x01|k\x10\x00|na|ss|st"), "", "", uint8(2))
	f.Add([]byte("ea|k|k\x10|k\x10\x00\x00|n|s"), "a", "a", uint8(1))
	f.Add([]byte("s|s\x00|s\x00\x00|s\xff|ss|sss"), "s", "", uint8(3))
	f.Add([]byte("e1 \x00\x00\x00\x00\x00|e1!\x00\x00\x00\x00"), "", "", uint8(0)) // not in the order of their names
	f.Fuzz(func(t *testing.T, names []byte, prefix, after string, limit uint8) {
		var terms [][]byte
		for name := range bytes.SplitSeq(names, []byte("|")) {
			if len(name) > 0 && (len(terms) == 0 || bytes.Compare(terms[len(terms)-1], name) < 0) {
				terms = append(terms, name)
			}
		}
		w := emptyRun(9)
		for i, name := range terms {
			l := w.term(name, 1)
			l.add(uint32(i % 9))
			w.done(&l)
		}
		run := w.encode()
		ref := newRunRef(1, 9, uint32(len(run)), 0, 0)
		meta := (&meta{position: Position{Seq: 9}, runs: []runRef{ref}}).encode(testStore)
		x, err := Open(pairsDB(t, []pairKV{{metaBucket, metaKey, meta}, {ref.bucket, ref.key, run}}), testStore)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range []byte{Entities, Namespaces, Scopes, Kinds} {
			checkTerms(t, x, tag, prefix, after, int(limit)%8+1)
		}
	})
}

// checkTerms lists the terms of a tag a few at a time.
func checkTerms(t *testing.T, x *Index, tag byte, prefix, after string, limit int) {
	all, err := x.Terms(tag, prefix, after, 1<<20)
	if err != nil {
		wantDamaged(t, err)
		return
	}
	var again []Term
	for last := after; ; {
		some, err := x.Terms(tag, prefix, last, limit)
		if err != nil {
			t.Fatalf("%q: all at once there is no error, a few at a time: %v", tag, err)
		}
		for _, s := range some {
			if s.Name <= last || !bytes.HasPrefix([]byte(s.Name), []byte(prefix)) || s.Count == 0 || s.Last == 0 || s.Last > 9 {
				t.Fatalf("%q behind %q, prefix %q: %+v", tag, last, prefix, s)
			}
			last = s.Name
		}
		again = append(again, some...)
		if len(some) < limit {
			break
		}
	}
	if len(all) != len(again) {
		t.Fatalf("%q: %d names at once, %d a few at a time", tag, len(all), len(again))
	}
	for i := range all {
		if all[i] != again[i] {
			t.Fatalf("%q: %+v at once, %+v a few at a time", tag, all[i], again[i])
		}
	}
}
