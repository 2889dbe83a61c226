package main

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/batpak/batpak"
)

func TestDecodeJSON(t *testing.T) {
	huge, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	for _, tt := range []struct {
		text string
		want any
	}{
		{`{}`, map[string]any{}},
		{`[]`, []any{}},
		{` {"a": [1, "x", null, true, {}]} `, map[string]any{"a": []any{int64(1), "x", nil, true, map[string]any{}}}},
		{`[-9223372036854775808]`, []any{int64(-1 << 63)}},
		{`[18446744073709551615]`, []any{uint64(1<<64 - 1)}},
		{`[-123456789012345678901234567890]`, []any{huge}},
		{`[1.0, 1e2, -0.5]`, []any{1.0, 100.0, -0.5}},
	} {
		got, err := decodeJSON([]byte(tt.text))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %#v, %v, want %#v", tt.text, got, err, tt.want)
		}
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{``, "unexpected EOF"},
		{`{"a":1`, "unexpected EOF"},
		{`{"a":1}}`, "invalid JSON"},
		{`{"a":1} {}`, "more follows"},
		{`{"a":1,"a":2}`, `field "a" appears twice`},
		{`{"a" 1}`, "invalid JSON"},
		{`[1 2]`, "invalid JSON"},
		{`[1e999]`, "out of range"},
		{"{\"a\":\"\xff\"}", "not UTF-8"},
		{strings.Repeat("[", 1<<20), "nested deeper than 1000"},
	} {
		if _, err := decodeJSON([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.20s: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// FuzzDecodeJSON checks that what is accepted is valid, and means the same when it has been CBOR.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,-3,"x",null,true,{"b":1e3}]}`, `[18446744073709551616]`, `{"a":1}{`, `[1,]`, `{"":[]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := encodeJSON(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatal("accepted, but not valid")
		}
		back, ok := payloadJSON(&batpak.Event{Payload: b})
		if !ok {
			t.Fatal("it cannot be shown")
		}
		again, err := encodeJSON(back)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, b) && !strings.ContainsAny(string(text), ".eE") { // 1.0 is shown as 1
			t.Fatalf("%s became %s", text, back)
		}
	})
}
