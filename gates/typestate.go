package gates

import (
	"fmt"
	"iter"
	"reflect"

	"github.com/batpak/batpak/event"
)

// A Transition is the step from one state to another by an event with payload P. States are Go types, usually empty structs.
// [NewTransition] makes one, once, for all streams.
type Transition[From, To any, P event.Payload] struct {
	_ [0]*From // so that no conversion makes one transition of another
	_ [0]*To
	_ [0]*P
}

// NewTransition returns the transition from From to To by a P. The kind of its events is that of P.
func NewTransition[From, To any, P event.Payload]() Transition[From, To, P] {
	return Transition[From, To, P]{}
}

// AnyTransition is a [Transition] of any types, for [NewMachine].
type AnyTransition interface {
	edge() edge
	registered() event.Registered
}

// An edge is a transition without its types.
type edge struct {
	from, to, payload reflect.Type
}

func (Transition[From, To, P]) edge() edge {
	return edge{reflect.TypeFor[From](), reflect.TypeFor[To](), reflect.TypeFor[P]()}
}

func (Transition[From, To, P]) registered() event.Registered { return event.Register[P]() }

// A Machine is the states that a stream can go through, from Initial, the state of a stream without events. It speaks of lane
// 0 unless [Machine.OnLane] says otherwise. It does not change, and may be used from any goroutine.
type Machine[Initial any] struct {
	lane  event.Lane
	graph *graph
}

// A graph is the transitions of a machine, and the kinds of their payload types.
type graph struct {
	edges map[step]edge
	kinds map[reflect.Type]event.Kind
	types *event.Registry
}

// A step is a state and the kind of the event that it meets.
type step struct {
	from reflect.Type
	kind event.Kind
}

// readable reports why [Resume] could not read the payload, so that no stream comes into a state that it cannot be resumed from. What cannot
// be encoded is left to the commit.
func (g *graph) readable(p *event.Proposal) error {
	t, data, err := p.Encode()
	if err != nil {
		return nil
	}
	e := event.Event{Header: event.Header{Kind: t.Kind, PayloadVersion: t.Version}, Payload: data}
	if _, err := g.types.Decode(e); err != nil {
		return fmt.Errorf("machine: payload %T could not be read again: %w", p.Payload, err)
	}
	return nil
}

// next returns the transition of a step. The nil graph, of a machine that nobody made, has none.
func (g *graph) next(s step) (edge, bool) {
	if g == nil {
		return edge{}, false
	}
	e, ok := g.edges[s]
	return e, ok
}

// NewMachine returns the machine of these transitions. It refuses, with an error that matches [event.ErrInvalid], a nil
// transition, two transitions from one state with one kind, two states of one name, and payload types that
// [event.NewRegistry] refuses.
func NewMachine[Initial any](transitions ...AnyTransition) (*Machine[Initial], error) {
	g := &graph{edges: make(map[step]edge, len(transitions)), kinds: map[reflect.Type]event.Kind{}}
	initial := reflect.TypeFor[Initial]()
	states := map[string]reflect.Type{stateName(initial): initial}
	var types []event.Registered
	for i, t := range transitions {
		if v := reflect.ValueOf(t); t == nil || v.Kind() == reflect.Pointer && v.IsNil() {
			return nil, fmt.Errorf("machine: transition %d is nil: %w", i, event.ErrInvalid)
		}
		e := t.edge()
		for _, state := range [...]reflect.Type{e.from, e.to} {
			if other, ok := states[stateName(state)]; ok && other != state {
				return nil, fmt.Errorf("machine has two states %q: %w", stateName(state), event.ErrInvalid)
			}
			states[stateName(state)] = state
		}
		if _, known := g.kinds[e.payload]; !known {
			types = append(types, t.registered())
		}
		if err := g.add(e, t.registered()); err != nil {
			return nil, err
		}
	}
	var err error
	if g.types, err = event.NewRegistry(types...); err != nil {
		return nil, fmt.Errorf("machine: %w", err)
	}
	return &Machine[Initial]{graph: g}, nil
}

// add adds a transition, whose payload type is t.
func (g *graph) add(e edge, t event.Registered) error {
	kind, err := kindOf(t)
	if err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	s := step{e.from, kind}
	if other, ok := g.edges[s]; ok {
		return fmt.Errorf("machine has two transitions from %s by kind %s, to %s and to %s: %w",
			stateName(e.from), kind, stateName(other.to), stateName(e.to), event.ErrInvalid)
	}
	g.edges[s], g.kinds[e.payload] = e, kind
	return nil
}

// stateName returns the name of a state without its package, if it has one.
func stateName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}

// OnLane returns the same machine for the streams of another lane.
func (m *Machine[Initial]) OnLane(l event.Lane) *Machine[Initial] {
	return &Machine[Initial]{l, m.graph}
}

// In says that a stream is in state S, with so many events. [Machine.Begin], [Resume] and [Apply] make it; the zero In is
// refused. It is a value: when the stream has moved on, whoever still holds it is told so by the store, with a conflict.
type In[S any] struct {
	_     [0]*S // so that no conversion makes one state of another
	at    event.Coordinate
	lane  event.Lane
	clock event.Clock
	graph *graph // of the machine; nil if nobody made the handle
}

// Clock returns the clock of the stream's newest event, 0 if it has none.
func (i In[S]) Clock() event.Clock { return i.clock }

