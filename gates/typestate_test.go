package gates_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// A door: shut → open → shut, shut → locked → shut, and from open for ever gone.
type (
	shut   struct{}
	open   struct{}
	locked struct{}
	gone   struct{}

	opened   struct{ Wide bool }
	closed   struct{}
	lockedBy struct{ Who string }
	unlocked struct{}
	removed  struct{}
)

func (opened) EventType() event.Type   { return event.Type{Kind: 0x1001, Name: "opened", Version: 1} }
func (closed) EventType() event.Type   { return event.Type{Kind: 0x1002, Name: "closed", Version: 1} }
func (lockedBy) EventType() event.Type { return event.Type{Kind: 0x1003, Name: "locked", Version: 1} }
func (unlocked) EventType() event.Type { return event.Type{Kind: 0x1004, Name: "unlocked", Version: 1} }
func (removed) EventType() event.Type  { return event.Type{Kind: 0x1005, Name: "removed", Version: 1} }

var (
	opening   = gates.NewTransition[shut, open, opened]()
	closing   = gates.NewTransition[open, shut, closed]()
	locking   = gates.NewTransition[shut, locked, lockedBy]()
	unlocking = gates.NewTransition[locked, shut, unlocked]()
	removing  = gates.NewTransition[open, gone, removed]()

	door = event.At("door:1", "house")
)

