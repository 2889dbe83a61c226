package batpak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/kv"
)

// An indexed store is one whose index has several runs and buckets, and everything that it answers.
type indexedStore struct {
	files   files
	answers []string
	events  int
}

// newIndexedStore makes a store of some hundred events, folded a few at a time, and closes it.
func newIndexedStore(t *testing.T, events int) *indexedStore {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "store")
	s := openTest(t, dir, &Options{foldEvents: 1 << 20, SyncInterval: time.Hour, SegmentBytes: 64 << 10})
	for i := range events {
		p := raw(fmt.Sprintf("ns%d:e%d", i%3, i%17), fmt.Sprint("payload ", i))
		p.At.Scope, p.Lane, p.Key = fmt.Sprintf("s%d", i%5), Lane(i%2), fmt.Sprintf("key %d", i)
		mustCommit(t, s, p)
		if i%60 == 59 {
			if err := s.foldTo(s.accepted()); err != nil {
				t.Fatal(err)
			}
		}
	}
	x := &indexedStore{answers: answers(t, s), events: events}
	if st, err := s.Stats(); err != nil || len(st.Index.Runs) < 2 {
		t.Fatalf("%d runs, %v", len(st.Index.Runs), err)
	}
	closeTest(t, s)
	x.files = readFiles(t, dir)
	return x
}

// answers asks everything that the index has a part in: each position, queries of each sort forward and reverse, the ancestry
// of a stream, the terms, and what a key was used for.
func answers(t *testing.T, s *Store) []string {
	t.Helper()
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	last := s.Visible()
	for seq := Seq(1); seq <= last; seq += 7 {
		e, err := s.At(seq)
		say("at %d: %v %v", seq, e.Hash, err)
	}
	lane := Lane(1)
	middle, err := s.At(last / 2)
	say("middle: %v", err)
	for _, q := range []Query{
		{}, {Entity: "ns1:e4"}, {Entity: "ns1:e4", Lane: &lane}, {Prefix: "ns2"}, {Scope: "s3"}, {Kind: 0xF001}, {Since: middle.Time.Time()},
		{Until: middle.Time.Time()}, {Correlation: middle.ID}, {Entity: "ns1:e4", Lane: &lane, ClockAfter: 2, ClockThrough: 5},
		{Entity: "nobody"}, {Scope: "s1", Prefix: "ns0"},
	} {
		for _, reverse := range []bool{false, true} {
			q.Reverse = reverse
			es, err := gather(s.Query(q))
			say("%+v: %d events, %v, %v", q.Scope, len(es), seqs(es), err)
		}
	}
	w, err := s.Walk(middle.ID, 100)
	say("walk: %v %v %v", seqs(w.Events), w.End, err)
	p := raw("ns0:e0", "payload 0")
	p.At.Scope, p.Key = "s0", "key 0"
	receipts, err := s.Commit(p)
	if err != nil || receipts[0].Seq != 1 {
		say("key: %v %v", receipts, err)
	}
	return out
}

func seqs(es []Event) []Seq {
	var s []Seq
	for _, e := range es {
		s = append(s, e.Seq)
	}
	return s
}

// damaged opens the store with this index file, asks everything, and checks that the report says that the index was rebuilt
// exactly if it was. It returns whether it was.
func (x *indexedStore) damaged(t *testing.T, dir string, index []byte) bool {
	t.Helper()
	x.files.write(t, dir)
	if err := os.WriteFile(filepath.Join(dir, indexFile), index, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, &Options{foldEvents: 60, SyncInterval: time.Hour})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer closeTest(t, s)
	if diff := cmp.Diff(x.answers, answers(t, s)); diff != "" {
		t.Fatalf("other answers: %s", diff)
	}
	if rep, err := verifyStore(s); err != nil || !rep.OK() || rep.Events != x.events {
		t.Fatalf("verify: %d events, %v, %v", rep.Events, rep.Findings, err)
	}
	st, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	aside, err := os.ReadFile(filepath.Join(dir, "index.bad"))
	rebuilt := err == nil
	if !rebuilt && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if rebuilt != (st.Opened.IndexRebuilt != "") || rebuilt != (st.Opened.Quarantined == "index.bad") {
		t.Fatalf("index put aside: %v, report %+v", rebuilt, st.Opened)
	}
	if rebuilt && !bytes.Equal(aside, index) {
		t.Fatalf("the damaged index was not kept as it was: %d bytes of %d", len(aside), len(index))
	}
	return rebuilt
}

