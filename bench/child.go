package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// A child measures one thing in a process of its own.
type child struct {
	spec
	sys    *system
	w      *workload
	r      result
	stdout io.Writer
}

// runChild does what the spec says and prints the result.
func runChild(text string, stdout io.Writer) error {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	// It stands for the heap of the program around a store. It is never touched, so it takes no memory, but Go collects garbage when
	// the heap has grown by its own size: in a process with nothing but a store of few bytes, whenever 4 MB were allocated.
	held := make([]byte, s.Heap<<20)
	defer runtime.KeepAlive(held)
	return json.NewEncoder(stdout).Encode(measure(s, stdout))
}

// measure returns what came of a spec. Failures are part of it.
func measure(s spec, stdout io.Writer) result {
	c := &child{spec: s, sys: systemNamed(s.System), stdout: stdout}
	c.r.spec = s
	err := c.run()
	var cannot cannotError
	switch {
	case errors.As(err, &cannot):
		c.r.Cannot = cannot.Error()
	case err != nil:
		c.r.Failed = err.Error()
	}
	if c.r.PeakMiB == 0 {
		c.r.PeakMiB = readMemory().peak
	}
	return c.r
}

func (c *child) run() error {
	w := workNamed(c.Work)
	if w == nil {
		return fmt.Errorf("no work %q", c.Work)
	}
	if err := os.MkdirAll(c.storeDir(), 0o700); err != nil {
		return err
	}
	c.r.EmptyMiB = readMemory().resident
	return w.run(c)
}

// useWorkload makes the events. Opening is measured before it, since a million names take memory.
func (c *child) useWorkload() { c.w = newWorkload(c.Seed, c.Payload, c.Entities) }

// open opens the store and notes how long it took and the memory that it has then.
func (c *child) open(reads bool) (store, error) {
	before := readMemory()
	start := time.Now()
	s, err := c.sys.open(c.storeDir(), config{durable: c.Durable, callers: max(c.Callers, 1), reads: reads})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	c.r.OpenMS = milliseconds(time.Since(start))
	after := readMemory()
	c.r.OpenMiB, c.r.HeapMiB = after.resident, after.anonymous-before.anonymous
	return s, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// measured notes n events in d, the processor time that they took, and the memory so far: what is checked afterwards
// takes its own.
func (c *child) measured(n int, d, cpu time.Duration) {
	c.r.PeakMiB = readMemory().peak
	c.r.N, c.r.Seconds = n, d.Seconds()
	if n > 0 {
		c.r.Rate = float64(n) / d.Seconds()
		c.r.CPU = float64(cpu) / float64(n)
	}
}

func (c *child) latencies(h *histogram) { c.r.P50, c.r.P99 = h.quantile(0.5), h.quantile(0.99) }

// disk notes the bytes on disk per event of a closed store.
func (c *child) disk(events int) {
	log, derived := diskUse(c.storeDir())
	if events > 0 {
		c.r.LogBytes, c.r.IndexBytes = float64(log)/float64(events), float64(derived)/float64(events)
	}
}

// closing closes s and joins the error with err.
func closing(s store, err error) error { return errors.Join(err, s.Close()) }
