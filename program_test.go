package batpak

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
)

// verbs are what programs do, each so many times as often as another.
type verbs map[string]int

// actions draw the steps and run them, for [rapid.T.Repeat], which prefers what comes first: here, the most frequent.
func (v verbs) actions(run func(t *rapid.T, verb string)) map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){}
	for verb, often := range v {
		for i := range often {
			actions[fmt.Sprintf("%02d %s %d", 99-often, verb, i)] = func(t *rapid.T) { run(t, verb) }
		}
	}
	return actions
}

// everyday are the steps that any store can do.
var everyday = verbs{"commit": 14, "append": 2, "query": 3, "read": 3, "receipts": 2, "sync": 1, "fold": 1, "idle": 1,
	"follow": 2, "go on": 2, "leave": 1, "second writer": 1, "reader": 2, "reopen": 1, "remove index": 1}

// and returns the verbs with another.
func (v verbs) and(verb string, often int) verbs {
	v = maps.Clone(v)
	v[verb] = often
	return v
}

// some is true in one of so many cases.
func some(t *rapid.T, name string, in int) bool { return rapid.IntRange(1, in).Draw(t, name) == in }

// draw draws a step for the store as the twin knows it.
func (w *trial) draw(t *rapid.T, verb string) *step {
	st := &step{verb: verb}
	st.pass = time.Duration(rapid.SampledFrom([]int64{0, 0, 1000, 1999, 1e6, 5e9, -3e9}).Draw(t, "time passes"))
	switch verb {
	case "commit":
		w.drawCommit(t, st)
	case "append":
		at := At(rapid.SampledFrom(entities[:3]).Draw(t, "entity"), rapid.SampledFrom(scopes).Draw(t, "scope"))
		st.ps = []Proposal{{At: at, Payload: moved{X: rapid.IntRange(0, 9).Draw(t, "x")}}}
	case "query":
		st.q = w.drawQuery(t)
	case "read", "reader":
		st.q = w.drawQuery(t)
		st.seq, st.n = w.drawSeq(t), rapid.IntRange(0, 12).Draw(t, "steps")
	case "receipts":
		st.seq, st.n = w.drawSeq(t), rapid.IntRange(1, 20).Draw(t, "receipts")
	case "follow":
		st.q = w.drawQuery(t)
		st.q.Reverse = false
		st.n = rapid.IntRange(0, 8).Draw(t, "allowed")
	case "go on":
		st.n = rapid.IntRange(1, 20).Draw(t, "allowed")
	case "reopen", "remove index":
		st.opts = drawOptions(t)
		st.n = rapid.IntRange(0, 1).Draw(t, "read in between")
	case "crash":
		w.drawCrash(t, st)
	}
	return st
}

// drawSeq draws a position in the log or just outside.
func (w *trial) drawSeq(t *rapid.T) Seq {
	return Seq(rapid.IntRange(0, len(w.events)+2).Draw(t, "seq"))
}

func (w *trial) drawQuery(t *rapid.T) Query {
	if len(w.events) == 0 || some(t, "everything", 8) {
		return Query{}
	}
	return drawQuery(t, &w.model)
}

// drawOptions draws what must not change what a store says.
func drawOptions(t *rapid.T) Options {
	return Options{
		Durability:   rapid.SampledFrom([]Durability{Durable, Written}).Draw(t, "durability"),
		SegmentBytes: rapid.SampledFrom([]int64{6000, 1500, 0}).Draw(t, "segment"),
		foldEvents:   rapid.SampledFrom([]int{1 << 20, 30, 4}).Draw(t, "fold"),
		maxHeads:     rapid.SampledFrom([]int{0, 3, 1}).Draw(t, "heads"),
		MemoryIndex:  some(t, "index in memory", 5),
	}
}

// drawCrash draws where and how the process ends. A real process can only be killed, and between two steps. Where answers must
// not depend on the options nothing is under way.
func (w *trial) drawCrash(t *rapid.T, st *step) {
	st.opts, st.cut = drawOptions(t), crashfs.Killed()
	if _, real := w.m.(*realMedium); real {
		return
	}
	seed := rapid.Uint64Range(0, 1<<20).Draw(t, "torn")
	cuts := []crashfs.Cut{crashfs.Dropped(), crashfs.Killed(), crashfs.Torn(seed), crashfs.Torn(seed)}
	st.cut = rapid.SampledFrom(cuts).Draw(t, "cut")
	if w.fixed {
		return
	}
	if !some(t, "between steps", 3) {
		st.stop = rapid.IntRange(1, 6).Draw(t, "at operation")
		st.inner = w.draw(t, rapid.SampledFrom([]string{"commit", "commit", "sync", "fold", "close"}).Draw(t, "of"))
	}
	if some(t, "again", 3) {
		st.reopen = rapid.IntRange(1, 12).Draw(t, "at operation")
	}
}

