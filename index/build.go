package index

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/batpak/batpak/event"
)

// runOf returns the encoded run of the events (from, through] of s.
func runOf(s *snapshot, from, through event.Seq) []byte {
	b := newRunBuilder(from+1, through)
	for seq := from + 1; seq <= through; seq++ {
		e := s.slot(seq)
		b.add(e.entry, e.prev)
	}
	return b.build()
}

// A runBuilder collects the terms of events, numbered in the order in which they are first seen.
type runBuilder struct {
	first, last event.Seq
	times, rows []byte
	ids         map[string]uint32 // of the terms
	names       []string
	counts      []uint32 // postings by term
	used        []uint32 // the terms of all events, end to end
	events      []usedTerms
	scratch     []byte
}

// usedTerms says which of used are the terms of an event, those of its stream in front.
type usedTerms struct{ from, stream, to uint32 }

func newRunBuilder(first, last event.Seq) *runBuilder {
	n := int(last + 1 - first)
	return &runBuilder{
		first: first, last: last,
		rows:   make([]byte, 0, rowBytes*n),
		ids:    make(map[string]uint32, n/2),
		used:   make([]uint32, 0, 4*n),
		events: make([]usedTerms, 0, n),
	}
}

// add adds the next event. Its stream's terms are those of prev, the event before it in the stream, if that is in the run.
func (b *runBuilder) add(e *Entry, prev event.Seq) {
	b.addRow(e)
	h := &e.Header
	u := usedTerms{from: uint32(len(b.used))}
	if prev >= b.first {
		p := b.events[prev-b.first]
		for _, id := range b.used[p.from:p.stream] {
			b.useID(id)
		}
	} else {
		b.addStream(h.Stream())
	}
	u.stream = uint32(len(b.used))
	b.use(appendTextTerm(b.scratch[:0], tagScope, h.Scope))
	b.use(appendKindTerm(b.scratch[:0], h.Kind))
	if h.Correlation != h.ID && !h.Correlation.IsZero() {
		b.use(appendCorrelationTerm(b.scratch[:0], h.Correlation))
	}
	if h.Key != "" {
		b.use(appendTextTerm(b.scratch[:0], tagKey, h.Key))
	}
	u.to = uint32(len(b.used))
	b.events = append(b.events, u)
}

func (b *runBuilder) addRow(e *Entry) {
	if e.Header.Seq%timeStride == 1 {
		b.times = binary.LittleEndian.AppendUint64(b.times, uint64(e.Header.Time))
	}
	b.rows = binary.LittleEndian.AppendUint32(b.rows, e.Offset)
	b.rows = binary.LittleEndian.AppendUint32(b.rows, e.Length)
	b.rows = append(b.rows, e.Hash[:8]...)
}

func (b *runBuilder) addStream(s event.Stream) {
	b.use(appendStreamTerm(b.scratch[:0], s))
	namespaces(s.Entity, func(n string) { b.use(appendTextTerm(b.scratch[:0], tagNamespace, n)) })
	if s.Lane != 0 {
		b.use(appendLaneTerm(b.scratch[:0], s.Lane))
	}
}

// use enters a term of the current event. The term may be in b.scratch.
func (b *runBuilder) use(term []byte) {
	b.scratch = term
	id, ok := b.ids[string(term)]
	if !ok {
		id = uint32(len(b.names))
		name := string(term)
		b.ids[name] = id
		b.names = append(b.names, name)
		b.counts = append(b.counts, 0)
	}
	b.useID(id)
}

func (b *runBuilder) useID(id uint32) {
	b.used = append(b.used, id)
	b.counts[id]++
}

// build returns the encoded run.
func (b *runBuilder) build() []byte {
	postings, starts := b.postings()
	order := make([]uint32, len(b.names))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(i, j uint32) int { return strings.Compare(b.names[i], b.names[j]) })
	w := runWriter{first: b.first, last: b.last, times: [][]byte{b.times}, rows: [][]byte{b.rows}}
	for _, id := range order {
		l := w.term([]byte(b.names[id]), int(b.counts[id]))
		for _, v := range postings[starts[id]:][:b.counts[id]] {
			l.add(v)
		}
		w.done(&l)
	}
	return w.encode()
}

// postings returns the postings of all terms, ascending within each, and where those of each term start.
func (b *runBuilder) postings() (postings, starts []uint32) {
	starts = make([]uint32, len(b.counts))
	sum := uint32(0)
	for id, n := range b.counts {
		starts[id] = sum
		sum += n
	}
	next := slices.Clone(starts)
	postings = make([]uint32, sum)
	for i, u := range b.events {
		for _, id := range b.used[u.from:u.to] {
			postings[next[id]] = uint32(i)
			next[id]++
		}
	}
	return postings, starts
}
