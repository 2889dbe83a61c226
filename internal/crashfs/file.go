package crashfs

import (
	"io"
	"io/fs"
	"runtime"
	"syscall"
)

// A file is an open file.
type file struct {
	d        *Disk
	n        *inode
	handle   int // from 1, in the order of opening
	writable bool
	closed   bool // guarded by d.mu
	told     int  // losses of the inode that it knows of
}

// usable says why the file cannot be used, if it cannot.
func (f *file) usable() error {
	if f.closed {
		return fs.ErrClosed
	}
	return nil
}

// changeable says why the file cannot be changed, if it cannot.
func (f *file) changeable() error {
	if !f.writable {
		return fs.ErrPermission
	}
	return f.usable()
}

// name returns the newest name of the file.
func (f *file) name() string {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.n.name
}

func (f *file) ReadAt(b []byte, offset int64) (n int, err error) {
	end := false
	err = f.d.look("read", f.name(), func() error {
		if offset < 0 {
			return fs.ErrInvalid
		}
		if offset < f.n.bytes() {
			n = copy(b, f.n.data[offset:])
		}
		end = n < len(b)
		return f.usable()
	})
	if err == nil && end {
		err = io.EOF
	}
	return n, err
}

func (f *file) WriteAt(b []byte, offset int64) (n int, err error) {
	op := Op{Verb: Write, Handle: f.handle, Name: f.name(), Offset: offset, Length: int64(len(b)), Zeros: isZero(b)}
	err = f.d.do(op, f.changeable, func(fault Fault) error {
		if offset < 0 {
			return fs.ErrInvalid
		}
		part := b
		if fault.Effect == Some {
			part = b[:max(0, min(fault.Part, int64(len(b))))]
		}
		growth := offset + int64(len(part)) - f.n.bytes()
		missing := growth - f.d.room(growth)
		if missing > 0 {
			part = part[:max(0, int64(len(part))-missing)]
		}
		if n = len(part); n > 0 {
			f.n.write(part, offset)
		}
		if missing > 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	if err == nil {
		n = len(b) // a lie too says that all was written
	}
	return n, err
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (f *file) Truncate(size int64) error {
	return f.d.do(Op{Verb: Truncate, Handle: f.handle, Name: f.name(), Length: size}, f.changeable, func(Fault) error {
		switch growth := size - f.n.bytes(); {
		case size < 0:
			return fs.ErrInvalid
		case f.d.room(growth) < growth:
			return syscall.ENOSPC
		}
		f.n.truncate(size)
		return nil
	})
}

// Sync takes its time, as that of a disk does: who waits for a processor has one meanwhile.
func (f *file) Sync() error {
	runtime.Gosched()
	return f.d.do(Op{Verb: Sync, Handle: f.handle, Name: f.name()}, f.usable, func(fault Fault) error {
		if fault.Effect == Lost {
			f.n.lose(fault.Err)
			f.told = f.n.losses
			return nil
		}
		f.n.sync()
		if f.told < f.n.losses {
			f.told = f.n.losses
			return f.n.lossErr
		}
		return nil
	})
}

func (f *file) Size() (size int64, err error) {
	err = f.d.look("size", f.name(), func() error {
		size = f.n.bytes()
		return f.usable()
	})
	return size, err
}

// Close closes the file and releases its lock, also when the process has ended.
func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.usable(); err != nil {
		return failed("close", f.n.name, err)
	}
	f.closed = true
	if f.n.holder == f {
		f.n.holder = nil
	}
	return nil
}

// Map changes nothing.
func (f *file) Map(int64) {}

// Expect does nothing.
func (f *file) Expect(int64, int64) {}

func (f *file) Store(b []byte, offset int64) (int, error) { return f.WriteAt(b, offset) }
