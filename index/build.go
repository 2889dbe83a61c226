package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/batpak/batpak/event"
)

// A runBuilder makes the run of events. It collects their terms, numbered in the order in which they are first seen. It is
// used again for the next run, so that a fold allocates little but the run itself.
type runBuilder struct {
	first       event.Seq
	times, rows []byte
	terms       []byte            // end to end
	ends        []uint32          // where each ends in terms
	counts      []uint32          // postings by term
	ids         map[string]uint32 // of the terms, but those of streams
	recent      [256]uint32       // of some of them, less one: by a few of their bytes
	used        []uint32          // the terms of all events, end to end
	events      []usedTerms
	scratch     []byte
	postings    []uint32 // scratch of build
	postEnds    []uint32
	order       []sortedTerm
}

// usedTerms says which of used are the terms of an event, those of its stream in front.
type usedTerms struct{ from, stream, to uint32 }

// A sortedTerm is a term and the bytes of it that tell it from most others.
type sortedTerm struct {
	key uint64
	id  uint32
}

// run returns the encoded run of the events (from, through] of s, which w writes.
func (b *runBuilder) run(w *runWriter, s *snapshot, from, through event.Seq) []byte {
	b.reset(from + 1)
	for seq := from + 1; seq <= through; seq++ {
		e := s.slot(seq)
		b.add(e.entry, e.prev)
	}
	return b.build(w, through)
}

func (b *runBuilder) reset(first event.Seq) {
	if b.ids == nil {
		b.ids = make(map[string]uint32)
	}
	clear(b.ids)
	clear(b.recent[:])
	b.first = first
	b.times, b.rows, b.terms = b.times[:0], b.rows[:0], b.terms[:0]
	b.ends, b.counts, b.used, b.events = b.ends[:0], b.counts[:0], b.used[:0], b.events[:0]
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

// addStream enters the terms of a stream that no event before had.
func (b *runBuilder) addStream(s event.Stream) {
	b.scratch = appendStreamTerm(b.scratch[:0], s)
	b.useID(b.enter(b.scratch))
	namespaces(s.Entity, func(n string) { b.use(appendTextTerm(b.scratch[:0], tagNamespace, n)) })
	if s.Lane != 0 {
		b.use(appendLaneTerm(b.scratch[:0], s.Lane))
	}
}

// use enters a term of the current event, unless it is there. The term may be in b.scratch.
func (b *runBuilder) use(term []byte) {
	b.scratch = term
	n := len(term)
	recent := &b.recent[term[n-1]+31*term[n/2]+7*term[0]] // saves most look-ups, as scopes and kinds are few
	if *recent > 0 && bytes.Equal(b.term(*recent-1), term) {
		b.useID(*recent - 1)
		return
	}
	id, ok := b.ids[string(term)]
	if !ok {
		id = b.enter(term)
		b.ids[string(term)] = id
	}
	*recent = id + 1
	b.useID(id)
}

// enter gives a new term its number.
func (b *runBuilder) enter(term []byte) uint32 {
	b.terms = append(b.terms, term...)
	b.ends = append(b.ends, uint32(len(b.terms)))
	b.counts = append(b.counts, 0)
	return uint32(len(b.ends) - 1)
}

func (b *runBuilder) useID(id uint32) {
	b.used = append(b.used, id)
	b.counts[id]++
}

// term returns a term by its number.
func (b *runBuilder) term(id uint32) []byte {
	from := uint32(0)
	if id > 0 {
		from = b.ends[id-1]
	}
	return b.terms[from:b.ends[id]]
}

// build returns the encoded run, which ends at last.
func (b *runBuilder) build(w *runWriter, last event.Seq) []byte {
	b.post()
	b.sort()
	size := runHeader + len(b.times) + len(b.rows) + len(b.terms) + 2*len(b.used) + 11*len(b.ends)
	w.begin(b.first, last, size, [][]byte{b.times}, [][]byte{b.rows})
	for _, t := range b.order {
		l := w.term(b.term(t.id), int(b.counts[t.id]))
		to := b.postEnds[t.id]
		for _, v := range b.postings[to-b.counts[t.id] : to] {
			l.add(v)
		}
		w.done(&l)
	}
	return w.encode()
}

// post sets postings to those of all terms, ascending within each, and postEnds to where those of each term end.
func (b *runBuilder) post() {
	b.postEnds = b.postEnds[:0]
	sum := uint32(0)
	for _, n := range b.counts {
		b.postEnds = append(b.postEnds, sum)
		sum += n
	}
	b.postings = slices.Grow(b.postings[:0], int(sum))[:sum]
	for i, u := range b.events {
		for _, id := range b.used[u.from:u.to] {
			b.postings[b.postEnds[id]] = uint32(i)
			b.postEnds[id]++
		}
	}
}

// sort sets order. Most terms are told apart by their tag and the first bytes after those that all with the tag begin with.
func (b *runBuilder) sort() {
	var common [256][]byte
	for id := range b.ends {
		t := b.term(uint32(id))
		if c := common[t[0]]; c != nil {
			t = c[:commonBytes(c, t)]
		}
		common[t[0]] = t
	}
	b.order = b.order[:0]
	for id := range b.ends {
		t := b.term(uint32(id))
		key := [8]byte{t[0]}
		copy(key[1:], t[len(common[t[0]]):])
		b.order = append(b.order, sortedTerm{binary.BigEndian.Uint64(key[:]), uint32(id)})
	}
	slices.SortFunc(b.order, func(x, y sortedTerm) int {
		if x.key != y.key {
			return cmp.Compare(x.key, y.key)
		}
		return bytes.Compare(b.term(x.id), b.term(y.id))
	})
}

// commonBytes returns how many bytes a and b both begin with, of which there is at least one.
func commonBytes(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
