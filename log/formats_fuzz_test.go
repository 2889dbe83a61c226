package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/batpak/batpak/event"
)

// wantClass checks that err is of damage, or of a newer format, and names the file.
func wantClass(t *testing.T, err error, file string) {
	t.Helper()
	if !errors.Is(err, event.ErrCorrupt) && !errors.Is(err, event.ErrFutureFormat) || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

// FuzzSegmentHeader opens a segment that begins with any bytes, of any length. What is accepted is the one spelling of what
// was read.
func FuzzSegmentHeader(f *testing.F) {
	whole := segmentOf(1, event.Hash{9})
	f.Add(whole)
	f.Add(whole[:segmentHeaderBytes-1])
	f.Add(slices.Concat(whole[:12], []byte{0, 0, 0, 0}, whole[16:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDisk()
		d.put(SegmentName(1), b)
		file, h, err := openSegment(d, testStore, 1)
		if err != nil {
			wantClass(t, err, SegmentName(1))
			return
		}
		file.Close()
		if h.store != testStore || h.first != 1 || !bytes.Equal(h.encode(), b[:segmentHeaderBytes]) {
			t.Errorf("%x read as %+v", b, h)
		}
	})
}

// FuzzSeal replaces the fields of the header in the middle of a log. It is accepted only if it says what the commits before
// it say; otherwise scanning, checking and opening name that segment, and checking still finds every commit.
func FuzzSeal(f *testing.F) {
	const middle = event.Seq(5)
	seal := threeSegments().names[SegmentName(middle)].data[:segmentHeaderBytes]
	f.Add(uint32(Format), seal[16:32], uint64(middle), seal[40:], uint32(0), uint16(segmentHeaderBytes))
	f.Add(uint32(Format), seal[16:32], uint64(middle), seal[40:], uint32(1), uint16(segmentHeaderBytes))
	f.Add(uint32(Format), seal[16:32], uint64(middle+1), seal[40:], uint32(0), uint16(segmentHeaderBytes))
	f.Add(uint32(Format), seal[16:32], uint64(middle), make([]byte, 32), uint32(0), uint16(segmentHeaderBytes))
	f.Add(uint32(Format), make([]byte, 16), uint64(middle), seal[40:], uint32(0), uint16(segmentHeaderBytes))
	f.Add(uint32(Format+1), seal[16:32], uint64(middle), seal[40:], uint32(1), uint16(segmentHeaderBytes))
	f.Add(uint32(0), seal[16:32], uint64(middle), seal[40:], uint32(0), uint16(segmentHeaderBytes))
	f.Fuzz(func(t *testing.T, format uint32, store []byte, first uint64, link []byte, wrong uint32, length uint16) {
		d := threeSegments()
		n := d.names[SegmentName(middle)]
		b := n.data[:segmentHeaderBytes]
		binary.LittleEndian.PutUint32(b[8:], format)
		copy(b[16:32], store)
		binary.LittleEndian.PutUint64(b[32:], first)
		copy(b[40:], link)
		clear(b[12:16])
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli)^wrong)
		good := bytes.Equal(b, threeSegments().names[SegmentName(middle)].data[:segmentHeaderBytes])
		if length < segmentHeaderBytes {
			n.data, good = n.data[:length], false
		}
		if length >= segmentHeaderBytes && format <= Format { // of a newer format nothing is known
			whole, findings := wholeCommits(checkAll(t, d))
			if len(whole) != 7 || len(findings) > 1 {
				t.Errorf("%d whole commits, findings %v", len(whole), findings)
			}
		}
		checkSealed(t, d, good)
	})
}

// checkSealed scans and opens a log of which the segment of event 5 has a good header, or has not.
func checkSealed(t *testing.T, d *disk, good bool) {
	t.Helper()
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := event.Seq(0)
	_, err = s.Scan(Position{Link: event.Hash{9}}, func(c *Commit) error { last = c.Last(); return nil })
	if good && (err != nil || last != 14) || !good && last != 4 {
		t.Errorf("scanned up to %d: %v", last, err)
	}
	if !good {
		wantClass(t, err, SegmentName(5))
	}
	events, _, err := openDisk(t, d, testOptions())
	if good && (err != nil || events != 14) {
		t.Errorf("opened with %d events: %v", events, err)
	}
	if !good {
		wantClass(t, err, SegmentName(5))
	}
}

