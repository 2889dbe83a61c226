package log

import (
	"bytes"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// mappingFS notes what is mapped of the files that are opened for reading.
type mappingFS struct {
	vfs.FS
	t    *testing.T
	last map[string]int64 // what of each name was mapped last; 0: nothing since it was opened
	full bool             // no more files can be opened
}

func (m *mappingFS) OpenRead(name string) (vfs.File, error) {
	if m.full {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	f, err := m.FS.OpenRead(name)
	m.last[name] = 0
	return &mappingFile{f, m, name}, err
}

type mappingFile struct {
	vfs.File
	fs   *mappingFS
	name string
}

func (f *mappingFile) Map(size int64) {
	if there, err := f.Size(); err != nil || size > there {
		f.fs.t.Errorf("%d bytes of %s are mapped, which has %d, %v", size, f.name, there, err)
	}
	f.fs.last[f.name] = size
	f.File.Map(size)
}

// TestMappedSegments reads what a log has while it is appended to, sealed and opened again. Its writer reads all segments through memory, the
// newest as far as it reached when it was opened, and again when it has grown; others read sealed ones so. No more is ever mapped than there is.
func TestMappedSegments(t *testing.T) {
	dir, _ := testDir(t)
	m := &mappingFS{FS: dir, t: t, last: map[string]int64{}}
	opts := Options{SegmentBytes: 400 << 10, Genesis: event.Hash{9}}
	l, _, _ := open(t, m, opts)
	type place struct {
		segment event.Seq
		end     int64
		payload []byte
	}
	var places []place
	read := func(s *Segments, p place) {
		t.Helper()
		from := p.end - int64(len(p.payload))
		if b, err := s.Read(p.segment, from, int64(len(p.payload))); err != nil || !bytes.Equal(b, p.payload) {
			t.Fatalf("segment %d at %d: %q, %v", p.segment, from, b, err)
		}
	}
	others := &mappingFS{FS: dir, t: t, last: map[string]int64{}}
	following, err := OpenSegments(others, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer following.Close()
	remapped := 0
	for i := 0; len(l.Firsts()) < 3; i++ {
		payload := fmt.Appendf(nil, "%0500d", i)
		c := Commit{First: event.Seq(i + 1), Count: 1, Durable: l.Durable(), Records: AppendRecord(nil, []byte("header"), payload)}
		segment, offset, err := l.Append(&c)
		if err == nil {
			err = l.Sync(c.First)
		}
		if err != nil {
			t.Fatal(err)
		}
		p := place{segment, offset + c.Bytes(), payload}
		places = append(places, p)
		if err := following.list(); err != nil {
			t.Fatal(err)
		}
		if p.segment == places[max(0, i-1)].segment {
			read(following, p)
		}
		read(l.Segments, p)
		m.full, others.full = true, true
		for range maxBeyond + 1 { // what is open will do
			read(l.Segments, p)
			read(following, places[max(0, i-1)])
		}
		m.full, others.full = false, false
		before := m.last[SegmentName(segment)]
		for range maxBeyond + 1 {
			read(l.Segments, p)
		}
		after := m.last[SegmentName(segment)]
		if after < p.end {
			t.Fatalf("event %d ends at %d, and %d bytes are mapped however often it is read", i+1, p.end, after)
		}
		if before > 0 && after > before {
			remapped++
		}
	}
	if remapped == 0 {
		t.Error("no segment was mapped again when it had grown")
	}
	for _, p := range places {
		read(following, p)
	}
	if following.mapped != 2 {
		t.Errorf("who followed the log has mapped %d segments of 2 that are sealed", following.mapped)
	}
	sealed, newest := SegmentName(places[0].segment), SegmentName(l.Firsts()[2])
	for _, p := range places {
		read(l.Segments, p)
	}
	h, err := l.acquire(1)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := h.file.Size(); err != nil || m.last[sealed] != size {
		t.Errorf("%d bytes of a sealed segment are mapped, which has %d, %v", m.last[sealed], size, err)
	}
	l.release(h)

	other, err := OpenSegments(m, testStore)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		for range maxBeyond + 1 {
			read(other, p)
		}
	}
	if m.last[sealed] == 0 || m.last[newest] != 0 {
		t.Errorf("one who does not write has mapped %d bytes of a sealed segment and %d of the newest", m.last[sealed], m.last[newest])
	}
	other.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	l, _, _ = open(t, m, opts)
	for _, p := range places {
		read(l.Segments, p)
	}
	if m.last[newest] == 0 || l.mapped != 3 {
		t.Errorf("of a log that was opened again %d bytes of the newest segment and %d segments are mapped", m.last[newest], l.mapped)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l.mapped != 0 || len(l.handles) != 0 {
		t.Errorf("%d segments are mapped and %d open of a closed log", l.mapped, len(l.handles))
	}
}
