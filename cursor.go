package batpak

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// A Cursor is a named, durable read position in the events that one query selects: whoever opens it again, after the end of
// the process too, goes on where it was saved. Its methods may be called from any goroutine.
type Cursor struct {
	s     *Store
	name  string
	query Query

	saving sync.Mutex // held while the position is saved, or the name given up
	closed bool       // guarded by it

	mu    sync.Mutex // held for no longer than it takes to look
	at    Seq        // everything the query selects at or below has been dealt with
	saved Seq

	begins Seq          // where it began when it was new, or where the log was cut since, if that is before
	origin Hash         // of the event at begins
	cut    *cursorState // what was saved, if the log has lost events that were there then
	lost   error        // the event at its position is one of them
}

// cursorState is a cursor as it is kept: a canonical CBOR array of these.
type cursorState struct {
	_      struct{} `cbor:",toarray"`
	Format uint     // cursorFormat
	Query  string   // of Query.String, without After
	Begins Seq      // where it was when it was new, or where a repair has cut the log since, if that is before
	Origin Hash     // of the event at Begins
	Seq    Seq
	Hash   Hash // of the event at Seq, whether the query selects it or not
	End    Seq  // the newest event when it was saved
	Last   Hash // of that event
}

const cursorFormat = 1

// Classes of failure of cursors, for errors.Is.
var (
	ErrCursorQuery = errors.New("cursor belongs to another query")
	ErrCursorOpen  = errors.New("cursor is open already")
)

// A CursorError says that a cursor is bound to another query than the one it was opened with. It matches [ErrCursorQuery].
type CursorError struct {
	Name          string
	Stored, Asked string // the queries
}

// Error names the cursor and both queries.
func (e *CursorError) Error() string {
	return fmt.Sprintf("cursor %q belongs to the query %s, not %s", e.Name, e.Stored, e.Asked)
}

// Is reports whether target is [ErrCursorQuery].
func (e *CursorError) Is(target error) bool { return target == ErrCursorQuery }

// Cursor opens the cursor with this name, which follows the rules of entities. A new one begins behind q.After, which must be
// visible, and is saved there at once; to one that is there, q.After means nothing. q has no Reverse and no Limit. A name belongs to its first query until [Store.DeleteCursor]
// (a [*CursorError] says so), and to one open Cursor at a time ([ErrCursorOpen]). If what is saved is damaged, or is not
// of this log, the error matches [ErrCorrupt].
func (s *Store) Cursor(name string, q Query) (*Cursor, error) {
	c, err := s.openCursor(name, q)
	if err != nil {
		return nil, err
	}
	if c.lost != nil {
		c.release()
		return nil, c.lost
	}
	return c, nil
}

// openCursor opens a cursor whose position may be lost.
func (s *Store) openCursor(name string, q Query) (*Cursor, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	if err := event.At(name, "cursor").Validate(); err != nil {
		return nil, fmt.Errorf("cursor name: %w", err)
	}
	if q.Reverse || q.Limit != 0 {
		return nil, fmt.Errorf("cursor %q: query %v has a Reverse or a Limit: %w", name, &q, ErrInvalid)
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	c := &Cursor{s: s, name: name, query: q.Clone(), at: q.After, begins: q.After}
	if err := s.claimCursor(name); err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		c.release()
		return nil, err
	}
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.state.cursors[name] = c
	return c, nil
}

// claimCursor takes a name for a cursor that is not to be seen yet.
func (s *Store) claimCursor(name string) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.closed || s.closed.Load() {
		return ErrClosed
	}
	if _, taken := s.state.cursors[name]; taken {
		return fmt.Errorf("cursor %q: %w", name, ErrCursorOpen)
	}
	if s.state.cursors == nil {
		s.state.cursors = map[string]*Cursor{}
	}
	s.state.cursors[name] = nil
	return nil
}

// load takes the position from what was saved, if anything was.
func (c *Cursor) load() error {
	b, err := c.s.savedCursor(c.name)
	if err != nil {
		return err
	}
	if b == nil {
		return c.begin()
	}
	st, err := decodeCursor(c.name, b)
	if err != nil {
		return err
	}
	if asked := c.identity(); st.Query != asked {
		return &CursorError{c.name, st.Query, asked}
	}
	c.at, c.saved, c.begins, c.origin = st.Seq, st.Seq, st.Begins, st.Origin
	ok, err := c.s.anchored(st.Seq, st.Hash)
	if err != nil {
		return err
	}
	if !ok {
		c.lost = c.foreign("event at its position", st.Seq, st.Hash)
	}
	whole, err := c.s.anchored(st.End, st.Last)
	if !whole || !ok {
		c.cut = &st
	}
	return err
}

// foreign says that the event at seq is not the one with this hash.
func (c *Cursor) foreign(what string, seq Seq, hash Hash) error {
	return &CorruptError{File: stateFile, Seq: seq, Check: "cursor " + c.name + ": " + what, Expected: hash.String(), Found: "another or none"}
}

