package index

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// An Index finds events by position, stream, coordinate, kind, correlation, key and time. Its methods may be called from
// any number of goroutines, except that one at a time may call Append and one at a time Fold.
type Index struct {
	db       kv.DB
	store    event.StoreID
	merging  merging
	meta     atomic.Pointer[meta] // as the last Fold left it
	verified sync.Map             // the ids of the runs whose checksum has been compared
	tail     tail
}

// ErrDamaged is the class of a damaged index. Delete it and build it again from the log.
var ErrDamaged = errors.New("index is damaged")

// A DamagedError says what of an index is not as it was written. It matches [ErrDamaged].
type DamagedError struct {
	What string // "meta record", "rows 1 to 252", "run 1 to 8192", "database"
	Err  error  // what is wrong with it
}

// Error names the part and what is wrong with it.
func (e *DamagedError) Error() string { return fmt.Sprintf("index: %s: %v", e.What, e.Err) }

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrDamaged].
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// damage makes damage of db damage of the index. It leaves other errors alone.
func damage(err error) error {
	if errors.Is(err, kv.ErrDamaged) && !errors.Is(err, ErrDamaged) {
		return &DamagedError{"database", err}
	}
	return err
}

// Open returns the index that is in db, for the store of that id. In a db without an index it is empty. An index of
// another store or another format is damaged. The caller closes db after its last use of the Index, and appends the
// events after Position before its first.
func Open(db kv.DB, store event.StoreID) (*Index, error) {
	x := &Index{db: db, store: store, merging: defaultMerging}
	x.meta.Store(&meta{})
	err := db.View(func(tx kv.Tx) error {
		m, err := x.metaIn(tx)
		if err != nil {
			return err
		}
		for range tx.Scan(rowsBucket, nil) {
			if m.raw == nil {
				return &DamagedError{"meta record", errors.New("absent")}
			}
			break
		}
		x.meta.Store(m)
		return nil
	})
	if err != nil {
		return nil, damage(err)
	}
	x.tail.start(x.Position().Seq)
	return x, nil
}

// Position returns up to where events are folded. It is zero if none are.
func (x *Index) Position() Position { return x.meta.Load().position }

// Last returns the seq of the newest event, or 0.
func (x *Index) Last() event.Seq {
	s := x.tail.snap()
	return s.last
}

// Append adds the next event to the tail. Its seq is Last()+1, else Append panics. The index keeps e, which must not be
// changed afterwards. One goroutine may append at a time.
func (x *Index) Append(e *Entry) { x.tail.append(e) }

// Tail returns how many events are not folded yet and about how many bytes of memory they take. It is up to the caller
// to bound them by folding in time.
func (x *Index) Tail() (count int, bytes int64) { return x.tail.size() }

// view calls fn with a consistent view of what is folded.
func (x *Index) view(fn func(view) error) error {
	err := x.db.View(func(tx kv.Tx) error {
		m, err := x.metaIn(tx)
		if err != nil {
			return err
		}
		return fn(view{x, tx, m})
	})
	return damage(err)
}

// A view is what one transaction sees.
type view struct {
	x    *Index
	tx   kv.Tx
	meta *meta
}

// list returns the list of a term in a run, and whether there is one.
func (v *view) list(r *runRef, term []byte) (l list, ok bool, err error) {
	opened, err := v.x.run(v.tx, r)
	if err != nil {
		return list{}, false, err
	}
	if l, ok, err = opened.find(term); err != nil {
		return list{}, false, r.damaged(err)
	}
	return l, ok, nil
}

// newest returns the last event that has a term, or 0.
func (v *view) newest(term []byte) (event.Seq, error) {
	for i := len(v.meta.runs) - 1; i >= 0; i-- {
		r := &v.meta.runs[i]
		l, ok, err := v.list(r, term)
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		last, err := l.last()
		if err != nil {
			return 0, r.damaged(err)
		}
		return r.first + event.Seq(last), nil
	}
	return 0, nil
}

// nth returns the n-th event, from 1, that has a term, or 0.
func (v *view) nth(term []byte, n uint64) (event.Seq, error) {
	for i := 0; i < len(v.meta.runs) && n > 0; i++ {
		r := &v.meta.runs[i]
		l, ok, err := v.list(r, term)
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		if n > uint64(l.count) {
			n -= uint64(l.count)
			continue
		}
		at, err := l.at(int(n - 1))
		if err != nil {
			return 0, r.damaged(err)
		}
		return r.first + event.Seq(at), nil
	}
	return 0, nil
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
		r := rowReader{tx: v.tx}
		row, err = r.row(seq)
		return err
	})
	return row, err
}

// Seek returns a seq from 1 to Last()+1 such that every event before it has a time before t, and the first event at or
// after t, or Last()+1, is less than 252 after it. It costs a binary search over the row blocks.
func (x *Index) Seek(t event.Timestamp) (seq event.Seq, err error) {
	s := x.tail.snap()
	if s.first <= s.last && s.entry(s.first).Header.Time < t || s.first == 1 {
		return s.seek(t), nil
	}
	err = x.view(func(v view) error {
		r := rowReader{tx: v.tx}
		seq, err = r.seek(t, s.first-1)
		return err
	})
	return seq, err
}

// Head returns the newest event of a stream, and whether there is one.
func (x *Index) Head(s event.Stream) (event.Seq, bool, error) {
	if _, seq := x.tail.snapStream(s); seq != 0 {
		return seq, true, nil
	}
	return x.newest(appendStreamTerm(nil, s))
}

// Key returns the newest event that has this idempotency key, and whether there is one.
func (x *Index) Key(key string) (event.Seq, bool, error) {
	if seq, ok := x.tail.key(key); ok {
		return seq, true, nil
	}
	return x.newest(appendTextTerm(nil, tagKey, key))
}

// newest returns the newest folded event that has a term, and whether there is one.
func (x *Index) newest(term []byte) (seq event.Seq, ok bool, err error) {
	if x.Position().Seq == 0 {
		return 0, false, nil
	}
	err = x.view(func(v view) error {
		seq, err = v.newest(term)
		return err
	})
	return seq, seq != 0, err
}

// StreamSeq returns the event of a stream that has clock c, and whether there is one.
func (x *Index) StreamSeq(s event.Stream, c event.Clock) (seq event.Seq, ok bool, err error) {
	tail, head := x.tail.snapStream(s)
	if seq, done := tail.streamSeq(head, c); done || c == 0 {
		return seq, seq != 0, nil
	}
	err = x.view(func(v view) error {
		seq, err = v.nth(appendStreamTerm(nil, s), uint64(c))
		return err
	})
	return seq, seq != 0, err
}

// Stats is the state of an index in figures.
type Stats struct {
	Events    event.Seq // all, the tail included
	Folded    event.Seq // of these
	Runs      []Run     // the oldest first
	TailCount int
	TailBytes int64 // in memory, about
	SizeBytes int64 // of the database
}

// A Run is what Stats says of one run.
type Run struct {
	First, Last event.Seq
	SizeBytes   int64
}

// Stats returns the state of the index.
func (x *Index) Stats() (Stats, error) {
	m := x.meta.Load()
	size, err := x.db.SizeBytes()
	st := Stats{Events: x.Last(), Folded: m.position.Seq, SizeBytes: size}
	st.TailCount, st.TailBytes = x.Tail()
	for _, r := range m.runs {
		st.Runs = append(st.Runs, Run{r.first, r.last, int64(r.size)})
	}
	return st, damage(err)
}
