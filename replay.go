package batpak

import (
	"errors"
	"fmt"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/log"
)

// A replay indexes commits read from the log. It believes nothing: each record is decoded and hashed again, and each
// commit's link computed from the one before.
type replay struct {
	store      event.StoreID
	index      *index.Index    // nil: the log is only checked
	link       event.Hash      // of the commit before
	id         event.ID        // of the event before; zero if unknown
	time       event.Timestamp // of the event before
	at         log.Position    // behind the last commit
	foldEvents int             // when the tail has so many events it is folded; they must be durable. 0 means never
	limit      event.Seq       // commits beyond are refused with errBeyond; 0 means no limit

	entries []index.Entry // scratch
	hashes  []byte        // scratch
}

// errBeyond ends a replay at its limit.
var errBeyond = errors.New("commit is beyond what may be seen")

// commit indexes one commit.
func (r *replay) commit(c *log.Commit) error {
	if r.limit > 0 && c.Last() > r.limit {
		return errBeyond
	}
	r.entries, r.hashes = r.entries[:0], r.hashes[:0]
	for rec, err := range c.Each() {
		var bad *chain.Finding
		if err != nil {
			bad = &chain.Finding{Seq: rec.Seq, Check: "record", Expected: "the rest of the commit", Found: err.Error()}
		}
		if bad == nil {
			bad = r.event(&rec)
		}
		if bad != nil {
			return place(bad, c, rec.Offset)
		}
	}
	link := chain.Link(r.link, c.First, c.Durable, r.hashes)
	if bad := chain.Linked(c.First, link, c.Link); bad != nil {
		return place(bad, c, c.Offset)
	}
	r.link, r.at = c.Link, c.End()
	if r.index == nil {
		return nil
	}
	for i := range r.entries {
		e := r.entries[i]
		r.index.Append(&e, nil)
	}
	return r.fold()
}

// event checks one record and keeps what the index needs of it.
func (r *replay) event(rec *log.Record) *chain.Finding {
	var e Event
	bad := chain.Open(&e, rec.Seq, rec.Header, rec.Payload)
	if bad == nil {
		bad = chain.Later(&e, r.id, r.time)
	}
	if bad != nil {
		return bad
	}
	r.id, r.time = e.ID, e.Time
	r.entries = append(r.entries, index.Entry{Header: e.Header, Hash: e.Hash, Offset: uint32(rec.Offset), Length: uint32(rec.Length)})
	r.hashes = append(r.hashes, e.Hash[:]...)
	return nil
}

func place(bad *chain.Finding, c *log.Commit, offset int64) error {
	bad.File, bad.Offset = log.SegmentName(c.Segment), offset
	err := bad.Error()
	err.Provable = c.First - 1
	return err
}

// scan replays what is behind r.at, up to the limit. When it ends earlier, events are lost, or the writer sealed a segment while it was
// read; the latter happens to a segment once, so a second scan gets further.
func (r *replay) scan(s *log.Segments) error {
	for before := (log.Position{Seq: noBound}); ; {
		_, err := s.Scan(r.at, r.commit)
		if errors.Is(err, errBeyond) {
			err = nil
		}
		if err != nil || r.at.Seq >= r.limit {
			return err
		}
		if r.at == before {
			return log.Lost(log.SegmentName(s.Locate(r.at.Seq+1)), r.at.Offset, r.at.Seq, r.limit)
		}
		before = r.at
	}
}

func (r *replay) fold() error {
	if count, _ := r.index.Tail(); r.foldEvents == 0 || count < r.foldEvents {
		return nil
	}
	if err := r.index.Fold(indexPosition(r.at, r.time)); err != nil {
		return fmt.Errorf("index the log: %w", err)
	}
	return nil
}

// end returns the position behind what was replayed, from p if nothing was.
func (r *replay) end(p index.Position) log.Position {
	if r.at.Seq > 0 {
		return r.at
	}
	if p.Seq == 0 {
		return log.Position{Link: r.link}
	}
	return logPosition(p)
}

// rebuildIndex replaces what is folded, which failed with cause. Appends go on meanwhile: they need the tail only.
func (s *Store) rebuildIndex(rebuilds int64, cause error) error {
	s.kvMu.Lock()
	defer s.kvMu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	if s.rebuilds.Load() != rebuilds {
		return nil // another caller was faster
	}
	return s.replaceFolded(cause)
}

// replaceFolded folds the log again, up to where the index had got, into a new file. The caller holds kvMu.
func (s *Store) replaceFolded(cause error) error {
	s.noteRebuild(cause)
	old, x, p := s.db, s.index, s.index.Position()
	if err := s.lock.Sync(); err != nil { // what it knew to be durable LOCK says too
		return err
	}
	if err := s.quarantine(); err != nil {
		return err
	}
	db, y, err := s.loadIndex()
	if err != nil {
		return err
	}
	r := replay{store: s.store, index: y, link: chain.Origin(s.store), foldEvents: s.opts.foldEvents, limit: p.Seq}
	r.at.Link = r.link
	if p.Seq > 0 {
		err = r.scan(s.segments)
	}
	if p.Seq > 0 && err == nil {
		err = y.Fold(indexPosition(r.at, r.time))
	}
	if err == nil {
		err = x.Adopt(y)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.db = db
	s.rebuilds.Add(1)
	_ = old.Close() // waits for those who read from it; it is of no more use
	return nil
}
