package index

import (
	"hash/crc32"
)

// A filter tells that a run does not have a term, nearly always, by looking at 64 bytes that lie together: the search of a
// million names would look at twenty places. It is a Bloom filter in blocks, after Putze, Sanders and Singler, "Cache-,
// Hash- and Space-Efficient Bloom Filters" (2007): a byte for each term, 3 bits set, so that it errs for about 1 term in
// 25 that is not there, and never for one that is.
type filter []byte

const filterBlock = 64 // bytes

// filterBytes returns the length of the filter of n terms.
func filterBytes(n uint64) uint64 { return (n + filterBlock - 1) / filterBlock * filterBlock }

// bits returns the block that a term belongs to, and its three bits, 9 bits of the result for each.
func (f filter) bits(term []byte) (block []byte, bits uint64) {
	h := uint64(crc32.Checksum(term, castagnoli)) * 0x9E3779B97F4A7C15
	h = (h ^ h>>29) * 0xBF58476D1CE4E5B9
	at := (h >> 32) * uint64(len(f)/filterBlock) >> 32
	return f[filterBlock*at:][:filterBlock], h
}

func (f filter) add(term []byte) {
	block, bits := f.bits(term)
	for range 3 {
		block[bits>>3&63] |= 1 << (bits & 7)
		bits >>= 9
	}
}

// has reports whether the run may have a term.
func (f filter) has(term []byte) bool {
	if len(f) == 0 {
		return false
	}
	block, bits := f.bits(term)
	for range 3 {
		if block[bits>>3&63]&(1<<(bits&7)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}