// placesOfRuns returns from where to where in an index file each run lies.
func placesOfRuns(t *testing.T, whole []byte) (places [][2]int) {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.WriteFile(indexFile, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	page := int(binary.NativeEndian.Uint32(whole[16+8:]))
	meta := whole[16:]
	if other := whole[page+16:]; binary.NativeEndian.Uint64(other[48:]) > binary.NativeEndian.Uint64(meta[48:]) {
		meta = other
	}
	root := int(binary.NativeEndian.Uint64(meta[16:])) * page
	db, err := kv.ReadBolt(dir, indexFile)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx kv.Tx) error {
		for slot := range 100 {
			for _, v := range tx.Scan(fmt.Sprint("run ", slot), nil) {
				at := bytes.Index(whole, v)
				if bytes.Contains(whole[at+1:], v) { // small ones lie in the root page, of which the file has older copies
					at = root + bytes.Index(whole[root:], v)
				}
				places = append(places, [2]int{at, at + len(v)})
			}
		}
		return nil
	})
	if err != nil || len(places) < 2 {
		t.Fatalf("%d runs, %v", len(places), err)
	}
	return places
}

// TestIndexSectors damages each sector of the index file in turn, in two ways, and cuts it off at each page. The store opens
// and answers as before, and the report tells whether the index was built anew: it is if a byte of a run is another. With BATPAK_LONG the index is larger, and is
// cut off at each page of zeros too.
func TestIndexSectors(t *testing.T) {
	const sector, page = 512, 4096
	long := os.Getenv("BATPAK_LONG") != ""
	events := 300
	if long {
		events = 1500
	}
	x := newIndexedStore(t, events)
	whole := x.files[indexFile]
	dir := filepath.Join(memoryDir(t), "store")
	if x.damaged(t, dir, whole) {
		t.Fatal("a whole index was rebuilt")
	}
	runs := placesOfRuns(t, whole)
	used := len(bytes.TrimRight(whole, "\x00")) // bbolt lays the file out ahead; behind this it is as new
	harm := map[string]func(b []byte, i int){
		"inverted": func(b []byte, _ int) {
			for j := range b {
				b[j] ^= 0xFF
			}
		},
		"zeroed":  func(b []byte, _ int) { clear(b) },
		"one bit": func(b []byte, i int) { b[i*37%len(b)] ^= 1 << (i % 8) },
	}
	rebuilt, tried := 0, 0
	for name, harm := range harm {
		for i := range (used + sector - 1) / sector {
			b := slices.Clone(whole)
			harm(b[i*sector:(i+1)*sector], i)
			if bytes.Equal(b, whole) {
				continue
			}
			if bytes.Trim(whole[i*sector:(i+1)*sector], "\x00") != nil { // else it belongs to the end of a page, which nothing reads
				tried++
			}
			switch found := x.damaged(t, dir, b); {
			case found:
				rebuilt++
			case slices.ContainsFunc(runs, func(r [2]int) bool { return !bytes.Equal(b[r[0]:r[1]], whole[r[0]:r[1]]) }):
				t.Error("a damaged run was not found")
			}
			if t.Failed() {
				t.Fatalf("sector %d of %d %s", i, used/sector, name)
			}
		}
	}
	cut := 0
	for n := 0; n < len(whole); n += page {
		if !long && n > used+page && n%(64*page) != 0 { // one zero page is like another
			continue
		}
		if x.damaged(t, dir, whole[:n]) {
			cut++
		}
		tried++
	}
	t.Logf("%d bytes, %d of them used: %d damages, %d led to a rebuilt index, as did %d cuts", len(whole), used, tried, rebuilt, cut)
	if rebuilt < tried/4 || cut == 0 {
		t.Errorf("only %d of %d damages, and %d cuts, led to a rebuilt index", rebuilt, tried, cut)
	}
}

// TestIndexOfSmallPages goes on with an index file whose pages have another size than those of a new one.
func TestIndexOfSmallPages(t *testing.T) {
	dir := t.TempDir()
	closeTest(t, openTest(t, dir, nil))
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.Remove(indexFile); err != nil {
		t.Fatal(err)
	}
	db, err := kv.OpenBolt(root, indexFile, 4096)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		s := openTest(t, dir, &Options{foldEvents: 10})
		for i := range 50 {
			mustCommit(t, s, raw(fmt.Sprint("e", i%7), fmt.Sprint("payload ", round, i)))
		}
		if rep, err := verifyStore(s); err != nil || !rep.OK() || rep.Events != 50*(round+1) {
			t.Fatalf("verify: %d events, %v, %v", rep.Events, rep.Findings, err)
		}
		if st, err := s.Stats(); err != nil || st.Opened.IndexRebuilt != "" || st.Opened.Replayed != 0 {
			t.Errorf("opened: %+v, %v", st.Opened, err)
		}
		closeTest(t, s)
		b, err := root.ReadFile(indexFile)
		if err != nil || binary.NativeEndian.Uint32(b[16+8:]) != 4096 {
			t.Fatalf("pages of %d bytes, %v", binary.NativeEndian.Uint32(b[16+8:]), err)
		}
	}
}
