package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What a bbolt file must be for bbolt to survive it. The layout, in the byte order of the machine:
//
//	file      pages of pageSize bytes; pages 0 and 1 are metas, the valid one with the higher txid counts
//	page      id u64 | flags u16 | count u16 | overflow u32 | elements; it goes on in the overflow pages after it
//	meta      magic u32 | version u32 | pageSize u32 | 0 u32 | root u64, sequence u64 | freelist u64 | pages u64 | txid u64
//	          | FNV-1a u64 of what is before it
//	freelist  count × page id u64, ascending; if count is 0xffff the first of them is the true count
//	branch    count × { pos u32 | key length u32 | child u64 }, then the keys; pos counts from its element
//	leaf      count × { flags u32 | pos u32 | key length u32 | value length u32 }, then keys and values
//	bucket    a value whose element has flag 1 in a leaf under root: { root u64 | sequence u64 }, and if root is 0 a page
//
// Every page below the meta's count of pages has at most one use: meta, freelist, free, or node of one tree. That is the
// check that matters. bbolt follows child ids without counting, so a child that leads back up has it recurse until
// the stack overflows, or append until memory is full, and neither can be recovered from. In a graph where each page
// is used once there is no way back up. Two more end the process and are refused here: a freelist whose count
// is not bounded by its page (an allocation of that size), and a file without one (bbolt then rebuilds the list
// in a goroutine of its own, where nobody recovers).
//
// The leaves of the buckets are marked as used and not read, since they are nearly all of the file: what
// is wrong in them is a panic or a fault later, or other data. A leaf that lies about a value's length can have a
// later Put on that leaf allocate up to MaxValueBytes before it faults.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	flagBranch   = 1
	flagLeaf     = 2
	flagFreelist = 16

	pageHeaderBytes = 16
	elementBytes    = 16
	bucketBytes     = 16
	metaBytes       = 64
	bucketElement   = 1
	countInFirst    = 0xffff
	minPageBytes    = 1 << 10
	maxPageBytes    = 1 << 24
	maxHeight       = 48      // a branch has two children or more and the file fewer than 2^48 pages
	maxInnerBytes   = 1 << 20 // a node of up to 4 keys is not split: 4 × (32 KiB + an inline bucket of 16 KiB at most)
)

// errStructure is what is wrong with a file. Every error of checkBolt that is not one is the operating system's.
type errStructure string

func (e errStructure) Error() string { return string(e) }

func structuref(format string, args ...any) error { return errStructure(fmt.Sprintf(format, args...)) }

// A boltMeta is what a meta page says.
type boltMeta struct {
	pageSize              uint32
	root, freelist, pages uint64
	txid                  uint64
}

// boltChecker walks a file. Its reads are bounded by the file's size before they allocate.
type boltChecker struct {
	file *os.File
	meta boltMeta
	used []uint64 // one bit a page: 32 KiB a GiB
}

// checkBolt returns an errStructure if bbolt must not see the file.
// Cost: a read for each branch page, for the freelist and for the leaf that holds the bucket names.
func checkBolt(file *os.File) error {
	meta, err := newestMeta(file)
	if err != nil {
		return err
	}
	c := &boltChecker{file: file, meta: meta, used: make([]uint64, meta.pages/64+1)}
	if err := c.use(0, 2); err != nil {
		return err
	}
	if err := c.freelist(); err != nil {
		return err
	}
	return c.tree(meta.root, c.buckets)
}

// newestMeta finds the metas as bbolt does: the second is at the page size, which the first tells if it can be read.
// The file has all the pages that the meta counts.
func newestMeta(file *os.File) (boltMeta, error) {
	var newest boltMeta
	for at := int64(0); at <= maxPageBytes; at = max(minPageBytes, at*2) {
		meta, err := readMeta(file, at)
		if err != nil {
			return boltMeta{}, err
		}
		if meta.pageSize != 0 && (at == 0 || at == int64(meta.pageSize)) && (newest.pageSize == 0 || meta.txid > newest.txid) {
			newest = meta
		}
	}
	if newest.pageSize == 0 {
		return boltMeta{}, errStructure("no valid meta page")
	}
	info, err := file.Stat() // after the meta: if another is writing, the file grows first
	if err != nil {
		return boltMeta{}, err
	}
	if newest.pages < 4 || newest.pages > uint64(info.Size())/uint64(newest.pageSize) {
		return boltMeta{}, structuref("file of %d bytes is not %d pages of %d", info.Size(), newest.pages, newest.pageSize)
	}
	return newest, nil
}

