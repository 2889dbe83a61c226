package log

import (
	"errors"
	"fmt"
	"slices"

	"github.com/batpak/batpak/event"
)

// Check reads a whole segment whatever is wrong with it, and calls visit in file order with each commit, each failed
// check, or both where the failed check is of a commit whose records can still be told apart. Where nothing can be told,
// it goes on with the next commit that is whole. limit, if not 0, is the offset at which the segment ends for the caller;
// without it the newest segment must go on with zeros only, and any other must end with its last commit. The result is
// false if visit returned false.
//
// The error is of the file system; what is wrong with the bytes goes to visit.
func (s *Segments) Check(first event.Seq, limit int64, visit func(*Commit, *event.CorruptError) bool) (bool, error) {
	k := checker{name: SegmentName(first), segment: first, visit: visit}
	file, err := s.fs.OpenRead(k.name)
	if err != nil {
		return true, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return true, err
	}
	if _, err := readSegmentHeader(file, k.name, s.store, first); err != nil {
		if more, err := k.report(nil, err); !more || err != nil {
			return more, err
		}
	}
	if size < segmentHeaderBytes {
		return true, nil
	}
	if limit > 0 && size < limit {
		if !k.fail(nil, size, failed("segment length", fmt.Sprintf("at least %d", limit), size)) {
			return false, nil
		}
	} else if limit > 0 {
		size = limit
	}
	if most := int64(MaxSegmentBytes + MaxCommitBytes); size > most {
		if !k.fail(nil, most, failed("segment length", fmt.Sprintf("at most %d", most), size)) {
			return false, nil
		}
		size = most
	}
	firsts := s.Firsts()
	k.zeros = limit == 0 && first == firsts[len(firsts)-1]
	k.scanner = scanner{file: file, size: size, offset: segmentHeaderBytes, next: first}
	return k.run()
}

// Header returns the first seq and the link before a segment, as its header has them.
func (s *Segments) Header(segment event.Seq) (first event.Seq, link event.Hash, err error) {
	h, err := s.acquire(segment)
	if err != nil {
		return 0, event.Hash{}, err
	}
	defer s.release(h)
	return h.header.first, h.header.link, nil
}

// A checker is a scanner that reports and goes on.
type checker struct {
	scanner
	name    string
	segment event.Seq
	zeros   bool // zeros may follow the last commit
	visit   func(*Commit, *event.CorruptError) bool
}

// report passes an error of the bytes to visit and returns any other.
func (k *checker) report(c *Commit, err error) (bool, error) {
	var bad *event.CorruptError
	if errors.As(err, &bad) {
		return k.visit(c, bad), nil
	}
	return true, err
}

// fail reports a failed check of the commit at offset.
func (k *checker) fail(c *Commit, offset int64, bad *checkError) bool {
	return k.visit(c, &event.CorruptError{File: k.name, Offset: offset, Seq: k.next, Check: bad.check, Expected: bad.expected, Found: bad.found})
}

func (k *checker) run() (more bool, err error) {
	for more = true; more && err == nil; {
		c, commitErr := k.commit()
		c.Segment = k.segment
		var bad *checkError
		switch {
		case commitErr == nil:
			more = k.visit(&c, nil)
		case errors.Is(commitErr, errEnd):
			more, err = k.tail()
			if k.offset == k.size {
				return more, err
			}
		case errors.As(commitErr, &bad):
			more, err = k.resume(&c, bad)
		default:
			return true, commitErr
		}
	}
	return more, err
}

// resume reports a failed check at the scanner's offset and moves to where the next commit begins.
func (k *checker) resume(c *Commit, bad *checkError) (bool, error) {
	start := k.offset
	c.Records = slices.Clone(c.Records) // looking ahead reads over them
	if len(c.Records) > 0 && k.plausible(start+c.Bytes()) {
		more := k.fail(c, start, bad)
		k.offset = start + c.Bytes()
		if bad.check != "commit checksum" && c.Last() >= k.next {
			k.next = c.Last() + 1
		}
		k.expectWhatFollows()
		return more, nil
	}
	more := k.fail(nil, start, bad)
	rest, err := k.window(k.size - start)
	if err != nil {
		return more, err
	}
	at, _ := findCommit(rest[1:], 0, 1, event.MaxSeq)
	if at < 0 {
		k.offset = k.size
		return more, nil
	}
	k.offset = start + 1 + int64(at)
	k.expectWhatFollows()
	return more, nil
}

// plausible reports whether a commit may end at offset: the segment ends there, or zeros or a whole commit follow.
func (k *checker) plausible(offset int64) bool {
	if offset == k.size {
		return true
	}
	b, err := k.peek(offset)
	if err != nil {
		return false
	}
	_, c := commitAt(b, 0, 1, event.MaxSeq)
	return c != nil || isZero(b[:min(len(b), commitHeaderBytes)])
}

// expectWhatFollows takes the seq of a whole commit at the scanner's offset for the next one, if it is not an earlier one.
func (k *checker) expectWhatFollows() {
	b, err := k.peek(k.offset)
	if err != nil {
		return
	}
	if _, c := commitAt(b, 0, 1, event.MaxSeq); c != nil && c.First > k.next {
		k.next = c.First
	}
}

// peek returns the bytes of the commit that seems to begin at offset, or of its header if its length is not sane.
func (k *checker) peek(offset int64) ([]byte, error) {
	here := k.offset
	defer func() { k.offset = here }()
	k.offset = offset
	b, err := k.window(min(commitHeaderBytes, k.size-offset))
	if err != nil || len(b) < commitHeaderBytes {
		return b, err
	}
	if n, bad := commitLength(b, k.size-offset); bad == nil {
		return k.window(n)
	}
	return b, nil
}

// tail checks that nothing follows the last commit but, where they may, zeros. Where a whole commit follows after all it
// moves there, else to the end.
func (k *checker) tail() (bool, error) {
	start := k.offset
	dirty, err := k.firstNotZero()
	if err != nil {
		return true, err
	}
	k.offset = k.size
	switch {
	case dirty < 0 && (k.zeros || start == k.size):
		return true, nil
	case dirty < 0:
		return k.fail(nil, start, failed("end of a sealed segment", start, k.size)), nil
	}
	k.offset = start
	rest, err := k.window(k.size - start)
	if err != nil {
		return true, err
	}
	at, _ := findCommit(rest, 0, 1, event.MaxSeq)
	if at < 0 {
		k.offset = k.size
		return k.fail(nil, dirty, failed("zeros behind the last commit", 0, rest[dirty-start])), nil
	}
	more := k.fail(nil, start, failed("commit", "a commit", "zeros"))
	k.offset = start + int64(at)
	k.expectWhatFollows()
	return more, nil
}

// firstNotZero returns the offset of the first byte from the scanner's on that is not zero, or -1.
func (k *checker) firstNotZero() (int64, error) {
	for k.offset < k.size {
		b, err := k.window(min(scanBytes, k.size-k.offset))
		if err != nil {
			return 0, err
		}
		for i, c := range b {
			if c != 0 {
				return k.offset + int64(i), nil
			}
		}
		k.offset += int64(len(b))
	}
	return -1, nil
}
