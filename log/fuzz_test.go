package log

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/batpak/batpak/event"
)

// checkSegmentBytes opens, scans and checks a log of which segment 1 holds body after a valid header: nothing panics or
// allocates much; opening refuses, or yields a prefix that reads the same again.
func checkSegmentBytes(t *testing.T, body []byte) {
	d := newDisk()
	d.put(SegmentName(1), append(segmentOf(1, event.Hash{9}), body...))
	bytes := allocated(func() {
		whole, _ := wholeCommits(checkAll(t, d))
		s, err := OpenSegments(d, testStore)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var scanned event.Seq
		if _, err := s.Scan(Position{Link: event.Hash{9}}, func(c *Commit) error {
			if c.First != scanned+1 || whole[c.First] == nil {
				t.Errorf("commit of event %d after %d; seen by Check: %v", c.First, scanned, whole[c.First] != nil)
			}
			scanned = c.Last()
			return nil
		}); err != nil {
			t.Errorf("Scan: %v", err)
		}
		for range 2 {
			var end event.Seq
			l, _, err := Open(d, testStore, testOptions(), Position{}, func(c *Commit) error {
				end = c.Last()
				return nil
			})
			if err != nil {
				if !errors.Is(err, event.ErrCorrupt) {
					t.Errorf("Open: %v", err)
				}
				return
			}
			if end != scanned {
				t.Errorf("opened with %d events, scanned %d", end, scanned)
			}
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
	if bytes > 8<<20+1000*uint64(len(body)) {
		t.Errorf("%d bytes allocated for %d", bytes, len(body))
	}
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 200))
	f.Add(segmentOf(1, event.Hash{}, sampleCommit(1, 2, 0, 10), sampleCommit(3, 1, 1, 10))[segmentHeaderBytes:])
	f.Add(append(segmentOf(1, event.Hash{}, sampleCommit(1, 2, 0, 10))[segmentHeaderBytes:], 0, 0, 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) <= 1<<16 {
			checkSegmentBytes(t, body)
		}
	})
}

// FuzzCommitFields makes commits from fields, 32 bytes each, with the checksum right unless a bit says otherwise.
func FuzzCommitFields(f *testing.F) {
	field := func(first uint64, count uint32, durable uint64, records, flags uint16) []byte {
		b := binary.LittleEndian.AppendUint64(nil, first)
		b = binary.LittleEndian.AppendUint32(b, count)
		b = binary.LittleEndian.AppendUint64(b, durable)
		b = binary.LittleEndian.AppendUint16(b, records)
		return append(binary.LittleEndian.AppendUint16(b, flags), make([]byte, 8)...)
	}
	good := append(field(1, 1, 0, 20, 0), field(2, 1, 1, 20, 0)...)
	f.Add(good)
	f.Add(append(field(1, 1, 0, 20, 1), field(2, 1, 0, 20, 0)...))
	f.Add(append(field(1, 1, 0, 20, 2), field(2, 1, 0, 20, 0)...))
	f.Add(append(field(1, 1<<31, 1<<63, 20, 0), good...))
	f.Add(field(1<<64-1, 1, 0, 20, 0))
	f.Fuzz(func(t *testing.T, fields []byte) {
		if len(fields) > 1<<10 {
			return
		}
		var body []byte
		for ; len(fields) >= 32; fields = fields[32:] {
			c := Commit{First: event.Seq(binary.LittleEndian.Uint64(fields)), Count: int(binary.LittleEndian.Uint32(fields[8:])),
				Durable: event.Seq(binary.LittleEndian.Uint64(fields[12:])), Link: event.Hash(append(fields[:24:24], make([]byte, 8)...))}
			c.Records = AppendRecord(nil, fields[24:32], make([]byte, binary.LittleEndian.Uint16(fields[20:])%2000))
			at := len(body)
			body = appendCommit(body, &c)
			switch flags := binary.LittleEndian.Uint16(fields[22:]); flags & 3 {
			case 1:
				body[at+4] ^= 1
			case 2:
				clear(body[at:min(len(body), at+sectorBytes)])
			case 3:
				binary.LittleEndian.PutUint32(body[at:], uint32(flags)<<16)
			}
		}
		checkSegmentBytes(t, body)
	})
}
