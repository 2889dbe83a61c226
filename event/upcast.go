package event

import "fmt"

// An Upcaster is a payload type that has had other versions. Upcasts returns one step from each version before the current
// one, in any order, and the same ones for every value. [NewRegistry] and [NewRouter] check that none is missing.
type Upcaster interface {
	Payload
	Upcasts() []Step
}

// A Step lifts a payload of one version to the next; [Upcast] makes it.
type Step struct {
	from uint16
	lift func([]byte) ([]byte, error)
}

// Upcast returns the step from version from to the one after it. Old is anything that decodes a payload of that version:
// the struct of then, or map[string]any. New is what encodes as one of the next. f is called on a decoded copy, from any
// goroutine, and must return equal values for equal ones. That it fails or panics is an error of [Decode].
func Upcast[Old, New any](from uint16, f func(Old) (New, error)) Step {
	if f == nil {
		return Step{from: from} // which NewRegistry refuses
	}
	return Step{from, func(payload []byte) (lifted []byte, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		old, err := decodeNew[Old](payload)
		if err != nil {
			return nil, err
		}
		next, err := f(old)
		if err != nil {
			return nil, err
		}
		return Marshal(next)
	}}
}

// lift returns a payload of type t and an older version as one of the current version. p is a value of the type.
func lift(p Payload, t Type, version uint16, payload []byte) ([]byte, error) {
	u, ok := p.(Upcaster)
	if !ok {
		return nil, fmt.Errorf("the code has version %d and no upcasts: %w", t.Version, ErrPastVersion)
	}
	steps, err := stepsOf(u)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPastVersion, err)
	}
	for ; version < t.Version; version++ {
		step := stepFrom(steps, version)
		if step == nil || step.lift == nil {
			return nil, fmt.Errorf("no upcast from version %d: %w", version, ErrPastVersion)
		}
		if payload, err = step.lift(payload); err != nil {
			return nil, fmt.Errorf("upcast from version %d: %w: %w", version, ErrPastVersion, err)
		}
	}
	return payload, nil
}

// stepsOf returns the steps of a type, which cannot say them if it has the method from an embedded nil.
func stepsOf(u Upcaster) (steps []Step, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%T panics when asked for its upcasts: %v", u, r)
		}
	}()
	return u.Upcasts(), nil
}

func stepFrom(steps []Step, version uint16) *Step {
	for i := range steps {
		if steps[i].from == version {
			return &steps[i]
		}
	}
	return nil
}

// checkSteps reports the first reason why not every version of the type can be lifted, or "".
func checkSteps(p Payload, t Type) string {
	var steps []Step
	if u, ok := p.(Upcaster); ok {
		var err error
		if steps, err = stepsOf(u); err != nil {
			return "has upcasts that cannot be asked for: " + err.Error()
		}
	}
	seen := make(map[uint16]bool, len(steps))
	for _, s := range steps {
		switch {
		case s.from == 0 || s.from >= t.Version:
			return fmt.Sprintf("has an upcast from version %d and is version %d", s.from, t.Version)
		case s.lift == nil:
			return fmt.Sprintf("has an upcast from version %d without a function", s.from)
		case seen[s.from]:
			return fmt.Sprintf("has two upcasts from version %d", s.from)
		}
		seen[s.from] = true
	}
	for v := uint16(1); v < t.Version; v++ {
		if !seen[v] {
			return fmt.Sprintf("has no upcast from version %d to %d", v, v+1)
		}
	}
	return ""
}
