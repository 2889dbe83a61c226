package batpak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
)

// A life is a store on a simulated disk, from when its process begins until that ends, and what a test knows about it.
type life struct {
	disk  *crashfs.Disk
	saved *savedIndexes
	opts  Options
	last  int                                   // operation at which the process ends; 0: none
	fault func(*life, crashfs.Op) crashfs.Fault // of a bad disk; nil: none
	s     *Store                                // nil until it is open

	made []made // all commits asked for, in order
	must int    // so many of them must be there
	safe int    // so many of them must still be after a power cut

	open    atomic.Pointer[Store] // s for those who look while it is opened or closed
	noting  sync.Once             // the process may end in an operation of a goroutine of the store, and by the test meanwhile
	seen    Seq                   // what readers could see when the process ended; set once, before that
	indexed Seq                   // and how far the index was said to be durable
}

// A made is a commit that was asked for.
type made struct {
	ps      []Proposal
	hashes  []Hash // of its events, once they are known
	acked   bool
	durable bool // and acknowledged as durable
}

// A violation is a promise that was broken.
type violation struct{ what string }

func (v *violation) Error() string { return v.what }

func violated(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

// crashOptions are those of stores on simulated disks. Nothing happens by time, and the tail is folded when a test says so.
func crashOptions(d Durability) Options {
	return Options{Durability: d, SegmentBytes: 6000, SyncInterval: time.Hour, foldEvents: 1 << 20,
		Clock: func() time.Time { return time.UnixMicro(1_700_000_000_000_000) }, random: func() uint32 { return 7 }}
}

func newLife(opts Options) *life {
	return &life{disk: crashfs.New(), saved: &savedIndexes{}, opts: opts}
}

// openStore opens the store.
func (l *life) openStore() error {
	o := l.opts
	o.fs = l.disk
	o.openIndex = func() (kv.DB, error) { return openDiskDB(l.disk, l.saved) }
	o.openState = func() (kv.DB, error) { return openDiskFile(l.disk, stateFile, &savedIndexes{}) }
	s, err := Open("disk", &o)
	if err == nil {
		l.s = s
		l.open.Store(s)
	}
	return err
}

// stopAt ends the process at the n-th operation from now, and notes what could be seen then. Faults go on until that.
func (l *life) stopAt(n int) {
	l.last = 0
	if n > 0 {
		l.last = len(l.disk.Ops()) + n
	}
	l.inject()
}

// setFault makes operations fail from now on.
func (l *life) setFault(fault func(*life, crashfs.Op) crashfs.Fault) {
	l.fault = fault
	l.inject()
}

// inject tells the disk, whose operations may come from several goroutines.
func (l *life) inject() {
	last, fault := l.last, l.fault
	l.disk.Inject(func(op crashfs.Op) (f crashfs.Fault) {
		if op.N == last && last > 0 {
			l.stop()
		} else if fault != nil {
			f = fault(l, op)
		}
		return f
	})
}

// stop ends the process.
func (l *life) stop() {
	l.noting.Do(func() {
		if s := l.open.Load(); s != nil {
			l.seen, l.indexed = s.Visible(), s.index.Position().Seq
		}
	})
	l.disk.Stop()
}

// checkIndexed checks, after the end of the process, that what was said to be in the index file has been there.
func (l *life) checkIndexed() error {
	files := l.saved.clone().files
	for i := len(files) - 1; l.indexed > 0; i-- {
		if i < 0 {
			return violated("the index was said to be durable up to event %d, and no file of it ever was", l.indexed)
		}
		if indexedIn(files[i], l.open.Load().store) >= l.indexed {
			return nil
		}
	}
	return nil
}

// end ends the process if it has not ended, and the goroutines of the store.
func (l *life) end() {
	if !l.disk.Stopped() {
		l.stop()
	}
	if l.s != nil {
		_ = l.s.Close() // the disk is stopped
		l.s = nil
	}
}

// commit appends as durably as asked for.
func (l *life) commit(class Durability, ps ...Proposal) error {
	ps = slices.Clone(ps)
	ps[0].Durability = class
	for i := range ps {
		ps[i].Durability = class
	}
	l.made = append(l.made, made{ps: ps})
	rs, err := l.s.Commit(ps...)
	if err != nil {
		return err
	}
	m := &l.made[len(l.made)-1]
	m.acked, m.durable = true, class == Durable
	for i := range rs {
		m.hashes = append(m.hashes, rs[i].Hash)
	}
	return nil
}

// sync makes everything durable.
func (l *life) sync() error {
	err := l.s.Sync()
	for i := range l.made {
		l.made[i].durable = l.made[i].durable || err == nil
	}
	return err
}

func (l *life) fold() error { return l.s.foldTo(l.s.accepted()) }

// closeStore closes the store, after which everything is durable.
func (l *life) closeStore() error {
	s := l.s
	l.s = nil
	err := s.Close()
	for i := range l.made {
		l.made[i].durable = l.made[i].durable || err == nil
	}
	return err
}

// next returns the proposals of the next commit, of so many events. Those of one event are all of the same size, and
// longer than a sector.
func (l *life) next(count int) []Proposal {
	n := len(l.made)
	size := 520
	if count > 1 {
		size = 140
	}
	var ps []Proposal
	for i := range count {
		data := bytes.Repeat(fmt.Appendf(nil, "%03d.%d ", n, i), size/6)
		ps = append(ps, Proposal{At: At(fmt.Sprintf("p:%d", (n+i)%4), "s"), Kind: 0xF001, Data: data})
	}
	return ps
}

// do does what each letter of a script says: open, close, append durably or written an event or a batch of three, sync, fold.
func (l *life) do(script string) error {
	for _, step := range script {
		var err error
		switch step {
		case 'o':
			err = l.openStore()
		case 'c':
			err = l.closeStore()
		case 'd':
			err = l.commit(Durable, l.next(1)...)
		case 'D':
			err = l.commit(Durable, l.next(3)...)
		case 'w':
			err = l.commit(Written, l.next(1)...)
		case 'W':
			err = l.commit(Written, l.next(3)...)
		case 's':
			err = l.sync()
		case 'f':
			if err = l.fold(); (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO)) && l.s.log.Err() == nil {
				err = nil // it is the index only: the store goes on
			}
		case ' ':
		default:
			panic(step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// workload opens, appends singly and in batches over three segments, folds, closes, opens again and appends.
const workload = "o dd D wwd W f wwWd dd s wwwDw f WdwWdd c o wwwd D wWw f dww"

// crash returns what the next process begins with after cut: another disk and the same knowledge.
func (l *life) crash(cut crashfs.Cut) *life {
	next := &life{disk: l.disk.Crash(cut), saved: l.saved.clone(), opts: l.opts, fault: l.fault, made: slices.Clone(l.made), must: l.must, safe: l.safe}
	next.opts.foldEvents = 7
	last := Seq(0)
	for i := range l.made {
		m := &l.made[i]
		seen := last < l.seen
		if m.durable || seen && l.opts.Durability == Durable {
			next.safe = i + 1
		}
		if m.acked || seen {
			next.must = i + 1
		}
		last += Seq(len(m.ps))
	}
	next.must = max(next.must, next.safe)
	if cut != crashfs.Killed() {
		next.must = next.safe
		for i := next.safe; i < len(next.made); i++ {
			next.made[i].acked = false // it may be gone
		}
	}
	next.stopAt(0)
	return next
}

// recover opens the store, which must be there as it was, and goes on.
func (l *life) recover() error {
	if err := l.openStore(); err != nil {
		return l.unexpected("open", err)
	}
	if err := l.checkOpened(); err != nil {
		return err
	}
	if err := l.do("d"); err != nil {
		return l.unexpected("append", err)
	}
	if err := l.do("DwdWd"); err != nil {
		return l.unexpected("append", err)
	}
	return l.check()
}

// unexpected is a violation unless the process ended, of which the error must tell.
func (l *life) unexpected(what string, err error) error {
	if l.disk.Stopped() && errors.Is(err, crashfs.ErrStopped) {
		return err
	}
	return violated("%s: %v", what, err)
}

// checkOpened checks that the store has a prefix of the commits with all that must be there, and forgets the others.
func (l *life) checkOpened() error {
	end := l.s.Visible()
	have, last := 0, Seq(0)
	for ; have < len(l.made) && last < end; have++ {
		last += Seq(len(l.made[have].ps))
	}
	if last != end {
		return violated("the store ends at event %d, within a batch or behind everything appended, which is %d", end, last)
	}
	if have < l.must {
		return violated("%d commits are left, %d must be", have, l.must)
	}
	l.made, l.must, l.safe = l.made[:have], have, have
	for i := range l.made {
		l.made[i].acked, l.made[i].durable = true, true // whatever is there when a store has been opened counts as durable
	}
	return l.check()
}

// check compares all events that can be seen, which must be all there are, with what was asked for, and verifies the store.
func (l *life) check() error {
	es, err := gather(l.s.Query(Query{}))
	if err != nil {
		return l.unexpected("query", err)
	}
	heads := map[event.Stream]head{}
	seq := Seq(0)
	for i := range l.made {
		m := &l.made[i]
		known := len(m.hashes) > 0
		for j := range m.ps {
			seq++
			if int(seq) > len(es) {
				return violated("event %d of commit %d cannot be seen", seq, i)
			}
			if err := checkEvent(heads, &es[seq-1], &m.ps[j], seq); err != nil {
				return err
			}
			if hash := es[seq-1].Hash; !known {
				m.hashes = append(m.hashes, hash)
			} else if hash != m.hashes[j] {
				return violated("event %d has hash %v, acknowledged as %v", seq, hash, m.hashes[j])
			}
		}
	}
	if int(seq) != len(es) {
		return violated("%d events where %d were appended", len(es), seq)
	}
	rep, err := verifyStore(l.s)
	if err != nil {
		return l.unexpected("verify", err)
	}
	if !rep.OK() || rep.Last != seq {
		return violated("verify: events up to %d of %d: %v", rep.Last, seq, rep.Findings)
	}
	return nil
}

// checkEvent checks an event against what was asked for and against the heads, which it moves.
func checkEvent(heads map[event.Stream]head, e *Event, p *Proposal, seq Seq) error {
	h, ok := heads[e.Stream()]
	if !ok {
		h.hash = e.Prev // the genesis, which Verify checks
	}
	if e.Seq != seq || e.Entity != p.At.Entity || !bytes.Equal(e.Payload, p.Data) {
		return violated("event %d of %s with %.10q where event %d of %s with %.10q was appended", e.Seq, e.Entity, e.Payload, seq, p.At.Entity, p.Data)
	}
	if e.Clock != h.clock+1 || e.Prev != h.hash {
		return violated("event %d has clock %d and previous hash %v behind clock %d and hash %v", seq, e.Clock, e.Prev, h.clock, h.hash)
	}
	heads[e.Stream()] = head{seq, e.Clock, e.Hash, nil}
	return nil
}

// verifyStore verifies without context.
func verifyStore(s *Store) (Report, error) { return s.Verify(context.Background(), nil) }

// A sweep crashes at every operation of a workload.
type sweep struct {
	opts   Options
	fault  func(*life, crashfs.Op) crashfs.Fault
	seeds  int // torn power cuts at each operation
	nested int // one in so many operations is followed by a crash at each operation of the recovery

	points, second, recoveries atomic.Int64
	torn, rebuilt              atomic.Int64 // recoveries that cut off a tail, or built the index anew
}

// run returns the first violation, and nil if there is none.
func (w *sweep) run() error { return everywhere(w.at) }

// everywhere calls at with 1, 2, 3 and so on, from several goroutines, until one call is done or fails.
func everywhere(at func(n int) (done bool, err error)) error {
	var next atomic.Int64
	var stop atomic.Bool
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for !stop.Load() {
				done, err := at(int(next.Add(1)))
				if err != nil {
					errs[i] = err
				}
				if done || err != nil {
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// at runs the workload up to operation n and crashes. It reports whether there was no such operation.
func (w *sweep) at(n int) (done bool, err error) {
	l := newLife(w.opts)
	l.setFault(w.fault)
	l.stopAt(n)
	err = l.do(workload)
	done = !l.disk.Stopped()
	l.end()
	if err != nil {
		err = l.unexpected("workload", err)
	}
	if err := errors.Join(err, l.checkIndexed()); isViolation(err) {
		return done, fmt.Errorf("operation %d: %w\n%s", n, err, l.disk.Trace())
	}
	w.points.Add(1)
	cuts := []crashfs.Cut{crashfs.Killed(), crashfs.Dropped()}
	for seed := range w.seeds {
		cuts = append(cuts, crashfs.Torn(uint64(n*1000+seed)))
	}
	for i, cut := range cuts {
		if err := w.recovered(l, cut, uint64(n*1000+i)); err != nil {
			return done, fmt.Errorf("crash at operation %d: %s: %w\n%s", n, cut, err, l.disk.Trace())
		}
	}
	if w.nested > 0 && n%w.nested == 0 {
		cut := cuts[n/w.nested%len(cuts)]
		if err := w.recoveries2(l, cut, uint64(n)); err != nil {
			return done, fmt.Errorf("crash at operation %d: %s: %w\n%s", n, cut, err, l.disk.Trace())
		}
	}
	return done, nil
}

// after returns the life after a crash, with the index file as the power cut left it.
func (w *sweep) after(l *life, cut crashfs.Cut, seed uint64) (*life, string) {
	next := l.crash(cut)
	what := cut.String()
	if cut != crashfs.Killed() {
		next.disk.Inject(nil)
		what += ", " + next.saved.age(next.disk, rand.New(rand.NewPCG(seed, 1)))
		next.stopAt(0)
	}
	w.recoveries.Add(1)
	return next, what
}

// recovered checks what is there after a crash, goes on, and cuts the power again.
func (w *sweep) recovered(l *life, cut crashfs.Cut, seed uint64) error {
	l, what := w.after(l, cut, seed)
	err := l.recover()
	w.count(l)
	l.end()
	if err != nil {
		return fmt.Errorf("%s: %w\nrecovery:\n%s", what, err, l.disk.Trace())
	}
	again, what2 := w.after(l, crashfs.Torn(seed), seed+1)
	if err := again.reopen(); err != nil {
		return fmt.Errorf("%s, and again %s: %w\nfirst recovery:\n%ssecond:\n%s", what, what2, err, l.disk.Trace(), again.disk.Trace())
	}
	return nil
}

// count counts what the recovery had to do.
func (w *sweep) count(l *life) {
	if l.s == nil {
		return
	}
	if l.s.opened.TornBytes > 0 {
		w.torn.Add(1)
	}
	if l.s.opened.IndexRebuilt != "" {
		w.rebuilt.Add(1)
	}
}

// reopen opens and checks only.
func (l *life) reopen() error {
	defer l.end()
	if err := l.openStore(); err != nil {
		return l.unexpected("open", err)
	}
	return l.checkOpened()
}

// recoveries2 cuts the power a second time at each operation of a recovery and of what follows it.
func (w *sweep) recoveries2(first *life, cut crashfs.Cut, seed uint64) error {
	for k := 1; ; k++ {
		l, what := w.after(first, cut, seed)
		l.stopAt(k)
		err := l.recover()
		done := !l.disk.Stopped()
		l.end()
		if err := errors.Join(err, l.checkIndexed()); isViolation(err) {
			return fmt.Errorf("%s: %w\nrecovery:\n%s", what, err, l.disk.Trace())
		}
		if done {
			return nil
		}
		w.second.Add(1)
		for i, cut := range w.secondCuts(k, seed+uint64(k)) {
			again, what2 := w.after(l, cut, seed+uint64(k)+uint64(i))
			if err := again.reopen(); err != nil {
				return fmt.Errorf("%s, and again at operation %d of the recovery %s: %w\nfirst recovery:\n%ssecond:\n%s", what, k, what2, err, l.disk.Trace(), again.disk.Trace())
			}
		}
	}
}

// secondCuts returns how to crash at operation k of a recovery: in two ways of three, or with nested 1 in all.
func (w *sweep) secondCuts(k int, seed uint64) []crashfs.Cut {
	cuts := []crashfs.Cut{crashfs.Torn(seed), crashfs.Dropped(), crashfs.Killed()}
	if w.nested > 1 {
		cuts[1+k%2] = cuts[2]
		cuts = cuts[:2]
	}
	return cuts
}

func isViolation(err error) bool {
	var v *violation
	return errors.As(err, &v)
}

// TestCrashAnywhere ends the process at every operation of the workload, kills it only or cuts the power, recovers and goes
// on; and then cuts the power again, there and at every operation of one recovery in five; with BATPAK_LONG=1 of one after
// each crash point, in each of three ways. What is left is a prefix of
// the commits with all that were acknowledged or seen, and it is whole.
func TestCrashAnywhere(t *testing.T) {
	for _, d := range []Durability{Durable, Written} {
		t.Run(d.String(), func(t *testing.T) {
			w := sweep{opts: crashOptions(d), seeds: 3, nested: 5}
			if longTests() {
				w.seeds, w.nested = 6, 1
			}
			err := w.run()
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d crash points, %d second ones during recovery, %d recoveries; %d cut off a torn tail, %d rebuilt the index",
				w.points.Load(), w.second.Load(), w.recoveries.Load(), w.torn.Load(), w.rebuilt.Load())
			if err == nil && (w.points.Load() < 100 || w.second.Load() < 300 || w.torn.Load() < 10 || w.rebuilt.Load() < 10) {
				t.Error("that is too few to mean anything")
			}
		})
	}
}

// TestCrashPlanted lets the disk do what a store with an error would do, and expects the sweep to find it.
func TestCrashPlanted(t *testing.T) {
	in := func(verb crashfs.Verb, name string, f crashfs.Fault) func(*life, crashfs.Op) crashfs.Fault {
		return func(_ *life, op crashfs.Op) crashfs.Fault {
			if op.Verb == verb && strings.HasPrefix(op.Name, name) {
				return f
			}
			return crashfs.Fault{}
		}
	}
	skip := crashfs.Fault{Effect: crashfs.None}
	const second = "log/00000000000000000013.seg"
	for _, c := range []struct {
		name  string
		fault func(*life, crashfs.Op) crashfs.Fault
	}{
		{"no sync before the acknowledgement", in(crashfs.Sync, "log/0", skip)},
		{"no sync before the acknowledgement, in the second segment only", in(crashfs.Sync, second, skip)},
		{"no sync of a new segment", in(crashfs.Sync, "log/next", skip)},
		{"no sync of the log's names", in(crashfs.SyncDir, "log", skip)},
		{"no sync of the log's names after rolling", func(l *life, op crashfs.Op) crashfs.Fault {
			if op.Verb == crashfs.SyncDir && op.Name == "log" && slices.ContainsFunc(l.disk.Ops(), func(o crashfs.Op) bool { return o.To == second }) {
				return skip
			}
			return crashfs.Fault{}
		}},
		{"no sync of the store's names", in(crashfs.SyncDir, ".", skip)},
		{"no sync of STORE", in(crashfs.Sync, "STORE", skip)},
		{"sync errors ignored", in(crashfs.Sync, "log/0", crashfs.Fault{Effect: crashfs.Lost})},
		{"write errors ignored", in(crashfs.Write, "log/0", crashfs.Fault{Effect: crashfs.Some, Part: 600})},
		{"zeros not cut off", in(crashfs.Truncate, "log/0", skip)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sweep{opts: crashOptions(Durable), fault: c.fault, seeds: 3}
			err := w.run()
			if !isViolation(err) {
				t.Fatalf("found: %v", err)
			}
			first, _, _ := strings.Cut(err.Error(), "\n")
			t.Log(first)
		})
	}
}

// TestSyncFailure fails each sync of the log in turn. From then on every append returns that error, reads go on,
// and opening again, at once or after a power cut, finds what was acknowledged; what it finds then stays.
func TestSyncFailure(t *testing.T) {
	for _, effect := range []crashfs.Effect{crashfs.None, crashfs.All, crashfs.Lost} {
		t.Run(fmt.Sprintf("effect %d", effect), func(t *testing.T) {
			for n := int64(1); ; n++ {
				var syncs atomic.Int64
				l := newLife(crashOptions(Durable))
				l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
					if op.Verb == crashfs.Sync && strings.HasPrefix(op.Name, "log/") && syncs.Add(1) == n {
						f = crashfs.Fault{Effect: effect, Err: syscall.EIO}
					}
					return f
				})
				if err := l.failing(syscall.EIO); err != nil {
					t.Fatalf("sync %d: %v\n%s", n, err, l.disk.Trace())
				}
				if pastLastSync(t, syncs.Load(), n) {
					return
				}
				l.setFault(nil)
				if err := l.recoverAll(uint64(n)); err != nil {
					t.Fatalf("sync %d: %v\n%s", n, err, l.disk.Trace())
				}
			}
		})
	}
}

// failing runs the workload until something fails, and checks that it has failed for good. The process has ended when it
// returns.
func (l *life) failing(cause error) error {
	l.stopAt(0)
	defer l.end()
	first := l.do(workload)
	if first == nil {
		return nil
	}
	var path *fs.PathError
	if !errors.Is(first, cause) || !errors.As(first, &path) {
		return violated("the failure is %v", first)
	}
	if l.s == nil { // it did not open or close
		return nil
	}
	if err := l.s.log.Err(); err == nil {
		return violated("after %v the log goes on", first)
	}
	ops := len(l.disk.Ops())
	for what, err := range map[string]error{"append": l.do("d"), "append written": l.do("w"), "sync": l.s.Sync()} {
		if f := l.s.Frontier(); err == nil && what == "sync" && f.Durable == f.Accepted {
			continue // it was before the failure
		}
		if err == nil || err.Error() != first.Error() {
			return violated("%s after %v: %v", what, first, err)
		}
	}
	l.made = l.made[:len(l.made)-2] // refused
	if err := readsGoOn(l.s); err != nil {
		return violated("after %v: %v", first, err)
	}
	l.seen = l.s.Visible()
	if err := l.closeStore(); !errors.Is(err, cause) {
		return violated("close after %v: %v", first, err)
	}
	for _, op := range l.disk.Ops()[ops:] { // the filler may be at work still
		if changes := op.Verb == crashfs.Write && !op.Zeros || op.Verb == crashfs.Truncate || op.Verb == crashfs.Rename; changes && strings.HasPrefix(op.Name, "log/") {
			return violated("after %v the log does %v", first, op)
		}
	}
	return nil
}

// readsGoOn reads all that is visible, in each way.
func readsGoOn(s *Store) error {
	last := s.Visible()
	es, err := gather(s.Query(Query{}))
	if err != nil || Seq(len(es)) != last {
		return fmt.Errorf("%d of %d events can be read: %v", len(es), last, err)
	}
	if last == 0 {
		return nil
	}
	page, err := s.Page(Query{})
	if err != nil || Seq(len(page.Events)) != last || page.Next != last {
		return fmt.Errorf("a page of %d events of %d: %v", len(page.Events), last, err)
	}
	if es, err = gather(s.Follow(context.Background(), Query{Through: last})); err != nil || Seq(len(es)) != last {
		return fmt.Errorf("%d of %d events can be followed: %v", len(es), last, err)
	}
	newest := es[last-1]
	if e, err := s.Get(newest.ID); err != nil || e.Hash != newest.Hash {
		return fmt.Errorf("event %d: %v", last, err)
	}
	if w, err := s.Walk(newest.ID, int(last)); err != nil || Clock(len(w.Events)) != newest.Clock {
		return fmt.Errorf("a walk of %d events of %d: %v", len(w.Events), newest.Clock, err)
	}
	return nil
}

// recoverAll recovers after the end of the process, at once and after power cuts, and cuts the power once more.
func (l *life) recoverAll(seed uint64) error {
	w := sweep{}
	for i, cut := range []crashfs.Cut{crashfs.Killed(), crashfs.Dropped(), crashfs.Torn(seed)} {
		if err := w.recovered(l, cut, 100*seed+uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

// TestSyncFailureBeforeReopen reopens after a failed sync that lost what it should have made durable, as far as the disk
// knows, while the system still shows it. What the new process finds and counts as durable must survive a power cut.
func TestSyncFailureBeforeReopen(t *testing.T) {
	l := newLife(crashOptions(Durable))
	l.stopAt(0)
	if err := l.do("o d wd"); err != nil {
		t.Fatal(err)
	}
	l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
		if op.Verb == crashfs.Sync {
			f = crashfs.Fault{Effect: crashfs.Lost, Err: syscall.EIO}
		}
		return f
	})
	if err := l.do("d"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	l.end()
	l.setFault(nil)
	again := l.crash(crashfs.Killed())
	if err := errors.Join(again.openStore(), again.checkOpened()); err != nil {
		t.Fatal(err)
	}
	durable := again.s.Frontier().Durable
	again.end()
	cut := again.crash(crashfs.Dropped())
	if err := cut.reopen(); err != nil {
		t.Errorf("reopened after a failed sync, then durable %d, then a power cut: %v", durable, err)
	}
}

// byFiller reports whether the calling goroutine writes zeros ahead.
func byFiller() bool {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "(*filler).extend") {
			return true
		}
		if !more {
			return false
		}
	}
}

// TestSyncFailureToldToOne makes two syncs of a segment overlap, that of an append and that of the zeros ahead. The writes
// are lost, of which the disk tells each open file once, as Linux does: both, or, if they use the same one, the latter only.
// The append must not be acknowledged.
func TestSyncFailureToldToOne(t *testing.T) {
	l := newLife(crashOptions(Durable))
	var opened, filling, synced, acked atomic.Bool
	var handle atomic.Int64         // of the filler
	await := func(b *atomic.Bool) { // as long as the other could need to run; it may be waiting for us
		for i := 0; i < 100_000 && !b.Load(); i++ {
			runtime.Gosched()
		}
	}
	l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
		switch {
		case op.Verb != crashfs.Sync || !opened.Load():
		case byFiller() && !filling.Load():
			handle.Store(int64(op.Handle))
			filling.Store(true)
			await(&synced)
			await(&acked)
			f = crashfs.Fault{Effect: crashfs.None, Err: syscall.EIO}
		case filling.Load() && !synced.Swap(true):
			f = crashfs.Fault{Effect: crashfs.Lost}
			if int64(op.Handle) != handle.Load() {
				f.Err = syscall.EIO
			}
		}
		return f
	})
	l.stopAt(0)
	err := l.do("o")
	opened.Store(true)
	for err == nil && !synced.Load() {
		err = l.do("d")
		await(&filling)
	}
	acked.Store(true)
	l.end()
	if !filling.Load() {
		t.Fatal("no zeros were synced")
	}
	l.setFault(nil)
	if err := l.crash(crashfs.Dropped()).reopen(); err != nil {
		t.Errorf("a failed sync was told to the filler only: %v\n%s", err, l.disk.Trace())
	}
}

// TestWriteFailure cuts each write in turn short, and fails it. Nothing is acknowledged that was not written, no later commit
// leaves a hole, and the store opens and goes on.
func TestWriteFailure(t *testing.T) {
	for cause, parts := range map[error][]float64{syscall.ENOSPC: {0, 0.5, 1}, io.ErrShortWrite: {0.5}} {
		for _, part := range parts {
			t.Run(fmt.Sprintf("%v, %.1f written", cause, part), func(t *testing.T) {
				for n := int64(1); ; n++ {
					var writes atomic.Int64
					l := newLife(crashOptions(Durable))
					l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
						if op.Verb == crashfs.Write && writes.Add(1) == n {
							f = crashfs.Fault{Effect: crashfs.Some, Part: int64(part * float64(op.Length)), Err: cause}
						}
						return f
					})
					if err := l.failing(cause); err != nil {
						t.Fatalf("write %d: %v\n%s", n, err, l.disk.Trace())
					}
					if writes.Load() < n {
						if n < 40 {
							t.Errorf("only %d writes", n)
						}
						return
					}
					l.setFault(nil)
					if err := l.recoverAll(uint64(n)); err != nil {
						t.Fatalf("write %d: %v\n%s", n, err, l.disk.Trace())
					}
				}
			})
		}
	}
}

