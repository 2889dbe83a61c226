package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/batpak/batpak/event"
)

// sampleCommit returns a commit of n records, each with a payload of size bytes that begins as appendOne's does and holds
// no zero.
func sampleCommit(first event.Seq, n int, durable event.Seq, size int) Commit {
	c := Commit{First: first, Count: n, Durable: durable, Link: event.Hash{byte(first), 31: 1}}
	for i := range n {
		p := fmt.Appendf(nil, "event %d", int(first)+i)
		p = append(p, bytes.Repeat([]byte{'.'}, max(0, size-len(p)))...)
		c.Records = AppendRecord(c.Records, []byte("header"), p)
	}
	return c
}

// segmentOf returns the bytes of a segment.
func segmentOf(first event.Seq, before event.Hash, commits ...Commit) []byte {
	b := (&segmentHeader{testStore, first, before}).encode()
	for _, c := range commits {
		b = appendCommit(b, &c)
	}
	return b
}

// threeSegments returns a disk with segments of events 1–4, 5–8 and 9–14, all of two events a commit. The commits of the
// newest span several sectors and were encoded when 8 was durable.
func threeSegments() *disk {
	d := newDisk()
	d.put(SegmentName(1), segmentOf(1, event.Hash{9}, sampleCommit(1, 2, 0, 20), sampleCommit(3, 2, 2, 20)))
	d.put(SegmentName(5), segmentOf(5, event.Hash{3, 31: 1}, sampleCommit(5, 2, 4, 20), sampleCommit(7, 2, 4, 20)))
	d.put(SegmentName(9), segmentOf(9, event.Hash{7, 31: 1}, newest...))
	return d
}

var newest = []Commit{sampleCommit(9, 2, 8, 1000), sampleCommit(11, 2, 8, 1000), sampleCommit(13, 2, 8, 1000)}

// newestAt returns where commit i of the newest segment begins; i may be their count.
func newestAt(i int) int64 {
	at := int64(segmentHeaderBytes)
	for _, c := range newest[:i] {
		at += c.Bytes()
	}
	return at
}

