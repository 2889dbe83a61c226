package log

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// DefaultSegmentBytes is the length at which a segment is sealed, unless Options say otherwise. The bound is soft: a
// commit is never split, so one that is longer has a segment of its own.
const DefaultSegmentBytes = 64 << 20

// MaxSegmentBytes bounds Options.SegmentBytes, so that with the longest commit an offset still fits 32 bits.
const MaxSegmentBytes = 2 << 30

// Options of a log.
type Options struct {
	SegmentBytes int64      // 0 means DefaultSegmentBytes
	Genesis      event.Hash // the link before the first commit
	Witness      event.Seq  // something outside the log knows that all at or below was durable
	Progress     func()     // called after Written or Durable moved, before those who wait for it return, and after a failure; may be nil
}

// A Log appends commits to the active segment. Append, Flush, Sync and the watermarks may be used from any goroutine;
// the caller of Append sees to it that commits come in order.
type Log struct {
	*Segments
	opts Options

	// mu guards what is appended but not written. Locks are taken in the order lead, write, fill, mu.
	mu      sync.Mutex
	buf     []byte     // encoded commits
	spare   []byte     // the other buffer, empty
	segment event.Seq  // the first seq of the active segment
	offset  int64      // where buf begins in it
	next    event.Seq  // of the next event
	link    event.Hash // of the newest commit
	err     error      // the first failure to write or sync

	writeMu sync.Mutex // held by the one who writes; guards active
	active  vfs.File
	written atomic.Uint64

	leadMu  sync.Mutex // held by the one who syncs; guards shared
	shared  bool       // the round before was for more than its leader
	roundMu sync.Mutex // guards round
	round   *round     // that can be joined; nil if there is none
	unused  *round     // one that nobody had joined
	durable atomic.Uint64

	fill filler
}

// Append adds c behind what was appended before; c.First must be the seq after it. It returns where the commit will be.
// Nothing is written yet unless the segment was full: then everything before c is made durable and a segment begun.
func (l *Log) Append(c *Commit) (segment event.Seq, offset int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, 0, l.err
	}
	if c.First != l.next || c.Count < 1 || c.Durable >= c.First || c.Bytes() > MaxCommitBytes {
		panic(fmt.Sprintf("log: commit of %d events from %d on, %d bytes, durable %d, appended where event %d is next", c.Count, c.First, c.Bytes(), c.Durable, l.next))
	}
	if end := l.offset + int64(len(l.buf)); end > segmentHeaderBytes && end+c.Bytes() > l.opts.SegmentBytes {
		if err := l.roll(); err != nil {
			return 0, 0, err
		}
	}
	segment, offset = l.segment, l.offset+int64(len(l.buf))
	l.buf = appendCommit(l.buf, c)
	l.next = c.Last() + 1
	l.link = c.Link
	return segment, offset, nil
}

// Written returns the seq up to which the OS has everything: it survives the end of the process.
func (l *Log) Written() event.Seq { return event.Seq(l.written.Load()) }

// Durable returns the seq up to which everything survives a power cut.
func (l *Log) Durable() event.Seq { return event.Seq(l.durable.Load()) }

// Err returns the failure that broke the log, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Flush hands to the OS everything appended before the call.
func (l *Log) Flush() error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	return l.flush(l.storeEach)
}

// flush writes the buffer. The caller holds writeMu.
func (l *Log) flush(write func(buf []byte, offset int64, zeroed bool) (int, error)) error {
	l.mu.Lock()
	buf, offset, last, err := l.buf, l.offset, l.next-1, l.err
	if err != nil || len(buf) == 0 {
		l.mu.Unlock()
		return err
	}
	l.buf, l.spare, l.offset = l.spare, nil, offset+int64(len(buf))
	l.mu.Unlock()

	n, err := write(buf, offset, l.fill.claim(offset+int64(len(buf))))
	if err == nil && n < len(buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return l.poison(err)
	}
	l.written.Store(uint64(last))
	l.mu.Lock()
	if cap(buf) <= maxSpareBytes {
		l.spare = buf[:0]
	}
	l.mu.Unlock()
	l.progress()
	return nil
}

// writeAll writes commits that a sync is to follow.
func (l *Log) writeAll(buf []byte, offset int64, _ bool) (int, error) {
	return l.active.WriteAt(buf, offset)
}

// maxStoreBytes is the most that is written through memory at a time: each page of the file costs more that way than a call of the
// system does for it, and a short commit is a tenth of a page.
const maxStoreBytes = 1 << 10

// storeEach writes commits that no sync follows soon. Short ones go to memory, each after the one before: if the process ends
// meanwhile, no commit is there without those before it.
func (l *Log) storeEach(buf []byte, offset int64, zeroed bool) (n int, err error) {
	if !zeroed || len(buf) > maxStoreBytes {
		return l.active.WriteAt(buf, offset)
	}
	for n < len(buf) && err == nil {
		var m int
		m, err = l.active.Store(buf[n:n+encodedBytes(buf[n:])], offset+int64(n))
		n += m
	}
	return n, err
}

// maxSpareBytes bounds the buffers kept for reuse.
const maxSpareBytes = 4 << 20