// TestFullDisk runs the workload on disks with room for so many bytes, and makes room after it has failed.
func TestFullDisk(t *testing.T) {
	full := 0
	for room := int64(0); ; room += 151 {
		l := newLife(crashOptions(Durable))
		l.disk.SetCapacity(room)
		if err := l.failing(syscall.ENOSPC); err != nil {
			t.Fatalf("room for %d bytes: %v\n%s", room, err, l.disk.Trace())
		}
		if !strings.Contains(l.disk.Trace(), syscall.ENOSPC.Error()) {
			break
		}
		full++
		if err := l.recoverAll(uint64(room)); err != nil {
			t.Fatalf("room for %d bytes: %v\n%s", room, err, l.disk.Trace())
		}
	}
	if full < 100 {
		t.Errorf("only %d disks were full", full)
	}
}

// TestCrashFollowers lets followers read while the workload runs up to a power cut, until they have seen enough: how far they
// come before the cut is up to the scheduler. What they saw is there afterwards.
func TestCrashFollowers(t *testing.T) {
	seen := 0
	for round := 0; seen < 1000; round++ {
		if round == 20 {
			t.Fatalf("followers saw only %d events", seen)
		}
		seen += followToTheEnd(t)
	}
}

// followToTheEnd cuts the power at one operation after the other and returns how many events followers saw.
func followToTheEnd(t *testing.T) (seen int) {
	t.Helper()
	for n := 30; ; n += 3 {
		l := newLife(crashOptions(Durable))
		l.stopAt(n)
		err := l.do("o")
		if err != nil {
			t.Fatal(err)
		}
		followed := make([][]Event, 3)
		var wg sync.WaitGroup
		for i := range followed {
			s := l.s
			wg.Go(func() { followed[i], _ = gather(s.Follow(context.Background(), Query{})) })
		}
		_ = l.do(strings.TrimPrefix(workload[:strings.Index(workload, "c")], "o"))
		done := !l.disk.Stopped()
		l.end()
		wg.Wait()
		again := l.crash(crashfs.Dropped())
		if err := again.openStore(); err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		for _, es := range followed {
			for i := range es {
				seen++
				e, err := again.s.At(Seq(i + 1))
				if err != nil || es[i].Seq != e.Seq || es[i].Hash != e.Hash {
					t.Fatalf("operation %d: event %d was seen as %v and then was %v, %v\n%s", n, i+1, es[i].Hash, e.Hash, err, l.disk.Trace())
				}
			}
		}
		again.end()
		if done {
			return seen
		}
	}
}

