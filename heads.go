package batpak

import (
	"fmt"
	"math/rand/v2"

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

// maxHeads bounds the cache: some 180 MB, in a store that appends to a million streams or more in turn.
const maxHeads = 1 << 20

// heads remembers the heads of streams that were appended to. When there are too many it forgets one that was appended to long ago: the
// index knows it, or the tail.
//
// A stream that is not here has no event after forgotten, so who looks for one need not look there.
type heads struct {
	most      int
	of        map[event.Stream]*head
	streams   []event.Stream // whose heads these are, in no order
	forgotten event.Seq
}

// get returns the head of a stream, or nil. The caller may change it.
func (h *heads) get(s event.Stream) *head { return h.of[s] }

// place returns where the head of a stream is kept, which the caller is to fill in. end is the newest event of the store, those that are
// being added included.
func (h *heads) place(s event.Stream, end event.Seq) *head {
	v := h.of[s]
	if v == nil {
		v = new(head)
		h.add(s, v, end)
	}
	return v
}

func (h *heads) add(s event.Stream, v *head, end event.Seq) {
	if h.of == nil {
		h.of, h.forgotten = map[event.Stream]*head{}, end
	}
	if len(h.streams) < h.most {
		h.streams = append(h.streams, s)
	} else {
		i := h.old()
		gone := h.streams[i]
		h.forgotten = max(h.forgotten, h.of[gone].seq)
		delete(h.of, gone)
		h.streams[i] = s
	}
	h.of[s] = v
}

// headSample is among how many heads the oldest is forgotten.
const headSample = 8

// old returns which of streams was appended to least recently of a few drawn at random.
func (h *heads) old() int {
	oldest := rand.IntN(len(h.streams))
	for range headSample - 1 {
		if i := rand.IntN(len(h.streams)); h.of[h.streams[i]].seq < h.of[h.streams[oldest]].seq {
			oldest = i
		}
	}
	return oldest
}

// unknown returns the newest event that a stream which is not here can have. end is the newest event of the store.
func (h *heads) unknown(end event.Seq) event.Seq {
	if h.of == nil {
		return end
	}
	return h.forgotten
}

// head returns the head of a stream as of the newest event appended, or nil if it has none. The caller holds commitMu, and may
// change it until it gives that up.
func (s *Store) head(stream event.Stream) (*head, error) {
	if v := s.heads.get(stream); v != nil {
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
