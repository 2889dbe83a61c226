package event

import (
	"encoding"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// maxLevels bounds how many pointers, structs, maps and lists may lie within each other in a value that is encoded: for each of
// the levels that canonical CBOR may have there can be some that leave no trace in it.
const maxLevels = 8 * maxPayloadDepth

// loops remembers of types whether a value can contain itself, or be as deep as it likes: reflect.Type → bool.
var loops sync.Map

// checkLoops returns an error if v contains itself, or is deeper than anything that can be decoded: the encoder would go round
// until the stack is full, which ends the process.
func checkLoops(v any) error {
	if v == nil || !canLoop(reflect.TypeOf(v)) {
		return nil
	}
	w := loopWalk{on: map[place]bool{}}
	return w.visit(reflect.ValueOf(v), 0)
}

func canLoop(t reflect.Type) bool {
	if known, ok := loops.Load(t); ok {
		return known.(bool)
	}
	can := hasLoop(t, map[reflect.Type]bool{})
	loops.Store(t, can)
	return can
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
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return hasLoop(t.Elem(), within)
	case reflect.Map:
		return hasLoop(t.Key(), within) || hasLoop(t.Elem(), within)
	case reflect.Struct:
		for i := range t.NumField() {
			if hasLoop(t.Field(i).Type, within) {
				return true
			}
		}
	}
	return false
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
	if !v.IsValid() || v.Kind() != reflect.Interface && (!canLoop(v.Type()) || encodesItself(v.Type())) {
		return nil
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
