package index

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/batpak/batpak/event"
)

// A cursor walks the postings of one run in one direction.
//
// Ascending, seek returns the first posting at or above v; descending, the last one at or below v; false if there is
// none. Successive calls of an ascending cursor must not lower v, nor raise it for a descending one.
type cursor interface {
	seek(v uint32) (uint32, bool, error)
}

// listCursor walks a list. It decodes a block at a time.
type listCursor struct {
	list
	reverse bool
	asked   bool   // since then:
	found   uint32 // the last answer, which is good until it has been passed
	ok      bool
	k       int      // the block in values
	values  []uint32 // nil: none decoded yet
	buf     []uint32 // for values
}

func (c *listCursor) seek(v uint32) (_ uint32, _ bool, err error) {
	if !c.asked || c.ok && (!c.reverse && c.found < v || c.reverse && c.found > v) {
		c.asked = true
		c.found, c.ok, err = c.search(v)
	}
	return c.found, c.ok, err
}

func (c *listCursor) search(v uint32) (uint32, bool, error) {
	if !c.holds(v) {
		if err := c.load(max(c.find(v), 0)); err != nil {
			return 0, false, err
		}
	}
	i, exact := slices.BinarySearch(c.values, v)
	switch {
	case exact:
		return v, true, nil
	case c.reverse && i == 0: // below the first of all
		return 0, false, nil
	case c.reverse:
		return c.values[i-1], true, nil
	case i < len(c.values):
		return c.values[i], true, nil
	case c.k+1 == c.blocks():
		return 0, false, nil
	}
	if err := c.load(c.k + 1); err != nil {
		return 0, false, err
	}
	if c.values[0] <= v {
		return 0, false, errList
	}
	return c.values[0], true, nil
}

// holds reports whether the decoded block is the one to look for v in.
func (c *listCursor) holds(v uint32) bool {
	return c.values != nil && v >= c.values[0] && v <= c.values[len(c.values)-1]
}

func (c *listCursor) load(k int) error {
	if c.values != nil && c.k == k {
		return nil
	}
	if need := min(blockLen, c.count); len(c.buf) < need {
		c.buf = make([]uint32, need)
	}
	values, err := c.block(k, c.buf)
	if err != nil {
		return err
	}
	c.k, c.values = k, values
	return nil
}

// oneCursor is a list of one posting.
type oneCursor struct {
	v       uint32
	reverse bool
}

func (c oneCursor) seek(v uint32) (uint32, bool, error) {
	return c.v, !c.reverse && c.v >= v || c.reverse && c.v <= v, nil
}

// orCursor is the union of cursors, of which there is at least one.
type orCursor struct {
	of      []cursor
	reverse bool
}

func (c *orCursor) seek(v uint32) (best uint32, found bool, err error) {
	for _, o := range c.of {
		w, ok, err := o.seek(v)
		if err != nil {
			return 0, false, err
		}
		if ok && (!found || !c.reverse && w < best || c.reverse && w > best) {
			best, found = w, true
		}
	}
	return best, found, nil
}

// andCursor is the intersection of cursors: each in turn leaps to where the one before it is, until all are at the same
// posting. Without any, it is all events.
type andCursor []counted

type counted struct {
	cursor
	count int // of its postings, at most
}

func (c andCursor) seek(v uint32) (uint32, bool, error) {
	for i, agreed := 0, 0; agreed < len(c); i = (i + 1) % len(c) {
		w, ok, err := c[i].seek(v)
		if !ok || err != nil {
			return 0, false, err
		}
		if w != v {
			v, agreed = w, 0
		}
		agreed++
	}
	return v, true, nil
}

// A selection is the terms that narrow a query. The rest of the query is left to Query.Match.
type selection []union

// A union is the events that have any of the terms, and one more if also is not 0.
type union struct {
	terms []termRange
	also  event.Seq
}

// A termRange is the terms at or above from that are below to; from alone if to is nil. One that begins with tagEntity is all
// streams of an entity.
type termRange struct{ from, to []byte }

