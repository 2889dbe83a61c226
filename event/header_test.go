package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleHeader() Header {
	h := Header{
		Seq: 7, Entity: "player:1", Scope: "room:dungeon", Clock: 3, Kind: 0xF001, Time: 1_700_000_000_000_001,
		PayloadVersion: 2, PayloadLength: 300, Content: Hash{1}, Prev: Hash{2}, Key: "k-1",
		Extensions: map[string][]byte{"a.b": {1}, "app.trace": {}, "z.z": {2}},
		Encryption: &Encryption{KeyScope: "player:1", Nonce: [24]byte{9}},
		Causation:  NewID(5, 2, 3), Lane: 4, Flags: 1,
		Unknown: []byte{0x13, 0x01, 0x18, 30, 0x82, 1, 2},
	}
	h.ID = NewID(h.Time, h.Seq, 0xDEADBEEF)
	h.Correlation = h.ID
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*Header){
		"everything":  func(*Header) {},
		"correlation": func(h *Header) { h.Correlation = NewID(1, 1, 1) },
		"minimal": func(h *Header) {
			*h = Header{Seq: 1, ID: h.ID, Correlation: h.ID, Entity: "e", Scope: "s", Clock: 1, Kind: 1, Time: 1, Content: h.Content, Prev: h.Prev}
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := sampleHeader()
			change(&want)
			b := AppendHeader(nil, &want)
			if err := CheckCanonical(b); err != nil {
				t.Fatal(err)
			}
			got, err := DecodeHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestIDText(t *testing.T) {
	id := NewID(TimestampOf(time.UnixMilli(1_700_000_000_000)), 123456789, 42)
	if id.Seq() != 123456789 || id.Milli() != 1_700_000_000_000 {
		t.Errorf("parts of %s are %d and %d", id, id.Milli(), id.Seq())
	}
	back, err := ParseID(id.String())
	if err != nil || back != id {
		t.Errorf("ParseID(%s) = %s, %v", id, back, err)
	}
}
