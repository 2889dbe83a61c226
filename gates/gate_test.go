package gates_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type caller struct{ Limit int }

type withdrawn struct {
	Amount int `cbor:"amount"`
}

func (withdrawn) EventType() event.Type {
	return event.Type{Kind: 0xF001, Name: "withdrawn", Version: 3}
}

func (withdrawn) Upcasts() []event.Step {
	same := func(w map[string]any) (map[string]any, error) { return w, nil }
	return []event.Step{event.Upcast(1, same), event.Upcast(2, same)}
}

var account = event.At("account:7", "bank")

// setOf returns the set of these gates, which are good.
func setOf[C any](t testing.TB, list ...gates.Gate[C]) *gates.Set[C] {
	t.Helper()
	set, err := gates.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// saying returns a gate that gives this answer and counts in calls.
func saying(name string, d *gates.Denial, calls *[]string) gates.Gate[caller] {
	return gates.Gate[caller]{Name: name, Check: func(caller, event.Event) *gates.Denial {
		*calls = append(*calls, name)
		return d
	}}
}

func preview(t testing.TB, p event.Proposal) event.Event {
	t.Helper()
	e, err := gates.Preview(&p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNewSet(t *testing.T) {
	pass := func(caller, event.Event) *gates.Denial { return nil }
	for name, list := range map[string][]gates.Gate[caller]{
		"no name":          {{Name: "", Check: pass}},
		"name not ASCII":   {{Name: "größe", Check: pass}},
		"name with a line": {{Name: "a\nb", Check: pass}},
		"name twice":       {{Name: "a", Check: pass}, {Name: "b", Check: pass}, {Name: "a", Check: pass}},
		"no check":         {{Name: "a"}},
		"no typed check":   {gates.On[caller, withdrawn]("a", nil)},
		"a pointer":        {gates.On("a", func(caller, event.Event, *withdrawn) *gates.Denial { return nil })},
		"an interface":     {gates.On("a", func(caller, event.Event, event.Payload) *gates.Denial { return nil })},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := gates.NewSet(list...)
			if !errors.Is(err, event.ErrInvalid) || set != nil {
				t.Errorf("got %v, %v", set, err)
			}
			var bad *event.TypeError
			if want := map[string]string{"a pointer": "*gates_test.withdrawn", "an interface": "event.Payload"}[name]; want != "" && (!errors.As(err, &bad) || bad.GoType != want) {
				t.Errorf("%v does not name %s", err, want)
			}
		})
	}
	if _, err := gates.NewSet(gates.Invariant("a", nil, func(int, event.Event) *gates.Denial { return nil })); !errors.Is(err, event.ErrInvalid) {
		t.Error("invariant without fold:", err)
	}
	list := []gates.Gate[caller]{{Name: "a", Check: pass}, {Name: "b c", Check: pass}}
	set := setOf(t, list...)
	list[0].Name = "changed"
	if got := set.Names(); !slices.Equal(got, []string{"a", "b c"}) {
		t.Error(got)
	}
}

// K1: gates that pass, deny and pass. The third is not asked, and the denial names the second.
func TestJudgeStopsAtTheFirstDenial(t *testing.T) {
	var calls []string
	set := setOf(t, saying("first", nil, &calls), saying("second", gates.Deny("NO", "at %d", 5).With("limit", 3).With("who", "me"), &calls), saying("third", nil, &calls))
	got := set.Judge(caller{}, preview(t, event.Proposal{At: account, Payload: withdrawn{5}}))
	if want := []string{"first", "second"}; !slices.Equal(calls, want) {
		t.Errorf("called %q", calls)
	}
	want := &gates.Denial{
		Gate: "second", Code: "NO", Message: "at 5", Context: []gates.Pair{{Name: "limit", Value: "3"}, {Name: "who", Value: "me"}},
		Trace: gates.Trace{Kind: 0xF001, At: account, Evaluations: []gates.Evaluation{
			{Gate: "first", Verdict: gates.Permitted},
			{Gate: "second", Verdict: gates.Denied, Code: "NO", Message: "at 5"},
			{Gate: "third", Verdict: gates.Skipped},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Error() != "[second] at 5" || !errors.Is(got, event.ErrDenied) || errors.Is(got, event.ErrInvalid) {
		t.Error(got)
	}
}

// K2: two denials and one panic are three denials, in order.
func TestJudgeAll(t *testing.T) {
	var calls []string
	broken := gates.Gate[caller]{Name: "broken", Check: func(caller, event.Event) *gates.Denial { panic("no \xFF such key") }}
	set := setOf(t, saying("a", gates.Deny("A", "a"), &calls), broken, saying("c", nil, &calls), saying("d", gates.Deny("D", "d"), &calls))
	p := event.Proposal{At: account, Payload: withdrawn{5}}
	got, err := set.EvaluateAll(caller{}, p)
	if err != nil || len(got) != 3 || !slices.Equal(calls, []string{"a", "c", "d"}) {
		t.Fatal(got, err, calls)
	}
	var codes []string
	for _, d := range got {
		codes = append(codes, d.Gate+" "+d.Code)
		var verdicts []gates.Verdict
		for _, v := range d.Trace.Evaluations {
			verdicts = append(verdicts, v.Verdict)
		}
		if want := []gates.Verdict{gates.Denied, gates.Denied, gates.Permitted, gates.Denied}; !slices.Equal(verdicts, want) {
			t.Error(verdicts)
		}
	}
	if want := []string{"a A", "broken GATE_DEFECT", "d D"}; !slices.Equal(codes, want) {
		t.Error(codes)
	}
	if got[1].Message != "gate panicked: no \uFFFD such key" {
		t.Errorf("%q", got[1].Message)
	}
	got[0].Trace.Evaluations[0].Gate = "changed"
	if got[2].Trace.Evaluations[0].Gate != "a" {
		t.Error("denials share a trace")
	}
}

func TestJudgePanic(t *testing.T) {
	for name, value := range map[string]any{"text": "oops", "error": errors.New("oops"), "nil": nil} {
		t.Run(name, func(t *testing.T) {
			set := setOf(t, gates.Gate[caller]{Name: "broken", Check: func(caller, event.Event) *gates.Denial { panic(value) }})
			permit, err := set.Evaluate(caller{}, event.Proposal{At: account, Payload: withdrawn{5}})
			var d *gates.Denial
			if !errors.As(err, &d) || d.Code != gates.CodeDefect || d.Gate != "broken" || permit != (gates.Permit{}) {
				t.Error(permit, err)
			}
		})
	}
}

// TestGateThatWrites has gates that change the event between two that look at it: those see what the caller has, and nobody else
// says yes.
func TestGateThatWrites(t *testing.T) {
	p := event.Proposal{At: account, Payload: withdrawn{5}, Extensions: map[string][]byte{"app.a": []byte("a")}}
	want := preview(t, p)
	for name, write := range map[string]func(e event.Event) *gates.Denial{
		"the payload":   func(e event.Event) *gates.Denial { e.Payload[len(e.Payload)-1]++; return nil },
		"an extension":  func(e event.Event) *gates.Denial { e.Extensions["app.a"][0]++; return nil },
		"one more":      func(e event.Event) *gates.Denial { e.Extensions["app.b"] = nil; return nil },
		"one less":      func(e event.Event) *gates.Denial { delete(e.Extensions, "app.a"); return nil },
		"and a refusal": func(e event.Event) *gates.Denial { clear(e.Payload); return gates.Deny("NO", "no") },
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			look := func(_ caller, e event.Event) *gates.Denial {
				if looks++; !reflect.DeepEqual(e, want) {
					t.Errorf("%+v", e)
				}
				return nil
			}
			set := setOf(t, gates.Gate[caller]{Name: "before", Check: look},
				gates.Gate[caller]{Name: "writes", Check: func(_ caller, e event.Event) *gates.Denial { return write(e) }},
				gates.Gate[caller]{Name: "after", Check: look})
			e := preview(t, p)
			permit, err := set.Evaluate(caller{}, p)
			all := set.JudgeAll(caller{}, e)
			for _, d := range append(all, set.Judge(caller{}, e), errorAs[*gates.Denial](err)) {
				if d == nil || d.Gate != "writes" || d.Code != gates.CodeDefect && d.Code != "NO" || (d.Code == "NO") != (name == "and a refusal") {
					t.Errorf("%+v", d)
				}
			}
			if len(all) != 1 || looks != 4 || permit != (gates.Permit{}) || !reflect.DeepEqual(e, want) {
				t.Errorf("%d denials, %d looks, %v, %+v", len(all), looks, permit, e)
			}
		})
	}
}

func errorAs[E error](err error) E {
	e, _ := errors.AsType[E](err)
	return e
}

func TestNoGates(t *testing.T) {
	var none *gates.Set[caller]
	for name, set := range map[string]*gates.Set[caller]{"nil": none, "zero": {}, "empty": setOf[caller](t)} {
		t.Run(name, func(t *testing.T) {
			p := event.Proposal{At: account, Payload: withdrawn{5}}
			if d := set.Judge(caller{}, preview(t, p)); d != nil {
				t.Error(d)
			}
			if all := set.JudgeAll(caller{}, preview(t, p)); all != nil || set.Names() != nil {
				t.Error(all)
			}
			permit, err := set.Evaluate(caller{}, p)
			if err != nil || permit == (gates.Permit{}) {
				t.Error(permit, err)
			}
		})
	}
}

// A gate may answer with the same denial each time, also in several sets and goroutines.
func TestSharedDenial(t *testing.T) {
	shared := gates.Deny("NO", "never").With("a", 1)
	var calls []string
	x := gates.Gate[caller]{Name: "x", Check: func(caller, event.Event) *gates.Denial { return shared }}
	y := gates.Gate[caller]{Name: "y", Check: x.Check}
	first, second := setOf(t, x), setOf(t, saying("yes", nil, &calls), y)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d := first.Judge(caller{}, preview(t, event.Proposal{At: account, Kind: 0x1001}))
			d.Context[0].Value = "changed"
			d.With("mine", 1)
		})
	}
	wg.Wait()
	d := second.Judge(caller{}, preview(t, event.Proposal{At: account, Kind: 0x1002}))
	if d.Gate != "y" || len(d.Trace.Evaluations) != 2 || d.Trace.Kind != 0x1002 {
		t.Error(d)
	}
	if diff := cmp.Diff(gates.Deny("NO", "never").With("a", 1), shared); diff != "" {
		t.Error("the gate's own denial was changed:", diff)
	}
}

