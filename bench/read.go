package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// queryLimit is how many events the queries by scope and kind ask for, and how many a time range spans.
const queryLimit = 1000

// A reading is a prepared store and what is known of it without asking it.
type reading struct {
	c    *child
	s    store
	m    manifest
	keys []byte
	r    *rand.Rand
	list [][]uint32 // numbers of the events by entity rank, scope or kind, whatever the work asks for
}

// readWork runs one operation again and again on a prepared store, in one goroutine, and reports events a second.
func readWork(c *child, by func(*workload, draw) int, classes int, once func(*reading) (events int, err error)) error {
	rd := &reading{c: c, r: rand.New(rand.NewPCG(c.Seed, uint64(c.Repeat)))}
	if err := rd.prepare(by, classes); err != nil {
		return err
	}
	err := c.profiled(func() error { return rd.measure(once) })
	return closing(rd.s, err)
}

// prepare opens the store, and lists what each query must find.
func (rd *reading) prepare(by func(*workload, draw) int, classes int) (err error) {
	c := rd.c
	if rd.m, err = c.readManifest(); err != nil {
		return err
	}
	c.r.Events = rd.m.Events
	if rd.s, err = c.open(true); err != nil {
		return err
	}
	c.useWorkload()
	if err = rd.readKeys(); err == nil && by != nil {
		err = rd.makeLists(by, classes)
	}
	rd.settle()
	return err
}

// outside returns n bytes of zeros that the collector of garbage knows nothing of, so that what the benchmark has to know of
// a store does not change when that collects.
func outside(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, max(n, 1), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// readKeys reads the keys file.
func (rd *reading) readKeys() error {
	f, err := os.Open(rd.c.keysFile())
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := outside(int(info.Size()))
	if err != nil {
		return err
	}
	rd.keys = b[:info.Size()]
	_, err = io.ReadFull(f, rd.keys)
	return err
}

// makeLists fills list, each of which has room for what it will have.
func (rd *reading) makeLists(by func(*workload, draw) int, classes int) error {
	b, err := outside(4 * rd.m.Events)
	if err != nil {
		return err
	}
	w := rd.c.w
	all, counts := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), rd.m.Events), make([]int, classes)
	for n := range rd.m.Events {
		counts[by(w, w.draw(uint64(n)))]++
	}
	rd.list = make([][]uint32, classes)
	for i, n := range counts {
		rd.list[i], all = all[:0:n], all[n:]
	}
	for n := range rd.m.Events {
		i := by(w, w.draw(uint64(n)))
		rd.list[i] = append(rd.list[i], uint32(n))
	}
	return nil
}

// settle gives back what making the workload and the lists took, and notes the memory that is left.
func (rd *reading) settle() {
	debug.FreeOSMemory()
	rd.c.r.OwnMiB = rd.c.r.HeapMiB - readMemory().anonymous
}

// measure calls once until the time is over, or as often as the spec says. What is done to warm up is not counted, unless a single call
// takes longer.
func (rd *reading) measure(once func(*reading) (int, error)) error {
	c := rd.c
	var h histogram
	counted, warm := 0, false
	cpu, start := cpuTime(), time.Now()
	opened := start
	for begin := start; ; {
		n, err := once(rd)
		if err != nil {
			return err
		}
		now := time.Now()
		if !warm && c.Most == 0 && now.Sub(begin) < c.Warm {
			warm = now.Sub(opened) >= c.Warm
			cpu, start, begin = cpuTime(), now, now
			continue
		}
		warm = true
		counted += n
		h.add(now.Sub(begin))
		begin = now
		if now.Sub(start) >= c.Limit || c.Most > 0 && int(h.total) >= c.Most {
			c.measured(counted, now.Sub(start), cpuTime()-cpu)
			c.latencies(&h)
			c.r.OwnMiB += readMemory().anonymous
			return nil
		}
	}
}

// key returns the key of an event that was loaded first, drawn at random, and its number.
func (rd *reading) key() (key, uint64) {
	i := rd.r.IntN(len(rd.keys) / len(key{}))
	return key(rd.keys[i*len(key{}):]), uint64(i * rd.m.Every)
}

// getWork reads single events by key.
func getWork(c *child) error {
	var e event
	return readWork(c, nil, 0, func(rd *reading) (int, error) {
		k, number := rd.key()
		if err := rd.s.Get(k, &e); err != nil {
			return 0, err
		}
		if err := rd.c.w.check(&e); err != nil {
			return 0, err
		}
		if e.Number != number {
			return 0, fmt.Errorf("the key of event %d gives event %d", number, e.Number)
		}
		return 1, nil
	})
}

