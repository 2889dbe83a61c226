package gates

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/batpak/batpak/event"
)

// Why a permit or a handle is refused. The call that is told so appended nothing. All match [event.ErrInvalid].
var (
	ErrForged  = fmt.Errorf("was not made by gates: %w", event.ErrInvalid)                  // zero, or from outside
	ErrSpent   = fmt.Errorf("permit was used before: %w", event.ErrInvalid)                 // evaluate again
	ErrChanged = fmt.Errorf("payload is not the one that was judged: %w", event.ErrInvalid) // the permit is spent
)

// A Permit is the yes of gates to one proposal: to its coordinate, its exact bytes and everything else it says, as they
// were when it was judged. It is used once, by [Commit] or [CommitAll]; copies are the same permit. Only [Set.Evaluate],
// [Pipeline.Evaluate] and [Pipeline.Bypass] make one. The zero Permit is refused, nothing can be read into a permit, and
// its encodings say nothing.
type Permit struct {
	state *permit
}

// A permit is what all copies of a Permit share. All but spent stays as it was made.
type permit struct {
	proposal event.Proposal // shares no memory with the caller's; what is committed
	original event.Proposal // the caller's payload or data, which may have changed since
	typ      event.Type
	data     []byte
	audit    Audit
	spent    bool // guarded by claims
}

// claims guards the spent of all permits, so that several are claimed together or not at all. It is held for no longer
// than it takes to look at them.
var claims sync.Mutex

// freeze returns a permit for p as it is now.
func freeze(p event.Proposal, audit Audit) (Permit, error) {
	t, data, err := p.Encode()
	if err != nil {
		return Permit{}, err
	}
	data = bytes.Clone(data)
	s := &permit{proposal: p, original: event.Proposal{Payload: p.Payload, Kind: p.Kind, Data: p.Data}, typ: t, data: data, audit: audit}
	s.proposal.Data = data
	if p.Payload != nil {
		s.proposal.Payload, s.proposal.Data = frozen{t, data}, nil
	}
	h := event.Header{Extensions: p.Extensions}
	s.proposal.Extensions = h.Clone().Extensions
	s.proposal.IfNone = cloneIfNone(p.IfNone)
	return Permit{s}, nil
}

func cloneIfNone(n *event.IfNone) *event.IfNone {
	if n == nil {
		return nil
	}
	return &event.IfNone{Query: n.Query.Clone(), After: n.After}
}

// frozen is a payload as it was encoded when it was judged.
type frozen struct {
	typ  event.Type
	data []byte
}

// EventType returns the type of the payload that was judged.
func (f frozen) EventType() event.Type { return f.typ }

// MarshalCBOR returns the bytes that were judged.
func (f frozen) MarshalCBOR() ([]byte, error) { return f.data, nil }

// An Audit says how a permit came about: by these gates of a pipeline, all passed, or by a bypass.
type Audit struct {
	Pipeline string   // "" for a bare [Set]
	Gates    []string // in order
	Bypass   *Bypass  // nil unless the gates were not asked
}

// A Committed is what came of a permit: the receipt, and how the permit came about.
type Committed[R any] struct {
	Receipt R
	Audit   Audit
}

// Commit uses a permit: it calls commit, in practice the Commit method of a store, with the proposal as it was judged. Of
// many goroutines with one permit exactly one gets so far; the others get [ErrSpent].
//
// The permit stays spent if commit fails. Then nobody knows whether the append happened, and a second one must not rest on
// the old yes: evaluate again, with an idempotency key if it may have. If the caller's payload is no longer what was judged
// the error is [ErrChanged], commit is not called, and the permit is spent.
func Commit[R any](p Permit, commit func(...event.Proposal) ([]R, error)) (Committed[R], error) {
	all, err := use([]Permit{p}, commit)
	if err != nil {
		return Committed[R]{}, err
	}
	return all[0], nil
}

// CommitAll uses permits for one atomic commit of their proposals, in order. If one is forged or spent, or there twice,
// commit is not called and none of the others is spent; one whose payload has changed is spent itself, and no other. Once
// commit is called all stay spent, as with [Commit].
func CommitAll[R any](permits []Permit, commit func(...event.Proposal) ([]R, error)) ([]Committed[R], error) {
	return use(permits, commit)
}

func use[R any](permits []Permit, commit func(...event.Proposal) ([]R, error)) ([]Committed[R], error) {
	if err := claim(permits); err != nil {
		return nil, err
	}
	proposals := make([]event.Proposal, len(permits))
	for i, p := range permits {
		proposals[i] = p.state.proposal
	}
	receipts, err := commit(proposals...)
	if err != nil {
		return nil, err
	}
	if len(receipts) != len(permits) {
		return nil, fmt.Errorf("commit of %d proposals returned %d receipts", len(permits), len(receipts))
	}
	committed := make([]Committed[R], len(permits))
	for i, p := range permits {
		committed[i] = Committed[R]{receipts[i], p.state.audit}
	}
	return committed, nil
}

// claim spends the permits, all or none. What was changed is found first, so that no permit has to be given back: a
// change after that does no harm, since it is the frozen proposals that are committed.
func claim(permits []Permit) error {
	for i, p := range permits {
		if p.state == nil {
			return item(i, len(permits), ErrForged)
		}
	}
	for i, p := range permits {
		changed := p.state.unchanged()
		if changed == nil {
			continue
		}
		if err := spend([]Permit{p}); err != nil {
			changed = err
		}
		return item(i, len(permits), changed)
	}
	return spend(permits)
}

// item says which of n permits was refused, if that is a question.
func item(i, n int, err error) error {
	if n == 1 {
		return err
	}
	return fmt.Errorf("permit %d: %w", i, err)
}

// spend marks the permits, unless one is marked. One that is there twice is marked when it is met again.
func spend(permits []Permit) error {
	claims.Lock()
	defer claims.Unlock()
	for i, p := range permits {
		if p.state.spent {
			for _, marked := range permits[:i] {
				marked.state.spent = false
			}
			return item(i, len(permits), ErrSpent)
		}
		p.state.spent = true
	}
	return nil
}

// unchanged encodes the caller's payload again.
func (s *permit) unchanged() error {
	t, data, err := s.original.Encode()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrChanged, err)
	case t != s.typ || !bytes.Equal(data, s.data):
		return ErrChanged
	}
	return nil
}

// UnmarshalJSON refuses, with [ErrForged]: a permit cannot be read from anywhere.
func (p *Permit) UnmarshalJSON([]byte) error { return errUnmarshal }

// UnmarshalText refuses as UnmarshalJSON does.
func (p *Permit) UnmarshalText([]byte) error { return errUnmarshal }

// UnmarshalBinary refuses as UnmarshalJSON does.
func (p *Permit) UnmarshalBinary([]byte) error { return errUnmarshal }

// UnmarshalCBOR refuses as UnmarshalJSON does.
func (p *Permit) UnmarshalCBOR([]byte) error { return errUnmarshal }

// GobDecode refuses as UnmarshalJSON does.
func (p *Permit) GobDecode([]byte) error { return errUnmarshal }

var errUnmarshal = fmt.Errorf("permit read from bytes %w", ErrForged)
