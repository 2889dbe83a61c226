package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// scanBytes is how much a scanner reads at a time. A commit longer than that grows the buffer to its own length.
const scanBytes = 256 << 10

// A scanner reads the commits of one segment in order.
type scanner struct {
	file   vfs.File
	size   int64
	offset int64     // of the next commit
	next   event.Seq // its first seq
	buf    []byte
	at     int64 // offset of buf in the file
}

// window returns n bytes from the scanner's offset, which the file must have. They are valid until the next call.
func (s *scanner) window(n int64) ([]byte, error) {
	if s.offset < s.at || s.offset+n > s.at+int64(len(s.buf)) {
		want := min(max(n, scanBytes), s.size-s.offset)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.at = s.buf[:want], s.offset
		if got, err := s.file.ReadAt(s.buf, s.at); got < len(s.buf) {
			s.buf = s.buf[:0]
			if err == io.EOF {
				err = failed("segment length", s.size, s.at+int64(got))
			}
			return nil, err
		}
	}
	i := s.offset - s.at
	return s.buf[i : i+n], nil
}

// errEnd means that no commit begins here: the rest of the file is empty or begins with a zero length.
var errEnd = errors.New("end of the segment")

// commit reads the next commit, whose records alias the scanner's buffer, and moves behind it. Where a check fails it
// stays, with a *checkError, and the commit holds what could be read if its length was sane.
func (s *scanner) commit() (Commit, error) {
	remaining := s.size - s.offset
	if remaining == 0 {
		return Commit{}, errEnd
	}
	if remaining < commitHeaderBytes {
		b, err := s.window(remaining)
		if err == nil && isZero(b) {
			err = errEnd
		} else if err == nil {
			err = failed("commit header", fmt.Sprintf("%d bytes", commitHeaderBytes), fmt.Sprintf("%d", remaining))
		}
		return Commit{}, err
	}
	head, err := s.window(commitHeaderBytes)
	if err != nil {
		return Commit{}, err
	}
	if isZero(head) {
		return Commit{}, errEnd
	}
	n, bad := commitLength(head, remaining)
	if bad != nil {
		return Commit{}, bad
	}
	b, err := s.window(n)
	if err != nil {
		return Commit{}, err
	}
	c, bad := decodeCommit(b, s.next)
	c.Offset = s.offset
	if bad != nil {
		return c, bad
	}
	s.offset += n
	s.next = c.Last() + 1
	return c, nil
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Scan calls visit for each commit from a position on, in order, and returns the position behind the last one that it
// accepted. The commit's slices are valid during the call. Sealed segments must be whole and fit each other; in the
// newest, the scan ends without error where no valid commit follows. If visit returns an error the scan ends with it.
//
// Scan lists the directory first, so a process other than the writer sees new segments.
func (s *Segments) Scan(from Position, visit func(*Commit) error) (Position, error) {
	if err := s.list(); err != nil {
		return from, err
	}
	return s.scan(from, visit)
}

func (s *Segments) scan(from Position, visit func(*Commit) error) (Position, error) {
	firsts := s.Firsts()
	if len(firsts) == 0 {
		return from, nil
	}
	if from.Segment == 0 {
		from.Segment, from.Offset = firsts[0], segmentHeaderBytes
	}
	seen := false
	for i, first := range firsts {
		if first < from.Segment {
			continue
		}
		if first != from.Segment {
			from.Segment, from.Offset = first, segmentHeaderBytes
		}
		seen = true
		if err := s.scanSegment(&from, i == len(firsts)-1, visit); err != nil {
			return from, err
		}
	}
	if !seen {
		return from, missing(from.Segment)
	}
	return from, nil
}

func missing(first event.Seq) error {
	return &event.CorruptError{File: SegmentName(first), Seq: first, Check: "segment present", Expected: "the segment", Found: "none"}
}

// scanSegment scans one segment from p on and moves p.
func (s *Segments) scanSegment(p *Position, newest bool, visit func(*Commit) error) error {
	name := SegmentName(p.Segment)
	h, err := s.acquire(p.Segment)
	if err != nil {
		return err
	}
	defer s.release(h)
	if err := checkSeal(p, h.header); err != nil {
		return err
	}
	size, err := h.file.Size()
	if err != nil {
		return err
	}
	if size < p.Offset {
		return corrupt(name, size, p.Seq, failed("segment length", fmt.Sprintf("at least %d", p.Offset), size))
	}
	sc := scanner{file: h.file, size: size, offset: p.Offset, next: p.Seq + 1}
	for {
		c, err := sc.commit()
		var bad *checkError
		switch {
		case err == nil:
			c.Segment = p.Segment
			if err := visit(&c); err != nil {
				return err
			}
			*p = c.End()
		case newest && (errors.Is(err, errEnd) || errors.As(err, &bad)), errors.Is(err, errEnd) && sc.offset == size:
			return nil
		case errors.Is(err, errEnd):
			return located(p, failed("end of a sealed segment", sc.offset, size))
		default:
			return located(p, err)
		}
	}
}

// located places a failed check at the commit after p.
func located(p *Position, err error) error {
	err = corrupt(SegmentName(p.Segment), p.Offset, p.Seq+1, err)
	var c *event.CorruptError
	if errors.As(err, &c) {
		c.Provable = p.Seq
	}
	return err
}

// checkSeal checks, at the start of a segment, that it continues the one before.
func checkSeal(p *Position, h segmentHeader) error {
	if p.Offset != segmentHeaderBytes {
		return nil
	}
	var err error
	switch {
	case h.first != p.Seq+1:
		err = failed("first seq of the segment", p.Seq+1, h.first)
	case h.link != p.Link:
		err = failed("link before the segment", p.Link, h.link)
	}
	return corrupt(SegmentName(p.Segment), 0, p.Seq+1, err)
}
