package index

import (
	"encoding/binary"
	"strings"

	"github.com/batpak/batpak/event"
)

// The tags, the first byte of a term. What follows:
//
//	entity       the entity, a zero byte, u32 big-endian lane: the stream. No entity holds a zero byte.
//	namespace    the entity up to one of its first 8 colons, without it, if that is not empty
//	scope        the scope
//	kind         u16 big-endian, so that a category is a range of terms
//	lane         u32 big-endian; lane 0 has no term, nearly every event is in it
//	correlation  the 16 bytes; an event that correlates with itself has no term: the id says its seq
//	key          the idempotency key
const (
	tagEntity      = 'e'
	tagNamespace   = 'n'
	tagScope       = 's'
	tagKind        = 'k'
	tagLane        = 'l'
	tagCorrelation = 'c'
	tagKey         = 'i'
)

// laneBytes is what a stream adds to its entity.
const laneBytes = 4

// maxNamespaces is how many colons of an entity begin a namespace below them with a term of its own. It bounds the
// postings of one event; deeper prefixes are looked for in the list of their ancestor.
const maxNamespaces = 8

func appendStreamTerm(b []byte, s event.Stream) []byte {
	return binary.BigEndian.AppendUint32(appendEntityTerms(b, s.Entity), uint32(s.Lane))
}

// appendEntityTerms appends what the terms of all streams of the entity begin with.
func appendEntityTerms(b []byte, entity string) []byte {
	return append(append(append(b, tagEntity), entity...), 0)
}

func appendTextTerm(b []byte, tag byte, text string) []byte {
	return append(append(b, tag), text...)
}

func appendKindTerm(b []byte, k event.Kind) []byte {
	return binary.BigEndian.AppendUint16(append(b, tagKind), uint16(k))
}

func appendLaneTerm(b []byte, l event.Lane) []byte {
	return binary.BigEndian.AppendUint32(append(b, tagLane), uint32(l))
}

func appendCorrelationTerm(b []byte, id event.ID) []byte {
	return append(append(b, tagCorrelation), id[:]...)
}

// namespaces yields the namespaces of an entity that have terms, the shortest first.
func namespaces(entity string, yield func(string)) {
	for n, i := 0, 0; n < maxNamespaces; n, i = n+1, i+1 {
		next := strings.IndexByte(entity[i:], ':')
		if next < 0 {
			return
		}
		if i += next; i > 0 {
			yield(entity[:i])
		}
	}
}

// indexedNamespace returns the namespace whose list holds everything below prefix: prefix itself, and then exact is
// true, or its ancestor at the last colon that counts.
func indexedNamespace(prefix string) (namespace string, exact bool) {
	colons := 0
	for i := range len(prefix) {
		if prefix[i] != ':' {
			continue
		}
		if colons++; colons == maxNamespaces {
			return prefix[:i], false
		}
	}
	return prefix, true
}
