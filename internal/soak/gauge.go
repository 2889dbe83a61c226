package main

import (
	"context"
	"sync"

	"github.com/batpak/batpak"
)

// A gauge is a seq that others wait for.
type gauge struct {
	mu    sync.Mutex
	at    batpak.Seq
	moved chan struct{} // closed by the next set; nil while nobody waits
}

// set moves the gauge, and wakes all who wait.
func (g *gauge) set(seq batpak.Seq) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at = seq
	if g.moved != nil {
		close(g.moved)
		g.moved = nil
	}
}

// wait returns when the gauge has reached seq, or with the cause of ctx, and where it is.
func (g *gauge) wait(ctx context.Context, seq batpak.Seq) (batpak.Seq, error) {
	for {
		g.mu.Lock()
		at := g.at
		if g.moved == nil {
			g.moved = make(chan struct{})
		}
		moved := g.moved
		g.mu.Unlock()
		if at >= seq {
			return at, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return at, context.Cause(ctx)
		}
	}
}
