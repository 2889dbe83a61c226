package gates_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

func TestPipeline(t *testing.T) {
	var calls []string
	pass := gates.NewPipeline("payments", setOf(t, saying("a", nil, &calls), saying("b", nil, &calls)))
	permit, err := pass.Evaluate(caller{}, event.Proposal{At: account, Payload: withdrawn{5}})
	if err != nil {
		t.Fatal(err)
	}
	done, err := gates.Commit(permit, new(ledger).commit)
	if diff := cmp.Diff(gates.Audit{Pipeline: "payments", Gates: []string{"a", "b"}}, done.Audit); diff != "" || err != nil {
		t.Error(diff, err)
	}
	stop := gates.NewPipeline("payments", setOf(t, saying("no", gates.Deny("NO", "never"), &calls)))
	_, err = stop.Evaluate(caller{}, event.Proposal{At: account, Payload: withdrawn{5}})
	var d *gates.Denial
	if !errors.As(err, &d) || d.Trace.Pipeline != "payments" {
		t.Error(err)
	}
}

// K5: no gate is asked, and the reason is in the audit and in the event that the store has.
func TestBypass(t *testing.T) {
	var calls []string
	pipeline := gates.NewPipeline("payments", setOf(t, saying("no", gates.Deny("NO", "never"), &calls)))
	reason := gates.Bypass{Name: "INCIDENT", Justification: "outage of the limit service", ApprovedBy: "ada"}
	extensions := map[string][]byte{"app.a": []byte("x")}
	permit, err := pipeline.Bypass(event.Proposal{At: account, Payload: withdrawn{5}, Extensions: extensions}, reason)
	if err != nil || len(extensions) != 1 {
		t.Fatal(err, extensions)
	}
	store := openStore(t)
	done, err := gates.Commit(permit, store.Commit)
	if err != nil || len(calls) > 0 {
		t.Fatal(err, calls)
	}
	want := gates.Audit{Pipeline: "payments", Bypass: &reason}
	if diff := cmp.Diff(want, done.Audit); diff != "" {
		t.Error(diff)
	}
	e, err := store.Get(done.Receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	read, err := gates.ReadBypass(e)
	if diff := cmp.Diff(&want, read); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if string(e.Extensions["app.a"]) != "x" {
		t.Error(e.Extensions)
	}
	if _, err := gates.Commit(permit, store.Commit); !errors.Is(err, gates.ErrSpent) {
		t.Error(err)
	}
}

func TestBypassRefused(t *testing.T) {
	pipeline := gates.NewPipeline[caller]("payments", nil)
	good := gates.Bypass{Name: "a", Justification: "b"}
	proposal := event.Proposal{At: account, Payload: withdrawn{5}}
	faked := proposal
	faked.Extensions = map[string][]byte{gates.BypassExtension: {0xA0}}
	for name, tt := range map[string]struct {
		p event.Proposal
		b gates.Bypass
	}{
		"no name":           {proposal, gates.Bypass{Justification: "b"}},
		"no justification":  {proposal, gates.Bypass{Name: "a", Justification: " \n"}},
		"not UTF-8":         {proposal, gates.Bypass{Name: "a", Justification: "\xFF"}},
		"there already":     {faked, good},
		"coordinate":        {event.Proposal{Payload: withdrawn{5}}, good},
		"nothing to append": {event.Proposal{At: account}, good},
	} {
		t.Run(name, func(t *testing.T) {
			if permit, err := pipeline.Bypass(tt.p, tt.b); !errors.Is(err, event.ErrInvalid) || permit != (gates.Permit{}) {
				t.Error(err)
			}
		})
	}
	if _, err := pipeline.Evaluate(caller{}, faked); !errors.Is(err, event.ErrInvalid) {
		t.Error("a faked audit is evaluated:", err)
	}
	if _, err := setOf[caller](t).EvaluateAll(caller{}, faked); !errors.Is(err, event.ErrInvalid) {
		t.Error(err)
	}
	if _, err := pipeline.Bypass(proposal, good); err != nil {
		t.Error(err)
	}
}

func TestReadBypass(t *testing.T) {
	encode := func(v any) []byte {
		b, err := event.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	full := map[string]any{"pipeline": "p", "name": "n", "justification": "j", "approved_by": ""}
	for name, b := range map[string][]byte{
		"empty":         {},
		"not CBOR":      {0xFF},
		"cut off":       encode(full)[:9],
		"of none":       encode(map[string]any{}),
		"one too few":   encode(map[string]any{"name": "n", "justification": "j"}),
		"one too many":  encode(map[string]any{"pipeline": "p", "name": "n", "justification": "j", "approved_by": "", "x": 1}),
		"another case":  encode(map[string]any{"Pipeline": "p", "name": "n", "justification": "j", "approved_by": ""}),
		"without names": encode(map[string]any{"pipeline": "p", "name": "", "justification": "j", "approved_by": ""}),
	} {
		t.Run(name, func(t *testing.T) {
			e := event.Event{Header: event.Header{Extensions: map[string][]byte{gates.BypassExtension: b}}}
			if got, err := gates.ReadBypass(e); !errors.Is(err, event.ErrInvalid) || got != nil {
				t.Error(got, err)
			}
		})
	}
	if got, err := gates.ReadBypass(event.Event{}); got != nil || err != nil {
		t.Error(got, err)
	}
	e := event.Event{Header: event.Header{Extensions: map[string][]byte{gates.BypassExtension: encode(full)}}}
	if got, err := gates.ReadBypass(e); err != nil || got.Bypass.Name != "n" || !slices.Equal(got.Gates, nil) {
		t.Error(got, err)
	}
}
