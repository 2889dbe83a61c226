package gates

import (
	"fmt"
	"strings"

	"github.com/batpak/batpak/event"
)

// A Denial is the no of a gate: which gate, a code for programs, a message for people, and facts in the order in which
// they were added. It is an error that matches [event.ErrDenied].
type Denial struct {
	Gate    string `json:"gate"` // set by the [Set]
	Code    string `json:"code"`
	Message string `json:"message"`
	Context []Pair `json:"context,omitempty"`
	Trace   Trace  `json:"trace"` // set by the [Set]
}

// A Pair is a fact of a denial.
type Pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Deny returns a denial with this code and a message formatted as by fmt.Sprintf.
func Deny(code, format string, args ...any) *Denial {
	return &Denial{Code: code, Message: valid(fmt.Sprintf(format, args...))}
}

// With adds a fact, formatted as by fmt.Sprint, and returns d.
func (d *Denial) With(name string, value any) *Denial {
	d.Context = append(d.Context, Pair{name, valid(fmt.Sprint(value))})
	return d
}

// valid makes s text that can be stored in an event.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Error returns "[gate] message".
func (d *Denial) Error() string { return "[" + d.Gate + "] " + d.Message }

// Is reports whether target is [event.ErrDenied].
func (d *Denial) Is(target error) bool { return target == event.ErrDenied }

// A Trace tells how a denial came about: what was proposed, and each gate of the set with its verdict, in order.
type Trace struct {
	Pipeline    string           `json:"pipeline,omitempty"`
	Kind        event.Kind       `json:"kind"`
	At          event.Coordinate `json:"at"`
	Evaluations []Evaluation     `json:"evaluations"`
}

// An Evaluation is what one gate said.
type Evaluation struct {
	Gate    string  `json:"gate"`
	Verdict Verdict `json:"verdict"`
	Code    string  `json:"code,omitempty"`    // of a denial
	Message string  `json:"message,omitempty"` // of a denial
}

// A Verdict is what became of one gate.
type Verdict uint8

// Verdicts. Skipped are the gates behind the first that said no.
const (
	Permitted Verdict = iota + 1
	Denied
	Skipped
)

// String returns "permitted", "denied" or "skipped".
func (v Verdict) String() string {
	switch v {
	case Permitted:
		return "permitted"
	case Denied:
		return "denied"
	case Skipped:
		return "skipped"
	}
	return "unknown"
}

// MarshalText returns the same text as String.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (v *Verdict) UnmarshalText(b []byte) error {
	for _, known := range [...]Verdict{Permitted, Denied, Skipped} {
		if known.String() == string(b) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("verdict %.20q is unknown: %w", b, event.ErrInvalid)
}
