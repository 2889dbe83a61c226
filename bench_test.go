package batpak

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// benchPayload is 256 B of which each value is different.
func benchPayload(i int) []byte {
	b := make([]byte, 256)
	for j := 0; j < len(b); j += 8 {
		binary.LittleEndian.PutUint64(b[j:], uint64(i*31+j)*0x9E3779B97F4A7C15)
	}
	return b
}

// benchProposal is of one of 10 000 entities.
func benchProposal(i int) Proposal {
	h := uint64(i) * 0x9E3779B97F4A7C15 >> 40
	n := h % 10_000 * (h % 97) / 97 // some entities have many more events than others
	return Proposal{At: At(fmt.Sprintf("entity:%05d", n), fmt.Sprintf("scope:%02d", n%100)), Kind: 0xF001, Data: benchPayload(i)}
}

// benchProposals are made before the clock runs.
func benchProposals(n int) []Proposal {
	ps := make([]Proposal, n)
	for i := range ps {
		ps[i] = benchProposal(i)
	}
	return ps
}

// BenchmarkAppend appends one event of 256 B a time. When an iteration ends its event is written or durable, as the name
// says; the sync dominates durable appends of one caller, hashing those that are written.
func BenchmarkAppend(b *testing.B) {
	ps := benchProposals(1 << 16)
	for _, c := range []struct {
		durability Durability
		callers    int
	}{{Written, 1}, {Written, 64}, {Durable, 1}, {Durable, 64}, {Durable, 256}} {
		b.Run(fmt.Sprintf("%s/callers=%d", c.durability, c.callers), func(b *testing.B) {
			s := openTest(b, b.TempDir(), &Options{Durability: c.durability})
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for caller := range c.callers {
				wg.Go(func() {
					for i := caller; i < b.N; i += c.callers {
						if _, err := s.Commit(ps[i%len(ps)]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkBatch appends 100 events of 256 B in one durable commit.
func BenchmarkBatch(b *testing.B) {
	ps := benchProposals(1 << 16)
	s := openTest(b, b.TempDir(), nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + 100) % (len(ps) - 100) {
		if _, err := s.Commit(ps[i : i+100]...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// fillBench makes a store of n events with written commits of 1000, and closes it.
func fillBench(b *testing.B, dir string, n int) {
	b.Helper()
	s := openTest(b, dir, &Options{Durability: Written})
	for i := 0; i < n; i += 1000 {
		ps := make([]Proposal, 1000)
		for j := range ps {
			ps[j] = benchProposal(i + j)
		}
		if _, err := s.Commit(ps...); err != nil {
			b.Fatal(err)
		}
	}
	closeTest(b, s)
}

// openAndMeasure opens and closes a store, and prints how long opening took and the memory that was resident then.
func openAndMeasure(dir string) error {
	begin := time.Now()
	s, err := Open(dir, nil)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	resident := 0
	if _, after, ok := strings.Cut(string(status), "VmRSS:"); ok {
		fmt.Sscan(after, &resident)
	}
	fmt.Println(took.Microseconds(), resident)
	return s.Close()
}

// BenchmarkOpen opens a cleanly closed store in a process of its own. It reports the time of Open and the resident memory
// after it; ns/op is that of the process, mostly its start.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			fillBench(b, dir, n)
			var sumMicros, sumKiB int
			for b.Loop() {
				c := exec.Command(os.Args[0])
				c.Env = append(os.Environ(), roleVariable+"=measure "+dir)
				out, err := c.Output()
				var micros, kib int
				if _, scanErr := fmt.Sscan(string(out), &micros, &kib); err != nil || scanErr != nil {
					b.Fatal(string(out), err)
				}
				sumMicros, sumKiB = sumMicros+micros, sumKiB+kib
			}
			b.ReportMetric(float64(sumMicros)/float64(b.N)/1000, "ms/open")
			b.ReportMetric(float64(sumKiB)/float64(b.N)/1024, "MiB")
		})
	}
}

// BenchmarkRead reads events of 256 B from a store of 200 000, verified, warm, in one goroutine.
func BenchmarkRead(b *testing.B) {
	const n = 200_000
	dir := b.TempDir()
	fillBench(b, dir, n)
	s := openTest(b, dir, nil)
	ids := make([]ID, 0, n)
	for e, err := range s.Query(Query{}) {
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	perEvent := func(b *testing.B, events int) {
		b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	}
	b.Run("id", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(ids[i*7919%n]); err != nil {
				b.Fatal(err)
			}
		}
		perEvent(b, b.N)
	})
	query := func(name string, of func(i int) Query) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			events := 0
			for i := 0; b.Loop(); i++ {
				for _, err := range s.Query(of(i)) {
					if err != nil {
						b.Fatal(err)
					}
					events++
				}
			}
			perEvent(b, events)
		})
	}
	query("stream", func(i int) Query { return Query{Entity: benchProposal(i).At.Entity} })
	query("scope", func(i int) Query { return Query{Scope: fmt.Sprintf("scope:%02d", i%100), Limit: 1000} })
	query("scan", func(int) Query { return Query{} })
}
