package log

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/batpak/batpak/event"
)

// errInjected is what injected failures have as their cause.
var errInjected = fmt.Errorf("injected: %w", syscall.ENOSPC)

// failNth returns a hook that fails the n-th operation, from 1, that is not the filler's, and reports whether it did.
func failNth(n int64, part float64) (hook func(operation) *fault, failed func() (operation, bool)) {
	var count atomic.Int64
	var op atomic.Pointer[operation]
	return func(o operation) *fault {
			if byFiller() || count.Add(1) != n {
				return nil
			}
			op.Store(&o)
			return &fault{err: errInjected, part: part}
		}, func() (operation, bool) {
			if o := op.Load(); o != nil {
				return *o, true
			}
			return operation{}, false
		}
}

// TestFaults fails every operation of opening, appending, rolling and closing in turn, before it is done, when half of it
// is done, and after. From the first failure on everything returns it; what opens afterwards is a prefix with everything
// acknowledged, and so it is when the power goes too.
func TestFaults(t *testing.T) {
	for _, part := range []float64{0, 0.5, 1} {
		for n := int64(1); ; n++ {
			hook, failed := failNth(n, part)
			d := newDisk()
			d.hook = hook
			acked, appended := runUntilBroken(t, d, n)
			d.hook = nil
			op, hit := failed()
			if !hit {
				if n < 60 {
					t.Errorf("only %d operations", n-1)
				}
				break
			}
			for _, powerCut := range []bool{false, true} {
				what := fmt.Sprintf("operation %d, %s, %.1f done, power cut %v", n, op, part, powerCut)
				after := d.clone()
				if powerCut {
					d.powerCut()
					after = d
				}
				for range 2 {
					got, _, err := openDisk(t, after, testOptions())
					if err != nil || got < acked || got > appended {
						t.Errorf("%s: %d events, %v; %d acknowledged, %d appended", what, got, err, acked, appended)
					}
				}
			}
		}
	}
}

// runUntilBroken opens the log on d and appends, syncs and rolls until something fails, then checks that the log stays
// broken. It returns the events that were acknowledged and those that were appended.
func runUntilBroken(t *testing.T, d *disk, n int64) (acked, appended int) {
	t.Helper()
	l, _, _, err := tryOpen(d, testOptions())
	if err != nil {
		if !errors.Is(err, errInjected) {
			t.Errorf("operation %d: Open: %v", n, err)
		}
		return 0, 0
	}
	var first error
	for i := 0; i < 40 && first == nil; i++ {
		c := sampleCommit(event.Seq(appended+1), 1+i%3, event.Seq(acked), 60)
		if _, _, first = l.Append(&c); first != nil {
			break
		}
		appended = int(c.Last())
		switch i % 4 {
		case 0:
			first = l.Flush()
		case 1:
		default:
			if first = l.Sync(c.Last()); first == nil {
				acked = int(c.Last())
			}
		}
		if durable := int(l.Durable()); durable > appended || durable < acked {
			t.Errorf("operation %d: durable %d of %d", n, durable, appended)
		}
	}
	if first == nil {
		if err := l.Close(); err == nil {
			acked = appended
		} else if !errors.Is(err, errInjected) {
			t.Errorf("operation %d: Close: %v", n, err)
		}
		return acked, appended
	}
	acked = max(acked, int(l.Durable()))
	c := sampleCommit(event.Seq(appended+1), 1, 0, 60)
	_, _, appendErr := l.Append(&c)
	for name, err := range map[string]error{"first": first, "Append": appendErr, "Flush": l.Flush(), "Sync": l.Sync(l.Durable() + 1), "Err": l.Err(), "Close": l.Close()} {
		if !errors.Is(err, errInjected) || name != "Close" && err.Error() != first.Error() {
			t.Errorf("operation %d: %s: %v, the first failure was %v", n, name, err, first)
		}
	}
	return acked, appended
}

// TestFaultsManyCallers fails a sync or a write while many wait: each caller gets either its event, durable, or the error,
// and the same one.
func TestFaultsManyCallers(t *testing.T) {
	for n := int64(3); n < 40; n += 4 {
		t.Run(fmt.Sprint("operation ", n), func(t *testing.T) {
			d := newDisk()
			l, _, _ := open(t, d, testOptions())
			hook, failed := failNth(n, 0)
			d.mu.Lock()
			d.hook = hook
			d.mu.Unlock()
			var commit sync.Mutex
			var acked atomic.Uint64
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for {
						commit.Lock()
						l.mu.Lock()
						c := sampleCommit(l.next, 1, 0, 60)
						l.mu.Unlock()
						_, _, err := l.Append(&c)
						commit.Unlock()
						if err == nil {
							err = l.Sync(c.First)
						}
						if err != nil {
							if !errors.Is(err, errInjected) || err.Error() != l.Err().Error() {
								t.Error(err)
							}
							return
						}
						for a := acked.Load(); a < uint64(c.First) && !acked.CompareAndSwap(a, uint64(c.First)); a = acked.Load() {
						}
					}
				})
			}
			wg.Wait()
			op, _ := failed()
			if err := l.Close(); !errors.Is(err, errInjected) {
				t.Errorf("Close: %v", err)
			}
			d.hook = nil
			d.powerCut()
			if got, _, err := openDisk(t, d, testOptions()); err != nil || got < int(acked.Load()) {
				t.Errorf("%v failed: %d events, %v; %d acknowledged", op, got, err, acked.Load())
			}
		})
	}
}

// TestPowerCutAnywhere cuts the power before each operation in turn, without any failing: what was acknowledged is there.
func TestPowerCutAnywhere(t *testing.T) {
	for n := int64(1); ; n++ {
		d := newDisk()
		var count, acked atomic.Int64
		var left *disk
		var ackedThen int64
		d.hook = func(op operation) *fault {
			if !byFiller() && count.Add(1) == n {
				d.mu.Lock()
				left = &disk{kept: map[string]*inode{}}
				for name, n := range d.kept {
					left.kept[name] = &inode{name: n.name, kept: n.kept}
				}
				ackedThen = acked.Load()
				d.mu.Unlock()
			}
			return nil
		}
		l, _, _ := open(t, d, testOptions())
		for i := range 30 {
			c := sampleCommit(event.Seq(i+1), 1, event.Seq(acked.Load()), 150)
			if _, _, err := l.Append(&c); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if err := l.Sync(c.First); err != nil {
					t.Fatal(err)
				}
				acked.Store(int64(c.First))
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if left == nil {
			break
		}
		left.powerCut()
		if got, _, err := openDisk(t, left, testOptions()); err != nil || got < int(ackedThen) {
			t.Errorf("before operation %d: %d events, %v; %d acknowledged", n, got, err, ackedThen)
		}
	}
}
