package index

import (
	"errors"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// A view is what one transaction sees of what is folded.
type view struct {
	tx kv.Tx
	*opened
}

// opened is what was decoded of a snapshot so far. Views of the same snapshot pass it on, each of them alone while it runs.
type opened struct {
	of   *Index
	meta *meta
	runs []run // those of meta; one that was not looked at yet has no rows
}

// open returns run i.
func (v *view) open(i int) (*run, error) {
	if r := &v.runs[i]; r.rows != nil {
		return r, nil
	}
	r, err := v.meta.runs[i].open(v.tx)
	if err != nil {
		return nil, err
	}
	v.runs[i] = r
	return &v.runs[i], nil
}

// viewIn returns the view of tx, which began after f was current.
func (x *Index) viewIn(tx kv.Tx, f *folded) (view, error) {
	memo := tx.Memo()
	if o, ok := (*memo).(*opened); ok && o.of == x && o.meta.position.Seq >= f.position.Seq {
		return view{tx, o}, nil
	}
	m, err := f.metaIn(tx, x.store)
	if err != nil {
		return view{}, err
	}
	o := &opened{x, m, make([]run, len(m.runs))}
	*memo = o
	return view{tx, o}, nil
}

// view calls fn with a view that includes all that is folded by now.
func (x *Index) view(fn func(view) error) error {
	for {
		f := x.folded.Load()
		err := f.db.View(func(tx kv.Tx) error {
			v, err := x.viewIn(tx, f)
			if err != nil {
				return err
			}
			return fn(v)
		})
		if errors.Is(err, kv.ErrClosed) && x.folded.Load().db != f.db {
			continue // Adopt came in between
		}
		return damage(err)
	}
}

// newest returns the row of the last event that has a term, or the zero Row. No event after through has it.
func (v *view) newest(term []byte, through event.Seq) (Row, error) {
	for i := v.meta.find(min(through, v.meta.position.Seq)); i >= 0; i-- {
		ref := &v.meta.runs[i]
		r, err := v.open(i)
		if err != nil {
			return Row{}, err
		}
		l, ok, err := r.find(term)
		if err != nil {
			return Row{}, ref.damaged(err)
		}
		if ok {
			return ref.rowAt(r, &l, l.count-1)
		}
	}
	return Row{}, nil
}

// nth returns the row of the n-th event, from 1, that has a term, or the zero Row.
func (v *view) nth(term []byte, n uint64) (Row, error) {
	for i := 0; i < len(v.meta.runs) && n > 0; i++ {
		ref := &v.meta.runs[i]
		r, err := v.open(i)
		if err != nil {
			return Row{}, err
		}
		l, ok, err := r.find(term)
		switch {
		case err != nil:
			return Row{}, ref.damaged(err)
		case ok && n <= uint64(l.count):
			return ref.rowAt(r, &l, int(n-1))
		case ok:
			n -= uint64(l.count)
		}
	}
	return Row{}, nil
}

// rowAt returns the row of posting i of a list of the run that r refers to.
func (r *runRef) rowAt(opened *run, l *list, i int) (Row, error) {
	v, err := l.at(i)
	if err != nil {
		return Row{}, r.damaged(err)
	}
	return opened.row(v), nil
}

// seek returns a seq from 1 to last+1 such that every event before it has a time before t, and the first event at or
// after t, or last+1, is less than timeStride after it.
func (v *view) seek(t event.Timestamp, last event.Seq) (event.Seq, error) {
	low, high := 0, int(timesIn(1, last)) // the first time that is not before t is number low to high
	for low < high {
		mid := low + (high-low)/2
		seq := event.Seq(mid)*timeStride + 1
		r, err := v.open(v.meta.find(seq))
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
