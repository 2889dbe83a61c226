package batpak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// A Store is an open store that this process writes to. Every method may be called from any goroutine; after Close they
// return [ErrClosed].
type Store struct {
	view
	opts  Options
	root  *os.Root
	fs    vfs.FS
	lock  vfs.File
	lock2 vfs.File // STORE, locked too: somebody may remove LOCK, and with it the lock
	log   *log.Log

	openedMu sync.Mutex // guards what the report says of the index, which may change while the store is open
	opened   OpenReport

	// commitMu is held while the order of events is decided. What follows it is guarded by it.
	commitMu   sync.Mutex
	heads      heads
	end        log.Position          // behind the newest commit appended
	lastTime   event.Timestamp       // of the newest event appended
	slab       []index.Entry         // for the entries of the next events
	records    []byte                // scratch, reused by each commit
	batchHeads map[event.Stream]head // scratch, empty between commits
	hashes     []byte                // scratch
	header     []byte                // scratch

	announceMu sync.Mutex    // guards LOCK's watermarks, and
	lockBytes  [64]byte      // scratch to encode them
	announced  atomic.Uint64 // the durable one of them: nobody is told of more

	keeper keeper
	kvMu   sync.Mutex // guards db, and a rebuild against another
	db     kv.DB
	state  state
}

// Close waits for appends under way, makes everything durable, brings the index up to date, and releases the directory.
// After a failure to write it releases the directory and returns that failure; what was acknowledged as durable is there
// at the next Open. A second Close returns [ErrClosed].
func (s *Store) Close() error {
	if s.inGate() {
		return ErrInGate
	}
	if s.closed.Swap(true) {
		return ErrClosed
	}
	s.changed.fire()
	s.keeper.stop()
	s.commitMu.Lock() // no append is between its order and the log; those to come see that the store is closed
	defer s.commitMu.Unlock()
	err := s.log.Sync(s.end.Seq)
	if err == nil {
		err = s.foldTo(s.position())
	}
	err = errors.Join(err, s.log.Close())
	if err == nil {
		err = s.announce(s.end.Seq, s.end.Seq)
	}
	s.kvMu.Lock() // a rebuild under way ends first
	defer s.kvMu.Unlock()
	return errors.Join(err, s.db.Close(), s.closeState(), s.lock2.Close(), s.lock.Close(), s.closeRoot())
}

// Sync makes durable everything appended before the call.
func (s *Store) Sync() error {
	if err := s.ready(); err != nil {
		return err
	}
	s.commitMu.Lock()
	last := s.end.Seq
	s.commitMu.Unlock()
	return s.settle(last, Durable)
}

// A Frontier says how far the store has got. Everything at or below a watermark has reached it; Accepted ≥ Written ≥
// Durable ≥ Indexed and Accepted ≥ Visible at any moment.
type Frontier struct {
	Accepted Seq `json:"accepted"` // in order
	Written  Seq `json:"written"`  // with the OS: survives the end of the process
	Durable  Seq `json:"durable"`  // survives a power cut
	Visible  Seq `json:"visible"`  // to readers
	Indexed  Seq `json:"indexed"`  // in the index file
}

// Frontier returns the watermarks at one moment.
func (s *Store) Frontier() Frontier {
	// Lower ones are read first, so that none is seen ahead of a higher one.
	f := Frontier{Indexed: s.index.Position().Seq, Visible: s.Visible(), Durable: Seq(s.announced.Load())}
	f.Written = s.log.Written()
	if s.inGate() { // whose caller holds the lock
		f.Accepted = s.end.Seq
		return f
	}
	s.commitMu.Lock()
	f.Accepted = s.end.Seq
	s.commitMu.Unlock()
	return f
}

// A Watermark names one of the [Frontier].
type Watermark uint8

// The watermarks.
const (
	WatermarkWritten Watermark = iota + 1
	WatermarkDurable
	WatermarkVisible
	WatermarkIndexed
)

// String returns the name of the watermark in lower case.
func (w Watermark) String() string {
	switch w {
	case WatermarkWritten:
		return "written"
	case WatermarkDurable:
		return "durable"
	case WatermarkVisible:
		return "visible"
	case WatermarkIndexed:
		return "indexed"
	}
	return "unknown"
}

// of returns the value of the watermark in f.
func (w Watermark) of(f Frontier) (Seq, bool) {
	switch w {
	case WatermarkWritten:
		return f.Written, true
	case WatermarkDurable:
		return f.Durable, true
	case WatermarkVisible:
		return f.Visible, true
	case WatermarkIndexed:
		return f.Indexed, true
	}
	return 0, false
}

// Wait returns when the watermark has reached seq, which may lie in the future. It returns the cause of ctx if that is done
// first, [ErrClosed] if the store is closed, and the failure of the log once it has broken.
func (s *Store) Wait(ctx context.Context, w Watermark, seq Seq) error {
	if s.inGate() {
		return ErrInGate
	}
	for {
		changed := s.changed.wait()
		have, ok := w.of(s.Frontier())
		switch {
		case s.closed.Load():
			return ErrClosed
		case !ok:
			return fmt.Errorf("wait: watermark %d: %w", w, ErrInvalid)
		case have >= seq:
			return nil
		}
		if err := s.log.Err(); err != nil {
			return err
		}
		if err := s.await(ctx, changed); err != nil {
			return err
		}
	}
}

// await returns when changed is closed or ctx is done.
func (v *view) await(ctx context.Context, changed <-chan struct{}) error {
	if v.poll != nil {
		return v.poll(ctx)
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stats are figures about a store, for people and dashboards.
type Stats struct {
	Store      StoreID     `json:"store"`
	Created    Timestamp   `json:"created"`
	Events     Seq         `json:"events"` // visible
	Frontier   Frontier    `json:"frontier"`
	Segments   int         `json:"segments"`
	LogBytes   int64       `json:"log_bytes"`
	IndexBytes int64       `json:"index_bytes"`
	Index      index.Stats `json:"index"`
	Opened     OpenReport  `json:"opened"`

	Cursors []CursorStats `json:"cursors,omitempty"` // by name
}

// Stats returns figures about the store. It looks at each segment file.
func (s *Store) Stats() (Stats, error) {
	if err := s.ready(); err != nil {
		return Stats{}, err
	}
	st := Stats{Store: s.store, Created: s.created, Events: s.Visible(), Frontier: s.Frontier()}
	s.openedMu.Lock()
	st.Opened = s.opened
	s.openedMu.Unlock()
	var err error
	if st.Index, err = s.index.Stats(); err != nil {
		return st, err
	}
	if st.Cursors, err = s.cursorStats(); err != nil {
		return st, err
	}
	st.Segments, st.LogBytes, err = s.segments.Size()
	if err != nil {
		return st, err
	}
	s.kvMu.Lock()
	defer s.kvMu.Unlock()
	st.IndexBytes, err = s.db.SizeBytes()
	return st, err
}
