package vfs

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

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

// read copies from memory and reports whether it could. A page that the system cannot provide, because the file became
// shorter or the disk fails, is a signal; the caller then asks the system in the ordinary way, which says what is wrong.
func (i *image) read(b []byte, offset int64) (ok bool) {
	end := offset + int64(len(b))
	if offset < 0 || end > int64(len(i.mem)) {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	copy(b, i.mem[offset:end])
	return true
}

func (i *image) release() {
	if i.mem != nil {
		_ = unix.Munmap(i.mem) // fails only for what is not mapped
	}
	i.mem = nil
}
