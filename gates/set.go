package gates

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/batpak/batpak/event"
)

// A Set is gates in order. It does not change, and may be used from any goroutine. The nil Set and the empty one pass
// everything.
type Set[C any] struct {
	gates []Gate[C]
}

// NewSet returns the set of these gates. The error matches [event.ErrInvalid]: for a name that is empty, not printable ASCII
// or there twice, for a gate without Check, and for one that [On] made for a type that is no payload type.
func NewSet[C any](gates ...Gate[C]) (*Set[C], error) {
	seen := make(map[string]bool, len(gates))
	for i, g := range gates {
		switch {
		case !printable(g.Name):
			return nil, fmt.Errorf("gate %d: name %q is not printable ASCII: %w", i, g.Name, event.ErrInvalid)
		case seen[g.Name]:
			return nil, fmt.Errorf("gate %d: name %q is there twice: %w", i, g.Name, event.ErrInvalid)
		case g.bad != nil:
			return nil, fmt.Errorf("gate %d: %q: %w", i, g.Name, g.bad)
		case g.Check == nil:
			return nil, fmt.Errorf("gate %d: %q has no check: %w", i, g.Name, event.ErrInvalid)
		}
		seen[g.Name] = true
	}
	return &Set[C]{slices.Clone(gates)}, nil
}

// printable reports whether name is one or more printable ASCII characters.
func printable(name string) bool {
	for i := range len(name) {
		if name[i] < 0x20 || name[i] > 0x7E {
			return false
		}
	}
	return name != ""
}

// Names returns the names of the gates, in order.
func (s *Set[C]) Names() []string {
	var names []string
	for _, g := range s.list() {
		names = append(names, g.Name)
	}
	return names
}

// Judge asks the gates in order and returns the first no, with its trace, or nil if there is none. They see a copy of e. A gate
// that panics, or changes that copy, is a no with [CodeDefect]: so all judge what the caller has. A denial is the caller's own,
// also if the gate returns the same one each time.
func (s *Set[C]) Judge(c C, e event.Event) *Denial { return s.judge("", c, e) }

func (s *Set[C]) judge(pipeline string, c C, e event.Event) *Denial {
	if len(s.list()) == 0 {
		return nil
	}
	seen := copied(&e)
	for i, g := range s.gates {
		d := g.ask(c, seen)
		if d == nil && !same(&e, &seen) {
			d = g.changed()
		}
		if d != nil {
			answers := make([]*Denial, len(s.gates))
			answers[i] = d
			d.Trace = s.trace(pipeline, &e, answers, i+1)
			return d
		}
	}
	return nil
}

// JudgeAll asks every gate and returns all denials in order, each with the trace of the whole. What a panic or a change is to
// [Set.Judge], it is here.
func (s *Set[C]) JudgeAll(c C, e event.Event) []*Denial {
	var denials []*Denial
	answers := make([]*Denial, len(s.list()))
	seen := copied(&e)
	for i, g := range s.list() {
		d := g.ask(c, seen)
		if !same(&e, &seen) {
			d, seen = cmp.Or(d, g.changed()), copied(&e)
		}
		if d != nil {
			answers[i] = d
			denials = append(denials, d)
		}
	}
	for _, d := range denials {
		d.Trace = s.trace("", &e, answers, len(answers))
	}
	return denials
}

// Evaluate asks the gates in order about a proposal and returns the permit to append it. The error is a [*Denial], or
// says why the proposal has no event: its coordinate or payload is wrong, or it carries [BypassExtension].
func (s *Set[C]) Evaluate(c C, p event.Proposal) (Permit, error) { return s.evaluate("", c, p) }

func (s *Set[C]) evaluate(pipeline string, c C, p event.Proposal) (Permit, error) {
	permit, err := freeze(p, Audit{Pipeline: pipeline, Gates: s.Names()})
	if err != nil {
		return Permit{}, err
	}
	e, err := judged(&permit.state.proposal) // what is frozen is what is judged
	if err != nil {
		return Permit{}, err
	}
	if d := s.judge(pipeline, c, e); d != nil {
		return Permit{}, d
	}
	return permit, nil
}

// EvaluateAll returns all that the gates have against a proposal, and never a permit. The error is that of [Set.Evaluate]
// where there is no event to judge.
func (s *Set[C]) EvaluateAll(c C, p event.Proposal) ([]*Denial, error) {
	e, err := judged(&p)
	if err != nil {
		return nil, err
	}
	return s.JudgeAll(c, e), nil
}

// list returns the gates, of the nil set too.
func (s *Set[C]) list() []Gate[C] {
	if s == nil {
		return nil
	}
	return s.gates
}

// copied returns a copy of an event for gates to see.
func copied(e *event.Event) event.Event {
	c := *e
	c.Header, c.Payload = e.Header.Clone(), bytes.Clone(e.Payload)
	return c
}

// same reports whether all is as it was that a gate can write to.
func same(e, seen *event.Event) bool {
	return bytes.Equal(e.Payload, seen.Payload) && maps.EqualFunc(e.Extensions, seen.Extensions, bytes.Equal)
}

// changed is the answer of a gate that has changed what it was to judge.
func (g *Gate[C]) changed() *Denial {
	d := Deny(CodeDefect, "gate changed the event")
	d.Gate = g.Name
	return d
}

// ask returns the gate's answer as a denial of its own, so that one which the gate keeps is never written to.
func (g *Gate[C]) ask(c C, e event.Event) (d *Denial) {
	defer func() {
		if r := recover(); r != nil {
			d = Deny(CodeDefect, "gate panicked: %v", r)
			d.Gate = g.Name
		}
	}()
	answer := g.Check(c, e)
	if answer == nil {
		return nil
	}
	own := *answer
	own.Gate, own.Context = g.Name, slices.Clone(answer.Context)
	return &own
}

// trace tells what the first asked gates answered. Nil is a yes.
func (s *Set[C]) trace(pipeline string, e *event.Event, answers []*Denial, asked int) Trace {
	t := Trace{Pipeline: pipeline, Kind: e.Kind, At: e.Coordinate()}
	for i, g := range s.gates {
		v := Evaluation{Gate: g.Name, Verdict: Permitted}
		switch d := answers[i]; {
		case i >= asked:
			v.Verdict = Skipped
		case d != nil:
			v.Verdict, v.Code, v.Message = Denied, d.Code, d.Message
		}
		t.Evaluations = append(t.Evaluations, v)
	}
	return t
}
