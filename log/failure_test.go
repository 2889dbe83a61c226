package log

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
)

// TestShortWrite has the system write less than it was given, without an error. That is a failure like any other: the
// commit is not acknowledged, and nothing is written behind the gap.
func TestShortWrite(t *testing.T) {
	for _, part := range []float64{0, 0.5, 0.99} {
		var short atomic.Bool
		d := newDisk()
		d.hook = func(op operation) *fault {
			if op.verb == "write" && short.Load() && !byFiller() {
				return &fault{part: part}
			}
			return nil
		}
		l, _, _ := open(t, d, testOptions())
		appendOne(t, l, 3)
		short.Store(true)
		c := sampleCommit(4, 1, 3, 20)
		if _, _, err := l.Append(&c); err != nil {
			t.Fatal(err)
		}
		first := l.Sync(4)
		if !errors.Is(first, io.ErrShortWrite) || l.Written() != 3 || l.Durable() != 3 {
			t.Errorf("part %v: sync: %v; written %d, durable %d", part, first, l.Written(), l.Durable())
		}
		short.Store(false)
		c = sampleCommit(5, 1, 3, 20)
		if _, _, err := l.Append(&c); first == nil || err == nil || err.Error() != first.Error() {
			t.Errorf("part %v: append after it: %v", part, err)
		}
		if err := l.Close(); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("part %v: close: %v", part, err)
		}
		if n, _, err := openDisk(t, d, testOptions()); n != 3 || err != nil {
			t.Errorf("part %v: %d events, %v", part, n, err)
		}
	}
}

// TestFirstFailureStays lets another failure follow the first: what was written is lost, as the writer is told first and the
// filler, whose handle is its own, after it. Every later call returns the first one.
func TestFirstFailureStays(t *testing.T) {
	var syncs atomic.Int64
	var broken atomic.Bool
	d := newDisk()
	d.hook = func(op operation) *fault {
		if op.verb == "sync" && broken.Load() {
			return &fault{err: fmt.Errorf("sync %d failed: %w", syncs.Add(1), errInjected), part: 0}
		}
		return nil
	}
	l, _, _ := open(t, d, testOptions())
	l.fill.limit = 0 // do not wake it
	appendOne(t, l, 1)
	broken.Store(true)
	c := sampleCommit(2, 1, 1, 20)
	if _, _, err := l.Append(&c); err != nil {
		t.Fatal(err)
	}
	first := l.Sync(2)
	l.fill.limit = testOptions().SegmentBytes
	l.fill.extend()
	if !errors.Is(first, errInjected) || syncs.Load() != 2 {
		t.Fatalf("%v, after %d syncs", first, syncs.Load())
	}
	c = sampleCommit(3, 1, 1, 20)
	_, _, appendErr := l.Append(&c)
	for name, err := range map[string]error{"Err": l.Err(), "Append": appendErr, "Flush": l.Flush(), "Sync": l.Sync(2), "Close": l.Close()} {
		if err == nil || !strings.HasPrefix(err.Error(), first.Error()) {
			t.Errorf("%s: %v; the first failure was %v", name, err, first)
		}
	}
}
