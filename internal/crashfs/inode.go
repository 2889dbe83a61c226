package crashfs

// SectorBytes is what the disk writes whole or not at all.
const SectorBytes = 512

// An inode is a file: the bytes that the process sees, those that are durable, and what was done between the two. A sector
// is written as the process sees it at that moment, so a later write of it carries the earlier ones.
type inode struct {
	name    string // the newest it had
	data    []byte
	durable []byte
	pending []version
	lengths []int64 // that the file had since the last sync
	holder  *file   // of the lock
	losses  int     // syncs that failed and lost writes
	lossErr error   // of the newest
}

// A version is the content of a sector after a write to it.
type version struct {
	sector  int64
	content *[SectorBytes]byte
}

func (n *inode) bytes() int64 { return int64(len(n.data)) }

// write writes b, which may begin behind the end.
func (n *inode) write(b []byte, offset int64) {
	if end := offset + int64(len(b)); end > n.bytes() {
		n.data = resize(n.data, end)
		n.lengths = append(n.lengths, end)
	}
	copy(n.data[offset:], b)
	n.remember(offset, offset+int64(len(b)))
}

// truncate sets the length. The sectors cut off read as zeros from then on, if they are there again.
func (n *inode) truncate(size int64) {
	was := n.bytes()
	n.data = resize(n.data, size)
	n.lengths = append(n.lengths, size)
	n.remember(size, was)
}

// remember keeps the sectors with bytes from start to end as they are now.
func (n *inode) remember(start, end int64) {
	for s := start / SectorBytes; s*SectorBytes < end; s++ {
		content := new([SectorBytes]byte)
		if at := s * SectorBytes; at < n.bytes() {
			copy(content[:], n.data[at:])
		}
		n.pending = append(n.pending, version{s, content})
	}
}

// sync makes everything durable but what an earlier failed sync lost.
func (n *inode) sync() {
	n.durable = resize(n.durable, n.bytes())
	for _, v := range n.pending {
		v.apply(n.durable)
	}
	n.pending, n.lengths = nil, nil
}

// lose makes sure that nothing written since the last sync becomes durable by itself. If it is an error, the files that
// are open will each be told once.
func (n *inode) lose(err error) {
	n.pending = nil
	if err != nil {
		n.losses, n.lossErr = n.losses+1, err
	}
}

// apply puts the sector into b, as far as b goes.
func (v version) apply(b []byte) {
	if at := v.sector * SectorBytes; at < int64(len(b)) {
		copy(b[at:], v.content[:])
	}
}

// resize returns b with that length. Bytes added are zero, those that were cut off earlier too.
func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}
