package gates

import "github.com/batpak/batpak/event"

// A Gate judges one proposed event. Check gets what its caller knows (who asks, which limits hold) and the event as it would
// be appended: payload encoded, header filled in as far as it is known before the append, which is entity, scope, lane,
// kind, payload version and length, key, correlation, causation and extensions. Nil is a yes.
//
// Check is pure: it answers the same for the same arguments, changes nothing, the event least of all, and is called from any
// goroutine.
type Gate[C any] struct {
	Name  string // printable ASCII, its own within a [Set]
	Check func(c C, e event.Event) *Denial

	bad error // why On could not make the gate, which NewSet says
}

// Codes of the denials that this package makes itself.
const (
	CodeDefect      = "GATE_DEFECT"      // the gate panicked, or changed the event
	CodeUndecodable = "GATE_UNDECODABLE" // the payload is not one of the gate's type
	CodeState       = "GATE_STATE"       // the state to judge with could not be had
)

// On returns a gate for events of one payload type. Events of other kinds pass. A payload that [event.Decode] refuses is
// denied with [CodeUndecodable]. A payload type that [event.NewRegistry] refuses makes a gate without Check, which [NewSet] refuses.
func On[C any, P event.Payload](name string, check func(c C, e event.Event, p P) *Denial) Gate[C] {
	if check == nil {
		return Gate[C]{Name: name} // which NewSet refuses
	}
	kind, err := kindOf(event.Register[P]())
	if err != nil {
		return Gate[C]{Name: name, bad: err}
	}
	return Gate[C]{Name: name, Check: func(c C, e event.Event) *Denial {
		if e.Kind != kind {
			return nil
		}
		p, err := event.Decode[P](e)
		if err != nil {
			return Deny(CodeUndecodable, "payload cannot be judged: %v", err)
		}
		return check(c, e, p)
	}}
}

// kindOf returns the kind of a payload type. The error is that of [event.NewRegistry].
func kindOf(t event.Registered) (event.Kind, error) {
	r, err := event.NewRegistry(t)
	if err != nil {
		return 0, err
	}
	return r.Types()[0].Kind, nil
}
