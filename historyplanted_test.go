package batpak

import (
	"slices"
	"testing"
)

// The shorthands of hand-written histories: calls within [began, ended].

func call(began, ended int64, in asked, out told) history {
	return history{{Input: in, Call: began, Output: out, Return: ended}}
}

// took is a commit of wishes and the events that it got.
func took(began, ended int64, wishes []wish, places ...placed) history {
	commit := call(began, ended, asked{verb: "commit", wishes: wishes}, told{places: places})
	publish := call(began, ended, asked{verb: "publish", seq: places[len(places)-1].seq}, told{places: places})
	return append(commit, publish...)
}

// appended is a commit without conditions.
func appended(began, ended int64, places ...placed) history {
	var wishes []wish
	for _, p := range places {
		wishes = append(wishes, wish{entity: p.entity, data: p.data, key: p.key})
	}
	return took(began, ended, wishes, places...)
}

// met is a commit of one wish, whose condition holds.
func met(began, ended int64, w wish, e placed) history { return took(began, ended, []wish{w}, e) }

// refused is one whose condition does not hold, or whose key is that of another.
func refused(began, ended int64, w wish, why refusal) history {
	return call(began, ended, asked{verb: "commit", wishes: []wish{w}}, told{refusal: why})
}

func sawStream(began, ended int64, entity string, places ...placed) history {
	return call(began, ended, asked{verb: "stream", entity: entity}, told{places: places})
}

func sawNewest(began, ended int64, entity string, places ...placed) history {
	return call(began, ended, asked{verb: "newest", entity: entity}, told{places: places})
}

func sawAt(began, ended int64, seq Seq, places ...placed) history {
	return call(began, ended, asked{verb: "at", seq: seq}, told{places: places})
}

func sawVisible(began, ended int64, seq Seq) history {
	return call(began, ended, asked{verb: "visible"}, told{seq: seq})
}

func sawAccepted(began, ended int64, seq Seq) history {
	return call(began, ended, asked{verb: "accepted"}, told{seq: seq})
}

func both(a, b history) history { return slices.Concat(a, b) }

