package event

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// A Registry is the payload types that a program knows, at most one for each kind. It does not change, and may be used from
// any goroutine.
type Registry struct {
	types map[Kind]Registered
}

// A Registered is a payload type in a [Registry]; [Register] makes it.
type Registered struct {
	typ    Type
	goType string
	bad    string // what is wrong with the type
	decode func(Event) (Payload, error)
}

// Register returns P for [NewRegistry]. Of the reserved kinds those that batpak's own events have may be registered, to be read.
func Register[P Payload]() Registered {
	var p P
	r := Registered{goType: reflect.TypeFor[P]().String(), decode: func(e Event) (Payload, error) { return Decode[P](e) }}
	typ, err := typeOf[P]()
	if bad, ok := errors.AsType[*TypeError](err); ok {
		r.bad = bad.Problem
		return r
	}
	r.typ = typ
	if err := r.typ.Validate(); err != nil && !r.typ.ours() {
		r.bad = err.Error()
	} else {
		r.bad = checkSteps(p, r.typ)
	}
	return r
}

// ours reports whether the type is of a kind that batpak itself appends, which others may read.
func (t Type) ours() bool {
	return t.Version > 0 && (t.Kind == KindDenial || t.Kind == KindRepair)
}

// A TypeError says why payload types cannot be used, or not together. It matches [ErrInvalid].
type TypeError struct {
	GoType  string
	Type    Type
	Problem string
}

// Error names the Go type, its kind if that is known, and the problem.
func (e *TypeError) Error() string {
	if e.Type == (Type{}) {
		return fmt.Sprintf("payload type %s: %s", e.GoType, e.Problem)
	}
	return fmt.Sprintf("payload type %s (%q, kind %s, version %d): %s", e.GoType, e.Type.Name, e.Type.Kind, e.Type.Version, e.Problem)
}

// Is reports whether target is [ErrInvalid].
func (e *TypeError) Is(target error) bool { return target == ErrInvalid }

// NewRegistry returns the registry of these types, or a [*TypeError]: for a pointer or an interface, version 0, a reserved kind,
// a step missing between version 1 and the current one or there twice, and two types of one kind.
func NewRegistry(types ...Registered) (*Registry, error) {
	r := &Registry{make(map[Kind]Registered, len(types))}
	for _, t := range types {
		if err := r.add(t); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Registry) add(t Registered) error {
	if other, ok := r.types[t.typ.Kind]; ok && t.bad == "" {
		t.bad = fmt.Sprintf("kind is that of %s (%q) too", other.goType, other.typ.Name)
	}
	if t.decode == nil {
		t.bad = "it was not made by Register or On"
	}
	if t.bad != "" {
		return &TypeError{t.goType, t.typ, t.bad}
	}
	r.types[t.typ.Kind] = t
	return nil
}

// Lookup returns the type of a kind, if there is one.
func (r *Registry) Lookup(k Kind) (Type, bool) {
	t, ok := r.types[k]
	return t.typ, ok
}

// Types returns the types in the order of their kinds.
func (r *Registry) Types() []Type {
	var types []Type
	for t := range maps.Values(r.types) {
		types = append(types, t.typ)
	}
	slices.SortFunc(types, func(a, b Type) int { return cmp.Compare(a.Kind, b.Kind) })
	return types
}

// Decode returns the payload of e as a value of the type of its kind, as [Decode] does. For a kind that is not here the
// error matches [ErrKindMismatch].
func (r *Registry) Decode(e Event) (Payload, error) {
	t, ok := r.types[e.Kind]
	if !ok {
		return nil, fmt.Errorf("event %d of kind %s, which is not registered: %w", e.Seq, e.Kind, ErrKindMismatch)
	}
	return t.decode(e)
}

// Check reports why a payload of type t may not be appended by a program with this registry: its kind is not here, or
// belongs to another type or version. With version 0, a payload without a type, only a kind that is here is refused, since
// its bytes would be read as that type. The error matches [ErrInvalid].
func (r *Registry) Check(t Type) error {
	known, ok := r.types[t.Kind]
	switch {
	case t.Version == 0 && !ok || t == known.typ:
		return nil
	case t.Version == 0:
		return fmt.Errorf("payload without a type of kind %s, which is that of %q: %w", t.Kind, known.typ.Name, ErrInvalid)
	case !ok:
		return fmt.Errorf("payload type %q of kind %s is not registered: %w", t.Name, t.Kind, ErrInvalid)
	}
	return fmt.Errorf("payload type %q, kind %s, version %d is registered as %q, version %d: %w", t.Name, t.Kind, t.Version,
		known.typ.Name, known.typ.Version, ErrInvalid)
}
