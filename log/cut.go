package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// Identify returns the id of the store that the segments in f say they belong to. Headers that cannot be read do not
// count; if none can, or if they differ, that is a [*event.CorruptError].
func Identify(f vfs.FS) (event.StoreID, error) {
	s, err := OpenSegments(f, event.StoreID{})
	if err != nil {
		return event.StoreID{}, err
	}
	var id event.StoreID
	var found string
	for _, first := range s.Firsts() {
		b, err := readSegmentStart(f, SegmentName(first))
		if err != nil {
			return id, err
		}
		h, err := decodeSegmentHeader(b)
		switch {
		case err != nil:
		case found == "":
			id, found = h.store, SegmentName(first)
		case id != h.store:
			return id, &event.CorruptError{File: SegmentName(first), Check: "store id", Expected: id.String() + " as in " + found, Found: h.store.String()}
		}
	}
	if found == "" {
		return id, &event.CorruptError{File: dir, Check: "store id", Expected: "a segment with a whole header", Found: "none"}
	}
	return id, nil
}

// readSegmentStart returns the bytes where a segment's header belongs, zeros where the file is shorter.
func readSegmentStart(f vfs.FS, name string) ([]byte, error) {
	file, err := f.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, segmentHeaderBytes)
	n := min(int64(len(b)), size)
	if got, err := file.ReadAt(b[:n], 0); int64(got) < n {
		return nil, err
	}
	return b, nil
}

// Examine does what Open does as far as that is reading: it calls visit for each commit behind from and judges what
// follows. It returns where the log ends, what Open would cut off, and the reason why Open would refuse the log, with the
// position up to which commits were accepted. It changes nothing, and is for a log that nobody writes to.
func Examine(f vfs.FS, store event.StoreID, genesis event.Hash, witness event.Seq, from Position, visit func(*Commit) error) (Position, Recovery, error) {
	if from.Segment == 0 {
		from = Position{Link: genesis}
	}
	s, err := OpenSegments(f, store)
	if err != nil {
		return from, Recovery{}, err
	}
	defer s.Close()
	firsts := s.Firsts()
	switch {
	case len(firsts) > 0 && firsts[0] != 1:
		return Position{Link: genesis}, Recovery{}, missing(1)
	case len(firsts) > 0:
	case from.Seq > 0 || witness > 0:
		return Position{Link: genesis}, Recovery{}, Lost(SegmentName(1), 0, 0, max(from.Seq, witness))
	default:
		return from, Recovery{}, nil
	}
	newest, err := f.OpenRead(SegmentName(firsts[len(firsts)-1]))
	if err != nil {
		return from, Recovery{}, err
	}
	defer newest.Close()
	return s.examine(newest, witness, from, visit)
}

// A Part is a range of bytes of a file.
type Part struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"` // up to the end of the file, but not the zeros at it
}

// Behind returns what a log holds behind end, which is what [Cut] removes: what follows in its segment, unless that is only
// zeros, and each segment that goes.
func Behind(f vfs.FS, end Position) ([]Part, error) {
	cut, err := cutOf(f, end)
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, first := range cut.remove {
		p, err := partFrom(f, SegmentName(first), 0)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if cut.truncate != "" {
		p, err := partFrom(f, cut.truncate, end.Offset)
		if err != nil {
			return nil, err
		}
		if p.Bytes > 0 {
			parts = append([]Part{p}, parts...)
		}
	}
	return parts, nil
}

// partFrom returns the part of a file from offset to its last byte that is not zero.
func partFrom(f vfs.FS, name string, offset int64) (Part, error) {
	file, err := f.OpenRead(name)
	if err != nil {
		return Part{}, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return Part{}, err
	}
	end, err := lastNotZero(file, offset, size)
	return Part{name, offset, max(end-offset, 0)}, err
}

// Cut ends a log at a position, durably: it removes the segments behind it, the newest first, and what follows it in its
// own. A crash on the way leaves a log that is longer, but no more than it was. Only a caller who holds the store's lock and
// has copied what goes may do this.
func Cut(f vfs.FS, end Position) error {
	cut, err := cutOf(f, end)
	if err != nil {
		return err
	}
	for i := len(cut.remove) - 1; i >= 0; i-- {
		if err := f.Remove(SegmentName(cut.remove[i])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := f.SyncDir(dir); err != nil {
			return err
		}
	}
	if cut.truncate == "" {
		return nil
	}
	file, err := f.Open(cut.truncate)
	if err != nil {
		return err
	}
	err = file.Truncate(end.Offset)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// A cut is what ends a log at a position.
type cut struct {
	truncate string      // a segment, at the position's offset; "" if none
	remove   []event.Seq // segments, ascending
}

// cutOf returns the cut at end. A segment of which nothing is kept goes whole: its header may be what is wrong with it.
func cutOf(f vfs.FS, end Position) (cut, error) {
	s, err := OpenSegments(f, event.StoreID{})
	if err != nil {
		return cut{}, err
	}
	var c cut
	for _, first := range s.Firsts() {
		switch {
		case first > end.Seq || first == end.Segment && end.Offset <= segmentHeaderBytes:
			c.remove = append(c.remove, first)
		case first == end.Segment:
			c.truncate = SegmentName(first)
		case first > end.Segment:
			return cut{}, fmt.Errorf("log: no cut behind event %d in segment %d: segment %d comes before it", end.Seq, end.Segment, first)
		}
	}
	return c, nil
}