// openDisk opens the log on d and returns how many events it has, after checking that they are 1, 2, 3, …
func openDisk(t testing.TB, d *disk, opts Options) (n int, r Recovery, err error) {
	t.Helper()
	l, r, payloads, err := tryOpen(d, opts)
	if err != nil {
		return 0, r, err
	}
	for i, p := range payloads {
		if got := strings.TrimRight(p, "."); got != fmt.Sprintf("event %d", i+1) {
			t.Fatalf("event %d is %q", i+1, p)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return len(payloads), r, nil
}

func TestRecovery(t *testing.T) {
	garbage := make([]byte, 700)
	for i := range garbage {
		garbage[i] = byte(rand.N(255) + 1)
	}
	const end = -1 // offset: the end of the newest segment
	// put overwrites bytes of the newest segment.
	put := func(offset int64, b []byte) func(*disk) {
		return func(d *disk) {
			n := d.names[SegmentName(9)]
			if offset == end {
				offset = int64(len(n.data))
			}
			d.put(n.name, append(n.data[:offset:offset], append(bytes.Clone(b), n.data[min(len(n.data), int(offset)+len(b)):]...)...))
		}
	}
	// edit changes any file; nil removes it.
	edit := func(name string, change func([]byte) []byte) func(*disk) {
		return func(d *disk) {
			if b := change(d.names[name].data); b != nil {
				d.put(name, b)
				return
			}
			delete(d.names, name)
			delete(d.kept, name)
		}
	}
	none := func([]byte) []byte { return nil }
	plus := func(more ...byte) func([]byte) []byte { return func(b []byte) []byte { return append(b, more...) } }
	all := func(fs ...func(*disk)) func(*disk) {
		return func(d *disk) {
			for _, f := range fs {
				f(d)
			}
		}
	}
	sector := (newestAt(1) + 600) / sectorBytes * sectorBytes // a whole one within commit 1
	hole := put(sector, make([]byte, sectorBytes))
	flip := put(sector, []byte{'!'})
	withDurable := func(durable event.Seq) func(*disk) {
		c := newest[2]
		c.Durable = durable
		return put(newestAt(2), appendCommit(nil, &c))
	}
	newestIs := func(first event.Seq, before event.Hash, cs ...Commit) func(*disk) {
		return edit(SegmentName(9), func([]byte) []byte { return segmentOf(first, before, cs...) })
	}
	last := event.Hash{7, 31: 1}
	mid := int(newestAt(2)) + 700

	for _, tt := range []struct {
		name    string
		damage  func(*disk)
		witness event.Seq
		events  int    // that are left
		torn    int64  // bytes cut off
		check   string // the check that fails instead
	}{
		{name: "clean", damage: all(), events: 14},
		{name: "clean, with its witness", damage: all(), witness: 14, events: 14},
		{name: "witness above the end", damage: all(), witness: 15, check: "durable watermark"},
		{name: "zeros behind the end", damage: put(end, make([]byte, 5000)), events: 14},
		{name: "a few zeros behind the end", damage: put(end, make([]byte, 3)), events: 14},
		{name: "garbage behind the end", damage: put(end, garbage), events: 14, torn: 700},
		{name: "garbage shorter than a header", damage: put(end, garbage[:9]), events: 14, torn: 9},
		{name: "zeros, then garbage", damage: all(put(end, make([]byte, 600)), put(end, garbage)), events: 14, torn: 1300},
		{name: "tail cut off", damage: edit(SegmentName(9), func(b []byte) []byte { return b[:mid] }), events: 12, torn: 700},
		{name: "tail cut in its header", damage: edit(SegmentName(9), func(b []byte) []byte { return b[:newestAt(2)+10] }), events: 12, torn: 9},
		{name: "tail torn to zeros", damage: put(int64(mid), make([]byte, 2000)), events: 12, torn: 700},
		{name: "tail torn to garbage", damage: put(int64(mid), garbage), events: 12, torn: newestAt(3) - newestAt(2)},
		{name: "tail torn, the witness says it was durable", damage: put(int64(mid), garbage), witness: 13, check: "durable watermark"},
		{name: "tail torn, the witness is what is left", damage: put(int64(mid), garbage), witness: 12, events: 12, torn: newestAt(3) - newestAt(2)},
		{name: "a hole before a commit", damage: hole, events: 10, torn: newestAt(3) - newestAt(1)},
		{name: "a hole, the commit behind it says durable", damage: all(hole, withDurable(11)), check: "durable watermark"},
		{name: "a hole, the commit behind it is just not", damage: all(hole, withDurable(10)), events: 10, torn: newestAt(3) - newestAt(1)},
		{name: "a flip before a commit", damage: flip, check: "commit"},
		{name: "a flip, the commit behind it says durable", damage: all(flip, withDurable(12)), check: "durable watermark"},
		{name: "a commit missing before a whole one", damage: put(newestAt(1), make([]byte, newest[1].Bytes())), events: 10, torn: newestAt(3) - newestAt(1)},
		{name: "a hole in the newest, damage before it", damage: all(hole, put(newestAt(0)+100, []byte{'!'})), events: 8, torn: newestAt(3) - newestAt(0)},
		{name: "last commit twice", damage: put(end, appendCommit(nil, &newest[2])), events: 14, torn: newest[2].Bytes()},
		{name: "commit dropped", damage: newestIs(9, last, newest[0], newest[2]), check: "commit"},
		{name: "commits swapped", damage: newestIs(9, last, newest[1], newest[0], newest[2]), check: "commit"},
		{name: "foreign commit of far events", damage: put(end, appendCommit(nil, new(sampleCommit(1<<40, 1, 0, 20)))), events: 14, torn: 94},
		{name: "commit with durable above itself", damage: newestIs(9, last, newest[0], sampleCommit(11, 1, 11, 20)), events: 10, torn: 94},
		{name: "newest without commits", damage: newestIs(9, last), events: 8},
		{name: "newest missing", damage: edit(SegmentName(9), none), events: 8},
		{name: "newest missing, with a witness", damage: edit(SegmentName(9), none), witness: 14, check: "durable watermark"},
		{name: "everything missing, with a witness", damage: func(d *disk) { d.powerCut(); clear(d.names); clear(d.kept) }, witness: 1, check: "durable watermark"},
		{name: "everything missing", damage: func(d *disk) { clear(d.names); clear(d.kept) }},
		{name: "first missing", damage: edit(SegmentName(1), none), check: "segment present"},
		{name: "middle missing", damage: edit(SegmentName(5), none), check: "first seq of the segment"},
		{name: "sealed cut by a byte", damage: edit(SegmentName(5), func(b []byte) []byte { return b[:len(b)-1] }), check: "commit length"},
		{name: "sealed cut at a commit", damage: edit(SegmentName(5), func(b []byte) []byte { return b[:len(b)-int(new(sampleCommit(7, 2, 4, 20)).Bytes())] }), check: "first seq of the segment"},
		{name: "sealed with garbage behind", damage: edit(SegmentName(5), plus(1)), check: "commit header"},
		{name: "sealed with one zero behind", damage: edit(SegmentName(5), plus(0)), check: "end of a sealed segment"},
		{name: "sealed with many zeros behind", damage: edit(SegmentName(1), plus(make([]byte, 600)...)), check: "end of a sealed segment"},
		{name: "sealed with its last commit twice", damage: edit(SegmentName(5), func(b []byte) []byte { return appendCommit(b, new(sampleCommit(7, 2, 4, 20))) }), check: "commit seq"},
		{name: "sealed with a hole", damage: edit(SegmentName(5), func(b []byte) []byte { clear(b[72:140]); return b }), check: "end of a sealed segment"},
		{name: "newest of another link", damage: newestIs(9, event.Hash{1}, newest...), check: "link before the segment"},
		{name: "first of another genesis", damage: edit(SegmentName(1), func([]byte) []byte {
			return segmentOf(1, event.Hash{8}, sampleCommit(1, 2, 0, 20), sampleCommit(3, 2, 2, 20))
		}), check: "link before the segment"},
		{name: "newest named for another seq", damage: newestIs(10, last, newest...), check: "first seq of the segment"},
		{name: "newest of another store", damage: edit(SegmentName(9), func([]byte) []byte {
			return (&segmentHeader{event.StoreID{7}, 9, last}).encode()
		}), check: "store id"},
		{name: "newest shorter than its header", damage: edit(SegmentName(9), func(b []byte) []byte { return b[:71] }), check: "segment header"},
		{name: "newest empty", damage: edit(SegmentName(9), func(b []byte) []byte { return b[:0] }), check: "segment header"},
		{name: "magic", damage: edit(SegmentName(1), func(b []byte) []byte { b[0] = 'b'; return b }), check: "segment magic"},
		{name: "header flip", damage: edit(SegmentName(1), func(b []byte) []byte { b[50] ^= 1; return b }), check: "segment header checksum"},
		{name: "next.tmp left behind", damage: func(d *disk) { d.put("log/next.tmp", garbage) }, events: 14},
		{name: "other names", damage: func(d *disk) {
			d.put("log/README", garbage)
			d.put("log/1.seg", nil)
			d.put("log/0000000000000000000a.seg", nil)
		}, events: 14},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := threeSegments()
			tt.damage(d)
			before := d.clone()
			opts := testOptions()
			opts.Witness = tt.witness
			n, r, err := openDisk(t, d, opts)
			if tt.check != "" {
				var bad *event.CorruptError
				if !errors.As(err, &bad) || bad.Check != tt.check {
					t.Fatalf("%d events, %v; want %q to fail", n, err, tt.check)
				}
				for name, f := range before.names {
					if now := d.names[name]; now == nil || !bytes.Equal(now.data, f.data) {
						t.Errorf("%s was changed though opening was refused", name)
					}
				}
				return
			}
			if err != nil || n != tt.events || r.TornBytes != tt.torn || r.Replayed != n {
				t.Fatalf("%d events, %+v, %v; want %d, torn %d", n, r, err, tt.events, tt.torn)
			}
			if (r.TornFile != "") != (tt.torn > 0) {
				t.Errorf("torn %+v", r)
			}
			if _, left := d.names["log/next.tmp"]; left {
				t.Error("next.tmp is still there")
			}
			d.powerCut()
			if again, r, err := openDisk(t, d, opts); err != nil || again != n || r.TornFile != "" {
				t.Errorf("after a power cut: %d events, %+v, %v", again, r, err)
			}
		})
	}
}

