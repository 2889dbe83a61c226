package index

import (
	"fmt"
	"slices"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// foldSpan is how many events go into one new run at most. An event has at most 14 terms (8 namespaces of its entity, and
// one for each other tag), of 1030 bytes at most and with 16 bytes of offsets and list each: 65 536 events come to
// 1 GiB at most, which fits a value of kv.
const foldSpan = 1 << 16

// Fold writes the events of the tail up to p.Seq, a commit boundary not before Position, and p itself in one transaction,
// and drops those events from the tail. Then it merges the runs that are due, each time in a transaction of its own.
// What it folds must be durable in the log already.
//
// If Fold fails nothing is lost: the tail keeps what Position does not cover, and readers go on. One goroutine may fold
// at a time, beside Append and any number of readers. A merge takes memory for the run that it makes, twice over, and one
// of the two is kept for the next, since fresh memory would cost a fifth of a fold: see Trim.
func (x *Index) Fold(p Position) error {
	s := x.tail.snap()
	if p.Seq+1 < s.first || p.Seq > s.last {
		panic(fmt.Sprintf("index: fold to %d, and the tail is %d to %d", p.Seq, s.first, s.last))
	}
	err := x.update(func(tx kv.Tx, m *meta) error {
		from := m.position.Seq
		m.position = p
		return x.addRuns(tx, m, &s, from)
	})
	if err != nil {
		return err
	}
	x.tail.drop(p.Seq)
	return x.merge()
}

// Trim lets go of the memory that Fold keeps, at most 50 MiB: it is for when no fold is expected soon. It must not be
// called beside Fold.
func (x *Index) Trim() { x.builder, x.writer = runBuilder{}, runWriter{} }

// update changes the meta record, and with it what is folded, in one transaction.
func (x *Index) update(change func(kv.Tx, *meta) error) error {
	f := x.folded.Load()
	var next *meta
	err := f.db.Update(func(tx kv.Tx) error {
		m, err := f.metaIn(tx, x.store)
		if err != nil {
			return err
		}
		next = &meta{position: m.position, runs: slices.Clone(m.runs)}
		if err := change(tx, next); err != nil {
			return err
		}
		next.raw = next.encode(x.store)
		return tx.Put(metaBucket, metaKey, next.raw)
	})
	if err != nil {
		return damage(err)
	}
	x.folded.Store(&folded{f.db, next})
	return x.lookAtNew(f.meta)
}

// lookAtNew compares the checksums of the runs that were not in the meta record before: here it keeps nobody waiting.
func (x *Index) lookAtNew(before *meta) error {
	return x.view(func(v view) error {
		for i := range v.runs {
			if slices.ContainsFunc(before.runs, func(r runRef) bool { return r.verified == v.meta.runs[i].verified }) {
				continue
			}
			if _, err := v.open(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// addRuns writes the events of s from after from to the position.
func (x *Index) addRuns(tx kv.Tx, m *meta, s *snapshot, from event.Seq) error {
	for from < m.position.Seq {
		to := min(from+foldSpan, m.position.Seq)
		if err := m.putRun(tx, len(m.runs), 0, x.builder.run(&x.writer, s, from, to)); err != nil {
			return err
		}
		if from = to; from < m.position.Seq {
			x.writer = runWriter{} // the transaction keeps its bytes
		}
	}
	return nil
}

// putRun writes an encoded run and enters it as number i.
func (m *meta) putRun(tx kv.Tx, i int, level uint32, b []byte) error {
	r, err := parseRun(b)
	if err != nil {
		return err
	}
	ref := newRunRef(r.first, r.last, uint32(len(b)), m.freeSlot(), level)
	m.runs = slices.Insert(m.runs, i, ref)
	return tx.Put(ref.bucket, ref.key, b)
}
