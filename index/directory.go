package index

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A directory leads to the terms of a run: mostly one look at bytes that lie together says where a term is or that the run does
// not have it, where a binary search among a million names looks at forty places. It is a hash table with linear probing and
// eight slots for five terms. A slot, u32 little-endian, has the place of a term plus one in its low bits, as many as the
// number of terms has, and bits of its hash above them; 0 is free.
//
// The streams of an entity have one slot, which leads to the first of them. A term that finds no free slot among maxProbes has
// none and is found by binary search: who chooses names can give many the same hash.
type directory []byte

const (
	slotBytes = 4
	maxProbes = 64
)

// directoryBytes returns the length of the directory of n terms.
func directoryBytes(n uint64) uint64 { return (8*n + 4) / 5 * slotBytes }

// group returns what of a term is looked for in a directory: for a stream its entity.
func group(term []byte) []byte {
	if len(term) > laneBytes && term[0] == tagEntity {
		return term[:len(term)-laneBytes]
	}
	return term
}

// locate returns where the search for a group begins, and the mark of its slot, above width bits. d is not empty.
func (d directory) locate(group []byte, width int) (at int, mark uint32) {
	h := uint64(crc32.Checksum(group, castagnoli)) * 0x9E3779B97F4A7C15
	h = (h ^ h>>29) * 0xBF58476D1CE4E5B9
	return slotBytes * int((h>>32)*uint64(len(d)/slotBytes)>>32), uint32(h) << width
}

// next returns the slot after that at at.
func (d directory) next(at int) int {
	if at += slotBytes; at < len(d) {
		return at
	}
	return 0
}

// add gives a group that is not here a slot, if one is free. n is the number of terms.
func (d directory) add(group []byte, place, n int) {
	at, mark := d.locate(group, bits.Len(uint(n)))
	for range maxProbes {
		if slot := d[at:][:slotBytes]; binary.LittleEndian.Uint32(slot) == 0 {
			binary.LittleEndian.PutUint32(slot, mark|uint32(place+1))
			return
		}
		at = d.next(at)
	}
}

// place returns the place of the first term of a group, and whether there is one.
func (r *run) place(of []byte) (int, bool, error) {
	d, n := r.directory, r.len()
	if n == 0 {
		return 0, false, nil
	}
	width := bits.Len(uint(n))
	at, mark := d.locate(of, width)
	for range maxProbes {
		slot := binary.LittleEndian.Uint32(d[at:])
		if slot == 0 {
			return 0, false, nil
		}
		if slot>>width == mark>>width {
			i := int(slot&(1<<width-1)) - 1
			if i < 0 || i >= n {
				return 0, false, errTerms
			}
			if bytes.Equal(group(r.term(i)), of) {
				return i, true, nil
			}
		}
		at = d.next(at)
	}
	i := r.search(of)
	return i, i < n && bytes.Equal(group(r.term(i)), of), nil
}
