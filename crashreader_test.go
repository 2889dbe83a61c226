package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
)

// lastEntity is that of the event after which a watcher has seen all.
const lastEntity = "last"

// A watcher reads a store, and remembers the hashes of what it has been shown: each event once, and in order.
type watcher struct {
	name string
	seen []Hash
	done bool // it has seen the last event
	err  error
}

// see takes the next event and reports whether to go on.
func (w *watcher) see(e *Event, err error) bool {
	if err == nil && e.Seq != Seq(len(w.seen)+1) {
		err = violated("event %d comes after %d", e.Seq, len(w.seen))
	}
	if w.err = err; err != nil {
		return false
	}
	w.seen = append(w.seen, e.Hash)
	w.done = e.Entity == lastEntity
	return !w.done
}

// follow goes on from where the watcher has got to, until there is an error or it has seen all.
func (w *watcher) follow(ctx context.Context, v *view) {
	for e, err := range v.Follow(ctx, Query{After: Seq(len(w.seen))}) {
		if !w.see(&e, err) {
			return
		}
	}
}

// page does the same by pages of three events.
func (w *watcher) page(ctx context.Context, v *view) {
	for more := true; more; more = more && w.err == nil {
		changed := v.changed.wait()
		p, err := v.Page(Query{After: Seq(len(w.seen)), Limit: 3})
		for i := range p.Events {
			more = more && w.see(&p.Events[i], nil)
		}
		switch {
		case !more:
			return
		case err == nil && p.Next != Seq(len(w.seen)):
			err = violated("the next page begins after %d, and %d events were seen", p.Next, len(w.seen))
		case err == nil && !p.More:
			err = v.await(ctx, changed)
		}
		w.err = err
	}
}

// ended checks how a watcher has ended: with the process it watched, or with the last event.
func (w *watcher) ended() error {
	if w.done || errors.Is(w.err, ErrClosed) || errors.Is(w.err, crashfs.ErrStopped) {
		return nil
	}
	return violated("%s, having seen %d events: %v", w.name, len(w.seen), w.err)
}

// complete checks that it has seen these events and no others.
func (w *watcher) complete(es []Event) error {
	if !w.done || len(w.seen) != len(es) {
		return violated("%s saw %d events of %d: %v", w.name, len(w.seen), len(es), w.err)
	}
	for i := range es {
		if w.seen[i] != es[i].Hash {
			return violated("%s: event %d was seen as %v and is %v", w.name, i+1, w.seen[i], es[i].Hash)
		}
	}
	return nil
}

// patience is how long the watchers of a test may take at most.
const patience = 40 * time.Second

var errHangs = errors.New("a reader hangs")

