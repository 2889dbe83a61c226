package event

import (
	"bytes"
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Payloads are decoded by the CBOR library, which finds out anew for each value what it has and where that goes. Most
// payloads are structs whose fields are text, numbers, bytes and booleans, encoded by this package from the same type: for
// these a plan, made once for each type, checks and decodes in one pass. It knows only what is usual. Whatever else it meets, it
// gives up, and the library has the whole payload: it decides what is an error and says which, and is the oracle of the tests.

// A plan is how maps become values of one struct type. Its fields are sorted as the keys of a map must be.
type plan struct {
	fields []planned
}

// A planned field is set from the CBOR value at the start of b, of which it returns what follows. It says false of what is not
// canonical and of what the library is better asked about.
type planned struct {
	key   []byte // encoded
	index int
	set   set
}

// plans has the plan of each type that was decoded into, or a nil plan.
var plans sync.Map // of reflect.Type to *plan

// planOf returns the plan of a type, or nil if it has none.
func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p, _ := plans.LoadOrStore(t, newPlan(t))
	return p.(*plan)
}

// decodeNew returns the value that data, canonical CBOR, is the encoding of.
func decodeNew[T any](data []byte) (value T, err error) {
	defer func() {
		if r := recover(); r != nil { // in how a type decodes itself
			err = fmt.Errorf("decoding %T panics: %v: %w", value, r, ErrInvalid)
		}
	}()
	v := new(T)
	if decodePlanned(data, v) {
		return *v, nil
	}
	v = new(T) // a field that decodes itself may add to what it has
	err = Unmarshal(data, v)
	return *v, err
}

// decodePlanned decodes data into the struct that v points to. If it says false, some fields may have been set.
func decodePlanned(data []byte, v any) bool {
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Pointer || r.IsNil() || r.Type().Elem().Kind() != reflect.Struct {
		return false
	}
	p := planOf(r.Type().Elem())
	if p == nil || len(data) > believed && CheckCanonical(data) != nil { // nothing large is made of what has an error at its end
		return false
	}
	rest, ok := p.set(r.Elem(), data, maxPayloadDepth)
	return ok && len(rest) == 0
}

// set decodes the map at the start of b. Its keys must be in the order of the fields; no key is the beginning of another.
func (p *plan) set(v reflect.Value, b []byte, depth int) (rest []byte, ok bool) {
	major, pairs, _, rest, err := readHead(b)
	if err != nil || major != majorMap || depth <= 0 {
		return nil, false
	}
	fields, last := p.fields, []byte(nil)
	for ; pairs > 0; pairs-- {
		for len(fields) > 0 && !bytes.HasPrefix(rest, fields[0].key) && bytes.Compare(fields[0].key, rest) < 0 {
			fields = fields[1:] // the map has no such key
		}
		if len(fields) > 0 && bytes.HasPrefix(rest, fields[0].key) {
			f := &fields[0]
			fields, last = fields[1:], f.key
			if rest, ok = f.set(v.Field(f.index), rest[len(f.key):], depth-1); !ok {
				return nil, false
			}
		} else if last, rest, ok = skipUnknown(last, rest, depth-1); !ok {
			return nil, false
		}
	}
	return rest, true
}

// skipUnknown skips a pair whose key is not that of a field, and must be text that comes after the last key.
func skipUnknown(last, b []byte, depth int) (key, rest []byte, ok bool) {
	if len(b) == 0 || b[0]>>5 != majorText {
		return nil, nil, false
	}
	rest, err := skipCanonical(b, depth)
	if err != nil {
		return nil, nil, false
	}
	key = b[:len(b)-len(rest)]
	if last != nil && bytes.Compare(last, key) >= 0 {
		return nil, nil, false
	}
	rest, err = skipCanonical(rest, depth)
	return key, rest, err == nil
}

