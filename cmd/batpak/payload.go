package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

// payloadHelp says how payloads appear in JSON.
const payloadHelp = `A payload appears as "payload", a JSON value, if it is CBOR (of a typed event, or an array or a map) or JSON text; any other as
"payload_base64". Inside CBOR, byte strings appear as base64 text, map keys that are numbers as text, times as RFC 3339.`

// payloadJSON returns a payload as a JSON value, if it can be one. Bytes that were stored without a type are CBOR if they
// are an array or a map, which no text begins like, and else JSON text or nothing known.
func payloadJSON(e *batpak.Event) (json.RawMessage, bool) {
	p := e.Payload
	if e.PayloadVersion > 0 || len(p) > 0 && p[0] >= 0x80 && p[0] < 0xC0 {
		if b, ok := cborToJSON(p); ok {
			return b, true
		}
	}
	if json.Valid(p) && utf8.Valid(p) {
		var b bytes.Buffer
		_ = json.Compact(&b, p) // it is valid
		return b.Bytes(), true
	}
	return nil, false
}

func cborToJSON(data []byte) (json.RawMessage, bool) {
	var v any
	if event.Unmarshal(data, &v) != nil {
		return nil, false
	}
	v, ok := plain(v)
	if !ok {
		return nil, false
	}
	b, err := marshalJSON(v)
	return b, err == nil
}

// plain replaces what CBOR has and JSON has not. It reports whether that was possible.
func plain(v any) (any, bool) {
	switch v := v.(type) {
	case nil, bool, string, int64, uint64, []byte: // encoding/json writes bytes as base64
		return v, true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64), true
		}
		return v, true
	case big.Int:
		return json.Number(v.String()), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	case []any:
		return plainArray(v)
	case map[any]any:
		return plainMap(v)
	}
	return nil, false
}

func plainArray(v []any) (any, bool) {
	out := make([]any, len(v))
	for i := range v {
		var ok bool
		if out[i], ok = plain(v[i]); !ok {
			return nil, false
		}
	}
	return out, true
}

func plainMap(v map[any]any) (any, bool) {
	out := make(map[string]any, len(v))
	for k, item := range v {
		var name string
		switch k := k.(type) {
		case string:
			name = k
		case int64, uint64:
			name = fmt.Sprint(k)
		default:
			return nil, false
		}
		if _, twice := out[name]; twice {
			return nil, false
		}
		var ok bool
		if out[name], ok = plain(item); !ok {
			return nil, false
		}
	}
	return out, true
}

// marshalJSON is json.Marshal without escapes for HTML.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// payloadText returns a payload for people, in at most width characters.
func payloadText(e *batpak.Event, width int) string {
	if b, ok := payloadJSON(e); ok {
		return shorten(string(b), width)
	}
	if printable(e.Payload) {
		return shorten(string(e.Payload), width)
	}
	return "(" + plural(len(e.Payload), "byte") + ")"
}

func printable(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return len(b) > 0
}

// shorten cuts s off behind width characters.
func shorten(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}
