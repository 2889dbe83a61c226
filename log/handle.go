package log

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// maxHandles bounds the files that Segments keeps open: 16 GiB of segments of the usual length can be read at random without
// opening files. maxMapped bounds those of them that are read through memory: all, but for where addresses are few. maxBeyond is how often
// a segment is read beyond what is mapped of it before it is opened again.
const (
	maxHandles = 256
	maxMapped  = 8 << (5 * (^uint(0) >> 63))
	maxBeyond  = 64
)

// A handle is an open segment. The file is closed when it has been evicted and nobody uses it.
type handle struct {
	file    vfs.File
	header  segmentHeader
	users   int
	used    uint64
	mapped  int64 // how many bytes may be read through memory
	beyond  int   // how often it was read beyond them
	stale   bool  // it is to be opened again, since it was sealed or may be mapped now
	evicted bool
}

// acquire opens a segment, or finds it open, and checks its header when it opens it.
func (s *Segments) acquire(first event.Seq) (*handle, error) { return s.acquireTo(first, 0) }

// acquireTo is acquire for a read up to end.
func (s *Segments) acquireTo(first event.Seq, end int64) (*handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[first]
	if h == nil {
		s.evict()
		err := s.openAgain(first)
		for errors.Is(err, syscall.EMFILE) && s.dropOldest() {
			err = s.openAgain(first)
		}
		if err != nil {
			return nil, err
		}
		h = s.handles[first]
	} else if h.stale || h.outgrown(end) {
		h.beyond = 0
		if err := s.openAgain(first); err != nil && !errors.Is(err, syscall.EMFILE) { // where too many files are open, what there is will do
			return nil, err
		}
		h = s.handles[first]
	}
	s.clock++
	h.used = s.clock
	h.users++
	return h, nil
}

// openAgain opens a segment, and lets go of the handle that there is. The caller holds mu.
func (s *Segments) openAgain(first event.Seq) error {
	file, header, err := openSegment(s.fs, s.store, first)
	if err != nil {
		return err
	}
	if s.handles[first] != nil {
		s.drop(first)
	}
	h := &handle{file: file, header: header}
	s.mapOpened(h)
	s.handles[first] = h
	return nil
}

// outgrown reports whether the segment was read beyond what is mapped of it often enough to open it again, since it has grown.
func (h *handle) outgrown(end int64) bool {
	if h.mapped > 0 && end > h.mapped {
		h.beyond++
	}
	return h.beyond == maxBeyond
}

// mapOpened lets a segment that has just been opened be read through memory, up to its end of now, if not too many are. Of the newest
// only its writer does so: in another process its file may turn out to be another one, where file systems lie on each other and the
// first write makes a copy. The caller holds mu.
func (s *Segments) mapOpened(h *handle) {
	n := len(s.firsts)
	if sealed := n > 0 && h.header.first < s.firsts[n-1]; s.mapped == maxMapped || !sealed && !s.owned {
		return
	}
	size, err := h.file.Size()
	if err != nil {
		return // reading will meet it too
	}
	h.file.Map(size)
	h.mapped = size
	s.mapped++
}

func (s *Segments) release(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.users--
	if h.evicted && h.users == 0 {
		h.file.Close() // read only: nothing can be lost
	}
}

// evict drops the handle used longest ago if there are too many. The caller holds mu.
func (s *Segments) evict() {
	if len(s.handles) >= maxHandles {
		s.dropOldest()
	}
}

// dropOldest drops the handle used longest ago, and reports whether there was one. The caller holds mu.
func (s *Segments) dropOldest() bool {
	oldest := event.Seq(0)
	for first, h := range s.handles {
		if oldest == 0 || h.used < s.handles[oldest].used {
			oldest = first
		}
	}
	if oldest == 0 {
		return false
	}
	s.drop(oldest)
	return true
}

// sparing calls do, which opens a file or does nothing, and again with one handle less each time while the process has too many files
// open. A writer does not fail because of what readers keep.
func (s *Segments) sparing(do func() error) error {
	err := do()
	for errors.Is(err, syscall.EMFILE) && s.spare() {
		err = do()
	}
	return err
}

// spare is dropOldest for who does not hold mu.
func (s *Segments) spare() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropOldest()
}

// drop closes a handle, at once or when its last user lets go. The caller holds mu.
func (s *Segments) drop(first event.Seq) {
	h := s.handles[first]
	delete(s.handles, first)
	h.evicted = true
	if h.mapped > 0 {
		s.mapped--
	}
	if h.users == 0 {
		h.file.Close()
	}
}

// reopenNewest lets the newest segment be opened again when it is read next. The caller holds mu.
func (s *Segments) reopenNewest() {
	if n := len(s.firsts); n > 0 && s.handles[s.firsts[n-1]] != nil {
		s.handles[s.firsts[n-1]].stale = true
	}
}

func (h *handle) readAt(segment event.Seq, b []byte, offset int64) error {
	n, err := h.file.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if short := h.reaches(segment, offset+int64(len(b))); errors.Is(short, event.ErrCorrupt) {
		return short
	}
	return err
}

// reaches returns an error if the file ends before end.
func (h *handle) reaches(segment event.Seq, end int64) error {
	size, err := h.file.Size()
	if err == nil && size < end {
		err = &event.CorruptError{File: SegmentName(segment), Offset: size, Check: "segment length", Expected: fmt.Sprintf("at least %d", end), Found: fmt.Sprint(size)}
	}
	return err
}
