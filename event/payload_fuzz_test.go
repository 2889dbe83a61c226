package event

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// everything is a payload with a field of each sort.
type everything struct {
	Int      int64             `cbor:"int"`
	Small    int8              `cbor:"small"`
	Uint     uint64            `cbor:"uint"`
	Float    float64           `cbor:"float"`
	Half     float32           `cbor:"half"`
	Text     string            `cbor:"text"`
	Bytes    []byte            `cbor:"bytes"`
	Array    [4]byte           `cbor:"array"`
	Yes      bool              `cbor:"yes"`
	Pointer  *int              `cbor:"pointer"`
	List     []int             `cbor:"list"`
	Names    []string          `cbor:"names,omitempty"`
	Map      map[string]uint16 `cbor:"map"`
	Numbers  map[int64]string  `cbor:"numbers"`
	Inner    moved             `cbor:"inner"`
	Inners   []moved           `cbor:"inners"`
	Tuple    tuple             `cbor:"tuple"`
	Time     time.Time         `cbor:"time"`
	Big      *big.Int          `cbor:"big"`
	Any      any               `cbor:"any"`
	embedded                   // its fields are among these
}

type tuple struct {
	_ struct{} `cbor:",toarray"`
	A int
	B string
}

type embedded struct {
	Deep map[string][]map[string]int `cbor:"deep"`
}

func (everything) EventType() Type { return Type{Kind: 0xF002, Name: "everything", Version: 1} }

// Payloads that are not structs.
type (
	numbers []uint16
	names   map[string]any
	word    string
)

func (numbers) EventType() Type { return Type{Kind: 0xF003, Name: "numbers", Version: 1} }
func (names) EventType() Type   { return Type{Kind: 0xF004, Name: "names", Version: 1} }
func (word) EventType() Type    { return Type{Kind: 0xF005, Name: "word", Version: 1} }

// Bounds of what decoding a payload may allocate: CBOR of one byte can be a Go value of some hundred.
const (
	decodeFixed = 64 << 10
	decodeTimes = 1024
)

// checkDecode decodes a payload as a P. If that is possible, it is also after encoding what was decoded, and gives the same
// value, unless it has a time of a year that cannot be encoded; if not, the error says of which event.
func checkDecode[P Payload](t *testing.T, payload []byte) {
	t.Helper()
	var p P
	var err error
	e := Event{Header: Header{Seq: 77, Kind: p.EventType().Kind, PayloadVersion: p.EventType().Version}, Payload: payload}
	if n := allocated(func() { p, err = Decode[P](e) }); n > decodeFixed+decodeTimes*uint64(len(payload)) {
		t.Errorf("%T: %d bytes allocated for %d", p, n, len(payload))
	}
	if err != nil {
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "event 77") {
			t.Errorf("%T: %v", p, err)
		}
		return
	}
	if err := CheckCanonical(payload); err != nil {
		t.Errorf("%T: %x decoded: %v", p, payload, err)
	}
	first, err := Marshal(p)
	if errors.Is(err, ErrInvalid) && strings.Contains(err.Error(), "year outside of range") {
		return
	}
	if err != nil {
		t.Fatalf("%x decoded to %+v: %v", payload, p, err)
	}
	e.Payload = first
	again, err := Decode[P](e)
	if err != nil {
		t.Fatalf("%x decoded and encoded is %x: %v", payload, first, err)
	}
	if second, err := Marshal(again); err != nil || !bytes.Equal(first, second) {
		t.Errorf("%x decoded and encoded is %x, and again %x, %v", payload, first, second, err)
	}
}

// decodeAll decodes a payload as each type.
func decodeAll(t *testing.T, payload []byte) {
	t.Helper()
	checkDecode[moved](t, payload)
	checkDecode[everything](t, payload)
	checkDecode[numbers](t, payload)
	checkDecode[names](t, payload)
	checkDecode[word](t, payload)
}

