package vfs

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// mapWindow is how much of a file is mapped at a time: the mapping moves along with the writes.
	mapWindow = 4 << 20
	// mapLargest is the longest write that goes through memory. Beyond some pages the system copies as fast.
	mapLargest = 32 << 10
	pageBytes  = 4096
)

var errShrunk = errors.New("the file was cut off under its writer")

// A mapping writes to a part of a file through memory. Pages written so belong to the system, as those of write(2) do.
type mapping struct {
	mu   sync.Mutex
	size int64  // the file has written bytes up to here; 0: no mapping
	base int64  // where mem begins in the file
	mem  []byte // nil: nothing is mapped
}

func (m *mapping) allocated(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size = size
}

// write copies b to its place and reports whether it did. Where it could not, some of b may have been copied.
func (m *mapping) write(f *os.File, b []byte, offset int64) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := offset + int64(len(b))
	if end > m.size || len(b) > mapLargest || len(b) == 0 {
		return false, nil
	}
	if offset < m.base || end > m.base+int64(len(m.mem)) {
		if !m.move(f, offset) {
			return false, nil
		}
	}
	if guarded(func() { copyInOrder(m.mem, b, int(offset-m.base)) }) {
		return true, nil
	}
	// The system could not provide a page. Unless the file is not what it was, write(2) will say why, or do it.
	err = m.whole(f)
	m.unmap()
	m.size = 0
	return false, err
}

// check returns an error if the file has become shorter since it was mapped: then what was written is lost.
func (m *mapping) check(f *os.File) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mem == nil {
		return nil
	}
	return m.whole(f)
}

func (m *mapping) whole(f *os.File) error {
	info, err := f.Stat()
	if err == nil && info.Size() < m.size {
		err = fmt.Errorf("%w: %d bytes, and %d were written", errShrunk, info.Size(), m.size)
	}
	return err
}

// move maps the window that begins with the page of offset. If the system does not map it nothing is ever mapped again.
func (m *mapping) move(f *os.File, offset int64) bool {
	m.unmap()
	base := offset &^ (pageBytes - 1)
	mem, err := unix.Mmap(int(f.Fd()), base, mapWindow, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		m.size = 0
		return false
	}
	m.base, m.mem = base, mem
	return true
}

// unmap lets go of the window.
func (m *mapping) unmap() {
	if m.mem != nil {
		_ = unix.Munmap(m.mem) // fails only for what is not mapped
	}
	m.base, m.mem = 0, nil
}

// release ends the mapping.
func (m *mapping) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unmap()
	m.size = 0
}

// pieceBytes is less than the shortest commit, and sectors consist of whole pieces.
const pieceBytes = 64

// copyInOrder copies src to dst at an offset, from the first piece to the last. If the process ends in between, everything
// before some piece is there, and nothing behind it, as it would be after write(2). The runtime's copy keeps no order: it
// may write the first bytes last, and so leave a commit without the one before it.
func copyInOrder(dst, src []byte, offset int) {
	dst = dst[offset:]
	n := copy(dst, src[:min(len(src), -offset&(pieceBytes-1))])
	for dst, src = dst[n:], src[n:]; len(src) >= pieceBytes; dst, src = dst[pieceBytes:], src[pieceBytes:] {
		*(*[pieceBytes]byte)(dst) = [pieceBytes]byte(src)
	}
	copy(dst, src)
}

// guarded reports whether copying went through. A signal comes of a page that the system cannot provide.
func guarded(copying func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	copying()
	return true
}

// An image is a file mapped whole for reading.
type image struct{ mem []byte }

// load maps the first size bytes. Without it, or if the system does not map them, nothing is read through memory.
func (i *image) load(f *os.File, size int64) {
	if i.mem != nil || size <= 0 || size > maxImage {
		return
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err == nil {
		i.mem = mem
	}
}

// maxImage bounds what is mapped of one file, so that two or three of them fit into the addresses of a small machine.
const maxImage = 256 << 20

// read copies from memory and reports whether it could.
func (i *image) read(b []byte, offset int64) bool {
	end := offset + int64(len(b))
	return offset >= 0 && end <= int64(len(i.mem)) && guarded(func() { copy(b, i.mem[offset:end]) })
}

func (i *image) release() {
	if i.mem != nil {
		_ = unix.Munmap(i.mem) // fails only for what is not mapped
	}
	i.mem = nil
}
