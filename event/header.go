package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A header is one CBOR map in core deterministic encoding. Keys are small unsigned integers; a key is absent when its
// value is zero or empty, so each header has one spelling.
//
//	 1 seq              uint, from 1
//	 2 id               bytes(16)
//	 3 entity           text
//	 4 scope            text
//	 5 lane             uint
//	 6 clock            uint, from 1
//	 7 kind             uint, 16 bits, not 0
//	 8 time             uint, microseconds since 1970, not 0, at most MaxTimestamp
//	 9 correlation      bytes(16), absent when it is the id itself
//	10 causation        bytes(16)
//	11 payload version  uint, 16 bits
//	12 payload length   uint, 32 bits
//	13 content hash     bytes(32)
//	14 previous hash    bytes(32)
//	15 idempotency key  bytes, at most 256
//	16 flags            uint, 8 bits
//	17 encryption       map {1: key scope, text; 2: nonce, bytes(24)}
//	18 extensions       map of text to bytes, keys as ValidateExtension says
//
// Keys above 18 belong to later versions: they are kept in Unknown, encoded again as they were, and so covered by the
// hash. Any other key is refused.
const (
	keySeq = 1 + iota
	keyID
	keyEntity
	keyScope
	keyLane
	keyClock
	keyKind
	keyTime
	keyCorrelation
	keyCausation
	keyPayloadVersion
	keyPayloadLength
	keyContent
	keyPrev
	keyIdempotency
	keyFlags
	keyEncryption
	keyExtensions
)

// Bounds of a header.
const (
	MaxHeaderBytes    = 64 << 10 // encoded
	MaxKeyBytes       = 256      // idempotency key
	MaxExtensionBytes = 256      // name of an extension
	maxKeyScopeBytes  = 1024
	nonceBytes        = 24
)

// A Header is everything an event says of itself besides its payload. The maps and slices of a decoded header belong to
// whoever received it.
type Header struct {
	Seq            Seq
	ID             ID
	Entity         string
	Scope          string
	Lane           Lane
	Clock          Clock
	Kind           Kind
	Time           Timestamp
	Correlation    ID // the event's own id when it began a correlation of its own
	Causation      ID // zero: no cause named
	PayloadVersion uint16
	PayloadLength  uint32
	Content        Hash              // of the payload as stored
	Prev           Hash              // of the event before it in the stream, or of the stream's genesis
	Key            string            // idempotency key
	Flags          uint8             // none defined
	Encryption     *Encryption       // nil: the payload is plain
	Extensions     map[string][]byte // opaque to batpak
	Unknown        []byte            // encoded pairs with keys of later versions, in order
}

// Encryption says how a payload was sealed.
type Encryption struct {
	KeyScope string
	Nonce    [nonceBytes]byte
}

// Coordinate returns the entity and scope.
func (h *Header) Coordinate() Coordinate { return Coordinate{h.Entity, h.Scope} }

// Stream returns the entity and lane.
func (h *Header) Stream() Stream { return Stream{h.Entity, h.Lane} }

// Clone returns a copy that shares no map and no slice with h.
func (h *Header) Clone() Header {
	c := *h
	if h.Encryption != nil {
		e := *h.Encryption
		c.Encryption = &e
	}
	if h.Extensions != nil {
		c.Extensions = make(map[string][]byte, len(h.Extensions))
		for name, v := range h.Extensions {
			c.Extensions[name] = append([]byte{}, v...)
		}
	}
	c.Unknown = slices.Clone(h.Unknown)
	return c
}

// ValidateExtension reports whether name may be the name of an extension: 3 to 256 printable ASCII characters with
// exactly one dot, which has something on both sides. The error matches [ErrInvalid].
func ValidateExtension(name string) error {
	space, key, _ := strings.Cut(name, ".")
	ok := len(name) <= MaxExtensionBytes && space != "" && key != "" && !strings.Contains(key, ".")
	for i := 0; i < len(name) && ok; i++ {
		ok = name[i] > 0x20 && name[i] < 0x7F
	}
	if !ok {
		return fmt.Errorf("extension %.80q is not ASCII of the form namespace.name: %w", name, ErrInvalid)
	}
	return nil
}