// sampleEverything has no field that is zero.
func sampleEverything() everything {
	seven := 7
	return everything{Int: -1, Small: -128, Uint: 1<<64 - 1, Float: 0.1, Half: 1.5, Text: "né", Bytes: []byte{1},
		Array: [4]byte{1, 2}, Yes: true, Pointer: &seven, List: []int{1, -300}, Names: []string{"a"},
		Map:     map[string]uint16{"a": 1, "bb": 2},
		Numbers: map[int64]string{-1: "m", 1: "p"}, Inner: moved{1, "s"}, Inners: []moved{{2, "t"}}, Tuple: tuple{A: 3, B: "u"},
		Time: time.Unix(1_700_000_000, 500_000_000),
		Big:  new(big.Int).Lsh(big.NewInt(1), 80), Any: []any{nil, true, uint64(1), "x", map[any]any{"k": -1.5}},
		embedded: embedded{map[string][]map[string]int{"d": {{"e": 1}}}}}
}

// FuzzDecode decodes any bytes as payloads of several types.
func FuzzDecode(f *testing.F) {
	for _, tt := range canonicalCases {
		if len(tt.hex) < 200 {
			f.Add(unhex(f, tt.hex))
		}
	}
	b, err := Marshal(sampleEverything())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, claim := range []string{"5a00100000", "7a00100000", "9a00100000", "ba00100000", "a1616c9a0010000000"} {
		f.Add(unhex(f, claim))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) <= 1<<16 {
			decodeAll(t, payload)
		}
	})
}

// FuzzDecodeFields replaces a field of a payload by any CBOR, behind a map that is as it must be.
func FuzzDecodeFields(f *testing.F) {
	whole, err := Marshal(sampleEverything())
	if err != nil {
		f.Fatal(err)
	}
	var fields map[string]cbor.RawMessage
	if err := lenient.Unmarshal(whole, &fields); err != nil {
		f.Fatal(err)
	}
	keys := slices.Sorted(maps.Keys(fields))
	for i, value := range []string{"f97e00", "c11b7fffffffffffffff", "c1fb7fefffffffffffff",
		"c074323031332d30332d32315432303a30343a30305a", "c249010000000000000000", "f6", "f7", "8000", "9a00ffffff", "ba00ffffff",
		"5a7fffffff", "d9d9f700", "c101", "a1f600", "a14100f6", "c11b30303030ffffffff",
		"fb3ff199999999999a", "1bffffffffffffffff", "3bffffffffffffffff"} {
		f.Add(uint8(i), "x", unhex(f, value))
	}
	f.Fuzz(func(t *testing.T, which uint8, extra string, value []byte) {
		if len(value) > 1<<12 || len(extra) > 40 {
			return
		}
		changed := maps.Clone(fields)
		if int(which) >= len(keys) {
			changed[extra] = value
		} else {
			changed[keys[which]] = value
		}
		checkDecode[everything](t, mapOf(changed))
	})
}

// mapOf encodes the pairs as a map, whatever the values are.
func mapOf(fields map[string]cbor.RawMessage) []byte {
	b := appendHead(nil, majorMap, uint64(len(fields)))
	keys := slices.SortedFunc(maps.Keys(fields), func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		b = append(append(appendHead(b, majorText, uint64(len(key))), key...), fields[key]...)
	}
	return b
}

