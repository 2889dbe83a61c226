package batpak

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
)

// When the tail is folded into the index, and when appends wait for that.
const (
	defaultFoldEvents = 32 << 10
	foldInterval      = 2 * time.Second // at the latest, so that a quiet store is indexed too
	maxTailEvents     = 64 << 10
	maxTailBytes      = 64 << 20
)

// A keeper does, in a goroutine of its own, what no append waits for: it syncs what was only written, and folds the tail
// into the index. It sleeps while there is nothing to do.
type keeper struct {
	awake atomic.Bool // it will look again by itself
	wake  chan struct{}
	quit  chan struct{}
	done  chan struct{}

	folded atomic.Uint64 // seq up to which everything is in the index file

	mu      sync.Mutex
	roomier sync.Cond // a fold ended, or the keeper stopped
	err     error     // of the newest fold
	stopped bool
}

func (k *keeper) start(s *Store) {
	k.wake, k.quit, k.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	k.roomier.L = &k.mu
	k.folded.Store(uint64(s.index.Position().Seq))
	go func() {
		defer close(k.done)
		k.run(s)
	}()
}

func (k *keeper) stop() {
	close(k.quit)
	<-k.done
	k.mu.Lock()
	k.stopped = true
	k.mu.Unlock()
	k.roomier.Broadcast()
}

// note makes the keeper look soon.
func (k *keeper) note() {
	if !k.awake.Load() && k.awake.CompareAndSwap(false, true) {
		k.poke()
	}
}

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// appended tells the keeper that events up to end are in the tail.
func (k *keeper) appended(end event.Seq, foldEvents int) {
	k.note()
	if uint64(end)-k.folded.Load() >= uint64(foldEvents) {
		k.poke()
	}
}

// room waits while the tail is full. It fails if the tail cannot be folded.
func (k *keeper) room(s *Store) error {
	if !full(s.index) {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for full(s.index) {
		if k.stopped {
			return ErrClosed
		}
		if k.err != nil {
			return k.err
		}
		k.poke()
		k.roomier.Wait()
	}
	return nil
}

func full(x *index.Index) bool {
	count, bytes := x.Tail()
	return count >= maxTailEvents || bytes >= maxTailBytes
}

// run looks when it is told to, and at intervals while something is not synced or not folded.
func (k *keeper) run(s *Store) {
	timer := time.NewTimer(s.opts.SyncInterval)
	defer timer.Stop()
	lastFold, asleep := time.Now(), false
	for {
		ticked := false
		select {
		case <-k.quit:
			return
		case <-k.wake:
			if asleep {
				lastFold, asleep = time.Now(), false
			}
		case <-timer.C:
			ticked = true
		}
		p := s.accepted()
		if ticked {
			_ = s.log.Sync(p.Seq) // the log keeps the error, and appends report it
		}
		behind := uint64(p.Seq) - k.folded.Load()
		if behind == 0 {
			lastFold = time.Now()
		} else if behind >= uint64(s.opts.foldEvents) || full(s.index) || ticked && time.Since(lastFold) >= foldInterval {
			k.finish(s, s.foldTo(p))
			lastFold = time.Now()
		}
		if ticked && s.log.Durable() == p.Seq && k.folded.Load() == uint64(p.Seq) {
			k.awake.Store(false)
			if s.accepted().Seq == p.Seq || !k.awake.CompareAndSwap(false, true) {
				asleep = true
				s.rest()
				continue // until the next note
			}
		}
		timer.Reset(s.opts.SyncInterval)
	}
}

// finish records how a fold ended and lets appends go on that waited for it.
func (k *keeper) finish(s *Store, err error) {
	if err != nil {
		s.opts.Logger.Error("index: fold failed", "error", err)
	}
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
	k.roomier.Broadcast()
}

// accepted returns the position behind the newest commit.
func (s *Store) accepted() index.Position {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	return s.position()
}

// position is accepted for a caller that holds commitMu.
func (s *Store) position() index.Position { return indexPosition(s.end, s.lastTime) }

// foldTo folds the tail up to p, unless that was done. The log makes it durable first, and LOCK says so: the index must not know events
// that a power cut can take back.
func (s *Store) foldTo(p index.Position) error {
	if err := s.settle(p.Seq, Durable); err != nil {
		return err
	}
	s.kvMu.Lock()
	defer s.kvMu.Unlock()
	x := s.index
	if p.Seq <= x.Position().Seq {
		return nil
	}
	err := x.Fold(p)
	if errors.Is(err, index.ErrDamaged) {
		if err = s.replaceFolded(err); err == nil {
			err = x.Fold(p)
		}
	}
	s.keeper.folded.Store(uint64(x.Position().Seq))
	s.changed.fire()
	return err
}

// rest lets go of memory that is of no use while nothing is appended.
func (s *Store) rest() {
	s.kvMu.Lock()
	defer s.kvMu.Unlock()
	s.index.Trim()
}
