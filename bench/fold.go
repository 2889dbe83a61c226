package main

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/batpak/batpak"
	bevent "github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/kv"
)

// foldEvents is how many events a busy store folds at a time.
const foldEvents = 32 << 10

// foldWork builds an index of c.Size events by synced folds, outside a store, and reports the processor time of folding
// alone and the length of the file.
func foldWork(c *child) error {
	root, err := os.OpenRoot(c.storeDir())
	if err != nil {
		return err
	}
	defer root.Close()
	db, err := kv.OpenBolt(root, derivedFile, kv.LargePages)
	if err != nil {
		return err
	}
	x, err := index.Open(db, batpak.StoreID{1})
	if err != nil {
		return err
	}
	c.useWorkload()
	f := folding{w: c.w, x: x, clocks: make([]batpak.Clock, c.Entities), r: rand.New(rand.NewPCG(c.Seed, 0))}
	var took, cpu, longest time.Duration
	start := time.Now()
	for f.seq < batpak.Seq(c.Size) && time.Since(start) < c.Limit {
		entries := f.entries(min(foldEvents, c.Size-int(f.seq)))
		for i := range entries {
			x.Append(&entries[i], nil)
		}
		before, begin := cpuTime(), time.Now()
		if err := x.Fold(index.Position{Seq: f.seq}); err != nil {
			return err
		}
		d := time.Since(begin)
		took, cpu, longest = took+d, cpu+cpuTime()-before, max(longest, d)
	}
	c.measured(int(f.seq), took, cpu)
	c.r.Longest = milliseconds(longest)
	if err := db.Close(); err != nil {
		return err
	}
	c.disk(int(f.seq))
	return nil
}

// A folding makes the entries of an index from the workload.
type folding struct {
	w      *workload
	x      *index.Index
	seq    batpak.Seq
	clocks []batpak.Clock // by rank
	r      *rand.Rand
}

// entries makes the next n.
func (f *folding) entries(n int) []index.Entry {
	entries := make([]index.Entry, n)
	for i := range entries {
		e := &entries[i]
		d := f.w.draw(uint64(f.seq))
		rank := f.w.rank(d)
		f.seq++
		f.clocks[rank]++
		h := &e.Header
		h.Seq, h.Clock, h.Time = f.seq, f.clocks[rank], batpak.Timestamp(f.seq)*10
		h.Entity, h.Scope, h.Kind = f.w.name(rank), f.w.scopes[f.w.scope(d)], batpak.Kind(firstKind+f.w.kind(d))
		h.ID = bevent.NewID(h.Time, h.Seq, 0)
		h.Correlation = h.ID
		e.Offset, e.Length = uint32(f.seq%100_000*480), 480
		binary.LittleEndian.PutUint64(e.Hash[:], f.r.Uint64())
	}
	return entries
}

// Of floorWork: what one durable append of a record of 256 B comes to, and the segment.
const (
	floorRecord  = 480
	floorSegment = 64 << 20
)

// floorWork writes records into a zero-filled file with an fdatasync after each: no store that syncs an append can be
// faster.
func floorWork(c *child) error {
	f, err := os.Create(filepath.Join(c.storeDir(), "segment"))
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < floorSegment; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	record := make([]byte, floorRecord)
	for i := range record {
		record[i] = byte(i) | 1
	}
	var h histogram
	n, start := 0, time.Now()
	for begin := start; begin.Sub(start) < c.Limit && (n+1)*floorRecord < floorSegment; n++ {
		if _, err := f.WriteAt(record, int64(n*floorRecord)); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		now := time.Now()
		h.add(now.Sub(begin))
		begin = now
	}
	c.measured(n, time.Since(start), 0)
	c.latencies(&h)
	return nil
}

// harnessWork makes and checks events, and does nothing else: what all the figures have in them.
func harnessWork(c *child) error {
	c.useWorkload()
	var e event
	n, start, cpu := uint64(0), time.Now(), cpuTime()
	for time.Since(start) < c.Limit {
		for range 1000 {
			c.w.fill(&e, n)
			if err := c.w.check(&e); err != nil {
				return err
			}
			n++
		}
	}
	c.measured(int(n), time.Since(start), cpuTime()-cpu)
	return nil
}
