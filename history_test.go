package batpak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/kv"
)

// A history is what several callers asked of one store and were told, with the moments of call and return. It is right if
// the calls can be put in one order, in which each lies between its call and its return and is told what a store would tell
// that did one call after the other.
//
// An append takes effect at two moments: when its commit is accepted, which conditions see at once, and when it is published,
// which readers see. So a commit stands for two calls here, each of which must lie within it.
type history []porcupine.Operation

// A placed is an event as histories know it.
type placed struct {
	seq    Seq
	entity string // in lane 0
	clock  Clock
	data   string
	key    string
}

// A wish is a proposal as histories know it.
type wish struct {
	entity, data, key string
	expect            Expect
	none              bool // the condition that the stream has no event
	after             Seq  // behind this one
}

// asked is what a call asks.
type asked struct {
	verb   string
	wishes []wish
	entity string
	seq    Seq
}

// told is what a call is told.
type told struct {
	places  []placed
	refusal refusal
	seq     Seq
}

// A refusal says why a commit was refused; the zero one says that it was not.
type refusal struct {
	reason     error
	item       int
	have, want Clock
	found      Seq
}

// A known is the state of a store that does one call after the other.
type known struct {
	events  []placed // accepted; never changed in place
	visible Seq
}

// last returns the seq of the newest event.
func (k *known) last() Seq {
	if len(k.events) == 0 {
		return 0
	}
	return k.events[len(k.events)-1].seq
}

// clock returns that of the newest event of a stream, in the commit being built or before.
func (k *known) clock(entity string, commit []placed) Clock {
	for _, events := range [][]placed{commit, k.events} {
		for _, e := range slices.Backward(events) {
			if e.entity == entity {
				return e.clock
			}
		}
	}
	return 0
}

// decide says what a commit is told. The events get the seqs, and others behind the last if those do not suffice.
func (k *known) decide(wishes []wish, seqs []Seq) (t told, appended []placed) {
	for i, w := range wishes {
		if at := slices.IndexFunc(k.events, func(e placed) bool { return e.key == w.key }); w.key != "" && at >= 0 {
			if e := k.events[at]; e.data != w.data || e.entity != w.entity {
				return told{refusal: refusal{reason: ErrIdempotencyMismatch, item: i, found: e.seq}}, nil
			}
			t.places = append(t.places, k.events[at])
			continue
		}
		clock := k.clock(w.entity, appended)
		if want, set := w.expect.Clock(); set && want != clock {
			return told{refusal: refusal{ErrConflict, i, clock, want, 0}}, nil
		}
		matches := func(e placed) bool { return e.entity == w.entity && e.seq > w.after }
		if at := slices.IndexFunc(k.events, matches); w.none && at >= 0 {
			return told{refusal: refusal{reason: ErrConflict, item: i, found: k.events[at].seq}}, nil
		}
		seq := k.last() + 1 + Seq(i)
		if i < len(seqs) {
			seq = seqs[i]
		}
		appended = append(appended, placed{seq, w.entity, clock + 1, w.data, w.key})
	}
	return told{places: append(t.places, appended...)}, appended
}

// seen returns the visible events of a stream.
func (k *known) seen(entity string) (seen []placed) {
	for _, e := range k.events {
		if e.entity == entity && e.seq <= k.visible {
			seen = append(seen, e)
		}
	}
	return seen
}

// at returns the visible event at a position.
func (k *known) at(seq Seq) []placed {
	if seq == 0 || seq > k.visible {
		return nil
	}
	return k.events[seq-1 : seq]
}

// step reports whether a store in this state would tell this, and its state afterwards. Of a part of a history that concerns
// one stream, in which other events are missing, whole is false.
func (k known) step(in asked, out told, whole bool) (bool, known) {
	switch in.verb {
	case "commit":
		return k.commit(in, out, whole)
	case "publish":
		return in.seq <= k.last(), known{k.events, max(k.visible, in.seq)}
	case "stream":
		return slices.Equal(out.places, k.seen(in.entity)), k
	case "newest":
		seen := k.seen(in.entity)
		return slices.Equal(out.places, seen[max(0, len(seen)-1):]), k
	case "at":
		return slices.Equal(out.places, k.at(in.seq)), k
	case "visible":
		return out.seq == k.visible, k
	case "accepted":
		return out.seq == k.last(), k
	}
	panic(in.verb)
}

