package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// DefaultPollInterval is how often a [Reader] that follows looks for new events.
const DefaultPollInterval = 10 * time.Millisecond

// ReaderOptions of [OpenReader]. Nil and the zero value mean the defaults.
type ReaderOptions struct {
	// PollInterval is how often Follow looks for new events. 0 means DefaultPollInterval.
	PollInterval time.Duration
}

// A Reader reads a store that another process may be writing to. It reads the segments alone and keeps an index of its own in
// memory, which it builds when it is opened and extends as it goes: opening takes time, and memory grows, in proportion to
// the log. It sees what the writer lets be seen: with Durable visibility what is durable, with Written what is written.
// Each reading method first looks for new events. Every method may be called from any goroutine.
type Reader struct {
	view
	opts ReaderOptions
	root *os.Root
	lock vfs.File // nil if there is none: a copy of a store
	db   kv.DB

	mu      sync.Mutex // guards what follows: one at a time looks for new events
	replay  replay
	bounded bool // there is a watermark to keep to
}

// OpenReader opens the store in dir for reading. It takes no lock and changes nothing. A directory without a store gives
// [fs.ErrNotExist]; a log that is damaged a [*CorruptError].
func OpenReader(dir string, opts *ReaderOptions) (*Reader, error) {
	r := &Reader{}
	if opts != nil {
		r.opts = *opts
	}
	setDefault(&r.opts.PollInterval, DefaultPollInterval)
	if r.opts.PollInterval < 0 {
		return nil, fmt.Errorf("reader options: PollInterval %v is negative: %w", r.opts.PollInterval, ErrInvalid)
	}
	var err error
	if r.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if err := r.open(vfs.OS(r.root)); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *Reader) open(f vfs.FS) error {
	id, _, err := loadIdentity(f, false, 0)
	if err != nil {
		return err
	}
	r.store, r.created, r.processors = id.store, id.created, runtime.GOMAXPROCS(0)
	if r.lock, err = f.OpenRead(lockFile); err != nil {
		r.lock = nil
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if r.segments, err = log.OpenSegments(f, r.store); err != nil {
		return err
	}
	r.db = kv.NewMemory()
	if r.index, err = index.Open(r.db, r.store); err != nil {
		return err
	}
	origin := chain.Origin(r.store)
	r.replay = replay{store: r.store, index: r.index, link: origin, at: log.Position{Link: origin}, foldEvents: defaultFoldEvents}
	r.view.refresh, r.view.poll = r.Refresh, r.wait
	return r.Refresh()
}

// Refresh looks for events that the writer has let be seen since. The other methods call it by themselves.
func (r *Reader) Refresh() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return ErrClosed
	}
	var w watermarks
	ok := false
	if r.lock != nil {
		var err error
		if w, ok, err = readWatermarks(r.lock, r.store); err != nil {
			return err
		}
	}
	limit := w.visible
	switch {
	case !ok && r.bounded, ok && limit <= r.replay.at.Seq:
		return nil // nothing that may be seen, as far as can be known
	case !ok || limit == noBound:
		limit = 0
	}
	r.bounded, r.replay.limit = ok, limit
	err := r.replay.scan(r.segments)
	r.raiseVisible(r.replay.at.Seq)
	return err
}

// wait returns when it may be worth while to refresh.
func (r *Reader) wait(ctx context.Context) error {
	t := time.NewTimer(r.opts.PollInterval)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Verify is [Store.Verify] of what the reader sees.
func (r *Reader) Verify(ctx context.Context, opts *VerifyOptions) (Report, error) {
	if err := r.ready(); err != nil {
		return Report{}, err
	}
	r.mu.Lock()
	until := r.replay.at
	r.mu.Unlock()
	if until.Segment == 0 { // it sees no event yet
		until.Segment, until.Offset = 1, log.HeaderBytes
	}
	return verify(ctx, opts, &verifier{store: r.store, segments: r.segments, until: until, index: &r.view})
}

// Stats returns figures about the store, as far as a reader knows them: of the frontier, Visible only.
func (r *Reader) Stats() (Stats, error) {
	if err := r.ready(); err != nil {
		return Stats{}, err
	}
	st := Stats{Store: r.store, Created: r.created, Events: r.Visible(), Frontier: Frontier{Visible: r.Visible()}}
	var err error
	if st.Index, err = r.index.Stats(); err != nil {
		return st, err
	}
	st.Segments, st.LogBytes, err = r.segments.Size()
	return st, err
}

// Close releases the files. A second Close returns [ErrClosed].
func (r *Reader) Close() error {
	if r.closed.Swap(true) {
		return ErrClosed
	}
	r.changed.fire()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.close()
}

func (r *Reader) close() error {
	var err error
	if r.segments != nil {
		r.segments.Close()
	}
	if r.db != nil {
		err = r.db.Close()
	}
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	return errors.Join(err, r.root.Close())
}
