package main

import (
	"runtime"
	"sync"
)

// A group is group commit for a system that has none: of the callers that wait, one commits for all, the way batpak does
// it.
type group struct {
	commit func(parts [][]event) error

	mu   sync.Mutex // guards next
	next *gathered
	busy sync.Mutex // held during a commit
}

// A gathered is a commit that callers can still join, or that they wait for.
type gathered struct {
	parts [][]event
	done  chan struct{}
	err   error
}

// Append commits the events together with those of other callers.
func (g *group) Append(es []event) error {
	g.mu.Lock()
	b := g.next
	lead := b == nil
	if lead {
		b = &gathered{done: make(chan struct{})}
		g.next = b
	}
	b.parts = append(b.parts, es)
	g.mu.Unlock()
	if !lead {
		<-b.done
		return b.err
	}
	g.busy.Lock()
	runtime.Gosched() // those who have just been woken may join
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	b.err = g.commit(b.parts)
	g.busy.Unlock()
	close(b.done)
	return b.err
}
