package index

import (
	"fmt"

	"github.com/batpak/batpak/event"
)

// A Row says where an event is.
type Row struct {
	Seq    event.Seq
	Offset uint32  // of the record from the start of its segment, in bytes
	Length uint32  // of the record, in bytes
	Check  [8]byte // the first bytes of the event's hash
	Entry  *Entry  // the event itself while it is in the tail, else nil; not to be changed
}

// Row returns where the event at seq is. If there is none the error matches [event.ErrNotFound].
func (x *Index) Row(seq event.Seq) (row Row, err error) {
	s := x.tail.snap()
	switch {
	case seq == 0 || seq > s.last:
		return Row{}, fmt.Errorf("index: event %d: %w", seq, event.ErrNotFound)
	case seq >= s.first:
		return s.row(seq), nil
	}
	err = x.view(func(v view) error {
		r, err := v.open(v.meta.find(seq))
		if err == nil {
			row = r.row(uint32(seq - r.first))
		}
		return err
	})
	return row, err
}

// Anchor returns the row of the event at Position, of which there must be one. It does not compare the checksum of the
// run, which may be long: it is for who holds the row against the log.
func (x *Index) Anchor() (row Row, err error) {
	err = x.view(func(v view) error {
		r, _, err := v.meta.runs[len(v.meta.runs)-1].parse(v.tx)
		if err == nil {
			row = r.row(r.span())
		}
		return err
	})
	return row, err
}

// Seek returns a seq from 1 to Last()+1 such that every event before it has a time before t, and the first event at or
// after t, or Last()+1, is less than 256 after it. It costs a binary search over the times of every 256th event.
func (x *Index) Seek(t event.Timestamp) (seq event.Seq, err error) {
	s := x.tail.snap()
	if s.first <= s.last && s.entry(s.first).Header.Time < t || s.first == 1 {
		return s.seek(t), nil
	}
	err = x.view(func(v view) error {
		seq, err = v.seek(t, s.first-1)
		return err
	})
	return seq, err
}

// Head returns the row of the newest event of a stream, and whether there is one. The caller knows that the stream has none
// after through, so it is not looked for there.
func (x *Index) Head(s event.Stream, through event.Seq) (Row, bool, error) {
	if tail, seq := x.tail.snapStream(s); seq != 0 {
		return tail.row(seq), true, nil
	}
	return x.newest(appendStreamTerm(nil, s), through)
}

// Key returns the row of the newest event that has this idempotency key, and whether there is one.
func (x *Index) Key(key string) (Row, bool, error) {
	if tail, seq := x.tail.snapKey(key); seq != 0 {
		return tail.row(seq), true, nil
	}
	return x.newest(appendTextTerm(nil, tagKey, key), event.MaxSeq)
}

// newest returns the row of the newest folded event that has a term, of which there is none after through, and whether there
// is one.
func (x *Index) newest(term []byte, through event.Seq) (row Row, ok bool, err error) {
	if x.Position().Seq == 0 || through == 0 {
		return Row{}, false, nil
	}
	err = x.view(func(v view) error {
		row, err = v.newest(term, through)
		return err
	})
	return row, row.Seq != 0, err
}

// Clock returns the row of the event of a stream that has clock c, and whether there is one.
func (x *Index) Clock(s event.Stream, c event.Clock) (row Row, ok bool, err error) {
	tail, head := x.tail.snapStream(s)
	seq, done := tail.streamSeq(head, c)
	switch {
	case seq != 0:
		return tail.row(seq), true, nil
	case done || c == 0:
		return Row{}, false, nil
	}
	err = x.view(func(v view) error {
		row, err = v.nth(appendStreamTerm(nil, s), uint64(c))
		return err
	})
	return row, row.Seq != 0, err
}
