package vfs

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// An image is a file mapped for reading, from its start to what was its end then.
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

// A window is a part of a file mapped for writing.
type window struct {
	mem []byte
	at  int64 // where it begins in the file
}

// windowBytes is how much of a file is mapped for writing at a time, a multiple of the length of a page.
const windowBytes = 16 << 20

// write copies into memory and reports whether it could: not across the end of a window, nor where the system cannot provide a page.
// The caller then asks it in the ordinary way, as for reading.
func (w *window) write(f *os.File, b []byte, offset int64) (ok bool) {
	at := offset - offset%windowBytes
	if offset < 0 || offset+int64(len(b)) > at+windowBytes || w.mem == nil && w.at < 0 {
		return false
	}
	if (w.mem == nil || w.at != at) && !w.move(f, at) {
		return false
	}
	return access(func() { copy(w.mem[offset-at:], b) })
}

// move maps another part of the file. If the system does not do that, it is not asked again.
func (w *window) move(f *os.File, at int64) bool {
	w.release()
	mem, err := unix.Mmap(int(f.Fd()), at, windowBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		w.at = -1
		return false
	}
	w.mem, w.at = mem, at
	return true
}

func (w *window) release() {
	if w.mem != nil {
		_ = unix.Munmap(w.mem) // fails only for what is not mapped
	}
	w.mem = nil
}

// read copies from memory and reports whether it could. A page that the system cannot provide, because the file became
// shorter or the disk fails, is a signal; the caller then asks the system in the ordinary way, which says what is wrong.
func (i *image) read(b []byte, offset int64) (ok bool) {
	end := offset + int64(len(b))
	if offset < 0 || end > int64(len(i.mem)) {
		return false
	}
	return access(func() { copy(b, i.mem[offset:end]) })
}

// maxExpected is how many bytes are asked for: behind them the processor has seen where this goes.
const maxExpected = 1 << 10

// expect brings what read is to copy nearer to the processor.
func (i *image) expect(offset, length int64) {
	if length = min(length, maxExpected); length > 0 && offset >= 0 && offset <= int64(len(i.mem))-length {
		prefetch(i.mem[offset : offset+length])
	}
}

// access calls do, which copies from or to mapped memory, and reports whether all of that was there.
func access(do func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	do()
	return true
}

func (i *image) release() {
	if i.mem != nil {
		_ = unix.Munmap(i.mem) // fails only for what is not mapped
	}
	i.mem = nil
}
