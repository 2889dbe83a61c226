package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batpak/batpak"
)

// opened opens a store of batpak itself, whose Follow and Frontier the works of this file use.
func (c *child) opened() (store, *batpak.Store, error) {
	s, err := c.open(false)
	if err != nil {
		return nil, nil, err
	}
	b, ok := s.(*batpakStore)
	if !ok {
		return nil, nil, closing(s, cannotError("this is measured of batpak and P only"))
	}
	c.useWorkload()
	return s, b.s, nil
}

// followWork measures how long after its append has returned an event reaches the loop body of a follower, 0 if it was
// there before.
func followWork(c *child) error {
	s, b, err := c.opened()
	if err != nil {
		return err
	}
	most := c.most(mostAppends)
	returned, received := make([]atomic.Int64, most), make([]atomic.Int64, most)
	ctx, cancel := context.WithTimeout(context.Background(), c.Limit+time.Minute)
	defer cancel()
	start := time.Now()
	var seen, wanted atomic.Int64
	var failed error
	var followed sync.WaitGroup
	followed.Go(func() {
		failed = follow(ctx, c.w, b, 0, func(e *event) {
			received[e.Number].Store(int64(time.Since(start)))
			if seen.Add(1) == wanted.Load() {
				cancel()
			}
		})
	})
	a := appending{c: c, s: s, end: uint64(most)}
	a.returned = func(es []event) { returned[es[0].Number].Store(int64(time.Since(start))) }
	err = a.run(start.Add(c.Limit))
	took := time.Since(start)
	n := a.appended.Load()
	wanted.Store(n)
	if seen.Load() >= n || err != nil {
		cancel()
	}
	followed.Wait()
	if err := errors.Join(err, failed); err != nil {
		return closing(s, err)
	}
	var h histogram
	for i := range n {
		at := received[i].Load()
		if at == 0 {
			return closing(s, fmt.Errorf("event %d did not reach the follower", i))
		}
		h.add(time.Duration(at - returned[i].Load()))
	}
	c.measured(int(n), took, 0)
	c.latencies(&h)
	return closing(s, nil)
}

// follow passes the events after a position on until ctx is done.
func follow(ctx context.Context, w *workload, b *batpak.Store, after batpak.Seq, visit func(*event)) error {
	var e event
	last := after
	for stored, err := range b.Follow(ctx, batpak.Query{After: after}) {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err == nil && stored.Seq != last+1 {
			err = fmt.Errorf("event %d after %d", stored.Seq, last)
		}
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		last = stored.Seq
		fromBatpak(&e, &stored)
		if err := w.check(&e); err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		visit(&e)
	}
	return errors.New("follow ended")
}

// besideSlices is how often besideWork changes between appending alone and beside readers.
const besideSlices = 10

// besideWork appends with many callers, in turn alone and beside two followers and two loops of queries.
func besideWork(c *child) error {
	s, b, err := c.opened()
	if err != nil {
		return err
	}
	a := appending{c: c, s: s, end: 1 << 40}
	var alone, beside, reads int64
	var aloneFor, besideFor time.Duration
	for i := range 2 * besideSlices {
		before, took := a.appended.Load(), time.Duration(0)
		stop := func() (int64, error) { return 0, nil }
		run := func() error {
			start := time.Now()
			defer func() { took = time.Since(start) }()
			return a.run(start.Add(c.Limit / (2 * besideSlices)))
		}
		var err error
		if i%2 == 1 {
			stop = c.readers(b)
			err = c.profiled(run)
		} else {
			err = run()
		}
		read, failed := stop()
		if err := errors.Join(err, failed); err != nil {
			return closing(s, err)
		}
		if n := a.appended.Load() - before; i%2 == 1 {
			beside, reads, besideFor = beside+n, reads+read, besideFor+took
		} else {
			alone, aloneFor = alone+n, aloneFor+took
		}
	}
	c.r.N, c.r.Seconds = int(alone+beside), (aloneFor + besideFor).Seconds()
	c.r.Rate, c.r.Beside, c.r.Reads = float64(alone)/aloneFor.Seconds(), float64(beside)/besideFor.Seconds(), float64(reads)/besideFor.Seconds()
	if err := s.Close(); err != nil {
		return err
	}
	return c.checkAll(int(alone + beside))
}

