package event

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// An ID identifies an event. It is a ULID of 16 bytes, big-endian, in three parts:
//
//	6 bytes   milliseconds since 1970, the event's time rounded down
//	6 bytes   the event's seq
//	4 bytes   random, so that equal positions of two stores differ
//
// Time and seq both increase, so ids sort by seq, and an id says where its event is without an index: a look-up by id
// reads the event at that seq and compares all 16 bytes. The zero ID is never stored.
type ID [16]byte

// MaxSeq is the highest seq that an [ID] can hold.
const MaxSeq Seq = 1<<48 - 1

// NewID returns the id of the event at seq, which is at most [MaxSeq], committed at t.
func NewID(t Timestamp, seq Seq, random uint32) ID {
	var id ID
	put48(id[0:6], uint64(t/1000))
	put48(id[6:12], uint64(seq))
	binary.BigEndian.PutUint32(id[12:], random)
	return id
}

func put48(b []byte, v uint64) {
	binary.BigEndian.PutUint16(b, uint16(v>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(v))
}

// Seq returns the position that the id claims.
func (id ID) Seq() Seq {
	return Seq(binary.BigEndian.Uint16(id[6:]))<<32 | Seq(binary.BigEndian.Uint32(id[8:]))
}

// Milli returns the milliseconds since 1970 that the id claims.
func (id ID) Milli() int64 { return int64(ulid.ULID(id).Time()) }

// IsZero reports whether the id is absent.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the 26 characters of the ULID, in upper case.
func (id ID) String() string { return ulid.ULID(id).String() }

// MarshalText returns the same text as [ID.String].
func (id ID) MarshalText() ([]byte, error) { return ulid.ULID(id).MarshalText() }

// UnmarshalText reads what [ParseID] reads.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// ParseID reads the one spelling that [ID.String] writes: 26 upper-case characters that fit 128 bits.
func ParseID(s string) (ID, error) {
	u, err := ulid.ParseStrict(s)
	if err != nil || u.String() != s {
		return ID{}, fmt.Errorf("id %q is not a ULID of 26 upper-case characters: %w", s, ErrInvalid)
	}
	return ID(u), nil
}

// A StoreID names a store for ever: every stream and every receipt is bound to it. It is random.
type StoreID [16]byte

// String returns 32 lower-case hexadecimal digits.
func (id StoreID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText returns the same text as [StoreID.String].
func (id StoreID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what [StoreID.String] writes.
func (id *StoreID) UnmarshalText(b []byte) error { return parseHex(id[:], b) }

// A Hash is a Blake3-256 digest.
type Hash [32]byte

// String returns 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns the same text as [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what [Hash.String] writes.
func (h *Hash) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// parseHex fills dst from its only spelling, lower-case hexadecimal.
func parseHex(dst, text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(dst) || hex.EncodeToString(raw) != string(text) {
		return fmt.Errorf("%.80q is not %d lower-case hexadecimal digits: %w", text, 2*len(dst), ErrInvalid)
	}
	copy(dst, raw)
	return nil
}

// A Timestamp is a time in microseconds since 1970-01-01 UTC. Within a store it strictly increases with seq, so it may
// run ahead of the wall clock when events come faster than one a microsecond or the clock is set back.
type Timestamp int64

// MaxTimestamp is the latest time of an event: its milliseconds fill 48 bits of the id. It is in the year 10889.
const MaxTimestamp Timestamp = 1000<<48 - 1

// TimestampOf returns t in microseconds, rounded down.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMicro()) }

// Time returns the timestamp as a time in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// String returns RFC 3339 with six decimals.
func (t Timestamp) String() string { return t.Time().Format("2006-01-02T15:04:05.000000Z07:00") }
