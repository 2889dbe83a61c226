package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/batpak/batpak"
)

// A commitName says which commit of a store this is: the seed and the name give the whole commit, but for the clocks that
// its conditions expect. So whoever knows the seed can tell what must be in the store.
type commitName struct {
	Life   int // of the writer, from 1 in each store
	Caller int
	Commit int // of this caller in this life, from 0
}

// An entry is the payload of every event.
type entry struct {
	Life, Caller, Commit int
	Index, Size          int          // place in the commit, and its count of events
	Clock                batpak.Clock // which the condition made certain; 0 for none
	Fill                 []byte
}

// EventType returns the type of all events of a soak.
func (entry) EventType() batpak.Type {
	return batpak.Type{Kind: 0x1001, Name: "soak entry", Version: 1}
}

// name returns which commit the entry is of.
func (e *entry) name() commitName { return commitName{e.Life, e.Caller, e.Commit} }

// A style is a way to append.
type style uint8

const (
	single    style = iota // one event, without a condition
	batch                  // several events of several streams
	expecting              // some events of the caller's own stream, at the clock that it knows
	excluding              // an event of the caller's own stream, unless there is one that it does not know
	contested              // an event of a stream that all callers want to append to at the clock they have just read
	keyed                  // events with idempotency keys
)

// styles are the ways to append, each as often as it is chosen in 20 commits.
var styles = func() (all []style) {
	for s, times := range []int{single: 9, batch: 5, expecting: 2, excluding: 1, contested: 1, keyed: 2} {
		for range times {
			all = append(all, style(s))
		}
	}
	return all
}()

const contestedEntity = "contested"

// ownEntity returns the entity to which only one caller appends.
func ownEntity(caller int) string { return fmt.Sprintf("caller:%d", caller) }

// A plan is what a commit appends.
type plan struct {
	style     style
	entries   []entry
	proposals []batpak.Proposal // without payloads and conditions
	extra     bool              // do what the style has besides: try a wrong condition, repeat a key
}

// A planner makes the plans of one store.
type planner struct{ seed uint64 }

// plan returns the commit of this name, always the same.
func (p planner) plan(n commitName) plan {
	var seed [32]byte
	for i, v := range []uint64{p.seed, uint64(n.Life), uint64(n.Caller), uint64(n.Commit)} {
		binary.LittleEndian.PutUint64(seed[8*i:], v)
	}
	source := rand.NewChaCha8(seed)
	random := rand.New(source)
	c := plan{style: styles[random.IntN(len(styles))], extra: random.IntN(3) == 0}
	size := c.size(random)
	for i := range size {
		e := entry{Life: n.Life, Caller: n.Caller, Commit: n.Commit, Index: i, Size: size, Fill: make([]byte, fillBytes(random))}
		source.Read(e.Fill) // never fails
		c.entries = append(c.entries, e)
		c.proposals = append(c.proposals, c.proposal(random, n, i, e.Fill))
	}
	return c
}

// size returns the number of events.
func (c *plan) size(random *rand.Rand) int {
	switch c.style {
	case batch:
		if random.IntN(50) == 0 {
			return 300
		}
		return 2 + random.IntN(30)
	case expecting, keyed:
		return 1 + random.IntN(3)
	default:
		return 1
	}
}

// fillBytes returns the length of a payload: small mostly, now and then longer than a segment.
func fillBytes(random *rand.Rand) int {
	switch n := random.IntN(2000); {
	case n == 0:
		return random.IntN(300 << 10)
	case n < 100:
		return random.IntN(8 << 10)
	default:
		return random.IntN(300)
	}
}

// proposal returns the request for event i of the commit.
func (c *plan) proposal(random *rand.Rand, n commitName, i int, fill []byte) batpak.Proposal {
	entity, scope := fmt.Sprintf("account:%d", random.IntN(1+random.IntN(3000))), fmt.Sprintf("scope:%d", random.IntN(20))
	p := batpak.Proposal{At: batpak.At(entity, scope)}
	switch c.style {
	case expecting, excluding:
		p.At.Entity = ownEntity(n.Caller)
	case contested:
		p.At.Entity = contestedEntity
	default:
		if random.IntN(8) == 0 {
			p.Lane = batpak.Lane(1 + random.IntN(3))
		}
	}
	if c.style == keyed {
		p.Key = fmt.Sprintf("%d/%d/%d/%d", n.Life, n.Caller, n.Commit, i)
	}
	switch random.IntN(20) {
	case 0:
		p.Durability = batpak.Durable
	case 1:
		p.Durability = batpak.Written
	case 2:
		p.Extensions = map[string][]byte{"soak.note": fill[:min(8, len(fill))]}
	case 3:
		if i > 0 {
			p.Cause = batpak.CauseItem(i - 1)
		}
	}
	return p
}
