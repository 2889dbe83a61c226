package batpak

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
)

// A ConflictError says that the condition of a proposal did not hold; nothing was appended. It matches [ErrConflict].
type ConflictError struct {
	Item   int    // index of the proposal
	Stream string // "entity/lane" for Expect
	Want   Clock  // the clock expected; 0 for an empty stream
	Have   Clock  // the clock found
	Found  Seq    // for IfNone, an event that matches; 0 for Expect
}

// Error says what was expected and found.
func (e *ConflictError) Error() string {
	if e.Found > 0 {
		return fmt.Sprintf("proposal %d: event %d matches what must not have happened", e.Item, e.Found)
	}
	return fmt.Sprintf("proposal %d: stream %s is at clock %d, not %d", e.Item, e.Stream, e.Have, e.Want)
}

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// An ItemError says which proposal of a Commit was refused.
type ItemError struct {
	Item int // index of the proposal
	Err  error
}

// Error names the proposal.
func (e *ItemError) Error() string { return fmt.Sprintf("proposal %d: %v", e.Item, e.Err) }

// Unwrap returns the reason.
func (e *ItemError) Unwrap() error { return e.Err }

// system is the payload of batpak's own events: its kind may be reserved. Nobody else can make one.
type system struct {
	kind Kind
	data []byte // canonical CBOR
}

// EventType returns version 1 of the kind.
func (p system) EventType() Type { return Type{Kind: p.kind, Name: "batpak", Version: 1} }

// A draft is a proposal checked, encoded and hashed: all that needs no lock.
type draft struct {
	header     event.Header // but for what is decided at the commit
	data       []byte       // nobody else's
	own        []byte       // what data lies in if the caller gave bytes; reused
	expect     Expect
	ifNone     *IfNone
	cause      Cause
	durability Durability
}

// draftPool keeps the drafts of commits for others, unless there are more than pooledDrafts.
var draftPool = sync.Pool{New: func() any { return new([]draft) }}

const (
	pooledDrafts = 256
	pooledBytes  = 4 << 10 // of the buffer that a pooled draft keeps
)

// clearDrafts makes drafts ready for another commit.
func clearDrafts(drafts []draft) {
	for i := range drafts {
		own := drafts[i].own
		if cap(own) > pooledBytes {
			own = nil
		}
		drafts[i] = draft{own: own}
	}
}

const reservedNamespace = "batpak."

// prepare checks the proposals, encodes their payloads, and fills in drafts, which are as many.
func (s *Store) prepare(drafts []draft, ps []Proposal, trusted bool) error {
	keyed, total := 0, 0
	for i := range ps {
		d := &drafts[i]
		if err := d.prepare(&ps[i], i, &s.opts, trusted); err != nil {
			return &ItemError{i, err}
		}
		if d.header.Key != "" {
			keyed++
		}
		total += len(d.data) + headerBound(&d.header)
	}
	if keyed > 0 && keyed < len(ps) {
		return fmt.Errorf("%d of %d proposals have a key: %w", keyed, len(ps), ErrIdempotencyPartial)
	}
	if total > MaxCommitBytes-1024 {
		return fmt.Errorf("commit of %d bytes, at most %d: %w", total, MaxCommitBytes-1024, ErrTooLarge)
	}
	return uniqueKeys(drafts, keyed)
}

func uniqueKeys(drafts []draft, keyed int) error {
	if keyed < 2 {
		return nil
	}
	seen := make(map[string]int, keyed)
	for i := range drafts {
		key := drafts[i].header.Key
		if j, ok := seen[key]; ok {
			return fmt.Errorf("proposals %d and %d have the same key %q: %w", j, i, key, ErrIdempotencyPartial)
		}
		seen[key] = i
	}
	return nil
}

var errCause = fmt.Errorf("cause is not one event, or not an earlier proposal of the commit: %w", event.ErrInvalid)

// prepare fills in the draft of p, which is proposal i. That of a reaction is trusted to have a key of batpak's own.
func (d *draft) prepare(p *Proposal, i int, o *Options, trusted bool) error {
	if err := p.At.Validate(); err != nil {
		return err
	}
	if err := d.encode(p, o.Types); err != nil {
		return err
	}
	if len(d.data) > o.MaxPayload && !d.ours() {
		return fmt.Errorf("payload of %d bytes, at most %d: %w", len(d.data), o.MaxPayload, ErrTooLarge)
	}
	h := &d.header
	h.Entity, h.Scope, h.Lane, h.Key = p.At.Entity, p.At.Scope, p.Lane, p.Key
	h.Correlation, h.Causation = p.Correlation, p.Cause.ID
	d.expect, d.ifNone, d.cause, d.durability = p.Expect, p.IfNone, p.Cause, p.Durability
	h.PayloadLength = uint32(len(d.data))
	h.Content = chain.Content(d.data)
	if len(p.Extensions) > 0 {
		h.Extensions = make(map[string][]byte, len(p.Extensions))
		for name, v := range p.Extensions {
			h.Extensions[name] = bytes.Clone(v)
		}
	}
	return d.check(i, trusted)
}

