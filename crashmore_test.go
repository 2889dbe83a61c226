package batpak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
)

// longTests reports whether BATPAK_LONG asks for all that a test can do.
func longTests() bool { return os.Getenv("BATPAK_LONG") == "1" }

// A failing disk fails operation n, with an effect.
func failAt(n int, effect crashfs.Effect) func(*life, crashfs.Op) crashfs.Fault {
	return func(_ *life, op crashfs.Op) (f crashfs.Fault) {
		if op.N == n {
			f = crashfs.Fault{Effect: effect, Part: op.Length / 2, Err: syscall.EIO}
		}
		return f
	}
}

var faultEffects = []crashfs.Effect{crashfs.None, crashfs.All, crashfs.Some}

// someCuts returns one of the ways to crash, or all of them in a long test.
func someCuts(n int) []crashfs.Cut {
	cuts := []crashfs.Cut{crashfs.Killed(), crashfs.Dropped(), crashfs.Torn(uint64(n))}
	if longTests() {
		return cuts
	}
	return cuts[n%3:][:1]
}

// TestFaultAnywhere makes every operation of the workload fail, before it has an effect, after it had it, and a write in the
// middle. If that is a failure of the log, it stays, and reads go on; if only the index or LOCK is concerned, the store may
// go on. What opens after a crash has all that was acknowledged, and goes on.
func TestFaultAnywhere(t *testing.T) {
	for _, d := range []Durability{Durable, Written} {
		t.Run(d.String(), func(t *testing.T) {
			var faults, harmless atomic.Int64
			w := sweep{}
			err := everywhere(func(n int) (bool, error) {
				for i, effect := range faultEffects {
					l := newLife(crashOptions(d))
					l.setFault(failAt(n, effect))
					err := l.failing(syscall.EIO)
					ops := l.disk.Ops()
					if len(ops) < n {
						return true, err
					}
					if effect == crashfs.Some && ops[n-1].Verb != crashfs.Write && err == nil {
						continue // it is the same as All
					}
					faults.Add(1)
					if s := l.open.Load(); s != nil && s.log.Err() == nil {
						harmless.Add(1)
					}
					l.setFault(nil)
					for j, cut := range someCuts(n + i) {
						if err == nil {
							err = w.recovered(l, cut, uint64(1000*n+10*i+j))
						}
					}
					if err != nil {
						return false, fmt.Errorf("operation %d, %v, effect %d: %w\n%s", n, ops[n-1], effect, err, l.disk.Trace())
					}
				}
				return false, nil
			})
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d faults, %d of them did not break the log; %d recoveries", faults.Load(), harmless.Load(), w.recoveries.Load())
			if err == nil && (faults.Load() < 250 || harmless.Load() < 10) {
				t.Error("that is too few to mean anything")
			}
		})
	}
}

