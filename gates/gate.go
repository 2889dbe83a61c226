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
}

// Codes of the denials that this package makes itself.
const (
	CodeDefect      = "GATE_DEFECT"      // the gate panicked
	CodeUndecodable = "GATE_UNDECODABLE" // the payload is not one of the gate's type
	CodeState       = "GATE_STATE"       // the state to judge with could not be had
)

// On returns a gate for events of one payload type. Events of other kinds pass. A payload that [event.Decode] refuses is
// denied with [CodeUndecodable].
func On[C any, P event.Payload](name string, check func(c C, e event.Event, p P) *Denial) Gate[C] {
	if check == nil {
		return Gate[C]{Name: name} // which NewSet refuses
	}
	var zero P
	kind := zero.EventType().Kind
	return Gate[C]{name, func(c C, e event.Event) *Denial {
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
