package event

import (
	"fmt"
	"strconv"
)

// A Kind is 16 bits: the category in the top 4, the type in the low 12. The categories [CategorySystem] and
// [CategoryEffect] are reserved: an append of such a kind is refused on every path. The zero Kind is never stored; in a
// [Query] it means any kind.
type Kind uint16

// A Category is the top 4 bits of a [Kind], 0 to 15.
type Category uint8

// The reserved categories.
const (
	CategorySystem Category = 0x0
	CategoryEffect Category = 0xD
)

// Kinds that batpak itself defines. KindData is for callers that have no kinds of their own.
const (
	KindDenial     Kind = 0x000F
	KindRepair     Kind = 0x0010
	KindTombstone  Kind = 0x0FFE
	KindData       Kind = 0x1000
	maxKindType         = 0xFFF
	maxKindCateg        = 0xF
	kindTypeBits        = 12
	kindTextPrefix      = "0x"
)

// NewKind returns the kind of a category (0 to 15, not reserved) and a type (0 to 4095), or an error that matches
// [ErrInvalid], and [ErrReservedKind] too for a reserved category.
func NewKind(c Category, typ uint16) (Kind, error) {
	switch {
	case c > maxKindCateg:
		return 0, fmt.Errorf("kind category %d is above 15: %w", c, ErrInvalid)
	case typ > maxKindType:
		return 0, fmt.Errorf("kind type %d is above 4095: %w", typ, ErrInvalid)
	}
	k := Kind(uint16(c)<<kindTypeBits | typ)
	return k, k.Validate()
}

// Category returns the top 4 bits.
func (k Kind) Category() Category { return Category(k >> kindTypeBits) }

// Type returns the low 12 bits.
func (k Kind) Type() uint16 { return uint16(k) & maxKindType }

// Reserved reports whether only batpak itself may append events of this kind.
func (k Kind) Reserved() bool {
	return k.Category() == CategorySystem || k.Category() == CategoryEffect
}

// Validate returns a [*ReservedKindError] if callers may not append events of this kind.
func (k Kind) Validate() error {
	if k.Reserved() {
		return &ReservedKindError{Kind: k}
	}
	return nil
}

// String returns four hexadecimal digits, "0xF001".
func (k Kind) String() string { return fmt.Sprintf("0x%04X", uint16(k)) }

// MarshalText returns the same text as [Kind.String].
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what [ParseKind] reads.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKind(string(b))
	return err
}

// ParseKind reads a kind as [Kind.String] writes it, or any Go integer literal that fits 16 bits.
func ParseKind(s string) (Kind, error) {
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return 0, fmt.Errorf("kind %q is not a 16-bit number like %sF001: %w", s, kindTextPrefix, ErrInvalid)
	}
	return Kind(n), nil
}

// A ReservedKindError reports an append of a kind in a reserved category. It matches [ErrReservedKind] and [ErrInvalid].
type ReservedKindError struct{ Kind Kind }

// Error names the kind and its category.
func (e *ReservedKindError) Error() string {
	return fmt.Sprintf("kind %s is in the reserved category %#x", e.Kind, uint8(e.Kind.Category()))
}

// Is reports whether target is [ErrReservedKind] or [ErrInvalid].
func (e *ReservedKindError) Is(target error) bool {
	return target == ErrReservedKind || target == ErrInvalid
}