// begin saves a new cursor where it begins, so that it begins there again.
func (c *Cursor) begin() (err error) {
	if v := c.s.Visible(); c.at > v {
		return fmt.Errorf("cursor %q begins behind %d of %d events: %w", c.name, c.at, v, ErrInvalid)
	}
	if c.origin, err = c.s.hashAt(c.begins); err != nil {
		return err
	}
	return c.Save(c.at)
}

// savedCursor returns what was saved of a cursor, or nil. One that is listed was.
func (s *Store) savedCursor(name string) (b []byte, err error) {
	db, err := s.stateDB(false)
	if db == nil || err != nil {
		return nil, err
	}
	err = db.View(func(tx kv.Tx) (err error) {
		if b, err = stateValue(tx, cursorsBucket, name); b != nil || err != nil {
			return err
		}
		listed, err := stateValue(tx, identityBucket, listedPrefix+name)
		if listed != nil {
			return missingCursor(name)
		}
		return err
	})
	return b, asState(cursorsBucket, err)
}

func missingCursor(name string) error {
	return &CorruptError{File: stateFile, Check: "cursor " + name, Expected: "a position", Found: "none"}
}

// listed yields the names of the cursors that are listed.
func listed(tx kv.Tx) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range tx.Scan(identityBucket, []byte(listedPrefix)) {
			name, ok := strings.CutPrefix(string(k), listedPrefix)
			if !ok || !yield(name) {
				return
			}
		}
	}
}

func decodeCursor(name string, b []byte) (cursorState, error) {
	var st cursorState
	if err := event.Unmarshal(b, &st); err != nil {
		return st, &CorruptError{File: stateFile, Check: "cursor " + name, Err: err}
	}
	if st.Format != cursorFormat {
		return st, fmt.Errorf("cursor %q has format %d: %w", name, st.Format, ErrFutureFormat)
	}
	return st, nil
}

// identity says which events the cursor is about.
func (c *Cursor) identity() string {
	q := c.query
	q.After = 0
	return q.String()
}

// Name returns the cursor's name.
func (c *Cursor) Name() string { return c.name }

