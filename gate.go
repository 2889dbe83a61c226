package batpak

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// ErrInGate is what a gate at the commit point gets that calls its store: the store is waiting for it.
var ErrInGate = errors.New("called from a gate at the commit point")

// errHeadOver is what a gate gets that uses its head when it has answered, or in another goroutine.
var errHeadOver = fmt.Errorf("head of a stream used outside its gate: %w", ErrInvalid)

// A DeniedError says that a gate of the store denied a proposal; nothing was appended. It matches [ErrDenied].
type DeniedError struct {
	Item     int           // index of the proposal
	Denial   *gates.Denial // with the trace of the gates
	Recorded *Receipt      // of the event that records it, with [Options.RecordDenials]
}

// Error names the proposal and says what the gate says.
func (e *DeniedError) Error() string { return fmt.Sprintf("proposal %d: %v", e.Item, e.Denial) }

// Unwrap returns the denial.
func (e *DeniedError) Unwrap() error { return e.Denial }

// judge asks the gates of the store that need no head. Drafts whose key is known are not judged: they append nothing.
func (s *Store) judge(drafts []draft) error {
	if s.opts.Gates == nil {
		return nil
	}
	if key := drafts[0].header.Key; key != "" {
		if known, _, err := s.keyed(key); known != nil || err != nil {
			return err
		}
	}
	for i := range drafts {
		d := &drafts[i]
		if d.ours() {
			continue
		}
		if denial := s.opts.Gates.Judge(struct{}{}, Event{Header: d.header, Payload: d.data}); denial != nil {
			return &DeniedError{Item: i, Denial: denial}
		}
	}
	return nil
}

// ours reports whether the event is batpak's own, which no gate is asked about.
func (d *draft) ours() bool { return d.header.Kind.Reserved() }

// judge asks the gates at the commit point about event i, whose header is h, and which extends at. The caller holds commitMu.
// The batch is a copy, since what a gate is given may outlive the call, and a batch without gates is not to be allocated.
func (b batch) judge(drafts []draft, i int, h *event.Header, at head) error {
	s := b.s
	x := gates.Head{Stream: h.Stream(), Seq: at.seq, Clock: at.clock, Hash: at.hash, Stored: at.clock}
	if at.seq > s.end.Seq { // it is of this commit
		stored, err := s.head(x.Stream)
		if err != nil {
			return &ItemError{i, err}
		}
		x.Stored = 0
		if stored != nil {
			x.Stored = stored.clock
		}
	}
	var over atomic.Bool
	x.Events = func(after event.Clock) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			if over.Load() || !s.inGate() {
				yield(Event{}, errHeadOver)
				return
			}
			b.history(drafts[:i], &x, after, yield)
		}
	}
	s.judging.Store(goroutine())
	defer func() {
		s.judging.Store(0)
		over.Store(true)
	}()
	denial := s.opts.CommitGates.Judge(x, Event{Header: *h, Payload: drafts[i].data})
	switch {
	case denial != nil && s.closed.Load():
		return ErrClosed
	case denial != nil:
		return &DeniedError{Item: i, Denial: denial}
	}
	return nil
}

// history yields the events of a stream behind a clock: those in the log, visible or not, and then those of the commit.
func (b *batch) history(drafts []draft, x *gates.Head, after event.Clock, yield func(Event, error) bool) {
	if after < x.Stored {
		stopped, err := b.s.stored(x.Stream, after, yield)
		if err != nil {
			yield(Event{}, err)
		}
		if stopped || err != nil {
			return
		}
		after = x.Stored
	}
	for _, j := range b.placed(len(drafts), x, after) {
		e := &b.entries[j]
		if !yield(Event{Header: e.Header.Clone(), Payload: slices.Clone(drafts[j].data), Hash: e.Hash}, nil) {
			return
		}
	}
}

// placed returns which of the first n proposals are the events of a stream behind a clock, in order.
func (b *batch) placed(n int, x *gates.Head, after event.Clock) []int {
	var found []int
	for j := n - 1; j >= 0 && after+event.Clock(len(found)) < x.Clock; j-- {
		if b.entries[j].Header.Stream() == x.Stream {
			found = append(found, j)
		}
	}
	slices.Reverse(found)
	return found
}

// stored yields the events of a stream behind a clock that are in the log. The caller holds commitMu.
func (s *Store) stored(stream event.Stream, after event.Clock, yield func(Event, error) bool) (stopped bool, err error) {
	if err := s.log.Flush(); err != nil { // what is not written cannot be read
		return false, err
	}
	scan := s.newScan(Query{Entity: stream.Entity, Lane: &stream.Lane, ClockAfter: after})
	scan.extend(s.end.Seq)
	for more := true; more && err == nil; {
		more, err = scan.next(yield)
	}
	return scan.stopped, err
}

// inGate reports whether the caller is a gate that this store is waiting for.
func (v *view) inGate() bool {
	judging := v.judging.Load()
	return judging != 0 && judging == goroutine()
}

