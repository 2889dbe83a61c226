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

// A Proposal is one request to append an event. Either Payload is set, or Kind and Data.
type Proposal struct {
	At      Coordinate
	Payload Payload // encoded as CBOR; its type gives kind and version
	Kind    Kind    // with Data: the kind; not reserved
	Data    []byte  // stored as it is, with payload version 0; not changed, not kept

	Lane        Lane
	Expect      Expect  // what the stream must look like
	IfNone      *IfNone // what must not have happened
	Key         string  // idempotency key, at most 256 bytes; "" for none
	Correlation ID      // zero: the event begins a correlation of its own
	Cause       Cause
	Extensions  map[string][]byte // names as event.ValidateExtension says; "batpak." is reserved
	Durability  Durability        // what the append waits for; zero: what the store does

	system bool // batpak's own: Kind may be reserved, and PayloadVersion is 1
}

// An Expect is a condition on a stream: the zero value is no condition.
type Expect struct {
	set   bool
	clock Clock
}

// Empty expects that the stream has no event.
func Empty() Expect { return Expect{set: true} }

// AtClock expects that the newest event of the stream has clock c.
func AtClock(c Clock) Expect { return Expect{set: true, clock: c} }

// An IfNone is the condition that no event after After matches Query: a decision made on what was read up to After still
// stands. It looks at all that earlier commits appended, visible or not, and not at the other proposals of its own.
// Query's own After, Limit and Reverse play no part.
type IfNone struct {
	Query Query
	After Seq
}

// A Cause names the event that led to another.
type Cause struct {
	ID ID

	item int // of this Commit, from 1; negative: of none
}

// CauseID names an event by its id.
func CauseID(id ID) Cause { return Cause{ID: id} }

// CauseItem names an earlier proposal of the same Commit by its index, from 0.
func CauseItem(index int) Cause {
	if index < 0 {
		return Cause{item: -1} // which Commit refuses
	}
	return Cause{item: index + 1}
}

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

// A draft is a proposal checked, encoded and hashed: all that needs no lock.
type draft struct {
	header     event.Header // but for what is decided at the commit
	data       []byte
	expect     Expect
	ifNone     *IfNone
	cause      Cause
	durability Durability
}

// draftPool keeps the drafts of commits for others, unless there are more than pooledDrafts.
var draftPool = sync.Pool{New: func() any { return new([]draft) }}

const pooledDrafts = 256

const reservedNamespace = "batpak."

// prepare checks the proposals, encodes their payloads, and fills in drafts, which are as many.
func (s *Store) prepare(drafts []draft, ps []Proposal) error {
	keyed, total := 0, 0
	for i := range ps {
		d := &drafts[i]
		if err := d.prepare(&ps[i], i, s.opts.MaxPayload); err != nil {
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

var (
	errNoPayload   = fmt.Errorf("neither payload nor kind: %w", event.ErrInvalid)
	errBothPayload = fmt.Errorf("both payload and kind with data: %w", event.ErrInvalid)
	errCause       = fmt.Errorf("cause is not an earlier proposal of the commit: %w", event.ErrInvalid)
)

// prepare fills in the draft of p, which is proposal i.
func (d *draft) prepare(p *Proposal, i, maxPayload int) error {
	if err := p.At.Validate(); err != nil {
		return err
	}
	if err := d.encode(p); err != nil {
		return err
	}
	if len(d.data) > maxPayload {
		return fmt.Errorf("payload of %d bytes, at most %d: %w", len(d.data), maxPayload, ErrTooLarge)
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
	return d.check(i)
}

// encode sets the kind, the version and the bytes of the payload.
func (d *draft) encode(p *Proposal) error {
	if p.Payload == nil {
		if p.Kind == 0 {
			return errNoPayload
		}
		d.header.Kind, d.data = p.Kind, p.Data
		if p.system {
			d.header.PayloadVersion = 1
			return nil
		}
		return p.Kind.Validate()
	}
	if p.Kind != 0 || p.Data != nil {
		return errBothPayload
	}
	t := p.Payload.EventType()
	if err := t.Validate(); err != nil {
		return err
	}
	d.header.Kind, d.header.PayloadVersion = t.Kind, t.Version
	var err error
	d.data, err = event.Marshal(p.Payload)
	return err
}

// check refuses what the format or the rules of proposals do not allow.
func (d *draft) check(i int) error {
	if err := checkExtensions(d.header.Extensions); err != nil {
		return err
	}
	switch {
	case len(d.header.Key) > event.MaxKeyBytes:
		return fmt.Errorf("idempotency key of %d bytes, at most %d: %w", len(d.header.Key), event.MaxKeyBytes, ErrTooLarge)
	case d.cause.item > i || d.cause.item < 0:
		return errCause
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
