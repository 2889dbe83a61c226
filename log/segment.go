package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// Format is the version of the segment format that this package writes and reads.
const Format = 1

// HeaderBytes is the length of a segment's header: the offset of its first commit.
const HeaderBytes = 72

const (
	dir                = "log"
	segmentMagic       = "BATPAKSG"
	segmentHeaderBytes = HeaderBytes
	nextSegment        = "next.tmp"
)

// segmentHeader is the first 72 bytes of a segment.
type segmentHeader struct {
	store event.StoreID
	first event.Seq
	link  event.Hash // of the commit before
}

func (h *segmentHeader) encode() []byte {
	b := append(make([]byte, 0, segmentHeaderBytes), segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, Format)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = append(b, h.store[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.first))
	b = append(b, h.link[:]...)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

// decodeSegmentHeader reads b, of exactly 72 bytes. A newer format is refused before the checksum is looked at, since
// that may have moved.
func decodeSegmentHeader(b []byte) (h segmentHeader, err error) {
	if string(b[:8]) != segmentMagic {
		return h, failed("segment magic", strconv.Quote(segmentMagic), strconv.Quote(string(b[:8])))
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > Format {
		return h, fmt.Errorf("segment format %d: %w", v, event.ErrFutureFormat)
	}
	want := binary.LittleEndian.Uint32(b[12:])
	clear := slices.Clone(b)
	binary.LittleEndian.PutUint32(clear[12:], 0)
	if got := crc32.Checksum(clear, castagnoli); want != got {
		return h, failed("segment header checksum", fmt.Sprintf("%#08x", want), fmt.Sprintf("%#08x", got))
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Format {
		return h, failed("segment format", Format, v)
	}
	copy(h.store[:], b[16:])
	h.first = event.Seq(binary.LittleEndian.Uint64(b[32:]))
	copy(h.link[:], b[40:])
	return h, nil
}

// SegmentName returns the path of a segment within the store's directory.
func SegmentName(first event.Seq) string { return fmt.Sprintf("%s/%020d.seg", dir, first) }

// parseSegmentName returns the first seq of the segment with this name within the log's directory.
func parseSegmentName(name string) (event.Seq, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return event.Seq(n), err == nil && n > 0
}

// Segments reads the segments of a log. Any goroutine may use it, beside the writer and in another process too.
type Segments struct {
	fs    vfs.FS
	store event.StoreID

	mu      sync.Mutex
	owned   bool        // by the writer, who knows each segment it makes
	firsts  []event.Seq // sorted
	handles map[event.Seq]*handle
	mapped  int    // of the handles
	clock   uint64 // counts uses, to find the handle used longest ago
}

// OpenSegments lists the segments of a store's log, for reading.
func OpenSegments(f vfs.FS, store event.StoreID) (*Segments, error) {
	s := newSegments(f, store)
	return s, s.list()
}

// OneSegment is for reading one segment without looking which others there are.
func OneSegment(f vfs.FS, store event.StoreID, first event.Seq) *Segments {
	s := newSegments(f, store)
	s.firsts = []event.Seq{first}
	return s
}

func newSegments(f vfs.FS, store event.StoreID) *Segments {
	return &Segments{fs: f, store: store, handles: map[event.Seq]*handle{}}
}

// list reads the names anew. A directory that grows while it is read may show a segment and not the one before it; what was
// there when reading began is shown. So if there is a new one, list reads once more and believes that up to the newest one
// of the first time.
func (s *Segments) list() error {
	s.mu.Lock()
	owned, known := s.owned, s.firsts
	s.mu.Unlock()
	if owned {
		return nil
	}
	firsts, err := s.readNames()
	if err != nil || slices.Equal(firsts, known) {
		return err
	}
	if len(firsts) > 0 {
		newest := firsts[len(firsts)-1]
		if firsts, err = s.readNames(); err != nil {
			return err
		}
		firsts = slices.DeleteFunc(firsts, func(first event.Seq) bool { return first > newest })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.firsts); n > 0 && len(firsts) > 0 && firsts[len(firsts)-1] > s.firsts[n-1] {
		s.reopenNewest() // it is sealed
	}
	s.firsts = firsts
	return nil
}

// readNames returns the first seq of each segment in the directory, ascending. Names that are not those of segments are left
// alone.
func (s *Segments) readNames() ([]event.Seq, error) {
	names, err := s.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var firsts []event.Seq
	for _, name := range names {
		if first, ok := parseSegmentName(name); ok {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// own says that the caller writes the log, so that its segments are known, and the newest may be mapped.
func (s *Segments) own() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned = true
	s.reopenNewest()
}

// Firsts returns the first seq of each segment, ascending.
func (s *Segments) Firsts() []event.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.firsts)
}

// Size returns how many segments there are and the sum of their lengths in bytes.
func (s *Segments) Size() (count int, bytes int64, err error) {
	for _, first := range s.Firsts() {
		h, err := s.acquire(first)
		if err != nil {
			return count, bytes, err
		}
		size, err := h.file.Size()
		s.release(h)
		if err != nil {
			return count, bytes, err
		}
		count, bytes = count+1, bytes+size
	}
	return count, bytes, nil
}

// add makes a new segment known. The one before is sealed from now on, and opened again as such.
func (s *Segments) add(first event.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reopenNewest()
	s.firsts = append(s.firsts, first)
}

// Locate returns the first seq of the segment that holds seq, if the log has it.
func (s *Segments) Locate(seq event.Seq) event.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearch(s.firsts, seq)
	switch {
	case found:
		return s.firsts[i]
	case i == 0:
		return 0
	}
	return s.firsts[i-1]
}

// ReadAt fills b from the given segment. A file that is missing or too short is a [*event.CorruptError].
func (s *Segments) ReadAt(segment event.Seq, b []byte, offset int64) error {
	h, err := s.acquireTo(segment, offset+int64(len(b)))
	if err != nil {
		return err
	}
	defer s.release(h)
	return h.readAt(segment, b, offset)
}

// Read returns so many bytes of the given segment, with the errors of ReadAt. Where they are many it sets memory aside only
// if the segment has them.
func (s *Segments) Read(segment event.Seq, offset, length int64) ([]byte, error) {
	h, err := s.acquireTo(segment, offset+length)
	if err != nil {
		return nil, err
	}
	defer s.release(h)
	if length > scanBytes {
		if err := h.reaches(segment, offset+length); err != nil {
			return nil, err
		}
	}
	h.file.Expect(offset, length) // while memory is set aside
	b := make([]byte, length)
	return b, h.readAt(segment, b, offset)
}

// Expect says that a read of these bytes of the given segment may follow soon. It opens nothing.
func (s *Segments) Expect(segment event.Seq, offset, length int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.handles[segment]; h != nil {
		h.file.Expect(offset, length)
	}
}

// Close closes all files; those in use when their reader is done.
func (s *Segments) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for first := range s.handles {
		s.drop(first)
	}
}

// openSegment opens a segment for reading and checks that its header is whole and belongs here.
func openSegment(f vfs.FS, store event.StoreID, first event.Seq) (vfs.File, segmentHeader, error) {
	name := SegmentName(first)
	file, err := f.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = &event.CorruptError{File: name, Seq: first, Check: "segment present", Err: err}
	}
	if err != nil {
		return nil, segmentHeader{}, err
	}
	h, err := readSegmentHeader(file, name, store, first)
	if err != nil {
		file.Close()
		return nil, h, err
	}
	return file, h, nil
}

