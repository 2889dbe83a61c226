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

// A run is the postings of a contiguous range of events: all terms of all of them, sorted, each with its list.
// It never changes. Integers are little-endian.
//
//	 0  u32  CRC-32C of everything after it
//	 4  u32  format, 1
//	 8  u64  first seq
//	16  u64  last seq
//	24  u32  n, the count of terms
//	28  u32  length of the terms in bytes
//	32  n × u32  where each term ends in the terms, ascending
//	    n × u32  where each list ends in the lists, ascending
//	    the terms, end to end, in strictly ascending order of bytes
//	    the lists, end to end, in the order of their terms
type run struct {
	first, last       event.Seq
	termEnds, listEnd []byte
	terms, lists      []byte
}

const (
	runFormat = 1
	runHeader = 32

	// maxSpan bounds the events of a run, so that a posting is a uint32 and a merge has a bounded size.
	maxSpan = 1 << 31
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errShort    = errors.New("too short")
	errChecksum = errors.New("checksum does not match")
	errRange    = errors.New("is of other events")
	errTerms    = errors.New("malformed terms")
)

// parseRun returns the run in b, which it aliases. It checks the bounds of the four parts, not the checksum.
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
	if b = b[runHeader:]; 8*n+terms > uint64(len(b)) {
		return run{}, errShort
	}
	r.termEnds, b = b[:4*n], b[4*n:]
	r.listEnd, b = b[:4*n], b[4*n:]
	r.terms, r.lists = b[:terms], b[terms:]
	return r, nil
}

// runChecksum reports whether b, which is at least runHeader long, is what was written.
func runChecksum(b []byte) bool {
	return binary.LittleEndian.Uint32(b) == crc32.Checksum(b[4:], castagnoli)
}

func (r *run) len() int { return len(r.termEnds) / 4 }

// span is the highest posting that a list may hold.
func (r *run) span() uint32 { return uint32(r.last - r.first) }

// term returns term i. If the run contradicts itself that is nil, which no term is.
func (r *run) term(i int) []byte { return part(r.terms, r.termEnds, i) }

// list returns the list of term i.
func (r *run) list(i int) (list, error) {
	return parseList(part(r.lists, r.listEnd, i), r.span())
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

// A runWriter collects terms, ascending, and their lists.
type runWriter struct {
	first, last        event.Seq
	termEnds, listEnds []uint32
	terms, lists       []byte
}

// term begins the next term; the caller adds count postings to the list it returns, and gives it back to done.
func (w *runWriter) term(term []byte, count int) listWriter {
	w.terms = append(w.terms, term...)
	w.termEnds = append(w.termEnds, uint32(len(w.terms)))
	return newListWriter(w.lists, count)
}

func (w *runWriter) done(l *listWriter) {
	w.lists = l.dst
	w.listEnds = append(w.listEnds, uint32(len(w.lists)))
}

// encode returns the run, which must not be longer than a value of kv may be: see foldSpan and maxMergeBytes.
func (w *runWriter) encode() []byte {
	size := runHeader + 8*int64(len(w.termEnds)) + int64(len(w.terms)) + int64(len(w.lists))
	if size > kv.MaxValueBytes {
		panic(fmt.Sprintf("index: run %d to %d of %d bytes", w.first, w.last, size))
	}
	b := make([]byte, runHeader, size)
	binary.LittleEndian.PutUint32(b[4:], runFormat)
	binary.LittleEndian.PutUint64(b[8:], uint64(w.first))
	binary.LittleEndian.PutUint64(b[16:], uint64(w.last))
	binary.LittleEndian.PutUint32(b[24:], uint32(len(w.termEnds)))
	binary.LittleEndian.PutUint32(b[28:], uint32(len(w.terms)))
	for _, end := range slices.Concat(w.termEnds, w.listEnds) {
		b = binary.LittleEndian.AppendUint32(b, end)
	}
	b = append(append(b, w.terms...), w.lists...)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}
