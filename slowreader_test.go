package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// fill appends count events to a few streams, in commits of size each. The store is one with Written durability.
func fill(t testing.TB, s *Store, from, count, size int) {
	t.Helper()
	for i := from; i < from+count; i += size {
		ps := make([]Proposal, min(size, from+count-i))
		for j := range ps {
			ps[j] = Proposal{At: At(fmt.Sprintf("player:%d", (i+j)%7), "room"), Kind: 0xF001, Data: fmt.Appendf(nil, "%d", i+j)}
		}
		if _, err := s.Commit(ps...); err != nil {
			t.Fatal(err)
		}
	}
}

// A stuck loop runs over a sequence in a goroutine of its own and holds still in the body of one event until it is let go.
type stuck struct {
	in, release chan struct{}
	free        func() // closes release, once
	done        chan struct{}
	got         []Seq
	err         error
}

// hold runs a loop up to its first event.
func hold(seq func(func(Event, error) bool)) *stuck { return holdAt(seq, 1) }

// holdAt runs a loop up to its nth event.
func holdAt(seq func(func(Event, error) bool), n int) *stuck {
	st := &stuck{in: make(chan struct{}), release: make(chan struct{}), done: make(chan struct{})}
	st.free = sync.OnceFunc(func() { close(st.release) })
	go func() {
		defer close(st.done)
		for e, err := range seq {
			if err != nil {
				st.err = err
				return
			}
			if st.got = append(st.got, e.Seq); len(st.got) == n {
				close(st.in)
				<-st.release
			}
		}
	}()
	<-st.in
	return st
}

// finish lets the loop go and returns what it has seen.
func (st *stuck) finish() ([]Seq, error) {
	st.free()
	<-st.done
	return st.got, st.err
}

// playerSeqs returns the events in (after, through] that fill gave to player:n.
func playerSeqs(n int, after, through Seq) (seqs []Seq) {
	for seq := after + 1; seq <= through; seq++ {
		if int(seq-1)%7 == n {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

func checkSeqs(t testing.TB, what string, got, want []Seq) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%s: %d events where %d are due; they differ at index %d", what, len(got), len(want), i)
			return
		}
	}
}

// Loops that stand still hold nothing that a writer, a fold or a growing index file would wait for: the writer gets past
// the bound of the tail, so folds did proceed, and afterwards each loop sees exactly what it must.
func TestStuckReadersHoldUpNobody(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{Durability: Written, SegmentBytes: 1 << 20, foldEvents: 512})
	const before, after = 5000, maxTailEvents + 10_000
	fill(t, s, 0, before, 500)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the store hangs"))
	defer cancel()
	if err := s.Wait(ctx, WatermarkIndexed, before-512); err != nil {
		t.Fatal(err)
	}
	all := func(after, through Seq) (seqs []Seq) {
		for seq := after + 1; seq <= through; seq++ {
			seqs = append(seqs, seq)
		}
		return seqs
	}
	reversed := func(seqs []Seq) (r []Seq) {
		for i := range seqs {
			r = append(r, seqs[len(seqs)-1-i])
		}
		return r
	}
	const end = before + after
	loops := []struct {
		name string
		loop *stuck
		want []Seq
	}{
		{"query of all", hold(s.Query(Query{})), all(0, before)},
		{"query of one entity", hold(s.Query(Query{Entity: "player:3"})), playerSeqs(3, 0, before)},
		{"query in reverse", hold(s.Query(Query{Prefix: "player", Reverse: true})), reversed(all(0, before))},
		{"query of the tail", hold(s.Query(Query{After: before - 10})), all(before-10, before)},
		{"follow all", hold(s.Follow(ctx, Query{Through: end})), all(0, end)},
		{"follow one entity", hold(s.Follow(ctx, Query{Entity: "player:5", After: 100, Through: end})), playerSeqs(5, 100, end)},
	}
	// If the store does hang, letting the loops go at the deadline makes that a failure instead of a test without end.
	defer context.AfterFunc(ctx, func() {
		for _, l := range loops {
			l.loop.free()
		}
	})()
	fill(t, s, before, after, 500)
	if err := s.Wait(ctx, WatermarkIndexed, before+after-maxTailEvents); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats()
	if err != nil || st.Segments < 4 || st.Index.Folded < 10_000 || len(st.Index.Runs) > 64 {
		t.Errorf("the store has not rolled, folded and merged: %d segments, %d folded in %d runs, %v", st.Segments, st.Index.Folded, len(st.Index.Runs), err)
	}
	for _, l := range loops {
		got, err := l.loop.finish()
		if err != nil {
			t.Errorf("%s: %v", l.name, err)
		}
		checkSeqs(t, l.name, got, l.want)
	}
}

