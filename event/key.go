package event

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/zeebo/blake3"
)

// IdempotencyKey derives the key of an operation from a domain, which says what sort of operation it is, and from what
// tells it apart from others of the sort: the first 16 bytes, in hexadecimal, of Blake3 over
//
//	length of domain, domain, number of components, and of each its length and itself
//
// with the numbers as u64, little-endian. Every part counts by its own: ("pay", "ab", "c") and ("pay", "a", "bc") differ.
// The key says which operation is meant and nothing of its content.
func IdempotencyKey(domain string, components ...string) string {
	b := appendPart(nil, domain)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(components)))
	for _, c := range components {
		b = appendPart(b, c)
	}
	sum := blake3.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func appendPart(b []byte, part string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(part))), part...)
}
