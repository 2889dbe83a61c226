package main

import (
	"fmt"
	"time"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/projection"
)

// A measured value is a typed payload that takes 256 B as CBOR.
type measured struct {
	Meter   string  `cbor:"meter"`
	Value   float64 `cbor:"value"`
	Total   uint64  `cbor:"total"`
	Quality int     `cbor:"quality"`
	Note    string  `cbor:"note"`
	Raw     []byte  `cbor:"raw"`
}

// EventType implements batpak.Payload.
func (measured) EventType() batpak.Type {
	return batpak.Type{Kind: 0x5001, Name: "measured", Version: 1}
}

const (
	readings    = 100_000
	meterEntity = "meter:1"
)

// A meterState is what the readings of a meter come to.
type meterState struct {
	Count   uint64
	Sum     float64
	Highest float64
	Total   uint64
	Bad     map[int]int
}

// meter folds them.
var meter = projection.MustNew(projection.Spec[meterState]{
	Name: "meter", Version: 1,
	Init: func() meterState { return meterState{Bad: map[int]int{}} },
	Handlers: []projection.Handler[meterState]{
		projection.On(func(m *meterState, _ batpak.Event, r measured) error {
			m.Count++
			m.Sum += r.Value
			m.Highest = max(m.Highest, r.Value)
			m.Total = r.Total
			if r.Quality > 0 {
				m.Bad[r.Quality]++
			}
			return nil
		}),
	},
})

// loadReadings appends n readings of the meter.
func loadReadings(s *batpak.Store, n int) error {
	ps := make([]batpak.Proposal, 0, loadBatch)
	for i := range n {
		r := measured{Meter: "meter 1, ground floor", Value: 1000.25 + float64(i%977), Total: uint64(i) << 20, Quality: i % 5, Raw: make([]byte, 150)}
		for j := range r.Raw {
			r.Raw[j] = byte(i >> (j % 24))
		}
		r.Note = fmt.Sprintf("reading %06d", i)
		ps = append(ps, batpak.Proposal{At: batpak.At(meterEntity, "house"), Payload: r})
		if len(ps) == cap(ps) || i == n-1 {
			if _, err := s.Commit(ps...); err != nil {
				return err
			}
			ps = ps[:0]
		}
	}
	return nil
}

// unkept is a store that keeps no snapshots.
type unkept struct{ projection.Source }

// readingsWork appends the readings and calls do, which handles so many of them, until the time is over.
func readingsWork(prepare, do func(*batpak.Store) (int, error)) func(*child) error {
	return func(c *child) error {
		s, b, err := c.opened()
		if err != nil {
			return err
		}
		if err = loadReadings(b, readings); err == nil {
			err = b.Sync()
		}
		if err == nil && prepare != nil {
			_, err = prepare(b)
		}
		if err != nil {
			return closing(s, err)
		}
		var h histogram
		n := 0
		err = c.profiled(func() error {
			start, cpu := time.Now(), cpuTime()
			for time.Since(start) < c.Limit {
				begin := time.Now()
				did, err := do(b)
				if err != nil {
					return err
				}
				h.add(time.Since(begin))
				n += did
			}
			c.measured(n, time.Since(start), cpuTime()-cpu)
			return nil
		})
		c.latencies(&h)
		return closing(s, err)
	}
}

// scanReadings reads all events of the meter, verified.
func scanReadings(s *batpak.Store) (n int, err error) {
	for _, err := range s.Query(batpak.Query{Entity: meterEntity}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, mustBe(n, readings)
}

// foldReadings folds them from the first on.
func foldReadings(s *batpak.Store) (int, error) {
	state, err := projection.Rebuild(unkept{s}, meter, meterEntity)
	if err == nil {
		err = mustBe(int(state.Value.Count), readings)
	}
	return readings, err
}

// snapshotReadings leaves a snapshot and 10 events behind it.
func snapshotReadings(s *batpak.Store) (int, error) {
	if _, err := projection.Rebuild(s, meter, meterEntity); err != nil {
		return 0, err
	}
	return 10, loadReadings(s, 10)
}

// resumeReadings goes on from the snapshot.
func resumeReadings(s *batpak.Store) (int, error) {
	state, err := projection.Get(s, meter, meterEntity, projection.Consistent)
	if err == nil {
		err = mustBe(int(state.Value.Count), readings+10)
	}
	return 10, err
}

func mustBe(n, want int) error {
	if n != want {
		return fmt.Errorf("%d readings, not %d", n, want)
	}
	return nil
}