// TestCrashConcurrent appends from many goroutines up to a power cut. All that was acknowledged is there, and each batch is
// whole.
func TestCrashConcurrent(t *testing.T) {
	seeds := 1
	if longTests() {
		seeds = 6
	}
	acked := 0
	for n := 20; n < 150; n++ {
		opts := crashOptions(Durable)
		opts.foldEvents = 10
		l := newLife(opts)
		l.stopAt(n)
		if err := l.openStore(); err != nil {
			t.Fatal(err)
		}
		receipts := make([][]Receipt, 8)
		var wg sync.WaitGroup
		for g := range receipts {
			s := l.s
			wg.Go(func() {
				for i := 0; ; i++ {
					data := fmt.Sprintf("%d.%d", g, i)
					rs, err := s.Commit(raw("one", data), raw(fmt.Sprint("of:", g), data))
					if err != nil {
						return
					}
					receipts[g] = append(receipts[g], rs...)
				}
			})
		}
		wg.Wait()
		l.end()
		for seed := range seeds + 1 {
			cut := crashfs.Torn(uint64(n*1000 + seed))
			if seed == 0 {
				cut = crashfs.Dropped()
			}
			if err := l.checkReceipts(cut, receipts); err != nil {
				t.Fatalf("operation %d, %v: %v\n%s", n, cut, err, l.disk.Trace())
			}
		}
		acked += len(slices.Concat(receipts...))
	}
	if acked < 1000 {
		t.Errorf("only %d events were acknowledged", acked)
	}
}

