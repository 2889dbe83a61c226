package batpak

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/kv"
)

// The tests here show scenarios of docs/conformance.md that no other test shows. The comment of each begins with the
// scenario's name there.

// openSimulated opens a store on a simulated disk, with an index in memory.
func openSimulated(t *testing.T, disk *crashfs.Disk, opts Options) *Store {
	t.Helper()
	opts.fs, opts.openIndex = disk, func() (kv.DB, error) { return kv.NewMemory(), nil }
	return openTest(t, "disk", &opts)
}

// B1, C1: ten appends to one stream, and a batch of five, have dense positions and clocks, each names the one before it, the
// first the genesis of the stream, and all are durable when they return.
func TestOneStream(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	at := event.Stream{Entity: "a", Lane: 3}
	p := with(raw("a", "same"), func(p *Proposal) { p.Lane = 3 })
	var rs []Receipt
	for range 10 {
		rs = append(rs, mustCommit(t, s, p)...)
	}
	rs = append(rs, mustCommit(t, s, slices.Repeat([]Proposal{p}, 5)...)...)
	prev := chain.Genesis(s.StoreID(), at)
	for i, r := range rs {
		if r.Seq != Seq(i+1) || r.Clock != Clock(i+1) || r.Prev != prev || r.Durability != Durable {
			t.Errorf("receipt %d: %+v, previous hash %v is due", i, r, prev)
		}
		prev = r.Hash
	}
	if f := s.Frontier(); f.Durable != 15 || f.Visible != 15 {
		t.Errorf("frontier %+v", f)
	}
}

// B10: every idempotency key is known for ever, however many there are.
func TestManyKeys(t *testing.T) {
	dir := memoryDir(t)
	opts := &Options{Durability: Written, SegmentBytes: 64 << 10, foldEvents: 200}
	s := openTest(t, dir, opts)
	const count, size = 3000, 50
	commit := func(i int) []Receipt {
		ps := make([]Proposal, size)
		for j := range ps {
			ps[j] = with(raw("a", ""), func(p *Proposal) { p.Key = fmt.Sprint("key ", i+j) })
		}
		return mustCommit(t, s, ps...)
	}
	var first []Receipt
	for i := 0; i < count; i += size {
		first = append(first, commit(i)...)
	}
	closeTest(t, s)
	s = openTest(t, dir, opts)
	nothingAppended(t, s, func() {
		for i := 0; i < count; i += size {
			if again := commit(i); !slices.Equal(again, first[i:i+size]) {
				t.Fatalf("keys from %d on: other receipts", i)
			}
		}
	})
}

// B20: the payload version of an event is that of its type, and 0 without a type.
func TestPayloadVersions(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	at := At("a", "s")
	for want, p := range map[uint16]Proposal{
		0:         {At: at, Kind: 0xF001, Data: []byte{0xA0}},
		1:         {At: at, Payload: moved{}},
		7:         {At: at, Payload: typed{Type: Type{Kind: 0xF001, Version: 7}}},
		1<<16 - 1: {At: at, Payload: typed{Type: Type{Kind: 0xF001, Version: 1<<16 - 1}}},
	} {
		r := mustCommit(t, s, p)[0]
		if e, err := s.Get(r.ID); err != nil || e.PayloadVersion != want {
			t.Errorf("version %d, %v; want %d", e.PayloadVersion, err, want)
		}
	}
}

// C4: an item that is too large is named, and nothing of its batch is there.
func TestOversizedItem(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{MaxPayload: 100})
	for item := range 5 {
		ps := slices.Repeat([]Proposal{raw("a", "fits")}, 5)
		ps[item].Data = make([]byte, 101)
		nothingAppended(t, s, func() {
			_, err := s.Commit(ps...)
			var bad *ItemError
			if !errors.As(err, &bad) || bad.Item != item || !errors.Is(err, ErrTooLarge) {
				t.Errorf("item %d: %v", item, err)
			}
		})
	}
	if es, err := gather(s.Query(Query{})); err != nil || len(es) > 0 {
		t.Errorf("%d events, %v", len(es), err)
	}
}