// drawCommit draws proposals: plain ones, with conditions that hold or not, with keys that are new or known, from the same
// or another request, or some that are refused for what they are.
func (w *trial) drawCommit(t *rapid.T, st *step) {
	switch {
	case len(w.keys) > 0 && some(t, "known keys", 5):
		st.ps = w.drawAgain(t)
	default:
		st.ps = drawCommit(t, &w.model)
		if some(t, "keys", 3) {
			w.drawKeys(t, st.ps)
		}
	}
	if some(t, "hot", 2) {
		for i := range st.ps {
			if st.ps[i].Key == "" {
				st.ps[i].At.Entity = entities[i%2]
			}
		}
	}
	w.drawConditions(t, st.ps)
	for i := range st.ps {
		st.ps[i].Durability = rapid.SampledFrom([]Durability{0, 0, Written, Durable}).Draw(t, "durability")
		if some(t, "the store's", 2) {
			break
		}
	}
	if some(t, "flaw", 20) {
		st.flaw = drawFlaw(t, st.ps)
	}
}

// drawKeys gives each proposal a new key, or fails to.
func (w *trial) drawKeys(t *rapid.T, ps []Proposal) {
	for i := range ps {
		ps[i].Key = fmt.Sprintf("key %d.%d", w.salt, i)
	}
	if len(ps) > 1 && some(t, "without key", 6) {
		ps[rapid.IntRange(0, len(ps)-1).Draw(t, "which")].Key = rapid.SampledFrom([]string{"", ps[0].Key}).Draw(t, "key")
	}
}

// drawAgain asks again for some events that had keys, in any order, sometimes with a change or with something new.
func (w *trial) drawAgain(t *rapid.T) (ps []Proposal) {
	known := slices.Sorted(maps.Keys(w.keys))
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(known), 1, min(3, len(known)), rapid.ID).Draw(t, "keys") {
		ps = append(ps, request(&w.events[w.keys[key]-1]))
	}
	p := &ps[rapid.IntRange(0, len(ps)-1).Draw(t, "which")]
	switch rapid.IntRange(0, 8).Draw(t, "change") {
	case 0:
		p.Data = append([]byte{1}, p.Data...)
	case 1:
		p.Lane++
	case 2:
		p.Extensions = map[string][]byte{"other.one": {1}}
	case 3:
		p.Correlation = event.NewID(9, 9, 9)
	case 4:
		p.Cause = CauseID(event.NewID(9, 9, 9))
	case 5:
		at := rapid.IntRange(0, len(ps)).Draw(t, "at")
		ps = slices.Insert(ps, at, with(raw("a", "new"), func(p *Proposal) { p.Key = fmt.Sprintf("key %d.new", w.salt) }))
	}
	return ps
}

// drawConditions adds some conditions. Half of those on clocks hold, if the others do.
func (w *trial) drawConditions(t *rapid.T, ps []Proposal) {
	clocks := map[event.Stream]Clock{}
	for i := range ps {
		p := &ps[i]
		stream := event.Stream{Entity: p.At.Entity, Lane: p.Lane}
		if _, ok := clocks[stream]; !ok {
			clocks[stream] = w.heads[stream].Clock
		}
		switch clock := clocks[stream]; rapid.IntRange(0, 11+len(ps)).Draw(t, "condition") {
		case 11:
			p.Expect = AtClock(clock)
		case 10:
			p.Expect = rapid.SampledFrom([]Expect{Empty(), AtClock(clock + 1), AtClock(max(clock, 1) - 1)}).Draw(t, "expect")
		case 9, 8:
			p.IfNone = &IfNone{Query: w.drawQuery(t), After: w.drawSeq(t)}
			if some(t, "since the newest", 2) {
				p.IfNone.After = w.end()
			} else if w.end() > 0 && some(t, "the newest", 2) {
				p.IfNone = &IfNone{Query: Query{Prefix: w.events[w.end()-1].Entity}, After: w.end() - 1}
			}
		}
		clocks[stream]++
	}
}

// drawFlaw makes one of the proposals invalid and returns what must be said of it.
func drawFlaw(t *rapid.T, ps []Proposal) *ItemError {
	i := rapid.IntRange(0, len(ps)-1).Draw(t, "flawed")
	p := &ps[i]
	flaw := &ItemError{i, ErrInvalid}
	switch rapid.IntRange(0, 5).Draw(t, "flaw") {
	case 0:
		p.Kind, flaw.Err = 0xD001, ErrReservedKind
	case 1:
		p.Cause = CauseItem(i)
	case 2:
		p.Key, flaw.Err = string(make([]byte, event.MaxKeyBytes+1)), ErrTooLarge
	case 3:
		p.At.Entity = "a/b"
	case 4:
		p.IfNone = &IfNone{Query: Query{After: 2, Through: 1}, After: 0}
	case 5:
		p.Extensions = map[string][]byte{"batpak.x": nil}
	}
	return flaw
}
