package index

import (
	"fmt"
	"slices"
	"strings"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// foldSpan is how many events go into one new run at most. An event has at most 14 terms (8 namespaces of its entity, and
// one for each other tag), of 1030 bytes at most and with 16 bytes of offsets and list each: 65 536 events come to
// 1 GiB at most, which fits a value of kv.
const foldSpan = 1 << 16

// Fold writes the events of the tail up to p.Seq, a commit boundary not before Position, and p itself in one transaction,
// merges the runs that are due in the same one, and drops those events from the tail. If it fails nothing is lost: the
// tail keeps the events, and readers go on. What it writes must be durable in the log already.
//
// One goroutine may fold at a time, beside Append and any number of readers. It costs memory for the largest merge,
// about maxMergeBytes three times over.
func (x *Index) Fold(p Position) error {
	s := x.tail.snap()
	if p.Seq+1 < s.first || p.Seq > s.last {
		panic(fmt.Sprintf("index: fold to %d, and the tail is %d to %d", p.Seq, s.first, s.last))
	}
	f := fold{x: x}
	err := x.db.Update(func(tx kv.Tx) error {
		m, err := x.metaIn(tx)
		if err != nil {
			return err
		}
		f.tx, f.next = tx, &meta{position: p, runs: slices.Clone(m.runs)}
		return f.write(&s, m.position.Seq)
	})
	for _, r := range f.merged {
		x.verified.Delete(r.id())
	}
	if err != nil {
		return damage(err)
	}
	x.meta.Store(f.next)
	x.tail.drop(p.Seq)
	return nil
}

// fold is one transaction of Fold.
type fold struct {
	x      *Index
	tx     kv.Tx
	next   *meta
	merged []runRef // that are no more
}

// write writes what follows the event at from, up to the new position.
func (f *fold) write(s *snapshot, from event.Seq) error {
	through := f.next.position.Seq
	if err := f.putRows(s, from, through); err != nil {
		return err
	}
	for from < through {
		to := min(from+foldSpan, through)
		if err := f.putRun(len(f.next.runs), runOf(s, from, to)); err != nil {
			return err
		}
		if err := f.merge(); err != nil {
			return err
		}
		from = to
	}
	return f.x.putMeta(f.tx, f.next)
}

// putRows writes the rows of (from, through]. The block that holds from and has room is written again.
func (f *fold) putRows(s *snapshot, from, through event.Seq) error {
	var block []byte
	if from%blockRows != 0 {
		r := rowReader{tx: f.tx}
		if _, err := r.row(from); err != nil {
			return err
		}
		if r.block.len() != int(from%blockRows) {
			return damagedRows(r.n, fmt.Errorf("%d rows after a fold to %d", r.block.len(), from))
		}
		block = slices.Clone(f.tx.Get(rowsBucket, rowsKey(r.n)))
	}
	for seq := from + 1; seq <= through; seq++ {
		block = appendRow(block, s.entry(seq))
		if seq%blockRows != 0 && seq != through {
			continue
		}
		sealRowBlock(block)
		if err := f.tx.Put(rowsBucket, rowsKey(blockOf(seq)), block); err != nil {
			return err
		}
		block = block[:0]
	}
	return nil
}

// putRun writes a run and enters it as number i.
func (f *fold) putRun(i int, b []byte) error {
	r, err := parseRun(b)
	if err != nil {
		return err
	}
	ref := runRef{first: r.first, last: r.last, size: uint32(len(b)), slot: f.next.freeSlot()}
	f.next.runs = slices.Insert(f.next.runs, i, ref)
	return f.tx.Put(ref.bucket(), ref.key(), b)
}

// runOf returns the encoded run of the events (from, through] of s.
func runOf(s *snapshot, from, through event.Seq) []byte {
	b := newRunBuilder(from+1, through)
	for seq := from + 1; seq <= through; seq++ {
		e := s.slot(seq)
		b.add(&e.entry.Header, e.prev)
	}
	return b.build()
}

// A runBuilder collects the terms of events, numbered in the order in which they are first seen.
type runBuilder struct {
	first, last event.Seq
	ids         map[string]uint32
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
		ids:    make(map[string]uint32, n/2),
		used:   make([]uint32, 0, 4*n),
		events: make([]usedTerms, 0, n),
	}
}

// add adds the next event. Its stream's terms are those of prev, the event before it in the stream, if that is in the run.
func (b *runBuilder) add(h *event.Header, prev event.Seq) {
	u := usedTerms{from: uint32(len(b.used))}
	if prev >= b.first {
		p := b.events[prev-b.first]
		for _, id := range b.used[p.from:p.stream] {
			b.use(id)
		}
	} else {
		b.addStream(h.Stream())
	}
	u.stream = uint32(len(b.used))
	b.term(appendTextTerm(b.scratch[:0], tagScope, h.Scope))
	b.term(appendKindTerm(b.scratch[:0], h.Kind))
	if h.Correlation != h.ID && !h.Correlation.IsZero() {
		b.term(appendCorrelationTerm(b.scratch[:0], h.Correlation))
	}
	if h.Key != "" {
		b.term(appendTextTerm(b.scratch[:0], tagKey, h.Key))
	}
	u.to = uint32(len(b.used))
	b.events = append(b.events, u)
}

func (b *runBuilder) addStream(s event.Stream) {
	b.term(appendStreamTerm(b.scratch[:0], s))
	namespaces(s.Entity, func(n string) { b.term(appendTextTerm(b.scratch[:0], tagNamespace, n)) })
	if s.Lane != 0 {
		b.term(appendLaneTerm(b.scratch[:0], s.Lane))
	}
}

func (b *runBuilder) term(term []byte) {
	b.scratch = term
	id, ok := b.ids[string(term)]
	if !ok {
		id = uint32(len(b.names))
		name := string(term)
		b.ids[name] = id
		b.names = append(b.names, name)
		b.counts = append(b.counts, 0)
	}
	b.use(id)
}

func (b *runBuilder) use(id uint32) {
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
	w := runWriter{first: b.first, last: b.last}
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