// FuzzRecord takes any bytes for a record, and for the records of a commit.
func FuzzRecord(f *testing.F) {
	one := AppendRecord(nil, []byte("header"), []byte("payload"))
	f.Add(one, uint32(1))
	f.Add(AppendRecord(one, nil, nil), uint32(2))
	f.Add(one[:recordHeaderBytes], uint32(1))
	f.Fuzz(checkRecords)
}

// FuzzRecordFields gives two records other lengths than they have.
func FuzzRecordFields(f *testing.F) {
	f.Add(uint32(6), uint32(7), uint32(6), uint32(7), []byte("headerpayload"), []byte("headerpayload"), uint32(2))
	f.Add(uint32(1<<32-1), uint32(1<<32-1), uint32(0), uint32(0), []byte("x"), []byte{}, uint32(2))
	f.Add(uint32(1<<32-1), uint32(22), uint32(6), uint32(7), []byte("payload"), []byte("payload"), uint32(1)) // 21 in 32 bits
	f.Add(uint32(13), uint32(21), uint32(6), uint32(7), []byte("headerpayload"), []byte("headerpayload"), uint32(1))
	f.Fuzz(func(t *testing.T, header1, payload1, header2, payload2 uint32, body1, body2 []byte, count uint32) {
		b := binary.LittleEndian.AppendUint32(nil, header1)
		b = append(binary.LittleEndian.AppendUint32(b, payload1), body1...)
		b = binary.LittleEndian.AppendUint32(b, header2)
		b = append(binary.LittleEndian.AppendUint32(b, payload2), body2...)
		checkRecords(t, b, count)
	})
}

// checkRecords checks that the records that are found in b are all of it, or end with an error.
func checkRecords(t *testing.T, b []byte, count uint32) {
	if bytes := allocated(func() {
		r, err := ParseRecord(b)
		if err == nil && !bytes.Equal(AppendRecord(nil, r.Header, r.Payload), b) {
			t.Errorf("%x has another spelling", b)
		}
		c := Commit{First: 3, Count: int(count), Records: b, Offset: 100}
		if again := readRecords(t, &c); count == 1 && (err == nil) != (again == nil) {
			t.Errorf("as a record: %v, as the only one of a commit: %v", err, again)
		}
	}); bytes > 32<<10+64*uint64(len(b)) {
		t.Errorf("%d bytes allocated for %d", bytes, len(b))
	}
}

// readRecords reads the records of a commit and returns the error that ends them.
func readRecords(t *testing.T, c *Commit) error {
	var all []byte
	next, ended := c.First, error(nil)
	for r, err := range c.Each() {
		if ended != nil {
			t.Errorf("record %d after an error", r.Seq)
		}
		if r.Seq != next || err == nil && r.Offset != c.RecordsOffset()+int64(len(all)) {
			t.Errorf("record %d at %d, after %d bytes, where %d is due", r.Seq, r.Offset, len(all), next)
		}
		next++
		if ended = err; err == nil {
			all = AppendRecord(all, r.Header, r.Payload)
		}
	}
	switch read := next - c.First; {
	case ended == nil && (read != event.Seq(c.Count) || c.Count > 0 && !bytes.Equal(all, c.Records)):
		t.Errorf("%d records of %d, without an error", read, c.Count)
	case ended != nil && ended.Error() == "":
		t.Error("an error without text")
	}
	return ended
}

// commitBytes is what FuzzCommit begins with.
func commitBytes(first event.Seq, records ...string) []byte {
	c := Commit{First: first, Count: len(records), Durable: first - 1, Link: event.Hash{byte(first)}}
	for _, r := range records {
		c.Records = AppendRecord(c.Records, []byte(r), []byte("payload"))
	}
	return appendCommit(nil, &c)
}

