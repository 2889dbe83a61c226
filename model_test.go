package batpak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/internal/crashfs"
)

// A step is one call of a program with everything that was drawn for it, so that a program can run on several stores.
type step struct {
	verb   string
	pass   time.Duration // that the clock moves before it
	ps     []Proposal
	flaw   *ItemError // why ps is refused before anything is looked at; nil: it is not
	q      Query
	seq    Seq
	n      int
	opts   Options // for the store from then on
	cut    crashfs.Cut
	stop   int   // at which operation of the disk, from the beginning of inner, the process ends; 0: behind inner
	inner  *step // what is under way when the process ends; nil: nothing
	reopen int   // at which operation of the opening the process ends again; 0: it does not
}

// A trial is a store under test, the twin that it is held against, and those who read it.
type trial struct {
	twin
	t         *rapid.T
	m         medium
	opts      Options
	fixed     bool // the options stay, and nothing written stays behind: what is read does not depend on the options
	s         *Store
	now       time.Time
	salt      uint32 // the last bytes of ids, another for each step
	front     Frontier
	receipts  []Receipt // all that were ever given
	followers []*follower
	reader    *Reader
	answers   []string // what the store said
	count     *counts
}

// counts say how often something happened in all trials of a test, so that it cannot pass for want of it.
type counts map[string]int

func (c *counts) add(what string) { (*c)[what]++ }

// need fails the test if something has happened less than n times, in a run that was not made shorter.
func (c *counts) need(t *testing.T, n int, whats ...string) {
	t.Helper()
	t.Logf("%v", *c)
	if checks, _ := strconv.Atoi(flag.Lookup("rapid.checks").Value.String()); checks < 100 || testing.Short() {
		return
	}
	for _, what := range whats {
		if (*c)[what] < n {
			t.Errorf("%s: only %d times", what, (*c)[what])
		}
	}
}

// newTrial opens a store on m.
func newTrial(t *rapid.T, m medium, o Options, c *counts) *trial {
	w := &trial{twin: newTwin(vectorStore), t: t, m: m, now: time.UnixMicro(1_700_000_000_000_000), count: c}
	w.open(o)
	return w
}

// open opens the store, which must have all that the twin has.
func (w *trial) open(o Options) {
	s, err := w.m.open(w.use(o))
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.attach(s)
}

// use makes the options those of the store, with the clock and the ids of the trial.
func (w *trial) use(o Options) Options {
	w.opts = o
	w.opts.Clock = func() time.Time { return w.now }
	w.opts.random = func() uint32 { return w.salt }
	return w.opts
}

// attach makes s, which was just opened, the store of the trial.
func (w *trial) attach(s *Store) {
	w.s, w.front = s, Frontier{}
	w.observe()
	if w.front.Durable != w.end() || w.front.Visible != w.end() {
		w.t.Fatalf("opened, and %+v where there are %d events", w.front, w.end())
	}
}

// close closes what is open.
func (w *trial) close() {
	if w.s != nil {
		_ = w.s.Close() // the test has looked at it, or has failed
	}
	if w.reader != nil {
		_ = w.reader.Close()
		w.reader = nil
	}
	for _, f := range w.followers {
		f.free()
		f.cancel(nil)
	}
}