func TestOn(t *testing.T) {
	set := setOf(t, gates.On("limit", func(c caller, e event.Event, w withdrawn) *gates.Denial {
		if w.Amount > c.Limit {
			return gates.Deny("OVER_LIMIT", "%d of %s", w.Amount, e.Entity)
		}
		return nil
	}))
	for name, tt := range map[string]struct {
		p    event.Proposal
		code string
	}{
		"within":               {event.Proposal{At: account, Payload: withdrawn{5}}, ""},
		"over":                 {event.Proposal{At: account, Payload: withdrawn{6}}, "OVER_LIMIT"},
		"another kind":         {event.Proposal{At: account, Kind: 0xF002, Data: []byte("?")}, ""},
		"bytes of its own":     {event.Proposal{At: account, Kind: 0xF001, Data: []byte{0xA1, 0x66, 'a', 'm', 'o', 'u', 'n', 't', 6}}, "OVER_LIMIT"},
		"bytes that are not":   {event.Proposal{At: account, Kind: 0xF001, Data: []byte("?")}, gates.CodeUndecodable},
		"bytes that are none":  {event.Proposal{At: account, Kind: 0xF001}, gates.CodeUndecodable},
		"bytes of another use": {event.Proposal{At: account, Kind: 0xF001, Data: []byte{0x61, 'a'}}, gates.CodeUndecodable},
	} {
		t.Run(name, func(t *testing.T) {
			d := set.Judge(caller{Limit: 5}, preview(t, tt.p))
			if d == nil && tt.code != "" || d != nil && d.Code != tt.code {
				t.Error(d)
			}
		})
	}
	older := preview(t, event.Proposal{At: account, Payload: withdrawn{6}})
	if older.PayloadVersion = 1; set.Judge(caller{Limit: 5}, older).Code != "OVER_LIMIT" {
		t.Error("an older version is not lifted")
	}
	if older.PayloadVersion = 4; set.Judge(caller{Limit: 5}, older).Code != gates.CodeUndecodable {
		t.Error("a newer version is judged")
	}
}

