package log

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

var testStore = event.StoreID{1, 2, 3}

// testDir returns a directory as the log sees it and as the test does.
func testDir(t testing.TB) (vfs.FS, string) {
	t.Helper()
	path := t.TempDir()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return vfs.OS(root), path
}

func testOptions() Options { return Options{SegmentBytes: 2000, Genesis: event.Hash{9}} }

// open opens the log and returns the payloads in it.
func open(t testing.TB, f vfs.FS, opts Options) (*Log, Recovery, []string) {
	t.Helper()
	l, r, payloads, err := tryOpen(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l, r, payloads
}

func tryOpen(f vfs.FS, opts Options) (*Log, Recovery, []string, error) {
	var payloads []string
	l, r, err := Open(f, testStore, opts, Position{}, func(c *Commit) error {
		for rec, err := range c.Each() {
			if err != nil {
				return err
			}
			payloads = append(payloads, string(rec.Payload))
		}
		return nil
	})
	return l, r, payloads, err
}

// appendOne appends a commit of n records, whose payloads say which they are.
func appendOne(t testing.TB, l *Log, n int) {
	t.Helper()
	l.mu.Lock()
	c := Commit{First: l.next, Count: n, Durable: l.Durable(), Link: event.Hash{byte(l.next)}}
	l.mu.Unlock()
	for i := range n {
		c.Records = AppendRecord(c.Records, []byte("header"), fmt.Appendf(nil, "event %d", int(c.First)+i))
	}
	if _, _, err := l.Append(&c); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(c.Last()); err != nil {
		t.Fatal(err)
	}
}

func wantPayloads(t testing.TB, got []string, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d events, want %d", len(got), n)
	}
	for i, p := range got {
		if p != fmt.Sprintf("event %d", i+1) {
			t.Fatalf("event %d is %q", i+1, p)
		}
	}
}

func TestReopen(t *testing.T) {
	f, _ := testDir(t)
	n := 0
	for round := range 4 {
		l, r, got := open(t, f, testOptions())
		if r.TornFile != "" {
			t.Errorf("round %d: torn %+v", round, r)
		}
		wantPayloads(t, got, n)
		for i := range 12 {
			appendOne(t, l, 1+i%3)
			n += 1 + i%3
		}
		if len(l.Firsts()) < 2 && round > 0 {
			t.Error("no segment was sealed")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTruncateAnywhere cuts the active segment at every offset: without a witness the longest prefix of whole commits is
// recovered, twice in a row; with one that says more was durable, opening is refused.
func TestTruncateAnywhere(t *testing.T) {
	f, path := testDir(t)
	l, _, _ := open(t, f, Options{SegmentBytes: 1 << 20, Genesis: event.Hash{9}})
	ends := []int64{segmentHeaderBytes}
	for range 5 {
		appendOne(t, l, 2)
		ends = append(ends, l.offset)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := path + "/" + SegmentName(1)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int64(segmentHeaderBytes); cut <= int64(len(whole)); cut++ {
		if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		commits := 0
		for commits+1 < len(ends) && ends[commits+1] <= cut {
			commits++
		}
		if commits < 5 {
			opts := testOptions()
			opts.Witness = event.Seq(2*commits + 1)
			if _, _, _, err := tryOpen(f, opts); !errors.Is(err, event.ErrCorrupt) {
				t.Fatalf("cut at %d with a witness: %v", cut, err)
			}
		}
		for range 2 {
			l, _, got := open(t, f, Options{SegmentBytes: 1 << 20, Genesis: event.Hash{9}})
			wantPayloads(t, got, 2*commits)
			l.fill.stop() // no Close: the process died
			l.active.Close()
			l.Segments.Close()
		}
	}
}

func TestManySync(t *testing.T) {
	f, _ := testDir(t)
	l, _, _ := open(t, f, Options{SegmentBytes: 64 << 10, Genesis: event.Hash{9}})
	var commit sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				commit.Lock()
				c := Commit{First: l.next, Count: 1, Link: event.Hash{1}}
				c.Records = AppendRecord(nil, []byte("h"), fmt.Appendf(nil, "event %d", c.First))
				_, _, err := l.Append(&c)
				commit.Unlock()
				if err == nil {
					err = l.Sync(c.First)
				}
				if err != nil || l.Durable() < c.First {
					t.Errorf("event %d: durable %d, %v", c.First, l.Durable(), err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, _, got := open(t, f, Options{SegmentBytes: 64 << 10, Genesis: event.Hash{9}})
	wantPayloads(t, got, 800)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