// fine fails the test if err is not nil, unless the process has ended and err tells of it.
func (w *trial) fine(what string, err error) {
	if err != nil && !(w.m.stopped() && errors.Is(err, crashfs.ErrStopped)) {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// observe waits until the store is at rest and looks at its watermarks and at what followers have got.
func (w *trial) observe() {
	synctest.Wait()
	f, before := w.s.Frontier(), w.front
	visible := f.Durable
	if w.opts.Durability == Written {
		visible = f.Written
	}
	switch {
	case f.Accepted != w.end() || f.Written != f.Accepted:
		w.t.Fatalf("frontier %+v where %d events are written", f, w.end())
	case f.Visible != visible || f.Durable < f.Indexed:
		w.t.Fatalf("frontier %+v of a %s store", f, w.opts.Durability)
	case f.Durable < before.Durable || f.Visible < before.Visible || f.Indexed < before.Indexed:
		w.t.Fatalf("frontier %+v after %+v", f, before)
	case f.Durable > 0 && !slices.Contains(w.ends, f.Durable):
		w.t.Fatalf("frontier %+v is within a commit", f)
	}
	w.front = f
	for _, f := range w.followers {
		f.check(w)
	}
}

// visible returns the model of what can be read.
func (w *trial) visible() *model { return w.upTo(w.front.Visible) }

// say keeps an answer of the store.
func (w *trial) say(format string, args ...any) {
	w.answers = append(w.answers, fmt.Sprintf(format, args...))
}

// tell keeps the answer to a read.
func (w *trial) tell(what string, es []Event, err error) {
	var hashes []string
	for i := range es {
		hashes = append(hashes, es[i].Hash.String()[:12])
	}
	w.say("%s: %v, %v", what, hashes, err)
}

// do runs a step and holds what the store does against the twin.
func (w *trial) do(st *step) {
	w.salt++
	w.now = w.now.Add(st.pass)
	w.count.add(st.verb)
	switch st.verb {
	case "commit", "append":
		w.commit(st)
		w.flush()
	case "query":
		w.query("query", &w.s.view, st.q)
	case "read":
		w.point(&w.s.view, st)
	case "receipts":
		w.verifyReceipts(st)
	case "sync":
		w.sync()
	case "fold":
		w.fine("fold", w.s.foldTo(w.s.accepted()))
	case "idle":
		w.idle()
	case "follow":
		w.follow(st)
	case "go on":
		for _, f := range w.followers {
			f.allow(st.n)
		}
	case "leave":
		w.leave()
	case "second writer":
		w.secondWriter()
	case "reader":
		w.read(st)
	case "close":
		w.fine("close", w.s.Close())
		return
	case "reopen", "remove index":
		w.reopen(st)
	case "crash":
		w.crash(st)
	default:
		panic(st.verb)
	}
	synctest.Wait() // the process may end in another goroutine
	if !w.m.stopped() {
		w.observe()
	}
}

// commit appends, or is refused, as the twin says. If the process ends meanwhile the events may be there or not.
func (w *trial) commit(st *step) {
	before := w.s.Frontier()
	o := outcome{}
	if st.flaw != nil {
		o.err = st.flaw
	} else {
		o = w.decide(st.ps, w.now, w.salt, w.opts.Durability)
	}
	rs, err := w.ask(st)
	if err != nil && w.m.stopped() && errors.Is(err, crashfs.ErrStopped) {
		w.accept(o.events, before.Durable)
		w.count.add("commit stopped")
		return
	}
	if !agrees(err, o.err) || !slices.Equal(rs, o.receipts) {
		w.t.Fatalf("%s of %+v:\n got %+v, %v\nwant %+v, %v", st.verb, st.ps, rs, err, o.receipts, o.err)
	}
	w.accept(o.events, before.Durable)
	w.receipts = append(w.receipts, rs...)
	w.count.add(kindOf(&o))
	w.say("%v %+v", err, hashes(rs))
	f := w.s.Frontier()
	if len(rs) > 0 && rs[0].Durability == Durable && f.Durable < latest(rs) {
		w.t.Fatalf("durable receipts up to event %d, frontier %+v", latest(rs), f)
	}
}

// ask makes the call.
func (w *trial) ask(st *step) ([]Receipt, error) {
	if st.verb == "commit" {
		return w.s.Commit(st.ps...)
	}
	r, err := w.s.Append(st.ps[0].At, st.ps[0].Payload)
	if err != nil {
		return nil, err
	}
	return []Receipt{r}, nil
}

// kindOf names an outcome, for counting.
func kindOf(o *outcome) string {
	var conflict *ConflictError
	switch {
	case errors.As(o.err, &conflict) && conflict.Found > 0:
		return "conflict of IfNone"
	case o.err == ErrIdempotencyPartial:
		return "keys that do not agree"
	case o.err != nil:
		return fmt.Sprintf("%T", o.err)
	case o.events == nil && o.receipts != nil:
		return "known keys"
	case len(o.events) > 1:
		return "batch"
	}
	return "one event"
}

func hashes(rs []Receipt) (hs []string) {
	for i := range rs {
		hs = append(hs, fmt.Sprint(rs[i].Seq, " ", rs[i].Hash.String()[:12]))
	}
	return hs
}

func latest(rs []Receipt) (last Seq) {
	for i := range rs {
		last = max(last, rs[i].Seq)
	}
	return last
}

// flush makes everything visible where answers must not depend on the options.
func (w *trial) flush() {
	if w.fixed {
		w.sync()
	}
}

func (w *trial) sync() {
	err := w.s.Sync()
	w.fine("sync", err)
	if f := w.s.Frontier(); err == nil && (f.Durable != w.end() || f.Visible != w.end()) {
		w.t.Fatalf("frontier %+v after a sync of %d events", f, w.end())
	}
}

// idle lets time pass in which nobody asks for anything: the store makes everything durable and indexes it.
func (w *trial) idle() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.s.Wait(ctx, WatermarkVisible, w.end()+1); !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatalf("wait for more events than there are: %v", err)
	}
	if f := w.s.Frontier(); f.Durable != w.end() || f.Visible != w.end() || f.Indexed != w.end() {
		w.t.Fatalf("frontier %+v after 5 s without appends to %d events", f, w.end())
	}
}