// newPlan returns the plan of a struct type, or nil if the library is to decode it: one that decodes itself, that is not
// made of a map with the names of its fields, or that cannot be decoded.
func newPlan(t reflect.Type) *plan {
	if decodesItself(t) || shapeOf(t) == endless {
		return nil
	}
	p := &plan{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, option := fieldName(&f)
		switch {
		case f.Anonymous || f.Name == "_" || option || !utf8.ValidString(name):
			return nil
		case !f.IsExported() || name == "":
			continue
		}
		key := append(appendHead(nil, majorText, uint64(len(name))), name...)
		p.fields = append(p.fields, planned{key, i, setter(f.Type, nil)})
	}
	slices.SortFunc(p.fields, func(a, b planned) int { return bytes.Compare(a.key, b.key) })
	for i := range p.fields {
		if i > 0 && bytes.Equal(p.fields[i-1].key, p.fields[i].key) {
			return nil // the library has rules for that
		}
	}
	return p
}

// fieldName returns the name that the library gives a field, "" for one that it leaves out, and whether there is an option that
// changes how the field is decoded.
func fieldName(f *reflect.StructField) (name string, option bool) {
	tag := f.Tag.Get("cbor")
	if tag == "" {
		tag = f.Tag.Get("json")
	}
	if tag == "-" {
		return "", false
	}
	name, options, _ := strings.Cut(tag, ",")
	if name == "" {
		name = f.Name
	}
	for o := range strings.SplitSeq(options, ",") {
		option = option || o != "" && o != "omitempty" && o != "omitzero"
	}
	return name, option
}

// decodesItself reports whether values of a type have a say in how they are decoded.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, i := range []reflect.Type{reflect.TypeFor[cbor.Unmarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if p.Implements(i) {
			return true
		}
	}
	return false
}

// A set function is that of a planned field.
type set = func(f reflect.Value, b []byte, depth int) (rest []byte, ok bool)

// setter returns how values of a type are set. within are the pointers and slices that it is the element of: a type that is
// made of itself has no end.
func setter(t reflect.Type, within []reflect.Type) set {
	switch {
	case slices.Contains(within, t):
		return setAny
	case reflect.PointerTo(t).Implements(reflect.TypeFor[cbor.Unmarshaler]()) && t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer:
		return setItself
	case decodesItself(t), t == reflect.TypeFor[cbor.Tag]():
		return setAny
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.String:
		return setText
	case reflect.Bool:
		return setBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return setInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return setUint
	case reflect.Float32, reflect.Float64:
		return setFloat
	case reflect.Struct:
		return setStruct
	case reflect.Pointer:
		return setPointer(setter(t.Elem(), within))
	case reflect.Slice:
		switch {
		case t.Elem() == reflect.TypeFor[byte]():
			return setBytes
		case t.Elem().Kind() != reflect.Uint8: // else it is the library that knows
			return setSlice(setter(t.Elem(), within))
		}
	}
	return setAny
}

// setItself asks the value, as the library would.
func setItself(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	rest, err := skipCanonical(b, depth)
	if err != nil || b[0] >= cborNull && b[0] <= cborUndefined || b[0]>>5 == majorTag {
		return nil, false
	}
	own := append([]byte{}, b[:len(b)-len(rest)]...)
	return rest, f.Addr().Interface().(cbor.Unmarshaler).UnmarshalCBOR(own) == nil
}

func setStruct(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	if p := planOf(f.Type()); p != nil && len(p.fields) > 0 {
		return p.set(f, b, depth)
	}
	return setAny(f, b, depth)
}

// setPointer returns how a pointer is set to a new value, which is set by elem. Undefined, and null behind a tag, are not for
// elem to see.
func setPointer(elem set) set {
	return func(f reflect.Value, b []byte, depth int) ([]byte, bool) {
		if len(b) > 0 && b[0] == cborNull && depth > 0 {
			f.SetZero()
			return b[1:], true
		}
		if len(b) > 0 && (b[0] == cborUndefined || b[0]>>5 == majorTag) {
			return nil, false
		}
		v := reflect.New(f.Type().Elem())
		f.Set(v)
		return elem(v.Elem(), b, depth)
	}
}

// believed is how many bytes a slice may have before its items are looked for.
const believed = 4096

