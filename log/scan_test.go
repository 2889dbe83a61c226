package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// TestScanWhileWriting reads a log through handles of its own, as another process would, while it is written and rolled:
// each scan goes on where the last one ended and sees the next events, in order, each once.
func TestScanWhileWriting(t *testing.T) {
	f, path := testDir(t)
	l, _, _ := open(t, f, testOptions())
	const events = 600
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		root, err := os.OpenRoot(path)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		wg.Go(func() {
			s, err := OpenSegments(vfs.OS(root), testStore)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			seen, from := 0, Position{Link: event.Hash{9}}
			for seen < events {
				last := done.Load()
				from, err = s.Scan(from, func(c *Commit) error {
					for r, err := range c.Each() {
						if err != nil {
							return err
						}
						if seen++; string(r.Payload) != fmt.Sprintf("event %d", seen) || int(r.Seq) != seen {
							return fmt.Errorf("event %d is %q", seen, r.Payload)
						}
					}
					return nil
				})
				if err != nil || int(from.Seq) != seen {
					t.Errorf("after event %d, position %d: %v", seen, from.Seq, err)
					return
				}
				if last {
					break
				}
				runtime.Gosched()
			}
			if seen != events {
				t.Errorf("%d events", seen)
			}
		})
	}
	for n := 0; n < events; n += 3 {
		c := Commit{First: event.Seq(n + 1), Count: 3, Durable: l.Durable(), Link: event.Hash{byte(n)}}
		for i := range 3 {
			c.Records = AppendRecord(c.Records, []byte("header"), fmt.Appendf(nil, "event %d", n+1+i))
		}
		_, _, err := l.Append(&c)
		if err == nil {
			err = l.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		if n%30 == 0 {
			if err := l.Sync(c.Last()); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Store(true)
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestScanFrom scans from every boundary between commits, and from positions that are none.
func TestScanFrom(t *testing.T) {
	s, err := OpenSegments(threeSegments(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ends := []Position{{Link: event.Hash{9}}}
	end, err := s.Scan(ends[0], func(c *Commit) error {
		ends = append(ends, c.End())
		return nil
	})
	if err != nil || len(ends) != 8 || end != ends[7] || end.Seq != 14 {
		t.Fatalf("%+v, %v", end, err)
	}
	for i, from := range ends {
		next := from.Seq
		got, err := s.Scan(from, func(c *Commit) error {
			if c.First != next+1 {
				t.Errorf("from %d: commit of event %d after %d", from.Seq, c.First, next)
			}
			next = c.Last()
			return nil
		})
		if err != nil || got != end || next != 14 {
			t.Errorf("boundary %d: %+v, %v", i, got, err)
		}
	}
	stop := errors.New("enough")
	if got, err := s.Scan(ends[2], func(*Commit) error { return stop }); err != stop || got.Seq != ends[2].Seq || got.Link != ends[2].Link {
		t.Errorf("stopped at %+v with %v", got, err)
	}
	for name, from := range map[string]Position{
		"segment missing":           {Seq: 20, Segment: 21, Offset: 72},
		"segment that is no first":  {Seq: 2, Segment: 3, Offset: 72},
		"beyond the file":           {Seq: 14, Segment: 9, Offset: 1 << 30},
		"inside a sealed commit":    {Seq: 2, Segment: 1, Offset: 80},
		"another seq at a boundary": {Seq: 3, Segment: 1, Offset: ends[1].Offset, Link: ends[1].Link},
	} {
		if _, err := s.Scan(from, func(*Commit) error { return nil }); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFewFiles reads a log of many segments where the system lets few files be open, and then none.
func TestFewFiles(t *testing.T) {
	d := threeSegments()
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d.limit = 1
	for range 2 {
		if _, _, err := s.Size(); err != nil {
			t.Error(err)
		}
	}
	s.Close()
	d.open = 1
	if _, _, err := s.Size(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("no file can be opened: %v", err)
	}
	d.open = 0
}

// TestFewFilesForAppends appends where the system lets few files be open, and readers have all that it does.
func TestFewFilesForAppends(t *testing.T) {
	d := newDisk()
	l, _, _ := open(t, d, testOptions())
	d.limit = 10
	for len(l.Firsts()) < 30 {
		appendOne(t, l, 10)
		if _, _, err := l.Size(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if d.open != 0 {
		t.Errorf("%d files are left open", d.open)
	}
}

// TestManySegments reads a log with more segments than are kept open, from many goroutines.
func TestManySegments(t *testing.T) {
	d := newDisk()
	before := event.Hash{9}
	const segments = 3 * maxHandles
	for i := range event.Seq(segments) {
		c := sampleCommit(i+1, 1, i, 20)
		d.put(SegmentName(i+1), segmentOf(i+1, before, c))
		before = c.Link
	}
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	if count, size, err := s.Size(); count != segments || size < 72*segments || err != nil {
		t.Errorf("%d segments, %d bytes, %v", count, size, err)
	}
	var wg sync.WaitGroup
	const readers = 8
	for range readers {
		wg.Go(func() {
			for range 500 {
				seq := event.Seq(rand.N(segments) + 1)
				b := make([]byte, len(sampleCommit(seq, 1, 0, 20).Records))
				if err := s.ReadAt(s.Locate(seq), b, segmentHeaderBytes+commitHeaderBytes); err != nil {
					t.Errorf("event %d: %v", seq, err)
					continue
				}
				if r, err := ParseRecord(b); err != nil || strings.TrimRight(string(r.Payload), ".") != fmt.Sprintf("event %d", seq) {
					t.Errorf("event %d: %q, %v", seq, r.Payload, err)
				}
			}
		})
	}
	wg.Wait()
	if end, err := s.Scan(Position{Link: event.Hash{9}}, func(*Commit) error { return nil }); err != nil || end.Seq != segments {
		t.Errorf("%+v, %v", end, err)
	}
	if d.most > maxHandles+readers+1 {
		t.Errorf("%d files were open at a time", d.most)
	}
	s.Close()
	if d.open != 0 {
		t.Errorf("%d files are still open", d.open)
	}
}

func TestLocate(t *testing.T) {
	s, err := OpenSegments(threeSegments(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range map[event.Seq]event.Seq{0: 0, 1: 1, 4: 1, 5: 5, 8: 5, 9: 9, 1 << 40: 9} {
		if got := s.Locate(seq); got != want {
			t.Errorf("event %d is in segment %d", seq, got)
		}
	}
}

func TestReadAtDamaged(t *testing.T) {
	d := threeSegments()
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	size := int64(len(d.names[SegmentName(5)].data))
	for name, tt := range map[string]struct {
		segment event.Seq
		n       int
		offset  int64
		ok      bool
	}{
		"the last bytes":  {5, 10, size - 10, true},
		"nothing":         {5, 0, 100, true},
		"across the end":  {5, 10, size - 9, false},
		"at the end":      {5, 1, size, false},
		"far behind":      {5, 1, 1 << 40, false},
		"missing segment": {6, 1, 100, false},
		"segment zero":    {0, 1, 100, false},
	} {
		err := s.ReadAt(tt.segment, make([]byte, tt.n), tt.offset)
		var bad *event.CorruptError
		if tt.ok && err != nil || !tt.ok && (!errors.As(err, &bad) || bad.File != SegmentName(tt.segment)) {
			t.Errorf("%s: %v", name, err)
		}
		if b, again := s.Read(tt.segment, tt.offset, int64(tt.n)); fmt.Sprint(again) != fmt.Sprint(err) || tt.ok && len(b) != tt.n {
			t.Errorf("%s: read: %d bytes, %v", name, len(b), again)
		}
	}
}

// TestReadTooLong reads more than a segment has: no memory is set aside for what is not there.
func TestReadTooLong(t *testing.T) {
	s, err := OpenSegments(threeSegments(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = s.Read(5, 100, 1<<30)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, event.ErrCorrupt) || n > 1<<20 {
		t.Errorf("%d bytes set aside, %v", n, err)
	}
}