// TestFaultInRecovery makes every operation of opening fail, after crashes at some of the operations of the workload. Opening
// says so, or succeeds; the next one finds everything.
func TestFaultInRecovery(t *testing.T) {
	stride := 9
	if longTests() {
		stride = 1
	}
	var crashes, faults, torn, quarantined, removed atomic.Int64
	err := everywhere(func(i int) (bool, error) {
		n := i * stride
		l := newLife(crashOptions(Durable))
		l.stopAt(n)
		_ = l.do(workload) // TestCrashAnywhere looks at how it ends
		done := !l.disk.Stopped()
		l.end()
		crashes.Add(1)
		w := sweep{}
		for k := 1; ; k++ {
			for j, effect := range faultEffects {
				seed := uint64(1000*n + k)
				again, what := w.after(l, []crashfs.Cut{crashfs.Killed(), crashfs.Dropped(), crashfs.Torn(seed)}[i%3], seed)
				offset := len(again.disk.Ops())
				again.setFault(failAt(offset+k, effect))
				err := again.failingOpen()
				ops := again.disk.Ops()[offset:]
				if len(ops) < k {
					return done, err
				}
				faults.Add(1)
				for _, op := range ops {
					switch {
					case op.Verb == crashfs.Truncate:
						torn.Add(1)
					case op.Verb == crashfs.Rename && op.Name == indexFile:
						quarantined.Add(1)
					case op.Verb == crashfs.Remove && op.Name == "log/next.tmp":
						removed.Add(1)
					}
				}
				again.setFault(nil)
				if err == nil {
					err = w.recovered(again, someCuts(n + k + j)[0], seed)
				}
				if err != nil {
					return done, fmt.Errorf("crash at operation %d, %s, operation %d of the recovery, %v, effect %d: %w\n%s", n, what, k, ops[k-1], effect, err, again.disk.Trace())
				}
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d crashes, %d faults, in recoveries that cut off a torn tail (%d), put an index aside (%d), removed a segment without a name (%d)",
		crashes.Load(), faults.Load(), torn.Load(), quarantined.Load(), removed.Load())
	if err == nil && (crashes.Load() < 10 || faults.Load() < 200 || quarantined.Load() == 0) {
		t.Error("that is too few to mean anything")
	}
}

// failingOpen opens the store on a disk with a fault, and ends the process.
func (l *life) failingOpen() error {
	defer l.end()
	err := l.openStore()
	if err == nil {
		return l.checkOpened() // what follows an opening in the background may have failed
	}
	var path *fs.PathError
	if !errors.Is(err, syscall.EIO) || !errors.As(err, &path) {
		return violated("opening on a failing disk: %v", err)
	}
	return nil
}

// TestSyncFailureExact fails each sync that the log waits for, and cuts the power. What was durable by the log's own account is
// there, and not one commit more: the failed sync made nothing durable, and nothing was written after it.
func TestSyncFailureExact(t *testing.T) {
	for _, effect := range []crashfs.Effect{crashfs.None, crashfs.Lost} {
		for n := int64(1); ; n++ {
			var syncs atomic.Int64
			l := newLife(crashOptions(Durable))
			l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
				switch {
				case op.Verb != crashfs.Sync || !strings.HasPrefix(op.Name, "log/"):
				case byFiller():
					f = crashfs.Fault{Effect: crashfs.None} // it would make commits durable that nobody waits for
				case syncs.Add(1) == n:
					f = crashfs.Fault{Effect: effect, Err: syscall.EIO}
				}
				return f
			})
			if err := l.failing(syscall.EIO); err != nil {
				t.Fatalf("sync %d: %v\n%s", n, err, l.disk.Trace())
			}
			if pastLastSync(t, syncs.Load(), n) {
				break
			}
			durable := Seq(0)
			if s := l.open.Load(); s != nil {
				durable = s.Frontier().Durable
			}
			l.setFault(nil)
			again := l.crash(crashfs.Dropped())
			if err := again.openStore(); err != nil {
				t.Fatalf("sync %d, effect %d: %v\n%s", n, effect, err, l.disk.Trace())
			}
			if got := again.s.Visible(); got != durable {
				t.Errorf("sync %d, effect %d: %d events are there, %d were durable\n%s", n, effect, got, durable, l.disk.Trace())
			}
			again.end()
		}
	}
}

// TestOpenOnFullDisk opens a store on the disk that was full when it failed, and is full still. It opens or says that there is
// no room, as often as one likes; once there is room it goes on.
func TestOpenOnFullDisk(t *testing.T) {
	opened, refused := 0, 0
	for room := int64(0); ; room += 997 {
		l := newLife(crashOptions(Durable))
		l.disk.SetCapacity(room)
		if err := l.failing(syscall.ENOSPC); err != nil {
			t.Fatalf("room for %d bytes: %v\n%s", room, err, l.disk.Trace())
		}
		if !strings.Contains(l.disk.Trace(), syscall.ENOSPC.Error()) {
			break
		}
		again := l.crash(crashfs.Killed())
		again.disk.SetCapacity(again.disk.Used())
		for range 2 {
			err := again.openStore()
			switch {
			case err == nil:
				opened++
				if err := again.checkOpened(); err != nil {
					t.Fatalf("room for %d bytes: %v", room, err)
				}
				if err := again.s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("room for %d bytes: close: %v", room, err)
				}
				again.s = nil
			case errors.Is(err, syscall.ENOSPC):
				refused++
			default:
				t.Fatalf("room for %d bytes: open: %v\n%s", room, err, again.disk.Trace())
			}
		}
		again.disk.SetCapacity(-1)
		if err := again.recover(); err != nil {
			t.Fatalf("room for %d bytes, then for more: %v\n%s", room, err, again.disk.Trace())
		}
		again.end()
	}
	t.Logf("%d openings on full disks, %d refused", opened, refused)
	if opened < 10 || refused < 1 {
		t.Error("that is too few to mean anything")
	}
}

// firstSegment is where stores of few events have them.
const firstSegment = "log/00000000000000000001.seg"