// openDiskReader opens a reader on a simulated disk, as another process.
func openDiskReader(d vfs.FS) (*Reader, error) {
	r := &Reader{opts: ReaderOptions{PollInterval: 100 * time.Microsecond}}
	var err error
	if r.root, err = os.OpenRoot("."); err != nil { // for it to close
		return nil, err
	}
	if err := r.open(d); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// watch lets watchers watch at the same time, each in its way, until all have ended.
func watch(ctx context.Context, ws []*watcher, v func(i int) *view) (wait func()) {
	var wg sync.WaitGroup
	for i, w := range ws {
		v := v(i)
		wg.Go(func() {
			if i%2 == 0 {
				w.follow(ctx, v)
			} else {
				w.page(ctx, v)
			}
		})
	}
	return wg.Wait
}

// killAt ends the process at the n-th operation from now as kill -9 does: the disk goes on, with the others who read it. Of a
// write at that moment a part is done.
func (l *life) killAt(n int) {
	last := len(l.disk.Ops()) + n
	l.disk.Inject(func(op crashfs.Op) (f crashfs.Fault) {
		if op.N >= last {
			f = crashfs.Fault{Effect: crashfs.None, Err: crashfs.ErrStopped}
		}
		if op.N == last && op.Verb == crashfs.Write && op.Name != lockFile { // so short a write is whole or not done
			f.Effect, f.Part = crashfs.Some, op.Length*int64(n%3)/2
		}
		return f
	})
}

// afterKill is the life of the process that comes after, on the same disk.
func (l *life) afterKill() *life {
	if s := l.open.Load(); s != nil {
		l.seen = s.Visible()
	}
	if l.s != nil {
		_ = l.s.Close() // whatever it does fails, but its files are closed and LOCK is free
	}
	next := l.crash(crashfs.Killed())
	next.disk = l.disk
	next.stopAt(0)
	return next
}

// finish opens the store for the last time, appends the last event, and checks that the watchers have seen all. wait returns
// when they have ended; without it they begin now.
func (l *life) finish(ctx context.Context, ws []*watcher, wait func()) error {
	if err := l.openStore(); err != nil {
		return err
	}
	defer l.end()
	if err := l.checkOpened(); err != nil {
		return err
	}
	if err := l.commit(Durable, Proposal{At: At(lastEntity, "s"), Kind: 0xF001}); err != nil {
		return err
	}
	if wait != nil {
		wait()
	} else {
		watch(ctx, ws, func(int) *view { return &l.s.view })()
	}
	es, err := gather(l.s.Query(Query{}))
	for _, w := range ws {
		if err == nil {
			err = w.complete(es)
		}
	}
	return err
}

// restless is what each of many lives does.
const restless = "o dDwd WfD wdW d c o Dw f dW"

// TestReadersAcrossKills lets readers live, as other processes do, while the writer is killed at one operation after the other
// and started again. Each of them sees every event once, in order, and as it is in the end.
func TestReadersAcrossKills(t *testing.T) {
	for _, d := range []Durability{Durable, Written} {
		t.Run(d.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errHangs)
			defer cancel()
			l := newLife(crashOptions(d))
			if err := l.do("o d c"); err != nil {
				t.Fatal(err)
			}
			var ws []*watcher
			var waits []func()
			join := func(when string) { // a follower and a pager
				from := len(ws)
				ws = append(ws, &watcher{name: "follower from " + when}, &watcher{name: "pager from " + when})
				waits = append(waits, watch(ctx, ws[from:], func(int) *view {
					r, err := openDiskReader(l.disk)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = r.Close() }) // only read
					return &r.view
				}))
			}
			join("the beginning")
			kills := 0
			step := 3
			if longTests() {
				step = 1
			}
			for n := 1; ; n += step {
				l.killAt(n)
				err := l.do(restless)
				if err == nil {
					break
				}
				if !errors.Is(err, crashfs.ErrStopped) {
					t.Fatalf("kill at operation %d: %v\n%s", n, err, l.disk.Trace())
				}
				kills++
				l = l.afterKill()
				if kills%10 == 5 {
					join(fmt.Sprintf("after kill %d", kills))
				}
				if err := errors.Join(l.openStore(), l.checkOpened()); err != nil {
					t.Fatalf("after a kill at operation %d: %v\n%s", n, err, l.disk.Trace())
				}
				if err := l.closeStore(); err != nil {
					t.Fatal(err)
				}
			}
			l = l.afterKill()
			wait := func() {
				for _, w := range waits {
					w()
				}
			}
			if err := l.finish(ctx, ws, wait); err != nil {
				t.Error(err)
			}
			t.Logf("%d kills, %d readers, %d events each", kills, len(ws), len(ws[0].seen))
			if kills < 15 || len(ws) < 6 || len(ws[0].seen) < 100 {
				t.Error("that is too few to mean anything")
			}
		})
	}
}