// At returns the coordinate that the next event will have.
func (i In[S]) At() event.Coordinate { return i.at }

// Begin returns the handle of a stream that has no event yet. That it has none is checked by the append.
func (m *Machine[Initial]) Begin(at event.Coordinate) In[Initial] {
	return In[Initial]{at: at, lane: m.lane, graph: m.graph}
}

// Apply takes a stream from one state to the next: it calls commit, in practice the Commit method of a store, with the
// payload as a proposal that expects the stream to be as in says, and returns the handle of the new state and the
// receipt. If another event came first the error is that of commit, a conflict. A handle that nobody made is [ErrForged];
// a transition that the handle's machine does not have matches [event.ErrInvalid].
func Apply[From, To any, P event.Payload, R any](commit func(...event.Proposal) ([]R, error), t Transition[From, To, P], in In[From], p P) (In[To], R, error) {
	var none R
	if in.graph == nil {
		return In[To]{}, none, fmt.Errorf("handle %w", ErrForged)
	}
	e := t.edge()
	if known, _ := in.graph.next(step{e.from, in.graph.kinds[e.payload]}); known != e {
		return In[To]{}, none, fmt.Errorf("machine has no transition from %s to %s by %s: %w", stateName(e.from), stateName(e.to), e.payload, event.ErrInvalid)
	}
	expect := event.ExpectClock(in.clock)
	if in.clock == 0 {
		expect = event.ExpectEmpty()
	}
	proposal := event.Proposal{At: in.at, Lane: in.lane, Payload: p, Expect: expect}
	if err := in.graph.readable(&proposal); err != nil {
		return In[To]{}, none, err
	}
	receipts, err := commit(proposal)
	if err != nil {
		return In[To]{}, none, err
	}
	if len(receipts) != 1 {
		return In[To]{}, none, fmt.Errorf("commit of 1 proposal returned %d receipts", len(receipts))
	}
	return In[To]{at: in.at, lane: in.lane, clock: in.clock + 1, graph: in.graph}, receipts[0], nil
}

// Resume returns the handle of a stream whose events lead to state S: all of them, in order, from the first. The next
// events will have the coordinate at. The error is a [*StateError] if the stream is in another state, a
// [*TransitionError] if the machine has no way for one of the events, an [*event.DecodeError] if the payload of one is not of its
// type, or newer, that of the sequence, or matches [event.ErrInvalid] if these are not the events of the entity in the machine's
// lane.
func Resume[S, Initial any](m *Machine[Initial], at event.Coordinate, events iter.Seq2[event.Event, error]) (In[S], error) {
	state, clock, err := m.replay(at.Entity, events)
	if err != nil {
		return In[S]{}, err
	}
	if want := reflect.TypeFor[S](); state != want {
		return In[S]{}, &StateError{Want: stateName(want), Have: stateName(state)}
	}
	return In[S]{at: at, lane: m.lane, clock: clock, graph: m.graph}, nil
}

// StateOf returns the name of the state that the events of a stream lead to, and the clock of the last one, for code that
// must branch before it can call [Resume]. The name is that of the Go type, without its package. The errors are those of
// Resume.
func (m *Machine[Initial]) StateOf(events iter.Seq2[event.Event, error]) (string, event.Clock, error) {
	state, clock, err := m.replay("", events)
	if err != nil {
		return "", 0, err
	}
	return stateName(state), clock, nil
}

// replay follows the events of an entity, or of that of the first event.
func (m *Machine[Initial]) replay(entity string, events iter.Seq2[event.Event, error]) (reflect.Type, event.Clock, error) {
	state, clock := reflect.TypeFor[Initial](), event.Clock(0)
	for e, err := range events {
		if err != nil {
			return nil, 0, err
		}
		if entity == "" {
			entity = e.Entity
		}
		if want := (event.Stream{Entity: entity, Lane: m.lane}); e.Stream() != want || e.Clock != clock+1 {
			return nil, 0, fmt.Errorf("event %d, clock %d of %s/%d, is not clock %d of %s/%d: %w",
				e.Seq, e.Clock, e.Entity, e.Lane, clock+1, want.Entity, want.Lane, event.ErrInvalid)
		}
		next, ok := m.graph.next(step{state, e.Kind})
		if !ok {
			return nil, 0, &TransitionError{Event: e, State: stateName(state)}
		}
		if _, err := m.graph.types.Decode(e); err != nil {
			return nil, 0, err
		}
		state, clock = next.to, e.Clock
	}
	return state, clock, nil
}

// A TransitionError says that a stream has an event which its machine does not allow there. It matches [event.ErrInvalid].
type TransitionError struct {
	Event event.Event
	State string // that the event met
}

// Error names the event and the state.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("event %d (clock %d, kind %s) has no transition from state %s", e.Event.Seq, e.Event.Clock, e.Event.Kind, e.State)
}

// Is reports whether target is [event.ErrInvalid].
func (e *TransitionError) Is(target error) bool { return target == event.ErrInvalid }

// A StateError says that a stream is in another state than asked for. It matches [event.ErrConflict].
type StateError struct {
	Want, Have string
}

// Error names both.
func (e *StateError) Error() string {
	return fmt.Sprintf("stream is in state %s, not %s", e.Have, e.Want)
}

// Is reports whether target is [event.ErrConflict].
func (e *StateError) Is(target error) bool { return target == event.ErrConflict }