func TestFutureFormat(t *testing.T) {
	for _, first := range []event.Seq{1, 5, 9} {
		d := threeSegments()
		binary.LittleEndian.PutUint32(d.names[SegmentName(first)].data[8:], Format+1)
		if _, _, err := openDisk(t, d, testOptions()); !errors.Is(err, event.ErrFutureFormat) || errors.Is(err, event.ErrCorrupt) {
			t.Errorf("segment %d: %v", first, err)
		}
	}
	d := threeSegments()
	b := d.names[SegmentName(9)].data
	binary.LittleEndian.PutUint32(b[8:], 0)
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:segmentHeaderBytes], castagnoli))
	if _, _, err := openDisk(t, d, testOptions()); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("format 0: %v", err)
	}
}

// TestRecoveryTwice tears the tail twice, with appends between: the second recovery does not see the first.
func TestRecoveryTwice(t *testing.T) {
	d := threeSegments()
	want := 14
	for round := range 4 {
		n := d.names[lastSegment(d)]
		size := len(n.data) + 100 + 500*round
		d.put(n.name, append(n.data, bytes.Repeat([]byte{byte(round + 1)}, size-len(n.data))...))
		l, r, payloads, err := tryOpen(d, testOptions())
		if err != nil || len(payloads) != want || r.TornFile != n.name || r.TornAt+r.TornBytes != int64(size) {
			t.Fatalf("round %d: %d events, %+v, %v", round, len(payloads), r, err)
		}
		appendOne(t, l, 3)
		want += 3
		abandon(l)
		d.powerCut()
	}
}

