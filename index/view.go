package index

import (
	"errors"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// A view is what one transaction sees of what is folded.
type view struct {
	tx   kv.Tx
	meta *meta
}

// view calls fn with a view that includes all that is folded by now.
func (x *Index) view(fn func(view) error) error {
	for {
		f := x.folded.Load()
		err := f.db.View(func(tx kv.Tx) error {
			m, err := f.metaIn(tx, x.store)
			if err != nil {
				return err
			}
			return fn(view{tx, m})
		})
		if errors.Is(err, kv.ErrClosed) && x.folded.Load().db != f.db {
			continue // Adopt came in between
		}
		return damage(err)
	}
}

// list returns the list of a term in a run, and whether there is one.
func (v *view) list(r *runRef, term []byte) (l list, ok bool, err error) {
	opened, err := r.open(v.tx)
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

// seek returns a seq from 1 to last+1 such that every event before it has a time before t, and the first event at or
// after t, or last+1, is less than timeStride after it.
func (v *view) seek(t event.Timestamp, last event.Seq) (event.Seq, error) {
	low, high := 0, int(timesIn(1, last)) // the first time that is not before t is number low to high
	for low < high {
		mid := low + (high-low)/2
		seq := event.Seq(mid)*timeStride + 1
		r, err := v.meta.runs[v.meta.find(seq)].open(v.tx)
		if err != nil {
			return 0, err
		}
		if r.time(seq) < t {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return 1, nil
	}
	return event.Seq(low-1)*timeStride + 2, nil
}
