package event

import (
	"bytes"
	"math"
	"math/big"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Types of which the planned decoder and the library must make the same.
type (
	word16 uint16
	level  string // with methods that decoding does not care for
	flat   struct {
		Text   string  `cbor:"text"`
		Level  level   `json:"level,omitempty"`
		Int    int     `cbor:"int,omitzero"`
		Small  int8    `cbor:"small"`
		Uint   uint64  `cbor:"uint"`
		Word   word16  `cbor:"word"`
		Float  float64 `cbor:"float"`
		Single float32
		Bytes  []byte `cbor:"bytes"`
		Yes    bool   `cbor:"yes"`
		Left   string `cbor:"-"`
		//lint:ignore U1000 no key may set it
		hidden int
		Dash   string `cbor:"-,"`
	}
	deep struct {
		Flat    flat            `cbor:"flat"`
		Pointer *flat           `cbor:"pointer"`
		Time    time.Time       `cbor:"time"`
		Names   []string        `cbor:"names"`
		Map     map[string]int8 `cbor:"map"`
		Any     any             `cbor:"any"`
		Own     shouted         `cbor:"own"`
		Array   [3]byte         `cbor:"array"`
		Words   []word16        `cbor:"words"`
		Raw     cbor.RawMessage `cbor:"raw"`
		Fn      func()          `cbor:"fn"`
		Self    []deep          `cbor:"self"`
		Flats   []flat          `cbor:"flats"`
		Next    *deep           `cbor:"next"`
		Number  **int           `cbor:"number"`
		Owns    []shouted       `cbor:"owns"`
		OwnAt   *shouted        `cbor:"ownat"`
		Tag     cbor.Tag        `cbor:"tag"`
		Big     big.Int         `cbor:"big"`
		Texts   [][]string      `cbor:"texts"`
		Err     error           `cbor:"err"`
		Binary  bytewise        `cbor:"binary"`
		Keyed   *numbered       `cbor:"keyed"`
		Tree    tree            `cbor:"tree"`
		Links   chained         `cbor:"links"`
		Bigs    *big.Int        `cbor:"bigs"`
	}
	tree     []tree
	chained  []*chained
	numbered struct {
		A int `cbor:"1,keyasint"`
	}
	doubled struct {
		A int    `cbor:"a"`
		B string `cbor:"a"`
	}
	empty struct{}
)

// bytewise decodes itself from a byte string.
type bytewise struct{ b []byte }

func (x *bytewise) UnmarshalBinary(b []byte) error {
	x.b = append(x.b, b...)
	return nil
}

func (level) String() string { return "a level" }

// shouted is text that decodes itself.
type shouted string

func (s *shouted) UnmarshalCBOR(b []byte) error {
	var text string
	if err := Unmarshal(b, &text); err != nil {
		return err
	}
	*s += shouted(text + "!") // so that it shows if it is called twice
	return nil
}

func sampleFlat() flat {
	return flat{Text: "né", Level: "high", Int: -70000, Small: -128, Uint: 1<<64 - 1, Word: 65535, Float: 0.1, Single: 1.5,
		Bytes: []byte{1, 2}, Yes: true, Dash: "-"}
}

// A typical payload takes the short way: that it does is what makes it short.
func TestPlanned(t *testing.T) {
	for _, v := range []any{sampleFlat(), flat{}, moved{1, "s"}, empty{}, struct{ T time.Time }{time.Unix(1, 0).UTC()}} {
		b, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(v))
		if !decodePlanned(b, back.Interface()) || !reflect.DeepEqual(back.Elem().Interface(), v) {
			t.Errorf("%+v came back as %+v", v, back.Elem())
		}
	}
	for _, v := range []any{&numbered{}, &doubled{}, &everything{}, &tuple{}, new(word), new(shouted), flat{}, (*flat)(nil), nil} {
		if decodePlanned([]byte{0xA0}, v) {
			t.Errorf("%T is decoded by a plan", v)
		}
	}
}

// checkPlanned decodes data as a T with its plan and by the library alone: both refuse it, or both make the same of it.
func checkPlanned[T any](t *testing.T, data []byte) {
	t.Helper()
	var want T
	got, err := decodeNew[T](data)
	if oracle := Unmarshal(data, &want); (err == nil) != (oracle == nil) {
		t.Errorf("%x as %T: %v, the library says %v", data, got, err, oracle)
		return
	}
	nan := bytes.Contains(data, []byte{0xF9, 0x7E, 0x00}) // is not equal to itself
	if err == nil && !nan && !reflect.DeepEqual(got, want) {
		t.Errorf("%x as %T is\n%+v, the library says\n%+v", data, got, got, want)
	}
}

func checkPlannedAll(t *testing.T, data []byte) {
	t.Helper()
	checkPlanned[flat](t, data)
	checkPlanned[deep](t, data)
	checkPlanned[numbered](t, data)
	checkPlanned[doubled](t, data)
	checkPlanned[empty](t, data)
}