// TestCutIsSynced tears a tail so that its first commit is missing, and the second is whole and begins at a sector. Recovery
// cuts both off. Another first commit of the same length is appended, and the power is cut before it is synced. If the disk
// then kept that commit but not the cut, the old second commit would follow it, with the link of a log that is no more.
func TestCutIsSynced(t *testing.T) {
	event := func(fill string, length int) Proposal {
		return Proposal{At: At("p", "s"), Kind: 0xF001, Data: bytes.Repeat([]byte(fill), length)}
	}
	begin := func(length int) *life { // with one durable commit, of that length, and two that are written
		l := newLife(crashOptions(Durable))
		if err := errors.Join(l.openStore(), l.commit(Durable, event("a", length)), l.commit(Written, event("b", 40)), l.commit(Written, event("c", 40))); err != nil {
			t.Fatal(err)
		}
		l.end()
		return l
	}
	parts := func(l *life) []part {
		b, err := vfs.ReadFile(l.disk.Crash(crashfs.Killed()), firstSegment, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return dissect(bytes.TrimRight(b, "\x00"))
	}
	third := parts(begin(300))[3].offset
	l := begin(300 + (crashfs.SectorBytes-third%crashfs.SectorBytes)%crashfs.SectorBytes)
	p := parts(l)
	if p[3].offset%crashfs.SectorBytes != 0 {
		t.Fatalf("the third commit begins at %d", p[3].offset)
	}

	torn := l.crash(crashfs.Killed())
	b, err := vfs.ReadFile(torn.disk, firstSegment, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[p[2].offset:p[3].offset])
	if err := torn.disk.Put(firstSegment, b); err != nil {
		t.Fatal(err)
	}
	torn.must = 1 // of the others the process that ended said only that they are written, and the power was cut
	torn.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
		if byFiller() {
			f = crashfs.Fault{Effect: crashfs.None, Err: syscall.ENOSPC} // its sync would make the cut durable too
			if op.Verb == crashfs.Sync {
				f.Err = nil
			}
		}
		return f
	})
	torn.stopAt(0)
	if err := errors.Join(torn.openStore(), torn.checkOpened()); err != nil || torn.s.opened.TornAt != int64(p[2].offset) {
		t.Fatalf("opened %+v, %v", torn.s.opened, err)
	}
	if err := torn.commit(Written, event("B", 40)); err != nil {
		t.Fatal(err)
	}
	torn.end()
	torn.setFault(nil)
	for seed := range uint64(300) {
		if err := torn.crash(crashfs.Torn(seed)).reopen(); err != nil {
			t.Fatalf("torn %d: %v\n%s", seed, err, torn.disk.Trace())
		}
	}
}

// A witnessed is a segment of three durable commits, and what says that they were durable.
type witnessed struct {
	*life
	bytes []byte
	parts []part // of the segment, the commits from 1 on
}

// witnessedBy makes a store of which nothing is left but the segment and what is to be kept. If it is the durable field of a
// later commit, there is one more.
func witnessedBy(t *testing.T, kept string) *witnessed {
	t.Helper()
	l := newLife(crashOptions(Durable))
	tiny := func(n int) Proposal {
		return Proposal{At: At(fmt.Sprint("p:", n%2), "s"), Kind: 0xF001, Data: fmt.Append(nil, n)}
	}
	err := errors.Join(l.openStore(), l.commit(Durable, tiny(1)), l.commit(Durable, tiny(2), tiny(3)), l.commit(Durable, tiny(4)))
	switch kept {
	case indexFile:
		err = errors.Join(err, l.fold())
	case "durable field":
		err = errors.Join(err, l.commit(Written, tiny(5)))
	}
	l.end()
	w := &witnessed{life: l.crash(crashfs.Killed())}
	for _, name := range []string{lockFile, indexFile} {
		if name != kept {
			err = errors.Join(err, w.disk.Remove(name))
		}
	}
	b, readErr := vfs.ReadFile(w.disk, firstSegment, 1<<20)
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	w.bytes = bytes.TrimRight(b, "\x00")
	w.parts = dissect(w.bytes)
	return w
}

// at returns the durable commit that has the byte at offset, or nil.
func (w *witnessed) at(offset int) *part {
	for i := 1; i <= 3; i++ {
		if p := &w.parts[i]; offset >= p.offset && offset < p.offset+p.length {
			return p
		}
	}
	return nil
}