func TestPreview(t *testing.T) {
	p := event.Proposal{
		At: account, Payload: withdrawn{5}, Lane: 2, Key: "k", Correlation: event.ID{1}, Cause: event.CauseID(event.ID{2}),
		Extensions: map[string][]byte{"app.trace": []byte("x")}, Expect: event.ExpectClock(3),
	}
	e := preview(t, p)
	data, _ := event.Marshal(withdrawn{5})
	want := event.Event{Header: event.Header{
		Entity: "account:7", Scope: "bank", Lane: 2, Kind: 0xF001, PayloadVersion: 3, PayloadLength: uint32(len(data)),
		Key: "k", Correlation: event.ID{1}, Causation: event.ID{2}, Extensions: map[string][]byte{"app.trace": []byte("x")},
	}, Payload: data}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	raw := event.Proposal{At: account, Kind: 0xF002, Data: []byte("abc"), Extensions: p.Extensions}
	e = preview(t, raw)
	e.Payload[0], e.Extensions["app.trace"][0] = '?', '?'
	if string(raw.Data) != "abc" || string(p.Extensions["app.trace"]) != "x" || e.PayloadVersion != 0 {
		t.Error("the event shares memory with the proposal")
	}
	for name, tt := range map[string]struct {
		p   event.Proposal
		err error
	}{
		"coordinate": {event.Proposal{At: event.At("a/b", "c"), Payload: withdrawn{}}, event.ErrInvalid},
		"no payload": {event.Proposal{At: account}, event.ErrInvalid},
		"two":        {event.Proposal{At: account, Payload: withdrawn{}, Kind: 0xF001}, event.ErrInvalid},
		"reserved":   {event.Proposal{At: account, Kind: 0xD001}, event.ErrReservedKind},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := gates.Preview(&tt.p); !errors.Is(err, tt.err) {
				t.Error(err)
			}
			if permit, err := (&gates.Set[caller]{}).Evaluate(caller{}, tt.p); !errors.Is(err, tt.err) || permit != (gates.Permit{}) {
				t.Error(err)
			}
			if _, err := (&gates.Set[caller]{}).EvaluateAll(caller{}, tt.p); !errors.Is(err, tt.err) {
				t.Error(err)
			}
		})
	}
}