func (k known) commit(in asked, out told, whole bool) (bool, known) {
	var seqs []Seq
	if !whole {
		for _, p := range out.places {
			seqs = append(seqs, p.seq)
		}
	}
	want, appended := k.decide(in.wishes, seqs)
	if !slices.Equal(out.places, want.places) || out.refusal != want.refusal {
		return false, k
	}
	next := known{slices.Concat(k.events, appended), k.visible}
	increasing := slices.IsSortedFunc(next.events, func(a, b placed) int { return int(a.seq) - int(b.seq) })
	return increasing, next
}

// checker returns the model for whole histories, or that for each stream by itself.
func checker(whole bool) porcupine.Model {
	m := porcupine.Model{
		Init: func() any { return known{} },
		Step: func(state, in, out any) (bool, any) {
			return state.(known).step(in.(asked), out.(told), whole)
		},
		Equal: func(a, b any) bool {
			return a.(known).visible == b.(known).visible && slices.Equal(a.(known).events, b.(known).events)
		},
	}
	if !whole {
		m.Partition = func(h []porcupine.Operation) (parts [][]porcupine.Operation) {
			for _, entity := range historyEntities {
				parts = append(parts, history(h).of(entity))
			}
			return parts
		}
	}
	return m
}

// of returns what concerns the stream of an entity.
func (h history) of(entity string) (part history) {
	for _, op := range h {
		if in, out, ok := project(op.Input.(asked), op.Output.(told), entity); ok {
			op.Input, op.Output = in, out
			part = append(part, op)
		}
	}
	return part
}

// project returns the part of a call that concerns the stream of an entity, if there is one.
func project(in asked, out told, entity string) (asked, told, bool) {
	switch in.verb {
	case "stream", "newest":
		return in, out, in.entity == entity
	case "publish":
		out.places = slices.DeleteFunc(slices.Clone(out.places), func(p placed) bool { return p.entity != entity })
		if len(out.places) == 0 {
			return in, out, false
		}
		in.seq = out.places[len(out.places)-1].seq
		return in, out, true
	case "commit":
		return projectCommit(in, out, entity)
	}
	return in, out, false
}

func projectCommit(in asked, out told, entity string) (asked, told, bool) {
	var wishes []wish
	var places []placed
	for i, w := range in.wishes {
		if w.entity != entity {
			continue
		}
		if out.refusal.reason != nil && i == out.refusal.item {
			out.refusal.item = len(wishes)
			return asked{verb: "commit", wishes: append(wishes, w)}, out, true
		}
		wishes = append(wishes, w)
		if out.refusal.reason == nil {
			places = append(places, out.places[i])
		}
	}
	return asked{verb: "commit", wishes: wishes}, told{places: places}, len(wishes) > 0 && out.refusal.reason == nil
}

// linearizable reports whether a history is right, as a whole or stream by stream.
func (h history) linearizable(whole bool) bool { return porcupine.CheckOperations(checker(whole), h) }

// String returns the calls in the order of their beginning.
func (h history) String() string {
	var b strings.Builder
	for _, op := range slices.SortedFunc(slices.Values(h), func(a, b porcupine.Operation) int { return int(a.Call - b.Call) }) {
		fmt.Fprintf(&b, "caller %d [%d, %d]: %+v: %+v\n", op.ClientId, op.Call, op.Return, op.Input, op.Output)
	}
	return b.String()
}

var historyEntities = []string{"a", "b", "c"}

// A caller uses the store from one goroutine and records what it was told.
type caller struct {
	s       *Store
	n       int
	r       *rand.Rand
	tick    *atomic.Int64
	fail    func(format string, args ...any)
	history history

	clocks map[string]Clock // of the streams, as far as it knows them
	last   Seq              // the newest that it knows of
}

// record adds a call that began at the moment given and ends now.
func (c *caller) record(began int64, in asked, out told) {
	c.add(began, c.tick.Add(1), in, out)
}

func (c *caller) add(began, ended int64, in asked, out told) {
	c.history = append(c.history, porcupine.Operation{ClientId: c.n, Input: in, Call: began, Output: out, Return: ended})
	for _, p := range out.places {
		c.clocks[p.entity] = max(c.clocks[p.entity], p.clock)
		c.last = max(c.last, p.seq)
	}
}