// readMeta returns the zero meta if there is no valid one at the offset.
func readMeta(file *os.File, at int64) (boltMeta, error) {
	var b [metaBytes]byte
	if _, err := file.ReadAt(b[:], at+pageHeaderBytes); errors.Is(err, io.EOF) {
		return boltMeta{}, nil
	} else if err != nil {
		return boltMeta{}, err
	}
	sum := fnv.New64a()
	sum.Write(b[:metaBytes-8])
	size := u32(b[8:])
	if u32(b[0:]) != boltMagic || u32(b[4:]) != boltVersion || u64(b[56:]) != sum.Sum64() ||
		size < minPageBytes || size > maxPageBytes || size&(size-1) != 0 {
		return boltMeta{}, nil
	}
	return boltMeta{size, u64(b[16:]), u64(b[32:]), u64(b[40:]), u64(b[48:])}, nil
}

// use marks count pages from id, none of which may be past the end or used already.
func (c *boltChecker) use(id, count uint64) error {
	if id >= c.meta.pages || count > c.meta.pages-id {
		return structuref("page %d and %d more are past page %d, the last", id, count-1, c.meta.pages-1)
	}
	for ; count > 0; id, count = id+1, count-1 {
		if c.used[id/64]&(1<<(id%64)) != 0 {
			return structuref("page %d has two uses", id)
		}
		c.used[id/64] |= 1 << (id % 64)
	}
	return nil
}

// A boltPage is a page with its overflow pages. Elements are read through it, so that none is outside.
type boltPage struct {
	id    uint64
	flags uint16
	count int
	bytes []byte
}

// page uses and reads a page of one of the kinds.
func (c *boltChecker) page(id uint64, kinds uint16, maxBytes uint64) (boltPage, error) {
	var head [pageHeaderBytes]byte
	if id >= c.meta.pages {
		return boltPage{}, structuref("page %d is past page %d, the last", id, c.meta.pages-1)
	}
	at := int64(id) * int64(c.meta.pageSize)
	if _, err := c.file.ReadAt(head[:], at); err != nil {
		return boltPage{}, shortRead(err)
	}
	p := boltPage{id: u64(head[0:]), flags: u16(head[8:]), count: int(u16(head[10:]))}
	if p.id != id {
		return boltPage{}, structuref("page %d says that it is page %d", id, p.id)
	}
	if kind := p.flags; kind&kinds == 0 || kind&(kind-1) != 0 {
		return boltPage{}, structuref("page %d has flags %#x", id, p.flags)
	}
	pages := uint64(u32(head[12:])) + 1
	if err := c.use(id, pages); err != nil {
		return boltPage{}, err
	}
	if pages > 1 && pages*uint64(c.meta.pageSize) > maxBytes {
		return boltPage{}, structuref("page %d has %d overflow pages", id, pages-1)
	}
	p.bytes = make([]byte, pages*uint64(c.meta.pageSize))
	_, err := c.file.ReadAt(p.bytes, at)
	return p, shortRead(err)
}

func shortRead(err error) error {
	if errors.Is(err, io.EOF) {
		return errStructure("file is shorter than its pages")
	}
	return err
}

// element returns element i and what follows it in the page, which its pos counts into.
func (p boltPage) element(i int) ([]byte, error) {
	at := pageHeaderBytes + i*elementBytes
	if at+elementBytes > len(p.bytes) {
		return nil, structuref("page %d has no room for its %d elements", p.id, p.count)
	}
	return p.bytes[at:], nil
}

// slice returns b[pos:pos+length].
func (p boltPage) slice(b []byte, pos, length uint64) ([]byte, error) {
	if pos+length > uint64(len(b)) {
		return nil, structuref("page %d has a key or value outside", p.id)
	}
	return b[pos : pos+length], nil
}

