package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// A run is what the index knows of a contiguous range of events: a row for each, which says where the event is, and all
// their terms, sorted, each with the list of the events that have it. It never changes. Integers are little-endian.
//
//	 0  u32  CRC-32C of everything after it
//	 4  u32  format, 3
//	 8  u64  first seq
//	16  u64  last seq
//	24  u32  n, the count of terms
//	28  u32  length of the terms in bytes
//	32  i64  for each seq of the range that is 1 more than a multiple of 256: the time of that event
//	    for each seq, its row:
//	      u32  offset of the record in its segment, in bytes
//	      u32  length of the record in bytes
//	      8 B  the first bytes of the event's hash
//	    the lists, end to end, in the order of their terms
//	    the terms, end to end, in strictly ascending order of bytes
//	    n × u32  where each term ends in the terms, ascending
//	    n × u32  where each list ends in the lists, ascending
//	    the directory of the terms: u32 × 8 n / 5, rounded up
//
// Which events have a time does not depend on where a run begins, so times and rows of a merged run are those of its
// parts, end to end.
type run struct {
	first, last        event.Seq
	times, rows        []byte
	termEnds, listEnds []byte
	terms, lists       []byte
	directory          directory
}

const (
	runFormat  = 3
	runHeader  = 32
	rowBytes   = 16
	timeBytes  = 8
	timeStride = 256 // seqs

	// maxSpan bounds the events of a run, so that a posting is a uint32.
	maxSpan = 1 << 31
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errShort    = errors.New("too short")
	errChecksum = errors.New("checksum does not match")
	errRange    = errors.New("is of other events")
	errTerms    = errors.New("malformed terms")
)

// parseRun returns the run in b, which it aliases. It checks the bounds of its parts, not the checksum.
func parseRun(b []byte) (run, error) {
	if len(b) < runHeader {
		return run{}, errShort
	}
	if f := binary.LittleEndian.Uint32(b[4:]); f != runFormat {
		return run{}, fmt.Errorf("format %d", f)
	}
	r := run{first: event.Seq(binary.LittleEndian.Uint64(b[8:])), last: event.Seq(binary.LittleEndian.Uint64(b[16:]))}
	if r.first == 0 || r.last < r.first || r.last-r.first >= maxSpan {
		return run{}, errRange
	}
	n, terms := uint64(binary.LittleEndian.Uint32(b[24:])), uint64(binary.LittleEndian.Uint32(b[28:]))
	times, rows := timeBytes*timesIn(r.first, r.last), rowBytes*uint64(r.last-r.first+1)
	rest := b[runHeader:]
	if times+rows+terms+8*n+directoryBytes(n) > uint64(len(rest)) {
		return run{}, errShort
	}
	r.times, rest = rest[:times], rest[times:]
	r.rows, rest = rest[:rows], rest[rows:]
	rest, r.directory = cutEnd(rest, directoryBytes(n))
	rest, r.listEnds = cutEnd(rest, 4*n)
	rest, r.termEnds = cutEnd(rest, 4*n)
	r.lists, r.terms = cutEnd(rest, terms)
	if lastEnd(r.termEnds) != terms || lastEnd(r.listEnds) != uint64(len(r.lists)) {
		return run{}, errTerms
	}
	return r, nil
}

// cutEnd splits the last n bytes off b, which has them.
func cutEnd(b []byte, n uint64) (rest, end []byte) {
	at := uint64(len(b)) - n
	return b[:at], b[at:]
}

func lastEnd(ends []byte) uint64 {
	if len(ends) == 0 {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(ends[len(ends)-4:]))
}

// timesIn returns how many of the events first to last have a time.
func timesIn(first, last event.Seq) uint64 {
	return uint64(last+timeStride-1)/timeStride - uint64(first+timeStride-2)/timeStride
}

// runChecksum reports whether b, which is at least runHeader long, is what was written.
func runChecksum(b []byte) bool {
	return binary.LittleEndian.Uint32(b) == crc32.Checksum(b[4:], castagnoli)
}

func (r *run) len() int { return len(r.termEnds) / 4 }

// span is the highest posting that a list may hold.
func (r *run) span() uint32 { return uint32(r.last - r.first) }

// row returns the row of the event at r.first + v, which is one of r.
func (r *run) row(v uint32) Row {
	b := r.rows[rowBytes*int(v):][:rowBytes]
	return Row{
		Seq:    r.first + event.Seq(v),
		Offset: binary.LittleEndian.Uint32(b),
		Length: binary.LittleEndian.Uint32(b[4:]),
		Check:  [8]byte(b[8:]),
	}
}

// time returns the time of the event at seq, which is one of r that has a time.
func (r *run) time(seq event.Seq) event.Timestamp {
	i := timesIn(r.first, seq) - 1
	return event.Timestamp(binary.LittleEndian.Uint64(r.times[timeBytes*i:]))
}

