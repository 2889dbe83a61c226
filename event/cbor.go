package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Everything batpak encodes is CBOR in core deterministic encoding (RFC 8949 section 4.2.1): shortest integers, lengths
// and floats, no indefinite lengths, map keys unique and sorted by their encoded bytes. So each value has one spelling,
// and equal values have equal hashes.

var (
	cborEncoder = must(cborEncOptions().EncMode())
	cborDecoder = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		UTF8:              cbor.UTF8DecodeInvalid, // CheckCanonical has refused what is not UTF-8
		MaxArrayElements:  math.MaxInt32,          // what could be encoded can be decoded; the bytes bound both
		MaxMapPairs:       math.MaxInt32,
	}.DecMode())
)

// cborEncOptions is core deterministic encoding, with times as the text of RFC 3339: a float of seconds, which CBOR has for them too,
// cannot hold every millisecond. They are in UTC, since the text has no offsets with seconds, and so that one instant has one spelling.
func cborEncOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339NanoUTC
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Marshal returns v in core deterministic encoding. Struct fields are named by the cbor or json tag, else by their own
// name. A time.Time is the text of RFC 3339, of the years 0 to 9999: it comes back as the same instant to the nanosecond, in UTC.
// What [Unmarshal] would refuse, such as text that is not UTF-8, Marshal refuses, and a value that contains itself.
// The error matches [ErrInvalid].
func Marshal(v any) ([]byte, error) {
	var b []byte
	err := checkLoops(v)
	if err == nil {
		b, err = cborEncoder.Marshal(v)
	}
	if err == nil {
		err = CheckCanonical(b)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %T as CBOR: %w: %w", v, ErrInvalid, err)
	}
	return b, nil
}

// Unmarshal decodes into v, a pointer, exactly one value in core deterministic encoding: other forms of the same value,
// duplicate keys and bytes after the value are refused. The error matches [ErrInvalid]; v may be half set then.
func Unmarshal(data []byte, v any) error {
	if err := CheckCanonical(data); err != nil {
		return err
	}
	err := checkEndless(reflect.TypeOf(v))
	if err == nil {
		err = cborDecoder.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("decode CBOR into %T: %w: %w", v, ErrInvalid, err)
	}
	return nil
}

// CheckCanonical reports whether data is exactly one CBOR value in core deterministic encoding, nested at most 32 deep.
// It allocates nothing for input that is. The error names the offset and matches [ErrInvalid].
func CheckCanonical(data []byte) error {
	rest, err := skipCanonical(data, maxPayloadDepth)
	if err == nil && len(rest) > 0 {
		err = errTrailing
	}
	if err != nil {
		return fmt.Errorf("CBOR at offset %d of %d: %w: %w", len(data)-len(rest), len(data), ErrInvalid, err)
	}
	return nil
}

// How deep values may be nested, the outermost counted.
const (
	maxPayloadDepth = 32
	maxHeaderDepth  = 16
)

var (
	errTrailing   = errors.New("bytes after the value")
	errShort      = errors.New("value is cut off")
	errLongForm   = errors.New("integer, length or float is not in its shortest form")
	errIndefinite = errors.New("indefinite length")
	errKeyOrder   = errors.New("map keys are not unique and sorted")
	errText       = errors.New("text is not UTF-8")
	errSimple     = errors.New("simple value is reserved")
	errDepth      = errors.New("nested too deep")
)

// The major types of CBOR.
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
	majorOther = 7
)

// readHead splits the first byte of a value and its argument from b. For majorOther the argument is returned as stored,
// with size saying in how many bytes, since floats have their own rule of shortness.
func readHead(b []byte) (major byte, arg uint64, size int, rest []byte, err error) {
	if len(b) == 0 {
		return 0, 0, 0, b, errShort
	}
	major, info := b[0]>>5, b[0]&31
	switch {
	case info < 24:
		return major, uint64(info), 0, b[1:], nil
	case info == 31:
		return 0, 0, 0, b, errIndefinite
	case info > 27:
		return 0, 0, 0, b, errSimple
	}
	size = 1 << (info - 24)
	if len(b) < 1+size {
		return 0, 0, 0, b, errShort
	}
	switch size {
	case 1:
		arg = uint64(b[1])
	case 2:
		arg = uint64(binary.BigEndian.Uint16(b[1:]))
	case 4:
		arg = uint64(binary.BigEndian.Uint32(b[1:]))
	case 8:
		arg = binary.BigEndian.Uint64(b[1:])
	}
	if major != majorOther && arg < shortestBelow[size] {
		return 0, 0, 0, b, errLongForm
	}
	return major, arg, size, b[1+size:], nil
}