// Beside loops that stand still a writer gets at least a third of what it gets alone. The rounds alternate, and the best
// of each kind counts, so that other work of the machine does not.
func TestStuckReadersCostNoThroughput(t *testing.T) {
	const count, rounds = 6000, 3
	round := func(readers int) time.Duration {
		s := openTest(t, memoryDir(t), &Options{Durability: Written, SegmentBytes: 1 << 20, foldEvents: 256})
		defer closeTest(t, s)
		fill(t, s, 0, 1000, 100)
		var loops []*stuck
		for range readers {
			loops = append(loops, hold(s.Query(Query{})), hold(s.Follow(t.Context(), Query{Entity: "player:1", Through: 1000})))
		}
		begin := time.Now()
		fill(t, s, 1000, count, 20)
		if err := s.Wait(t.Context(), WatermarkIndexed, 1000+count-256); err != nil { // with all its folds
			t.Fatal(err)
		}
		took := time.Since(begin)
		for _, l := range loops {
			if _, err := l.finish(); err != nil {
				t.Error(err)
			}
		}
		return took
	}
	alone, beside := time.Duration(1<<62), time.Duration(1<<62)
	for range rounds {
		alone, beside = min(alone, round(0)), min(beside, round(4))
	}
	if beside > 3*alone {
		t.Errorf("%d events take %v beside readers that stand still, %v alone", count, beside, alone)
	}
	t.Logf("%d events: %v alone, %v beside readers that stand still", count, alone, beside)
}

