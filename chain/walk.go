package chain

import (
	"errors"

	"github.com/batpak/batpak/event"
)

// An End says where a walk ended.
type End string

// The ends of a walk. Only ReachedGenesis means that the ancestry is complete.
const (
	ReachedGenesis End = "genesis"  // the first event of the stream, whose prev is its genesis hash
	ReachedLimit   End = "limit"    // as many events as asked for
	ReachedMissing End = "missing"  // the previous event is not there
	ReachedCorrupt End = "mismatch" // the previous event is there, but is not the one that the link names
)

// A Walk is the ancestry of an event, newest first, and where it ended.
type Walk struct {
	Events []event.Event
	End    End
	Err    error // why, for ReachedMissing and ReachedCorrupt
}

// Ancestry follows the prev links from e, at most limit events with e itself. before returns the event before a given one
// in its stream by clock; an error that matches [event.ErrNotFound] or [event.ErrCorrupt] ends the walk, any other is
// returned.
func Ancestry(store event.StoreID, e event.Event, limit int, before func(*event.Event) (event.Event, error)) (Walk, error) {
	w := Walk{End: ReachedLimit}
	for len(w.Events) < limit {
		w.Events = append(w.Events, e)
		if e.Clock == 1 {
			w.End = ReachedGenesis
			if f := Follows(&e, 0, Genesis(store, e.Stream())); f != nil {
				w.End, w.Err = ReachedCorrupt, f.Error()
			}
			return w, nil
		}
		if len(w.Events) == limit {
			return w, nil
		}
		p, err := before(&e)
		switch {
		case errors.Is(err, event.ErrNotFound):
			w.End, w.Err = ReachedMissing, err
			return w, nil
		case errors.Is(err, event.ErrCorrupt):
			w.End, w.Err = ReachedCorrupt, err
			return w, nil
		case err != nil:
			return w, err
		}
		if f := Follows(&e, p.Clock, p.Hash); f != nil {
			w.End, w.Err = ReachedCorrupt, f.Error()
			return w, nil
		}
		e = p
	}
	return w, nil
}