// setSlice returns how a slice is set to a new one, each element by elem.
func setSlice(elem set) set {
	return func(f reflect.Value, b []byte, depth int) ([]byte, bool) {
		if len(b) > 0 && b[0] == cborNull && depth > 0 {
			f.SetZero()
			return b[1:], true
		}
		major, n, _, rest, err := readHead(b)
		if err != nil || major != majorArray || n > uint64(len(rest)) || depth <= 0 {
			return nil, false
		}
		if int(n)*int(f.Type().Elem().Size()) > believed {
			if _, err := skipItems(rest, n, depth-1); err != nil {
				return nil, false
			}
		}
		f.Set(reflect.MakeSlice(f.Type(), int(n), int(n)))
		ok := true
		for i := 0; i < int(n) && ok; i++ {
			rest, ok = elem(f.Index(i), rest, depth-1)
		}
		return rest, ok
	}
}

// setAny asks the library about this one value.
func setAny(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	rest, err := skipCanonical(b, depth)
	if err != nil {
		return nil, false
	}
	return rest, cborDecoder.Unmarshal(b[:len(b)-len(rest)], f.Addr().Interface()) == nil
}

func setText(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	text, rest, ok := readString(b, majorText, depth)
	if !ok || !utf8.Valid(text) {
		return nil, false
	}
	f.SetString(string(text))
	return rest, true
}

func setBytes(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	if len(b) > 0 && b[0] == cborNull && depth > 0 { // how a nil slice is encoded
		f.SetZero()
		return b[1:], true
	}
	bytes, rest, ok := readString(b, majorBytes, depth)
	if !ok {
		return nil, false
	}
	f.SetBytes(append(make([]byte, 0, len(bytes)), bytes...))
	return rest, true
}

// readString returns the text or the bytes at the start of b, which they alias.
func readString(b []byte, major byte, depth int) (s, rest []byte, ok bool) {
	is, n, _, rest, err := readHead(b)
	if err != nil || is != major || n > uint64(len(rest)) || depth <= 0 {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

func setBool(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	if len(b) == 0 || b[0] != cborFalse && b[0] != cborTrue || depth <= 0 {
		return nil, false
	}
	f.SetBool(b[0] == cborTrue)
	return b[1:], true
}

func setInt(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	major, n, _, rest, err := readHead(b)
	if err != nil || major > majorNint || n > math.MaxInt64 || depth <= 0 {
		return nil, false
	}
	i := int64(n)
	if major == majorNint {
		i = -1 - i
	}
	if f.OverflowInt(i) {
		return nil, false
	}
	f.SetInt(i)
	return rest, true
}

func setUint(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	major, n, _, rest, err := readHead(b)
	if err != nil || major != majorUint || f.OverflowUint(n) || depth <= 0 {
		return nil, false
	}
	f.SetUint(n)
	return rest, true
}

func setFloat(f reflect.Value, b []byte, depth int) ([]byte, bool) {
	major, bits, size, rest, err := readHead(b)
	if err != nil || major != majorOther || size == 0 || checkSimple(bits, size) != nil || depth <= 0 {
		return nil, false
	}
	var x float64
	switch size {
	case 2:
		x = halfFloat(uint16(bits))
	case 4:
		x = float64(math.Float32frombits(uint32(bits)))
	case 8:
		x = math.Float64frombits(bits)
	}
	if f.OverflowFloat(x) {
		return nil, false
	}
	f.SetFloat(x)
	return rest, true
}

// halfFloat returns the value of an IEEE 754 half-precision number.
func halfFloat(bits uint16) float64 {
	exp, frac := int(bits>>10&0x1F), float64(bits&0x3FF)
	var x float64
	switch {
	case exp == 0x1F && frac != 0:
		return math.Float64frombits(0x7FF8 << 48) // which is not math.NaN()
	case exp == 0x1F:
		x = math.Inf(1)
	case exp == 0:
		x = math.Ldexp(frac, -24)
	default:
		x = math.Ldexp(frac+1024, exp-25)
	}
	if bits>>15 != 0 {
		return -x
	}
	return x
}