// selectionOf returns what narrows q: an intersection of unions of term ranges.
func selectionOf(q *event.Query) (s selection) {
	switch {
	case q.Entity != "" && q.Lane != nil:
		s.one(appendStreamTerm(nil, event.Stream{Entity: q.Entity, Lane: *q.Lane}))
	case q.Entity != "":
		s.add(entityRange(q.Entity))
	case q.Prefix != "":
		s.addPrefix(q.Prefix)
	}
	if q.Entity == "" && q.Lane != nil && *q.Lane != 0 {
		s.one(appendLaneTerm(nil, *q.Lane))
	}
	if q.Scope != "" {
		s.one(appendTextTerm(nil, tagScope, q.Scope))
	}
	switch {
	case q.Kind != 0:
		s.one(appendKindTerm(nil, q.Kind))
	case q.Category != nil:
		s.addCategory(*q.Category)
	}
	if !q.Correlation.IsZero() {
		began := termRange{from: appendCorrelationTerm(nil, q.Correlation)}
		s = append(s, union{[]termRange{began}, q.Correlation.Seq()})
	}
	return s
}

func (s *selection) add(terms ...termRange) { *s = append(*s, union{terms: terms}) }

func (s *selection) one(term []byte) { s.add(termRange{from: term}) }

// entityRange is all streams of an entity.
func entityRange(entity string) termRange {
	from := appendEntityTerms(nil, entity)
	to := bytes.Clone(from)
	to[len(to)-1] = 1
	return termRange{from, to}
}

func (s *selection) addPrefix(prefix string) {
	namespace, exact := indexedNamespace(prefix)
	below := termRange{from: appendTextTerm(nil, tagNamespace, namespace)}
	if exact {
		s.add(below, entityRange(prefix))
	} else {
		s.add(below)
	}
}

func (s *selection) addCategory(c event.Category) {
	from := appendKindTerm(nil, event.Kind(c)<<12)
	to := appendKindTerm(nil, event.Kind(c)<<12|0xFFF)
	s.add(termRange{from, append(to, 0)})
}

// cursors is the memory of the cursors over one run, which those over the next take again.
type cursors struct {
	reverse bool
	and     andCursor
	of      []cursor
	lists   []*listCursor
	used    int // of the lists
}

// over returns the candidates that s selects in r, or nil if there are none. What it returned before is of no use any more.
func (m *cursors) over(s selection, r *run) (cursor, error) {
	m.and, m.of, m.used = m.and[:0], m.of[:0], 0
	for i := range s {
		c, err := m.union(&s[i], r)
		if c.count == 0 || err != nil {
			return nil, err
		}
		m.and = append(m.and, c)
	}
	if len(m.and) == 1 {
		return m.and[0].cursor, nil
	}
	slices.SortStableFunc(m.and, func(a, b counted) int { return cmp.Compare(a.count, b.count) }) // the long ones leap
	return m.and, nil
}

func (m *cursors) union(u *union, r *run) (counted, error) {
	first, count := len(m.of), 0
	for _, t := range u.terms {
		n, err := m.add(r, t)
		if err != nil {
			return counted{}, err
		}
		count += n
	}
	if u.also >= r.first && u.also <= r.last {
		m.of = append(m.of, oneCursor{uint32(u.also - r.first), m.reverse})
		count++
	}
	of := m.of[first:]
	if len(of) == 1 {
		return counted{of[0], count}, nil
	}
	return counted{&orCursor{of, m.reverse}, count}, nil
}

// add adds cursors over the lists of the terms in t, and returns how many postings they have.
func (m *cursors) add(r *run, t termRange) (count int, err error) {
	if t.to == nil {
		l, ok, err := r.find(t.from)
		if !ok || err != nil {
			return 0, err
		}
		return m.list(l), nil
	}
	i, err := r.start(&t)
	if err != nil {
		return 0, err
	}
	for ; i < r.len(); i++ {
		term := r.term(i)
		if term == nil {
			return 0, errTerms
		}
		if bytes.Compare(term, t.to) >= 0 {
			break
		}
		l, err := r.list(i)
		if err != nil {
			return 0, err
		}
		count += m.list(l)
	}
	return count, nil
}

func (m *cursors) list(l list) (count int) {
	if m.used == len(m.lists) {
		m.lists = append(m.lists, new(listCursor))
	}
	c := m.lists[m.used]
	m.used++
	*c = listCursor{list: l, reverse: m.reverse, buf: c.buf}
	m.of = append(m.of, c)
	return l.count
}