// AppendHeader appends the encoding of h to dst. It does not check h; [DecodeHeader] refuses what is out of bounds.
func AppendHeader(dst []byte, h *Header) []byte {
	dst = appendHead(dst, majorMap, uint64(countKeys(h)))
	dst = appendUint(dst, keySeq, uint64(h.Seq))
	dst = appendBytes(dst, keyID, h.ID[:])
	dst = appendText(dst, keyEntity, h.Entity)
	dst = appendText(dst, keyScope, h.Scope)
	dst = appendUint(dst, keyLane, uint64(h.Lane))
	dst = appendUint(dst, keyClock, uint64(h.Clock))
	dst = appendUint(dst, keyKind, uint64(h.Kind))
	dst = appendUint(dst, keyTime, uint64(h.Time))
	if h.Correlation != h.ID && !h.Correlation.IsZero() {
		dst = appendBytes(dst, keyCorrelation, h.Correlation[:])
	}
	if !h.Causation.IsZero() {
		dst = appendBytes(dst, keyCausation, h.Causation[:])
	}
	dst = appendUint(dst, keyPayloadVersion, uint64(h.PayloadVersion))
	dst = appendUint(dst, keyPayloadLength, uint64(h.PayloadLength))
	dst = appendBytes(dst, keyContent, h.Content[:])
	dst = appendBytes(dst, keyPrev, h.Prev[:])
	if h.Key != "" {
		dst = append(appendHead(append(dst, keyIdempotency), majorBytes, uint64(len(h.Key))), h.Key...)
	}
	dst = appendUint(dst, keyFlags, uint64(h.Flags))
	dst = appendEncryption(dst, h.Encryption)
	dst = appendExtensions(dst, h.Extensions)
	return append(dst, h.Unknown...)
}

// countKeys returns how many pairs AppendHeader writes.
func countKeys(h *Header) int {
	n := 4 // id, entity, content, prev are always there; the rest when set
	for _, set := range [...]bool{
		h.Seq > 0, h.Scope != "", h.Lane > 0, h.Clock > 0, h.Kind > 0, h.Time > 0,
		h.Correlation != h.ID && !h.Correlation.IsZero(), !h.Causation.IsZero(), h.PayloadVersion > 0, h.PayloadLength > 0,
		h.Key != "", h.Flags > 0, h.Encryption != nil, len(h.Extensions) > 0,
	} {
		if set {
			n++
		}
	}
	return n + countPairs(h.Unknown)
}

// countPairs counts the key-value pairs in b, which is canonical.
func countPairs(b []byte) (n int) {
	for len(b) > 0 {
		for range 2 {
			rest, err := skipCanonical(b, maxHeaderDepth)
			if err != nil {
				return n
			}
			b = rest
		}
		n++
	}
	return n
}

func appendHead(dst []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(dst, major|byte(arg))
	case arg < 1<<8:
		return append(dst, major|24, byte(arg))
	case arg < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(arg))
	case arg < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(arg))
	default:
		return binary.BigEndian.AppendUint64(append(dst, major|27), arg)
	}
}

func appendUint(dst []byte, key byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendHead(append(dst, key), majorUint, v)
}

func appendBytes(dst []byte, key byte, v []byte) []byte {
	return append(appendHead(append(dst, key), majorBytes, uint64(len(v))), v...)
}

func appendText(dst []byte, key byte, v string) []byte {
	if v == "" && key != keyEntity {
		return dst
	}
	return append(appendHead(append(dst, key), majorText, uint64(len(v))), v...)
}

func appendEncryption(dst []byte, e *Encryption) []byte {
	if e == nil {
		return dst
	}
	dst = appendHead(append(dst, keyEncryption), majorMap, 2)
	dst = append(appendHead(append(dst, 1), majorText, uint64(len(e.KeyScope))), e.KeyScope...)
	return append(appendHead(append(dst, 2), majorBytes, nonceBytes), e.Nonce[:]...)
}

