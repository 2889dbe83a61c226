package event

import (
	"errors"
	"testing"
)

// TestKinds makes every kind there is.
func TestKinds(t *testing.T) {
	for c := range Category(16) {
		for typ := range uint16(4096) {
			k, err := NewKind(c, typ)
			reserved := c == CategorySystem || c == CategoryEffect
			if k.Category() != c || k.Type() != typ || k.Reserved() != reserved {
				t.Fatalf("category %d type %d became %v", c, typ, k)
			}
			if errors.Is(err, ErrReservedKind) != reserved || errors.Is(err, ErrInvalid) != reserved || (err != nil) != reserved {
				t.Fatalf("%v: %v", k, err)
			}
			back, err := ParseKind(k.String())
			if err != nil || back != k {
				t.Fatalf("ParseKind(%q) = %v, %v", k.String(), back, err)
			}
		}
	}
}

func TestNewKindRange(t *testing.T) {
	for _, tt := range []struct {
		c   Category
		typ uint16
	}{{16, 0}, {255, 1}, {1, 4096}, {1, 0xFFFF}, {16, 4096}} {
		k, err := NewKind(tt.c, tt.typ)
		if k != 0 || !errors.Is(err, ErrInvalid) || errors.Is(err, ErrReservedKind) {
			t.Errorf("NewKind(%d, %d) = %v, %v", tt.c, tt.typ, k, err)
		}
	}
}

func TestOwnKinds(t *testing.T) {
	for _, k := range []Kind{0, KindDenial, KindRepair, KindTombstone} {
		var bad *ReservedKindError
		if err := k.Validate(); !errors.As(err, &bad) || bad.Kind != k {
			t.Errorf("%v: %v", k, err)
		}
	}
	if err := KindData.Validate(); err != nil {
		t.Error(err)
	}
}

func TestParseKind(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Kind
		ok   bool
	}{
		{"0xF001", 0xF001, true},
		{"0xf001", 0xF001, true},
		{"61441", 0xF001, true},
		{"0", 0, true},
		{"0b11", 3, true},
		{"0x10000", 0, false},
		{"65536", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"", 0, false},
		{"0x", 0, false},
		{" 1", 0, false},
		{"F001", 0, false},
	} {
		var k Kind
		err := k.UnmarshalText([]byte(tt.text))
		if k != tt.want || (err == nil) != tt.ok || !tt.ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", tt.text, k, err)
		}
	}
}
