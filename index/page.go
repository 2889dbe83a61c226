package index

import (
	"slices"

	"github.com/batpak/batpak/event"
)

// Page returns the rows of at most limit events that q may select, of those in (q.After, q.Through], ascending or, with
// q.Reverse, descending. All that q selects are among them. A row with an Entry is selected; for another the caller
// reads the event and asks q.Match. A limit below 1 is taken for 1; q.Limit plays no part. The rows belong to the caller, and are
// in the memory of room if they fit.
//
// If more is true, next is where the following page continues: as q.After, or with q.Reverse as q.Through. Otherwise
// all has been seen, and next is the newest event that Page knew of, or q.Through or q.After: later events are after it.
//
// What narrows the rows: entity, prefix (only by its first 8 levels), scope, kind or else category, a lane other than 0,
// correlation, the range of seqs, the time to within 256 events, and with both entity and lane the clock.
//
// A page costs opening the runs in its range, and for each row about the decoding of one block of each list. If the lists
// have little in common it may leap through whole runs for its rows, within one transaction.
func (x *Index) Page(q *event.Query, limit int, room []Row) (rows []Row, next event.Seq, more bool, err error) {
	p := page{x: x, q: q, limit: max(limit, 1), after: q.After, rows: room[:0]}
	p.snap()
	p.through = p.tail.last
	if q.Through != 0 {
		p.through = min(p.through, q.Through)
	}
	if p.through <= p.after {
		return nil, p.after, false, nil
	}
	if q.Reverse {
		p.addTail()
		err = p.addFolded()
	} else if err = p.addFolded(); err == nil {
		p.addTail()
	}
	if err != nil {
		return nil, 0, false, err
	}
	next, more = p.next()
	return p.rows, next, more, nil
}

// page is one call of Page. The tail is taken first, so that what is not in it is folded.
type page struct {
	x              *Index
	q              *event.Query
	limit          int
	after, through event.Seq // the range
	tail           snapshot
	stream         bool      // what q selects in tail is of one stream,
	head           event.Seq // and this is its newest event there
	rows           []Row
}

// snap takes the tail.
func (p *page) snap() {
	if p.q.Entity == "" {
		p.tail = p.x.tail.snap()
		return
	}
	s := event.Stream{Entity: p.q.Entity}
	if p.q.Lane != nil {
		s.Lane = *p.q.Lane
	}
	p.tail, p.head = p.x.tail.snapStream(s)
	p.stream = p.q.Lane != nil || p.tail.laned == 0
}

func (p *page) full() bool { return len(p.rows) >= p.limit }

// next returns where the next page continues and whether there is one.
func (p *page) next() (event.Seq, bool) {
	if !p.full() {
		return p.through, false
	}
	last := p.rows[len(p.rows)-1].Seq
	if p.q.Reverse {
		return last - 1, last-1 > p.after
	}
	return last, last < p.through
}

// addTail adds the rows of the events in memory.
func (p *page) addTail() {
	after, through := max(p.after, p.tail.first-1), p.through
	if after >= through || p.full() {
		return
	}
	if p.stream && p.addStream(after, through) {
		return
	}
	for seq := after + 1; seq <= through && !p.full(); seq++ {
		at := seq
		if p.q.Reverse {
			at = through - (seq - after - 1)
		}
		p.addEntry(at)
	}
}

func (p *page) addEntry(seq event.Seq) {
	if p.q.Match(&p.tail.entry(seq).Header) {
		p.rows = append(p.rows, p.tail.row(seq))
	}
}

// maxSteps bounds how far an ascending page follows the links of a stream, which descend. A stream that has more events
// than this in the tail has one in every 64, so that looking at all is as good.
const maxSteps = 1024

