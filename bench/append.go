package main

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// mostAppends bounds the events that one append work adds.
const mostAppends = 2_000_000

// appendWork appends to a store that is new, or to one that was prepared, checks that all is there, and reports what a
// caller sees: one call, its latency, and the events that all callers appended in the time.
func appendWork(c *child) error {
	first, err := c.firstNumber()
	if err != nil {
		return err
	}
	s, err := c.open(false)
	if err != nil {
		return err
	}
	c.useWorkload()
	a := appending{c: c, s: s, next: uint64(first), end: uint64(first + c.most(mostAppends))}
	var start time.Time
	var cpu, took time.Duration
	err = c.profiled(func() error {
		cpu, start = cpuTime(), time.Now()
		defer func() { took = time.Since(start) }()
		return a.run(start.Add(c.Limit))
	})
	if err = closing(s, err); err != nil {
		return err
	}
	n := int(a.appended.Load())
	c.measured(n, took, cpuTime()-cpu)
	c.latencies(&a.latency)
	c.disk(first + n)
	if first > 0 {
		m, err := c.readManifest()
		if err != nil {
			return err
		}
		m.Events += n
		return c.writeManifest(m)
	}
	return c.checkAll(n)
}

// firstNumber is of the first event to append: how many a prepared store has.
func (c *child) firstNumber() (int, error) {
	if c.Size == 0 {
		return 0, nil
	}
	m, err := c.readManifest()
	c.r.Events = m.Events
	return m.Events, err
}

// most returns c.Most, or a default.
func (c *child) most(otherwise int) int {
	if c.Most > 0 {
		return c.Most
	}
	return otherwise
}

// An appending is many callers that append until a time or a number.
type appending struct {
	c        *child
	s        store
	next     uint64  // number to append first
	given    *uint64 // the number to append next, for all callers; nil to begin at next
	end      uint64  // number at which to end
	appended atomic.Int64
	returned func(numbers []event) // called when an append has returned; nil for nothing

	mu      sync.Mutex
	latency histogram
	err     error
}

// run appends until the deadline and returns the first error.
func (a *appending) run(deadline time.Time) error {
	if a.given == nil {
		a.given = &a.next
	}
	var callers sync.WaitGroup
	for range max(a.c.Callers, 1) {
		callers.Go(func() {
			h, err := a.caller(deadline)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.latency.merge(h)
			if a.err == nil {
				a.err = err
			}
		})
	}
	callers.Wait()
	return a.err
}

// caller is one of those that append. It reads the clock once a call: the end of one is the beginning of the next, so
// the making of the events is counted.
func (a *appending) caller(deadline time.Time) (*histogram, error) {
	h := new(histogram)
	es := make([]event, max(a.c.Batch, 1))
	for begin := time.Now(); begin.Before(deadline); {
		n := uint64(len(es))
		first := atomic.AddUint64(a.given, n) - n
		if first+n > a.end {
			return h, nil
		}
		for i := range es {
			a.c.w.fill(&es[i], first+uint64(i))
		}
		if err := a.s.Append(es); err != nil {
			return h, fmt.Errorf("append of event %d: %w", first, err)
		}
		if a.returned != nil {
			a.returned(es)
		}
		a.appended.Add(int64(n))
		now := time.Now()
		h.add(now.Sub(begin))
		begin = now
	}
	return h, nil
}

// checkAll opens a store again and reads all of it: the events numbered below n must be there, each once and with its
// content.
func (c *child) checkAll(n int) error {
	reopened := *c
	s, err := reopened.open(true)
	if err != nil {
		return err
	}
	seen := make([]bool, n)
	count := 0
	err = s.Query(query{}, func(e *event) error {
		if err := c.w.check(e); err != nil {
			return err
		}
		if e.Number >= uint64(n) || seen[e.Number] {
			return fmt.Errorf("event %d was not appended, or is there twice", e.Number)
		}
		seen[e.Number] = true
		count++
		return nil
	})
	if err == nil && count != n {
		err = fmt.Errorf("%d events of %d are there", count, n)
	}
	if err := closing(s, err); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

const (
	loadBatch = 1000
	mostKeys  = 1 << 20 // that the keys file has
)

// loadWork fills a new store, Written, with commits of a size from one caller, for the works that read.
func loadWork(c *child) error {
	s, err := c.open(false)
	if err != nil {
		return err
	}
	c.useWorkload()
	m := manifest{Every: 1 + (c.Size-1)/mostKeys}
	var keys []byte
	es := make([]event, min(max(c.Batch, 1), c.Size))
	var h histogram
	cpu, start := cpuTime(), time.Now()
	for begin := start; m.Events < c.Size && begin.Sub(start) < c.Limit; {
		for i := range es {
			c.w.fill(&es[i], uint64(m.Events+i))
		}
		if err := s.Append(es); err != nil {
			return closing(s, err)
		}
		for i := range es {
			if (m.Events+i)%m.Every == 0 {
				keys = append(keys, es[i].Key[:]...)
			}
		}
		m.Events += len(es)
		now := time.Now()
		h.add(now.Sub(begin))
		begin = now
	}
	took := time.Since(start)
	if err := s.Close(); err != nil {
		return err
	}
	c.measured(m.Events, took, cpuTime()-cpu)
	c.latencies(&h)
	c.disk(m.Events)
	c.r.Events = m.Events
	if m.Events < c.Size {
		c.r.Note = fmt.Sprintf("ended by the time cap at %d events", m.Events)
	}
	if err := os.WriteFile(c.keysFile(), keys, 0o600); err != nil {
		return err
	}
	return c.writeManifest(m)
}