// term returns term i. If the run contradicts itself that is nil, which no term is.
func (r *run) term(i int) []byte { return part(r.terms, r.termEnds, i) }

// list returns the list of term i.
func (r *run) list(i int) (list, error) {
	return parseList(part(r.lists, r.listEnds, i), r.span())
}

// part returns part i of b, whose parts end where ends says; nil if that is not possible.
func part(b, ends []byte, i int) []byte {
	var from uint32
	if i > 0 {
		from = binary.LittleEndian.Uint32(ends[4*(i-1):])
	}
	to := binary.LittleEndian.Uint32(ends[4*i:])
	if from > to || int64(to) > int64(len(b)) {
		return nil
	}
	return b[from:to]
}

// search returns the place of the first term that is not below term.
func (r *run) search(term []byte) int {
	return sort.Search(r.len(), func(i int) bool { return bytes.Compare(r.term(i), term) >= 0 })
}

// find returns the list of a term, and whether there is one.
func (r *run) find(term []byte) (l list, ok bool, err error) {
	i, ok, err := r.place(group(term))
	if !ok || err != nil {
		return list{}, false, err
	}
	if !bytes.Equal(r.term(i), term) { // another lane
		i += sort.Search(r.len()-i, func(k int) bool { return bytes.Compare(r.term(i+k), term) >= 0 })
		if i == r.len() || !bytes.Equal(r.term(i), term) {
			return list{}, false, nil
		}
	}
	l, err = r.list(i)
	return l, err == nil, err
}

// start returns the place of the first term of a range, or of one behind it if there is none.
func (r *run) start(t *termRange) (int, error) {
	if t.from[0] != tagEntity {
		return r.search(t.from), nil
	}
	i, ok, err := r.place(t.from)
	if !ok {
		i = r.len()
	}
	return i, err
}

// A runWriter writes one run after another: begin, then each term in ascending order with its list, then encode.
type runWriter struct {
	buf                []byte // the run up to its lists, as far as there are
	lists              int    // where they start in buf
	terms              []byte
	termEnds, listEnds []byte
}

// begin starts the run of the events first to last, of about size bytes. times and rows are its own, in parts.
func (w *runWriter) begin(first, last event.Seq, size int, times, rows [][]byte) {
	header := [runHeader]byte{}
	binary.LittleEndian.PutUint32(header[4:], runFormat)
	binary.LittleEndian.PutUint64(header[8:], uint64(first))
	binary.LittleEndian.PutUint64(header[16:], uint64(last))
	w.buf = append(slices.Grow(w.buf[:0], size), header[:]...)
	for _, b := range times {
		w.buf = append(w.buf, b...)
	}
	for _, b := range rows {
		w.buf = append(w.buf, b...)
	}
	w.lists = len(w.buf)
	w.terms, w.termEnds, w.listEnds = w.terms[:0], w.termEnds[:0], w.listEnds[:0]
}

// term begins the next term; the caller adds count postings to the list it returns, and gives it back to done.
func (w *runWriter) term(term []byte, count int) listWriter {
	w.terms = append(w.terms, term...)
	w.termEnds = binary.LittleEndian.AppendUint32(w.termEnds, uint32(len(w.terms)))
	return newListWriter(w.buf, count)
}

func (w *runWriter) done(l *listWriter) {
	w.buf = l.dst
	w.listEnds = binary.LittleEndian.AppendUint32(w.listEnds, uint32(len(w.buf)-w.lists))
}

// encode returns the run, which must not be longer than a value of kv may be: see foldSpan and maxMergeBytes. It is good
// until the next begins.
func (w *runWriter) encode() []byte {
	w.buf = append(append(append(w.buf, w.terms...), w.termEnds...), w.listEnds...)
	w.addDirectory()
	b := w.buf
	if len(b) > kv.MaxValueBytes {
		panic(fmt.Sprintf("index: run of %d bytes", len(b)))
	}
	binary.LittleEndian.PutUint32(b[24:], uint32(len(w.termEnds)/4))
	binary.LittleEndian.PutUint32(b[28:], uint32(len(w.terms)))
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// addDirectory appends the directory of the terms.
func (w *runWriter) addDirectory() {
	n := len(w.termEnds) / 4
	size := int(directoryBytes(uint64(n)))
	w.buf = slices.Grow(w.buf, size)
	d := directory(w.buf[len(w.buf):][:size])
	clear(d)
	var before []byte
	for i := range n {
		if g := group(part(w.terms, w.termEnds, i)); !bytes.Equal(g, before) {
			d.add(g, i, n)
			before = g
		}
	}
	w.buf = w.buf[:len(w.buf)+size]
}