// checkReceipts opens the store after a power cut and checks that all receipts are good and all batches of two whole.
func (l *life) checkReceipts(cut crashfs.Cut, receipts [][]Receipt) error {
	again := l.crash(cut)
	defer again.end()
	if err := again.openStore(); err != nil {
		return err
	}
	for _, r := range slices.Concat(receipts...) {
		if v := again.s.VerifyReceipt(r); !v.OK() {
			return fmt.Errorf("event %d: %v", r.Seq, v)
		}
	}
	es, err := gather(again.s.Query(Query{}))
	if err != nil || len(es)%2 != 0 {
		return fmt.Errorf("%d events: %w", len(es), err)
	}
	for i := 0; i < len(es); i += 2 {
		if !bytes.Equal(es[i].Payload, es[i+1].Payload) {
			return fmt.Errorf("events %d and %d are not of one batch", i+1, i+2)
		}
	}
	rep, err := verifyStore(again.s)
	if err == nil && !rep.OK() {
		err = fmt.Errorf("verify: %v", rep.Findings)
	}
	return err
}

// TestDurableCommitLost damages the newest durable commit of the active segment, or cuts it off, and leaves one witness only
// that it was durable. The store must not take it for a torn tail, nor change anything.
func TestDurableCommitLost(t *testing.T) {
	const segment = "log/00000000000000000001.seg"
	cutOff := func(b []byte, p part) []byte { return b[:p.offset] }
	zeroed := func(b []byte, p part) []byte { clear(b[p.offset : p.offset+p.length]); return b }
	flipped := func(b []byte, p part) []byte { b[p.offset+p.length/2] ^= 1; return b }
	sector := func(b []byte, p part) []byte { clear(b[p.offset+600 : p.offset+p.length]); return b }
	type damage = func([]byte, part) []byte
	all := map[string]damage{"cut off": cutOff, "zeroed": zeroed, "flipped": flipped, "a sector zeroed": sector}
	for _, c := range []struct {
		witness string
		class   Durability // of the store
		script  string
		keep    []string // besides the segment
		back    int      // how many commits follow
		damages map[string]damage
		refused bool
	}{
		{"none", Durable, "o ddd", nil, 0, all, false},
		{"LOCK", Durable, "o ddd", []string{lockFile}, 0, all, true},
		{"LOCK of a store with Written visibility", Written, "o ddd", []string{lockFile}, 0, all, true},
		{"LOCK after a Sync", Written, "o www s", []string{lockFile}, 0, all, true},
		{"LOCK of a closed store", Durable, "o ddd c", []string{lockFile}, 0, all, true},
		{"index", Durable, "o ddd f", []string{indexFile}, 0, all, true},
		{"index behind", Durable, "o dd f d", []string{indexFile}, 0, all, false},
		{"durable field", Durable, "o ddd w", nil, 1, map[string]damage{"zeroed": zeroed, "flipped": flipped, "a sector zeroed": sector}, true},
		{"durable field of the next but one", Durable, "o ddd ww", nil, 2, map[string]damage{"zeroed": zeroed, "flipped": flipped, "a sector zeroed": sector}, true},
	} {
		for name, damage := range c.damages {
			t.Run(c.witness+"/"+name, func(t *testing.T) {
				l := newLife(crashOptions(c.class))
				if err := l.do(c.script); err != nil {
					t.Fatal(err)
				}
				l.end()
				again := l.crash(crashfs.Killed())
				for _, name := range []string{lockFile, indexFile} {
					if !slices.Contains(c.keep, name) {
						if err := again.disk.Remove(name); err != nil {
							t.Fatal(err)
						}
					}
				}
				b, err := vfs.ReadFile(again.disk, segment, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				parts := dissect(bytes.TrimRight(b, "\x00"))
				b = damage(b, parts[len(parts)-1-c.back])
				if err := again.disk.Put(segment, b); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					err = again.openStore()
					var bad *CorruptError
					if c.refused && (!errors.As(err, &bad) || bad.File != segment) {
						t.Errorf("open: %v", err)
					}
					if !c.refused && err != nil {
						t.Errorf("open: %v", err)
					}
					if !c.refused {
						again.end()
						return
					}
					if after, _ := vfs.ReadFile(again.disk, segment, 1<<20); !bytes.Equal(after, b) {
						t.Error("the segment was changed")
					}
				}
			})
		}
	}
}

// pastLastSync reports whether a life had fewer syncs than the n-th, which was to fail. There must be a good number.
func pastLastSync(t *testing.T, syncs, n int64) bool {
	t.Helper()
	if syncs < n && n < 30 {
		t.Errorf("only %d syncs", n)
	}
	return syncs < n
}
