package batpak

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/kv"
)

// TestIdentityFile damages STORE, or takes it away. It is never made anew beside a log, and never believed when a byte of it
// has changed.
func TestIdentityFile(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "store")
	s := openTest(t, dir, nil)
	mustCommit(t, s, raw("a", ""))
	id := s.StoreID()
	closeTest(t, s)
	whole := readFiles(t, dir)
	refused := func(what string, f files, want error) {
		t.Helper()
		f.write(t, dir)
		s, err := Open(dir, nil)
		if err == nil {
			err = errors.Join(errors.New("it opens"), s.Close())
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, identityFile)); !bytes.Equal(b, f[identityFile]) {
			t.Errorf("%s: STORE has changed", what)
		}
	}
	try := func(what string, b []byte, want error) {
		t.Helper()
		f := maps.Clone(whole)
		f[identityFile] = b
		refused(what, f, want)
	}
	b := whole[identityFile]
	for i := range b {
		changed, want := bytes.Clone(b), ErrCorrupt
		changed[i] ^= 1 << (i % 8)
		if i >= 8 && i < 12 {
			changed[i], want = 0x70, ErrFutureFormat
		}
		try(fmt.Sprintf("byte %d", i), changed, want)
	}
	older := bytes.Clone(b)
	binary.LittleEndian.PutUint32(older[8:], 0)
	try("format 0", older, ErrCorrupt)
	try("empty", []byte{}, ErrCorrupt)
	try("a byte short", b[:len(b)-1], ErrCorrupt)
	try("a byte long", append(bytes.Clone(b), 0), ErrCorrupt)
	for _, gone := range [][]string{{}, {indexFile}, {firstSegment}, {indexFile, lockFile}} {
		f := maps.Clone(whole)
		for _, name := range append(gone, identityFile) {
			delete(f, name)
		}
		refused(fmt.Sprintf("missing, with %q", gone), f, ErrCorrupt)
	}

	whole.write(t, dir)
	s = openTest(t, dir, nil)
	if s.StoreID() != id || s.Visible() != 1 {
		t.Errorf("store %v with %d events", s.StoreID(), s.Visible())
	}
}

// TestLockRemoved removes LOCK from an open store. Another writer is still refused.
func TestLockRemoved(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{MemoryIndex: true})
	mustCommit(t, s, raw("a", ""))
	if err := os.Remove(filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir, &Options{MemoryIndex: true})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("a second writer gets %v", err)
	}
	if err == nil {
		closeTest(t, second)
	}
}

// TestIfNoneUnderTheLock holds one commit between its condition and its append, where the clock is read, while others with
// the same condition come. Only one of them wins.
func TestIfNoneUnderTheLock(t *testing.T) {
	var held atomic.Bool
	var started atomic.Int64
	const callers = 8
	now := func() time.Time {
		if held.CompareAndSwap(true, false) { // as long as the others could need to get where they can get
			for i := 0; i < 20_000 || started.Load() < callers && i < 10_000_000; i++ {
				runtime.Gosched()
			}
		}
		return time.UnixMicro(1_700_000_000_000_000)
	}
	s := openTest(t, memoryDir(t), &Options{Durability: Written, Clock: now})
	for round := range Seq(5) {
		var won atomic.Int64
		var wg sync.WaitGroup
		started.Store(0)
		held.Store(true)
		for range callers {
			wg.Go(func() {
				started.Add(1)
				_, err := s.Commit(with(raw("decision", ""), func(p *Proposal) { p.IfNone = &IfNone{Query: Query{Entity: "decision"}, After: round} }))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || s.Visible() != round+1 {
			t.Fatalf("round %d: %d callers won", round, won.Load())
		}
	}
}

// TestHeadsForgotten fills the cache of heads several times over, with a stream that is appended to now and then. What it
// knows of that stream is the newest, and streams that it does not know have no event where it says that they have none.
func TestHeadsForgotten(t *testing.T) {
	h := heads{most: 300}
	lane, known := Lane(0), 0
	end := Seq(0)
	newest := map[event.Stream]Seq{}
	place := func(s event.Stream) *head {
		end++
		newest[s] = end
		at := h.place(s, end)
		at.seq = end
		if len(h.of) > h.most {
			t.Fatalf("%d heads", len(h.of))
		}
		return at
	}
	stream := event.Stream{Entity: "a"}
	for clock := Clock(1); clock < 20; clock++ {
		at := place(stream)
		*at = head{end, clock, Hash{byte(clock)}, nil}
		want := *at
		if got := h.get(stream); got == nil || *got != want {
			t.Fatalf("the head is %+v, not %+v", got, want)
		}
		for range int(clock%4)*h.most/3 + 1 {
			lane++
			place(event.Stream{Entity: "b", Lane: lane})
		}
		for s, seq := range newest {
			if h.of[s] == nil && seq > h.unknown(end) {
				t.Fatalf("of %d events %d is of %v, which is unknown, and %d is said to be the last of those", end, seq, s, h.unknown(end))
			}
		}
		if clock%2 == 0 {
			continue // nobody asks: the next place is where it first comes up again
		}
		switch got := h.get(stream); {
		case got != nil && *got != want:
			t.Fatalf("the head is %+v, not %+v", got, want)
		case got != nil:
			known++
		}
	}
	if known < 4 {
		t.Errorf("the head was known %d times", known)
	}
	if h.forgotten == 0 || h.forgotten == end {
		t.Errorf("of %d events those after %d are of streams that are known", end, h.forgotten)
	}
}

// A stuckDB is an index file that cannot be written any more.
type stuckDB struct {
	kv.DB
	stuck *atomic.Bool
}

var errStuck = errors.New("the index is stuck")

func (d stuckDB) Update(fn func(kv.Tx) error) error {
	if d.stuck.Load() {
		return errStuck
	}
	return d.DB.Update(fn)
}

// TestTailIsBounded appends while the index cannot be written: when the tail is full, appends fail, and once the index can be
// written they go on.
func TestTailIsBounded(t *testing.T) {
	var stuck atomic.Bool
	opts := Options{Durability: Written, SyncInterval: time.Hour, fs: crashfs.New(), openIndex: func() (kv.DB, error) { return stuckDB{kv.NewMemory(), &stuck}, nil }}
	s := openTest(t, "disk", &opts)
	stuck.Store(true)
	batch := make([]Proposal, MaxBatch)
	for i := range batch {
		batch[i] = raw("a", "")
	}
	var err error
	commits := 0
	for ; err == nil && commits < 12; commits++ {
		_, err = s.Commit(batch...)
	}
	if count, _ := s.index.Tail(); !errors.Is(err, errStuck) || count < maxTailEvents || count > maxTailEvents+MaxBatch {
		t.Errorf("%d commits, then %v; %d events in the tail", commits, err, count)
	}
	stuck.Store(false)
	if err := s.foldTo(s.accepted()); err != nil {
		t.Fatal(err)
	}
	s.keeper.finish(s, nil)
	mustCommit(t, s, raw("a", ""))
}

// TestWrittenIsSynced appends an event that nobody waits for: it becomes durable by itself.
func TestWrittenIsSynced(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{Durability: Written, SyncInterval: time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a fold syncs too, every two seconds
	defer cancel()
	for range 20 {
		r := mustCommit(t, s, raw("a", ""))[0]
		if err := s.Wait(ctx, WatermarkDurable, r.Seq); err != nil {
			t.Fatalf("event %d, written, is not made durable: %v", r.Seq, err)
		}
	}
}