// A round is a sync that callers wait for together.
type round struct {
	over   chan struct{} // closed when it is, if somebody has joined the leader
	joined bool          // guarded by roundMu
	err    error
}

// Sync makes everything up to through, as far as it was appended, durable. Of the callers who wait the first of a round does
// it for all who have joined that; each waits once.
func (l *Log) Sync(through event.Seq) error {
	l.mu.Lock()
	last, err := l.next-1, l.err
	l.mu.Unlock()
	if err != nil && through > l.Durable() {
		return err
	}
	through = min(through, last)
	if l.Durable() >= through {
		return nil
	}
	if err = l.together(); l.Durable() >= through {
		return nil
	}
	return err
}

// together leads a round or waits for the one that can be joined.
func (l *Log) together() error {
	l.roundMu.Lock()
	r := l.round
	if r != nil {
		r.joined = true
		l.roundMu.Unlock()
		<-r.over
		return r.err
	}
	if r = l.unused; r == nil {
		r = &round{over: make(chan struct{})}
	}
	l.round, l.unused = r, nil
	l.roundMu.Unlock()
	err := l.lead(r)
	l.roundMu.Lock()
	defer l.roundMu.Unlock()
	if r.joined {
		r.err = err
		close(r.over)
	} else {
		l.unused = r
	}
	return err
}

// lead writes and syncs on behalf of a round, when the one before is over.
func (l *Log) lead(r *round) error {
	alone := l.leadMu.TryLock()
	if !alone {
		l.leadMu.Lock()
	}
	defer l.leadMu.Unlock()
	if !alone || l.shared {
		runtime.Gosched() // lets those who were just woken append first: a larger group costs the same sync
	}
	l.roundMu.Lock()
	l.round = nil // who comes from now on waits for the next
	l.shared = r.joined
	l.roundMu.Unlock()
	l.writeMu.Lock()
	err := l.flush(l.writeAll)
	file, written := l.active, l.written.Load()
	l.writeMu.Unlock()
	if err != nil || uint64(l.Durable()) >= written {
		return err
	}
	if err := file.Sync(); err != nil {
		return l.poison(err)
	}
	l.raiseDurable(written) // here the commits up to written become true
	l.progress()
	return nil
}

// raiseDurable never lowers: a roll may have synced more than a leader that started before it.
func (l *Log) raiseDurable(to uint64) {
	for {
		now := l.durable.Load()
		if now >= to || l.durable.CompareAndSwap(now, to) {
			return
		}
	}
}

func (l *Log) progress() {
	if l.opts.Progress != nil {
		l.opts.Progress()
	}
}

// poison remembers the first failure, lets those know who wait for progress, and returns it.
func (l *Log) poison(err error) error {
	l.mu.Lock()
	if l.err == nil {
		l.err = fmt.Errorf("log: %w", err)
	}
	err = l.err
	l.mu.Unlock()
	l.progress()
	return err
}

// roll seals the active segment and begins the next. The caller holds mu, which roll gives up while it works; since
// appends come one at a time, nothing is added meanwhile.
func (l *Log) roll() error {
	last, link := l.next-1, l.link
	l.mu.Unlock()
	defer l.mu.Lock()
	if err := l.Sync(last); err != nil {
		return err
	}
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if err := l.rollTo(last+1, link); err != nil {
		return l.poison(err)
	}
	return nil
}

// rollTo cuts off the zeros of the active segment, durably, before the next one exists: a segment that is not the newest
// is complete. The caller holds writeMu and everything is durable.
func (l *Log) rollTo(first event.Seq, link event.Hash) error {
	if err := l.trim(); err != nil {
		return err
	}
	file, err := l.createSegment(segmentHeader{l.store, first, link})
	if err != nil {
		return err
	}
	old := l.active
	l.add(first)
	return errors.Join(l.use(file, first, segmentHeaderBytes, segmentHeaderBytes), old.Close())
}

// trim ends the active segment with its last commit.
func (l *Log) trim() error {
	zeroed := l.fill.rest()
	l.mu.Lock()
	end := l.offset
	l.mu.Unlock()
	if zeroed == end {
		return nil
	}
	if err := l.active.Truncate(end); err != nil {
		return err
	}
	return l.active.Sync()
}

// use makes file the active segment, with commits up to offset and zeros up to zeroed, and sets the filler to it.
func (l *Log) use(file vfs.File, first event.Seq, offset, zeroed int64) error {
	l.active = file
	l.mu.Lock()
	l.segment, l.offset = first, offset
	l.mu.Unlock()
	var own vfs.File
	err := l.sparing(func() (err error) {
		own, err = l.fs.Open(SegmentName(first))
		return err
	})
	if err != nil {
		return err
	}
	l.fill.use(own, offset, zeroed)
	return nil
}

// Close makes everything durable, cuts off the zeros and closes the files. A broken log is only closed, and its error
// returned.
func (l *Log) Close() error {
	l.mu.Lock()
	last := l.next - 1
	l.mu.Unlock()
	err := l.Sync(last)
	if err == nil {
		err = l.Err()
	}
	l.fill.stop()
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if err == nil {
		err = l.trim()
	}
	l.fill.rest()
	err = errors.Join(err, l.active.Close())
	l.Segments.Close()
	return err
}