// C6, D12: when a follower gets an event, the whole of its commit can be read.
func TestFollowersSeeWholeCommits(t *testing.T) {
	const size, commits = 7, 150
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			s := openTest(t, memoryDir(t), &Options{Durability: class, SegmentBytes: 32 << 10, foldEvents: 64})
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the follower hangs"))
			defer cancel()
			var wg sync.WaitGroup
			for i, q := range []Query{{}, {Entity: "e:0"}, {Prefix: "e", Scope: "s"}} {
				q.Through = size * commits
				wg.Go(func() {
					seen := 0
					for e, err := range s.Follow(ctx, q) {
						if err != nil {
							t.Error(err)
							return
						}
						seen++
						last := (e.Seq + size - 1) / size * size
						if v := s.Visible(); v < last || v%size != 0 {
							t.Errorf("follower %d got event %d when %d events were visible", i, e.Seq, v)
						}
						if _, err := s.At(last); err != nil {
							t.Errorf("follower %d got event %d: the last event of its commit: %v", i, e.Seq, err)
						}
					}
					if want := map[bool]int{true: 3 * commits, false: size * commits}[q.Entity != ""]; seen < want {
						t.Errorf("follower %d got %d events, %d are due", i, seen, want)
					}
				})
			}
			for range commits {
				ps := make([]Proposal, size)
				for i := range ps {
					ps[i] = raw(fmt.Sprint("e:", i%2), "")
				}
				mustCommit(t, s, ps...)
			}
			wg.Wait()
		})
	}
}

// C9: a sync that fails after it took effect. The caller gets the error, the open store does not show the batch, and opening
// again finds it whole.
func TestBatchWhoseSyncFailed(t *testing.T) {
	l := newLife(crashOptions(Durable))
	var armed atomic.Bool
	l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
		if armed.Load() && op.Verb == crashfs.Sync && !byFiller() {
			f = crashfs.Fault{Effect: crashfs.All, Err: syscall.EIO}
		}
		return f
	})
	l.stopAt(0)
	if err := l.do("o d"); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	if err := l.do("D"); !errors.Is(err, syscall.EIO) {
		t.Fatalf("commit: %v", err)
	}
	if f := l.s.Frontier(); f.Visible != 1 || f.Durable != 1 || f.Accepted != 4 {
		t.Errorf("frontier %+v", f)
	}
	if es, err := gather(l.s.Query(Query{})); err != nil || len(es) != 1 {
		t.Errorf("%d events can be read, %v", len(es), err)
	}
	if _, err := l.s.At(2); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first event of the batch: %v", err)
	}
	l.end()
	armed.Store(false)
	again := l.crash(crashfs.Dropped())
	defer again.end()
	if err := errors.Join(again.openStore(), again.checkOpened()); err != nil || again.s.Visible() != 4 {
		t.Errorf("reopened with %d events, %v", again.s.Visible(), err)
	}
}

// C11: a batch that does not fit into the active segment begins the next one, also if it is longer than any segment should be.
func TestBatchAtTheEndOfASegment(t *testing.T) {
	dir := memoryDir(t)
	opts := &Options{SegmentBytes: 4096}
	s := openTest(t, dir, opts)
	mustCommit(t, s, raw("a", strings.Repeat("x", 2500)))
	mustCommit(t, s, slices.Repeat([]Proposal{raw("a", strings.Repeat("y", 500))}, 3)...)
	mustCommit(t, s, slices.Repeat([]Proposal{raw("b", strings.Repeat("z", 2000))}, 4)...)
	mustCommit(t, s, raw("b", ""))
	for range 2 {
		if firsts := s.segments.Firsts(); !slices.Equal(firsts, []Seq{1, 2, 5, 9}) {
			t.Errorf("segments begin with events %v", firsts)
		}
		if rep, err := verifyStore(s); err != nil || !rep.OK() || rep.Events != 9 || rep.Commits != 4 {
			t.Errorf("verify: %+v, %v", rep, err)
		}
		closeTest(t, s)
		s = openTest(t, dir, opts)
	}
}

