package batpak

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
)

// A twin is what a store must be: every event it has accepted, to the last bit, where each commit ends, the chain of links
// and the idempotency keys. It knows how each commit must turn out before the store is asked.
type twin struct {
	model
	ends  []Seq          // of the commits
	links []Hash         // of the commits
	keys  map[string]Seq // the events that have them
}

func newTwin(store StoreID) twin {
	return twin{model: model{store: store, heads: map[event.Stream]Event{}}, keys: map[string]Seq{}}
}

// end returns the seq of the newest event.
func (w *twin) end() Seq { return Seq(len(w.events)) }

// link returns that of the newest commit.
func (w *twin) link() Hash {
	if len(w.links) == 0 {
		return chain.Origin(w.store)
	}
	return w.links[len(w.links)-1]
}

// upTo returns the model of the events that are visible.
func (w *twin) upTo(visible Seq) *model {
	return &model{store: w.store, events: w.events[:visible], heads: w.heads}
}

// An outcome is how a commit must turn out: an error, or receipts and the events that are appended, none if the keys are
// known.
type outcome struct {
	err      error
	receipts []Receipt
	events   []Event
}

// decide says how a commit turns out at this time, with these last bytes of ids. class is what the store waits for unless
// it is told.
func (w *twin) decide(ps []Proposal, now time.Time, salt uint32, class Durability) (o outcome) {
	class = strictest(ps, class)
	if o.err = keysAgree(ps); o.err != nil || len(ps) == 0 {
		return o
	}
	if o = w.again(ps, class); o.err != nil || o.receipts != nil {
		return o
	}
	for i := range ps {
		if o.err = w.refuse(i, &ps[i], o.events); o.err != nil {
			return outcome{err: o.err}
		}
		e := w.next(&ps[i], o.events, now, salt)
		o.events = append(o.events, e)
		o.receipts = append(o.receipts, chain.NewReceipt(w.store, &e.Header, e.Hash, class))
	}
	return o
}

// strictest returns what the commit waits for.
func strictest(ps []Proposal, class Durability) Durability {
	for i := range ps {
		if d := ps[i].Durability; d == Durable || d == 0 && class == Durable {
			return Durable
		}
	}
	return Written
}

// keysAgree refuses commits in which only some have keys or two have the same.
func keysAgree(ps []Proposal) error {
	keys := map[string]bool{}
	none := 0
	for i := range ps {
		if ps[i].Key == "" {
			none++
		}
		keys[ps[i].Key] = true
	}
	if none == len(ps) || none == 0 && len(keys) == len(ps) {
		return nil
	}
	return ErrIdempotencyPartial
}

// again finds the receipts of the commits that had the same keys.
func (w *twin) again(ps []Proposal, class Durability) (o outcome) {
	known := 0
	for i := range ps {
		if w.keys[ps[i].Key] > 0 {
			known++
		}
	}
	if known == 0 {
		return o
	}
	for i := range ps {
		seq := w.keys[ps[i].Key]
		if seq == 0 || w.keys[ps[0].Key] == 0 {
			return outcome{err: ErrIdempotencyPartial}
		}
		e := &w.events[seq-1]
		cause := ps[i].Cause.ID
		if item, ok := ps[i].Cause.Item(); ok {
			cause = o.receipts[item].ID
		}
		if !asksFor(&ps[i], cause, e) {
			return outcome{err: &MismatchError{Item: i, Key: e.Key, Found: seq}}
		}
		o.receipts = append(o.receipts, chain.NewReceipt(w.store, &e.Header, e.Hash, class))
	}
	return o
}

// asksFor reports whether e is the event that p, with this cause, asks for.
func asksFor(p *Proposal, cause ID, e *Event) bool {
	kind, version, data := content(p)
	correlation := p.Correlation
	if correlation.IsZero() {
		correlation = e.ID
	}
	return p.At.Entity == e.Entity && p.At.Scope == e.Scope && p.Lane == e.Lane && kind == e.Kind && version == e.PayloadVersion &&
		bytes.Equal(data, e.Payload) && cause == e.Causation && correlation == e.Correlation &&
		maps.EqualFunc(p.Extensions, e.Extensions, bytes.Equal)
}

// content returns what the payload says of the event.
func content(p *Proposal) (kind Kind, version uint16, data []byte) {
	if p.Payload == nil {
		return p.Kind, 0, p.Data
	}
	data, err := event.Marshal(p.Payload)
	if err != nil {
		panic(err)
	}
	t := p.Payload.EventType()
	return t.Kind, t.Version, data
}

// request returns a proposal that asks for e again.
func request(e *Event) Proposal {
	p := Proposal{At: e.Coordinate(), Kind: e.Kind, Data: e.Payload, Lane: e.Lane, Key: e.Key, Extensions: e.Extensions}
	p.Cause = CauseID(e.Causation)
	if e.Correlation != e.ID {
		p.Correlation = e.Correlation
	}
	return p
}

