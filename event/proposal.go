package event

import (
	"fmt"
	"reflect"
)

// A Proposal is one request to append an event: what an append takes and what gates judge. Either Payload is set, or Kind
// and Data.
type Proposal struct {
	At      Coordinate
	Payload Payload // encoded as CBOR; its type gives kind and version
	Kind    Kind    // with Data: the kind; not reserved
	Data    []byte  // stored as it is, with payload version 0; not changed, not kept

	Lane        Lane
	Expect      Expect  // what the stream must look like
	IfNone      *IfNone // what must not have happened
	Key         string  // idempotency key, at most 256 bytes; "" for none; "batpak." is reserved
	Correlation ID      // zero: the event begins a correlation of its own
	Cause       Cause
	Extensions  map[string][]byte // names as ValidateExtension says; "batpak." is reserved
	Durability  Durability        // what the append waits for; zero: what the store does
}

var (
	errNoPayload   = fmt.Errorf("neither payload nor kind: %w", ErrInvalid)
	errBothPayload = fmt.Errorf("both payload and kind with data: %w", ErrInvalid)
)

// Encode returns the type and the bytes that the proposal's event is to have: those of Payload, or Kind with version 0 and
// Data itself. The error matches [ErrInvalid].
func (p *Proposal) Encode() (Type, []byte, error) {
	switch {
	case p.Payload == nil && p.Kind == 0:
		return Type{}, nil, errNoPayload
	case p.Payload == nil:
		return Type{Kind: p.Kind}, p.Data, p.Kind.Validate()
	case p.Kind != 0 || p.Data != nil:
		return Type{}, nil, errBothPayload
	}
	if v := reflect.ValueOf(p.Payload); v.Kind() == reflect.Pointer {
		switch {
		case v.IsNil():
			return Type{}, nil, fmt.Errorf("payload is a nil %T: %w", p.Payload, ErrInvalid)
		case !v.Type().Elem().Implements(reflect.TypeFor[Payload]()): // nothing could be decoded into
			return Type{}, nil, &TypeError{GoType: v.Type().String(), Problem: "it is a pointer, and what it points to is no payload type"}
		}
	}
	t, err := ask(p.Payload)
	if err == nil {
		err = t.Validate()
	}
	if err != nil {
		return Type{}, nil, err
	}
	data, err := encode(p.Payload)
	if isNothing(data) {
		return Type{}, nil, fmt.Errorf("payload %T is encoded as null or undefined: %w", p.Payload, ErrInvalid)
	}
	return t, data, err
}

// encode is Marshal of a payload, whose own way to encode itself may panic.
func encode(p Payload) (data []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("encoding %T panics: %v: %w", p, r, ErrInvalid)
		}
	}()
	return Marshal(p)
}

// An Expect is a condition on a stream: the zero value is no condition.
type Expect struct {
	set   bool
	clock Clock
}

// ExpectEmpty expects that the stream has no event.
func ExpectEmpty() Expect { return Expect{set: true} }

// ExpectClock expects that the newest event of the stream has clock c.
func ExpectClock(c Clock) Expect { return Expect{set: true, clock: c} }

// Clock returns the clock expected, 0 for an empty stream, and whether there is a condition.
func (e Expect) Clock() (c Clock, set bool) { return e.clock, e.set }

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

	item int // of the commit, from 1; negative: of none
}

// CauseID names an event by its id.
func CauseID(id ID) Cause { return Cause{ID: id} }

// CauseItem names an earlier proposal of the same commit by its index, from 0.
func CauseItem(index int) Cause {
	if index < 0 {
		return Cause{item: -1} // which an append refuses
	}
	return Cause{item: index + 1}
}

// Item returns the index of the proposal that is the cause, and whether one is. It is negative if CauseItem was.
func (c Cause) Item() (index int, ok bool) { return max(c.item-1, -1), c.item != 0 }

// IsZero reports whether no cause is named.
func (c Cause) IsZero() bool { return c == Cause{} }
