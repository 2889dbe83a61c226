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
//	 4  u32  format, 1
//	 8  u64  first seq
//	16  u64  last seq
//	24  u32  n, the count of terms
//	28  u32  length of the terms in bytes
//	32  i64  for each seq of the range that is 1 more than a multiple of 256: the time of that event
//	    for each seq, its row:
//	      u32  offset of the record in its segment, in bytes
//	      u32  length of the record in bytes
//	      8 B  the first bytes of the event's hash
//	    n × u32  where each term ends in the terms, ascending
//	    n × u32  where each list ends in the lists, ascending
//	    the terms, end to end, in strictly ascending order of bytes
//	    the lists, end to end, in the order of their terms
//
// Which events have a time does not depend on where a run begins, so times and rows of a merged run are those of its
// parts, end to end.
type run struct {
	first, last        event.Seq
	times, rows        []byte
	termEnds, listEnds []byte
	terms, lists       []byte
}

const (
	runFormat  = 1
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
	rest := b[runHeader:]
	for _, p := range []struct {
		part  *[]byte
		bytes uint64
	}{
		{&r.times, timeBytes * timesIn(r.first, r.last)},
		{&r.rows, rowBytes * uint64(r.last-r.first+1)},
		{&r.termEnds, 4 * n},
		{&r.listEnds, 4 * n},
		{&r.terms, terms},
	} {
		if p.bytes > uint64(len(rest)) {
			return run{}, errShort
		}
		*p.part, rest = rest[:p.bytes], rest[p.bytes:]
	}
	r.lists = rest
	if lastEnd(r.termEnds) != terms || lastEnd(r.listEnds) != uint64(len(r.lists)) {
		return run{}, errTerms
	}
	return r, nil
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
	i := r.search(term)
	if i == r.len() || !bytes.Equal(r.term(i), term) {
		return list{}, false, nil
	}
	l, err = r.list(i)
	return l, err == nil, err
}

// A runWriter collects the parts of a run: rows and terms, ascending, with their lists.
type runWriter struct {
	first, last        event.Seq
	times, rows        [][]byte // end to end
	termEnds, listEnds []byte
	terms, lists       []byte
}

// term begins the next term; the caller adds count postings to the list it returns, and gives it back to done.
func (w *runWriter) term(term []byte, count int) listWriter {
	w.terms = append(w.terms, term...)
	w.termEnds = binary.LittleEndian.AppendUint32(w.termEnds, uint32(len(w.terms)))
	return newListWriter(w.lists, count)
}

func (w *runWriter) done(l *listWriter) {
	w.lists = l.dst
	w.listEnds = binary.LittleEndian.AppendUint32(w.listEnds, uint32(len(w.lists)))
}

// encode returns the run, which must not be longer than a value of kv may be: see foldSpan and maxMergeBytes.
func (w *runWriter) encode() []byte {
	header := make([]byte, runHeader)
	binary.LittleEndian.PutUint32(header[4:], runFormat)
	binary.LittleEndian.PutUint64(header[8:], uint64(w.first))
	binary.LittleEndian.PutUint64(header[16:], uint64(w.last))
	binary.LittleEndian.PutUint32(header[24:], uint32(len(w.termEnds)/4))
	binary.LittleEndian.PutUint32(header[28:], uint32(len(w.terms)))
	parts := slices.Concat([][]byte{header}, w.times, w.rows, [][]byte{w.termEnds, w.listEnds, w.terms, w.lists})
	b := slices.Concat(parts...)
	if len(b) > kv.MaxValueBytes {
		panic(fmt.Sprintf("index: run %d to %d of %d bytes", w.first, w.last, len(b)))
	}
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}
