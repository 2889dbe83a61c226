package batpak

import (
	"errors"
	"fmt"
	"slices"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/log"
)

// Append appends one event with a typed payload and returns its receipt, when it is as durable as [Options.Durability]
// says. It is Commit of a Proposal with nothing but At and Payload.
func (s *Store) Append(at Coordinate, payload Payload) (Receipt, error) {
	rs, err := s.Commit(Proposal{At: at, Payload: payload})
	if err != nil {
		var item *ItemError
		if errors.As(err, &item) { // there is only one
			err = item.Err
		}
		return Receipt{}, err
	}
	return rs[0], nil
}

// Commit appends the events of all proposals or of none, in order and next to each other, and returns their receipts. The
// events may belong to several streams. Each proposal's conditions are checked, with idempotency keys first: if all keys
// are known from the same requests, nothing is appended and the receipts are those of then; proposals of one Commit either
// all have keys, all known or all new, or none has. It waits for the strictest durability asked for.
//
// Errors name the proposal where there are several. With any error but that of a failed write or sync, nothing was
// appended; after such a failure the store accepts no more appends, and reopening tells which events are there.
func (s *Store) Commit(ps ...Proposal) ([]Receipt, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	return s.propose(ps, false)
}

// propose is Commit of proposals that are trusted to have keys of batpak's own, or are not.
func (s *Store) propose(ps []Proposal, trusted bool) ([]Receipt, error) {
	if len(ps) > MaxBatch {
		return nil, fmt.Errorf("commit of %d proposals, at most %d: %w", len(ps), MaxBatch, ErrTooLarge)
	}
	if len(ps) > pooledDrafts {
		return s.commit(make([]draft, len(ps)), ps, trusted)
	}
	pooled := draftPool.Get().(*[]draft)
	drafts := slices.Grow(*pooled, len(ps))[:len(ps)]
	defer func() {
		clearDrafts(drafts)
		*pooled = drafts[:0]
		draftPool.Put(pooled)
	}()
	return s.commit(drafts, ps, trusted)
}

func (s *Store) commit(drafts []draft, ps []Proposal, trusted bool) ([]Receipt, error) {
	if err := s.prepare(drafts, ps, trusted); err != nil || len(ps) == 0 {
		return nil, err
	}
	if err := s.judge(drafts); err != nil {
		return nil, s.recorded(drafts, err)
	}
	class := s.class(drafts)
	if err := s.keeper.room(s); err != nil {
		return nil, err
	}
	receipts, err := s.decide(drafts, class)
	if err != nil {
		return nil, s.recorded(drafts, err)
	}
	last := event.Seq(0) // original receipts may be in any order
	for i := range receipts {
		last = max(last, receipts[i].Seq)
	}
	if err := s.settle(last, class); err != nil {
		return nil, err
	}
	return receipts, nil
}

// decide is admit under the lock, which it gives up also if the clock panics.
func (s *Store) decide(drafts []draft, class Durability) ([]Receipt, error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	return s.admit(drafts, class)
}

// class returns what the commit waits for.
func (s *Store) class(drafts []draft) Durability {
	class := Durability(0)
	for i := range drafts {
		d := drafts[i].durability
		if d == 0 {
			d = s.opts.Durability
		}
		if class == 0 || d == Durable {
			class = d
		}
	}
	return class
}

// settle waits until the events up to last are as durable as asked for.
func (s *Store) settle(last event.Seq, class Durability) (err error) {
	if class == Durable {
		err = s.log.Sync(last)
	} else {
		s.keeper.note()
		err = s.log.Flush()
	}
	if err == nil && (s.Visible() < last || class == Durable && event.Seq(s.announced.Load()) < last) {
		s.progress() // another caller may have written them before the index had them, or be about to say so in LOCK
	}
	return err
}

// admit decides: it finds the original receipts, or checks the conditions and appends. The caller holds commitMu.
func (s *Store) admit(drafts []draft, class Durability) ([]Receipt, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if drafts[0].header.Key != "" {
		if receipts, err := s.replayed(drafts, class); receipts != nil || err != nil {
			return receipts, err
		}
	}
	now, err := s.now()
	if err != nil {
		return nil, err
	}
	b := batch{s: s, class: class, now: now}
	if len(drafts) > 1 {
		b.heads = s.batchHeads
		defer s.forgetBatch(len(drafts))
	}
	return b.commit(drafts)
}