// query holds every form of a query against the model.
func (w *trial) query(what string, v *view, q Query) {
	m := w.visible()
	if len(m.events) == 0 { // following would wait
		got, err := gather(v.Query(q))
		if err != nil || len(got) > 0 {
			w.t.Fatalf("%s of an empty store: %d events, %v", what, len(got), err)
		}
		return
	}
	m.checkForms(w.t, what, v, q)
	p, err := v.Page(q)
	w.tell(fmt.Sprintf("page to %d, more: %v", p.Next, p.More), p.Events, err)
}

// point reads the event at st.seq, its ancestry up to st.n, and their neighbours that are not there.
func (w *trial) point(v *view, st *step) {
	m := w.visible()
	if st.seq == 0 || int(st.seq) > len(m.events) {
		e, err := v.At(st.seq)
		if !errors.Is(err, ErrNotFound) {
			w.t.Fatalf("event at %d of %d: %v, %v", st.seq, len(m.events), e.ID, err)
		}
		if int(st.seq) <= len(w.events) && st.seq > 0 {
			if _, err := v.Get(w.events[st.seq-1].ID); !errors.Is(err, ErrNotFound) {
				w.t.Fatalf("get of event %d, which is not visible: %v", st.seq, err)
			}
		}
		return
	}
	want := m.events[st.seq-1]
	bySeq, err := v.At(st.seq)
	w.fine("at", err)
	byID, err := v.Get(want.ID)
	w.fine("get", err)
	same(w.t, "at and get", []Event{bySeq, byID}, []Event{want, want})
	other := want.ID
	other[15]++
	if _, err := v.Get(other); !errors.Is(err, ErrNotFound) {
		w.t.Fatalf("get of an id that no event has: %v", err)
	}
	w.walk(v, m, &want, st.n)
}

func (w *trial) walk(v *view, m *model, e *Event, limit int) {
	want := m.answer(w.t, Query{Entity: e.Entity, Lane: &e.Lane, Through: e.Seq, Reverse: true})
	end := chain.ReachedGenesis
	if limit < len(want) {
		want, end = want[:limit], chain.ReachedLimit
	}
	got, err := v.Walk(e.ID, limit)
	if err != nil || got.End != end || got.Err != nil {
		w.t.Fatalf("walk of %d from %d ended at %q where %q is due: %v, %v", limit, e.Seq, got.End, end, got.Err, err)
	}
	same(w.t, "walk", got.Events, want)
	w.tell("walk", got.Events, err)
}