func appendExtensions(dst []byte, ext map[string][]byte) []byte {
	if len(ext) == 0 {
		return dst
	}
	dst = appendHead(append(dst, keyExtensions), majorMap, uint64(len(ext)))
	names := slices.SortedFunc(maps.Keys(ext), func(a, b string) int {
		if len(a) != len(b) { // the length is the first thing encoded, so shorter names sort first
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		dst = append(appendHead(dst, majorText, uint64(len(name))), name...)
		dst = append(appendHead(dst, majorBytes, uint64(len(ext[name]))), ext[name]...)
	}
	return dst
}

// DecodeHeader reads a header that is exactly b, checking every rule of the format. The strings, maps and slices of the
// result do not alias b. The error names the field and matches [ErrInvalid].
func DecodeHeader(b []byte) (h Header, err error) {
	d := headerDecoder{b: b}
	if err := d.decode(&h); err != nil {
		return Header{}, fmt.Errorf("header at offset %d of %d: %w: %w", len(b)-len(d.b), len(b), ErrInvalid, err)
	}
	return h, nil
}

// A headerDecoder consumes b from the front. After an error, b begins at or after the offending byte. What is read has a short way
// for the usual form; all else, and what is wrong, goes by readHead.
type headerDecoder struct {
	b             []byte
	entity, scope []byte // of the header, which has them as strings in the end
}

var (
	errNotMap     = errors.New("not a map")
	errHeaderSize = fmt.Errorf("header is longer than %d bytes", MaxHeaderBytes)
)

func (d *headerDecoder) decode(h *Header) error {
	if len(d.b) > MaxHeaderBytes {
		return errHeaderSize
	}
	n, err := d.head(majorMap, 1<<16)
	if err != nil {
		return errNotMap
	}
	seen, last := uint32(0), uint64(0)
	for ; n > 0; n-- {
		pair := d.b
		key, err := uint64(0), error(nil)
		if len(pair) > 0 && pair[0] < 24 {
			key, d.b = uint64(pair[0]), pair[1:]
		} else if key, err = d.head(majorUint, 1<<63); err != nil {
			return fmt.Errorf("key: %w", err)
		}
		if key <= last {
			return errKeyOrder
		}
		last = key
		if key > keyExtensions {
			if d.b, err = skipCanonical(d.b, maxHeaderDepth-1); err != nil {
				return fmt.Errorf("key %d: %w", key, err)
			}
			h.Unknown = append(h.Unknown, pair[:len(pair)-len(d.b)]...)
			continue
		}
		seen |= 1 << key
		if err := d.field(h, key); err != nil {
			return fmt.Errorf("key %d: %w", key, err)
		}
	}
	if len(d.b) > 0 {
		return errTrailing
	}
	return d.complete(h, seen)
}

// complete checks the rules that concern more than one key, and fills in the coordinate and the correlation.
func (d *headerDecoder) complete(h *Header, seen uint32) error {
	const need = 1<<keySeq | 1<<keyID | 1<<keyEntity | 1<<keyScope | 1<<keyClock | 1<<keyKind | 1<<keyTime | 1<<keyContent | 1<<keyPrev
	if seen&need != need {
		return fmt.Errorf("keys are missing (bits %#x)", need&^seen)
	}
	// The scope follows the entity, so both are parts of one string, which is one allocation instead of two.
	both := string(d.entity[:cap(d.entity)-cap(d.scope)+len(d.scope)])
	h.Entity, h.Scope = both[:len(d.entity)], both[len(both)-len(d.scope):]
	if err := h.Coordinate().Validate(); err != nil {
		return err
	}
	if h.Correlation == h.ID {
		return errors.New("correlation is the id, which is written by leaving it out")
	}
	if h.Correlation.IsZero() {
		h.Correlation = h.ID
	}
	return nil
}

var (
	errZero = errors.New("zero is written by leaving the key out")
	errType = errors.New("value is of another type, or too large or too small")
)

// head reads a head of the given major type whose argument is at most max.
func (d *headerDecoder) head(major byte, max uint64) (uint64, error) {
	if len(d.b) > 0 { // most fit one byte
		if arg := uint64(d.b[0] - major<<5); arg < 24 && arg <= max {
			d.b = d.b[1:]
			return arg, nil
		}
	}
	m, arg, _, rest, err := readHead(d.b)
	if err != nil {
		return 0, err
	}
	if m != major || arg > max {
		return 0, errType
	}
	d.b = rest
	return arg, nil
}

// uint reads an integer from 1 to max.
func (d *headerDecoder) uint(max uint64) (uint64, error) {
	if v, n := usualUint(d.b); v > 0 && v <= max {
		d.b = d.b[n:]
		return v, nil
	}
	v, err := d.head(majorUint, max)
	if err == nil && v == 0 {
		err = errZero
	}
	return v, err
}

// usualUint returns the integer at the start of b and how many bytes it takes, or 0 if it is none in its shortest form.
func usualUint(b []byte) (v uint64, n int) {
	if len(b) < 9 {
		return 0, 0 // more than that follows in a header
	}
	switch b[0] {
	case 24:
		v, n = uint64(b[1]), 2
	case 25:
		v, n = uint64(binary.BigEndian.Uint16(b[1:])), 3
	case 26:
		v, n = uint64(binary.BigEndian.Uint32(b[1:])), 5
	case 27:
		v, n = binary.BigEndian.Uint64(b[1:]), 9
	default:
		if b[0] > 23 {
			return 0, 0
		}
		return uint64(b[0]), 1
	}
	if v < shortestBelow[n-1] {
		return 0, 0
	}
	return v, n
}

// bytes reads a string of min to max bytes. The result aliases the input.
func (d *headerDecoder) bytes(major byte, min, max int) ([]byte, error) {
	if len(d.b) > 0 {
		if n := int(d.b[0] - major<<5); n < 24 && n >= min && n <= max && n < len(d.b) {
			v := d.b[1 : 1+n]
			d.b = d.b[1+n:]
			return v, nil
		}
	}
	n, err := d.head(major, uint64(max))
	if err != nil {
		return nil, err
	}
	if n < uint64(min) {
		return nil, errType
	}
	if n > uint64(len(d.b)) {
		return nil, errShort
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v, nil
}

// fill reads a byte string of exactly len(dst) bytes that are not all zero.
func (d *headerDecoder) fill(dst []byte) error {
	v, err := d.bytes(majorBytes, len(dst), len(dst))
	if err != nil {
		return err
	}
	copy(dst, v)
	for _, b := range v {
		if b != 0 {
			return nil
		}
	}
	return errZero
}

// id reads an id that is not zero.
func (d *headerDecoder) id(dst *ID) error {
	if b := d.b; len(b) > len(dst) && b[0] == majorBytes<<5|byte(len(dst)) {
		if *dst = ID(b[1:]); !dst.IsZero() {
			d.b = b[1+len(dst):]
			return nil
		}
	}
	return d.fill(dst[:])
}

// hash reads a hash that is not zero.
func (d *headerDecoder) hash(dst *Hash) error {
	if b := d.b; len(b) > 1+len(dst) && b[0] == majorBytes<<5|24 && b[1] == byte(len(dst)) {
		if *dst = Hash(b[2:]); *dst != (Hash{}) {
			d.b = b[2+len(dst):]
			return nil
		}
	}
	return d.fill(dst[:])
}

func (d *headerDecoder) field(h *Header, key uint64) (err error) {
	var n uint64
	var b []byte
	switch key {
	case keySeq:
		n, err = d.uint(uint64(MaxSeq))
		h.Seq = Seq(n)
	case keyID:
		err = d.id(&h.ID)
	case keyEntity:
		d.entity, err = d.bytes(majorText, 1, MaxCoordinateBytes)
	case keyScope:
		d.scope, err = d.bytes(majorText, 1, MaxCoordinateBytes)
	case keyLane:
		n, err = d.uint(1<<32 - 1)
		h.Lane = Lane(n)
	case keyClock:
		n, err = d.uint(1<<63 - 1)
		h.Clock = Clock(n)
	case keyKind:
		n, err = d.uint(1<<16 - 1)
		h.Kind = Kind(n)
	case keyTime:
		n, err = d.uint(uint64(MaxTimestamp))
		h.Time = Timestamp(n)
	case keyCorrelation:
		err = d.id(&h.Correlation)
	case keyCausation:
		err = d.id(&h.Causation)
	case keyPayloadVersion:
		n, err = d.uint(1<<16 - 1)
		h.PayloadVersion = uint16(n)
	case keyPayloadLength:
		n, err = d.uint(1<<32 - 1)
		h.PayloadLength = uint32(n)
	case keyContent:
		err = d.hash(&h.Content)
	case keyPrev:
		err = d.hash(&h.Prev)
	case keyIdempotency:
		b, err = d.bytes(majorBytes, 1, MaxKeyBytes)
		h.Key = string(b)
	case keyFlags:
		n, err = d.uint(1<<8 - 1)
		h.Flags = uint8(n)
	case keyEncryption:
		h.Encryption, err = d.encryption()
	case keyExtensions:
		h.Extensions, err = d.extensions()
	default: // 0
		err = errType
	}
	return err
}

func (d *headerDecoder) encryption() (*Encryption, error) {
	n, err := d.head(majorMap, 2)
	if err != nil || n != 2 {
		return nil, errType
	}
	var e Encryption
	for want := uint64(1); want <= 2; want++ {
		if key, err := d.head(majorUint, 2); err != nil || key != want {
			return nil, errKeyOrder
		}
		if want == 1 {
			b, err := d.bytes(majorText, 1, maxKeyScopeBytes)
			if err != nil {
				return nil, err
			}
			if !utf8.Valid(b) {
				return nil, errText
			}
			e.KeyScope = string(b)
			continue
		}
		b, err := d.bytes(majorBytes, nonceBytes, nonceBytes)
		if err != nil {
			return nil, err
		}
		copy(e.Nonce[:], b)
	}
	return &e, nil
}

func (d *headerDecoder) extensions() (map[string][]byte, error) {
	n, err := d.head(majorMap, MaxHeaderBytes/4) // a pair takes at least 5 bytes
	if err != nil || n == 0 {
		return nil, errType
	}
	ext := make(map[string][]byte, min(n, uint64(len(d.b)/5)))
	last := ""
	for ; n > 0; n-- {
		name, err := d.bytes(majorText, 1, MaxExtensionBytes)
		if err != nil {
			return nil, err
		}
		if err := ValidateExtension(string(name)); err != nil {
			return nil, err
		}
		if len(name) < len(last) || len(name) == len(last) && string(name) <= last {
			return nil, errKeyOrder
		}
		last = string(name)
		v, err := d.bytes(majorBytes, 0, MaxHeaderBytes)
		if err != nil {
			return nil, err
		}
		ext[last] = append([]byte{}, v...)
	}
	return ext, nil
}