// encode sets the kind, the version and the bytes of the payload, whose type must be among the types if there are any.
func (d *draft) encode(p *Proposal, types *Registry) error {
	if own, ok := p.Payload.(system); ok {
		d.header.Kind, d.header.PayloadVersion, d.data = own.kind, 1, own.data
		return nil
	}
	t, data, err := p.Encode()
	if p.Payload == nil { // the caller may change them before they are written
		d.own = append(d.own[:0], data...)
		data = d.own
	}
	d.header.Kind, d.header.PayloadVersion, d.data = t.Kind, t.Version, data
	if err == nil && types != nil {
		err = types.Check(t)
	}
	return err
}

// check refuses what the format or the rules of proposals do not allow.
func (d *draft) check(i int, trusted bool) error {
	if err := checkExtensions(d.header.Extensions); err != nil {
		return err
	}
	item, caused := d.cause.Item()
	switch {
	case len(d.header.Key) > event.MaxKeyBytes:
		return fmt.Errorf("idempotency key of %d bytes, at most %d: %w", len(d.header.Key), event.MaxKeyBytes, ErrTooLarge)
	case caused && (item >= i || item < 0 || !d.cause.ID.IsZero()):
		return errCause
	case strings.HasPrefix(d.header.Key, reservedNamespace) && !trusted && !d.ours():
		return fmt.Errorf("idempotency key %q is in the reserved namespace %q: %w", d.header.Key, reservedNamespace, ErrInvalid)
	case d.durability > Written:
		return fmt.Errorf("durability %d: %w", d.durability, ErrInvalid)
	case headerBound(&d.header) > event.MaxHeaderBytes:
		return fmt.Errorf("header of up to %d bytes, at most %d: %w", headerBound(&d.header), event.MaxHeaderBytes, ErrTooLarge)
	}
	if d.ifNone != nil {
		return d.ifNone.Query.Validate()
	}
	return nil
}

func checkExtensions(ext map[string][]byte) error {
	if len(ext) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(ext)) {
		if err := event.ValidateExtension(name); err != nil {
			return err
		}
		if strings.HasPrefix(name, reservedNamespace) {
			return fmt.Errorf("extension %q is in the reserved namespace %q: %w", name, reservedNamespace, ErrInvalid)
		}
	}
	return nil
}

// fixedHeaderBytes is more than all fields of fixed size take, with their keys and heads, and those of a record.
const fixedHeaderBytes = 256

// headerBound returns at least the bytes that a header and the lengths of its record take.
func headerBound(h *event.Header) int {
	n := fixedHeaderBytes + len(h.Entity) + len(h.Scope) + len(h.Key)
	for name, v := range h.Extensions {
		n += 8 + len(name) + len(v)
	}
	return n
}

// sameRequest reports whether the event with this header is what the draft asks for. cause is the id that the draft's
// cause stands for.
func (d *draft) sameRequest(h *event.Header, cause event.ID) bool {
	own := d.header.Correlation.IsZero()
	return h.Coordinate() == d.header.Coordinate() && h.Lane == d.header.Lane && h.Kind == d.header.Kind && h.PayloadVersion == d.header.PayloadVersion &&
		h.Content == d.header.Content && h.Causation == cause &&
		(own && h.Correlation == h.ID || !own && h.Correlation == d.header.Correlation) &&
		maps.EqualFunc(h.Extensions, d.header.Extensions, bytes.Equal)
}

// A MismatchError says that an idempotency key was used before for another request; nothing was appended. It matches
// [ErrIdempotencyMismatch].
type MismatchError struct {
	Item  int // index of the proposal
	Key   string
	Found Seq // the event that has the key
}

// Error names the key and the event.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("proposal %d: key %q belongs to event %d, which is another request", e.Item, e.Key, e.Found)
}

// Is reports whether target is [ErrIdempotencyMismatch].
func (e *MismatchError) Is(target error) bool { return target == ErrIdempotencyMismatch }
