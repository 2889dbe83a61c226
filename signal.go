package batpak

import (
	"sync"
	"sync/atomic"
)

// A signal wakes all who wait for something to change. Firing costs an atomic read while nobody waits.
type signal struct {
	waited atomic.Bool
	mu     sync.Mutex
	ch     chan struct{}
}

// wait returns a channel that the next fire closes. To miss nothing, call it before looking at what may change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
		s.waited.Store(true)
	}
	return s.ch
}

func (s *signal) fire() {
	if !s.waited.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
		s.waited.Store(false)
	}
}