// goroutine returns a number that no other goroutine has now. The runtime tells it only as text.
func goroutine() int64 {
	var buf [64]byte
	b := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(b, []byte(" "))
	n, _ := strconv.ParseInt(string(digits), 10, 64)
	return n
}

// denialAt is where recorded denials are.
var denialAt = event.At("batpak:store", "denial")

// A DenialRecord is the payload of an event that records a denial, of kind [event.KindDenial], entity "batpak:store" and
// scope "denial". What was to be appended is named by its coordinate, its type and the hash of its payload. Texts of the denial
// are cut at 1 KiB and at what is not UTF-8, its facts at 64 and its evaluations at 1024, so that no denial is too large to be
// recorded; MaxPayload does not count.
type DenialRecord struct {
	Entity  string       `cbor:"entity"`
	Scope   string       `cbor:"scope"`
	Lane    Lane         `cbor:"lane"`
	Kind    Kind         `cbor:"kind"`
	Version uint16       `cbor:"version"`
	Content Hash         `cbor:"content"`
	Key     []byte       `cbor:"key"` // idempotency key
	Denial  gates.Denial `cbor:"denial"`
}

// EventType implements [Payload].
func (DenialRecord) EventType() Type {
	return Type{Kind: event.KindDenial, Name: "batpak.denial", Version: 1}
}

// RecordDenial appends an event that records that a proposal was denied, and why. With [Options.RecordDenials] the store does
// so for its own gates.
func (s *Store) RecordDenial(p Proposal, denial *gates.Denial) (Receipt, error) {
	t, data, err := p.Encode()
	if err == nil {
		err = p.At.Validate()
	}
	switch {
	case err != nil:
	case denial == nil:
		err = fmt.Errorf("no denial: %w", ErrInvalid)
	case len(p.Key) > event.MaxKeyBytes:
		err = fmt.Errorf("idempotency key of %d bytes, at most %d: %w", len(p.Key), event.MaxKeyBytes, ErrTooLarge)
	}
	if err != nil {
		return Receipt{}, err
	}
	return s.recordDenial(&DenialRecord{p.At.Entity, p.At.Scope, p.Lane, t.Kind, t.Version, chain.Content(data), []byte(p.Key), *denial})
}

func (s *Store) recordDenial(r *DenialRecord) (Receipt, error) {
	r.Denial = storable(&r.Denial)
	b, err := event.Marshal(r)
	if err != nil {
		return Receipt{}, fmt.Errorf("record of a denial of %s/%d: %w", r.Entity, r.Lane, err)
	}
	receipts, err := s.Commit(Proposal{At: denialAt, Payload: system{event.KindDenial, b}})
	if err != nil {
		return Receipt{}, fmt.Errorf("record of a denial of %s/%d: %w", r.Entity, r.Lane, err)
	}
	return receipts[0], nil
}

// Bounds of what is recorded of a denial.
const (
	maxDenialText  = 1 << 10
	maxDenialFacts = 64
	maxDenialTrace = 1 << 10 // evaluations
)

// storable returns a copy of a denial that can be recorded.
func storable(d *gates.Denial) gates.Denial {
	c := gates.Denial{Gate: storableText(d.Gate), Code: storableText(d.Code), Message: storableText(d.Message), Trace: d.Trace}
	for _, p := range d.Context[:min(len(d.Context), maxDenialFacts)] {
		c.Context = append(c.Context, gates.Pair{Name: storableText(p.Name), Value: storableText(p.Value)})
	}
	c.Trace.Pipeline = storableText(d.Trace.Pipeline)
	c.Trace.At = event.At(storableText(d.Trace.At.Entity), storableText(d.Trace.At.Scope))
	c.Trace.Evaluations = slices.Clone(d.Trace.Evaluations[:min(len(d.Trace.Evaluations), maxDenialTrace)])
	for i := range c.Trace.Evaluations {
		e := &c.Trace.Evaluations[i]
		e.Gate, e.Code, e.Message = storableText(e.Gate), storableText(e.Code), storableText(e.Message)
	}
	return c
}

// storableText is at most maxDenialText bytes of s, and UTF-8.
func storableText(s string) string {
	if len(s) <= maxDenialText {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:maxDenialText-len("…")], "") + "…"
}

// recorded returns err, and if it is the denial of one of the drafts, records that.
func (s *Store) recorded(drafts []draft, err error) error {
	var denied *DeniedError
	if !s.opts.RecordDenials || !errors.As(err, &denied) {
		return err
	}
	h := &drafts[denied.Item].header
	receipt, failed := s.recordDenial(&DenialRecord{h.Entity, h.Scope, h.Lane, h.Kind, h.PayloadVersion, h.Content, []byte(h.Key), *denied.Denial})
	if failed != nil {
		return errors.Join(err, failed)
	}
	denied.Recorded = &receipt
	return err
}