// D4: who has read to the end and asks again from there gets what came since, whatever else came.
func TestPollFromTheEnd(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{foldEvents: 5})
	q := Query{Entity: "wanted", Limit: 2}
	poll := func(want ...Seq) {
		t.Helper()
		var got []Seq
		for {
			p, err := s.Page(q)
			if err != nil {
				t.Fatal(err)
			}
			got, q.After = append(got, seqs(p.Events)...), p.Next
			if !p.More {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
	}
	poll()
	mustCommit(t, s, raw("wanted", ""), raw("other", ""), raw("wanted", ""), raw("wanted", ""), raw("other", ""))
	poll(1, 3, 4)
	poll()
	for range 10 {
		mustCommit(t, s, raw("other", ""))
	}
	poll()
	mustCommit(t, s, raw("wanted", ""))
	poll(16)
	poll()
}

// D5: while four streams are written to, two of them are followed and polled: each event once, in order, none missing.
func TestSomeStreamsBesideWriters(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{SegmentBytes: 16 << 10, foldEvents: 50})
	const each, last = 150, 4 * 150
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the reader hangs"))
	defer cancel()
	var followed, polled []Seq
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range s.Follow(ctx, Query{Prefix: "in", Through: last}) {
			if err != nil {
				t.Error(err)
				return
			}
			followed = append(followed, e.Seq)
		}
	})
	wg.Go(func() {
		for q := (Query{Prefix: "in", Limit: 3}); q.After < last; runtime.Gosched() {
			p, err := s.Page(q)
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				t.Error(err)
				return
			}
			polled, q.After = append(polled, seqs(p.Events)...), p.Next
		}
	})
	for _, entity := range []string{"in:1", "in:2", "out:1", "out:2"} {
		wg.Go(func() {
			for range each {
				if _, err := s.Commit(raw(entity, "")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var want []Seq
	for e, err := range s.Query(Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Entity, "in:") {
			want = append(want, e.Seq)
		}
	}
	if len(want) != 2*each || !slices.Equal(followed, want) || !slices.Equal(polled, want) {
		t.Errorf("%d events of %d followed, %d polled", len(followed), len(want), len(polled))
	}
}

// E1, E3: walks from the fourth of four events, all with the same payload, to each limit. The payload decides nothing.
func TestWalkLimits(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	a, b := raw("a", "same"), raw("b", "same")
	rs := mustCommit(t, s, a, b, a, a, b, a)
	newest := rs[5].ID
	ancestry := []Seq{6, 4, 3, 1}
	for _, c := range []struct {
		limit, events int
		end           chain.End
	}{
		{8, 4, chain.ReachedGenesis}, {4, 4, chain.ReachedGenesis},
		{3, 3, chain.ReachedLimit}, {2, 2, chain.ReachedLimit}, {0, 0, chain.ReachedLimit},
	} {
		w, err := s.Walk(newest, c.limit)
		if err != nil || w.End != c.end || w.Err != nil || !slices.Equal(seqs(w.Events), ancestry[:c.events]) {
			t.Errorf("limit %d: events %v to %s (%v), %v", c.limit, seqs(w.Events), w.End, w.Err, err)
		}
	}
	unknown := newest
	unknown[15]++
	for _, id := range []ID{unknown, {}, event.NewID(rs[5].Time, 7, 1)} {
		if w, err := s.Walk(id, 8); !errors.Is(err, ErrNotFound) || len(w.Events) > 0 {
			t.Errorf("unknown id: %d events, %v", len(w.Events), err)
		}
	}
	if _, err := s.Walk(newest, -1); !errors.Is(err, ErrInvalid) {
		t.Errorf("limit -1: %v", err)
	}
}

// G2, G3: waiting for what was reached returns at once, even if there is no time; waiting for what is not ends with the time.
// Meanwhile the event is there.
func TestWaitWithLittleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSimulated(t, crashfs.New(), Options{Durability: Written, SyncInterval: time.Hour})
		mustCommit(t, s, raw("a", ""))
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		r := mustCommit(t, s, raw("a", ""))[0]
		for _, c := range []struct {
			what string
			w    Watermark
			seq  Seq
			want error
		}{
			{"the beginning", WatermarkDurable, 0, nil},
			{"a past event", WatermarkDurable, 1, nil},
			{"the newest event, written", WatermarkWritten, r.Seq, nil},
			{"the newest event, visible", WatermarkVisible, r.Seq, nil},
			{"the newest event, durable", WatermarkDurable, r.Seq, context.DeadlineExceeded},
			{"an event to come", WatermarkWritten, r.Seq + 1, context.DeadlineExceeded},
		} {
			for _, d := range []time.Duration{0, 50 * time.Millisecond} {
				ctx, cancel := context.WithTimeout(t.Context(), d)
				begin := time.Now()
				err := s.Wait(ctx, c.w, c.seq)
				if took := time.Since(begin); !errors.Is(err, c.want) || c.want == nil && took > 0 || c.want != nil && took != d {
					t.Errorf("%s, in %v: %v after %v", c.what, d, err, took)
				}
				cancel()
			}
		}
		if _, err := s.Get(r.ID); err != nil || s.Frontier().Durable != 1 {
			t.Errorf("the event that is not durable: %v, frontier %+v", err, s.Frontier())
		}
	})
}

