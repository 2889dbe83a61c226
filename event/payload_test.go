package event

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

type moved struct {
	X int    `cbor:"x"`
	S string `cbor:"s"`
}

func (moved) EventType() Type { return Type{Kind: 0xF001, Name: "moved", Version: 2} }

func TestDecode(t *testing.T) {
	want := moved{X: -7, S: "né"}
	payload, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		kind    Kind
		version uint16
		payload []byte
		err     error
	}{
		"same version":               {0xF001, 2, payload, nil},
		"no version":                 {0xF001, 0, payload, nil},
		"newer":                      {0xF001, 3, payload, ErrFutureVersion},
		"highest":                    {0xF001, 0xFFFF, payload, ErrFutureVersion},
		"older":                      {0xF001, 1, payload, ErrPastVersion},
		"other kind":                 {0xF002, 2, payload, ErrKindMismatch},
		"other kind before version":  {0xF002, 3, payload, ErrKindMismatch},
		"version before the payload": {0xF001, 3, nil, ErrFutureVersion},
		"one byte more":              {0xF001, 2, append(payload[:len(payload):len(payload)], 0xF6), ErrInvalid},
		"one byte less":              {0xF001, 2, payload[:len(payload)-1], ErrInvalid},
		"nothing":                    {0xF001, 2, nil, ErrInvalid},
		"another shape":              {0xF001, 2, []byte{0x63, 'a', 'b', 'c'}, ErrInvalid},
		"text for a number":          {0xF001, 2, []byte{0xA1, 0x61, 'x', 0x61, '1'}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			e := Event{Header: Header{Seq: 1, Kind: tt.kind, PayloadVersion: tt.version}, Payload: tt.payload}
			got, err := Decode[moved](e)
			if !errors.Is(err, tt.err) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			if tt.err == nil && got != want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A picture has bytes, on its own and in what the planned decoder leaves to the library.
type picture struct {
	Pixels []byte          `cbor:"pixels"`
	Frames [][]byte        `cbor:"frames"`
	Thumb  *thumb          `cbor:"thumb"`
	Raw    cbor.RawMessage `cbor:"raw"`
}

type thumb struct {
	Pixels []byte `cbor:"pixels"`
}

func (picture) EventType() Type { return Type{Kind: 0xF003, Name: "picture", Version: 1} }

func samplePicture() picture {
	return picture{[]byte("pixels"), [][]byte{[]byte("frame")}, &thumb{[]byte("thumb")}, cbor.RawMessage("\x63raw")}
}

// A decoded payload shares no bytes with the event: what is done to one is not seen in the other.
func TestDecodedBytesAreACopy(t *testing.T) {
	payload, err := Marshal(samplePicture())
	if err != nil {
		t.Fatal(err)
	}
	e := Event{Header: Header{Kind: 0xF003, PayloadVersion: 1}, Payload: slices.Clone(payload)}
	got, err := Decode[picture](e)
	if err != nil {
		t.Fatal(err)
	}
	clear(e.Payload)
	if want := samplePicture(); !reflect.DeepEqual(got, want) {
		t.Errorf("the value has changed with the event: %+v", got)
	}
	copy(e.Payload, payload)
	for _, b := range [][]byte{got.Pixels, got.Frames[0], got.Thumb.Pixels, got.Raw} {
		_ = append(b, "more"...) // nor has it room in the event
		clear(b)
	}
	if !bytes.Equal(e.Payload, payload) {
		t.Errorf("the event has changed with the value: %q", e.Payload)
	}
}

func TestTypeValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		typ Type
		err error
	}{
		"good":          {Type{Kind: 0x1001, Version: 1}, nil},
		"version 0":     {Type{Kind: 0x1001}, ErrInvalid},
		"reserved kind": {Type{Kind: 0xD001, Version: 1}, ErrReservedKind},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.typ.Validate(); !errors.Is(err, tt.err) {
				t.Error(err)
			}
		})
	}
}