// forgetBatch makes the map of a batch ready for the next.
func (s *Store) forgetBatch(size int) {
	if size > pooledDrafts {
		s.batchHeads = map[event.Stream]head{} // to clear a large one takes as long each time
	} else {
		clear(s.batchHeads)
	}
}

// now returns the time of the next event.
func (s *Store) now() (event.Timestamp, error) {
	t := s.opts.Clock()
	now := event.TimestampOf(t)
	if now <= 0 || max(now, s.lastTime) > event.MaxTimestamp-MaxBatch {
		return 0, fmt.Errorf("clock says %v: %w", t, ErrClock)
	}
	return max(now, s.lastTime+1), nil
}

// replayed returns the receipts of an earlier commit with the same keys, or nil if no key is known.
func (s *Store) replayed(drafts []draft, class Durability) ([]Receipt, error) {
	var receipts []Receipt
	for i := range drafts {
		d := &drafts[i]
		h, hash, err := s.keyed(d.header.Key)
		if err != nil {
			return nil, &ItemError{i, err}
		}
		if h == nil && i == 0 {
			return nil, s.noneKnown(drafts[1:])
		}
		if h == nil {
			return nil, fmt.Errorf("key %q of proposal %d is new, that of proposal 0 is not: %w", d.header.Key, i, ErrIdempotencyPartial)
		}
		cause := d.cause.ID
		if item, ok := d.cause.Item(); ok {
			cause = receipts[item].ID
		}
		if !d.sameRequest(h, cause) {
			return nil, &MismatchError{Item: i, Key: d.header.Key, Found: h.Seq}
		}
		receipts = append(receipts, chain.NewReceipt(s.store, h, hash, class))
	}
	return receipts, nil
}

// noneKnown returns an error if one of the keys is known.
func (s *Store) noneKnown(drafts []draft) error {
	for i := range drafts {
		h, _, err := s.keyed(drafts[i].header.Key)
		if err != nil {
			return &ItemError{i + 1, err}
		}
		if h != nil {
			return fmt.Errorf("key %q of proposal %d is known, that of proposal 0 is not: %w", drafts[i].header.Key, i+1, ErrIdempotencyPartial)
		}
	}
	return nil
}

// keyed returns the header and hash of the event with an idempotency key, or nil.
func (s *Store) keyed(key string) (*event.Header, event.Hash, error) {
	var row index.Row
	var ok bool
	err := s.indexed(func(x *index.Index) (err error) {
		row, ok, err = x.Key(key)
		return err
	})
	if err != nil || !ok {
		return nil, event.Hash{}, err
	}
	return s.rowHeader(&row)
}

// A batch is a commit being built.
type batch struct {
	s       *Store
	class   Durability
	now     event.Timestamp
	heads   map[event.Stream]head // as this commit leaves them; nil for a commit of one event
	at      *head                 // of a commit of one event: the head it follows, if that is in memory
	entries []index.Entry
}

// slabEntries is how many entries of the index's tail are allocated at a time.
const slabEntries = 256

// room returns n entries, which are the caller's once it has moved slab behind them.
func (s *Store) room(n int) []index.Entry {
	if n > len(s.slab) {
		s.slab = make([]index.Entry, max(n, slabEntries))
	}
	return s.slab[:n:n]
}

// commit checks the conditions, builds the records and appends. Until the log has taken the commit nothing of the store
// has changed.
func (b *batch) commit(drafts []draft) ([]Receipt, error) {
	s := b.s
	s.records, s.hashes = s.records[:0], s.hashes[:0]
	b.entries = s.room(len(drafts))
	receipts := make([]Receipt, len(drafts))
	for i := range drafts {
		e := &b.entries[i]
		if err := b.place(drafts, i, &e.Header); err != nil {
			return nil, err
		}
		s.seal(e, drafts[i].data)
		receipts[i] = chain.NewReceipt(s.store, &e.Header, e.Hash, b.class)
		if b.heads != nil {
			b.heads[e.Header.Stream()] = head{seq: e.Header.Seq, clock: e.Header.Clock, hash: e.Hash}
		}
	}
	c := log.Commit{First: s.end.Seq + 1, Count: len(drafts), Durable: s.log.Durable(), Records: s.records}
	c.Link = chain.Link(s.end.Link, c.First, c.Durable, s.hashes)
	var err error
	if c.Segment, c.Offset, err = s.log.Append(&c); err != nil {
		return nil, err
	}
	b.accept(&c)
	return receipts, nil
}

