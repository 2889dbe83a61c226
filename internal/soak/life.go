package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/batpak/batpak"
)

// A life is one process of the writer, as it is planned: what the process does and when and how it ends.
type life struct {
	job
	kill   bool          // end it with kill -9; else it closes the store
	atOnce bool          // the time runs from the start of the process, not from when it has opened the store
	length time.Duration // end it then,
	events int           // or when so many events were acknowledged, if that is sooner; 0 for no such bound

	acknowledged int           // events so far
	enough       chan struct{} // closed when there are as many as wanted, or too many bytes
}

// segmentBytes are the lengths of segments that a life chooses from: short ones, so that it rolls often.
var segmentBytes = []int64{64 << 10, 256 << 10, 1 << 20, 4 << 20}

// newLife chooses a life. With kill it may end with kill -9. Lives are at most so long; nine in ten are short, of very different
// lengths, and a few long enough to see what a process needs once it has settled.
func newLife(random *rand.Rand, kill bool, longest time.Duration) *life {
	l := &life{kill: kill && random.IntN(8) > 0, enough: make(chan struct{})}
	l.Durability = batpak.Durable
	if random.IntN(4) == 0 {
		l.Durability = batpak.Written
	}
	l.SegmentBytes = segmentBytes[random.IntN(len(segmentBytes))]
	l.atOnce = l.kill && random.IntN(3) == 0
	switch n := random.IntN(100); {
	case n < 3:
		l.length = 20*time.Second + time.Duration(random.Int64N(int64(10*time.Second)))
	case n < 10:
		l.length = 3*time.Second + time.Duration(random.Int64N(int64(3*time.Second)))
	default:
		l.length = time.Duration(spread(random, float64(10*time.Millisecond), float64(2*time.Second)))
	}
	l.length = min(l.length, longest)
	if random.IntN(2) == 0 && l.length < 3*time.Second {
		l.events = int(spread(random, 1, 20_000))
	}
	return l
}

// shortLife chooses a life that ends after few events, however long they take.
func shortLife(random *rand.Rand, kill bool) *life {
	l := newLife(random, kill, time.Minute)
	l.kill, l.atOnce, l.length, l.events = kill && random.IntN(4) > 0, false, time.Minute, 50+random.IntN(400)
	return l
}

// spread returns a number between two, of each magnitude as often as of any other.
func spread(random *rand.Rand, least, most float64) float64 {
	return least * math.Pow(most/least, random.Float64())
}

// count counts events that were acknowledged.
func (l *life) count(events int) {
	before := l.acknowledged
	l.acknowledged += events
	if l.events > 0 && before < l.events && l.acknowledged >= l.events {
		l.suffice()
	}
}

// suffice makes the life end soon.
func (l *life) suffice() {
	select {
	case <-l.enough:
	default:
		close(l.enough)
	}
}
