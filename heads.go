package batpak

import (
	"fmt"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
)

// A head is the newest event of a stream: what the next one is chained to. The zero head is that of an empty stream.
type head struct {
	seq   event.Seq
	clock event.Clock
	hash  event.Hash
	tail  *index.Head // where it is in the index's tail, if that is known
}

// maxHeads bounds each of the two generations of the cache: some 180 MB for both, in a store that appends to a million streams or
// more in turn.
const maxHeads = 512 << 10

// heads remembers the heads of the streams appended to last. When the young generation is full it becomes the old one,
// and what only the old one had is forgotten: the index knows it, or the tail.
//
// Every stream with an event after since is in one of the two, so who looks for another need not look there.
type heads struct {
	most         int // in each of the two
	young, old   map[event.Stream]*head
	began, since event.Seq // the newest events when young began, and old
}

// get returns the head of a stream, or nil. The caller may change it. end is the newest event of the store, those that are
// being added included.
func (h *heads) get(s event.Stream, end event.Seq) *head {
	v := h.young[s]
	if v == nil {
		if v = h.old[s]; v != nil {
			h.add(s, v, end)
		}
	}
	return v
}

// place returns where the head of a stream is kept, which the caller is to fill in.
func (h *heads) place(s event.Stream, end event.Seq) *head {
	v := h.get(s, end)
	if v == nil {
		v = new(head)
		h.add(s, v, end)
	}
	return v
}

func (h *heads) add(s event.Stream, v *head, end event.Seq) {
	if len(h.young) >= h.most {
		h.old, h.young = h.young, nil
	}
	if h.young == nil {
		h.young = make(map[event.Stream]*head)
		h.since, h.began = h.began, end
		if h.old == nil {
			h.since = end
		}
	}
	h.young[s] = v
}

// unknown returns the newest event that a stream which is not here can have. end is the newest event of the store.
func (h *heads) unknown(end event.Seq) event.Seq {
	if h.young == nil {
		return end
	}
	return h.since
}

// head returns the head of a stream as of the newest event appended, or nil if it has none. The caller holds commitMu, and may
// change it until it gives that up.
func (s *Store) head(stream event.Stream) (*head, error) {
	if v := s.heads.get(stream, s.end.Seq); v != nil {
		return v, nil
	}
	through := s.heads.unknown(s.end.Seq)
	var row index.Row
	var ok bool
	err := s.indexed(func(x *index.Index) (err error) {
		row, ok, err = x.Head(stream, through)
		return err
	})
	if err != nil || !ok {
		return nil, err
	}
	h, hash, err := s.rowHeader(&row)
	if err != nil {
		return nil, err
	}
	if h.Stream() != stream {
		return nil, fmt.Errorf("head of stream %s/%d: event %d belongs to %s/%d: %w", stream.Entity, stream.Lane, row.Seq, h.Entity, h.Lane, ErrCorrupt)
	}
	v := &head{row.Seq, h.Clock, hash, nil}
	s.heads.add(stream, v, s.end.Seq)
	return v, nil
}

// rowHeader returns the header and the hash of the event of a row, from memory if it is in the tail: it may not even be
// written yet.
func (s *Store) rowHeader(row *index.Row) (*event.Header, event.Hash, error) {
	if row.Entry != nil {
		return &row.Entry.Header, row.Entry.Hash, nil
	}
	return s.readHeader(row)
}
