package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/kv"
)

// The benchmarks of this file are of batpak alone, for benchstat: the paths that every event takes, with what they
// allocate. Names stay the same, so that runs can be compared over time:
//
//	go test -run '^$' -bench . -benchmem -count 10 ./bench | tee new.txt
//	benchstat old.txt new.txt

// hotEvents is how many events the stores have that are read.
const hotEvents = 200_000

func hotWorkload() *workload { return newWorkload(1, usualPayload, usualEntities) }

func hotOpen(b *testing.B, dir string, o batpak.Options) *batpak.Store {
	b.Helper()
	s, err := batpak.Open(dir, &o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// proposals makes n of them before the clock runs.
func proposals(w *workload, n int) []batpak.Proposal {
	ps := make([]batpak.Proposal, n)
	for i := range ps {
		var e event
		w.fill(&e, uint64(i))
		ps[i] = batpak.Proposal{At: batpak.At(e.Entity, e.Scope), Kind: batpak.Kind(e.Kind), Data: e.Payload}
	}
	return ps
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkCommit appends to streams that are there. An iteration is one Commit: when it ends its events are written or durable, as the name says.
// Hashing dominates what is written, the sync what is durable with one caller.
func BenchmarkCommit(b *testing.B) {
	ps := proposals(hotWorkload(), 1<<16)
	for _, c := range []struct {
		durability     batpak.Durability
		callers, batch int
	}{
		{batpak.Written, 1, 1}, {batpak.Written, 1, 100}, {batpak.Durable, 1, 1}, {batpak.Durable, 64, 1}, {batpak.Durable, 256, 1}, {batpak.Durable, 1, 100},
	} {
		b.Run(fmt.Sprintf("durability=%s/callers=%d/batch=%d", c.durability, c.callers, c.batch), func(b *testing.B) {
			s := hotOpen(b, b.TempDir(), batpak.Options{Durability: c.durability})
			for i := 0; i < len(ps); i += 1000 { // the heads of all streams are in memory from then on
				if _, err := s.Commit(ps[i:min(i+1000, len(ps))]...); err != nil {
					b.Fatal(err)
				}
			}
			var next atomic.Int64
			b.ReportAllocs()
			b.SetBytes(int64(c.batch * usualPayload))
			b.ResetTimer()
			if c.callers == 1 {
				for i := 0; b.Loop(); i = (i + c.batch) % (len(ps) - c.batch) {
					if _, err := s.Commit(ps[i : i+c.batch]...); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				commitParallel(b, s, ps, c.callers, &next)
			}
			b.StopTimer()
			perSecond(b, b.N*c.batch)
		})
	}
}

// commitParallel has as many goroutines append as there are callers, b.N events in all.
func commitParallel(b *testing.B, s *batpak.Store, ps []batpak.Proposal, callers int, next *atomic.Int64) {
	done := make(chan error, callers)
	for range callers {
		go func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					done <- nil
					return
				}
				if _, err := s.Commit(ps[i%int64(len(ps))]); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// hotStore makes a closed store of hotEvents.
func hotStore(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	s, err := batpak.Open(dir, &batpak.Options{Durability: batpak.Written})
	if err != nil {
		b.Fatal(err)
	}
	ps := proposals(hotWorkload(), hotEvents)
	for i := 0; i < len(ps); i += 1000 {
		if _, err := s.Commit(ps[i : i+1000]...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkRead reads a closed and opened store of 200 000 events, verified, warm, in one goroutine. An iteration is an
// event for get and one query for the others.
func BenchmarkRead(b *testing.B) {
	s := hotOpen(b, hotStore(b), batpak.Options{})
	w := hotWorkload()
	ids := make([]batpak.ID, 0, hotEvents)
	for e, err := range s.Query(batpak.Query{}) {
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	b.Run("get", func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Get(ids[r.IntN(len(ids))]); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N)
	})
	for _, q := range []struct {
		name string
		of   func(i int) batpak.Query
	}{
		{"stream", func(i int) batpak.Query { return batpak.Query{Entity: w.name(1000 + i%9000)} }},
		{"scope", func(i int) batpak.Query { return batpak.Query{Scope: w.scopes[i%scopeCount], Limit: 1000} }},
		{"kind", func(i int) batpak.Query { return batpak.Query{Kind: batpak.Kind(firstKind + i%kindCount), Limit: 1000} }},
		{"scan", func(int) batpak.Query { return batpak.Query{} }},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			events := 0
			for i := 0; b.Loop(); i++ {
				for _, err := range s.Query(q.of(i)) {
					if err != nil {
						b.Fatal(err)
					}
					events++
				}
			}
			perSecond(b, events)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(events, 1)), "ns/event")
		})
	}
}

// BenchmarkOpen opens and closes a closed store of 200 000 events: with its index, and with one in memory, which is made
// from the log.
func BenchmarkOpen(b *testing.B) {
	dir := hotStore(b)
	for _, memory := range []bool{false, true} {
		b.Run(fmt.Sprintf("memory=%v/events=%d", memory, hotEvents), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := batpak.Open(dir, &batpak.Options{MemoryIndex: memory})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkFold folds 16 384 events an iteration into an index that grows, each fold durable when it ends.
func BenchmarkFold(b *testing.B) {
	for _, entities := range []int{usualEntities, manyEntities} {
		b.Run(fmt.Sprintf("entities=%d", entities), func(b *testing.B) {
			root, err := os.OpenRoot(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			db, err := kv.OpenBolt(root, derivedFile, kv.LargePages)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			x, err := index.Open(db, batpak.StoreID{1})
			if err != nil {
				b.Fatal(err)
			}
			f := folding{w: newWorkload(1, usualPayload, entities), x: x, clocks: make([]batpak.Clock, entities), r: rand.New(rand.NewPCG(1, 0))}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				entries := f.entries(foldEvents)
				for i := range entries {
					x.Append(&entries[i], nil)
				}
				b.StartTimer()
				if err := x.Fold(index.Position{Seq: f.seq}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*foldEvents), "ns/event")
		})
	}
}
