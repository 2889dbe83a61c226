package event

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxCoordinateBytes is the longest entity or scope, in bytes.
const MaxCoordinateBytes = 1024

// A Coordinate says what an event is about and in which context. Both parts are 1 to [MaxCoordinateBytes] bytes of UTF-8
// without control characters, "/", "..", "|" or "=". A colon separates the namespaces of an entity: "player:42" is in
// the namespace "player".
type Coordinate struct {
	Entity string `json:"entity"`
	Scope  string `json:"scope"`
}

// At returns the coordinate of an entity and a scope. It does not check them: [Coordinate.Validate] does, and every
// append calls it.
func At(entity, scope string) Coordinate { return Coordinate{Entity: entity, Scope: scope} }

// String returns "entity@scope".
func (c Coordinate) String() string { return c.Entity + "@" + c.Scope }

// Validate reports the first rule that the coordinate breaks as a [*CoordinateError], or nil. The order of the checks is
// part of the contract: emptiness of the entity, of the scope, length of the entity, of the scope, then the bytes of the
// entity and of the scope.
func (c Coordinate) Validate() error {
	switch {
	case c.Entity == "":
		return &CoordinateError{Part: "entity", Reason: Empty}
	case c.Scope == "":
		return &CoordinateError{Part: "scope", Reason: Empty}
	case len(c.Entity) > MaxCoordinateBytes:
		return &CoordinateError{Part: "entity", Reason: TooLong, Value: c.Entity}
	case len(c.Scope) > MaxCoordinateBytes:
		return &CoordinateError{Part: "scope", Reason: TooLong, Value: c.Scope}
	}
	if r := checkBytes(c.Entity); r != "" {
		return &CoordinateError{Part: "entity", Reason: r, Value: c.Entity}
	}
	if r := checkBytes(c.Scope); r != "" {
		return &CoordinateError{Part: "scope", Reason: r, Value: c.Scope}
	}
	return nil
}

// plain is the bytes that no rule speaks of, which are most.
var plain = func() (plain [256]bool) {
	for b := 0x20; b < 0x7F; b++ {
		plain[b] = !strings.ContainsRune("/.|=", rune(b))
	}
	return plain
}()

// checkBytes returns the first byte rule that s breaks, or "".
func checkBytes(s string) CoordinateReason {
	ascii := true
	for i := 0; i < len(s); i++ {
		if plain[s[i]] {
			continue
		}
		switch b := s[i]; {
		case b == 0:
			return NulByte
		case b < 0x20 || b == 0x7F:
			return ControlChar
		case b == '/' || b == '.' && strings.HasPrefix(s[i:], ".."):
			return PathTraversal
		case b == '|' || b == '=':
			return ForbiddenSeparator
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return NotUTF8
	}
	return ""
}

// A CoordinateReason names the rule that an entity or scope breaks.
type CoordinateReason string

// The rules of a coordinate, in the words of the error text.
const (
	Empty              CoordinateReason = "is empty"
	TooLong            CoordinateReason = "is longer than 1024 bytes"
	NulByte            CoordinateReason = "has a NUL byte"
	ControlChar        CoordinateReason = "has a control character"
	PathTraversal      CoordinateReason = `has "/" or ".."`
	ForbiddenSeparator CoordinateReason = `has "|" or "="`
	NotUTF8            CoordinateReason = "is not UTF-8"
)

// A CoordinateError reports an entity or scope that breaks a rule. It matches [ErrInvalid].
type CoordinateError struct {
	Part   string // "entity" or "scope"
	Reason CoordinateReason
	Value  string // the text refused
}

// Error names the part and the rule, and quotes at most 64 bytes of the text.
func (e *CoordinateError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s %s", e.Part, e.Reason)
	}
	v := e.Value
	if len(v) > 64 {
		v = v[:64] + "…"
	}
	return fmt.Sprintf("%s %q %s", e.Part, v, e.Reason)
}

// Is reports whether target is [ErrInvalid].
func (e *CoordinateError) Is(target error) bool { return target == ErrInvalid }

// InNamespace reports whether entity is prefix itself or lies below it: "a" holds "a", "a:b" and "a:b:c", not "ab".
func InNamespace(entity, prefix string) bool {
	return strings.HasPrefix(entity, prefix) && (len(entity) == len(prefix) || entity[len(prefix)] == ':')
}
