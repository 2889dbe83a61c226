package event_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/batpak/batpak/event"
)

type (
	node struct{ Next *node }
	tree struct {
		Parent *tree
		Kids   []*tree
	}
	anything struct{ V any }
	urled    struct{ *url.URL }
	unm      struct{ cbor.Unmarshaler }
	inField  struct{ U struct{ cbor.Unmarshaler } }
	reaching struct{ b byte }
	hasReach struct{ X reaching }
	upcasts  struct{ event.Upcaster }
	pointer  *pointer
	there    *andBack
	andBack  **there
	holder   struct {
		N int
		P []map[string]pointer
	}
)

func (r *reaching) UnmarshalCBOR(b []byte) error { r.b = b[100]; return nil }

var looped = event.Type{Kind: 0xF0AA, Name: "looped", Version: 1}

func (node) EventType() event.Type     { return looped }
func (tree) EventType() event.Type     { return looped }
func (anything) EventType() event.Type { return looped }
func (urled) EventType() event.Type    { return looped }
func (unm) EventType() event.Type      { return looped }
func (inField) EventType() event.Type  { return looped }
func (hasReach) EventType() event.Type { return looped }
func (holder) EventType() event.Type   { return looped }
func (upcasts) EventType() event.Type  { return event.Type{Kind: 0xF0AA, Name: "looped", Version: 2} }

// TestValuesThatContainThemselves are refused, where the encoder would end the process; those of the same types that do not,
// and that share what they point to, are not.
func TestValuesThatContainThemselves(t *testing.T) {
	n := &node{}
	n.Next = n
	tr := tree{}
	tr.Kids = []*tree{{}, {}}
	tr.Kids[0].Parent = &tr
	tr.Kids[1].Parent = &tr
	m := map[string]any{}
	m["m"] = m
	list := make([]any, 1)
	list[0] = list
	long := &node{}
	for range 1000 {
		long = &node{long}
	}
	for _, v := range []any{*n, n, tr, anything{m}, anything{list}, *long, m, list} {
		if _, err := event.Marshal(v); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%T: %v, want ErrInvalid", v, err)
		}
	}
	if _, _, err := (&event.Proposal{At: event.At("a", "b"), Payload: *n}).Encode(); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "contains itself") {
		t.Errorf("a proposal: %v", err)
	}
	leaf := &tree{}
	shared := &node{}
	deep := &node{}
	for range 25 {
		deep = &node{deep}
	}
	for _, v := range []any{node{&node{&node{}}}, tree{Kids: []*tree{leaf, leaf}}, anything{[]any{1, "x", map[string]any{"a": nil}}}, anything{[]any{shared, shared}}, *deep} {
		if _, err := event.Marshal(v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
}

// TestPointersToThemselves are types that have no value but pointers to more of them: the library would look for their end for
// ever.
func TestPointersToThemselves(t *testing.T) {
	var p pointer
	for _, v := range []any{p, &p, there(nil), andBack(nil), holder{}, &holder{}, anything{p}, map[string]any{"": []any{&holder{}}}} {
		if _, err := event.Marshal(v); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "pointer to itself") {
			t.Errorf("marshal %T: %v, want ErrInvalid", v, err)
		}
	}
	for _, v := range []any{p, &p, new(there), new(holder), new(struct{ H *holder })} {
		if err := event.Unmarshal([]byte{0xA0}, v); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "pointer to itself") {
			t.Errorf("unmarshal into %T: %v, want ErrInvalid", v, err)
		}
	}
	e := event.Event{Header: event.Header{Seq: 1, Kind: looped.Kind, PayloadVersion: 1}, Payload: []byte("\xA1\x61N\x01")}
	if _, err := event.Decode[holder](e); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("decode: %v, want ErrInvalid", err)
	}
}

// TestDecodingPanics is of types whose own decoding panics: that is an error of the event.
func TestDecodingPanics(t *testing.T) {
	wantPanics[urled](t, 1, "\x41a")
	wantPanics[unm](t, 1, "\x41a")
	wantPanics[inField](t, 1, "\xa1\x61U\x01")
	wantPanics[hasReach](t, 1, "\xa1\x61X\x01")
	wantPanics[upcasts](t, 1, "\xa0")
	var bad *event.TypeError
	if _, err := event.NewRegistry(event.Register[upcasts]()); !errors.As(err, &bad) {
		t.Errorf("registered: %v", err)
	}
}

func wantPanics[P event.Payload](t *testing.T, version uint16, data string) {
	t.Helper()
	e := event.Event{Header: event.Header{Seq: 1, Kind: looped.Kind, PayloadVersion: version}, Payload: []byte(data)}
	_, err := event.Decode[P](e)
	var undecoded *event.DecodeError
	if !errors.As(err, &undecoded) || undecoded.Seq != 1 || !strings.Contains(err.Error(), "panics") {
		t.Errorf("%v, want a DecodeError of a panic", err)
	}
}
