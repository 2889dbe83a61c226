package event

import "fmt"

// A Type is what a payload type says of itself: the kind its events have, a name for people and tools, and the version of
// its fields, from 1.
type Type struct {
	Kind    Kind
	Name    string
	Version uint16
}

// A Payload is a Go type whose values are stored as events. EventType must return the same Type for every value,
// including the zero value; it is called on append and on [Decode], from any goroutine.
type Payload interface {
	EventType() Type
}

// Validate reports a version of 0 or a reserved kind.
func (t Type) Validate() error {
	if t.Version == 0 {
		return fmt.Errorf("payload type %q of kind %s has version 0: %w", t.Name, t.Kind, ErrInvalid)
	}
	return t.Kind.Validate()
}

// Decode returns the payload of e as a P. It fails with [ErrKindMismatch] if e is of another kind, with
// [ErrFutureVersion] if it was written by newer code, with [ErrPastVersion] if it was written by older code, and with
// [ErrInvalid] if the bytes are not a canonical encoding of a P. Version 0, an event appended without a type, is read as
// the current version.
func Decode[P Payload](e Event) (P, error) {
	var p P
	switch t := p.EventType(); {
	case e.Kind != t.Kind:
		return p, fmt.Errorf("event %d of kind %s decoded as %q of kind %s: %w", e.Seq, e.Kind, t.Name, t.Kind, ErrKindMismatch)
	case e.PayloadVersion > t.Version:
		return p, fmt.Errorf("event %d has version %d of %q, the code knows %d: %w", e.Seq, e.PayloadVersion, t.Name, t.Version, ErrFutureVersion)
	case e.PayloadVersion > 0 && e.PayloadVersion < t.Version:
		return p, fmt.Errorf("event %d has version %d of %q, the code has %d: %w", e.Seq, e.PayloadVersion, t.Name, t.Version, ErrPastVersion)
	}
	if err := Unmarshal(e.Payload, &p); err != nil {
		return p, fmt.Errorf("payload of event %d: %w", e.Seq, err)
	}
	return p, nil
}
