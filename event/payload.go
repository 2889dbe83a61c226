package event

import (
	"fmt"
	"iter"
	"reflect"
)

// A Type is what a payload type says of itself: the kind its events have, a name for people and tools, and the version of
// its fields, from 1.
type Type struct {
	Kind    Kind
	Name    string
	Version uint16
}

// A Payload is a Go type, neither a pointer nor an interface, whose values are stored as events. EventType must return the same Type for every value,
// including the zero value; it is called on append and on [Decode], from any goroutine. A type with a version above 1
// is an [Upcaster] too. Fields are encoded as [Marshal] says.
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

// Simple values as CBOR.
const (
	cborFalse = 0xF4
	cborTrue  = 0xF5
	cborNull  = 0xF6

	cborUndefined = 0xF7
)

// A DecodeError says why the payload of an event could not be read as a type. It matches the class of the reason:
// [ErrKindMismatch], [ErrFutureVersion], [ErrPastVersion] or [ErrInvalid].
type DecodeError struct {
	Seq     Seq
	Kind    Kind
	Version uint16 // of the payload as stored
	Type    Type   // that it was to be read as
	Err     error
}

// Error names the event, the type and the reason.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("event %d (kind %s, version %d) as %q (kind %s, version %d): %v", e.Seq, e.Kind, e.Version, e.Type.Name, e.Type.Kind, e.Type.Version, e.Err)
}

// Unwrap returns the reason.
func (e *DecodeError) Unwrap() error { return e.Err }

// Decode returns the payload of e as a P. One that older code wrote is lifted by the steps of P, in memory; what is stored
// stays as it is. The error is a [*DecodeError]: with [ErrKindMismatch] if e is of another kind, with [ErrFutureVersion] if
// it was written by newer code, with [ErrPastVersion] if a step from its version is missing or fails, and with [ErrInvalid]
// if the bytes are not a canonical encoding of a P, or P is a pointer or an interface. Version 0, an event appended without
// a type, is read as the current version. A time that other code wrote as a number may be of a year that [Marshal] refuses.
func Decode[P Payload](e Event) (P, error) {
	t, err := typeOf[P]()
	if err != nil {
		var none P
		return none, &DecodeError{Seq: e.Seq, Kind: e.Kind, Version: e.PayloadVersion, Err: err}
	}
	return decodeAs[P](t, e)
}

// decodeAs is Decode for a P that has said that it is t.
func decodeAs[P Payload](t Type, e Event) (p P, err error) {
	payload := e.Payload
	switch {
	case e.Kind != t.Kind:
		err = ErrKindMismatch
	case e.PayloadVersion > t.Version:
		err = ErrFutureVersion
	case e.PayloadVersion > 0 && e.PayloadVersion < t.Version:
		payload, err = lift(p, t, e.PayloadVersion, payload)
	}
	if err == nil && isNothing(payload) {
		err = fmt.Errorf("payload is null or undefined: %w", ErrInvalid)
	}
	if err == nil {
		p, err = decodeNew[P](payload)
	}
	if err != nil {
		var none P
		return none, &DecodeError{e.Seq, e.Kind, e.PayloadVersion, t, err}
	}
	return p, nil
}

// typeOf returns what P says of itself. A pointer or an interface cannot be asked, since its zero value is nil: the error is a
// [*TypeError].
func typeOf[P Payload]() (Type, error) {
	var p P
	switch t := reflect.TypeFor[P](); t.Kind() {
	case reflect.Pointer:
		return Type{}, &TypeError{GoType: t.String(), Problem: "it is a pointer"}
	case reflect.Interface:
		return Type{}, &TypeError{GoType: t.String(), Problem: "it is an interface"}
	}
	return ask(p)
}

// ask returns what a payload says of itself. It cannot if it has that from an embedded nil.
func ask(p Payload) (t Type, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &TypeError{GoType: fmt.Sprintf("%T", p), Problem: fmt.Sprintf("EventType panics: %v", r)}
		}
	}()
	return p.EventType(), nil
}

// isNothing reports whether a payload is null or undefined, behind tags too.
func isNothing(payload []byte) bool {
	for {
		major, _, _, rest, err := readHead(payload)
		if err != nil || major != majorTag {
			return len(payload) == 1 && (payload[0] == cborNull || payload[0] == cborUndefined)
		}
		payload = rest
	}
}

// A Typed is an event with its payload decoded.
type Typed[P Payload] struct {
	Event
	Value P
}

// Each yields the events of one payload type, decoded, and skips those of other kinds. An error, of the sequence or of
// [Decode], is the last pair; a P that is a pointer or an interface is a [*TypeError], and the only one.
func Each[P Payload](events iter.Seq2[Event, error]) iter.Seq2[Typed[P], error] {
	t, bad := typeOf[P]()
	return func(yield func(Typed[P], error) bool) {
		if bad != nil {
			yield(Typed[P]{}, bad)
			return
		}
		for e, err := range events {
			if err == nil && e.Kind != t.Kind {
				continue
			}
			typed := Typed[P]{Event: e}
			if err == nil {
				typed.Value, err = decodeAs[P](t, e)
			}
			if !yield(typed, err) || err != nil {
				return
			}
		}
	}
}