// FuzzCommit takes any bytes, which some zeros follow, for commits: what is found in them is the one spelling of a commit,
// and all that looking at each place by itself finds.
func FuzzCommit(f *testing.F) {
	f.Add(commitBytes(1, "a", "b"), uint16(0), uint64(1), false)
	f.Add(commitBytes(1, "a")[:70], uint16(400), uint64(1), false)
	f.Add(slices.Concat([]byte("damage"), commitBytes(2, "a"), []byte{1}, commitBytes(3, "b")), uint16(10), uint64(1), false)
	f.Add(slices.Concat([]byte{1}, commitBytes(7, "a"), commitBytes(5, "b")), uint16(0), uint64(4), false) // the watermark falls
	f.Add(slices.Concat(make([]byte, 70), commitBytes(1<<48, "a")), uint16(0), uint64(1), true)
	f.Fuzz(func(t *testing.T, b []byte, zeros uint16, least uint64, repair bool) {
		if len(b) > 8<<10 {
			return
		}
		b = bytes.TrimRight(b, "\x00")
		if repair {
			repairCommits(b)
		}
		all := append(bytes.Clone(b), make([]byte, zeros)...)
		from, most := event.Seq(least), event.MaxSeq
		for i := range all {
			checkCommitAt(t, all[i:], from)
		}
		at, found := findCommit(b, int64(zeros), from, most)
		want, durable := slowFindCommit(all, len(b)-commitHeaderBytes, from, most)
		if at != want || found == nil != (want < 0) || found != nil && found.Durable != durable {
			t.Errorf("found at %d, %+v; looking everywhere finds one at %d, the highest watermark is %d", at, found, want, durable)
		}
	})
}

// repairCommits makes the checksums right of everything in b that can be a commit for its length.
func repairCommits(b []byte) {
	for i := 0; i+commitHeaderBytes <= len(b); i++ {
		n, bad := commitLength(b[i:], int64(len(b)-i))
		if bad == nil {
			binary.LittleEndian.PutUint32(b[i+4:], crc32.Checksum(b[i+checkedFrom:i+int(n)], castagnoli))
			i += int(n) - 1
		}
	}
}

// checkCommitAt takes the bytes for a commit whose first seq may be any, and for one that begins with next.
func checkCommitAt(t *testing.T, b []byte, next event.Seq) {
	if len(b) < commitHeaderBytes {
		return
	}
	n, bad := commitLength(b, int64(len(b)))
	if bad != nil {
		if bad.check == "" || bad.expected == bad.found {
			t.Errorf("%v", bad)
		}
		return
	}
	first := event.Seq(binary.LittleEndian.Uint64(b[8:]))
	c, bad := decodeCommit(b[:n], first)
	if bad == nil && !bytes.Equal(appendCommit(nil, &c), b[:n]) {
		t.Errorf("%x has another spelling", b[:n])
	}
	if bad == nil && (c.Durable >= c.First || c.Count < 1 || int64(c.Count) > (n-commitHeaderBytes)/recordHeaderBytes) {
		t.Errorf("%x is accepted", b[:n])
	}
	if bad == nil {
		readRecords(t, &c)
	}
	if _, other := decodeCommit(b[:n], next); (other == nil) != (bad == nil && first == next) {
		t.Errorf("%x as a commit of %d: %v, as one of %d: %v", b[:n], first, bad, next, other)
	}
}

// slowFindCommit is findCommit by its comment: it returns where the first whole commit is that begins at one of the first
// places, or -1, and the highest durable watermark of those that do not overlap.
func slowFindCommit(b []byte, places int, least, most event.Seq) (at int, durable event.Seq) {
	at = -1
	for i := 0; i < places; i++ {
		n, bad := commitLength(b[i:], int64(len(b)-i))
		if bad != nil {
			continue
		}
		c, bad := decodeCommit(b[i:i+int(n)], event.Seq(binary.LittleEndian.Uint64(b[i+8:])))
		if bad != nil || c.First < least || c.First > most {
			continue
		}
		if at < 0 {
			at = i
		}
		durable = max(durable, c.Durable)
		i += int(n) - 1
	}
	return at, durable
}
