package kv

import (
	"bytes"
	"slices"
	"sort"
)

// chunkPairs bounds a chunk. A Put moves at most half a chunk of pairs (256 × 48 bytes ÷ 2 = 6 KiB) and, when a chunk
// splits, the list of chunks: 8 bytes for each 128 pairs or more. Appending in key order moves neither.
const chunkPairs = 256

// A memoryBucket is a sorted list of sorted chunks. No chunk is empty.
// The first change a transaction makes copies the list of chunks, and the first to a chunk copies the chunk.
type memoryBucket struct {
	owner  *memoryTx
	chunks []*chunk
}

type chunk struct {
	owner *memoryTx // the transaction that may change it in place; to all others it is constant
	pairs []memoryPair
}

type memoryPair struct{ key, value []byte }

// sizeBytes counts the two slice headers, 48 bytes on a 64-bit machine, and what they point to.
func (p memoryPair) sizeBytes() int64 { return int64(48 + len(p.key) + len(p.value)) }

// A place is where a pair is. The place {len(chunks), 0} is after the last pair.
type place struct{ chunk, pair int }

func (b *memoryBucket) len() int {
	if b == nil {
		return 0
	}
	return len(b.chunks)
}

func (b *memoryBucket) pair(at place) memoryPair { return b.chunks[at.chunk].pairs[at.pair] }

// holds reports whether the pair at the place, if there is one, has the key.
func (b *memoryBucket) holds(at place, key []byte) bool {
	return at.chunk < b.len() && bytes.Equal(b.pair(at).key, key)
}

// seek returns the place of the first key >= key.
func (b *memoryBucket) seek(key []byte) place {
	i := sort.Search(b.len(), func(i int) bool {
		pairs := b.chunks[i].pairs
		return bytes.Compare(pairs[len(pairs)-1].key, key) >= 0
	})
	if i == b.len() {
		return place{i, 0}
	}
	pairs := b.chunks[i].pairs
	return place{i, sort.Search(len(pairs), func(j int) bool { return bytes.Compare(pairs[j].key, key) >= 0 })}
}

// after returns the place of the first key > key.
func (b *memoryBucket) after(key []byte) place {
	at := b.seek(key)
	if b.holds(at, key) {
		return b.next(at)
	}
	return at
}

func (b *memoryBucket) next(at place) place {
	if at.pair+1 < len(b.chunks[at.chunk].pairs) {
		return place{at.chunk, at.pair + 1}
	}
	return place{at.chunk + 1, 0}
}

// previous returns the place before; before the first pair it is in chunk -1.
func (b *memoryBucket) previous(at place) place {
	if at.pair > 0 {
		return place{at.chunk, at.pair - 1}
	}
	if at.chunk == 0 {
		return place{-1, 0}
	}
	return place{at.chunk - 1, len(b.chunks[at.chunk-1].pairs) - 1}
}

// own returns chunk i in a form that the bucket's owner may change.
func (b *memoryBucket) own(i int) *chunk {
	c := b.chunks[i]
	if c.owner != b.owner {
		c = &chunk{b.owner, append(make([]memoryPair, 0, chunkPairs), c.pairs...)}
		b.chunks[i] = c
	}
	return c
}

func (b *memoryBucket) put(p memoryPair) {
	at := b.seek(p.key)
	switch {
	case b.holds(at, p.key):
		b.own(at.chunk).pairs[at.pair] = p
		return
	case at.chunk == len(b.chunks) && (at.chunk == 0 || len(b.chunks[at.chunk-1].pairs) == chunkPairs):
		b.chunks = append(b.chunks, &chunk{b.owner, append(make([]memoryPair, 0, chunkPairs), p)})
		return
	case at.chunk == len(b.chunks):
		at = place{at.chunk - 1, len(b.chunks[at.chunk-1].pairs)}
	}
	if len(b.chunks[at.chunk].pairs) == chunkPairs {
		at = b.split(at)
	}
	c := b.own(at.chunk)
	c.pairs = slices.Insert(c.pairs, at.pair, p)
}

// split halves a full chunk and returns where the place has gone.
func (b *memoryBucket) split(at place) place {
	const half = chunkPairs / 2
	left := b.own(at.chunk)
	right := &chunk{b.owner, append(make([]memoryPair, 0, chunkPairs), left.pairs[half:]...)}
	clear(left.pairs[half:])
	left.pairs = left.pairs[:half]
	b.chunks = slices.Insert(b.chunks, at.chunk+1, right)
	if at.pair > half {
		return place{at.chunk + 1, at.pair - half}
	}
	return at
}

func (b *memoryBucket) remove(at place) {
	if len(b.chunks[at.chunk].pairs) == 1 {
		b.chunks = slices.Delete(b.chunks, at.chunk, at.chunk+1)
		return
	}
	c := b.own(at.chunk)
	c.pairs = slices.Delete(c.pairs, at.pair, at.pair+1)
}