// TestPlantedHistories holds the checker against histories written by hand: pairs that begin alike, of which one is right and the
// other is not.
func TestPlantedHistories(t *testing.T) {
	a1, a2 := placed{1, "a", 1, "x", ""}, placed{2, "a", 2, "y", ""}
	b1, b2, b3 := placed{1, "b", 1, "y", ""}, placed{2, "b", 1, "y", ""}, placed{3, "b", 1, "y", ""}
	keyed, twice := placed{1, "a", 1, "x", "k"}, placed{2, "a", 2, "x", "k"}
	moved := func(e placed, seq Seq, c Clock) placed { e.seq, e.clock = seq, c; return e }
	empty := func(data string) wish { return wish{entity: "a", data: data, expect: Empty()} }
	none := func(after Seq) wish { return wish{entity: "a", data: "y", none: true, after: after} }
	other := wish{entity: "a", data: "y", key: "k"}
	atClock := func(c Clock) refusal { return refusal{reason: ErrConflict, have: c} }
	found := func(reason error, seq Seq) refusal { return refusal{reason: reason, found: seq} }
	for _, c := range []struct {
		name      string
		byStream  bool // one stream suffices to see it
		begin     history
		good, bad history
	}{
		{"stale read after an acknowledged append", true, appended(1, 2, a1),
			sawStream(3, 4, "a", a1), sawStream(3, 4, "a")},
		{"stale newest event", true, both(appended(1, 2, a1), appended(3, 4, a2)),
			sawNewest(5, 6, "a", a2), sawNewest(5, 6, "a", a1)},
		{"stale read of a position", false, appended(1, 2, a1),
			sawAt(3, 4, 1, a1), sawAt(3, 4, 1)},
		{"stale watermark", false, appended(1, 2, a1),
			sawVisible(3, 4, 1), sawVisible(3, 4, 0)},
		{"two win on the same clock", true, met(1, 4, empty("x"), a1),
			refused(2, 3, empty("y"), atClock(1)), met(2, 3, empty("y"), a2)},
		{"two get the same clock", true, met(1, 4, empty("x"), a1),
			refused(2, 3, empty("y"), atClock(1)), met(2, 3, empty("y"), moved(a2, 2, 1))},
		{"a conflict with what comes later", true, appended(3, 4, a1),
			refused(5, 6, empty("y"), atClock(1)), refused(1, 2, empty("y"), atClock(1))},
		{"a conflict with another clock", true, appended(1, 2, a1),
			refused(3, 4, empty("y"), atClock(1)), refused(3, 4, empty("y"), atClock(2))},
		{"seq goes back in real time", false, nil,
			both(appended(1, 2, a1), appended(3, 4, b2)), both(appended(1, 2, moved(a1, 2, 1)), appended(3, 4, b1))},
		{"clock goes back in real time", true, nil,
			both(appended(1, 2, a1), appended(3, 4, a2)), both(appended(1, 2, moved(a1, 2, 2)), appended(3, 4, moved(a2, 1, 1)))},
		{"a seq left out", false, appended(1, 2, a1),
			appended(3, 4, b2), appended(3, 4, b3)},
		{"seen, and then not", true, both(appended(1, 10, a1), sawStream(2, 3, "a", a1)),
			sawStream(4, 5, "a", a1), sawStream(4, 5, "a")},
		{"seen in its stream, and then not at its position", false, both(appended(1, 10, a1), sawStream(2, 3, "a", a1)),
			sawAt(4, 5, 1, a1), sawAt(4, 5, 1)},
		{"a watermark goes back", false, both(appended(1, 10, a1), sawVisible(2, 3, 1)),
			sawVisible(4, 5, 1), sawVisible(4, 5, 0)},
		{"positions not settled", false, both(both(appended(1, 10, a1), appended(1, 10, b2)), sawAt(2, 3, 2, b2)),
			sawAt(4, 5, 1, a1), sawAt(4, 5, 1)},
		{"an acknowledged append lost", true, appended(1, 2, a1),
			appended(3, 4, a2), appended(3, 4, moved(a2, 1, 1))},
		{"an acknowledged append lost, and its watermark", false, appended(1, 2, a1),
			sawAccepted(3, 4, 1), sawAccepted(3, 4, 0)},
		{"half of a batch in one stream", true, appended(1, 10, a1, a2),
			sawStream(2, 3, "a", a1, a2), sawStream(2, 3, "a", a1)},
		{"half of a batch over two streams", false, both(appended(1, 10, a1, b2), sawStream(2, 3, "a", a1)),
			sawStream(4, 5, "b", b2), sawStream(4, 5, "b")},
		{"a watermark within a batch", false, appended(1, 10, a1, a2),
			sawVisible(2, 3, 2), sawVisible(2, 3, 1)},
		{"an accepted watermark within a batch", false, appended(1, 10, a1, a2),
			sawAccepted(2, 3, 2), sawAccepted(2, 3, 1)},
		{"a batch not side by side", false, nil,
			both(appended(1, 10, a1, a2), appended(1, 10, b3)), both(appended(1, 10, a1, moved(a2, 3, 2)), appended(1, 10, b2))},
		{"a condition met that is not", true, appended(1, 2, a1),
			refused(3, 4, none(0), found(ErrConflict, 1)), met(3, 4, none(0), a2)},
		{"a condition refused that is met", true, appended(1, 2, a1),
			met(3, 4, none(1), a2), refused(3, 4, none(1), found(ErrConflict, 1))},
		{"the same request twice", true, appended(1, 2, keyed),
			appended(3, 4, keyed), appended(3, 4, twice)},
		{"another request with the same key", true, appended(1, 2, keyed),
			refused(3, 4, other, found(ErrIdempotencyMismatch, 1)), met(3, 4, other, placed{2, "a", 2, "y", "k"})},
		{"another event in its place", false, appended(1, 2, a1),
			sawAt(3, 4, 1, a1), sawAt(3, 4, 1, placed{1, "a", 1, "z", ""})},
		{"an event that nobody appended", true, appended(1, 2, a1),
			sawStream(3, 4, "b"), sawStream(3, 4, "b", b2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			good, bad := both(c.begin, c.good), both(c.begin, c.bad)
			if !good.linearizable(true) || !good.linearizable(false) {
				t.Errorf("no order is found for\n%v", good)
			}
			if bad.linearizable(true) || c.byStream && bad.linearizable(false) {
				t.Errorf("an order is found for\n%v", bad)
			}
		})
	}
}
