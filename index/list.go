package index

import (
	"encoding/binary"
	"errors"
	"sort"
)

// A list holds the postings of one term in one run, ascending. A posting is a seq less the run's first seq.
//
//	uvarint   count of postings, at least 1
//	up to blockLen postings, one block:
//	  uvarint   the first
//	  uvarints  for each further one its distance to the one before, at least 1
//	more, in blocks of blockLen postings of which the last may hold fewer:
//	  u32, u32  for each block its first posting, and where its distances start, in bytes from the end of this table
//	  uvarints  the distances of all blocks
//
// So the k-th posting, the last one, and the neighbours of a seq cost the decoding of one block. The table comes to
// 8 bytes in 128 postings.
type list struct {
	count     int
	span      uint32 // no posting is above
	table     []byte // nil: one block
	distances []byte // with the first posting in front if there is no table
}

const (
	blockLen   = 128 // postings
	tableEntry = 8   // bytes
)

var errList = errors.New("malformed list of postings")

// parseList returns the list in b, which it aliases. No posting may be above span. It checks what is at the front;
// block checks the rest.
func parseList(b []byte, span uint32) (list, error) {
	count, n := uvarint(b)
	if n == 0 || count == 0 || uint64(count) > uint64(span)+1 || uint64(count) > uint64(len(b)) {
		return list{}, errList
	}
	l := list{count: int(count), span: span, distances: b[n:]}
	if l.count > blockLen {
		size := tableEntry * l.blocks()
		if size > len(l.distances) {
			return list{}, errList
		}
		l.table, l.distances = l.distances[:size], l.distances[size:]
	}
	return l, nil
}

func (l *list) blocks() int { return (l.count + blockLen - 1) / blockLen }

// block decodes block k into buf, which has room for all of the list or for a block, and returns the part of it that is filled.
func (l *list) block(k int, buf []uint32) ([]uint32, error) {
	v, rest, err := l.start(k)
	if err != nil || v > l.span {
		return nil, errList
	}
	out := buf[:min(blockLen, l.count-k*blockLen)]
	out[0] = v
	for i := 1; i < len(out); i++ {
		var d uint32
		n := 1
		if len(rest) > 0 && rest[0] < 0x80 { // as most are
			d = uint32(rest[0])
		} else {
			d, n = uvarint(rest)
		}
		if d == 0 || d > l.span-v { // also if there is none
			return nil, errList
		}
		v, rest = v+d, rest[n:]
		out[i] = v
	}
	if len(rest) != 0 {
		return nil, errList
	}
	return out, nil
}

// start returns the first posting of block k and the bytes of its distances.
func (l *list) start(k int) (first uint32, distances []byte, err error) {
	if l.table == nil {
		first, n := uvarint(l.distances)
		if n == 0 {
			return 0, nil, errList
		}
		return first, l.distances[n:], nil
	}
	from, to := l.offset(k), uint32(len(l.distances))
	if k+1 < l.blocks() {
		to = l.offset(k + 1)
	}
	if from > to || int64(to) > int64(len(l.distances)) || k == 0 && from != 0 {
		return 0, nil, errList
	}
	return l.first(k), l.distances[from:to], nil
}

// first and offset read the table, which must be there.
func (l *list) first(k int) uint32  { return binary.LittleEndian.Uint32(l.table[tableEntry*k:]) }
func (l *list) offset(k int) uint32 { return binary.LittleEndian.Uint32(l.table[tableEntry*k+4:]) }

// find returns the last block whose first posting is at most v, or -1 if v is below the first of all.
// A list without a table has one block, which is returned for any v.
func (l *list) find(v uint32) int {
	if l.table == nil {
		return 0
	}
	return sort.Search(l.blocks(), func(k int) bool { return l.first(k) > v }) - 1
}

// at returns posting i, from 0 to count-1.
func (l *list) at(i int) (uint32, error) {
	var buf [blockLen]uint32
	b, err := l.block(i/blockLen, buf[:])
	if err != nil {
		return 0, err
	}
	return b[i%blockLen], nil
}

func (l *list) last() (uint32, error) { return l.at(l.count - 1) }

// A listWriter appends one list to dst: newListWriter, then add for each of count postings, ascending.
type listWriter struct {
	dst       []byte
	table     int // where it is in dst
	distances int // where they start
	n         int // postings so far
	prev      uint32
	tabled    bool
}

func newListWriter(dst []byte, count int) listWriter {
	w := listWriter{dst: binary.AppendUvarint(dst, uint64(count)), tabled: count > blockLen}
	w.table = len(w.dst)
	if w.tabled {
		l := list{count: count}
		w.dst = append(w.dst, make([]byte, tableEntry*l.blocks())...)
	}
	w.distances = len(w.dst)
	return w
}

func (w *listWriter) add(v uint32) {
	if w.tabled && w.n%blockLen == 0 {
		entry := w.dst[w.table+tableEntry*(w.n/blockLen):]
		binary.LittleEndian.PutUint32(entry, v)
		binary.LittleEndian.PutUint32(entry[4:], uint32(len(w.dst)-w.distances))
	} else {
		w.append(v - w.prev)
	}
	w.n++
	w.prev = v
}

func (w *listWriter) append(v uint32) {
	for ; v >= 0x80; v >>= 7 {
		w.dst = append(w.dst, byte(v)|0x80)
	}
	w.dst = append(w.dst, byte(v))
}

// uvarint decodes a uint32 in its shortest form and returns how many bytes it took, 0 if there is none.
func uvarint(b []byte) (v uint32, n int) {
	for shift := 0; n < len(b) && shift < 32; shift += 7 {
		c := b[n]
		n++
		v |= uint32(c&0x7F) << shift
		if c < 0x80 {
			if c == 0 && n > 1 || shift == 28 && c > 0xF {
				return 0, 0
			}
			return v, n
		}
	}
	return 0, 0
}
