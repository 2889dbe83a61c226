package event

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// asMap returns the pairs of a header for the library to encode.
func asMap(h *Header) map[uint64]any {
	m := map[uint64]any{keyID: h.ID[:], keyEntity: h.Entity, keyContent: h.Content[:], keyPrev: h.Prev[:]}
	for key, v := range map[uint64]uint64{keySeq: uint64(h.Seq), keyLane: uint64(h.Lane), keyClock: uint64(h.Clock), keyKind: uint64(h.Kind),
		keyTime: uint64(h.Time), keyPayloadVersion: uint64(h.PayloadVersion), keyPayloadLength: uint64(h.PayloadLength), keyFlags: uint64(h.Flags)} {
		if v != 0 {
			m[key] = v
		}
	}
	if h.Scope != "" {
		m[keyScope] = h.Scope
	}
	if h.Correlation != h.ID && !h.Correlation.IsZero() {
		m[keyCorrelation] = h.Correlation[:]
	}
	if !h.Causation.IsZero() {
		m[keyCausation] = h.Causation[:]
	}
	if h.Key != "" {
		m[keyIdempotency] = []byte(h.Key)
	}
	if h.Encryption != nil {
		m[keyEncryption] = map[uint64]any{1: h.Encryption.KeyScope, 2: h.Encryption.Nonce[:]}
	}
	if len(h.Extensions) > 0 {
		m[keyExtensions] = h.Extensions
	}
	return m
}

// text draws 1 to max bytes of a coordinate.
func text(max int) *rapid.Generator[string] {
	return rapid.StringOfN(rapid.RuneFrom([]rune("aZ09:.@ éß日😀")), 1, max/4, max).Filter(func(s string) bool { return !strings.Contains(s, "..") })
}

func drawID(t *rapid.T, name string) ID {
	return NewID(Timestamp(rapid.Int64Range(0, 1<<57).Draw(t, name)), Seq(rapid.Uint64Range(1, uint64(MaxSeq)).Draw(t, name+" seq")), rapid.Uint32().Draw(t, name+" random"))
}

// drawHeader draws any header that can be stored, without unknown keys.
func drawHeader(t *rapid.T) Header {
	h := Header{
		Seq:            Seq(rapid.Uint64Range(1, uint64(MaxSeq)).Draw(t, "seq")),
		ID:             drawID(t, "id"),
		Entity:         text(MaxCoordinateBytes).Draw(t, "entity"),
		Scope:          text(MaxCoordinateBytes).Draw(t, "scope"),
		Lane:           Lane(rapid.Uint32().Draw(t, "lane")),
		Clock:          Clock(rapid.Uint64Range(1, 1<<63-1).Draw(t, "clock")),
		Kind:           Kind(rapid.Uint16Range(1, 0xFFFF).Draw(t, "kind")),
		Time:           Timestamp(rapid.Int64Range(1, int64(MaxTimestamp)).Draw(t, "time")),
		PayloadVersion: rapid.Uint16().Draw(t, "payload version"),
		PayloadLength:  rapid.Uint32().Draw(t, "payload length"),
		Content:        Hash{1, 31: rapid.Byte().Draw(t, "content")},
		Prev:           Hash{rapid.Byte().Draw(t, "prev"), 31: 1},
		Key:            string(rapid.SliceOfN(rapid.Byte(), 0, MaxKeyBytes).Draw(t, "key")),
		Flags:          rapid.Byte().Draw(t, "flags"),
	}
	h.Correlation = h.ID
	if rapid.Bool().Draw(t, "correlated") {
		h.Correlation = drawID(t, "correlation")
	}
	if rapid.Bool().Draw(t, "caused") {
		h.Causation = drawID(t, "causation")
	}
	if rapid.Bool().Draw(t, "encrypted") {
		h.Encryption = &Encryption{KeyScope: text(maxKeyScopeBytes).Draw(t, "key scope"), Nonce: [nonceBytes]byte{rapid.Byte().Draw(t, "nonce")}}
	}
	h.Extensions = rapid.MapOfN(rapid.StringMatching(`[!-\-/-~]{1,20}\.[!-\-/-~]{1,20}`), rapid.SliceOfN(rapid.Byte(), 0, 40), 0, 20).Draw(t, "extensions")
	if len(h.Extensions) == 0 {
		h.Extensions = nil
	}
	return h
}