// opened opens a copy of the store with these bytes in its segment.
func (w *witnessed) opened(b []byte) (*life, error) {
	l := w.crash(crashfs.Killed())
	if err := l.disk.Put(firstSegment, b); err != nil {
		return l, err
	}
	return l, l.openStore()
}

// refused checks that opening with these bytes, which are wrong from commit p on, names the place and changes nothing.
func (w *witnessed) refused(b []byte, p *part) error {
	l, err := w.opened(b)
	defer l.end()
	var bad *CorruptError
	if !errors.As(err, &bad) {
		return fmt.Errorf("open: %v", err)
	}
	if bad.File != firstSegment || bad.Offset < int64(p.offset) || bad.Offset > int64(p.offset+p.length) {
		return fmt.Errorf("open: %v, for damage at %d to %d", err, p.offset, p.offset+p.length)
	}
	if after, err := vfs.ReadFile(l.disk, firstSegment, 1<<20); !bytes.Equal(after, b) {
		return fmt.Errorf("the segment was changed: %v", err)
	}
	return l.refusedAgain(crashfs.Killed())
}

// refusedAgain checks that a store that was refused is so by the next process too.
func (l *life) refusedAgain(cut crashfs.Cut) error {
	next := l.crash(cut)
	defer next.end()
	if err := next.openStore(); !errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("open again: %v", err)
	}
	return nil
}

// found checks that with these bytes, in which commit p is damaged, the store opens and cuts nothing off, or is refused, and
// that it is found: opening with an index reads only what is behind it.
func (w *witnessed) found(b []byte, p *part) error {
	l, err := w.opened(b)
	defer l.end()
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("open: %v", err)
		}
		return nil
	}
	rep, err := verifyStore(l.s)
	if err != nil || rep.OK() || l.s.opened.TornBytes > 0 || l.s.Visible() != w.parts[3].last() {
		return fmt.Errorf("%d findings, %v; opened with %d events and %+v", len(rep.Findings), err, l.s.Visible(), l.s.opened)
	}
	return nil
}

// TestDurableDamageAnywhere flips a bit in each byte of three durable commits of the active segment, and cuts the segment off
// at each byte of them, while one thing is left that says they were durable. None of it passes for a torn tail.
//
// What cannot be proven, once LOCK and the index are gone too, is that the log went further than it does: the durable field
// that covers a commit is in a later one. So a segment that was cut off, at whatever byte, opens with the commits before the
// cut. Whatever is wrong with its very last commit passes for a torn tail. And so does damage before a whole commit whose
// durable field does not cover it, if in some sector all of it is zeros. Only a receipt tells then, or the link that an
// earlier Verify printed.
func TestDurableDamageAnywhere(t *testing.T) {
	for _, c := range []struct {
		kept           string
		damage, cutOff func(*witnessed, []byte, *part) error
	}{
		{lockFile, (*witnessed).refused, (*witnessed).refused},
		{indexFile, (*witnessed).found, (*witnessed).refused},
		{"durable field", (*witnessed).refused, (*witnessed).unprovable},
	} {
		t.Run(c.kept, func(t *testing.T) {
			w := witnessedBy(t, c.kept)
			if err := w.reopenedWhole(); err != nil {
				t.Fatal(err)
			}
			first, end := w.parts[1].offset, w.parts[3].offset+w.parts[3].length
			err := everywhere(func(n int) (bool, error) {
				offset := first + n - 1
				if offset >= end {
					return true, nil
				}
				p := w.at(offset)
				b := bytes.Clone(w.bytes)
				b[offset] ^= 1 << (offset % 8)
				if err := c.damage(w, b, p); err != nil {
					return false, fmt.Errorf("byte %d flipped: %w", offset, err)
				}
				if err := c.cutOff(w, bytes.Clone(w.bytes[:offset]), p); err != nil {
					return false, fmt.Errorf("cut off at %d: %w", offset, err)
				}
				return false, nil
			})
			if err != nil {
				t.Error(err)
			}
			if end-first < 600 {
				t.Errorf("only %d bytes", end-first)
			}
		})
	}
}

// reopenedWhole checks that nothing is wrong before there is damage.
func (w *witnessed) reopenedWhole() error {
	l, err := w.opened(w.bytes)
	if err != nil {
		return err
	}
	defer l.end()
	return l.check()
}

// unprovable checks that a segment cut off within commit p, with nothing left that says more was durable, opens with the
// commits before p.
func (w *witnessed) unprovable(b []byte, p *part) error {
	l, err := w.opened(b)
	defer l.end()
	if err != nil || l.s.Visible() != p.first-1 {
		return fmt.Errorf("open: %v", err)
	}
	return nil
}