// place checks the conditions of draft i, gives its event a place in the store, and asks the gates.
func (b *batch) place(drafts []draft, i int, h *event.Header) error {
	s, d := b.s, &drafts[i]
	stream := d.header.Stream()
	var at head
	ok := false
	if b.heads != nil {
		at, ok = b.heads[stream]
	}
	if !ok {
		known, err := s.head(stream)
		if err != nil {
			return &ItemError{i, err}
		}
		if known != nil {
			at = *known
		}
		if b.heads == nil {
			b.at = known
		}
	}
	if want, set := d.expect.Clock(); set && want != at.clock {
		return &ConflictError{Item: i, Stream: fmt.Sprintf("%s/%d", stream.Entity, stream.Lane), Want: want, Have: at.clock}
	}
	if err := s.checkNone(d.ifNone, i); err != nil {
		return err
	}
	*h = d.header
	h.Seq = s.end.Seq + 1 + event.Seq(i)
	if h.Seq > event.MaxSeq {
		return fmt.Errorf("store is full at %d events: %w", event.MaxSeq, ErrTooLarge)
	}
	h.Time = b.now + event.Timestamp(i)
	h.ID = event.NewID(h.Time, h.Seq, s.opts.random())
	h.Clock, h.Prev = at.clock+1, at.hash
	if h.Clock == 1 {
		h.Prev = chain.Genesis(s.store, stream)
	}
	if h.Correlation.IsZero() {
		h.Correlation = h.ID
	}
	if item, ok := d.cause.Item(); ok {
		h.Causation = b.entries[item].Header.ID
	}
	if s.opts.CommitGates == nil || d.ours() {
		return nil
	}
	return b.judge(drafts, i, h, at)
}

// seal encodes and hashes the event, and appends its record and hash to those of the commit.
func (s *Store) seal(e *index.Entry, data []byte) {
	s.header = event.AppendHeader(s.header[:0], &e.Header)
	e.Hash = chain.Event(s.header)
	e.Offset = uint32(len(s.records)) // from the start of the records, until the commit has its place
	e.Length = uint32(log.RecordBytes(len(s.header), len(data)))
	s.records = log.AppendRecord(s.records, s.header, data)
	s.hashes = append(s.hashes, e.Hash[:]...)
}

// accept makes the commit part of the store's memory.
func (b *batch) accept(c *log.Commit) {
	s := b.s
	x := s.index
	start := uint32(c.RecordsOffset())
	s.slab = s.slab[len(b.entries):]
	s.end, s.lastTime = c.End(), b.entries[len(b.entries)-1].Header.Time
	for i := range b.entries {
		e := &b.entries[i]
		e.Offset += start
		at := b.at
		if at == nil {
			at = s.heads.place(e.Header.Stream(), s.end.Seq)
		}
		*at = head{e.Header.Seq, e.Header.Clock, e.Hash, x.Append(e, at.tail)}
	}
	s.appended.Store(uint64(s.end.Seq))
	s.keeper.appended(s.end.Seq, s.opts.foldEvents)
}

// checkNone looks for an event that must not be there, among all that were accepted.
func (s *Store) checkNone(c *IfNone, item int) error {
	if c == nil || c.After >= s.end.Seq {
		return nil
	}
	q := c.Query
	q.After, q.Through, q.Reverse, q.Limit = c.After, s.end.Seq, false, 0
	if c.Query.Through > 0 {
		q.Through = min(c.Query.Through, s.end.Seq)
	}
	for q.After < q.Through {
		var rows []index.Row
		var more bool
		var next event.Seq
		err := s.indexed(func(x *index.Index) (err error) {
			rows, next, more, err = x.Page(&q, firstRows, nil)
			return err
		})
		if err != nil {
			return &ItemError{item, err}
		}
		for i := range rows {
			h, _, err := s.rowHeader(&rows[i])
			if err != nil {
				return &ItemError{item, err}
			}
			if q.Match(h) {
				return &ConflictError{Item: item, Found: h.Seq}
			}
		}
		if !more {
			return nil
		}
		q.After = next
	}
	return nil
}