// run makes so many calls, as chance has it.
func (c *caller) run(calls int) {
	for i := range calls {
		entity := historyEntities[c.r.IntN(len(historyEntities))]
		w := wish{entity: entity, data: fmt.Sprintf("%d.%d", c.n, i)}
		switch c.r.IntN(12) {
		case 0, 1:
			c.commit(w)
		case 2:
			c.batch(w)
		case 3, 4:
			w.expect = AtClock(c.clocks[entity])
			c.commit(w)
		case 5:
			w.none, w.after = true, c.last
			c.commit(w)
		case 6:
			k := c.r.IntN(12)
			c.commit(wish{entity: historyEntities[k%3], key: fmt.Sprint("key ", k), data: fmt.Sprint(c.r.IntN(3) / 2)})
		case 7:
			c.at(c.last + Seq(c.r.IntN(4)) - min(c.last, 1))
		case 8, 9:
			c.stream(entity)
		case 10:
			c.newest(entity)
		case 11:
			c.frontier()
		}
	}
}

// batch asks for several events, at least two of them in different streams, some on conditions.
func (c *caller) batch(w wish) {
	wishes := []wish{w}
	for i := range 1 + c.r.IntN(3) {
		next := wish{entity: historyEntities[c.r.IntN(len(historyEntities))], data: fmt.Sprint(w.data, ".", i)}
		if c.r.IntN(6) == 0 {
			next.expect = AtClock(c.clocks[next.entity])
		}
		wishes = append(wishes, next)
	}
	c.commit(wishes...)
}

// commit asks for events, one in eight times less or more durable than the store is.
func (c *caller) commit(wishes ...wish) {
	class := Durability(0)
	if c.r.IntN(8) == 0 {
		class = Durable + Written - c.s.opts.Durability
	}
	var ps []Proposal
	for _, w := range wishes {
		p := with(raw(w.entity, w.data), func(p *Proposal) { p.Key, p.Expect, p.Durability = w.key, w.expect, class })
		if w.none {
			p.IfNone = &IfNone{Query: Query{Entity: w.entity}, After: w.after}
		}
		ps = append(ps, p)
	}
	in, began := asked{verb: "commit", wishes: wishes}, c.tick.Add(1)
	rs, err := c.s.Commit(ps...)
	ended := c.tick.Add(1)
	if err != nil {
		c.refused(began, ended, in, err)
		return
	}
	var out told
	for i, r := range rs {
		out.places = append(out.places, placed{r.Seq, r.Entity, r.Clock, wishes[i].data, wishes[i].key})
	}
	c.add(began, ended, in, out)
	if class == Written { // readers may have to wait, but not longer than for a sync
		if err := c.s.Sync(); err != nil {
			c.fail("sync: %v", err)
		}
		ended = c.tick.Add(1)
	}
	c.add(began, ended, asked{verb: "publish", seq: latest(rs)}, out)
}

// refused records an error.
func (c *caller) refused(began, ended int64, in asked, err error) {
	var conflict *ConflictError
	var mismatch *MismatchError
	var why refusal
	switch {
	case errors.As(err, &conflict):
		why = refusal{ErrConflict, conflict.Item, conflict.Have, conflict.Want, conflict.Found}
		c.clocks[in.wishes[why.item].entity] = max(c.clocks[in.wishes[why.item].entity], why.have)
		c.last = max(c.last, why.found)
	case errors.As(err, &mismatch):
		why = refusal{reason: ErrIdempotencyMismatch, item: mismatch.Item, found: mismatch.Found}
	default:
		c.fail("commit: %v", err)
	}
	c.add(began, ended, in, told{refusal: why})
}

// at reads the event at a position, which may be free.
func (c *caller) at(seq Seq) {
	began := c.tick.Add(1)
	e, err := c.s.At(seq)
	switch {
	case errors.Is(err, ErrNotFound):
		c.record(began, asked{verb: "at", seq: seq}, told{})
	case err != nil:
		c.fail("at: %v", err)
	default:
		c.record(began, asked{verb: "at", seq: seq}, told{places: placedOf(e)})
	}
}

func placedOf(es ...Event) (places []placed) {
	for i := range es {
		places = append(places, placed{es[i].Seq, es[i].Entity, es[i].Clock, string(es[i].Payload), es[i].Key})
	}
	return places
}

// stream reads all events of a stream.
func (c *caller) stream(entity string) {
	began := c.tick.Add(1)
	es, err := gather(c.s.Query(Query{Entity: entity}))
	if err != nil {
		c.fail("query: %v", err)
	}
	c.record(began, asked{verb: "stream", entity: entity}, told{places: placedOf(es...)})
}

// newest reads the newest event of a stream.
func (c *caller) newest(entity string) {
	began := c.tick.Add(1)
	p, err := c.s.Page(Query{Entity: entity, Reverse: true, Limit: 1})
	if err != nil {
		c.fail("page: %v", err)
	}
	c.record(began, asked{verb: "newest", entity: entity}, told{places: placedOf(p.Events...)})
}