// verifyReceipts verifies st.n receipts, the newest if st.seq is 0. Some may be of events that a crash took.
func (w *trial) verifyReceipts(st *step) {
	m := w.visible()
	for i := range min(st.n, len(w.receipts)) {
		r := w.receipts[len(w.receipts)-1-(int(st.seq)+i)%len(w.receipts)]
		want := Verdict{Status: chain.Unsigned}
		switch {
		case int(r.Seq) > len(m.events):
			want = Verdict{Status: chain.Invalid, Reason: chain.MissingEvent}
		case r.Hash != m.events[r.Seq-1].Hash: // lost, and another event has its place
			want = Verdict{Status: chain.Invalid, Reason: chain.IDMismatch}
		}
		got := w.s.VerifyReceipt(r)
		if got != want {
			w.t.Fatalf("receipt of event %d: %+v, want %+v", r.Seq, got, want)
		}
		w.count.add("receipt " + string(want.Reason))
		w.say("receipt %v", got)
	}
}

// secondWriter tries to open the store once more.
func (w *trial) secondWriter() {
	s, err := w.m.open(w.opts)
	var locked *LockedError
	if !errors.As(err, &locked) || !errors.Is(err, ErrLocked) || s != nil {
		w.t.Fatalf("a second writer: %v", err)
	}
	host, _ := os.Hostname()
	if want := fmt.Sprintf("pid %d on %s", os.Getpid(), host); locked.Holder != want {
		w.t.Fatalf("the holder is said to be %q, not %q", locked.Holder, want)
	}
}

// read reads through a Reader, which stays open until the store crashes.
func (w *trial) read(st *step) {
	if w.reader == nil {
		var err error
		if w.reader, err = w.m.openReader(); err != nil {
			w.t.Fatalf("open a reader: %v", err)
		}
	}
	w.query("reader", &w.reader.view, st.q)
	w.point(&w.reader.view, st)
}