func TestDenialJSON(t *testing.T) {
	var calls []string
	set := setOf(t, saying("yes", nil, &calls), saying("no", gates.Deny("NO", "never").With("a", 1), &calls), saying("x", nil, &calls))
	d := set.Judge(caller{}, preview(t, event.Proposal{At: account, Kind: 0x1001}))
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"gate":"no","code":"NO","message":"never","context":[{"name":"a","value":"1"}],` +
		`"trace":{"kind":"0x1001","at":{"entity":"account:7","scope":"bank"},"evaluations":[` +
		`{"gate":"yes","verdict":"permitted"},{"gate":"no","verdict":"denied","code":"NO","message":"never"},{"gate":"x","verdict":"skipped"}]}}`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
	var back gates.Denial
	if err := json.Unmarshal(b, &back); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(d, &back); diff != "" {
		t.Error(diff)
	}
	var v gates.Verdict
	if err := v.UnmarshalText([]byte("unknown")); !errors.Is(err, event.ErrInvalid) || v.String() != "unknown" {
		t.Error(v, err)
	}
	stored, err := event.Marshal(d) // as an event that records it
	if err != nil {
		t.Fatal(err)
	}
	back = gates.Denial{}
	if err := event.Unmarshal(stored, &back); err != nil || !cmp.Equal(d, &back) {
		t.Error(back, err)
	}
}
