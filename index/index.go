package index

import (
	"fmt"
	"sync/atomic"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// An Index finds events by position, stream, coordinate, kind, correlation, key and time. Its methods may be called from
// any number of goroutines, except that one at a time may call Append and one at a time Fold.
type Index struct {
	store   event.StoreID
	merging merging
	builder runBuilder // this and the next are of the one who folds
	writer  runWriter
	folded  atomic.Pointer[folded]
	tail    tail
}

// folded is a database and the meta record that the last Fold left in it.
type folded struct {
	db kv.DB
	*meta
}

// Open returns the index that is in db, for the store of that id. In a db without an index it is empty. An index of
// another store or another format is damaged. The caller closes db after its last use of the Index, and appends the
// events after Position before its first.
func Open(db kv.DB, store event.StoreID) (*Index, error) {
	f := folded{db, &meta{}}
	err := db.View(func(tx kv.Tx) (err error) {
		f.meta, err = f.metaIn(tx, store)
		return err
	})
	if err != nil {
		return nil, damage(err)
	}
	x := &Index{store: store, merging: defaultMerging}
	x.folded.Store(&f)
	x.tail.start(f.position.Seq)
	return x, nil
}

// Position returns up to where events are folded. It is zero if none are.
func (x *Index) Position() Position { return x.folded.Load().position }

// Last returns the seq of the newest event, or 0.
func (x *Index) Last() event.Seq {
	s := x.tail.snap()
	return s.last
}

// Append adds the next event to the tail. Its seq is Last()+1, else Append panics. The index keeps e, which must not be
// changed afterwards. h is nil or, which saves a look-up, what Append returned for the event before e in its stream. One
// goroutine may append at a time.
func (x *Index) Append(e *Entry, h *Head) *Head { return x.tail.append(e, h) }

// Tail returns how many events are not folded yet and about how many bytes of memory they take. It is up to the caller
// to bound them by folding in time.
func (x *Index) Tail() (count int, bytes int64) { return x.tail.size() }

// Adopt replaces what is folded, which proved damaged, by what is folded into y. That must end at the same position, and
// y, which must have no tail, is of no use afterwards. The tail stays. The caller must not fold meanwhile, and may close
// the old database afterwards.
func (x *Index) Adopt(y *Index) error {
	if x.Position() != y.Position() {
		return fmt.Errorf("index: folded up to event %d where %d is needed", y.Position().Seq, x.Position().Seq)
	}
	x.folded.Store(y.folded.Load())
	return nil
}

// Check compares the checksum of everything that is folded, also of what was compared before, and reads all of it.
func (x *Index) Check() error {
	return x.view(func(v view) error {
		for i := range v.meta.runs {
			r := &v.meta.runs[i]
			if _, err := r.open(v.tx); err != nil {
				return err
			}
			if !runChecksum(v.tx.Get(r.bucket, r.key)) {
				return r.damaged(errChecksum)
			}
		}
		return nil
	})
}

// Stats is the state of an index in figures.
type Stats struct {
	Events    event.Seq `json:"events"` // all, the tail included
	Folded    event.Seq `json:"folded"` // of these
	Runs      []Run     `json:"runs"`   // the oldest first
	TailCount int       `json:"tail_count"`
	TailBytes int64     `json:"tail_bytes"` // in memory, about
	SizeBytes int64     `json:"size_bytes"` // of the database
}

// A Run is what Stats says of one run.
type Run struct {
	First     event.Seq `json:"first"`
	Last      event.Seq `json:"last"`
	Level     int       `json:"level"` // how often its events have been merged
	SizeBytes int64     `json:"size_bytes"`
}

// Stats returns the state of the index.
func (x *Index) Stats() (Stats, error) {
	f := x.folded.Load()
	size, err := f.db.SizeBytes()
	st := Stats{Events: x.Last(), Folded: f.position.Seq, SizeBytes: size}
	st.TailCount, st.TailBytes = x.Tail()
	for _, r := range f.runs {
		st.Runs = append(st.Runs, Run{r.first, r.last, int(r.level), int64(r.size)})
	}
	return st, damage(err)
}
