package index

import (
	"bytes"
	"slices"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// A merging is when runs become one. A fold writes a run of level 0. Once there are fanIn runs of one level, as many of
// the oldest as fit the bounds become one run of the next level; if that is one, only its level changes. Levels never rise
// from a run to the one after it, so what is merged is contiguous.
//
// So there are fewer than fanIn runs of each level, and an event is written at most once for each level: after n folds
// there are about log n levels, to base fanIn, whatever the sizes of the folds, until runs reach the bounds.
type merging struct {
	fanIn int
	span  event.Seq // at most so many events in a merged run
	bytes int64     // of the runs that are merged, together at most
}

// The bounds of a merge: how many runs, and how much memory. Half a million events with names of 20 bytes have a run of 11
// to 15 MB, and the file has room for two of them that is free at most times.
const (
	maxFanIn      = 8
	maxMergeSpan  = 1 << 19
	maxMergeBytes = 32 << 20
)

var defaultMerging = merging{fanIn: maxFanIn, span: maxMergeSpan, bytes: maxMergeBytes}

// due returns the range of the runs to merge now, of which there may be one; from == to if there are none.
func (g *merging) due(runs []runRef) (from, to int) {
	for to = len(runs); to > 0; to = from {
		for from = to; from > 0 && runs[from-1].level == runs[to-1].level; {
			from--
		}
		if to-from >= g.fanIn {
			return from, from + g.fit(runs[from:from+g.fanIn])
		}
	}
	return 0, 0
}

// fit returns how many of the runs may become one, from the first.
func (g *merging) fit(runs []runRef) int {
	span, size := event.Seq(0), int64(0)
	for n, r := range runs {
		span += r.last - r.first + 1
		size += int64(r.size)
		if n > 0 && (span > g.span || size > g.bytes) {
			return n
		}
	}
	return len(runs)
}

// merge merges what is due, until nothing is.
func (x *Index) merge() error {
	for {
		from, to := x.merging.due(x.folded.Load().runs)
		if from == to {
			return nil
		}
		err := x.update(func(tx kv.Tx, m *meta) error { return m.merge(tx, &x.writer, from, to) })
		if err != nil {
			return err
		}
	}
}

// merge replaces runs from to to-1 by one of the next level.
func (m *meta) merge(tx kv.Tx, w *runWriter, from, to int) error {
	if to-from == 1 {
		m.runs[from].level++
		return nil
	}
	refs := slices.Clone(m.runs[from:to])
	sources := make([]mergeSource, len(refs))
	for i := range refs {
		r, err := refs[i].open(tx)
		if err != nil {
			return err
		}
		sources[i] = mergeSource{run: r, ref: &refs[i]}
	}
	b, err := mergeSources(w, sources)
	if err != nil {
		return err
	}
	m.runs = slices.Delete(m.runs, from, to)
	if err := m.putRun(tx, from, refs[0].level+1, b); err != nil {
		return err
	}
	for i := range refs {
		if err := tx.Delete(refs[i].bucket, refs[i].key); err != nil {
			return err
		}
	}
	return nil
}

// A mergeSource is a run and the place in it.
type mergeSource struct {
	run
	ref *runRef
	i   int
	cur []byte // term i; nil at the end
}

func (s *mergeSource) advance() error {
	s.i++
	return s.load()
}

// load sets cur.
func (s *mergeSource) load() error {
	if s.i == s.len() {
		s.cur = nil
		return nil
	}
	if s.cur = s.term(s.i); s.cur == nil {
		return s.ref.damaged(errTerms)
	}
	return nil
}

// mergeSources returns the run that holds what the sources do, which are in order. w writes it.
func mergeSources(w *runWriter, sources []mergeSource) ([]byte, error) {
	beginMerged(w, sources)
	for i := range sources {
		if err := sources[i].load(); err != nil {
			return nil, err
		}
	}
	for {
		least := leastTerm(sources)
		if least == nil {
			return w.encode(), nil
		}
		if err := mergeTerm(w, sources, least); err != nil {
			return nil, err
		}
	}
}

// beginMerged begins a run with the rows of all sources, and sets memory aside for what is to come.
func beginMerged(w *runWriter, sources []mergeSource) {
	var times, rows [][]byte
	size := runHeader
	for i := range sources {
		s := &sources[i]
		times, rows = append(times, s.times), append(rows, s.rows)
		size += int(s.ref.size)
	}
	w.begin(sources[0].first, sources[len(sources)-1].last, size, times, rows)
}

func leastTerm(sources []mergeSource) []byte {
	var least []byte
	for i := range sources {
		if c := sources[i].cur; c != nil && (least == nil || bytes.Compare(c, least) < 0) {
			least = c
		}
	}
	return least
}

// mergeTerm writes the list of one term, and moves the sources that have it past it.
func mergeTerm(w *runWriter, sources []mergeSource, term []byte) error {
	var lists [maxFanIn]list
	count := 0
	for i := range sources {
		s := &sources[i]
		if !bytes.Equal(s.cur, term) {
			continue
		}
		l, err := s.list(s.i)
		if err != nil {
			return s.ref.damaged(err)
		}
		lists[i] = l
		count += l.count
	}
	out := w.term(term, count)
	for i := range sources {
		if lists[i].count == 0 {
			continue
		}
		s := &sources[i]
		if err := copyList(&out, &lists[i], uint32(s.first-sources[0].first)); err != nil {
			return s.ref.damaged(err)
		}
		if err := s.advance(); err != nil {
			return err
		}
	}
	w.done(&out)
	return nil
}

// copyList appends the postings of l, raised by base.
func copyList(out *listWriter, l *list, base uint32) error {
	var buf [blockLen]uint32
	for k := range l.blocks() {
		block, err := l.block(k, buf[:])
		if err != nil {
			return err
		}
		for _, v := range block {
			out.add(base + v)
		}
	}
	return nil
}
