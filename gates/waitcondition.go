package gates

import (
	"encoding/hex"
	"fmt"

	"github.com/batpak/batpak/event"
)

// A WaitCondition is what a [Pending] outcome waits for: a [WaitUntil], [WaitEvent], [WaitAll], [WaitAny] or
// [WaitCustom]. It is data; whoever resumes the work decides whether it holds.
type WaitCondition interface{ waitCondition() }

// WaitUntil waits for a time.
type WaitUntil struct {
	At event.Timestamp `json:"at_us"`
}

// WaitEvent waits for an event.
type WaitEvent struct {
	ID event.ID `json:"id"`
}

// WaitAll waits for every one of its conditions.
type WaitAll []WaitCondition

// WaitAny waits for one of its conditions.
type WaitAny []WaitCondition

// WaitCustom is the caller's own.
type WaitCustom struct {
	Tag  string `json:"tag"`
	Data []byte `json:"data"`
}

func (WaitUntil) waitCondition()  {}
func (WaitEvent) waitCondition()  {}
func (WaitAll) waitCondition()    {}
func (WaitAny) waitCondition()    {}
func (WaitCustom) waitCondition() {}

// A Token names work that waits, for whoever resumes it.
type Token [16]byte

// String returns 32 lower-case hexadecimal digits.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// MarshalText returns the same text as String.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *Token) UnmarshalText(b []byte) error {
	var read Token
	if n, err := hex.Decode(read[:], b[:min(len(b), 2*len(read))]); err != nil || n != len(read) || read.String() != string(b) {
		return fmt.Errorf("token %.40q is not 32 lower-case hexadecimal digits: %w", b, event.ErrInvalid)
	}
	*t = read
	return nil
}
