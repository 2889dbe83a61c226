// Package chain holds the hashes that make a store tamper-evident, and everything that checks them: links between events
// and between commits, ancestry, receipts, and the findings of a verification. It is pure: it reads no file and keeps no
// state but what its callers hand it.
//
// All hashes are Blake3-256 over a prefix of 16 ASCII bytes, which keeps the purposes apart, and then:
//
//	content  "batpak/1 content"  payload as stored
//	event    "batpak/1 event  "  encoded header
//	genesis  "batpak/1 genesis"  store id, entity, lane as u32
//	link     "batpak/1 link   "  link of the commit before, seq of the first event as u64, durable watermark as u64,
//	                             event hash of each event of the commit
//	origin   "batpak/1 origin "  store id
//
// Integers are little-endian. A header holds the content hash of its payload and, as prev, the event hash of the event
// before it in the stream, or the stream's genesis hash. The link before the first commit is the origin hash. So an event
// hash commits to everything before it in its stream, and a link to everything before it in the store.
package chain

import (
	"encoding/binary"
	"sync"

	"github.com/batpak/batpak/event"
	"github.com/zeebo/blake3"
)

const (
	prefixContent = "batpak/1 content"
	prefixEvent   = "batpak/1 event  "
	prefixGenesis = "batpak/1 genesis"
	prefixLink    = "batpak/1 link   "
	prefixOrigin  = "batpak/1 origin "
)

// A hasher is reused, since it is 2 KB large.
type hasher struct {
	*blake3.Hasher
	sum [32]byte
}

var hashers = sync.Pool{New: func() any { return &hasher{Hasher: blake3.New()} }}

// hash returns Blake3-256 of the prefix and the parts.
func hash(prefix string, parts ...[]byte) event.Hash {
	h := hashers.Get().(*hasher)
	h.Reset()
	h.WriteString(prefix)
	for _, p := range parts {
		h.Write(p)
	}
	sum := event.Hash(h.Sum(h.sum[:0]))
	hashers.Put(h)
	return sum
}

// Content returns the content hash of a payload as stored.
func Content(payload []byte) event.Hash { return hash(prefixContent, payload) }

// Event returns the event hash of an encoded header.
func Event(header []byte) event.Hash { return hash(prefixEvent, header) }

// Genesis returns what the first event of a stream has as prev.
func Genesis(store event.StoreID, s event.Stream) event.Hash {
	var lane [4]byte
	binary.LittleEndian.PutUint32(lane[:], uint32(s.Lane))
	return hash(prefixGenesis, store[:], []byte(s.Entity), lane[:])
}

// Origin returns the link before the first commit of a store.
func Origin(store event.StoreID) event.Hash { return hash(prefixOrigin, store[:]) }

// Link returns the link of a commit. events are its event hashes, 32 bytes each, without gaps; durable is the watermark
// that the commit carries.
func Link(before event.Hash, first, durable event.Seq, events []byte) event.Hash {
	var fields [16]byte
	binary.LittleEndian.PutUint64(fields[:], uint64(first))
	binary.LittleEndian.PutUint64(fields[8:], uint64(durable))
	return hash(prefixLink, before[:], fields[:], events)
}
