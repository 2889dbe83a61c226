package event

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// maxLevels bounds how many pointers, structs, maps and lists may lie within each other in a value that is encoded: for each of
// the levels that canonical CBOR may have there can be some that leave no trace in it.
const maxLevels = 8 * maxPayloadDepth

// A shape says of a type what the encoder has to be kept from.
type shape uint8

const (
	finite  shape = iota // values are as deep as the type is
	looping              // a value can contain itself, or be as deep as it likes
	endless              // it is a pointer to itself, or has one within: nothing but pointers, of which the library seeks the end
)

// shapes remembers those of types: reflect.Type → shape.
var shapes sync.Map

func shapeOf(t reflect.Type) shape {
	if known, ok := shapes.Load(t); ok {
		return known.(shape)
	}
	s := finite
	if hasLoop(t, map[reflect.Type]bool{}) {
		s = looping
	}
	if hasEndless(t, map[reflect.Type]bool{}) {
		s = endless
	}
	shapes.Store(t, s)
	return s
}

// checkLoops returns an error if v contains itself, or is deeper than anything that can be decoded: the encoder would go round
// until the stack is full, which ends the process.
func checkLoops(v any) error {
	if v == nil || shapeOf(reflect.TypeOf(v)) == finite {
		return nil
	}
	w := loopWalk{on: map[place]bool{}}
	return w.visit(reflect.ValueOf(v), 0)
}

// checkEndless returns an error if a type is endless.
func checkEndless(t reflect.Type) error {
	if t != nil && shapeOf(t) == endless {
		return fmt.Errorf("type %v is a pointer to itself, or has one within", t)
	}
	return nil
}

// hasEndless reports whether a type is endless. seen are types that were looked at.
func hasEndless(t reflect.Type, seen map[reflect.Type]bool) bool {
	for on := map[reflect.Type]bool{}; t.Kind() == reflect.Pointer; t = t.Elem() {
		if on[t] {
			return true
		}
		on[t] = true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	return slices.ContainsFunc(partsOf(t), func(part reflect.Type) bool { return hasEndless(part, seen) })
}

// partsOf returns the types that a type is made of.
func partsOf(t reflect.Type) (parts []reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return []reflect.Type{t.Elem()}
	case reflect.Map:
		return []reflect.Type{t.Key(), t.Elem()}
	case reflect.Struct:
		for i := range t.NumField() {
			parts = append(parts, t.Field(i).Type)
		}
	}
	return parts
}

// hasLoop looks for a type within itself, and for interfaces, which may hold anything. within are the types around it.
func hasLoop(t reflect.Type, within map[reflect.Type]bool) bool {
	if within[t] || t.Kind() == reflect.Interface {
		return true
	}
	if encodesItself(t) {
		return false
	}
	within[t] = true
	defer delete(within, t)
	return slices.ContainsFunc(partsOf(t), func(part reflect.Type) bool { return hasLoop(part, within) })
}

// encodesItself reports whether how values of a type are encoded is for the type to say.
func encodesItself(t reflect.Type) bool {
	for _, own := range []reflect.Type{reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[encoding.BinaryMarshaler]()} {
		if t.Implements(own) || reflect.PointerTo(t).Implements(own) {
			return true
		}
	}
	return false
}

// A place is where a pointer, a map or a list points.
type place struct {
	at   uintptr
	kind reflect.Type
	n    int
}

// A loopWalk goes through a value. on are the places on the way to where it is.
type loopWalk struct{ on map[place]bool }

func (w *loopWalk) visit(v reflect.Value, level int) error {
	if level > maxLevels {
		return fmt.Errorf("value is nested more than %d deep", maxPayloadDepth)
	}
	if !v.IsValid() || v.Kind() != reflect.Interface && (shapeOf(v.Type()) == finite || encodesItself(v.Type())) {
		return nil
	}
	if err := checkEndless(v.Type()); err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.Interface:
		return w.visit(v.Elem(), level+1)
	case reflect.Pointer:
		return w.enter(v, 0, func() error { return w.visit(v.Elem(), level+1) })
	case reflect.Slice:
		return w.enter(v, v.Len(), func() error { return w.elements(v, level) })
	case reflect.Array:
		return w.elements(v, level)
	case reflect.Map:
		return w.enter(v, 0, func() error {
			for entries := v.MapRange(); entries.Next(); {
				if err := w.visit(entries.Key(), level+1); err != nil {
					return err
				}
				if err := w.visit(entries.Value(), level+1); err != nil {
					return err
				}
			}
			return nil
		})
	case reflect.Struct:
		for i := range v.NumField() {
			if err := w.visit(v.Field(i), level+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *loopWalk) elements(v reflect.Value, level int) error {
	for i := range v.Len() {
		if err := w.visit(v.Index(i), level+1); err != nil {
			return err
		}
	}
	return nil
}

// enter calls within, unless the walk is where v points already.
func (w *loopWalk) enter(v reflect.Value, n int, within func() error) error {
	if v.IsNil() {
		return nil
	}
	p := place{v.Pointer(), v.Type(), n}
	if w.on[p] {
		return fmt.Errorf("value of type %v contains itself", v.Type())
	}
	w.on[p] = true
	defer delete(w.on, p)
	return within()
}