// FuzzPlanned decodes any bytes, and maps whose keys are those of fields while the values are not.
func FuzzPlanned(f *testing.F) {
	whole, err := Marshal(sampleFlat())
	if err != nil {
		f.Fatal(err)
	}
	keys := []string{"text", "level", "int", "small", "uint", "word", "float", "Single", "bytes", "yes", "Left", "-", "hidden", "other",
		"flat", "pointer", "time", "names", "map", "any", "own", "array", "words", "raw", "fn", "self", "flats", "next", "number", "owns", "ownat", "tag", "big", "texts", "err", "binary", "keyed", "tree", "links", "bigs", "a", "1", "", "aa"}
	for _, disorder := range []string{"a2647465787460626161f6", "a2626161f660f6", "a26474657874606474657874f6", "a264746578746000f6", "a264746578746040f6", "a2647a7a7a7a00647a7a7a7900"} {
		f.Add(unhex(f, disorder), uint8(0), []byte{0x60}, uint8(0), []byte{0x60})
	}
	for i := range keys {
		f.Add(whole, uint8(i), whole, uint8(0), []byte{0x60})
	}
	for _, v := range []string{"00", "17", "1817", "1818", "20", "3863", "387f", "3880", "1bffffffffffffffff", "1b7fffffffffffffff", "3b7fffffffffffffff",
		"3b8000000000000000", "40", "4101", "60", "6161", "61ff", "63e282ac", "780161", "f4", "f5", "f6", "f7", "f800", "f90000", "f98000", "f90001",
		"f93c00", "f97bff", "f97c00", "f9fc00", "f97e00", "f97e01", "fa3fc00000", "fa47c35000", "fa7f7fffff", "fb3ff199999999999a",
		"fb7fefffffffffffff", "fb47efffffe0000000", "fb7ff8000000000000", "80", "8101", "816161", "82616161620a", "81a16474657874", "81a1647465787460", "81f6", "8180", "818160", "81f7", "81a0", "a1647465787460", "a0", "a16161f6", "a16774657874a06161f6", "c100", "c1f93c00", "d9d9f700", "d9d9f76161", "d9d9f7f6", "d9d9f7f7", "82808180", "8182f680", "9f00ff",
		"5f4101ff", "bf6161ffff", ""} {
		value := unhex(f, v)
		f.Add(value, uint8(len(v)), value, uint8(13), value)
		for i := range keys {
			f.Add([]byte{0xA0}, uint8(i), value, uint8(i+1), []byte{0x01})
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, first uint8, a []byte, second uint8, b []byte) {
		if len(data)+len(a)+len(b) > 1<<12 {
			return
		}
		checkPlannedAll(t, data)
		fields := map[string]cbor.RawMessage{keys[int(first)%len(keys)]: a}
		checkPlannedAll(t, mapOf(fields))
		fields[keys[int(second)%len(keys)]] = b
		both := mapOf(fields)
		checkPlannedAll(t, both)
		checkPlannedAll(t, append(append([]byte{0xA1, 0x64}, "flat"...), both...))
	})
}

// Every half-precision number is what the library says.
func TestHalfFloat(t *testing.T) {
	for bits := range 1 << 16 {
		var want float64
		if err := cborDecoder.Unmarshal([]byte{0xF9, byte(bits >> 8), byte(bits)}, &want); err != nil {
			t.Fatal(err)
		}
		if got := halfFloat(uint16(bits)); math.Float64bits(got) != math.Float64bits(want) && !math.IsNaN(got) && !math.IsNaN(want) {
			t.Errorf("%#x is %v, not %v", bits, got, want)
		}
	}
}

// BenchmarkDecode decodes a payload of 256 B with six fields, by its plan and by the library alone.
func BenchmarkDecode(b *testing.B) {
	v := sampleFlat()
	v.Bytes = make([]byte, 150)
	data, err := Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	for _, how := range []struct {
		name   string
		decode func([]byte) (flat, error)
	}{
		{"planned", decodeNew[flat]},
		{"library", func(data []byte) (f flat, err error) { return f, Unmarshal(data, &f) }},
	} {
		b.Run(how.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := how.decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// claiming returns so many bytes of arrays in arrays of which each claims all the bytes behind it.
func claiming(size int) (data []byte) {
	for range 14 {
		data = append(data, "\xA1\x64self"...)
		left := size - len(data)
		data = appendHead(data, majorArray, uint64(left-len(appendHead(nil, majorArray, uint64(left)))))
	}
	return append(data, make([]byte, size-len(data))...)
}

// A length is believed when what it counts is there, and a payload with an error at its end costs no memory.
func TestLengthsAreNotBelieved(t *testing.T) {
	behind := append([]byte("\xA1\x64self\x99\x40\x00"), bytes.Repeat([]byte{0xA0}, 1<<14)...)
	for name, data := range map[string][]byte{"nested": claiming(1 << 20), "small": claiming(4000), "a byte behind": append(behind, 0)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeNew[deep](data)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; err == nil || grown > 1<<16 {
			t.Errorf("%s: %v, %d bytes allocated", name, err, grown)
		}
	}
}
