package main

import (
	"fmt"
	"slices"

	"github.com/batpak/batpak"
)

// A ledger is what has been learned of a store from its writers and followers: what it must still have. Its methods return
// an error when they are told something that contradicts it.
type ledger struct {
	known        []known    // by seq, from 1
	durable      batpak.Seq // everything up to here was durable, and must be there for ever
	acknowledged int        // events, each once
	followers    map[string]*following
}

// known is what is known of one event.
type known struct {
	hash         batpak.Hash
	id           batpak.ID
	is           bool // anything is known
	acknowledged bool
}

// A following is how far a follower has got.
type following struct {
	gauge
	checked int // events that it has reported
}

func newLedger() *ledger { return &ledger{followers: map[string]*following{}} }

// clone returns a copy of what a checker needs.
func (l *ledger) clone() *ledger {
	return &ledger{known: slices.Clone(l.known), acknowledged: l.acknowledged}
}

// follower returns the follower of this name.
func (l *ledger) follower(name string) *following {
	if l.followers[name] == nil {
		l.followers[name] = &following{}
	}
	return l.followers[name]
}

// learn compares what is said of an event with what was said before.
func (l *ledger) learn(who string, m *mark) (*known, error) {
	if m.Seq == 0 || m.Seq > batpak.Seq(len(l.known))+1<<20 {
		return nil, fmt.Errorf("%s: event %d, where %d are known", who, m.Seq, len(l.known))
	}
	for batpak.Seq(len(l.known)) < m.Seq {
		l.known = append(l.known, known{})
	}
	k := &l.known[m.Seq-1]
	if k.is && (k.hash != m.Hash || k.id != m.ID) {
		return nil, fmt.Errorf("%s: event %d is %s with hash %s, but it was %s with hash %s", who, m.Seq, m.ID, m.Hash, k.id, k.hash)
	}
	k.hash, k.id, k.is = m.Hash, m.ID, true
	return k, nil
}

// acknowledge takes a receipt.
func (l *ledger) acknowledge(m *mark) error {
	k, err := l.learn("acknowledged", m)
	if err != nil {
		return err
	}
	if k.acknowledged {
		return fmt.Errorf("event %d is acknowledged twice", m.Seq)
	}
	k.acknowledged = true
	l.acknowledged++
	if m.Durability == batpak.Durable {
		l.durable = max(l.durable, m.Seq)
	}
	return nil
}

// see takes an event that a follower yielded, in a store that shows what has this durability.
func (l *ledger) see(follower string, m *mark, shown batpak.Durability) error {
	f := l.follower(follower)
	if m.Seq != f.at+1 {
		return fmt.Errorf("%s: event %d follows event %d", follower, m.Seq, f.at)
	}
	if _, err := l.learn(follower, m); err != nil {
		return err
	}
	f.set(m.Seq)
	f.checked++
	if shown == batpak.Durable {
		l.durable = max(l.durable, m.Seq)
	}
	return nil
}

// open takes the newest event of a store that has just been opened. Whatever was known must be there, but for what was
// only written, if it may be lost. What is there has become durable by recovery. It returns how many events are lost that
// were acknowledged.
func (l *ledger) open(visible batpak.Seq, mayLose bool) (lost int, err error) {
	newest := batpak.Seq(len(l.known))
	if visible < l.durable {
		return 0, fmt.Errorf("the store has %d events after opening, but those up to %d were durable", visible, l.durable)
	}
	if visible < newest && !mayLose {
		return 0, fmt.Errorf("the store has %d events after opening, but those up to %d were written", visible, newest)
	}
	for visible < batpak.Seq(len(l.known)) {
		last := l.known[len(l.known)-1]
		l.known = l.known[:len(l.known)-1]
		if last.acknowledged {
			l.acknowledged--
			lost++
		}
	}
	for _, f := range l.followers {
		f.set(min(f.at, visible))
	}
	l.durable = visible
	return lost, nil
}
