package main

import (
	"math"
	"math/big"
	"testing"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

func TestPayloadJSON(t *testing.T) {
	for _, tt := range []struct {
		name  string
		value any // encoded as CBOR
		typed bool
		want  string // "" if there is no JSON for it
	}{
		{"map", map[string]any{"b": 1, "a": "<&>"}, false, `{"a":"<&>","b":1}`},
		{"array", []any{nil, true, 1.5, -7, uint64(math.MaxUint64)}, false, `[null,true,1.5,-7,18446744073709551615]`},
		{"numbers as keys", map[any]any{1: "x", -2: "y"}, false, `{"-2":"y","1":"x"}`},
		{"keys that are the same as text", map[any]any{1: "x", "1": "y"}, false, ""},
		{"arrays as keys", map[[1]int]int{{1}: 1}, false, ""},
		{"bytes", []any{[]byte{1, 2}}, false, `["AQI="]`},
		{"not a number", []any{math.NaN(), math.Inf(-1)}, false, `["NaN","-Inf"]`},
		{"large integer", []any{new(big.Int).Lsh(big.NewInt(1), 70)}, false, `[1180591620717411303424]`},
		{"typed text", "elta", true, `"elta"`},
		{"typed number", -18, true, "-18"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := event.Marshal(tt.value)
			if err != nil {
				t.Fatal(err)
			}
			e := batpak.Event{Payload: b}
			if tt.typed {
				e.PayloadVersion = 1
			}
			if got, ok := payloadJSON(&e); string(got) != tt.want || ok != (tt.want != "") {
				t.Errorf("%s, %v, want %s", got, ok, tt.want)
			}
		})
	}
}

// TestPayloadText checks that texts that happen to be CBOR are taken for texts.
func TestPayloadText(t *testing.T) {
	for _, tt := range []struct{ payload, want string }{
		{"1", "1"},         // as CBOR, -18
		{"delta", "delta"}, // as CBOR, the text "elta"
		{`{"a": 1}`, `{"a":1}`},
		{"", "(0 bytes)"},
		{"\x01\x02", "(2 bytes)"},
		{"\x81", "(1 byte)"}, // an array cut off
	} {
		if got := payloadText(&batpak.Event{Payload: []byte(tt.payload)}, 80); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.payload, got, tt.want)
		}
	}
	if got := shorten("äöüß", 3); got != "äö…" {
		t.Error(got)
	}
}

// TestPayloadTime checks a time as CBOR tags it, which event.Marshal does not.
func TestPayloadTime(t *testing.T) {
	got, ok := payloadJSON(&batpak.Event{Payload: []byte{0x81, 0xC1, 0x01}})
	if want := `["1970-01-01T00:00:01Z"]`; string(got) != want || !ok {
		t.Errorf("%s, %v, want %s", got, ok, want)
	}
}
