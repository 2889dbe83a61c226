package event

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An EntitySort is a type that stands for one sort of entity: its ids have this prefix. It is used for nothing but to
// name an [EntityID] type:
//
//	type account struct{}
//
//	func (account) EntityPrefix() string { return "account" }
//
//	type AccountID = event.EntityID[account]
type EntitySort interface {
	EntityPrefix() string
}

// An EntityID is the name of an entity of sort T, "prefix:key". Ids of two sorts are of two types, which the compiler does
// not let anyone mix up. The zero EntityID names nothing, and no event can be appended with it.
type EntityID[T EntitySort] struct {
	_      [0]*T // so that no conversion makes an id of one sort from another's
	entity string
}

// EntityIDOf returns the id with this key, which may contain colons. The error is a [*CoordinateError] if the entity could
// not be stored.
func EntityIDOf[T EntitySort](key string) (EntityID[T], error) {
	var sort T
	return ParseEntityID[T](sort.EntityPrefix() + ":" + key)
}

// ParseEntityID returns the id that names this entity. The error matches [ErrInvalid] if it has not the prefix of T.
func ParseEntityID[T EntitySort](entity string) (EntityID[T], error) {
	var sort T
	prefix := sort.EntityPrefix()
	key, ok := strings.CutPrefix(entity, prefix+":")
	if !ok || key == "" || prefix == "" {
		return EntityID[T]{}, fmt.Errorf("entity %q is not %q and a key: %w", entity, prefix+":", ErrInvalid)
	}
	if err := At(entity, "-").Validate(); err != nil {
		return EntityID[T]{}, err
	}
	return EntityID[T]{entity: entity}, nil
}

// String returns the entity, "prefix:key"; "" for the zero id.
func (id EntityID[T]) String() string { return id.entity }

// Key returns the part behind the prefix.
func (id EntityID[T]) Key() string {
	var sort T
	return strings.TrimPrefix(id.entity, sort.EntityPrefix()+":")
}

// IsZero reports whether the id names nothing.
func (id EntityID[T]) IsZero() bool { return id.entity == "" }

// At returns the coordinate of the entity in a scope.
func (id EntityID[T]) At(scope string) Coordinate { return At(id.entity, scope) }

// MarshalCBOR returns the text in CBOR, so that a payload can hold an id.
func (id EntityID[T]) MarshalCBOR() ([]byte, error) { return Marshal(id.entity) }

// UnmarshalCBOR reads what MarshalCBOR writes, the zero id included.
func (id *EntityID[T]) UnmarshalCBOR(b []byte) error {
	if text, rest, ok := readString(b, majorText, 1); ok && len(rest) == 0 && utf8.Valid(text) {
		return id.UnmarshalText(text)
	}
	var text string
	if err := Unmarshal(b, &text); err != nil {
		return err
	}
	return id.UnmarshalText([]byte(text))
}

// MarshalText returns the same text as String.
func (id EntityID[T]) MarshalText() ([]byte, error) { return []byte(id.entity), nil }

// UnmarshalText reads what MarshalText writes, the zero id included.
func (id *EntityID[T]) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = EntityID[T]{}
		return nil
	}
	*id, err = ParseEntityID[T](string(b))
	return err
}