func (c *boltChecker) freelist() error {
	p, err := c.page(c.meta.freelist, flagFreelist, c.meta.pages*8+2*uint64(c.meta.pageSize))
	if err != nil {
		return err
	}
	ids, count := p.bytes[pageHeaderBytes:], uint64(p.count)
	if count == countInFirst {
		count, ids = u64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return structuref("freelist of %d pages is longer than its page", count)
	}
	for ; count > 0; ids, count = ids[8:], count-1 {
		if err := c.use(u64(ids), 1); err != nil {
			return err
		}
	}
	return nil
}

// tree walks the tree under root and calls leaf with each leaf. A nil leaf leaves them unread.
func (c *boltChecker) tree(root uint64, leaf func(boltPage) error) error {
	height, err := c.height(root)
	if err != nil {
		return err
	}
	return c.node(root, height, leaf)
}

// height counts the branches above the first leaf. A B+ tree grows at the root, so it is the same for all leaves.
func (c *boltChecker) height(id uint64) (int, error) {
	for height := range maxHeight {
		var b [pageHeaderBytes + elementBytes]byte
		if id >= c.meta.pages {
			return 0, structuref("page %d is past page %d, the last", id, c.meta.pages-1)
		}
		if _, err := c.file.ReadAt(b[:], int64(id)*int64(c.meta.pageSize)); err != nil {
			return 0, shortRead(err)
		}
		if u16(b[8:]) != flagBranch {
			return height, nil
		}
		id = u64(b[pageHeaderBytes+8:])
	}
	return 0, structuref("page %d is more than %d pages under its root", id, maxHeight)
}

func (c *boltChecker) node(id uint64, height int, leaf func(boltPage) error) error {
	if height == 0 {
		if leaf == nil {
			return c.use(id, 1)
		}
		p, err := c.page(id, flagLeaf, maxInnerBytes)
		if err != nil {
			return err
		}
		return leaf(p)
	}
	p, err := c.page(id, flagBranch, maxInnerBytes)
	if err != nil {
		return err
	}
	if p.count == 0 {
		return structuref("branch page %d has no children", id)
	}
	var last []byte
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		key, err := p.slice(e, uint64(u32(e)), uint64(u32(e[4:])))
		if err != nil {
			return err
		}
		if bytes.Compare(last, key) >= 0 {
			return structuref("branch page %d has keys out of order", id)
		}
		last = key
		if err := c.node(u64(e[8:]), height-1, leaf); err != nil {
			return err
		}
	}
	return nil
}

// buckets checks the trees of the buckets that a leaf names, and the pages that are inside the leaf.
func (c *boltChecker) buckets(p boltPage) error {
	return p.values(func(flags uint32, value []byte) error {
		switch {
		case flags != bucketElement || len(value) < bucketBytes:
			return structuref("page %d has something beside buckets", p.id)
		case u64(value) != 0:
			return c.tree(u64(value), nil)
		case len(value) < bucketBytes+pageHeaderBytes:
			return structuref("page %d has a bucket without a page", p.id)
		}
		inline := value[bucketBytes:]
		return boltPage{p.id, u16(inline[8:]), int(u16(inline[10:])), inline}.values(nil)
	})
}

// values calls do, if it is not nil, with each value of a leaf, once it is sure that it is inside the page. The keys ascend:
// bbolt would not find one that is out of order, nor others beside it.
func (p boltPage) values(do func(flags uint32, value []byte) error) error {
	if p.flags != flagLeaf {
		return structuref("page %d has a bucket with flags %#x", p.id, p.flags)
	}
	var last []byte
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		pos, keyBytes, valueBytes := uint64(u32(e[4:])), uint64(u32(e[8:])), uint64(u32(e[12:]))
		both, err := p.slice(e, pos, keyBytes+valueBytes)
		if err != nil {
			return err
		}
		key := both[:keyBytes]
		if bytes.Compare(last, key) >= 0 {
			return structuref("page %d has keys out of order", p.id)
		}
		last = key
		if do == nil {
			continue
		}
		if err := do(u32(e), both[keyBytes:]); err != nil {
			return err
		}
	}
	return nil
}

func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
