package batpak

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
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
// says; the sync dominates durable appends of one caller, hashing and write(2) those that are written.
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
