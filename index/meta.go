package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"strconv"
	"sync/atomic"

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
//	    u32   level, which decides what is merged
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
	level       uint32
	bucket      string
	key         []byte
	verified    *atomic.Bool // the checksum has been compared since the index was opened
}

func newRunRef(first, last event.Seq, size, slot, level uint32) runRef {
	key := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(first))
	return runRef{
		first: first, last: last, size: size, slot: slot, level: level,
		bucket:   "run " + strconv.Itoa(int(slot)),
		key:      binary.BigEndian.AppendUint64(key, uint64(last)),
		verified: new(atomic.Bool),
	}
}

const (
	metaFormat = 1
	metaHeader = 88
	metaRun    = 20
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

// encode returns the record.
func (m *meta) encode(store event.StoreID) []byte {
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
		b = binary.LittleEndian.AppendUint32(b, r.level)
	}
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
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
	m.runs = make([]runRef, 0, len(b)/metaRun)
	end := event.Seq(0)
	for ; len(b) > 0; b = b[metaRun:] {
		last := event.Seq(binary.LittleEndian.Uint64(b))
		if last <= end || last > event.MaxSeq {
			return errors.New("runs are not in order")
		}
		size, slot, level := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
		m.runs = append(m.runs, newRunRef(end+1, last, size, slot, level))
		end = last
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

// find returns the place of the run that holds seq, which is folded.
func (m *meta) find(seq event.Seq) int {
	return sort.Search(len(m.runs), func(i int) bool { return m.runs[i].last >= seq })
}

// metaIn returns the meta record that tx sees, which began after f was current. Usually it is that of f, decoded.
func (f *folded) metaIn(tx kv.Tx, store event.StoreID) (*meta, error) {
	raw := tx.Get(metaBucket, metaKey)
	if bytes.Equal(raw, f.raw) && (raw == nil) == (f.raw == nil) {
		return f.meta, nil
	}
	m, err := decodeMeta(raw, store)
	if err == nil && m.position.Seq < f.position.Seq {
		err = fmt.Errorf("went back from %d to %d", f.position.Seq, m.position.Seq)
	}
	if err != nil {
		return nil, &DamagedError{"meta record", err}
	}
	return m, nil
}

// open returns the run that r refers to, which aliases values of tx. The first time it compares the checksum.
func (r *runRef) open(tx kv.Tx) (run, error) {
	opened, b, err := r.parse(tx)
	if err != nil {
		return run{}, err
	}
	if !r.verified.Load() && !runChecksum(b) {
		return run{}, r.damaged(errChecksum)
	}
	r.verified.Store(true)
	return opened, nil
}

// parse is open without the checksum. It also returns the bytes of the run.
func (r *runRef) parse(tx kv.Tx) (run, []byte, error) {
	b := tx.Get(r.bucket, r.key)
	if int64(len(b)) != int64(r.size) {
		return run{}, nil, r.damaged(fmt.Errorf("%d bytes, not %d", len(b), r.size))
	}
	opened, err := parseRun(b)
	if err == nil && (opened.first != r.first || opened.last != r.last) {
		err = errRange
	}
	if err != nil {
		return run{}, nil, r.damaged(err)
	}
	return opened, b, nil
}

func (r *runRef) damaged(err error) error {
	return &DamagedError{fmt.Sprintf("run %d to %d", r.first, r.last), err}
}