// TestDamagedIndexIsAWitness damages the row of the newest event in an index whose record of how far it has got is whole, and cuts off the
// newest commit. The index has to be made anew, and yet says that the log has lost something.
func TestDamagedIndexIsAWitness(t *testing.T) {
	w := witnessedBy(t, indexFile)
	image, err := vfs.ReadFile(w.disk, indexFile, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	db := kv.NewMemory()
	if err := db.Update(func(tx kv.Tx) error { return loadIndexImage(tx, image) }); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	err = db.Update(func(tx kv.Tx) error {
		for k, v := range tx.Scan("run 0", nil) {
			v = bytes.Clone(v)
			first, last := binary.LittleEndian.Uint64(v[8:]), binary.LittleEndian.Uint64(v[16:])
			v[32+8+16*int(last+1-first)-1] ^= 1 // behind a header and one time, rows of 16 bytes
			damaged++
			if err := tx.Put("run 0", bytes.Clone(k), v); err != nil {
				return err
			}
		}
		image = indexImage(tx, []string{"meta", "run 0"})
		return w.disk.Put(indexFile, image)
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%d runs, %v", damaged, err)
	}
	whole, err := w.opened(w.bytes)
	if err != nil || whole.s.opened.IndexRebuilt == "" {
		t.Errorf("nothing cut off: %v, opened %+v", err, whole.s.opened)
	}
	whole.end()
	last := &w.parts[3]
	if err := w.refused(w.bytes[:last.offset], last); err != nil {
		t.Error(err)
	}
	l, err := w.opened(w.bytes[:last.offset])
	defer l.end()
	if err == nil {
		t.Fatal("it opens")
	}
	if err := l.refusedAgain(crashfs.Dropped()); err != nil {
		t.Error(err)
	}
}

// An indexHistory is a store in memory, as its process left it when it was killed, and the index files it had.
type indexHistory struct {
	files   files
	indexes [][]byte
	events  []Event
}

// newIndexHistory appends and folds, and goes on without folding.
func newIndexHistory(t *testing.T) *indexHistory {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "store")
	s := openTest(t, dir, &Options{SegmentBytes: 4096, SyncInterval: time.Hour, foldEvents: 1 << 20})
	var h indexHistory
	n := 0
	for range 5 {
		for range 6 {
			mustCommit(t, s, raw(fmt.Sprint("p:", n%5), fmt.Sprint(n)))
			mustCommit(t, s, with(raw("q", ""), func(p *Proposal) { p.Key = fmt.Sprint("key", n) }))
			n++
		}
		h.files = readFiles(t, dir)
		h.indexes = append(h.indexes, h.files[indexFile])
		if err := s.foldTo(s.accepted()); err != nil {
			t.Fatal(err)
		}
	}
	mustCommit(t, s, raw("p:0", "last"))
	h.files = readFiles(t, dir)
	h.indexes = append(h.indexes, h.files[indexFile])
	var err error
	if h.events, err = gather(s.Query(Query{})); err != nil {
		t.Fatal(err)
	}
	closeTest(t, s)
	return &h
}

// check opens the store with another index file, or none, checks that it answers as ever, and appends.
func (h *indexHistory) check(t *testing.T, dir string, b []byte) (rebuilt bool) {
	t.Helper()
	f := maps.Clone(h.files)
	if f[indexFile] = b; b == nil {
		delete(f, indexFile)
	}
	f.write(t, dir)
	for round := range 2 {
		s, err := Open(dir, &Options{SegmentBytes: 4096})
		if err != nil {
			t.Fatalf("round %d: open: %v", round, err)
		}
		for _, q := range []Query{{}, {Entity: "p:3"}, {Entity: "q", Reverse: true}, {Prefix: "p"}} {
			got, err := gather(s.Query(q))
			var want []Event
			for _, e := range h.events {
				if q.Match(&e.Header) {
					want = append(want, e)
				}
			}
			if q.Reverse {
				slices.Reverse(want)
			}
			got = slices.DeleteFunc(got, func(e Event) bool { return e.Seq > Seq(len(h.events)) }) // of the first round
			if err != nil || !slices.EqualFunc(got, want, func(a, b Event) bool { return equal(&a, &b) }) {
				t.Fatalf("round %d: query %+v: %d events of %d, %v", round, q, len(got), len(want), err)
			}
		}
		key := with(raw("q", ""), func(p *Proposal) { p.Key = "key20" })
		if r := mustCommit(t, s, key)[0]; r.Seq != 42 {
			t.Fatalf("round %d: a known key gave event %d", round, r.Seq)
		}
		mustCommit(t, s, raw("p:0", "more"))
		if rep, err := s.Verify(t.Context(), nil); err != nil || !rep.OK() || rep.Events != len(h.events)+1+round {
			t.Fatalf("round %d: verify: %d events, %v, %v", round, rep.Events, rep.Findings, err)
		}
		rebuilt = rebuilt || s.opened.IndexRebuilt != "" || s.rebuilds.Load() > 0
		closeTest(t, s)
	}
	return rebuilt
}

// TestIndexFileAfterCut opens a store with every index file that a power cut, or worse, may leave of bbolt: none, an older
// one, one of no length, a cut off or a damaged one, and one that has the pages of two commits.
func TestIndexFileAfterCut(t *testing.T) {
	h := newIndexHistory(t)
	dir := filepath.Join(memoryDir(t), "store")
	tried, rebuilt := 0, 0
	check := func(what string, b []byte) {
		t.Run(what, func(t *testing.T) {
			tried++
			if h.check(t, dir, b) {
				rebuilt++
			}
		})
	}
	newest := h.indexes[len(h.indexes)-1]
	page := os.Getpagesize()
	used := (len(bytes.TrimRight(newest, "\x00")) + page - 1) / page
	check("none", nil)
	check("empty", []byte{})
	for i, b := range h.indexes {
		check(fmt.Sprintf("older %d", i), b)
	}
	for i := range used {
		check(fmt.Sprintf("cut off at page %d", i), newest[:i*page])
		check(fmt.Sprintf("cut off in page %d", i), newest[:i*page+page/3])
		zeroed, flipped := bytes.Clone(newest), bytes.Clone(newest)
		clear(zeroed[i*page:][:page])
		flipped[i*page+(i*211+17)%page] ^= 1 << (i % 8)
		check(fmt.Sprintf("page %d zeroed", i), zeroed)
		check(fmt.Sprintf("page %d flipped", i), flipped)
	}
	r := rand.New(rand.NewPCG(1, 0))
	for i := range 40 {
		at := 1 + r.IntN(len(h.indexes)-1)
		mixed := bytes.Clone(h.indexes[at])
		for p := 0; p+page <= min(len(mixed), len(h.indexes[at-1])); p += page {
			if r.IntN(2) == 0 {
				copy(mixed[p:p+page], h.indexes[at-1][p:])
			}
		}
		check(fmt.Sprintf("pages of %d and %d, mix %d", at-1, at, i), mixed)
	}
	t.Logf("%d index files, %d of them built anew", tried, rebuilt)
	if tried < 60 || rebuilt < 15 {
		t.Error("that is too few to mean anything")
	}
}

// TestDurableIsSaidInLock holds up the write of LOCK behind a sync of a store with Written visibility. Another caller, whose
// events that sync made durable, is not told so before LOCK says it: kill -9 in between would take the witness. Nor is the index file
// ahead of what is said to be durable.
func TestDurableIsSaidInLock(t *testing.T) {
	for what, settle := range map[string]func(*Store) error{
		"sync": (*Store).Sync,
		"fold": func(s *Store) error { return s.foldTo(s.accepted()) },
	} {
		t.Run(what, func(t *testing.T) {
			l := newLife(crashOptions(Written))
			if err := l.do("o w"); err != nil {
				t.Fatal(err)
			}
			held, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			l.disk.Inject(func(op crashfs.Op) (f crashfs.Fault) {
				if op.Verb == crashfs.Write && op.Name == lockFile {
					once.Do(func() { close(held); <-release })
				}
				return f
			})
			s, first := l.s, make(chan error)
			go func() { first <- s.Sync() }()
			<-held
			time.AfterFunc(50*time.Millisecond, func() { close(release) }) // the second waits so long, unless it is wrong
			if err := settle(s); err != nil {
				t.Fatal(err)
			}
			if f := s.Frontier(); f.Durable < 1 || f.Durable < f.Indexed {
				t.Errorf("frontier %+v", f)
			}
			if w, err := lockWitness(l.disk, s.store); err != nil || w < 1 {
				t.Errorf("event 1 is said to be durable, and LOCK says %d, %v", w, err)
			}
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			l.end()
		})
	}
}
