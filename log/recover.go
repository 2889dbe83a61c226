package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// A Recovery says what Open found.
type Recovery struct {
	Replayed  int    // events read behind the position that Open was given
	TornFile  string // the segment that was cut, or ""
	TornAt    int64  // offset of the cut
	TornBytes int64  // from there to the last byte that was not zero
}

// Open opens the log of a store for writing, making it if there is none, and calls visit for each commit behind from. The
// caller holds the store's lock. Opening does not depend on the options of an earlier run.
//
// Sealed segments must be whole. In the active one, commits are accepted up to the first invalid one. What follows is
// corrupt if the witness, or the durable field of a commit further on, says that more was durable, or if a later commit
// is whole and no sector of the damage is unwritten; otherwise it was never acknowledged as durable, and is cut off.
func Open(f vfs.FS, store event.StoreID, opts Options, from Position, visit func(*Commit) error) (*Log, Recovery, error) {
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = DefaultSegmentBytes
	}
	segments, err := prepare(f, store, opts, from)
	if err != nil {
		return nil, Recovery{}, err
	}
	l := &Log{Segments: segments, opts: opts}
	r, err := l.recover(from, visit)
	if err != nil {
		segments.Close()
		if l.active != nil {
			err = errors.Join(err, l.active.Close())
		}
		return nil, r, err
	}
	l.fill.start(opts.SegmentBytes, func(err error) { _ = l.poison(err) })
	return l, r, nil
}

// prepare makes the directory and the first segment if there is nothing yet, and removes a segment that was never named.
func prepare(f vfs.FS, store event.StoreID, opts Options, from Position) (*Segments, error) {
	if err := f.Mkdir(dir); err != nil {
		return nil, err
	}
	if err := f.SyncDir("."); err != nil {
		return nil, err
	}
	if err := f.Remove(dir + "/" + nextSegment); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := f.SyncDir(dir); err != nil { // a segment may have been named just before a crash
		return nil, err
	}
	s := newSegments(f, store)
	var err error
	if s.firsts, err = s.readNames(); err != nil { // nobody else makes segments
		return nil, err
	}
	switch {
	case len(s.firsts) > 0 && s.firsts[0] != 1:
		return nil, missing(1)
	case len(s.firsts) > 0:
		return s, nil
	case from.Seq > 0 || opts.Witness > 0:
		return nil, Lost(SegmentName(1), 0, 0, max(from.Seq, opts.Witness))
	}
	file, err := s.createSegment(segmentHeader{store, 1, opts.Genesis})
	if err != nil {
		return nil, err
	}
	s.add(1)
	return s, file.Close()
}

// Lost is the error of a log that ends at last, at an offset of a file, although events up to witness were
// durable.
func Lost(file string, offset int64, last, witness event.Seq) error {
	return &event.CorruptError{File: file, Offset: offset, Seq: last + 1, Provable: last,
		Check: "durable watermark", Expected: fmt.Sprintf("events up to %d", witness), Found: fmt.Sprintf("events up to %d", last)}
}

// recover reads the commits behind from, cuts a torn tail off and makes the newest segment active.
func (l *Log) recover(from Position, visit func(*Commit) error) (r Recovery, err error) {
	if from.Segment == 0 {
		from = Position{Link: l.opts.Genesis}
	}
	firsts := l.Firsts()
	if l.active, err = l.fs.Open(SegmentName(firsts[len(firsts)-1])); err != nil {
		return r, err
	}
	if err := l.rewrite(from, firsts[len(firsts)-1]); err != nil {
		return r, err
	}
	end, r, err := l.examine(l.active, l.opts.Witness, from, visit)
	if err != nil {
		return r, err
	}
	size, err := l.active.Size()
	if err != nil {
		return r, err
	}
	if r.TornBytes > 0 {
		if err := l.active.Truncate(end.Offset); err != nil {
			return r, err
		}
		if err := l.active.Sync(); err != nil {
			return r, err
		}
		size = end.Offset
	}
	l.own()
	l.next, l.link = end.Seq+1, end.Link
	l.written.Store(uint64(end.Seq))
	l.durable.Store(uint64(end.Seq))
	return r, l.use(l.active, end.Segment, end.Offset, size)
}

// examine reads the commits behind from and judges what follows the last one. It changes nothing. With an error too it
// returns the position up to which commits were accepted.
func (s *Segments) examine(newest vfs.File, witness event.Seq, from Position, visit func(*Commit) error) (end Position, r Recovery, err error) {
	end, err = s.scan(from, func(c *Commit) error {
		r.Replayed += c.Count
		return visit(c)
	})
	if err != nil {
		return end, r, err
	}
	size, err := newest.Size()
	if err != nil {
		return end, r, err
	}
	torn, err := judge(newest, end, size, witness)
	if err == nil && torn > 0 {
		r.TornFile, r.TornAt, r.TornBytes = SegmentName(end.Segment), end.Offset, torn
	}
	return end, r, err
}

