package event

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// The library, as an independent opinion: coreDet encodes deterministically, lenient decodes whatever is well-formed.
var (
	coreDet = must(cbor.CoreDetEncOptions().EncMode())
	lenient = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MapKeyByteString: cbor.MapKeyByteStringAllowed,
		MaxNestedLevels:  64,
	}.DecMode())
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// canonicalCases are encodings, some from RFC 8949 appendix A, and the check that refuses them: nil for none.
var canonicalCases = []struct {
	name, hex string
	err       error
}{
	{"0", "00", nil},
	{"23", "17", nil},
	{"24", "18 18", nil},
	{"255", "18 ff", nil},
	{"256", "19 0100", nil},
	{"65535", "19 ffff", nil},
	{"65536", "1a 00010000", nil},
	{"2^32-1", "1a ffffffff", nil},
	{"2^32", "1b 0000000100000000", nil},
	{"2^64-1", "1b ffffffffffffffff", nil},
	{"-1", "20", nil},
	{"-2^64", "3b ffffffffffffffff", nil},
	{"23 in one byte", "18 17", errLongForm},
	{"255 in two bytes", "19 00ff", errLongForm},
	{"65535 in four bytes", "1a 0000ffff", errLongForm},
	{"2^32-1 in eight bytes", "1b 00000000ffffffff", errLongForm},
	{"-1 in one byte", "38 00", errLongForm},
	{"no bytes", "40", nil},
	{"bytes", "42 0102", nil},
	{"length of bytes in one byte", "58 02 0102", errLongForm},
	{"length of text in two bytes", "79 0001 61", errLongForm},
	{"length of an array in one byte", "98 01 00", errLongForm},
	{"length of a map in one byte", "b8 01 00 00", errLongForm},
	{"tag in one byte", "d8 01 00", errLongForm},
	{"text", "62 c3a9", nil},
	{"text that is not UTF-8", "61 ff", errText},
	{"text with a surrogate", "63 eda080", errText},
	{"text with an overlong form", "62 c0af", errText},
	{"text cut in a rune", "61 c3", errText},
	{"indefinite bytes", "5f 41 00 ff", errIndefinite},
	{"indefinite text", "7f 61 61 ff", errIndefinite},
	{"indefinite array", "9f ff", errIndefinite},
	{"indefinite map", "bf ff", errIndefinite},
	{"break", "ff", errIndefinite},
	{"indefinite integer", "1f", errIndefinite},
	{"reserved info 28", "1c", errSimple},
	{"reserved info 30", "fe", errSimple},
	{"nothing", "", errShort},
	{"head cut off", "19 01", errShort},
	{"bytes cut off", "43 0102", errShort},
	{"text cut off", "62 61", errShort},
	{"array cut off", "82 00", errShort},
	{"map cut off at a value", "a1 00", errShort},
	{"tag without content", "c1", errShort},
	{"bytes of length 2^64-1", "5b ffffffffffffffff", errShort},
	{"array of length 2^64-1", "9b ffffffffffffffff 00", errShort},
	{"map of length 2^64-1", "bb ffffffffffffffff 00 00", errShort},
	{"two values", "00 00", errTrailing},
	{"empty map", "a0", nil},
	{"sorted keys", "a2 00 00 01 00", nil},
	{"unsorted keys", "a2 01 00 00 00", errKeyOrder},
	{"a key twice", "a2 01 00 01 00", errKeyOrder},
	{"keys sort by bytes: 10, 100, -1, text, array, false", "a6 0a00 186400 2000 617a00 818000 f400", nil},
	{"keys do not sort by length first", "a2 20 00 1864 00", errKeyOrder},
	{"shorter text first", "a2 617a00 62616100", nil},
	{"longer text first", "a2 62616100 617a00", errKeyOrder},
	{"inner map unsorted", "81 a2 01 00 00 00", errKeyOrder},
	{"false, true, null, undefined", "84 f4 f5 f6 f7", nil},
	{"simple 19", "f3", errSimple},
	{"simple 24", "f8 18", errSimple},
	{"simple 255", "f8 ff", errSimple},
	{"tag", "c0 60", nil},
	{"half", "f9 3c00", nil},
	{"half infinity", "f9 7c00", nil},
	{"half -0", "f9 8000", nil},
	{"half subnormal", "f9 0001", nil},
	{"the NaN", "f9 7e00", nil},
	{"NaN with a payload", "f9 7e01", errLongForm},
	{"negative NaN", "f9 fe00", errLongForm},
	{"signalling NaN", "f9 7c01", errLongForm},
	{"single NaN", "fa 7fc00000", errLongForm},
	{"double NaN", "fb 7ff8000000000000", errLongForm},
	{"single 1", "fa 3f800000", errLongForm},
	{"double 1", "fb 3ff0000000000000", errLongForm},
	{"single infinity", "fa 7f800000", errLongForm},
	{"double infinity", "fb fff0000000000000", errLongForm},
	{"single 100000", "fa 47c35000", nil},
	{"single 65504, the highest half", "fa 477fe000", errLongForm},
	{"single 65520", "fa 477ff000", nil},
	{"single 2^-24, the lowest half", "fa 33800000", errLongForm},
	{"single 2^-25", "fa 33000000", nil},
	{"lowest single", "fa 00000001", nil},
	{"double 1.1", "fb 3ff199999999999a", nil},
	{"lowest double", "fb 0000000000000001", nil},
	{"double of the lowest single", "fb 36a0000000000000", errLongForm},
	{"double 2^-150", "fb 3690000000000000", nil},
	{"32 deep", strings.Repeat("81", 31) + "00", nil},
	{"33 deep", strings.Repeat("81", 32) + "00", errDepth},
	{"33 deep through tags", strings.Repeat("c6", 32) + "00", errDepth},
	{"33 deep through keys", strings.Repeat("a1", 32) + "00", errDepth},
	{"100000 deep", strings.Repeat("81", 100_000), errDepth},
}