// G4: the sync that nobody waits for fails, once. The append before it was acknowledged; everything after it gets the error,
// nothing more becomes durable, and reads go on.
func TestBackgroundSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := openSimulated(t, disk, Options{Durability: Written})
		mustCommit(t, s, raw("a", ""))
		if err := s.Wait(t.Context(), WatermarkDurable, 1); err != nil {
			t.Fatal(err)
		}
		var failed atomic.Int64
		disk.Inject(func(op crashfs.Op) (f crashfs.Fault) {
			if op.Verb == crashfs.Sync && strings.HasPrefix(op.Name, "log/") && failed.Add(1) == 1 {
				f = crashfs.Fault{Effect: crashfs.Lost, Err: syscall.EIO}
			}
			return f
		})
		r := mustCommit(t, s, raw("a", ""))[0] // nothing syncs before time passes
		first := s.Wait(t.Context(), WatermarkDurable, r.Seq)
		_, appending := s.Append(At("a", "s"), moved{})
		again := s.Wait(t.Context(), WatermarkDurable, r.Seq)
		for what, err := range map[string]error{"wait": first, "append": appending, "sync": s.Sync(), "wait again": again} {
			if !errors.Is(err, syscall.EIO) || err.Error() != first.Error() {
				t.Errorf("%s: %v, the first error is %v", what, err, first)
			}
		}
		if f := s.Frontier(); f.Durable != 1 || f.Visible != 2 {
			t.Errorf("frontier %+v", f)
		}
		if _, err := s.Get(r.ID); err != nil {
			t.Error(err)
		}
		if err := s.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("close: %v", err)
		}
	})
}