// addStream adds the rows of one stream in (after, through], and reports whether it did.
func (p *page) addStream(after, through event.Seq) bool {
	var found []event.Seq
	for seq, steps := p.head, 0; seq > after; seq, steps = p.tail.prev(seq), steps+1 {
		if p.q.Reverse && p.full() {
			return true
		}
		if !p.q.Reverse && steps == maxSteps {
			return false
		}
		switch {
		case seq > through:
		case p.q.Reverse:
			p.addEntry(seq)
		default:
			found = append(found, seq)
		}
	}
	for _, seq := range slices.Backward(found) {
		if p.full() {
			break
		}
		p.addEntry(seq)
	}
	return true
}

// addFolded adds the rows of the folded events.
func (p *page) addFolded() error {
	after, through := p.after, min(p.through, p.tail.first-1)
	if after >= through || p.full() {
		return nil
	}
	return p.x.view(func(v view) error {
		f := foldedPage{page: p, view: v, after: after, through: through}
		if err := f.narrow(); err != nil {
			return err
		}
		return f.add()
	})
}

// foldedPage is the part of a page that comes from the runs of one transaction.
type foldedPage struct {
	*page
	view           view
	after, through event.Seq
}

// narrow narrows the range by time, and by clock if q is about one stream.
func (f *foldedPage) narrow() error {
	if err := f.narrowTime(); err != nil {
		return err
	}
	if f.q.Entity == "" || f.q.Lane == nil {
		return nil
	}
	return f.narrowClock(appendStreamTerm(nil, event.Stream{Entity: f.q.Entity, Lane: *f.q.Lane}))
}

func (f *foldedPage) narrowTime() error {
	since, until := f.q.TimeRange()
	last := f.tail.first - 1
	if !f.q.Since.IsZero() {
		seq, err := f.view.seek(since, last)
		if err != nil {
			return err
		}
		f.after = max(f.after, seq-1)
	}
	if !f.q.Until.IsZero() {
		seq, err := f.view.seek(until, last)
		if err != nil {
			return err
		}
		f.through = min(f.through, seq+timeStride-1)
	}
	return nil
}

func (f *foldedPage) narrowClock(stream []byte) error {
	if f.q.ClockAfter != 0 {
		row, err := f.view.nth(stream, uint64(f.q.ClockAfter)+1)
		if err != nil {
			return err
		}
		seq := row.Seq
		if seq == 0 { // not in the folded part
			seq = f.through + 1
		}
		f.after = max(f.after, seq-1)
	}
	if f.q.ClockThrough != 0 {
		row, err := f.view.nth(stream, uint64(f.q.ClockThrough))
		if err != nil {
			return err
		}
		if row.Seq != 0 {
			f.through = min(f.through, row.Seq)
		}
	}
	return nil
}

// add adds the rows of the candidates in (after, through].
func (f *foldedPage) add() error {
	if f.after >= f.through {
		return nil
	}
	s, m := selectionOf(f.q), cursors{reverse: f.q.Reverse}
	runs := f.view.meta.runs
	for i := range runs {
		if f.q.Reverse {
			i = len(runs) - 1 - i
		}
		if r := &runs[i]; r.last <= f.after || r.first > f.through {
			continue
		}
		if err := f.addRun(s, i, &m); err != nil || f.full() {
			return err
		}
	}
	return nil
}

// addRun adds the rows of the candidates in run i.
func (f *foldedPage) addRun(s selection, i int, m *cursors) error {
	opened, err := f.view.open(i)
	if err != nil {
		return err
	}
	r := &f.view.meta.runs[i]
	c, err := m.over(s, opened)
	if err != nil {
		return r.damaged(err)
	}
	if c == nil {
		return nil
	}
	low := uint32(max(f.after+1, r.first) - r.first)
	high := uint32(min(f.through, r.last) - r.first)
	v := low
	if f.q.Reverse {
		v = high
	}
	for !f.full() {
		found, ok, err := c.seek(v)
		if err != nil {
			return r.damaged(err)
		}
		if !ok || found < low || found > high {
			return nil
		}
		f.rows = append(f.rows, opened.row(found))
		if !f.q.Reverse {
			v = found + 1
		} else if found == 0 {
			return nil
		} else {
			v = found - 1
		}
	}
	return nil
}