func TestCheckCanonical(t *testing.T) {
	for _, tt := range canonicalCases {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.hex)
			err := CheckCanonical(b)
			if !errors.Is(err, tt.err) || tt.err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			var v any
			if tt.err != nil && Unmarshal(b, &v) == nil {
				t.Errorf("Unmarshal accepts it as %v", v)
			}
		})
	}
}

func TestCheckCanonicalAllocatesNothing(t *testing.T) {
	b, err := Marshal(map[string]any{"a": []int{1, 2, 3000}, "b": "text", "c": map[int]float64{1: 0.5, 2: math.Pi}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = CheckCanonical(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// checkFloat holds a float's encoding against what the library makes of its value.
func checkFloat(t *testing.T, encoded []byte, f float64) {
	t.Helper()
	want, err := coreDet.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if got := CheckCanonical(encoded) == nil; got != bytes.Equal(want, encoded) {
		t.Errorf("%x, which is %v: accepted %v, the library writes %x", encoded, f, got, want)
	}
}

// TestHalfFloats takes every half there is, and its forms as single and double.
func TestHalfFloats(t *testing.T) {
	for i := range 1 << 16 {
		half := binary.BigEndian.AppendUint16([]byte{0xF9}, uint16(i))
		var f float64
		if err := cbor.Unmarshal(half, &f); err != nil {
			t.Fatal(err)
		}
		checkFloat(t, half, f)
		checkFloat(t, binary.BigEndian.AppendUint32([]byte{0xFA}, math.Float32bits(float32(f))), f)
		checkFloat(t, binary.BigEndian.AppendUint64([]byte{0xFB}, math.Float64bits(f)), f)
	}
}

// fractions are patterns of a fraction of n bits: single bits, runs from both ends and their neighbours.
func fractions(n int) []uint64 {
	fs := []uint64{0, 1<<n - 1}
	for i := range n {
		fs = append(fs, 1<<i, 1<<n-1<<i&(1<<n-1), 1<<i-1, 1<<(n-1)|1<<i)
	}
	return fs
}

// TestSingleFloats takes every exponent and sign of a single with the fractions that matter.
func TestSingleFloats(t *testing.T) {
	for head := range uint32(1 << 9) {
		for _, frac := range fractions(23) {
			bits := head<<23 | uint32(frac)
			f := math.Float32frombits(bits)
			checkFloat(t, binary.BigEndian.AppendUint32([]byte{0xFA}, bits), float64(f))
			checkFloat(t, binary.BigEndian.AppendUint64([]byte{0xFB}, math.Float64bits(float64(f))), float64(f))
		}
	}
}

// TestDoubleFloats does the same for doubles.
func TestDoubleFloats(t *testing.T) {
	for head := range uint64(1 << 12) {
		for _, frac := range fractions(52) {
			bits := head<<52 | frac
			checkFloat(t, binary.BigEndian.AppendUint64([]byte{0xFB}, bits), math.Float64frombits(bits))
		}
	}
}

// anyValue draws a value that CBOR can hold, with at most depth levels. Left out are values that CheckCanonical refuses by
// its own rule: simple values other than false, true, null and undefined.
func anyValue(depth int) *rapid.Generator[any] {
	kinds := 8
	if depth > 1 {
		kinds = 12
	}
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, kinds-1).Draw(t, "type") {
		case 0:
			return rapid.Uint64().Draw(t, "uint")
		case 1:
			return rapid.Int64().Draw(t, "int")
		case 2:
			return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
		case 3:
			return rapid.String().Draw(t, "text")
		case 4:
			return rapid.Float64().Draw(t, "double")
		case 5:
			return rapid.Float32().Draw(t, "single")
		case 6:
			return []any{nil, true, false}[rapid.IntRange(0, 2).Draw(t, "simple")]
		case 7:
			n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "big"))
			return new(big.Int).Neg(n)
		case 8:
			return rapid.SliceOfN(anyValue(depth-1), 0, 4).Draw(t, "array")
		case 9:
			return rapid.MapOfN(rapid.String(), anyValue(depth-1), 0, 4).Draw(t, "map of text")
		case 10:
			return rapid.MapOfN(rapid.Int64(), anyValue(depth-1), 0, 4).Draw(t, "map of integers")
		default:
			return cbor.Tag{Number: rapid.Uint64Range(100, 1<<40).Draw(t, "tag"), Content: anyValue(depth-1).Draw(t, "content")}
		}
	})
}