// G13: reading a store changes no byte of its directory, and opening and closing it append nothing.
func TestReadingChangesNothing(t *testing.T) {
	v := newVictim(t)
	v.files[lockFile] = append([]byte("1 elsewhere\n"), v.files[lockFile][len("1 elsewhere\n"):]...) // of another process
	dir := filepath.Join(memoryDir(t), "store")
	v.files.write(t, dir)
	r, err := OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.checkView(&r.view, false); err != nil {
		t.Error(err)
	}
	if rep, err := r.Verify(t.Context(), nil); err != nil || !rep.OK() {
		t.Errorf("verify: %v, %v", rep.Findings, err)
	}
	closeTest(t, r)
	if rep, err := VerifyDir(t.Context(), dir, nil); err != nil || !rep.OK() {
		t.Errorf("verify dir: %v, %v", rep.Findings, err)
	}
	if after := readFiles(t, dir); !maps.EqualFunc(v.files, after, bytes.Equal) {
		t.Errorf("files %v became %v", slices.Sorted(maps.Keys(v.files)), slices.Sorted(maps.Keys(after)))
	}
	for range 2 {
		closeTest(t, openTest(t, dir, nil))
	}
	after := readFiles(t, dir)
	for _, name := range append(after.segments(), identityFile) {
		if !bytes.Equal(after[name], v.files[name]) {
			t.Errorf("%s was changed by opening", name)
		}
	}
	if len(after) != len(v.files) {
		t.Errorf("files %v", slices.Sorted(maps.Keys(after)))
	}
	none := filepath.Join(memoryDir(t), "none")
	if _, err := OpenReader(none, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reader of nothing: %v", err)
	}
	if _, err := os.Stat(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reader made the directory: %v", err)
	}
}

// H13: an index in another format, older or newer, is no reason to refuse the store: it is built anew, and the report says so.
func TestIndexOfAnotherFormat(t *testing.T) {
	x := newIndexedStore(t, 150)
	for _, format := range []uint32{0, 2, 1 << 31} {
		dir := filepath.Join(memoryDir(t), "store")
		x.files.write(t, dir)
		setIndexFormat(t, dir, format)
		s := openTest(t, dir, nil)
		if diff := cmp.Diff(x.answers, answers(t, s)); diff != "" {
			t.Errorf("format %d: other answers: %s", format, diff)
		}
		st, err := s.Stats()
		if o := st.Opened; err != nil || !strings.Contains(o.IndexRebuilt, fmt.Sprint("format ", format)) || o.Quarantined == "" {
			t.Errorf("format %d: %+v, %v", format, o, err)
		}
	}
}

// setIndexFormat writes another format into the record of an index that says what there is, and makes its checksum right.
func setIndexFormat(t *testing.T, dir string, format uint32) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	db, err := kv.OpenBolt(root, indexFile, kv.LargePages)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx kv.Tx) error {
		b := bytes.Clone(tx.Get("meta", []byte("index")))
		if len(b) < 88 || binary.LittleEndian.Uint32(b[4:]) != 1 {
			t.Fatalf("the record is %x", b)
		}
		binary.LittleEndian.PutUint32(b[4:], format)
		binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
		return tx.Put("meta", []byte("index"), b)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// H16, H17, H19: random steps on honest disks and on those that skip one sync in five or in two, and then a power cut that
// takes all that is not durable. An honest disk has all commits up to some moment, and all that were acknowledged as durable.
// With the others the same holds of fewer commits, or opening, reading or verifying says what is missing; no event is another
// one. The same crash gives the same again.
func TestRandomSteps(t *testing.T) {
	t.Parallel()
	for name, oneIn := range map[string]int{"honest": 0, "one sync in 5 is skipped": 5, "one sync in 2 is skipped": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost, found := 0, 0
			for i := range rounds(12, 400) {
				seed := rand.Uint64()
				l := randomLife(t, seed, oneIn, []int{96, 8, 16}[i%3])
				look := (*life).remainsOfHonest
				if oneIn > 0 {
					look = func(l *life) remains { return l.remainsOfLying(i%2 == 0) }
				}
				first, again := look(l), look(l)
				if first.violation != nil || !reflect.DeepEqual(first, again) {
					t.Fatalf("seed %d: %v, and again %v\n%+v\n%+v\n%s", seed, first.violation, again.violation, first, again, l.disk.Trace())
				}
				if first.found != "" {
					found++
				} else if first.lost {
					lost++
				}
			}
			t.Logf("a prefix was left %d times, and damage or loss was found %d times", lost, found)
			if (found > 0) != (oneIn > 0) || oneIn == 0 && lost == 0 {
				t.Error("that cannot be")
			}
		})
	}
}