func doors(t testing.TB) *gates.Machine[shut] {
	t.Helper()
	m, err := gates.NewMachine[shut](opening, closing, locking, unlocking, removing)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameKind is another payload type with the kind of opened.
type sameKind struct{}

func (sameKind) EventType() event.Type { return event.Type{Kind: 0x1001, Name: "same", Version: 1} }

type reserved struct{}

func (reserved) EventType() event.Type { return event.Type{Kind: 0xD001, Name: "reserved", Version: 1} }

type versionless struct{}

func (versionless) EventType() event.Type { return event.Type{Kind: 0x1009, Name: "versionless"} }

func TestNewMachine(t *testing.T) {
	type shut struct{} // another state of that name
	for name, list := range map[string][]gates.AnyTransition{
		"two of one kind":           {opening, gates.NewTransition[shutAlias, gone, opened]()},
		"the same one twice":        {opening, opening},
		"two types of one kind":     {opening, gates.NewTransition[open, gone, sameKind]()},
		"reserved kind":             {gates.NewTransition[shutAlias, gone, reserved]()},
		"version 0":                 {gates.NewTransition[shutAlias, gone, versionless]()},
		"two states of one name":    {opening, gates.NewTransition[open, shut, closed]()},
		"one named as the initial":  {gates.NewTransition[open, shut, closed]()},
		"one kind from there twice": {closing, gates.NewTransition[open, gone, closed]()},
		"by a pointer":              {gates.NewTransition[shutAlias, open, *opened]()},
		"by an interface":           {opening, gates.NewTransition[open, gone, event.Payload]()},
		"nil":                       {nil},
		"nil behind another":        {opening, nil},
		"a nil pointer":             {(*gates.Transition[shutAlias, open, opened])(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := gates.NewMachine[shutAlias](list...); !errors.Is(err, event.ErrInvalid) || m != nil {
				t.Errorf("got %v, %v", m, err)
			}
		})
	}
	// One payload type may lead from several states.
	if _, err := gates.NewMachine[shutAlias](opening, gates.NewTransition[locked, open, opened]()); err != nil {
		t.Error(err)
	}
	if _, err := gates.NewMachine[shutAlias](); err != nil {
		t.Error(err)
	}
}

type shutAlias = shut

// What cannot be the event of a transition is named in the error.
func TestNewMachineNamesTheType(t *testing.T) {
	for want, transition := range map[string]gates.AnyTransition{
		"*gates_test.opened": gates.NewTransition[shut, open, *opened](), "event.Payload": gates.NewTransition[shut, open, event.Payload](),
	} {
		_, err := gates.NewMachine[shut](transition)
		if bad := new(event.TypeError); !errors.As(err, &bad) || bad.GoType != want {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestApply(t *testing.T) {
	store, m := openStore(t), doors(t)
	isShut := m.Begin(door)
	isOpen, receipt, err := gates.Apply(store.Commit, opening, isShut, opened{Wide: true})
	if err != nil || receipt.Clock != 1 || isOpen.Clock() != 1 || isOpen.At() != door {
		t.Fatal(receipt, err)
	}
	if _, _, err := gates.Apply(store.Commit, locking, isShut, lockedBy{"me"}); !errors.Is(err, event.ErrConflict) {
		t.Error("a stale handle of an empty stream:", err)
	}
	again, _, err := gates.Apply(store.Commit, closing, isOpen, closed{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := gates.Apply(store.Commit, removing, isOpen, removed{}); !errors.Is(err, event.ErrConflict) {
		t.Error("a stale handle:", err)
	}
	if _, _, err := gates.Apply(store.Commit, locking, again, lockedBy{"me"}); err != nil {
		t.Error(err)
	}
	resumed, err := gates.Resume[locked](m, door, store.Query(event.Query{Entity: "door:1"}))
	if err != nil || resumed.Clock() != 3 {
		t.Fatal(resumed, err)
	}
	if _, _, err := gates.Apply(store.Commit, unlocking, resumed, unlocked{}); err != nil {
		t.Error(err)
	}
	_, err = gates.Resume[locked](m, door, store.Query(event.Query{Entity: "door:1"}))
	var wrong *gates.StateError
	if !errors.As(err, &wrong) || *wrong != (gates.StateError{Want: "locked", Have: "shut"}) || !errors.Is(err, event.ErrConflict) {
		t.Error(err)
	}
}

func TestApplyRefuses(t *testing.T) {
	var l ledger
	m := doors(t)
	if _, _, err := gates.Apply(l.commit, opening, gates.In[shut]{}, opened{}); !errors.Is(err, gates.ErrForged) {
		t.Error("zero handle:", err)
	}
	var read struct{ In gates.In[shut] }
	if err := json.Unmarshal([]byte(`{"In":{"at":{"Entity":"door:1","Scope":"house"},"clock":0}}`), &read); err != nil {
		t.Fatal(err)
	}
	if _, _, err := gates.Apply(l.commit, opening, read.In, opened{}); !errors.Is(err, gates.ErrForged) {
		t.Error("handle that was read:", err)
	}
	if _, _, err := gates.Apply(l.commit, opening, new(gates.Machine[shut]).Begin(door), opened{}); !errors.Is(err, gates.ErrForged) {
		t.Error("handle of no machine:", err)
	}
	foreign := gates.NewTransition[shut, gone, removed]()
	if _, _, err := gates.Apply(l.commit, foreign, m.Begin(door), removed{}); !errors.Is(err, event.ErrInvalid) {
		t.Error("transition of no machine:", err)
	}
	elsewhere := gates.NewTransition[shut, gone, opened]()
	if _, _, err := gates.Apply(l.commit, elsewhere, m.Begin(door), opened{}); !errors.Is(err, event.ErrInvalid) {
		t.Error("transition to another state:", err)
	}
	if _, _, err := gates.Apply(l.commit, gates.NewTransition[shut, open, *opened](), m.Begin(door), nil); !errors.Is(err, event.ErrInvalid) {
		t.Error("transition by a pointer:", err)
	}
	if _, _, err := gates.Apply(l.commit, gates.NewTransition[shut, open, event.Payload](), m.Begin(door), nil); !errors.Is(err, event.ErrInvalid) {
		t.Error("transition by an interface:", err)
	}
	if len(l.proposals) > 0 {
		t.Error(l.proposals)
	}
	silent := func(...event.Proposal) ([]int, error) { return nil, nil }
	if next, _, err := gates.Apply(silent, opening, m.Begin(door), opened{}); err == nil || next != (gates.In[open]{}) {
		t.Error("commit without a receipt:", err)
	}
}

// A stuck is a payload that can be encoded and not decoded.
type stuck struct{ By fmt.Stringer }

func (stuck) EventType() event.Type { return event.Type{Kind: 0x1009, Name: "stuck", Version: 1} }

// TestApplyWhatCannotBeRead: a stream must not come into a state that it cannot be resumed from.
func TestApplyWhatCannotBeRead(t *testing.T) {
	stick := gates.NewTransition[shut, open, stuck]()
	m, err := gates.NewMachine[shut](stick)
	if err != nil {
		t.Fatal(err)
	}
	store := openStore(t)
	if _, _, err := gates.Apply(store.Commit, stick, m.Begin(door), stuck{time.Second}); !errors.Is(err, event.ErrInvalid) || store.Visible() != 0 {
		t.Errorf("%d events, %v", store.Visible(), err)
	}
}

func TestOnLane(t *testing.T) {
	store, m := openStore(t), doors(t)
	third := m.OnLane(3)
	if _, receipt, err := gates.Apply(store.Commit, opening, third.Begin(door), opened{}); err != nil || receipt.Lane != 3 {
		t.Fatal(receipt, err)
	}
	if _, receipt, err := gates.Apply(store.Commit, locking, m.Begin(door), lockedBy{}); err != nil || receipt.Lane != 0 {
		t.Fatal(receipt, err)
	}
	lane := event.Query{Entity: "door:1", Lane: new(event.Lane(3))}
	isOpen, err := gates.Resume[open](third, door, store.Query(lane))
	if err != nil {
		t.Fatal(err)
	}
	isShut, receipt, err := gates.Apply(store.Commit, closing, isOpen, closed{})
	if err != nil || receipt.Lane != 3 || receipt.Clock != 2 {
		t.Error(receipt, err)
	}
	if _, receipt, err := gates.Apply(store.Commit, opening, isShut, opened{}); err != nil || receipt.Lane != 3 || receipt.Clock != 3 {
		t.Error(receipt, err)
	}
	for name, events := range map[string]iter.Seq2[event.Event, error]{"another": store.Query(lane), "both": store.Query(event.Query{Entity: "door:1"})} {
		if _, err := gates.Resume[locked](m, door, events); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s lane: %v", name, err)
		}
	}
}

// history yields events of a door with these kinds, and then the error, if there is one.
func history(err error, kinds ...event.Kind) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for i, k := range kinds {
			e := event.Event{Header: event.Header{Entity: "door:1", Scope: "house", Seq: event.Seq(10 * i), Clock: event.Clock(i + 1), Kind: k}, Payload: []byte{0xA0}}
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(event.Event{}, err)
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	m := doors(t)
	_, err := gates.Resume[shut](m, door, history(nil, 0x1001, 0x1002, 0x1004, 0x1001))
	var illegal *gates.TransitionError
	if !errors.As(err, &illegal) || illegal.Event.Clock != 3 || illegal.State != "shut" || !errors.Is(err, event.ErrInvalid) {
		t.Error(err)
	}
	if _, err := gates.Resume[open](m, door, history(event.ErrCorrupt, 0x1001)); !errors.Is(err, event.ErrCorrupt) {
		t.Error(err)
	}
	if _, err := gates.Resume[open](m, event.At("door:2", "house"), history(nil, 0x1001)); !errors.Is(err, event.ErrInvalid) {
		t.Error("events of another entity:", err)
	}
	for name, change := range map[string]func(all []event.Event) []event.Event{
		"first missing":  func(all []event.Event) []event.Event { return all[1:] },
		"middle missing": func(all []event.Event) []event.Event { return slices.Delete(all, 1, 3) },
		"backwards":      func(all []event.Event) []event.Event { slices.Reverse(all); return all },
		"mixed":          func(all []event.Event) []event.Event { all[2].Entity = "door:2"; return all },
	} {
		var all []event.Event
		for e := range history(nil, 0x1001, 0x1002, 0x1001, 0x1002, 0x1001) {
			all = append(all, e)
		}
		events := func(yield func(event.Event, error) bool) {
			for _, e := range change(all) {
				if !yield(e, nil) {
					return
				}
			}
		}
		if name, _, err := m.StateOf(events); !errors.Is(err, event.ErrInvalid) {
			t.Error(name, err)
		}
		_ = name
	}
	if name, _, err := new(gates.Machine[shut]).StateOf(history(nil, 0x1001)); !errors.As(err, &illegal) {
		t.Error("a machine that nobody made:", name, err)
	}
	if want := "event 0 (clock 1, kind 0x1001) has no transition from state shut"; illegal.Error() != want {
		t.Errorf("got %q", illegal)
	}
	for name, tt := range map[string]struct {
		version uint16
		payload []byte
		want    error
	}{
		"no CBOR":         {0, []byte("garbage"), event.ErrInvalid},
		"of another type": {1, []byte{0x01}, event.ErrInvalid},
		"newer":           {2, []byte{0xA0}, event.ErrFutureVersion},
	} {
		events := func(yield func(event.Event, error) bool) {
			for e := range history(nil, 0x1001) {
				e.PayloadVersion, e.Payload = tt.version, tt.payload
				yield(e, nil)
			}
		}
		var decode *event.DecodeError
		if _, err := gates.Resume[open](m, door, events); !errors.Is(err, tt.want) || !errors.As(err, &decode) {
			t.Errorf("payload that is %s: %v", name, err)
		}
	}
	if in, err := gates.Resume[shut](m, door, history(nil)); err != nil || in.Clock() != 0 {
		t.Error("a stream without events:", in, err)
	}
	if _, err := gates.Resume[open](m, door, history(nil)); !errors.As(err, new(*gates.StateError)) {
		t.Error(err)
	}
}

// A random walk through the machine is resumed where it stands, and one with a wrong step is not.
func TestResumeWalks(t *testing.T) {
	m := doors(t)
	steps := map[string]map[event.Kind]string{
		"shut":   {0x1001: "open", 0x1003: "locked"},
		"open":   {0x1002: "shut", 0x1005: "gone"},
		"locked": {0x1004: "shut"},
		"gone":   {},
	}
	rapid.Check(t, func(t *rapid.T) {
		state, bad := "shut", 0
		kinds := rapid.SliceOf(rapid.SampledFrom([]event.Kind{0x1001, 0x1002, 0x1003, 0x1004, 0x1005, 0x1006})).Draw(t, "kinds")
		strict := rapid.Bool().Draw(t, "strict")
		var walk []event.Kind
		for _, k := range kinds {
			next, ok := steps[state][k]
			if !ok && !strict {
				continue
			}
			walk = append(walk, k)
			if !ok {
				bad = len(walk)
				break
			}
			state = next
		}
		got, clock, err := m.StateOf(history(nil, walk...))
		var illegal *gates.TransitionError
		switch {
		case bad > 0:
			if !errors.As(err, &illegal) || illegal.State != state || illegal.Event.Clock != event.Clock(bad) {
				t.Fatal(got, err)
			}
		case err != nil || got != state || clock != event.Clock(len(walk)):
			t.Fatal(got, clock, err)
		}
		for name, resume := range map[string]func() (event.Clock, error){
			"shut": func() (event.Clock, error) {
				in, err := gates.Resume[shut](m, door, history(nil, walk...))
				return in.Clock(), err
			},
			"open": func() (event.Clock, error) {
				in, err := gates.Resume[open](m, door, history(nil, walk...))
				return in.Clock(), err
			},
			"locked": func() (event.Clock, error) {
				in, err := gates.Resume[locked](m, door, history(nil, walk...))
				return in.Clock(), err
			},
			"gone": func() (event.Clock, error) {
				in, err := gates.Resume[gone](m, door, history(nil, walk...))
				return in.Clock(), err
			},
		} {
			at, err := resume()
			if (err == nil) != (bad == 0 && name == state) || err == nil && at != clock {
				t.Fatal(name, at, err)
			}
		}
	})
}

// Of two who hold the same handle, one goes on.
func TestApplyRace(t *testing.T) {
	store, m := openStore(t), doors(t)
	results := make(chan error)
	for i := range 8 {
		go func() {
			_, _, err := gates.Apply(store.Commit, locking, m.Begin(door), lockedBy{fmt.Sprint(i)})
			results <- err
		}()
	}
	won := 0
	for range 8 {
		if err := <-results; err == nil {
			won++
		} else if !errors.As(err, new(*batpak.ConflictError)) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}