// reopen closes the store and opens it, without its index if the step says so.
func (w *trial) reopen(st *step) {
	if err := w.s.Close(); err != nil {
		w.t.Fatalf("close: %v", err)
	}
	w.endFollowers(ErrClosed)
	if st.verb == "remove index" {
		if err := w.m.removeIndex(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	if st.n%2 == 0 && w.reader != nil { // reads between the two writers
		w.front.Visible = w.end()
		w.query("reader of a closed store", &w.reader.view, Query{})
	}
	w.open(w.nextOptions(st))
	w.verify()
}

// nextOptions returns the options of the next opening.
func (w *trial) nextOptions(st *step) Options {
	if w.fixed {
		return w.opts
	}
	return st.opts
}

// endFollowers ends the followers of a store that was closed.
func (w *trial) endFollowers(causes ...error) {
	for _, f := range w.followers {
		f.end(w, causes...)
	}
	w.followers = nil
}

// verify compares the whole store with the twin.
func (w *trial) verify() {
	es, err := gather(w.s.Query(Query{}))
	w.fine("query", err)
	same(w.t, "all", es, w.visible().events)
	w.tell("all", es, err)
	rep, err := verifyStore(w.s)
	w.fine("verify", err)
	counted := rep.Events == len(w.events) && rep.Commits == len(w.ends) && rep.Streams == len(w.heads)
	if !rep.OK() || !counted || rep.Last != w.end() || rep.Link != w.link() {
		w.t.Fatalf("verify of %d events in %d commits of %d streams up to %v: %+v", w.end(), len(w.ends), len(w.heads), w.link(), rep)
	}
	w.observe() // which made everything durable
	w.verifyReceipts(&step{n: 40})
}

// crash ends the process in the middle of a step or behind it, and opens what the next one finds: the commits that must be
// there and perhaps some more, in order.
func (w *trial) crash(st *step) {
	w.m.stopAt(st.stop)
	if st.inner != nil {
		w.do(st.inner)
	}
	synctest.Wait()
	must := w.s.Frontier().Durable
	if st.cut == crashfs.Killed() {
		must = w.s.Frontier().Written
	}
	next, what := w.m.crash(st.cut, uint64(w.salt))
	w.front.Visible = w.s.Visible()
	_ = w.s.Close() // on a disk that has stopped
	if w.reader != nil {
		_ = w.reader.Close()
		w.reader = nil
	}
	w.endFollowers(ErrClosed, crashfs.ErrStopped)
	w.m = next
	if st.reopen > 0 {
		what += w.crashAgain(st)
	}
	w.recover(st, what, must)
}

// crashAgain ends the process while it opens the store.
func (w *trial) crashAgain(st *step) string {
	w.m.stopAt(st.reopen)
	s, err := w.m.open(w.opts)
	w.fine("open", err)
	next, what := w.m.crash(st.cut, uint64(w.salt)+1)
	if err == nil {
		_ = s.Close() // on a disk that has stopped
	}
	w.m = next
	w.count.add("crash of an opening")
	return ", again " + what
}

// recover opens the store after a crash and makes the twin forget what is lost.
func (w *trial) recover(st *step, what string, must Seq) {
	s, err := w.m.open(w.use(w.nextOptions(st)))
	if err != nil {
		w.t.Fatalf("%s: open: %v", what, err)
	}
	w.s = s
	last := s.Visible()
	if last < must || last > w.end() {
		w.t.Fatalf("%s: the store ends at event %d, where %d must be there and %d were appended", what, last, must, w.end())
	}
	if last < w.end() {
		w.count.add("loss")
	}
	if !w.cut(last) {
		w.t.Fatalf("%s: the store ends at event %d, within a commit", what, last)
	}
	w.attach(s)
	w.verify()
}

// A follower follows the store in a goroutine of its own and takes as many events as it is allowed to. In between it stands
// still in the body of its loop, or waits for events to come.
type follower struct {
	q       Query
	allowed int
	permits chan struct{}
	free    func() // closes permits: it may take what it wants
	cancel  context.CancelCauseFunc

	mu     sync.Mutex // guards what follows
	events []Event    // taken so far
	over   bool       // the loop has ended
	err    error      // with this
}

var errLeft = errors.New("left")

// follow begins another follower, if there are not many.
func (w *trial) follow(st *step) {
	if len(w.followers) == 3 {
		return
	}
	f := &follower{q: st.q, permits: make(chan struct{}, 10_000)}
	f.free = sync.OnceFunc(func() { close(f.permits) })
	ctx, cancel := context.WithCancelCause(context.Background())
	f.cancel = cancel
	s := w.s
	go func() {
		err := f.run(s.Follow(ctx, f.q))
		f.mu.Lock()
		defer f.mu.Unlock()
		f.over, f.err = true, err
	}()
	f.allow(st.n)
	w.followers = append(w.followers, f)
}

// run takes what it may of the events and returns the error at their end.
func (f *follower) run(events iter.Seq2[Event, error]) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		<-f.permits
		f.mu.Lock()
		f.events = append(f.events, e)
		f.mu.Unlock()
	}
	return nil
}

func (f *follower) allow(n int) {
	f.allowed += n
	for range n {
		f.permits <- struct{}{}
	}
}

// complete reports whether the loop must have ended by itself, when it has taken all of the answer.
func (f *follower) complete(answer []Event, visible Seq) bool {
	return f.q.Limit > 0 && len(answer) == f.q.Limit || f.q.Through > 0 && (visible >= f.q.Through || f.q.After >= f.q.Through)
}