// randomLife does so many random steps and a last append that is not durable, and ends.
func randomLife(t *testing.T, seed uint64, oneIn, steps int) *life {
	t.Helper()
	l := newLife(crashOptions(Durable))
	r, lies := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
		mu.Lock()
		defer mu.Unlock()
		if oneIn > 0 && (op.Verb == crashfs.Sync || op.Verb == crashfs.SyncDir) && lies.IntN(oneIn) == 0 {
			f = crashfs.Fault{Effect: crashfs.None}
		}
		return f
	})
	l.stopAt(0)
	script := "o"
	for range steps {
		script += []string{"d", "d", "D", "w", "w", "w", "W", "s", "f", "c o"}[r.IntN(10)]
	}
	if err := l.do(script + "w"); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	l.end()
	return l
}

// The remains are what a power cut leaves of a life.
type remains struct {
	hashes    []Hash // of the events that can be read
	lost      bool   // there were more
	found     string // what says that something is missing or damaged
	violation error  // what should not be
}

// remainsOfHonest opens what a power cut leaves and checks it.
func (l *life) remainsOfHonest() remains {
	next := l.crash(crashfs.Dropped())
	defer next.end()
	err := errors.Join(next.openStore(), next.checkOpened())
	return remains{lost: len(next.made) < len(l.made), violation: err}
}

// remainsOfLying opens what a power cut leaves of a disk on which anything may be missing, with the index and LOCK or without
// what they know, and looks at it.
func (l *life) remainsOfLying(witnesses bool) (left remains) {
	next := l.crash(crashfs.Dropped())
	defer next.end()
	for _, name := range []string{indexFile, lockFile} {
		if witnesses {
			break
		}
		if err := next.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return remains{violation: err}
		}
	}
	rep, err := next.readAll(&left)
	var want []Hash
	for i := range l.made {
		want = append(want, l.made[i].hashes...)
	}
	switch {
	case len(left.hashes) > len(want) || !slices.Equal(left.hashes, want[:len(left.hashes)]):
		left.violation = violated("%d events, of which some were not appended", len(left.hashes))
	case err != nil && !errors.Is(err, ErrCorrupt):
		left.violation = err
	case err != nil || !rep.OK():
		left.found = fmt.Sprint(err, rep.Findings)
	case !l.wholeCommits(len(left.hashes)):
		left.violation = violated("%d events, the last of which is within a commit", len(left.hashes))
	}
	left.lost = len(left.hashes) < len(want)
	return left
}

// readAll opens the store, reads what there is, and verifies it.
func (l *life) readAll(left *remains) (rep Report, err error) {
	if err = l.openStore(); err != nil {
		return rep, err
	}
	for e, err := range l.s.Query(Query{}) {
		if err != nil {
			return rep, err
		}
		left.hashes = append(left.hashes, e.Hash)
	}
	return verifyStore(l.s)
}

// wholeCommits reports whether the first commits have so many events.
func (l *life) wholeCommits(events int) bool {
	for i := range l.made {
		if events <= 0 {
			break
		}
		events -= len(l.made[i].ps)
	}
	return events == 0
}

