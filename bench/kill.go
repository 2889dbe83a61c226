package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// readyLine is what a child that waits to be killed prints when enough appends have been acknowledged.
const readyLine = "ready"

// A ledger is a mapped file that says which appends were acknowledged. What is in it survives the process that wrote it.
//
//	8 bytes  the first number that has not been given out
//	1 byte for each number from 0: 1 if its append returned
type ledger struct{ bytes []byte }

const ledgerBytes = 1 << 26

func openLedger(name string, first int) (l ledger, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return l, err
	}
	defer f.Close()
	if err := f.Truncate(ledgerBytes); err != nil {
		return l, err
	}
	l.bytes, err = syscall.Mmap(int(f.Fd()), 0, ledgerBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err == nil && l.next() == 0 {
		l.reserve(first)
	}
	return l, err
}

func (l ledger) next() int             { return int(binary.LittleEndian.Uint64(l.bytes)) }
func (l ledger) reserve(next int)      { binary.LittleEndian.PutUint64(l.bytes, uint64(next)) }
func (l ledger) acked(number int) bool { return l.bytes[8+number] == 1 }
func (l ledger) ack(number uint64)     { l.bytes[8+number] = 1 }

// counter is the first field, for several goroutines to take numbers from.
func (l ledger) counter() *uint64 { return (*uint64)(unsafe.Pointer(unsafe.SliceData(l.bytes))) }

// killWork appends to a prepared store until somebody kills it. It prints a line when c.Most appends have returned, or
// c.Limit is over.
func killWork(c *child) error {
	_, l, s, err := c.withLedger(false)
	if err != nil {
		return err
	}
	var acked atomic.Int64
	enough := make(chan struct{}, 1)
	timer := time.AfterFunc(c.Limit, func() { trigger(enough) })
	defer timer.Stop()
	go func() {
		<-enough
		fmt.Fprintln(c.stdout, readyLine)
	}()
	a := appending{c: c, s: s, next: uint64(l.next()), end: ledgerBytes - 8}
	a.given = l.counter()
	a.returned = func(es []event) {
		for i := range es {
			l.ack(es[i].Number)
		}
		if acked.Add(int64(len(es))) >= int64(c.most(1<<30)) {
			trigger(enough)
		}
	}
	err = a.run(time.Now().Add(c.Limit + time.Minute))
	return errors.Join(errors.New("was not killed"), closing(s, err))
}

// withLedger opens a prepared store and the ledger of what is appended to it.
func (c *child) withLedger(measured bool) (m manifest, l ledger, s store, err error) {
	if m, err = c.readManifest(); err == nil {
		l, err = openLedger(c.ledgerFile(), m.Events)
	}
	if err == nil {
		s, err = c.open(measured)
	}
	c.useWorkload()
	return m, l, s, err
}

func trigger(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// recoverWork opens what a killed process left, and looks for every event whose append had returned.
func recoverWork(c *child) error {
	m, l, s, err := c.withLedger(true)
	if err != nil {
		return err
	}
	c.r.N, c.r.Seconds, c.r.Events = 1, c.r.OpenMS/1000, m.Events
	return closing(s, c.checkAcked(s, l, m.Events))
}

// checkAcked reads everything: the loaded events in their order, and behind them each acknowledged one, and none twice.
func (c *child) checkAcked(s store, l ledger, loaded int) error {
	seen := make([]bool, l.next())
	next := 0
	start := time.Now()
	err := s.Query(query{}, func(e *event) error {
		if err := c.w.check(e); err != nil {
			return err
		}
		if next == 0 {
			c.r.FirstMS = milliseconds(time.Since(start))
		}
		if next < loaded && e.Number != uint64(next) || e.Number >= uint64(len(seen)) || seen[e.Number] {
			return fmt.Errorf("event %d is out of place", e.Number)
		}
		seen[e.Number] = true
		next++
		return nil
	})
	if err != nil {
		return err
	}
	lost := loaded - min(next, loaded)
	for n := loaded; n < l.next(); n++ {
		if l.acked(n) {
			c.r.Acked++
			if !seen[n] {
				lost++
			}
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d acknowledged events are lost", lost, loaded+c.r.Acked)
	}
	return nil
}