// TestLibraryIsCanonical checks that what the library encodes deterministically is accepted, and read back as equal bytes.
func TestLibraryIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(5).Draw(t, "value")
		b, err := coreDet.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckCanonical(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		ours, err := Marshal(v)
		if err != nil || !bytes.Equal(ours, b) {
			t.Fatalf("Marshal gives %x, %v, the library %x", ours, err, b)
		}
		var back any
		if err := Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		again, err := Marshal(back)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x, %v", b, again, err)
		}
	})
}

// FuzzCheckCanonical holds CheckCanonical against the library: what it accepts decodes and encodes again to the same
// bytes, and what does so is accepted. The exceptions are in normalised.
func FuzzCheckCanonical(f *testing.F) {
	for _, tt := range canonicalCases {
		if len(tt.hex) < 200 {
			f.Add(unhex(f, tt.hex))
		}
	}
	h := sampleHeader()
	f.Add(AppendHeader(nil, &h))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		ours := CheckCanonical(b)
		if rest, err := normalised(b, 0); err != nil || rest == nil {
			return
		}
		var v any
		err := lenient.Unmarshal(b, &v)
		var again []byte
		if err == nil {
			again, err = coreDet.Marshal(v)
		}
		switch same := err == nil && bytes.Equal(again, b); {
		case ours == nil && !same:
			t.Errorf("accepted, but the library gives %x, %v", again, err)
		case ours != nil && same && !errors.Is(ours, errDepth):
			t.Errorf("refused with %v, but the library gives the same bytes", ours)
		}
	})
}

// normalised walks the first value of b and returns what follows it, or nil if the library, by design, does not hand back
// what it read, or refuses what deterministic encoding allows:
//
//   - tags 0 to 3 (times and big integers), 21 to 23 (expected encodings), 55799 (discarded) and others with a meaning to it;
//   - undefined, which it reads as null, and reserved simple values, which it keeps;
//   - map keys that cannot be keys of a Go map, or of which two different ones are equal there: arrays, maps, tags, zeros
//     and NaN, and integers below -2^63.
func normalised(b []byte, depth int) ([]byte, error) {
	major, arg, size, rest, err := readHead(b)
	if err != nil || depth > 60 {
		return b, errShort
	}
	count := uint64(0)
	switch major {
	case majorBytes, majorText:
		if arg > uint64(len(rest)) {
			return b, errShort
		}
		return rest[arg:], nil
	case majorArray:
		count = arg
	case majorMap:
		count = 2 * arg
	case majorTag:
		if arg < 100 || arg >= 55799 && arg < 55800 {
			return nil, nil
		}
		count = 1
	case majorOther:
		if size <= 1 && (arg < 20 || arg > 22) {
			return nil, nil
		}
	}
	if count > uint64(len(rest)) {
		return b, errShort
	}
	for i := range count {
		if major == majorMap && i%2 == 0 && !plainKey(rest) {
			return nil, nil
		}
		if rest, err = normalised(rest, depth+1); err != nil || rest == nil {
			return rest, err
		}
	}
	return rest, nil
}