// H25: a link in place of LOCK or STORE is refused, wherever it leads, and what it leads to is not touched.
func TestLinkInPlaceOfAFile(t *testing.T) {
	v := newVictim(t)
	for _, name := range []string{lockFile, identityFile} {
		for _, target := range []string{lockFile, identityFile, firstSegment, "other", "../outside"} {
			if name == target {
				continue
			}
			t.Run(name+" to "+target, func(t *testing.T) {
				dir := filepath.Join(memoryDir(t), "store")
				v.files.write(t, dir)
				path := filepath.Join(dir, target)
				if _, ok := v.files[target]; !ok {
					if err := os.WriteFile(path, []byte("of another"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				before, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.Remove(filepath.Join(dir, name)), os.Symlink(target, filepath.Join(dir, name))); err != nil {
					t.Fatal(err)
				}
				if s, err := Open(dir, nil); err == nil {
					closeTest(t, s)
					t.Error("the store opens")
				}
				if after, err := os.ReadFile(path); err != nil || target != lockFile && !bytes.Equal(after, before) {
					t.Errorf("%s was changed: %.40q, %v", target, after, err)
				}
			})
		}
	}
}

// J2: four writers append beside syncs, verifications and readers, while segments roll and the index folds. All end, and
// everything acknowledged is there.
func TestEverythingAtOnce(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{SegmentBytes: 16 << 10, foldEvents: 40})
	var stop atomic.Bool
	var beside, writers sync.WaitGroup
	var times [3]int
	for i, do := range []func() error{
		s.Sync,
		func() error { return wholeReport(s.Verify(t.Context(), nil)) },
		func() error {
			r, err := OpenReader(dir, nil)
			if err != nil {
				return err
			}
			defer r.Close()
			return wholeReport(r.Verify(t.Context(), nil))
		},
	} {
		beside.Go(func() {
			for !stop.Load() {
				if err := do(); err != nil {
					t.Errorf("%d: %v", i, err)
					return
				}
				times[i]++
			}
		})
	}
	receipts := make([][]Receipt, 4)
	for i := range receipts {
		writers.Go(func() {
			for n := range 250 {
				rs, err := s.Commit(raw(fmt.Sprint("w:", i), fmt.Sprint(n)))
				if err != nil {
					t.Error(err)
					return
				}
				receipts[i] = append(receipts[i], rs...)
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	beside.Wait()
	if slices.Min(times[:]) == 0 {
		t.Errorf("not everything ran: %v", times)
	}
	closeTest(t, s)
	s = openTest(t, dir, nil)
	for _, r := range slices.Concat(receipts...) {
		if v := s.VerifyReceipt(r); !v.OK() {
			t.Errorf("event %d: %+v", r.Seq, v)
		}
	}
	if s.Visible() != 1000 {
		t.Errorf("%d events", s.Visible())
	}
}

// J2: a reader verifies what it sees, also if that is nothing yet.
func TestReaderVerifiesWhatItSees(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{SyncInterval: time.Hour})
	written := with(raw("a", ""), func(p *Proposal) { p.Durability = Written })
	mustCommit(t, s, written)
	for want := range 3 {
		r, err := OpenReader(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rep, err := r.Verify(t.Context(), nil); err != nil || !rep.OK() || rep.Events != want || r.Visible() != Seq(want) {
			t.Errorf("%d events of %d can be seen; verified %d: %v, %v", r.Visible(), want, rep.Events, rep.Findings, err)
		}
		closeTest(t, r)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, s, written)
	}
}

// wholeReport returns an error if a verification found something.
func wholeReport(rep Report, err error) error {
	if err == nil && !rep.OK() {
		err = fmt.Errorf("%d findings, first %v", len(rep.Findings), rep.Findings[0])
	}
	return err
}

// J4: 512 callers wait, each for another event, and none is forgotten.
func TestManyWaiters(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{foldEvents: 4})
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("forgotten"))
	defer cancel()
	var waiting atomic.Int64
	var wg sync.WaitGroup
	for i := range 512 {
		w := []Watermark{WatermarkWritten, WatermarkDurable, WatermarkVisible, WatermarkIndexed}[i%4]
		wg.Go(func() {
			waiting.Add(1)
			if err := s.Wait(ctx, w, Seq(i+1)); err != nil {
				t.Errorf("waiting for event %d to be %s: %v", i+1, w, err)
			}
			if have, _ := w.of(s.Frontier()); have < Seq(i+1) {
				t.Errorf("event %d was to be %s, %d is", i+1, w, have)
			}
		})
	}
	for waiting.Load() < 512 {
		runtime.Gosched()
	}
	for n := 0; n < 512; n += 4 {
		mustCommit(t, s, raw("a", ""), raw("b", ""), raw("a", ""), raw("a", ""))
	}
	wg.Wait()
}