// A follower sees every event once and in order, and every commit whole, however writing and reading meet.
func TestFollowBesideWriters(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			s := openTest(t, memoryDir(t), &Options{Durability: class, SegmentBytes: 1 << 18, foldEvents: 300})
			const writers, commits, size = 8, 25, 50
			const end = writers * commits * size
			var wg, readers sync.WaitGroup
			var stop atomic.Bool
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the follower hangs"))
			defer cancel()
			for range 2 {
				readers.Go(func() {
					next := Seq(1)
					for e, err := range s.Follow(ctx, Query{Through: end}) {
						if err != nil {
							t.Errorf("at %d: %v", next, err)
							return
						}
						if e.Seq != next {
							t.Errorf("event %d follows %d", e.Seq, next-1)
							return
						}
						next++
					}
					if next != end+1 {
						t.Errorf("the follower ended before %d of %d", next, end)
					}
				})
			}
			readers.Go(func() { // what is visible is there, and all of its commit
				for !stop.Load() {
					v := s.Visible()
					if v%size != 0 {
						t.Errorf("event %d is visible without the rest of its commit", v)
						return
					}
					if _, err := s.At(v); err != nil && v > 0 {
						t.Errorf("event %d is visible: %v", v, err)
						return
					}
					var last Seq
					for e, err := range s.Query(Query{After: max(v, size) - size}) {
						if err != nil {
							t.Error(err)
							return
						}
						last = e.Seq
					}
					if last < v || last%size != 0 {
						t.Errorf("a query ended at event %d, where %d is visible and commits have %d", last, v, size)
						return
					}
				}
			})
			readers.Go(func() { // another writer's flush may come at any moment
				for !stop.Load() {
					if err := s.log.Flush(); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for w := range writers {
				wg.Go(func() {
					for range commits {
						ps := make([]Proposal, size)
						for i := range ps {
							ps[i] = Proposal{At: At(fmt.Sprintf("w:%d", w), "s"), Payload: moved{X: i}}
						}
						rs, err := s.Commit(ps...)
						if err != nil {
							t.Error(err)
							return
						}
						for _, r := range []Receipt{rs[0], rs[size-1]} {
							if _, err := s.Get(r.ID); err != nil {
								t.Errorf("read after the append returned: %v", err)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			stop.Store(true)
			readers.Wait()
		})
	}
}

// What is visible is in the index, and all of its commit is, though the log is flushed and asked for news at every moment
// of a commit: commits are so large that many of these moments lie between the log's having one and the index's.
func TestVisibleCommitsAreWhole(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{Durability: Written})
	const commits, size = 60, 2000
	var over atomic.Bool
	var looks int
	var prodder sync.WaitGroup
	prodder.Go(func() {
		for last := Seq(0); !over.Load(); looks++ {
			if err := s.log.Flush(); err != nil {
				t.Error(err)
				return
			}
			s.progress()
			v := s.Visible()
			if v == last {
				continue
			}
			if last = v; v%size != 0 {
				t.Errorf("event %d is visible without the rest of its commit of %d", v, size)
				return
			}
			if _, err := s.At(v); err != nil {
				t.Errorf("event %d is visible: %v", v, err)
				return
			}
		}
	})
	fill(t, s, 0, commits*size, size)
	over.Store(true)
	prodder.Wait()
	if looks < commits {
		t.Logf("only %d looks at %d commits", looks, commits)
	}
}

// A reader of a store that is written to sees every event once and in order, while segments are sealed under it.
func TestReaderBesideRolls(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			dir := memoryDir(t)
			s := openTest(t, dir, &Options{Durability: class, SegmentBytes: 4096})
			const count = 4000
			var readers sync.WaitGroup
			for range 2 {
				r, err := OpenReader(dir, &ReaderOptions{PollInterval: time.Microsecond})
				if err != nil {
					t.Fatal(err)
				}
				readers.Go(func() {
					defer r.Close()
					next := Seq(1)
					for e, err := range r.Follow(t.Context(), Query{Through: count}) {
						if err != nil || e.Seq != next {
							t.Errorf("event %d where %d is due: %v", e.Seq, next, err)
							return
						}
						next++
					}
				})
			}
			fill(t, s, 0, count, 3)
			if err := s.Sync(); err != nil {
				t.Error(err)
			}
			readers.Wait()
		})
	}
}

// An index that is damaged again and again is rebuilt each time, while segments are sealed under it.
func TestRebuildBesideRolls(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{Durability: Written, SegmentBytes: 4096, foldEvents: 4})
	const count = 4000
	var rebuilder sync.WaitGroup
	rebuilder.Go(func() {
		for s.Visible() < count {
			if err := s.rebuildIndex(s.rebuilds.Load(), errors.New("planted")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	fill(t, s, 0, count, 3)
	rebuilder.Wait()
	t.Logf("rebuilt %d times", s.rebuilds.Load())
	next := Seq(1)
	for e, err := range s.Query(Query{}) {
		if err != nil || e.Seq != next {
			t.Fatalf("event %d where %d is due: %v", e.Seq, next, err)
		}
		next++
	}
	if next != count+1 {
		t.Errorf("%d events, want %d", next-1, count)
	}
}

// sealingFS has the newest segment sealed when it is read first, after its length was asked for.
type sealingFS struct {
	vfs.FS
	newest string
	seal   func()
}

func (f *sealingFS) OpenRead(name string) (vfs.File, error) {
	file, err := f.FS.OpenRead(name)
	if err != nil || name != f.newest {
		return file, err
	}
	return &sealingFile{file, f}, nil
}

type sealingFile struct {
	vfs.File
	fs *sealingFS
}

func (f *sealingFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset > 0 && f.fs.seal != nil { // behind the header
		f.fs.seal()
		f.fs.seal = nil
	}
	return f.File.ReadAt(b, offset)
}

// A replay of a segment that is sealed while it is read, so that its zeros are gone, gets to its end all the same.
func TestReplayOfSealedSegment(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{Durability: Written, SegmentBytes: 1 << 16})
	fill(t, s, 0, 30, 3)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	sealed := false
	segments, err := log.OpenSegments(&sealingFS{vfs.OS(root), log.SegmentName(1), func() {
		for i := 30; len(s.segments.Firsts()) == 1; i += 3 {
			fill(t, s, i, 3, 3)
		}
		sealed = true
	}}, s.store)
	if err != nil {
		t.Fatal(err)
	}
	defer segments.Close()
	r := replay{store: s.store, link: chain.Origin(s.store), limit: 30}
	r.at.Link = r.link
	if err := r.scan(segments); err != nil || r.at.Seq != 30 || !sealed {
		t.Errorf("replayed up to event %d of 30, sealed %v: %v", r.at.Seq, sealed, err)
	}
}

// fullFS cannot open the log's directory once, after a segment got its name, to make that durable.
type fullFS struct {
	vfs.FS
	named func() // called then
	seen  atomic.Bool
}

func (f *fullFS) Rename(oldname, newname string) error {
	err := f.FS.Rename(oldname, newname)
	if newname != log.SegmentName(1) && strings.HasPrefix(newname, "log/") {
		f.seen.CompareAndSwap(false, err == nil)
	}
	return err
}

func (f *fullFS) SyncDir(name string) error {
	if f.named != nil && f.seen.Load() {
		named := f.named
		f.named = nil
		named()
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return f.FS.SyncDir(name)
}

// A segment that has its name keeps its file, though too many files are open to make the name durable at first: a reader may have it open.
func TestReaderBesideCrowdedRoll(t *testing.T) {
	dir := memoryDir(t)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f := &fullFS{FS: vfs.OS(root)}
	s := openTest(t, dir, &Options{Durability: Written, SegmentBytes: 4096, fs: f, openIndex: func() (kv.DB, error) { return kv.NewMemory(), nil }})
	r, err := OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	looked := false
	f.named = func() {
		looked = true
		if _, err := r.At(1); err != nil {
			t.Error(err)
		}
	}
	for i := range 60 {
		fill(t, s, i, 1, 1)
		if _, err := s.At(1); err != nil { // a handle that can be spared
			t.Fatal(err)
		}
		if e, err := r.At(Seq(i + 1)); err != nil || e.Seq != Seq(i+1) {
			t.Fatalf("event %d: %v", i+1, err)
		}
	}
	if !looked || len(s.segments.Firsts()) < 3 {
		t.Errorf("looked between: %v, %d segments", looked, len(s.segments.Firsts()))
	}
}