// frontier reads two watermarks, which are not of the same moment.
func (c *caller) frontier() {
	began := c.tick.Add(1)
	f := c.s.Frontier()
	ended := c.tick.Add(1)
	c.add(began, ended, asked{verb: "visible"}, told{seq: f.Visible})
	c.add(began, ended, asked{verb: "accepted"}, told{seq: f.Accepted})
}

// follow records each event that a follower gets: it could be read at some moment since the one before.
func (c *caller) follow(ctx context.Context) {
	began := c.tick.Add(1)
	for e, err := range c.s.Follow(ctx, Query{}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.fail("follow: %v", err)
			}
			return
		}
		if want := c.last + 1; e.Seq != want {
			c.fail("follower got event %d where %d is due", e.Seq, want)
		}
		c.record(began, asked{verb: "at", seq: e.Seq}, told{places: placedOf(e)})
		began = c.tick.Add(1)
	}
}

// watch looks at the visible watermark all the time and records each change. What it reads in between says nothing new.
func (c *caller) watch(ctx context.Context) {
	for before := Seq(0); ctx.Err() == nil; runtime.Gosched() {
		began := c.tick.Add(1)
		if at := c.s.Visible(); at != before {
			c.record(began, asked{verb: "visible"}, told{seq: at})
			before = at
		}
	}
}

// A session is some callers, a follower and a watcher who use a store at the same time.
type session struct {
	seed      uint64
	class     Durability
	simulated bool // the disk, which makes callers wait here and there
	dir       string
	callers   int
	calls     int // of each
}

func (o *session) open(t *testing.T) *Store {
	opts := Options{Durability: o.class, SegmentBytes: 8 << 10, SyncInterval: time.Hour, foldEvents: 20}
	if o.simulated {
		disk, r := crashfs.New(), rand.New(rand.NewPCG(o.seed, 0))
		var mu sync.Mutex
		disk.Inject(func(crashfs.Op) crashfs.Fault {
			mu.Lock()
			yields := r.IntN(20)
			mu.Unlock()
			for range yields {
				runtime.Gosched()
			}
			return crashfs.Fault{}
		})
		opts.fs = disk
		opts.openIndex = func() (kv.DB, error) { return openDiskDB(disk, &savedIndexes{}) }
	}
	return openTest(t, o.dir, &opts)
}