// check holds what it has got against the model: all that is visible, as far as it was allowed to take it.
func (f *follower) check(w *trial) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := w.visible().answer(w.t, f.q)
	due := want[:min(len(want), f.allowed)]
	what := fmt.Sprintf("follow %+v, of which %d may be taken", f.q, f.allowed)
	same(w.t, what, f.events, due)
	if over := len(due) == len(want) && f.complete(want, w.front.Visible); f.over != over || f.err != nil {
		w.t.Fatalf("%s: ended: %v, %v; must have ended: %v", what, f.over, f.err, over)
	}
	if len(due) > 0 {
		w.count.add("followed")
	}
}

// end lets it take what it wants, and checks that it ends, with one of the causes unless it has got everything.
func (f *follower) end(w *trial, causes ...error) {
	f.free()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	what := fmt.Sprintf("follow %+v, ended by %v", f.q, causes)
	want := w.visible().answer(w.t, f.q)
	same(w.t, what, f.events, want[:min(len(want), len(f.events))])
	isCause := slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(f.err, cause) })
	whole := len(f.events) == len(want) && f.complete(want, w.front.Visible)
	if !f.over || f.err == nil && !whole || f.err != nil && !isCause {
		w.t.Fatalf("%s: ended: %v, %v, with %d of %d events", what, f.over, f.err, len(f.events), len(want))
	}
	f.cancel(nil)
}

// leave ends the oldest follower by its context.
func (w *trial) leave() {
	if len(w.followers) > 0 {
		f := w.followers[0]
		w.followers = w.followers[1:]
		f.cancel(errLeft)
		f.end(w, errLeft)
	}
}

// rounds returns how often to do something: few times, or with BATPAK_LONG=1 many.
func rounds(few, many int) int {
	if os.Getenv("BATPAK_LONG") == "1" {
		return many
	}
	return few
}

// checkPrograms runs prop as rapid does, in a bubble of its own: time is the test's, and all goroutines can be waited for.
func checkPrograms(t *testing.T, prop func(*rapid.T)) {
	for range rounds(1, 30) {
		rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, prop) })
	}
}

// turnouts are all outcomes of commits; see kindOf.
var turnouts = []string{"one event", "batch", "known keys", "keys that do not agree", "*batpak.ItemError",
	"*batpak.MismatchError", "*batpak.ConflictError", "conflict of IfNone"}

// TestModel runs random programs on a store and on its twin: on a simulated disk, with power cuts and ends of the process in
// the middle of steps and of recoveries, and in a real directory, where the process may be killed between two steps.
func TestModel(t *testing.T) {
	t.Parallel()
	root := memoryDir(t)
	withCrashes := everyday.and("crash", 6)
	for _, c := range []struct {
		name    string
		medium  func() medium
		happens []string
	}{
		{"simulated disk", func() medium { return newSimMedium(t, root) }, []string{"loss", "commit stopped", "crash of an opening",
			"receipt " + string(chain.MissingEvent), "receipt " + string(chain.IDMismatch)}},
		{"real directory", func() medium { return newRealMedium(t, root) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			count := counts{}
			checkPrograms(t, func(t *rapid.T) {
				w := newTrial(t, c.medium(), drawOptions(t), &count)
				defer w.close()
				for range 2 {
					t.Repeat(withCrashes.actions(func(t *rapid.T, verb string) { w.do(w.draw(t, verb)) }))
					w.verify()
				}
			})
			count.need(t, 10, slices.Concat(turnouts, c.happens, slices.Collect(maps.Keys(withCrashes)))...)
		})
	}
}