func lastSegment(d *disk) string {
	names, _ := d.ReadDir(dir)
	return dir + "/" + names[len(names)-1]
}

// abandon ends a log as the end of its process would.
func abandon(l *Log) {
	l.fill.stop()
	l.active.Close()
	l.Segments.Close()
}

// TestFlipCommitHeader flips every bit of the header of a commit between others: opening is refused, in the active segment
// and in a sealed one.
func TestFlipCommitHeader(t *testing.T) {
	for _, tt := range []struct {
		first event.Seq
		at    int64
	}{{9, newestAt(1)}, {5, segmentHeaderBytes}} {
		for bit := range commitHeaderBytes * 8 {
			d := threeSegments()
			d.names[SegmentName(tt.first)].data[tt.at+int64(bit/8)] ^= 1 << (bit % 8)
			n, _, err := openDisk(t, d, testOptions())
			var bad *event.CorruptError
			if !errors.As(err, &bad) || bad.File != SegmentName(tt.first) || bad.Offset != tt.at {
				t.Errorf("segment %d, byte %d, bit %d: %d events, %v", tt.first, bit/8, bit%8, n, err)
			}
		}
	}
}

// TestForgedCommitLength puts lengths where a commit should begin: what is allocated depends on the file, not on them.
func TestForgedCommitLength(t *testing.T) {
	for _, length := range []uint32{0, 1, 51, 52, 60, 1 << 20, MaxCommitBytes, MaxCommitBytes + 1, 1<<31 - 1, 1 << 31, 1<<32 - 8, 1<<32 - 1} {
		for _, first := range []event.Seq{9, 5} {
			d := threeSegments()
			n := d.names[SegmentName(first)]
			c := appendCommit(nil, new(sampleCommit(15, 1, 0, 40)))
			binary.LittleEndian.PutUint32(c, length)
			d.put(n.name, append(n.data, c...))
			var events int
			var err error
			bytes := allocated(func() { events, _, err = openDisk(t, d, testOptions()) })
			if refused := errors.Is(err, event.ErrCorrupt); refused != (first == 5) || !refused && events != 14 {
				t.Errorf("length %d in segment %d: %d events, %v", length, first, events, err)
			}
			if bytes > 2<<20 {
				t.Errorf("length %d in segment %d: %d bytes allocated", length, first, bytes)
			}
		}
	}
}