// plainKey reports whether the value at the head of b is a map key that the library can hold without loss.
func plainKey(b []byte) bool {
	major, arg, size, _, err := readHead(b)
	if err != nil {
		return true
	}
	switch major {
	case majorNint:
		return arg < 1<<63
	case majorArray, majorMap, majorTag:
		return false
	case majorOther:
		return size == 0
	}
	return true
}

// TestMarshalIsReadable checks that Marshal refuses what Unmarshal would refuse to read: a payload that was accepted
// must not turn out to be unreadable.
func TestMarshalIsReadable(t *testing.T) {
	type raw struct {
		R cbor.RawMessage `cbor:"r"`
	}
	deep := any(1)
	for range 40 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"text that is not UTF-8":     map[string]string{"name": "caf\xe9"},
		"key that is not UTF-8":      map[string]int{"\xff": 1},
		"41 deep":                    deep,
		"the same key of two types":  map[any]any{int8(1): 1, uint64(1): 2},
		"raw bytes in a longer form": raw{cbor.RawMessage{0x18, 1}},
		"raw bytes that are two":     raw{cbor.RawMessage{1, 1}},
		"reserved simple value":      cbor.SimpleValue(5),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Marshal(v)
			if err != nil {
				if !errors.Is(err, ErrInvalid) {
					t.Error(err)
				}
				return
			}
			var back any
			if err := Unmarshal(b, &back); err != nil {
				t.Errorf("Marshal gives %x, but Unmarshal says %v", b, err)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	for name, v := range map[string]any{"channel": make(chan int), "function": func() {}} {
		if b, err := Marshal(v); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
}

// TestMarshalTime checks that times are text and come back to the nanosecond, in UTC.
func TestMarshalTime(t *testing.T) {
	for _, text := range []string{
		"2023-11-14T22:13:20Z", "2026-01-01T00:00:00.001Z", "1970-01-01T00:00:00Z", "2106-02-07T06:28:16.999999999Z", "0001-01-01T00:00:01Z",
		"9999-12-31T23:59:59.999999999Z", "2026-06-30T12:00:00.123456789+05:45", "1969-12-31T19:00:00.1-05:00",
	} {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Marshal(at)
		if err != nil {
			t.Fatal(err)
		}
		if want := append([]byte{0x60 | byte(len(text))}, text...); len(text) < 24 && !bytes.Equal(b, want) {
			t.Errorf("%s is %x, want %x", text, b, want)
		}
		var back time.Time
		if err := Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if !back.Equal(at) || back != at.UTC() {
			t.Errorf("%s came back as %v", text, back)
		}
	}
	at := time.Date(1960, 5, 1, 12, 0, 0, 0, time.FixedZone("MMT", -(44*60+30))) // Monrovia
	var back time.Time
	if b, err := Marshal(at); err != nil || Unmarshal(b, &back) != nil || !back.Equal(at) {
		t.Errorf("%v, whose offset has seconds, came back as %v, %v", at, back, err)
	}
	if b, err := Marshal(time.Time{}); err != nil || !bytes.Equal(b, []byte{cborNull}) {
		t.Errorf("the zero time is %x, %v", b, err)
	}
	for ms := range 1000 { // as a field, beside others
		type due struct {
			At   time.Time
			Note string
		}
		in := due{time.UnixMilli(1_767_225_600_000 + int64(ms)).UTC(), "x"}
		b, err := Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := decodeNew[due](b); err != nil || out != in {
			t.Fatalf("%v came back as %v, %v", in, out, err)
		}
	}
	if b, err := Marshal(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a year that RFC 3339 does not have: %x, %v", b, err)
	}
}

func TestUnmarshalInto(t *testing.T) {
	type pair struct {
		A int    `cbor:"a"`
		B string `cbor:"b"`
	}
	var p pair
	if err := Unmarshal(unhex(t, "a2 6161 01 6162 6178"), &p); err != nil || p != (pair{1, "x"}) {
		t.Errorf("%+v, %v", p, err)
	}
	for name, text := range map[string]string{
		"duplicate key":      "a2 6161 01 6161 02",
		"bytes after":        "a1 6161 01 00",
		"number too large":   "a1 6161 1b ffffffffffffffff",
		"array for a struct": "81 01",
		"text for a number":  "a1 6161 6131",
	} {
		if err := Unmarshal(unhex(t, text), &p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