// Position returns the seq at or below which everything has been dealt with: the one saved last, or a later one that
// nothing selected lies before.
func (c *Cursor) Position() Seq {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// rest returns the query for what is left.
func (c *Cursor) rest() Query {
	q := c.query
	q.After = c.Position()
	return q
}

// Page returns at most limit events from the position on (all, if it is 0). Save the page's Next when they are dealt with.
func (c *Cursor) Page(limit int) (Page, error) {
	q := c.rest()
	q.Limit = limit
	return c.s.Page(q)
}

// Follow yields the events from the position of now on, those to come too, as [Store.Follow] does. It does not move the cursor:
// Save each event's seq, or every so many, when they are dealt with.
func (c *Cursor) Follow(ctx context.Context) iter.Seq2[Event, error] {
	return c.s.Follow(ctx, c.rest())
}

// Save makes seq the position, durably: after a crash or a power cut the cursor goes on behind it, or behind a later one.
// Everything appended before the call becomes durable first, since a cursor must not be ahead of the log. seq must be visible
// and not before the position; behind the query's Through nothing is left to deal with, so that is the furthest position.
func (c *Cursor) Save(seq Seq) error {
	if err := c.s.ready(); err != nil {
		return err
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	at, visible := c.Position(), c.s.Visible()
	switch {
	case c.closed:
		return fmt.Errorf("cursor %q: %w", c.name, ErrClosed)
	case seq < at || seq > visible:
		return fmt.Errorf("cursor %q at %d saved at %d, of %d events: %w", c.name, at, seq, visible, ErrInvalid)
	}
	if end := c.query.Through; end > 0 {
		seq = min(seq, end)
	}
	if err := c.s.Sync(); err != nil {
		return err
	}
	end := min(Seq(c.s.announced.Load()), c.s.Visible()) // of now: what was only written before may be visible since
	if err := c.store(seq, end); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.saved = max(c.at, seq), seq
	return nil
}

// store keeps the position seq. Events up to end are durable.
func (c *Cursor) store(seq, end Seq) (err error) {
	st := cursorState{Format: cursorFormat, Query: c.identity(), Begins: c.begins, Origin: c.origin, Seq: seq, End: end}
	if st.Hash, err = c.s.hashAt(st.Seq); err != nil {
		return err
	}
	if st.Last, err = c.s.hashAt(st.End); err != nil {
		return err
	}
	if c.cut != nil { // who has to know has not been told
		st.End, st.Last = c.cut.End, c.cut.Last
	}
	b, err := event.Marshal(&st)
	if err != nil {
		return err
	}
	db, err := c.s.stateDB(true)
	if err != nil {
		return err
	}
	return asState(cursorsBucket, db.Update(func(tx kv.Tx) error {
		if tx.Get(identityBucket, []byte(listedPrefix+c.name)) == nil {
			if err := putValue(tx, identityBucket, listedPrefix+c.name, []byte{1}); err != nil {
				return err
			}
		}
		return putValue(tx, cursorsBucket, c.name, b)
	}))
}

// rewind goes back to where the cursor began, and saves that. The error matches [ErrCorrupt] if the log is another there, of
// which no repair knows.
func (c *Cursor) rewind() error {
	if ok, err := c.s.anchored(c.begins, c.origin); err != nil {
		return err
	} else if !ok {
		return c.foreign("event where it began", c.begins, c.origin)
	}
	c.mu.Lock()
	c.at, c.saved, c.cut = c.begins, c.begins, nil
	c.mu.Unlock()
	return c.Save(c.begins)
}

// cutCursors makes cursors that began behind the end of the log, where it has just been cut, begin there: what will follow is
// newer than they are. Cursors that cannot be read are left as they are, since they cannot be opened either.
func (s *Store) cutCursors(end Seq) error {
	err := s.moveCursors(end)
	if errors.Is(err, ErrCorrupt) {
		s.opts.Logger.Warn("cursors not read", "cause", err)
		return nil
	}
	return err
}

func (s *Store) moveCursors(end Seq) error {
	db, err := s.stateDB(false)
	if db == nil || err != nil {
		return err
	}
	origin, err := s.hashAt(end)
	if err != nil {
		return err
	}
	return asState(cursorsBucket, db.Update(func(tx kv.Tx) error {
		moved := map[string][]byte{}
		for k := range tx.Scan(cursorsBucket, nil) {
			b, err := stateValue(tx, cursorsBucket, string(k))
			if err != nil {
				continue
			}
			st, err := decodeCursor(string(k), b)
			if err != nil || st.Begins <= end {
				continue
			}
			st.Begins, st.Origin = end, origin
			if moved[string(k)], err = event.Marshal(&st); err != nil {
				return err
			}
		}
		for name, b := range moved {
			if err := putValue(tx, cursorsBucket, name, b); err != nil {
				return err
			}
		}
		return nil
	}))
}

// pass moves the position without saving it: nothing that the query selects lies between.
func (c *Cursor) pass(seq Seq) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = max(c.at, seq)
}

// Close gives the name free for another Cursor. What was not saved is not saved by it.
func (c *Cursor) Close() error {
	if c.s.inGate() {
		return ErrInGate
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	if c.closed {
		return fmt.Errorf("cursor %q: %w", c.name, ErrClosed)
	}
	c.closed = true
	c.release()
	return nil
}

// unsaved returns how far the position is ahead of what was saved.
func (c *Cursor) unsaved() Seq {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at - c.saved
}

func (c *Cursor) release() { c.s.releaseCursor(c.name) }

func (s *Store) releaseCursor(name string) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	delete(s.state.cursors, name)
}

// DeleteCursor forgets the position of a cursor that is not open. That there is none is no error.
func (s *Store) DeleteCursor(name string) error {
	if s.inGate() {
		return ErrInGate
	}
	if err := s.claimCursor(name); err != nil {
		return err
	}
	defer s.releaseCursor(name)
	db, err := s.stateDB(false)
	if db == nil || err != nil {
		return err
	}
	return asState(cursorsBucket, db.Update(func(tx kv.Tx) error {
		return errors.Join(tx.Delete(identityBucket, []byte(listedPrefix+name)), tx.Delete(cursorsBucket, []byte(name)))
	}))
}

// CursorStats are figures about a cursor.
type CursorStats struct {
	Name     string `json:"name"`
	Query    string `json:"query"`
	Position Seq    `json:"position"`
	Lag      Seq    `json:"lag"`  // visible events behind the position, whether the query selects them or not
	Open     bool   `json:"open"` // by this process
}

// cursorStats returns figures about all cursors, those saved and those open, by name.
func (s *Store) cursorStats() ([]CursorStats, error) {
	visible := s.Visible()
	known := map[string]CursorStats{}
	db, err := s.stateDB(false)
	if err != nil {
		return nil, err
	}
	if db != nil {
		err = db.View(func(tx kv.Tx) error {
			for k := range tx.Scan(cursorsBucket, nil) {
				name := string(k)
				b, err := stateValue(tx, cursorsBucket, name)
				if err != nil {
					return err
				}
				st, err := decodeCursor(name, b)
				if err != nil {
					return err
				}
				known[name] = CursorStats{Name: name, Query: st.Query, Position: st.Seq}
			}
			for name := range listed(tx) {
				if _, ok := known[name]; !ok {
					return missingCursor(name)
				}
			}
			return nil
		})
		if err != nil {
			return nil, asState(cursorsBucket, err)
		}
	}
	for _, c := range s.openCursors() {
		known[c.name] = CursorStats{Name: c.name, Query: c.identity(), Position: c.Position(), Open: true}
	}
	var stats []CursorStats
	for _, c := range known {
		c.Lag = visible - min(visible, c.Position)
		stats = append(stats, c)
	}
	slices.SortFunc(stats, func(a, b CursorStats) int { return strings.Compare(a.Name, b.Name) })
	return stats, nil
}

func (s *Store) openCursors() (open []*Cursor) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	for _, c := range s.state.cursors {
		if c != nil {
			open = append(open, c)
		}
	}
	return open
}