// expect runs a query and compares what it yields with the numbers, which begin at the first that it must yield.
func (rd *reading) expect(q query, numbers []uint32) (n int, err error) {
	if q.Limit > 0 {
		numbers = numbers[:min(len(numbers), q.Limit)]
	}
	err = rd.s.Query(q, func(e *event) error {
		if err := rd.c.w.check(e); err != nil {
			return err
		}
		if n >= len(numbers) {
			return fmt.Errorf("event %d, of which the query has nothing to say", e.Number)
		}
		if e.Number != uint64(numbers[n]) {
			return fmt.Errorf("event %d instead of %d", e.Number, numbers[n])
		}
		n++
		return nil
	})
	if err == nil && n != len(numbers) {
		err = fmt.Errorf("%d events instead of %d", n, len(numbers))
	}
	return n, err
}

// from returns the part of numbers behind a position drawn at random, and that position.
func (rd *reading) from(numbers []uint32) ([]uint32, uint64) {
	after := rd.r.IntN(rd.m.Events)
	i, _ := slices.BinarySearch(numbers, uint32(after)) // position p is that of number p-1
	return numbers[i:], uint64(after)
}

// streamWork reads all events of an entity, one that is not among the most frequent tenth.
func streamWork(c *child) error {
	return readWork(c, (*workload).rank, c.Entities, func(rd *reading) (int, error) {
		rank := c.Entities/10 + rd.r.IntN(c.Entities-c.Entities/10)
		return rd.expect(query{Entity: c.w.name(rank)}, rd.list[rank])
	})
}

// scopeWork reads up to 1000 events of a scope from a position on.
func scopeWork(c *child) error {
	return readWork(c, (*workload).scope, scopeCount, func(rd *reading) (int, error) {
		i := rd.r.IntN(scopeCount)
		numbers, after := rd.from(rd.list[i])
		return rd.expect(query{Scope: c.w.scopes[i], After: after, Limit: queryLimit}, numbers)
	})
}

// kindWork reads up to 1000 events of a kind from a position on.
func kindWork(c *child) error {
	return readWork(c, (*workload).kind, kindCount, func(rd *reading) (int, error) {
		i := rd.r.IntN(kindCount)
		numbers, after := rd.from(rd.list[i])
		return rd.expect(query{Kind: uint16(firstKind + i), After: after, Limit: queryLimit}, numbers)
	})
}

// all puts every event into one list.
func all(*workload, draw) int { return 0 }

// rangeWork reads the events between the times of two that are 1000 positions or so apart.
func rangeWork(c *child) error {
	return readWork(c, all, 1, func(rd *reading) (int, error) {
		span := min(queryLimit, rd.m.Events/2) / rd.m.Every * rd.m.Every
		keys := len(rd.keys) / len(key{})
		i := rd.r.IntN(keys - span/rd.m.Every)
		from, since, err := rd.since(i)
		if err != nil {
			return 0, err
		}
		to, until, err := rd.since(i + span/rd.m.Every)
		if err != nil {
			return 0, err
		}
		return rd.expect(query{Since: since, Until: until}, rd.list[0][from:to])
	})
}

// since returns the time of the i-th key's event and the number of the first event that has it: some systems give the
// same time to several.
func (rd *reading) since(i int) (number int, t int64, err error) {
	var e event
	for number = i * rd.m.Every; ; i-- {
		if err := rd.s.Get(key(rd.keys[i*len(key{}):]), &e); err != nil {
			return 0, 0, err
		}
		if t != 0 && e.Time != t {
			return number, t, nil
		}
		number, t = i*rd.m.Every, e.Time
		if i == 0 || rd.m.Every > 1 {
			return number, t, nil
		}
	}
}

// scanWork reads everything in commit order, at least once.
func scanWork(c *child) error {
	return readWork(c, all, 1, func(rd *reading) (int, error) { return rd.expect(query{}, rd.list[0]) })
}

// openWork opens a closed store, and reads the newest event.
func openWork(c *child) error {
	m, err := c.readManifest()
	if err != nil {
		return err
	}
	c.r.Events = m.Events
	s, err := c.open(true)
	if err != nil {
		return err
	}
	start := time.Now()
	var newest []byte
	err = s.Query(query{After: uint64(m.Events - 1)}, func(e *event) error {
		newest = slices.Clone(e.Payload)
		return nil
	})
	c.r.FirstMS = milliseconds(time.Since(start))
	if err == nil && newest == nil {
		err = errors.New("the newest event is not there")
	}
	c.useWorkload()
	var want event
	c.w.fill(&want, uint64(m.Events-1))
	if err == nil && string(newest) != string(want.Payload) {
		err = errors.New("the newest event has another content")
	}
	c.r.N, c.r.Seconds = 1, (c.r.OpenMS+c.r.FirstMS)/1000
	return closing(s, err)
}
