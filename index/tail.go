package index

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"unsafe"

	"github.com/batpak/batpak/event"
)

// tail holds the events that are not folded yet, in chunks that only grow at their end. A snapshot of it is a few words:
// what is at or below its last seq never changes again, so readers hold the lock for no longer than it takes to copy
// them, and the appender for no longer than a map entry or two take.
type tail struct {
	mu sync.Mutex
	snapshot
	bytes int64 // what the entries take, about
	heads map[event.Stream]*Head
	keys  map[string]event.Seq
}

// A Head is the newest event of a stream in the tail, or one that has left it. It changes with the next one.
type Head struct{ seq event.Seq }

// A snapshot is the events first to last, in memory. If there are none, first is last+1.
type snapshot struct {
	first, last event.Seq
	base        uint64 // number of chunks[0]
	chunks      []*chunk
	laned       int // how many are in other lanes than 0
}

// A chunk holds the events whose seq less one, divided by chunkLen, is its number.
type chunk [chunkLen]slot

const chunkLen = 1024

type slot struct {
	entry *Entry
	prev  event.Seq // of the same stream, if one is known, else 0; it may be folded
	head  *Head     // of the stream; changes, and is not for readers of snapshots
}

// An Entry is what the index must know of one event.
type Entry struct {
	Header event.Header
	Hash   event.Hash
	Offset uint32 // of the record from the start of its segment, in bytes
	Length uint32 // of the record, in bytes
}

// sizeBytes is about what e takes in memory.
func (e *Entry) sizeBytes() int64 {
	h := &e.Header
	n := int(unsafe.Sizeof(Entry{})+unsafe.Sizeof(slot{})) + len(h.Entity) + len(h.Scope) + len(h.Key) + len(h.Unknown)
	if h.Encryption != nil {
		n += int(unsafe.Sizeof(event.Encryption{})) + len(h.Encryption.KeyScope)
	}
	for name, value := range h.Extensions {
		n += len(name) + len(value)
	}
	return int64(n)
}

// start makes the tail empty, after the event at seq.
func (t *tail) start(seq event.Seq) {
	t.first, t.last, t.base = seq+1, seq, uint64(seq)/chunkLen
	t.heads = make(map[event.Stream]*Head)
	t.keys = make(map[string]event.Seq)
}

func (t *tail) append(e *Entry, h *Head) *Head {
	size := e.sizeBytes()
	t.mu.Lock()
	defer t.mu.Unlock()
	seq := e.Header.Seq
	if seq != t.last+1 {
		panic(fmt.Sprintf("index: event %d appended after %d", seq, t.last))
	}
	if n := uint64(seq-1)/chunkLen - t.base; n == uint64(len(t.chunks)) {
		t.chunks = append(t.chunks, new(chunk))
	}
	if h == nil {
		h = t.heads[e.Header.Stream()]
	}
	if h == nil {
		h = new(Head)
	}
	if h.seq < t.first {
		t.heads[e.Header.Stream()] = h
	}
	*t.slot(seq) = slot{e, h.seq, h}
	h.seq = seq
	t.last = seq
	t.bytes += size
	if e.Header.Lane != 0 {
		t.laned++
	}
	if e.Header.Key != "" {
		t.keys[e.Header.Key] = seq
	}
	return h
}

// dropBatch is how many events leave the tail at a time: the appender waits for no more.
const dropBatch = 16

// drop removes the events at or below through.
func (t *tail) drop(through event.Seq) {
	for done := false; !done; {
		done = t.dropSome(through)
	}
}

// dropSome removes the next few events and reports whether those through are all gone.
func (t *tail) dropSome(through event.Seq) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range dropBatch {
		if t.first > through {
			return true
		}
		slot := t.slot(t.first)
		e := slot.entry
		if slot.head.seq == t.first {
			delete(t.heads, e.Header.Stream())
		}
		if k := e.Header.Key; k != "" && t.keys[k] == t.first {
			delete(t.keys, k)
		}
		t.bytes -= e.sizeBytes()
		if e.Header.Lane != 0 {
			t.laned--
		}
		t.first++
		if uint64(t.first-1)%chunkLen == 0 {
			t.chunks = slices.Clone(t.chunks[1:]) // snapshots keep the array they have
			t.base++
		}
	}
	return false
}

// snap returns the tail as it is now.
func (t *tail) snap() snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot
}

// snapStream returns the tail as it is now, and the newest event of a stream in it or 0.
func (t *tail) snapStream(s event.Stream) (snapshot, event.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.heads[s]; h != nil {
		return t.snapshot, h.seq
	}
	return t.snapshot, 0
}

// snapKey returns the tail as it is now, and the newest event in it that has an idempotency key or 0.
func (t *tail) snapKey(key string) (snapshot, event.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot, t.keys[key]
}

func (t *tail) size() (count int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.last + 1 - t.first), t.bytes
}

// slot returns the place of the event at seq, which is one of s.
func (s *snapshot) slot(seq event.Seq) *slot {
	return &s.chunks[uint64(seq-1)/chunkLen-s.base][uint64(seq-1)%chunkLen]
}

func (s *snapshot) entry(seq event.Seq) *Entry { return s.slot(seq).entry }

// row returns the row of the event at seq, which is one of s.
func (s *snapshot) row(seq event.Seq) Row {
	e := s.entry(seq)
	return Row{Seq: seq, Offset: e.Offset, Length: e.Length, Check: [8]byte(e.Hash[:8]), Entry: e}
}

// prev returns the event before seq in the stream of seq, or 0 if that is not one of s.
func (s *snapshot) prev(seq event.Seq) event.Seq {
	if p := s.slot(seq).prev; p >= s.first {
		return p
	}
	return 0
}

// seek returns the first event of s at or after t, or s.last+1.
func (s *snapshot) seek(t event.Timestamp) event.Seq {
	n := sort.Search(int(s.last+1-s.first), func(i int) bool {
		return s.entry(s.first+event.Seq(i)).Header.Time >= t
	})
	return s.first + event.Seq(n)
}

// streamSeq looks for the event with clock c in the stream whose newest event in s is head, 0 if none is. It reports
// whether the answer is certain: then seq is that event or, 0, there is none. Otherwise, if there is one, it is folded.
func (s *snapshot) streamSeq(head event.Seq, c event.Clock) (seq event.Seq, certain bool) {
	if head == 0 {
		return 0, false
	}
	newest := s.entry(head).Header.Clock
	if c > newest {
		return 0, true
	}
	if uint64(newest-c) > uint64(s.last-s.first) {
		return 0, false // older than all of s
	}
	for seq = head; seq != 0; seq = s.prev(seq) {
		if s.entry(seq).Header.Clock == c {
			return seq, true
		}
	}
	return 0, false
}
