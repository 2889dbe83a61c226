package log

import (
	"sync"
	"sync/atomic"

	"github.com/batpak/batpak/internal/vfs"
)

// The zeros ahead of the write position grow with what the process appends, from minFillBytes to maxFillBytes, so that a
// program that appends three events does not write megabytes for them.
const (
	minFillBytes = 64 << 10
	maxFillBytes = 4 << 20
)

// A filler writes zeros ahead of the write position from a goroutine of its own. Bytes below zeroed are the writer's,
// those at or above it the filler's while it holds mu: claim moves the border only under mu.
type filler struct {
	mu      sync.Mutex
	file    vfs.File     // a handle of its own; nil: no filling
	zeroed  atomic.Int64 // commits, then zeros, up to here; raised under mu
	claimed atomic.Int64 // commits up to here
	total   atomic.Int64 // bytes claimed since the start
	limit   int64        // no zeros beyond
	fail    func(error)  // told when a sync fails: what was written before may be lost
	wake    chan struct{}
	done    chan struct{}
}

func (f *filler) start(limit int64, fail func(error)) {
	f.limit, f.fail, f.wake, f.done = limit, fail, make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(f.done)
		for range f.wake {
			f.extend()
		}
	}()
}

// stop ends the goroutine and waits for it.
func (f *filler) stop() {
	close(f.wake)
	<-f.done
}

// use makes the filler work on file, which has commits up to claimed and zeros up to zeroed. The filler has a handle of
// its own, so that an error of writing back is reported to its sync and to the writer's.
func (f *filler) use(file vfs.File, claimed, zeroed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file = file
	f.claimed.Store(claimed)
	f.zeroed.Store(zeroed)
}

// rest closes the file, with which the filler is done when rest returns, and says up to where it has zeros.
func (f *filler) rest() (zeroed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		_ = f.file.Close() // what it wrote are zeros
	}
	f.file = nil
	return f.zeroed.Load()
}

// claim takes the bytes up to end for commits, and asks for more zeros when few are left. It waits for the filler only
// when there are too few, and reports whether all of the bytes were zeros of the file. Only the writer calls it.
func (f *filler) claim(end int64) (zeroed bool) {
	f.total.Add(end - f.claimed.Swap(end))
	if zeroed = f.zeroed.Load() >= end; !zeroed {
		f.mu.Lock()
		f.zeroed.Store(max(f.zeroed.Load(), end))
		f.mu.Unlock()
	}
	if left := f.zeroed.Load() - end; left < f.ahead()/2 && end+left < f.limit {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	return zeroed
}

// ahead returns how many zeros there should be.
func (f *filler) ahead() int64 { return min(max(f.total.Load(), minFillBytes), maxFillBytes) }

// zeros is what extend writes from.
var zeros [256 << 10]byte

// extend writes zeros and syncs them, with the new length, which makes later syncs cheap. A failure to write is left to the
// append that will meet it; a failed sync is not: it may be the only one to tell that bytes written before are lost.
func (f *filler) extend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return
	}
	target := min(f.claimed.Load()+f.ahead(), f.limit)
	for at := f.zeroed.Load(); at < target; {
		n, err := f.file.WriteAt(zeros[:min(int64(len(zeros)), target-at)], at)
		at += int64(n)
		f.zeroed.Store(at)
		if err != nil {
			return
		}
	}
	if err := f.file.Sync(); err != nil {
		f.fail(err)
	}
}
