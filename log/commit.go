package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"

	"github.com/batpak/batpak/event"
)

// Sizes of the format, in bytes.
const (
	commitHeaderBytes = 60
	checkedFrom       = 8 // the checksum covers a commit from here on
	recordHeaderBytes = 8
)

// MaxCommitBytes is the most that one commit takes in a segment.
const MaxCommitBytes = 64 << 20

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Commit is one or more records that are stored whole or not at all.
type Commit struct {
	First   event.Seq // of the first record
	Count   int       // of records
	Durable event.Seq // everything at or below was durable when this was encoded
	Link    event.Hash
	Records []byte // as AppendRecord builds them

	Segment event.Seq // the first seq of the segment it is in
	Offset  int64     // of the commit in its segment
}

// Last returns the seq of the last record.
func (c *Commit) Last() event.Seq { return c.First + event.Seq(c.Count) - 1 }

// Bytes returns what the commit takes in a segment.
func (c *Commit) Bytes() int64 { return commitHeaderBytes + int64(len(c.Records)) }

// RecordsOffset returns where the records begin in the segment.
func (c *Commit) RecordsOffset() int64 { return c.Offset + commitHeaderBytes }

// End returns the position behind the commit.
func (c *Commit) End() Position {
	return Position{Seq: c.Last(), Segment: c.Segment, Offset: c.Offset + c.Bytes(), Link: c.Link}
}

// encodedBytes returns the length of the commit that b, as appendCommit builds it, begins with.
func encodedBytes(b []byte) int { return checkedFrom + int(binary.LittleEndian.Uint32(b)) }

// A Position is a boundary between commits.
type Position struct {
	Seq     event.Seq  // of the event before it
	Segment event.Seq  // the first seq of the segment
	Offset  int64      // in that segment
	Link    event.Hash // of the commit before it
}

// A Record is the bytes of one event. The slices alias what they were read from.
type Record struct {
	Seq     event.Seq
	Offset  int64 // in the segment
	Length  int   // with its two lengths
	Header  []byte
	Payload []byte
}

// AppendRecord appends a record to dst.
func AppendRecord(dst, header, payload []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(header)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	return append(append(dst, header...), payload...)
}

// RecordBytes returns what a record of these lengths takes.
func RecordBytes(header, payload int) int { return recordHeaderBytes + header + payload }

// ParseRecord splits b, which must be exactly one record.
func ParseRecord(b []byte) (Record, error) {
	r, rest, err := cutRecord(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the record", len(rest))
	}
	return r, err
}

var errRecordLength = errors.New("lengths of a record pass the end")

// cutRecord splits the first record off b.
func cutRecord(b []byte) (r Record, rest []byte, err error) {
	if len(b) < recordHeaderBytes {
		return r, b, errRecordLength
	}
	h, p := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if h+p > uint64(len(b)-recordHeaderBytes) {
		return r, b, errRecordLength
	}
	r.Length = recordHeaderBytes + int(h+p)
	r.Header = b[recordHeaderBytes : recordHeaderBytes+h]
	r.Payload = b[recordHeaderBytes+h : r.Length]
	return r, b[r.Length:], nil
}

// Each yields the records in order. If they do not fill the commit exactly, the last pair is the error.
func (c *Commit) Each() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		rest, offset := c.Records, c.Offset+commitHeaderBytes
		for i := range c.Count {
			r, tail, err := cutRecord(rest)
			if err == nil && i == c.Count-1 && len(tail) > 0 {
				err = fmt.Errorf("%d bytes after the last record", len(tail))
			}
			r.Seq, r.Offset = c.First+event.Seq(i), offset
			if !yield(r, err) || err != nil {
				return
			}
			rest, offset = tail, offset+int64(r.Length)
		}
	}
}

// appendCommit appends the encoding of c to dst.
func appendCommit(dst []byte, c *Commit) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(commitHeaderBytes-checkedFrom+len(c.Records)))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.First))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(c.Count))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Durable))
	dst = append(dst, c.Link[:]...)
	dst = append(dst, c.Records...)
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+checkedFrom:], castagnoli))
	return dst
}

// A checkError names the check that bytes failed.
type checkError struct{ check, expected, found string }

func (e *checkError) Error() string {
	return e.check + ": expected " + e.expected + ", found " + e.found
}

func failed(check string, expected, found any) *checkError {
	return &checkError{check, fmt.Sprint(expected), fmt.Sprint(found)}
}

// commitLength returns the length that the commit at the head of b claims, in all, if it lies within bounds.
func commitLength(b []byte, remaining int64) (int64, *checkError) {
	n := int64(binary.LittleEndian.Uint32(b)) + checkedFrom
	most := min(remaining, MaxCommitBytes)
	if n <= commitHeaderBytes+recordHeaderBytes || n > most {
		return 0, failed("commit length", fmt.Sprintf("%d to %d", commitHeaderBytes+recordHeaderBytes+1, most), n)
	}
	return n, nil
}

// decodeCommit reads b, which is as long as commitLength says. The fields are there also when a check failed.
func decodeCommit(b []byte, expect event.Seq) (Commit, *checkError) {
	c := Commit{
		First:   event.Seq(binary.LittleEndian.Uint64(b[8:])),
		Count:   int(binary.LittleEndian.Uint32(b[16:])),
		Durable: event.Seq(binary.LittleEndian.Uint64(b[20:])),
		Link:    event.Hash(b[28:60]),
		Records: b[commitHeaderBytes:],
	}
	want, got := binary.LittleEndian.Uint32(b[4:]), crc32.Checksum(b[checkedFrom:], castagnoli)
	switch {
	case want != got:
		return c, failed("commit checksum", fmt.Sprintf("%#08x", want), fmt.Sprintf("%#08x", got))
	case c.First != expect:
		return c, failed("commit seq", expect, c.First)
	case c.Count < 1 || c.Count > len(c.Records)/recordHeaderBytes:
		return c, failed("record count", fmt.Sprintf("1 to %d", len(c.Records)/recordHeaderBytes), c.Count)
	case c.Durable >= c.First:
		return c, failed("durable watermark", fmt.Sprintf("below %d", c.First), c.Durable)
	}
	return c, nil
}