// FuzzPayload encodes values: what is encoded is decoded to the same, and what is refused is named.
func FuzzPayload(f *testing.F) {
	f.Add(int64(1), 0.5, "text", []byte{1}, uint16(3), "key", int64(1_700_000_000), int64(1000), uint8(1))
	f.Add(int64(math.MinInt64), math.NaN(), "\xff", []byte{}, uint16(0), "", int64(math.MaxInt64), int64(1), uint8(31))
	f.Add(int64(math.MaxInt64), math.Inf(-1), "", []byte{0}, uint16(300), "k", int64(-1<<40), int64(999_999_999), uint8(32))
	f.Fuzz(func(t *testing.T, n int64, x float64, text string, data []byte, length uint16, key string, seconds, nanos int64,
		depth uint8) {
		v := sampleEverything()
		v.Int, v.Small, v.Uint, v.Float, v.Half, v.Text, v.Bytes = n, int8(n), uint64(n), x, float32(x), text, data
		v.List, v.Map, v.Numbers = make([]int, length), map[string]uint16{key: length}, map[int64]string{n: key}
		v.Time = time.Unix(seconds, nanos)
		v.Big = new(big.Int).Mul(big.NewInt(n), big.NewInt(seconds))
		v.Any = nested(int(depth)%40, text)
		b, err := Marshal(v)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "everything") {
				t.Errorf("%v", err)
			}
			return
		}
		e := Event{Header: Header{Seq: 77, Kind: 0xF002, PayloadVersion: 1}, Payload: b}
		back, err := Decode[everything](e)
		if err != nil {
			t.Fatalf("%x was encoded: %v", b, err)
		}
		if again, err := Marshal(back); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x came back as %x, %v", b, again, err)
		}
	})
}

// nested returns text in that many arrays.
func nested(depth int, text string) (v any) {
	v = text
	for range depth {
		v = []any{v}
	}
	return v
}

// TestManyElements decodes as many elements and pairs as a payload can have: what Marshal takes, Decode must give back.
func TestManyElements(t *testing.T) {
	b, err := Marshal(make(numbers, 1<<18))
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode[numbers](Event{Header: Header{Kind: 0xF003}, Payload: b})
	if err != nil || len(back) != 1<<18 {
		t.Errorf("%d elements came back as %d, %v", 1<<18, len(back), err)
	}
	many := names{}
	for i := range 1<<17 + 1 {
		many[fmt.Sprint(i)] = nil
	}
	if b, err = Marshal(many); err != nil {
		t.Fatal(err)
	}
	pairs, err := Decode[names](Event{Header: Header{Kind: 0xF004}, Payload: b})
	if err != nil || len(pairs) != len(many) {
		t.Errorf("%d pairs came back as %d, %v", len(many), len(pairs), err)
	}
}

// FuzzTexts reads any text as an id, a kind, a store id and a hash: each has one spelling, but for kinds, which may be any Go
// integer. What is refused is quoted.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{"0000000000000000000000000A", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
		"0xF001", "0b1", "1_0", "65536", "-1", strings.Repeat("ab", 16), strings.Repeat("ab", 32), strings.Repeat("AB", 32),
		strings.Repeat("a", 1<<10),
		"0000000000000000000000000O", "ééééééééééééé", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		checkText(t, "id", s, id.String(), err)
		var store StoreID
		err = store.UnmarshalText([]byte(s))
		checkText(t, "store id", s, store.String(), err)
		var hash Hash
		err = hash.UnmarshalText([]byte(s))
		checkText(t, "hash", s, hash.String(), err)
		kind, err := ParseKind(s)
		if err == nil {
			again, err := ParseKind(kind.String())
			if err != nil || again != kind {
				t.Errorf("kind %q is %v, which is read as %v, %v", s, kind, again, err)
			}
			return
		}
		checkText(t, "kind", s, s, err)
	})
}

// checkText checks that a text was refused with an error that quotes its beginning, or is the spelling of what was read.
func checkText(t *testing.T, what, s, spelling string, err error) {
	t.Helper()
	quoted := strings.TrimSuffix(fmt.Sprintf("%.20q", s), `"`)
	switch {
	case err == nil && spelling != s:
		t.Errorf("%s %q is read as %q", what, s, spelling)
	case err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), quoted)):
		t.Errorf("%s %q: %v", what, s, err)
	case err != nil && len(err.Error()) > 200+8*len(s):
		t.Errorf("%s of %d bytes: error of %d", what, len(s), len(err.Error()))
	}
}