// TestOptionsChangeNothing runs one random program under several options and on both kinds of disk, on stores with the same
// identity, clock and ids, and crashes them where everything is durable. Every event has the same hash, and every call the same
// answer.
func TestOptionsChangeNothing(outer *testing.T) {
	outer.Parallel()
	root := memoryDir(outer)
	withCrashes := everyday.and("crash", 1)
	count := counts{}
	checkPrograms(outer, func(t *rapid.T) {
		var program []*step
		first := newTrial(t, newSimMedium(outer, root), Options{Durability: Durable, SegmentBytes: 1500, foldEvents: 4}, &count)
		first.fixed = true
		defer first.close()
		t.Repeat(withCrashes.actions(func(t *rapid.T, verb string) {
			st := first.draw(t, verb)
			program = append(program, st)
			first.do(st)
		}))
		first.verify()
		for i, o := range []Options{{Durability: Written, foldEvents: 1 << 20, MemoryIndex: true}, drawOptions(t), drawOptions(t)} {
			m := medium(newSimMedium(outer, root))
			if i == 0 || rapid.Bool().Draw(t, "real directory") {
				m = newRealMedium(outer, root)
			}
			first.compare(newTrial(t, m, o, &count), program)
		}
	})
	count.need(outer, 10, slices.Concat(turnouts, slices.Collect(maps.Keys(withCrashes)))...)
	count.need(outer, 1000, "answers compared")
}

// compare runs the program on another store and compares all that it says.
func (w *trial) compare(other *trial, program []*step) {
	defer other.close()
	other.fixed = true
	for _, st := range program {
		other.do(st)
	}
	other.verify()
	for i := range max(len(w.answers), len(other.answers)) {
		w.count.add("answers compared")
		if i >= len(w.answers) || i >= len(other.answers) || w.answers[i] != other.answers[i] {
			w.t.Fatalf("answer %d under %+v is\n%s\nand under %+v\n%s", i, w.opts, w.answers[i:][:1], other.opts, other.answers[i:][:1])
		}
	}
	same(w.t, "all events", other.events, w.events)
}

// TestCommitsChangeNoEvent appends the same events in batches, in parts of those batches, and one by one, at the same times.
// Their hashes are the same, however they were divided into commits. The links are not, since a link covers a commit.
func TestCommitsChangeNoEvent(outer *testing.T) {
	outer.Parallel()
	root := memoryDir(outer)
	count := counts{}
	checkPrograms(outer, func(t *rapid.T) {
		batches := newTrial(t, newSimMedium(outer, root), drawOptions(t), &count)
		defer batches.close()
		var commits [][]Proposal
		for range rapid.IntRange(1, 8).Draw(t, "commits") {
			batches.now = batches.now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1000, 5e9, -3e9}).Draw(t, "time passes")))
			commits = append(commits, drawCommit(t, &batches.model))
			batches.commit(&step{verb: "commit", ps: commits[len(commits)-1]})
			batches.observe()
		}
		singly := func(int) int { return 1 }
		parts := func(most int) int { return rapid.IntRange(1, most).Draw(t, "part") }
		for _, size := range []func(int) int{singly, parts} {
			batches.divide(newTrial(t, newSimMedium(outer, root), drawOptions(t), &count), commits, size)
		}
	})
	count.need(outer, 50, "divided", "batch", "one event")
}

// divide appends the events of the commits to another store, in commits of so many, and compares them.
func (w *trial) divide(other *trial, commits [][]Proposal, size func(most int) int) {
	defer other.close()
	for _, commit := range commits {
		first := len(other.events)
		for done := 0; done < len(commit); {
			part := slices.Clone(commit[done : done+size(len(commit)-done)])
			for i := range part {
				cause := &part[i].Cause
				if item, _ := cause.Item(); item >= done { // in this part
					*cause = CauseItem(item - done)
				} else if item >= 0 {
					*cause = CauseID(other.events[first+item].ID)
				}
			}
			other.now = w.events[first+done].Time.Time()
			other.commit(&step{verb: "commit", ps: part})
			other.observe()
			done += len(part)
		}
	}
	same(w.t, "events of other commits", other.events, w.events)
	other.verify()
	if !slices.Equal(w.ends, other.ends) {
		w.count.add("divided")
		if w.link() == other.link() {
			w.t.Fatalf("commits %v and %v have the same link", w.ends, other.ends)
		}
	}
}