// run returns the history, at the end of which one caller reads everything.
func (o *session) run(t *testing.T) history {
	s := o.open(t)
	defer closeTest(t, s)
	var tick atomic.Int64
	newCaller := func(n int) *caller {
		r := rand.New(rand.NewPCG(o.seed, uint64(n)+1))
		return &caller{s: s, n: n, r: r, tick: &tick, fail: t.Errorf, clocks: map[string]Clock{}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var following, calling sync.WaitGroup
	follower, watcher := newCaller(0), newCaller(1)
	following.Go(func() { follower.follow(ctx) })
	following.Go(func() { watcher.watch(ctx) })
	callers := []*caller{follower, watcher}
	for n := range o.callers {
		c := newCaller(n + 2)
		callers = append(callers, c)
		calling.Go(func() { c.run(o.calls) })
	}
	calling.Wait()
	cancel()
	following.Wait()
	reader := newCaller(o.callers + 2)
	for _, entity := range historyEntities {
		reader.stream(entity)
	}
	reader.frontier()
	h := reader.history
	for _, c := range callers {
		h = append(h, c.history...)
	}
	return h
}

// count counts what happened in a history.
func (h history) count(c *counts) {
	for _, op := range h {
		in, out := op.Input.(asked), op.Output.(told)
		what := in.verb
		switch {
		case what != "commit":
		case out.refusal.found > 0 && out.refusal.reason == ErrConflict:
			what = "conflict of IfNone"
		case out.refusal.reason != nil:
			what = out.refusal.reason.Error()
		case in.wishes[0].key != "":
			what = "commit with a key"
		case in.wishes[0].expect != Expect{} || in.wishes[0].none:
			what = "commit on a condition"
		case len(in.wishes) > 1:
			what = "batch"
		}
		c.add(what)
		if h.overlapped(op) {
			c.add("overlapped")
		}
	}
}

// overlapped reports whether a commit of another caller was under way during the call.
func (h history) overlapped(op porcupine.Operation) bool {
	return slices.ContainsFunc(h, func(o porcupine.Operation) bool {
		return o.ClientId != op.ClientId && o.Input.(asked).verb == "commit" && o.Call < op.Return && op.Call < o.Return
	})
}

// TestHistories lets callers append, with and without conditions and keys, and read, all at the same time, and looks for an
// order of their calls that explains what each was told: of all calls, and of those that concern one stream. And it changes
// each history in ways that no order explains.
func TestHistories(t *testing.T) {
	t.Parallel()
	count := counts{}
	for _, class := range []Durability{Durable, Written} {
		for i := range rounds(6, 300) {
			for _, simulated := range []bool{true, false} {
				o := session{seed: rand.Uint64(), class: class, simulated: simulated, callers: 3 + i%4, calls: 40, dir: memoryDir(t)}
				h := o.run(t)
				for _, whole := range []bool{true, false} {
					if !h.linearizable(whole) {
						t.Fatalf("no order explains the history of %+v (as a whole: %v)\n%v", o, whole, h)
					}
				}
				h.count(&count)
				for _, spoil := range spoils {
					if bad := spoil.change(slices.Clone(h)); bad != nil {
						count.add(spoil.name)
						if bad.linearizable(true) {
							t.Errorf("%s of %+v was not found\n%v", spoil.name, o, bad)
						}
					}
				}
			}
		}
	}
	needed := []string{"commit", "batch", "commit with a key", "commit on a condition", ErrConflict.Error(), "conflict of IfNone",
		ErrIdempotencyMismatch.Error(), "stream", "newest", "at", "visible", "accepted", "overlapped"}
	for _, spoil := range spoils {
		needed = append(needed, spoil.name)
	}
	count.need(t, 5, needed...)
}

// A spoil changes a history that is right into one that cannot be. It returns nil if it finds nothing to change, and does not
// change what the history refers to.
type spoil struct {
	name   string
	change func(h history) history
}

// tell returns h with another answer to call i.
func (h history) tell(i int, change func(*told)) history {
	out := h[i].Output.(told)
	out.places = slices.Clone(out.places)
	change(&out)
	h[i].Output = out
	return h
}

// find returns the calls in which the verb is this and the answer has at least so many events.
func (h history) find(verb string, events int) (found []int) {
	for i := range h {
		if h[i].Input.(asked).verb == verb && len(h[i].Output.(told).places) >= events {
			found = append(found, i)
		}
	}
	return found
}

var spoils = []spoil{
	{"a clock one higher", func(h history) history {
		commits := h.find("commit", 1)
		return h.tell(commits[len(commits)/2], func(out *told) { out.places[0].clock++ })
	}},
	{"the first event of a stream missing", func(h history) history {
		if reads := h.find("stream", 2); len(reads) > 0 {
			return h.tell(reads[0], func(out *told) { out.places = out.places[1:] })
		}
		return nil
	}},
	{"an acknowledged event missing in the end", func(h history) history {
		events := Seq(0)
		for _, i := range h.find("commit", 1) {
			for _, p := range h[i].Output.(told).places {
				events = max(events, p.seq)
			}
		}
		for i := range h { // of which one tells of all events
			if out := h[i].Output.(told); h[i].Input.(asked).verb == "accepted" && out.seq == events && h.last(i) {
				return h.tell(i, func(out *told) { out.seq-- })
			}
		}
		return nil
	}},
	{"the places of two events exchanged, of which one was acknowledged before the other was asked for", func(h history) history {
		commits := h.find("commit", 1)
		for _, i := range commits {
			for _, j := range commits {
				a, b := h[i].Output.(told).places, h[j].Output.(told).places
				if h[i].Return < h[j].Call && a[0].seq < b[0].seq && len(a) == 1 && len(b) == 1 {
					return h.tell(i, func(out *told) { out.places[0].seq = b[0].seq }).tell(j, func(out *told) { out.places[0].seq = a[0].seq })
				}
			}
		}
		return nil
	}},
	{"half of a batch seen", func(h history) history {
		for _, i := range h.find("commit", 2) {
			end := h[i].Output.(told).places
			for _, j := range h.find("visible", 0) {
				if h[j].Output.(told).seq == end[len(end)-1].seq {
					return h.tell(j, func(out *told) { out.seq-- })
				}
			}
		}
		return nil
	}},
}

// last reports whether no call began later than call i, but for one of the same moment.
func (h history) last(i int) bool {
	return !slices.ContainsFunc(h, func(op porcupine.Operation) bool { return op.Call > h[i].Call })
}
