package log

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/batpak/batpak/event"
)

// TestFillKeepsCommits appends more than 8 MiB from several goroutines while zeros are written ahead of them, and reads
// everything back: no zero has come over a commit, whether it is synced, only written and so stored through memory if it is short,
// or now this and now that.
func TestFillKeepsCommits(t *testing.T) {
	for name, settle := range map[string]func(*Log, event.Seq) error{
		"synced":  (*Log).Sync,
		"written": func(l *Log, _ event.Seq) error { return l.Flush() },
		"both": func(l *Log, seq event.Seq) error {
			if seq%7 == 0 {
				return l.Sync(seq)
			}
			return l.Flush()
		},
	} {
		t.Run(name, func(t *testing.T) { keepCommits(t, settle) })
	}
}

func keepCommits(t *testing.T, settle func(*Log, event.Seq) error) {
	f, _ := testDir(t)
	opts := Options{SegmentBytes: 6 << 20, Genesis: event.Hash{9}}
	length := func(seq event.Seq) int {
		if seq%3 > 0 {
			return 30 + int(seq)*7919%900
		}
		return 500 + int(seq)*7919%50_000
	}
	l, _, _ := open(t, f, opts)
	var commit sync.Mutex
	var wg sync.WaitGroup
	const each, callers = 360, 6
	for range callers {
		wg.Go(func() {
			for range each {
				commit.Lock()
				c := sampleCommit(l.next, 1, 0, length(l.next))
				_, _, err := l.Append(&c)
				commit.Unlock()
				if err == nil {
					err = settle(l, c.First)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, size, err := l.Size(); err != nil || size < 8<<20 {
		t.Fatalf("only %d bytes, %v", size, err)
	}
	abandon(l)
	l, _, got := open(t, f, opts)
	if len(got) != each*callers {
		t.Fatalf("%d events", len(got))
	}
	for i, p := range got {
		if want := sampleCommit(event.Seq(i+1), 1, 0, length(event.Seq(i+1))); !bytes.HasSuffix(want.Records, []byte(p)) {
			t.Fatalf("event %d is %.40q…", i+1, p)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFillDuringRoll holds the filler in the middle of a write until the roll waits for it: the sealed segment must end
// with its last commit.
func TestFillDuringRoll(t *testing.T) {
	d := newDisk()
	filling, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.hook = func(op operation) *fault {
		if op.zeros {
			once.Do(func() {
				close(filling)
				<-proceed
			})
		}
		return nil
	}
	opts := testOptions()
	l, _, _ := open(t, d, opts)
	appendOne(t, l, 1)
	<-filling
	rolled := make(chan error)
	go func() {
		c := sampleCommit(2, 1, 1, 2000) // more than fits
		_, _, err := l.Append(&c)
		rolled <- err
	}()
	for range 1_000_000 {
		if waitsIn("(*Log).trim(") {
			break
		}
		runtime.Gosched()
	}
	close(proceed)
	if err := <-rolled; err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(2); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := openDisk(t, d, opts); err != nil || n != 2 {
		t.Errorf("%d events, %v", n, err)
	}
}

// waitsIn reports whether a goroutine waits for a mutex in the function.
func waitsIn(function string) bool {
	stacks := make([]byte, 1<<20)
	for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(g, "[sync.Mutex.Lock") && strings.Contains(g, function) {
			return true
		}
	}
	return false
}

// TestFillSyncFails lets only the filler's sync fail. By the contract of vfs.File nothing is known then of what was written
// since the last successful one, and a later success says nothing about it: commits written before must not be reported as
// durable by a later sync of the same file.
func TestFillSyncFails(t *testing.T) {
	d := newDisk()
	failure := errors.New("disk gone")
	var failed atomic.Bool
	done := make(chan struct{})
	d.hook = func(op operation) *fault {
		if op.verb == "sync" && byFiller() && failed.CompareAndSwap(false, true) {
			close(done)
			return &fault{err: failure}
		}
		return nil
	}
	l, _, _ := open(t, d, Options{SegmentBytes: 1 << 20, Genesis: event.Hash{9}})
	c := sampleCommit(1, 1, 0, 100)
	if _, _, err := l.Append(&c); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); err != nil { // wakes the filler
		t.Fatal(err)
	}
	<-done
	l.fill.stop() // the filler has dealt with its failure
	if err := l.Sync(1); !errors.Is(err, failure) {
		t.Errorf("a sync of this file failed after event 1 was written; Sync says %v and durable is %d", err, l.Durable())
	}
	l.active.Close()
	l.Segments.Close()
}

// TestFillGrows checks how far zeros run ahead: as much as was appended, within bounds.
func TestFillGrows(t *testing.T) {
	for _, tt := range []struct{ total, want int64 }{{0, minFillBytes}, {minFillBytes + 1, minFillBytes + 1}, {maxFillBytes * 3, maxFillBytes}} {
		var f filler
		f.total.Store(tt.total)
		if got := f.ahead(); got != tt.want {
			t.Errorf("after %d bytes: %d", tt.total, got)
		}
	}
}

// TestFillStopsAtSegmentEnd checks that no zeros go beyond the length at which a segment is sealed.
func TestFillStopsAtSegmentEnd(t *testing.T) {
	d := newDisk()
	d.hook = func(op operation) *fault {
		if op.zeros && op.offset+op.length > 10_000 {
			panic(fmt.Sprint("zeros written beyond the segment: ", op))
		}
		return nil
	}
	l, _, _ := open(t, d, Options{SegmentBytes: 10_000, Genesis: event.Hash{9}})
	for range 300 {
		appendOne(t, l, 2)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