// newest returns the newest event of a stream, in the commit being built or before it.
func (w *twin) newest(s event.Stream, commit []Event) (Event, bool) {
	for _, e := range slices.Backward(commit) {
		if e.Stream() == s {
			return e, true
		}
	}
	e, ok := w.heads[s]
	return e, ok
}

// refuse returns the conflict that the conditions of proposal i lead to, if they do.
func (w *twin) refuse(i int, p *Proposal, commit []Event) error {
	before, _ := w.newest(event.Stream{Entity: p.At.Entity, Lane: p.Lane}, commit)
	if want, set := p.Expect.Clock(); set && want != before.Clock {
		return &ConflictError{Item: i, Stream: fmt.Sprintf("%s/%d", p.At.Entity, p.Lane), Want: want, Have: before.Clock}
	}
	if p.IfNone == nil {
		return nil
	}
	q := p.IfNone.Query
	q.After = p.IfNone.After
	for j := range w.events {
		if selects(&q, &w.events[j].Header) {
			return &ConflictError{Item: i, Found: Seq(j + 1)}
		}
	}
	return nil
}

// next returns the event that comes of p, behind those of its commit.
func (w *twin) next(p *Proposal, commit []Event, now time.Time, salt uint32) Event {
	stream := event.Stream{Entity: p.At.Entity, Lane: p.Lane}
	kind, version, data := content(p)
	h := Header{
		Seq: w.end() + Seq(len(commit)) + 1, Time: w.time(commit, now), Entity: p.At.Entity, Scope: p.At.Scope, Lane: p.Lane,
		Clock: 1, Prev: chain.Genesis(w.store, stream), Kind: kind, Correlation: p.Correlation, Causation: p.Cause.ID,
		PayloadVersion: version, PayloadLength: uint32(len(data)), Content: chain.Content(data), Key: p.Key, Extensions: p.Extensions,
	}
	h.ID = event.NewID(h.Time, h.Seq, salt)
	if before, ok := w.newest(stream, commit); ok {
		h.Clock, h.Prev = before.Clock+1, before.Hash
	}
	if h.Correlation.IsZero() {
		h.Correlation = h.ID
	}
	if item, ok := p.Cause.Item(); ok {
		h.Causation = commit[item].ID
	}
	return Event{Header: h, Payload: append([]byte{}, data...), Hash: chain.Event(event.AppendHeader(nil, &h))}
}

// time returns that of the next event: what the clock says, unless it is not later than the event before.
func (w *twin) time(commit []Event, now time.Time) Timestamp {
	switch {
	case len(commit) > 0:
		return commit[len(commit)-1].Time + 1
	case len(w.events) > 0:
		return max(event.TimestampOf(now), w.events[len(w.events)-1].Time+1)
	}
	return event.TimestampOf(now)
}

// accept appends a commit that was made when everything up to durable was.
func (w *twin) accept(es []Event, durable Seq) {
	if len(es) == 0 {
		return
	}
	var hashes []byte
	for _, e := range es {
		hashes = append(hashes, e.Hash[:]...)
		w.heads[e.Stream()] = e
		if e.Key != "" {
			w.keys[e.Key] = e.Seq
		}
	}
	w.links = append(w.links, chain.Link(w.link(), w.end()+1, durable, hashes))
	w.events = append(w.events, es...)
	w.ends = append(w.ends, w.end())
}

// cut forgets what follows an event that is the last of a commit, and reports whether it is.
func (w *twin) cut(last Seq) bool {
	commits := 0
	if last > 0 {
		i := slices.Index(w.ends, last)
		if i < 0 {
			return false
		}
		commits = i + 1
	}
	w.events, w.ends, w.links = slices.Clip(w.events[:last]), slices.Clip(w.ends[:commits]), slices.Clip(w.links[:commits])
	clear(w.heads)
	clear(w.keys)
	for _, e := range w.events {
		w.heads[e.Stream()] = e
		if e.Key != "" {
			w.keys[e.Key] = e.Seq
		}
	}
	return true
}

// agrees reports whether an error is the one that must come: of the same class, with the same facts.
func agrees(got, want error) bool {
	switch want := want.(type) {
	case nil:
		return got == nil
	case *ConflictError:
		var e *ConflictError
		return errors.As(got, &e) && *e == *want && errors.Is(got, ErrConflict)
	case *MismatchError:
		var e *MismatchError
		return errors.As(got, &e) && *e == *want && errors.Is(got, ErrIdempotencyMismatch)
	case *ItemError:
		var e *ItemError
		return errors.As(got, &e) && e.Item == want.Item && errors.Is(got, want.Err)
	}
	return errors.Is(got, want)
}