// TestForgedRecords gives a commit whose checksum is right lengths and counts that its records do not have.
func TestForgedRecords(t *testing.T) {
	record := AppendRecord(nil, []byte("header"), []byte("payload"))
	forged := func(at int, v uint32) []byte {
		b := bytes.Clone(record)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	for name, tt := range map[string]struct {
		records []byte
		count   int
	}{
		"header of 2^32-1":          {forged(0, 1<<32-1), 1},
		"payload of 2^32-1":         {forged(4, 1<<32-1), 1},
		"header of 2^31":            {forged(0, 1<<31), 1},
		"header one longer":         {forged(0, 7), 1},
		"payload one shorter":       {forged(4, 6), 1},
		"more records than counted": {append(bytes.Clone(record), record...), 1},
		"fewer than counted":        {record, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := Commit{First: 1, Count: tt.count, Records: tt.records}
			var err error
			if n := allocated(func() {
				for _, err = range c.Each() {
				}
			}); n > 16<<10 {
				t.Errorf("%d bytes allocated", n)
			}
			if err == nil {
				t.Error("no error")
			}
			if _, err := ParseRecord(tt.records); err == nil && tt.count == 1 {
				t.Error("ParseRecord accepts it")
			}
		})
	}
	for n := range len(record) {
		if _, err := ParseRecord(record[:n]); err == nil {
			t.Errorf("cut at %d: no error", n)
		}
	}
	if r, err := ParseRecord(record); err != nil || string(r.Header) != "header" || string(r.Payload) != "payload" || r.Length != RecordBytes(6, 7) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestLongTail opens a log whose active segment is followed by 1 MiB of zeros, as filling leaves behind: memory
// must not follow the length of a file.
func TestLongTail(t *testing.T) {
	f, path := testDir(t)
	l, _, _ := open(t, f, testOptions())
	appendOne(t, l, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path+"/"+SegmentName(1), 1<<20); err != nil {
		t.Fatal(err)
	}
	bytes := allocated(func() {
		l, r, got := open(t, f, testOptions())
		wantPayloads(t, got, 1)
		if r.TornFile != "" {
			t.Errorf("torn %+v", r)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if bytes > 2<<20 {
		t.Errorf("%d MiB allocated for 1 MiB of zeros", bytes>>20)
	}
}

// TestRenameNotDurable kills the process between the rename of a new segment and the sync of its directory, opens the log
// again, appends durably, and cuts the power.
func TestRenameNotDurable(t *testing.T) {
	d := threeSegments()
	next := segmentOf(15, event.Hash{13, 31: 1})
	d.put("log/next.tmp", next)
	if err := d.Rename("log/next.tmp", SegmentName(15)); err != nil { // the process ends here
		t.Fatal(err)
	}
	l, _, _ := open(t, d, testOptions())
	appendOne(t, l, 1)
	abandon(l)
	d.powerCut()
	if n, _, err := openDisk(t, d, testOptions()); err != nil || n != 15 {
		t.Errorf("15 events were durable; %d are there, %v", n, err)
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