// readers starts two followers, of what is appended from now on, and two loops of queries for up to 100 events of an
// entity or a scope. The function returned stops them and says how many events they read.
func (c *child) readers(b *batpak.Store) (stop func() (int64, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var read atomic.Int64
	var mu sync.Mutex
	var failed error
	start := func(f func() error) {
		done.Go(func() {
			err := f()
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	for i := range 2 {
		start(func() error { return follow(ctx, c.w, b, b.Visible(), func(*event) { read.Add(1) }) })
		start(func() error { return c.queries(ctx, b, rand.New(rand.NewPCG(c.Seed, uint64(i))), &read) })
	}
	return func() (int64, error) {
		cancel()
		done.Wait()
		return read.Load(), failed
	}
}

// queries asks one query after the other, c.Pace a second or as many as it can.
func (c *child) queries(ctx context.Context, b *batpak.Store, r *rand.Rand, read *atomic.Int64) error {
	var tick <-chan time.Time
	if c.Pace > 0 {
		ticker := time.NewTicker(time.Second / time.Duration(c.Pace))
		defer ticker.Stop()
		tick = ticker.C
	}
	var e event
	for turn := 0; ctx.Err() == nil; turn++ {
		q := batpak.Query{Entity: c.w.name(r.IntN(c.Entities)), Limit: 100}
		if turn%2 == 1 {
			q = batpak.Query{Scope: c.w.scopes[r.IntN(scopeCount)], After: batpak.Seq(r.Int64N(int64(b.Visible()) + 1)), Limit: 100}
		}
		last, n := q.After, 0
		for stored, err := range b.Query(q) {
			if n++; err == nil && (stored.Seq <= last || n > q.Limit || q.Entity != "" && stored.Entity != q.Entity || q.Scope != "" && stored.Scope != q.Scope) {
				err = fmt.Errorf("event %d is number %d, after %d, of what %+v selects", stored.Seq, n, last, q)
			}
			if err != nil {
				return fmt.Errorf("query: %w", err)
			}
			last = stored.Seq
			fromBatpak(&e, &stored)
			if err := c.w.check(&e); err != nil {
				return fmt.Errorf("query: %w", err)
			}
			read.Add(1)
		}
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// tailWork appends an event of each entity, and then for a long time as they are drawn. It notes ten times a second how
// fast that goes, how long the tail is and how much memory the process has. The rate that it reports is that of the second
// half, when the tail has filled.
func tailWork(c *child) error {
	s, b, err := c.opened()
	if err != nil {
		return err
	}
	c.w.inTurn = uint64(c.Entities)
	if err := c.fillBelow(s, c.Entities); err != nil {
		return closing(s, err)
	}
	a := appending{c: c, s: s, next: c.w.inTurn, end: uint64(c.most(1 << 40))}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { c.r.Series = watch(ctx, b, &a.appended) })
	var took time.Duration
	err = c.profiled(func() error {
		start := time.Now()
		defer cancel()
		defer func() { took = time.Since(start) }()
		return a.run(start.Add(c.Limit))
	})
	watching.Wait()
	if err = closing(s, err); err != nil {
		return err
	}
	n := int(a.appended.Load())
	c.measured(n, took, 0)
	c.r.Rate = secondHalf(c.r.Series)
	c.latencies(&a.latency)
	c.disk(c.Entities + n)
	return c.checkAll(c.Entities + n)
}

// fillBelow appends the events with the numbers below n, in batches.
func (c *child) fillBelow(s store, n int) error {
	es := make([]event, loadBatch)
	for first := 0; first < n; first += len(es) {
		es = es[:min(len(es), n-first)]
		for i := range es {
			c.w.fill(&es[i], uint64(first+i))
		}
		if err := s.Append(es); err != nil {
			return err
		}
	}
	return nil
}

func watch(ctx context.Context, b *batpak.Store, appended *atomic.Int64) (series [][]float64) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	start := time.Now()
	last, before := start, int64(0)
	for {
		select {
		case <-ctx.Done():
			return series
		case now := <-ticker.C:
			n, f := appended.Load(), b.Frontier()
			rate := float64(n-before) / now.Sub(last).Seconds()
			m := readMemory()
			series = append(series, []float64{now.Sub(start).Seconds(), rate, float64(f.Accepted - f.Indexed), m.anonymous, m.resident})
			last, before = now, n
		}
	}
}

// secondHalf returns the mean rate of the later half of a series of evenly spaced samples.
func secondHalf(series [][]float64) float64 {
	half := series[len(series)/2:]
	sum := 0.0
	for _, sample := range half {
		sum += sample[1]
	}
	return sum / float64(max(len(half), 1))
}
