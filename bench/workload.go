package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"
)

// The shape of the workload that is the same in every run.
const (
	scopeCount = 100
	kindCount  = 8
	firstKind  = 0xF001
	nameBytes  = len("entity:0000000")
	textBytes  = 32 << 10
)

// A key is what a system finds an event by in a point read: an id of 16 bytes, or a position in the last 8.
type key [16]byte

// positionKey is the key of a system whose events have nothing but a position.
func positionKey(position uint64) (k key) {
	binary.BigEndian.PutUint64(k[8:], position)
	return k
}

func (k key) position() uint64 { return binary.BigEndian.Uint64(k[8:]) }

// An event is one of the workload, on its way into a system or out of it. Its strings and payload may alias a system's
// memory and are then valid until the call that handed it out goes on.
type event struct {
	Number  uint64 // in the workload, from 0; the first 8 bytes of the payload
	Entity  string
	Scope   string
	Kind    uint16
	Payload []byte

	Key  key   // given by the system
	Time int64 // of the commit, nanoseconds since 1970; given by the system
}

// A workload is an endless stream of events of which each can be computed from its number, so that what a system
// returns can be checked without a copy. The entity is drawn from a number of them: the share of the k-th most frequent
// falls as k^(-3/4), so of 10 000 entities the first has a tenth of the events and 10 000 events belong to 3900. Scope and
// kind are drawn evenly. The payload is the number, random bytes up to its half, and English words.
type workload struct {
	seed     uint64
	payload  int // bytes, at least 16
	entities int
	inTurn   uint64 // the events with lower numbers belong to the entities in turn, instead of as drawn

	names  string // of all entities, in the order of their numbers
	scopes [scopeCount]string
	text   []byte
}

func newWorkload(seed uint64, payload, entities int) *workload {
	w := &workload{seed: seed, payload: payload, entities: entities, text: makeText(textBytes)}
	var names strings.Builder
	names.Grow(entities * nameBytes)
	digits := []byte("entity:0000000")
	for i := range entities {
		for j, v := nameBytes-1, i; j >= len("entity:"); j, v = j-1, v/10 {
			digits[j] = '0' + byte(v%10)
		}
		names.Write(digits)
	}
	w.names = names.String()
	for i := range w.scopes {
		w.scopes[i] = fmt.Sprintf("scope:%02d", i)
	}
	return w
}

const words = "account amount approved balance booked cancelled carrier created customer delivered departure destination due " +
	"email failed flight gate invoice issued item landed late limit method moved name note notified number opened order " +
	"origin paid payment pending player price quantity reason received refund rejected requested returned room route " +
	"scheduled sent settled shipped signed source started status stored ticket total transfer updated user value verified"

// makeText joins words in an order that does not repeat.
func makeText(n int) []byte {
	list := strings.Fields(words)
	var text []byte
	for i := uint64(0); len(text) < n; i++ {
		text = append(append(text, list[mix(i)%uint64(len(list))]...), ' ')
	}
	return text[:n]
}

const golden = 0x9E3779B97F4A7C15

// mix is the output function of splitmix64.
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// A draw is what decides all of an event.
type draw struct {
	coordinate, payload uint64
	rank                int // of the entity
}

func (w *workload) draw(number uint64) draw {
	h := mix(w.seed ^ mix(number))
	if number < w.inTurn {
		return draw{h, mix(h), int(number % uint64(w.entities))}
	}
	u := float64(h>>32) * (1.0 / (1 << 32))
	square := u * u
	return draw{h, mix(h), int(square * square * float64(w.entities))}
}

// rank returns the entity's place by frequency.
func (w *workload) rank(d draw) int { return d.rank }

// name returns the name of the entity with this rank. Neighbours in rank are apart in the order of names.
func (w *workload) name(rank int) string {
	i := (rank*7919 + 13) % w.entities * nameBytes
	return w.names[i : i+nameBytes]
}

func (w *workload) scope(d draw) int { return int(d.coordinate & 0xFFFF % scopeCount) }
func (w *workload) kind(d draw) int  { return int(d.coordinate >> 16 & 0xFFFF % kindCount) }

// fill makes e the event with this number. It reuses e.Payload.
func (w *workload) fill(e *event, number uint64) {
	d := w.draw(number)
	e.Number = number
	e.Entity, e.Scope, e.Kind = w.name(w.rank(d)), w.scopes[w.scope(d)], uint16(firstKind+w.kind(d))
	if cap(e.Payload) < w.payload {
		e.Payload = make([]byte, w.payload)
	}
	p := e.Payload[:w.payload]
	binary.LittleEndian.PutUint64(p, number)
	half := w.payload / 2
	for i, x := 8, d.payload; i < half; i, x = i+8, x+golden {
		binary.LittleEndian.PutUint64(p[i:], mix(x))
	}
	copy(p[half:], w.words(d))
	e.Payload = p
}

// words returns the text of a payload.
func (w *workload) words(d draw) []byte {
	start := int(d.payload % (textBytes / 2))
	return w.text[start : start+w.payload-w.payload/2]
}

// check compares e with the event that its payload says it is, and sets its number.
func (w *workload) check(e *event) error {
	if len(e.Payload) != w.payload {
		return fmt.Errorf("payload of %d bytes instead of %d", len(e.Payload), w.payload)
	}
	e.Number = binary.LittleEndian.Uint64(e.Payload)
	d := w.draw(e.Number)
	switch {
	case e.Entity != w.name(w.rank(d)):
		return fmt.Errorf("event %d has entity %q instead of %q", e.Number, e.Entity, w.name(w.rank(d)))
	case e.Scope != w.scopes[w.scope(d)]:
		return fmt.Errorf("event %d has scope %q instead of %q", e.Number, e.Scope, w.scopes[w.scope(d)])
	case e.Kind != uint16(firstKind+w.kind(d)):
		return fmt.Errorf("event %d has kind %#x instead of %#x", e.Number, e.Kind, firstKind+w.kind(d))
	}
	half := w.payload / 2
	for i, x := 8, d.payload; i < half; i, x = i+8, x+golden {
		if binary.LittleEndian.Uint64(e.Payload[i:]) != mix(x) {
			return fmt.Errorf("event %d has another payload at byte %d", e.Number, i)
		}
	}
	if !bytes.Equal(e.Payload[half:], w.words(d)) {
		return fmt.Errorf("event %d has another text", e.Number)
	}
	return nil
}

// digest is over the first n events. A harness in another language proves with it that its workload is this one.
func (w *workload) digest(n uint64) string {
	h := fnv.New64a()
	var e event
	for i := range n {
		w.fill(&e, i)
		fmt.Fprintf(h, "%s %s %x ", e.Entity, e.Scope, e.Kind)
		h.Write(e.Payload)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}