// shortestBelow[n] is the first argument that needs n bytes.
var shortestBelow = [9]uint64{1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}

// skipCanonical returns what follows the first value of b. On error it returns the bytes from the offending head on.
func skipCanonical(b []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return b, errDepth
	}
	if rest, ok := skipSmall(b); ok {
		return rest, nil
	}
	major, arg, size, rest, err := readHead(b)
	if err != nil {
		return b, err
	}
	switch major {
	case majorBytes, majorText:
		if arg > uint64(len(rest)) {
			return b, errShort
		}
		if major == majorText && !utf8.Valid(rest[:arg]) {
			return b, errText
		}
		return rest[arg:], nil
	case majorArray:
		return skipItems(rest, arg, depth-1)
	case majorMap:
		return skipMap(rest, arg, depth-1)
	case majorTag:
		return skipCanonical(rest, depth-1)
	case majorOther:
		if err := checkSimple(arg, size); err != nil {
			return b, err
		}
	}
	return rest, nil
}

// skipSmall is skipCanonical of what most values are: an integer below 24, or text of fewer bytes that is ASCII. It says false
// of others, and of what is wrong.
func skipSmall(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 || b[0]&31 > 23 {
		return nil, false
	}
	switch b[0] >> 5 {
	case majorUint, majorNint:
		return b[1:], true
	case majorText:
		end := 1 + int(b[0]&31)
		if len(b) < end {
			return nil, false
		}
		for _, c := range b[1:end] {
			if c >= utf8.RuneSelf {
				return nil, false
			}
		}
		return b[end:], true
	}
	return nil, false
}

func skipItems(b []byte, n uint64, depth int) (rest []byte, err error) {
	for rest = b; n > 0 && err == nil; n-- {
		rest, err = skipCanonical(rest, depth)
	}
	return rest, err
}

func skipMap(b []byte, n uint64, depth int) (rest []byte, err error) {
	var last []byte
	for rest = b; n > 0; n-- {
		key := rest
		if rest, err = skipCanonical(key, depth); err != nil {
			return rest, err
		}
		this := key[:len(key)-len(rest)]
		if last != nil && bytes.Compare(last, this) >= 0 {
			return key, errKeyOrder
		}
		last = this
		if rest, err = skipCanonical(rest, depth); err != nil {
			return rest, err
		}
	}
	return rest, nil
}

// checkSimple checks a value of major type 7: false, true, null, undefined, or a float in its shortest form, with the
// one NaN that core deterministic encoding prefers.
func checkSimple(arg uint64, size int) error {
	var f float64
	switch size {
	case 0:
		if arg < 20 || arg > 23 {
			return errSimple
		}
		return nil
	case 1:
		return errSimple
	case 2:
		if arg&0x7C00 == 0x7C00 && arg&0x3FF != 0 && arg != 0x7E00 {
			return errLongForm
		}
		return nil
	case 4:
		f = float64(math.Float32frombits(uint32(arg)))
		if math.IsNaN(f) || fitsHalf(float32(f)) {
			return errLongForm
		}
	case 8:
		f = math.Float64frombits(arg)
		if math.IsNaN(f) || float64(float32(f)) == f {
			return errLongForm
		}
	}
	return nil
}

// fitsHalf reports whether f, not NaN, has an exact IEEE 754 half-precision form.
func fitsHalf(f float32) bool {
	bits := math.Float32bits(f)
	exp, frac := int(bits>>23&0xFF)-127, bits&0x7FFFFF
	switch {
	case bits<<1 == 0, exp == 128: // zeros and infinities
		return true
	case exp > 15 || exp < -24:
		return false
	case exp >= -14: // normal: 10 bits of fraction
		return frac&0x1FFF == 0
	default: // subnormal: a multiple of 2^-24
		return (frac|1<<23)&(1<<uint(-exp-1)-1) == 0
	}
}
