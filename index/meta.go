package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// The one record of bucket "meta" says what exists. Integers are little-endian.
//
//	 0  u32   CRC-32C of everything after it
//	 4  u32   format of the index, 1
//	 8  16 B  store id
//	24  u64   position: seq
//	32  i64             time
//	40  u64             first seq of the segment
//	48  i64             offset
//	56  32 B            link
//	88  per run, the oldest first, without a gap from 1 to the position:
//	    u64   last seq; the first is the one after the run before
//	    u32   length in bytes
//	    u32   slot, the number in the name of its bucket
type meta struct {
	position Position
	runs     []runRef
	raw      []byte // what it was decoded from; nil: nothing has been folded yet
}

// A runRef says where a run is. A run is the only value of bucket "run <slot>", under key be64(first seq) be64(last seq):
// bbolt rewrites a leaf whole and keeps two to four values in it, so in one bucket a small new run would rewrite
// large neighbours.
type runRef struct {
	first, last event.Seq
	size        uint32
	slot        uint32
}

const (
	metaFormat = 1
	metaHeader = 88
	metaRun    = 16
	metaBucket = "meta"
)

var metaKey = []byte("index")

// A Position is a commit boundary: everything up to it is folded, and what comes after it is to be appended again when
// the index is opened. The index keeps it and looks only at Seq.
type Position struct {
	Seq     event.Seq       // the last event of the commit
	Time    event.Timestamp // of that event
	Segment event.Seq       // the first seq of the segment that holds the commit
	Offset  int64           // where the commit ends in that segment, in bytes
	Link    event.Hash      // of the commit
}

// encode sets m.raw to the record.
func (m *meta) encode(store event.StoreID) {
	b := make([]byte, 4, metaHeader+metaRun*len(m.runs))
	b = binary.LittleEndian.AppendUint32(b, metaFormat)
	b = append(b, store[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.position.Seq))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.position.Time))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.position.Segment))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.position.Offset))
	b = append(b, m.position.Link[:]...)
	for _, r := range m.runs {
		b = binary.LittleEndian.AppendUint64(b, uint64(r.last))
		b = binary.LittleEndian.AppendUint32(b, r.size)
		b = binary.LittleEndian.AppendUint32(b, r.slot)
	}
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	m.raw = b
}

// decodeMeta returns the record in b, which must be that of the store. It does not alias b.
func decodeMeta(b []byte, store event.StoreID) (*meta, error) {
	if len(b) < metaHeader || (len(b)-metaHeader)%metaRun != 0 {
		return nil, errShort
	}
	if binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return nil, errChecksum
	}
	if f := binary.LittleEndian.Uint32(b[4:]); f != metaFormat {
		return nil, fmt.Errorf("format %d", f)
	}
	if id := event.StoreID(b[8:24]); id != store {
		return nil, fmt.Errorf("of store %v, not %v", id, store)
	}
	m := &meta{raw: bytes.Clone(b)}
	m.position = Position{
		Seq:     event.Seq(binary.LittleEndian.Uint64(b[24:])),
		Time:    event.Timestamp(binary.LittleEndian.Uint64(b[32:])),
		Segment: event.Seq(binary.LittleEndian.Uint64(b[40:])),
		Offset:  int64(binary.LittleEndian.Uint64(b[48:])),
		Link:    event.Hash(b[56:88]),
	}
	return m, m.decodeRuns(b[metaHeader:])
}

func (m *meta) decodeRuns(b []byte) error {
	end := event.Seq(0)
	for ; len(b) > 0; b = b[metaRun:] {
		r := runRef{
			first: end + 1,
			last:  event.Seq(binary.LittleEndian.Uint64(b)),
			size:  binary.LittleEndian.Uint32(b[8:]),
			slot:  binary.LittleEndian.Uint32(b[12:]),
		}
		if r.last <= end || r.last > event.MaxSeq {
			return errors.New("runs are not in order")
		}
		m.runs = append(m.runs, r)
		end = r.last
	}
	if end != m.position.Seq {
		return fmt.Errorf("runs end at %d, the position is %d", end, m.position.Seq)
	}
	return nil
}

// freeSlot returns the lowest slot that no run has.
func (m *meta) freeSlot() uint32 {
	slot := uint32(0)
	for slices.ContainsFunc(m.runs, func(r runRef) bool { return r.slot == slot }) {
		slot++
	}
	return slot
}

func (r *runRef) bucket() string { return fmt.Sprintf("run %d", r.slot) }

func (r *runRef) key() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(r.first)), uint64(r.last))
}

// metaIn returns the meta record that tx sees. Usually it is the one that x holds, decoded.
func (x *Index) metaIn(tx kv.Tx) (*meta, error) {
	m := x.meta.Load()
	raw := tx.Get(metaBucket, metaKey)
	if bytes.Equal(raw, m.raw) && (raw == nil) == (m.raw == nil) {
		return m, nil
	}
	m, err := decodeMeta(raw, x.store)
	if err != nil {
		return nil, &DamagedError{"meta record", err}
	}
	return m, nil
}

// putMeta writes m, which then is what tx sees.
func (x *Index) putMeta(tx kv.Tx, m *meta) error {
	m.encode(x.store)
	return tx.Put(metaBucket, metaKey, m.raw)
}

// run opens the run that r refers to. The first time in this process it compares the checksum.
func (x *Index) run(tx kv.Tx, r *runRef) (run, error) {
	b := tx.Get(r.bucket(), r.key())
	if int64(len(b)) != int64(r.size) {
		return run{}, r.damaged(fmt.Errorf("%d bytes, not %d", len(b), r.size))
	}
	opened, err := parseRun(b)
	switch {
	case err != nil:
		return run{}, r.damaged(err)
	case opened.first != r.first || opened.last != r.last:
		return run{}, r.damaged(errRange)
	}
	if _, ok := x.verified.Load(r.id()); !ok {
		if !runChecksum(b) {
			return run{}, r.damaged(errChecksum)
		}
		x.verified.Store(r.id(), nil)
	}
	return opened, nil
}

func (r *runRef) damaged(err error) error {
	return &DamagedError{fmt.Sprintf("run %d to %d", r.first, r.last), err}
}
