package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// A block of bucket "rows" holds the rows of blockRows consecutive events, the last block those of the events so far.
// Its key is be64 of the block's number, (seq-1) / blockRows. Integers in it are little-endian.
//
//	 0  u32  CRC-32C of everything after it
//	 4  u32  count of rows
//	 8  u64  seq of the first row
//	16  i64  time of the first row's event
//	24  per row:
//	    u32  offset of the record in its segment, in bytes
//	    u32  length of the record in bytes
//	    8 B  the first bytes of the event's hash
//
// bbolt puts two of them into a leaf. 252 is the highest count for which two fill two pages of 4096 bytes and take no third:
// 16 + 2 × (16 + 8 + 24 + 252 × 16) = 8176. With 256 rows a row would take 24 bytes of the file instead of 16.25.
const (
	blockRows   = 252
	blockHeader = 24
	rowBytes    = 16
	rowsBucket  = "rows"
)

// A Row says where an event is.
type Row struct {
	Seq    event.Seq
	Offset uint32  // of the record from the start of its segment, in bytes
	Length uint32  // of the record, in bytes
	Check  [8]byte // the first bytes of the event's hash
	Entry  *Entry  // the event itself while it is in the tail, else nil; not to be changed
}

// rowBlock is a block whose checksum and count have been compared. It aliases a value of kv.
type rowBlock struct {
	first event.Seq
	time  event.Timestamp // of the first row's event
	rows  []byte
}

func blockOf(seq event.Seq) uint64 { return uint64(seq-1) / blockRows }

func rowsKey(block uint64) []byte { return binary.BigEndian.AppendUint64(nil, block) }

// parseRowBlock returns block number n in b, which it aliases.
func parseRowBlock(b []byte, n uint64) (rowBlock, error) {
	if len(b) < blockHeader {
		return rowBlock{}, errShort
	}
	if binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return rowBlock{}, errChecksum
	}
	r := rowBlock{
		first: event.Seq(binary.LittleEndian.Uint64(b[8:])),
		time:  event.Timestamp(binary.LittleEndian.Uint64(b[16:])),
		rows:  b[blockHeader:],
	}
	if uint64(r.first) != n*blockRows+1 {
		return rowBlock{}, errRange
	}
	if c := int(binary.LittleEndian.Uint32(b[4:])); c == 0 || c > blockRows || len(r.rows) != c*rowBytes {
		return rowBlock{}, fmt.Errorf("%d bytes for %d rows", len(r.rows), c)
	}
	return r, nil
}

func (r *rowBlock) len() int { return len(r.rows) / rowBytes }

// row returns the row of seq, and whether the block has it.
func (r *rowBlock) row(seq event.Seq) (Row, bool) {
	if seq < r.first || seq-r.first >= event.Seq(r.len()) {
		return Row{}, false
	}
	b := r.rows[(seq-r.first)*rowBytes:][:rowBytes]
	return Row{
		Seq:    seq,
		Offset: binary.LittleEndian.Uint32(b),
		Length: binary.LittleEndian.Uint32(b[4:]),
		Check:  [8]byte(b[8:]),
	}, true
}

// appendRow appends the row of the next event to a block, which is empty if it is the first.
func appendRow(b []byte, e *Entry) []byte {
	if len(b) == 0 {
		b = append(b, make([]byte, blockHeader)...)
		binary.LittleEndian.PutUint64(b[8:], uint64(e.Header.Seq))
		binary.LittleEndian.PutUint64(b[16:], uint64(e.Header.Time))
	}
	b = binary.LittleEndian.AppendUint32(b, e.Offset)
	b = binary.LittleEndian.AppendUint32(b, e.Length)
	return append(b, e.Hash[:8]...)
}

// sealRowBlock sets the count and the checksum of a block.
func sealRowBlock(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], uint32((len(b)-blockHeader)/rowBytes))
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
}

// rowReader reads rows in one transaction. It keeps the block it read last.
type rowReader struct {
	tx    kv.Tx
	n     uint64 // of block
	block rowBlock
}

// read makes block n the current one.
func (r *rowReader) read(n uint64) error {
	if r.block.rows != nil && r.n == n {
		return nil
	}
	b, err := parseRowBlock(r.tx.Get(rowsBucket, rowsKey(n)), n)
	if err != nil {
		return damagedRows(n, err)
	}
	r.n, r.block = n, b
	return nil
}

// row returns the row of seq, which must be folded in r's transaction.
func (r *rowReader) row(seq event.Seq) (Row, error) {
	n := blockOf(seq)
	if err := r.read(n); err != nil {
		return Row{}, err
	}
	row, ok := r.block.row(seq)
	if !ok {
		return Row{}, damagedRows(n, fmt.Errorf("no row for event %d", seq))
	}
	return row, nil
}

// seek returns a seq of 1 to last+1 such that every event before it has a time before t, and the first event at or after
// t, or last+1, is less than blockRows after it.
func (r *rowReader) seek(t event.Timestamp, last event.Seq) (event.Seq, error) {
	low, high := uint64(0), (uint64(last)+blockRows-1)/blockRows // the first block that does not begin before t is in [low, high]
	for low < high {
		mid := low + (high-low)/2
		if err := r.read(mid); err != nil {
			return 0, err
		}
		if r.block.time < t {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return 1, nil
	}
	return event.Seq(low-1)*blockRows + 2, nil
}

func damagedRows(n uint64, err error) error {
	return &DamagedError{fmt.Sprintf("rows %d to %d", n*blockRows+1, (n+1)*blockRows), err}
}