// TestHeaderFields checks that every header has the encoding that the library gives to its pairs, and comes back from it.
func TestHeaderFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		b := AppendHeader([]byte("before"), &h)[len("before"):]
		want, err := coreDet.Marshal(asMap(&h))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("encoded as\n%x, the library gives\n%x", b, want)
		}
		checkHeader(t, b, &h)
	})
}

// checkHeader checks that b is canonical and decodes to want, and that what was decoded does not change with b.
func checkHeader(t interface{ Fatalf(string, ...any) }, b []byte, want *Header) {
	if err := CheckCanonical(b); err != nil {
		t.Fatalf("%v", err)
	}
	b = bytes.Clone(b)
	got, err := DecodeHeader(b)
	if err != nil {
		t.Fatalf("%v", err)
	}
	clear(b)
	if d := cmp.Diff(*want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s", d)
	}
}

// TestHeaderMutations changes every byte of a header to every other value: it is refused, or is the one spelling of
// another header.
func TestHeaderMutations(t *testing.T) {
	h := sampleHeader()
	whole := AppendHeader(nil, &h)
	for i := range whole {
		b := bytes.Clone(whole)
		for v := range 256 {
			b[i] = byte(v)
			checkSpelling(t, b)
		}
	}
	for i := range whole {
		if _, err := DecodeHeader(whole[:i]); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := DecodeHeader(append(bytes.Clone(whole), 0)); !errors.Is(err, errTrailing) {
		t.Errorf("a byte more: %v", err)
	}
}

// checkSpelling checks that b is refused, or canonical and the encoding of what it decodes to.
func checkSpelling(t testing.TB, b []byte) {
	t.Helper()
	h, err := DecodeHeader(b)
	if err != nil {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("%x: %v", b, err)
		}
		return
	}
	if err := CheckCanonical(b); err != nil {
		t.Fatalf("%x is accepted: %v", b, err)
	}
	if again := AppendHeader(nil, &h); !bytes.Equal(again, b) {
		t.Fatalf("%x decodes to a header that encodes as %x", b, again)
	}
	if h.Seq == 0 || h.Clock == 0 || h.Kind == 0 || h.Time <= 0 || h.ID.IsZero() || h.Correlation.IsZero() || h.Coordinate().Validate() != nil {
		t.Fatalf("%x decodes to %+v", b, h)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	h := sampleHeader()
	f.Add(AppendHeader(nil, &h))
	h = Header{Seq: 1, ID: h.ID, Entity: "e", Scope: "s", Clock: 1, Kind: 1, Time: 1, Content: h.Content, Prev: h.Prev}
	f.Add(AppendHeader(nil, &h))
	h.Encryption = &Encryption{KeyScope: "k"}
	f.Add(AppendHeader(nil, &h))
	h.Encryption, h.Extensions = nil, map[string][]byte{"a.b": nil, "a.c": {1}}
	f.Add(AppendHeader(nil, &h))
	f.Fuzz(func(t *testing.T, b []byte) { checkSpelling(t, b) })
}

// FuzzHeaderFields builds a header from fields, so that texts, numbers and nested values are tried behind a valid frame.
func FuzzHeaderFields(f *testing.F) {
	f.Add(uint64(1), uint64(1), "e", "s", uint32(0), []byte("key"), "a.b", []byte{1}, "scope", []byte{0x13, 0})
	f.Add(uint64(1), uint64(1<<63), "é", "日", uint32(1), []byte{}, "a.b", []byte{}, "a\xff", []byte{})
	f.Fuzz(func(t *testing.T, seq, clock uint64, entity, scope string, lane uint32, key []byte, ext string, value []byte, keyScope string, unknown []byte) {
		h := Header{Seq: Seq(seq), ID: ID{1}, Entity: entity, Scope: scope, Clock: Clock(clock), Kind: 1, Time: 1, Lane: Lane(lane),
			Content: Hash{1}, Prev: Hash{1}, Key: string(key), Unknown: unknown, Extensions: map[string][]byte{ext: value}}
		if keyScope != "" {
			h.Encryption = &Encryption{KeyScope: keyScope}
		}
		if len(value) == 0 {
			h.Extensions = nil
		}
		checkSpelling(t, AppendHeader(nil, &h))
	})
}

// TestDecodeHeaderRules breaks one rule of the format at a time.
func TestDecodeHeaderRules(t *testing.T) {
	base := func() map[uint64]any {
		return map[uint64]any{keySeq: 1, keyID: bytes.Repeat([]byte{1}, 16), keyEntity: "e", keyScope: "s", keyClock: 1, keyKind: 1, keyTime: 1,
			keyContent: bytes.Repeat([]byte{1}, 32), keyPrev: bytes.Repeat([]byte{1}, 32)}
	}
	type row struct {
		name  string
		key   uint64
		value any // nil: the key is left out
		ok    bool
	}
	rows := []row{
		{"as it is", keySeq, 1, true},
		{"key 0", 0, 1, false},
		{"highest seq", keySeq, uint64(MaxSeq), true},
		{"seq above ids", keySeq, uint64(MaxSeq) + 1, false},
		{"negative seq", keySeq, -1, false},
		{"seq as a float", keySeq, 1.5, false},
		{"id of 15", keyID, make([]byte, 15), false},
		{"id of 17", keyID, bytes.Repeat([]byte{1}, 17), false},
		{"id as text", keyID, strings.Repeat("a", 16), false},
		{"longest entity", keyEntity, strings.Repeat("a", 1024), true},
		{"entity too long", keyEntity, strings.Repeat("a", 1025), false},
		{"empty entity", keyEntity, "", false},
		{"entity as bytes", keyEntity, []byte("e"), false},
		{"scope with a slash", keyScope, "a/b", false},
		{"highest lane", keyLane, 1<<32 - 1, true},
		{"lane of 33 bits", keyLane, 1 << 32, false},
		{"highest clock", keyClock, uint64(1<<63 - 1), true},
		{"clock of 64 bits", keyClock, uint64(1 << 63), false},
		{"highest kind", keyKind, 0xFFFF, true},
		{"kind of 17 bits", keyKind, 0x10000, false},
		{"highest time", keyTime, uint64(MaxTimestamp), true},
		{"time above ids", keyTime, uint64(MaxTimestamp) + 1, false},
		{"correlation", keyCorrelation, bytes.Repeat([]byte{2}, 16), true},
		{"correlation is the id", keyCorrelation, bytes.Repeat([]byte{1}, 16), false},
		{"zero correlation", keyCorrelation, make([]byte, 16), false},
		{"causation is the id", keyCausation, bytes.Repeat([]byte{1}, 16), true},
		{"zero causation", keyCausation, make([]byte, 16), false},
		{"payload version of 17 bits", keyPayloadVersion, 0x10000, false},
		{"highest payload length", keyPayloadLength, 1<<32 - 1, true},
		{"payload length of 33 bits", keyPayloadLength, 1 << 32, false},
		{"content of 31", keyContent, bytes.Repeat([]byte{1}, 31), false},
		{"zero content", keyContent, make([]byte, 32), false},
		{"zero prev", keyPrev, make([]byte, 32), false},
		{"longest key", keyIdempotency, make([]byte, MaxKeyBytes), true},
		{"key too long", keyIdempotency, make([]byte, MaxKeyBytes+1), false},
		{"empty key", keyIdempotency, []byte{}, false},
		{"key as text", keyIdempotency, "k", false},
		{"flags of 9 bits", keyFlags, 256, false},
		{"encryption", keyEncryption, map[int]any{1: "k", 2: make([]byte, 24)}, true},
		{"encryption without nonce", keyEncryption, map[int]any{1: "k"}, false},
		{"encryption without scope", keyEncryption, map[int]any{2: make([]byte, 24)}, false},
		{"encryption with more", keyEncryption, map[int]any{1: "k", 2: make([]byte, 24), 3: 1}, false},
		{"empty encryption", keyEncryption, map[int]any{}, false},
		{"empty key scope", keyEncryption, map[int]any{1: "", 2: make([]byte, 24)}, false},
		{"short nonce", keyEncryption, map[int]any{1: "k", 2: make([]byte, 23)}, false},
		{"extensions", keyExtensions, map[string]any{"a.b": []byte{}, "a.bc": []byte{1}}, true},
		{"no extensions", keyExtensions, map[string]any{}, false},
		{"extension without a dot", keyExtensions, map[string]any{"abc": []byte{}}, false},
		{"extension of text", keyExtensions, map[string]any{"a.b": "text"}, false},
		{"extension name of bytes", keyExtensions, map[int]any{1: []byte{}}, false},
		{"unknown key", 19, 0, true},
		{"unknown nested", 1 << 40, []any{map[string]any{"a": nil}}, true},
		{"unknown key of 64 bits", 1 << 63, 0, true},
		{"unknown key above", 1<<63 + 1, 0, false},
		{"too long", 19, make([]byte, MaxHeaderBytes), false},
	}
	for key := range base() {
		rows = append(rows, row{"missing", key, nil, false})
	}
	for _, key := range []uint64{keySeq, keyLane, keyClock, keyKind, keyTime, keyPayloadVersion, keyPayloadLength, keyFlags} {
		rows = append(rows, row{"zero", key, 0, false})
	}
	for _, tt := range rows {
		m := base()
		if m[tt.key] = tt.value; tt.value == nil {
			delete(m, tt.key)
		}
		b, err := coreDet.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeHeader(b); (err == nil) != tt.ok {
			t.Errorf("key %d: %s: %v", tt.key, tt.name, err)
		}
		checkSpelling(t, b)
	}
}

// TestHeaderKeyScopeText checks that a key scope is UTF-8 also when it breaks another rule of coordinates first, which key
// scopes need not keep: a header that is accepted is canonical CBOR.
func TestHeaderKeyScopeText(t *testing.T) {
	h := sampleHeader()
	for scope, ok := range map[string]bool{"player/1": true, "a=b": true, "\xff": false, "/\xff": false, "\x00\xff": false, "..\xc3": false} {
		h.Encryption = &Encryption{KeyScope: scope}
		b := AppendHeader(nil, &h)
		if _, err := DecodeHeader(b); (err == nil) != ok {
			t.Errorf("key scope %q: %v, canonical: %v", scope, err, CheckCanonical(b) == nil)
		}
	}
}

func TestValidateExtension(t *testing.T) {
	for name, ok := range map[string]bool{
		"a.b": true, "app.trace-id": true, "~.!": true, "a." + strings.Repeat("b", 254): true,
		"": false, "ab": false, ".b": false, "a.": false, ".": false, "a.b.c": false, "a..b": false, "a b.c": false, "a.b\n": false,
		"a.é": false, "a.\x7f": false, "a." + strings.Repeat("b", 255): false,
	} {
		if err := ValidateExtension(name); (err == nil) != ok || !ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestHeaderBombs decodes few bytes that claim much: what is allocated is bounded by what is there.
func TestHeaderBombs(t *testing.T) {
	h := sampleHeader()
	h.Extensions, h.Unknown, h.Encryption = nil, nil, nil
	b := AppendHeader(nil, &h)
	b[0]++
	for name, tail := range map[string]string{
		"extensions of 2^14 pairs": "12 b9 4000",
		"extensions of 2^64-1":     "12 bb ffffffffffffffff",
		"unknown array of 2^64-1":  "13 9b ffffffffffffffff 00",
		"unknown bytes of 2^64-1":  "13 5b ffffffffffffffff 00",
		"extension of 64 KiB":      "12 a1 63612e62 5a 00010000",
		"key scope of 1 KiB":       "11 a2 01 79 0400",
	} {
		bomb := append(bytes.Clone(b), unhex(t, tail)...)
		if n := allocated(func() { _, _ = DecodeHeader(bomb) }); n > 16<<10 {
			t.Errorf("%s: %d bytes allocated for %d", name, n, len(bomb))
		}
	}
	if n := allocated(func() { _, _ = DecodeHeader(unhex(t, "b9 ffff 01 01")) }); n > 4<<10 {
		t.Errorf("map of 65535 pairs in 5 bytes: %d bytes allocated", n)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