// TestReadersAcrossCuts cuts the power at one operation after the other. Followers and pagers of the store, and of readers
// beside it, go on from where they had got to, at once or when the store is open again. Each of them sees every event once,
// in order, and as it is in the end: what was seen has not vanished.
func TestReadersAcrossCuts(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errHangs)
	defer cancel()
	var cuts atomic.Int64
	step := 5
	if longTests() {
		step = 1
	}
	err := everywhere(func(chain int) (bool, error) {
		if chain > 6 {
			return true, nil
		}
		l := newLife(crashOptions(Durable))
		if err := l.do("o d c"); err != nil {
			return false, err
		}
		ws := []*watcher{{name: "follower"}, {name: "pager"}, {name: "reader's follower"}, {name: "reader's pager"}}
		for n := chain; n < 60; n += step {
			if err := l.watched(ctx, ws, n); err != nil {
				return false, fmt.Errorf("chain %d, power cut at operation %d: %w\n%s", chain, n, err, l.disk.Trace())
			}
			cuts.Add(1)
			cut := crashfs.Torn(uint64(1000*chain + n))
			if n%3 == 0 {
				cut = crashfs.Dropped()
			}
			l = l.crash(cut)
		}
		if err := l.finish(ctx, ws, nil); err != nil {
			return false, fmt.Errorf("chain %d: %w", chain, err)
		}
		return false, nil
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d power cuts", cuts.Load())
	if err == nil && cuts.Load() < 50 {
		t.Error("that is too few to mean anything")
	}
}

// watched lives up to operation n, with watchers of the store, and of readers that are opened before it is.
func (l *life) watched(ctx context.Context, ws []*watcher, n int) error {
	views := make([]*view, len(ws))
	for i := 2; i < len(ws); i++ {
		r, err := openDiskReader(l.disk)
		if err != nil {
			return err
		}
		defer r.Close()
		views[i] = &r.view
	}
	wait := watch(ctx, ws[2:], func(i int) *view { return views[2+i] })
	l.stopAt(0)
	err := l.openStore()
	if err == nil {
		err = l.checkOpened()
	}
	if err != nil {
		l.end()
		wait()
		return err
	}
	waitStore := watch(ctx, ws[:2], func(int) *view { return &l.s.view })
	l.stopAt(n)
	err = l.do("dDwd WfD wdW d dwDd WfD wdW d")
	l.end()
	wait()
	waitStore()
	if err != nil && !errors.Is(err, crashfs.ErrStopped) {
		return err
	}
	for _, w := range ws {
		if err := w.ended(); err != nil {
			return err
		}
	}
	return nil
}

// TestReaderKeepsToTheWatermark opens readers of a store with Durable visibility that has written more than is durable. They see
// what is durable, whether the store is open or its process was killed, and what is seen survives a power cut.
func TestReaderKeepsToTheWatermark(t *testing.T) {
	l := newLife(crashOptions(Durable))
	l.stopAt(0)
	if err := l.do("o dD d ww"); err != nil {
		t.Fatal(err)
	}
	f := l.s.Frontier()
	if f.Durable != 5 || f.Written != 7 {
		t.Fatalf("frontier %+v", f)
	}
	r, err := openDiskReader(l.disk)
	if err != nil {
		t.Fatal(err)
	}
	look := func(when string, r *Reader, want Seq) {
		t.Helper()
		es, err := gather(r.Query(Query{}))
		if err != nil || Seq(len(es)) != want || r.Visible() != want {
			t.Errorf("%s: %d events of %d can be seen, %v", when, len(es), want, err)
		}
		if _, err := r.At(want + 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: event %d: %v", when, want+1, err)
		}
	}
	look("open", r, 5)
	if err := l.do("s"); err != nil {
		t.Fatal(err)
	}
	look("after a sync", r, 7)
	if err := l.do("w"); err != nil {
		t.Fatal(err)
	}
	look("after another append", r, 7)
	closeTest(t, r)
	l.end()
	for _, cut := range []crashfs.Cut{crashfs.Killed(), crashfs.Dropped()} {
		again := l.crash(cut)
		r, err := openDiskReader(again.disk)
		if err != nil {
			t.Fatal(err)
		}
		if want := Seq(7); cut == crashfs.Killed() || r.Visible() > want {
			look(cut.String(), r, want)
		}
		closeTest(t, r)
	}
}

// An unreadableLock is a file system on which LOCK can be opened, locked and written, but not read.
type unreadableLock struct{ vfs.FS }

func (u unreadableLock) Lock(name string) (vfs.File, error) {
	return unreadableFile(name)(u.FS.Lock(name))
}

func (u unreadableLock) OpenRead(name string) (vfs.File, error) {
	return unreadableFile(name)(u.FS.OpenRead(name))
}

type unreadable struct{ vfs.File }

func (unreadable) ReadAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: lockFile, Err: syscall.EIO}
}

func unreadableFile(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err == nil && name == lockFile {
			f = unreadable{f}
		}
		return f, err
	}
}

// TestUnreadableLock opens a store, and a reader, of which LOCK cannot be read. That is an error: without the watermark a reader
// would show what may vanish, and a store could take a loss for a torn tail.
func TestUnreadableLock(t *testing.T) {
	l := newLife(crashOptions(Durable))
	l.stopAt(0)
	if err := l.do("o d w"); err != nil {
		t.Fatal(err)
	}
	r, err := openDiskReader(l.disk)
	if err != nil {
		t.Fatal(err)
	}
	l.end()
	if err := r.Refresh(); !errors.Is(err, crashfs.ErrStopped) {
		t.Errorf("a reader that can no longer read LOCK: %v", err)
	}
	closeTest(t, r)

	again := l.crash(crashfs.Killed())
	if _, err := openDiskReader(unreadableLock{again.disk}); !errors.Is(err, syscall.EIO) {
		t.Errorf("opening a reader: %v", err)
	}
	o := again.opts
	o.fs, o.openIndex = unreadableLock{again.disk}, func() (kv.DB, error) { return kv.NewMemory(), nil }
	if s, err := Open("disk", &o); !errors.Is(err, syscall.EIO) {
		t.Errorf("opening the store: %v", err)
		closeTest(t, s)
	}
}