func readSegmentHeader(file vfs.File, name string, store event.StoreID, first event.Seq) (segmentHeader, error) {
	b := make([]byte, segmentHeaderBytes)
	if n, err := file.ReadAt(b, 0); n < len(b) && err == io.EOF {
		return segmentHeader{}, &event.CorruptError{File: name, Seq: first, Check: "segment header", Expected: fmt.Sprintf("%d bytes", len(b)), Found: fmt.Sprint(n)}
	} else if n < len(b) {
		return segmentHeader{}, err
	}
	h, err := decodeSegmentHeader(b)
	if err == nil && h.store != store {
		err = failed("store id", store, h.store)
	}
	if err == nil && h.first != first {
		err = failed("first seq of the segment", first, h.first)
	}
	return h, corrupt(name, 0, first, err)
}

// corrupt places a failed check. Other errors pass through.
func corrupt(file string, offset int64, seq event.Seq, err error) error {
	var f *checkError
	if !errors.As(err, &f) {
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	}
	return &event.CorruptError{File: file, Offset: offset, Seq: seq, Check: f.check, Expected: f.expected, Found: f.found}
}

// createSegment makes a new segment under its final name, durable with its header, or none.
func (s *Segments) createSegment(h segmentHeader) (vfs.File, error) {
	next := dir + "/" + nextSegment
	err := s.sparing(func() error { return s.fs.Remove(next) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var file vfs.File
	err = s.sparing(func() (err error) {
		file, err = s.fs.Create(next)
		return err
	})
	if err != nil {
		return nil, err
	}
	_, err = file.WriteAt(h.encode(), 0)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = s.sparing(func() error { return s.fs.Rename(next, SegmentName(h.first)) })
	}
	if err == nil {
		err = s.sparing(func() error { return s.fs.SyncDir(dir) })
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