// rewrite writes the bytes of the active segment behind from once more, and syncs them: what is about to be read counts as
// durable from then on. A sync alone would not do. If one failed in an earlier process, the system may still show the bytes
// that it could not write, and think that there is nothing left to write.
func (l *Log) rewrite(from Position, active event.Seq) error {
	offset := int64(segmentHeaderBytes)
	if from.Segment == active {
		offset = from.Offset
	}
	size, err := l.active.Size()
	if err != nil || size > MaxSegmentBytes+MaxCommitBytes { // which judge refuses
		return err
	}
	b := make([]byte, scanBytes)
	for {
		n, err := l.active.ReadAt(b, offset)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return l.active.Sync()
		}
		if !isZero(b[:n]) { // zeros that were not written are zeros
			if _, err := l.active.WriteAt(b[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
	}
}

// judge looks at what lies behind the last commit of the active segment. It returns 0 if that is zeros only, the length
// of a torn tail, or the reason why it is corrupt.
func judge(active vfs.File, end Position, size int64, witness event.Seq) (int64, error) {
	if end.Seq < witness {
		return 0, Lost(SegmentName(end.Segment), end.Offset, end.Seq, witness)
	}
	if size > MaxSegmentBytes+MaxCommitBytes {
		return 0, located(&end, failed("segment length", fmt.Sprintf("at most %d", int64(MaxSegmentBytes+MaxCommitBytes)), size))
	}
	rest, err := readTorn(active, end.Offset, size)
	if err != nil {
		return 0, err
	}
	torn := int64(len(rest))
	zeros := size - end.Offset - torn
	at, later := findCommit(rest, zeros, end.Seq+1, end.Seq+1+event.Seq(len(rest)/recordHeaderBytes))
	switch {
	case later == nil:
		return torn, nil
	case later.Durable > end.Seq:
		return 0, Lost(SegmentName(end.Segment), end.Offset, end.Seq, later.Durable)
	case !hasUnwrittenSector(rest[:at], end.Offset):
		return 0, &event.CorruptError{File: SegmentName(end.Segment), Offset: end.Offset, Seq: end.Seq + 1, Provable: end.Seq,
			Check: "commit", Expected: "a valid commit or unwritten bytes", Found: fmt.Sprintf("damage before the valid commit of event %d", later.First)}
	}
	return torn, nil
}

// readTorn returns the bytes from offset to the last one that is not zero.
func readTorn(file vfs.File, offset, size int64) ([]byte, error) {
	end, err := lastNotZero(file, offset, size)
	if err != nil {
		return nil, err
	}
	rest := make([]byte, end-offset)
	if n, err := file.ReadAt(rest, offset); n < len(rest) {
		return nil, err
	}
	return rest, nil
}

// lastNotZero returns the offset behind the last byte from offset on that is not zero, or offset. It reads zeros a piece at
// a time.
func lastNotZero(file vfs.File, offset, size int64) (int64, error) {
	b := make([]byte, max(0, min(scanBytes, size-offset)))
	for size > offset {
		n := min(int64(len(b)), size-offset)
		if got, err := file.ReadAt(b[:n], size-n); got < int(n) {
			return 0, err
		}
		if !isZero(b[:n]) {
			for b[n-1] == 0 {
				n, size = n-1, size-1
			}
			return size, nil
		}
		size -= n
	}
	return offset, nil
}

// findCommit looks at every offset of b, which so many zeros follow, for whole commits that begin with least to most. It
// returns where the first one is, or -1, and the one whose durable field is the highest.
func findCommit(b []byte, zeros int64, least, most event.Seq) (at int, found *Commit) {
	at = -1
	for i := 0; i < len(b)-commitHeaderBytes; {
		n, c := commitAt(b[i:], zeros, least, most)
		if c == nil {
			i++
			continue
		}
		if at < 0 {
			at = i
		}
		if found == nil || c.Durable > found.Durable {
			found = c
		}
		i += int(n)
	}
	return at, found
}

// commitAt decodes the whole commit at the head of b, or of b and the zeros that follow it, if there is one that begins
// with least to most. It compares the checksum, which is dear, last.
func commitAt(b []byte, zeros int64, least, most event.Seq) (int64, *Commit) {
	if len(b) < commitHeaderBytes {
		return 0, nil
	}
	n := int64(binary.LittleEndian.Uint32(b)) + checkedFrom
	if n <= commitHeaderBytes+recordHeaderBytes || n > min(int64(len(b))+zeros, MaxCommitBytes) {
		return 0, nil
	}
	first := event.Seq(binary.LittleEndian.Uint64(b[8:]))
	if first < least || first > most {
		return 0, nil
	}
	if n > int64(len(b)) {
		b = append(make([]byte, 0, n), b...)[:n]
	}
	c, bad := decodeCommit(b[:n], first)
	if bad != nil {
		return 0, nil
	}
	return n, &c
}

// sectorBytes is the unit in which a disk writes: whole or not at all.
const sectorBytes = 512

// hasUnwrittenSector reports whether damage, which begins at offset in its file, can come from a power cut: then some sector
// that ends within it is as it was before: all zero, or zero behind what was there.
func hasUnwrittenSector(damage []byte, offset int64) bool {
	for end := sectorBytes - offset%sectorBytes; end <= int64(len(damage)); end += sectorBytes {
		if isZero(damage[max(0, end-sectorBytes):end]) {
			return true
		}
	}
	return false
}
