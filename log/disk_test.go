package log

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/batpak/batpak/internal/vfs"
)

// A disk is a file system in memory that knows what a power cut would keep: the bytes of a file as of its last Sync, the
// names of a directory as of its last SyncDir.
type disk struct {
	mu    sync.Mutex
	names map[string]*inode
	kept  map[string]*inode
	open  int // files that are open
	most  int // that were open at a time
	limit int // how many the system lets be open; 0 for no limit

	// hook, if not nil, sees each operation that changes something before it is done; see fault.
	hook func(op operation) *fault
}

type inode struct {
	name string
	data []byte
	kept []byte
}

// An operation is one call that changes something.
type operation struct {
	verb   string // create, open, write, truncate, sync, close, mkdir, rename, remove, syncdir
	name   string
	to     string // of a rename
	offset int64
	length int64
	zeros  bool // a write by the filler
}

func (o operation) String() string {
	switch o.verb {
	case "write":
		return fmt.Sprintf("write %s %d+%d", o.name, o.offset, o.length)
	case "truncate":
		return fmt.Sprintf("truncate %s %d", o.name, o.offset)
	case "rename":
		return fmt.Sprintf("rename %s %s", o.name, o.to)
	}
	return o.verb + " " + o.name
}

// A fault says how an operation fails.
type fault struct {
	err  error
	part float64 // how much of it is done before: 0 nothing, 1 all; of a write also a part
}

func newDisk() *disk { return &disk{names: map[string]*inode{}, kept: map[string]*inode{}} }

// do runs an operation, or the part of it that the hook says.
func (d *disk) do(op operation, effect func(part float64) error) error {
	var f *fault
	if d.hook != nil {
		f = d.hook(op)
	}
	if f == nil {
		f = &fault{part: 1}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.err != nil && f.part == 0 {
		return &fs.PathError{Op: op.verb, Path: op.name, Err: f.err}
	}
	if err := effect(f.part); err != nil {
		return &fs.PathError{Op: op.verb, Path: op.name, Err: err}
	}
	if f.err != nil {
		return &fs.PathError{Op: op.verb, Path: op.name, Err: f.err}
	}
	return nil
}

// powerCut forgets everything that is not durable. Files that were open are not to be used any more.
func (d *disk) powerCut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = map[string]*inode{}
	for name, n := range d.kept {
		d.names[name] = &inode{name: name, data: slices.Clone(n.kept), kept: n.kept}
	}
	d.kept = maps.Clone(d.names)
}

// put makes a durable file with this content.
func (d *disk) put(name string, data []byte) {
	n := &inode{name: name, data: slices.Clone(data), kept: slices.Clone(data)}
	d.names[name], d.kept[name] = n, n
}

// clone returns a disk with the same files, all durable.
func (d *disk) clone() *disk {
	c := newDisk()
	for name, n := range d.names {
		c.put(name, n.data)
	}
	return c
}

func (d *disk) file(name string, op string, writable bool) (vfs.File, error) {
	n := d.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	d.open++
	d.most = max(d.most, d.open)
	return &diskFile{d: d, n: n, writable: writable}, nil
}

func (d *disk) Create(name string) (f vfs.File, err error) {
	err = d.do(operation{verb: "create", name: name}, func(float64) error {
		if d.names[name] != nil {
			return fs.ErrExist
		}
		if err := d.full(name); err != nil {
			return err
		}
		d.names[name] = &inode{name: name}
		f, err = d.file(name, "create", true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *disk) Open(name string) (f vfs.File, err error) {
	err = d.do(operation{verb: "open", name: name}, func(float64) error {
		if err = d.full(name); err == nil {
			f, err = d.file(name, "open", true)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *disk) OpenRead(name string) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.full(name); err != nil {
		return nil, err
	}
	return d.file(name, "open", false)
}

// full returns an error if no more files may be open.
func (d *disk) full(name string) error {
	if d.limit > 0 && d.open >= d.limit {
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return nil
}

func (d *disk) Mkdir(name string) error {
	return d.do(operation{verb: "mkdir", name: name}, func(float64) error { return nil })
}

func (d *disk) ReadDir(name string) (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for full := range d.names {
		if path.Dir(full) == name {
			names = append(names, path.Base(full))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *disk) Rename(oldname, newname string) error {
	return d.do(operation{verb: "rename", name: oldname, to: newname}, func(float64) error {
		n := d.names[oldname]
		if n == nil {
			return fs.ErrNotExist
		}
		delete(d.names, oldname)
		d.names[newname], n.name = n, newname
		return nil
	})
}

func (d *disk) Remove(name string) error {
	return d.do(operation{verb: "remove", name: name}, func(float64) error {
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		delete(d.names, name)
		return nil
	})
}

func (d *disk) SyncDir(name string) error {
	return d.do(operation{verb: "syncdir", name: name}, func(float64) error {
		if err := d.full(name); err != nil { // the directory is opened for it
			return err
		}
		maps.DeleteFunc(d.kept, func(full string, _ *inode) bool { return path.Dir(full) == name })
		for full, n := range d.names {
			if path.Dir(full) == name {
				d.kept[full] = n
			}
		}
		return nil
	})
}

func (d *disk) Lock(name string) (vfs.File, error) { panic("the log takes no lock") }

type diskFile struct {
	d        *disk
	n        *inode
	writable bool
}

func (f *diskFile) name() string {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.n.name
}

func (f *diskFile) ReadAt(b []byte, offset int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if offset > int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *diskFile) WriteAt(b []byte, offset int64) (n int, err error) {
	op := operation{verb: "write", name: f.name(), offset: offset, length: int64(len(b)), zeros: len(b) > 0 && &b[0] == &zeros[0]}
	err = f.d.do(op, func(part float64) error {
		n = int(float64(len(b)) * part)
		if end := int(offset) + n; end > len(f.n.data) {
			f.n.data = append(f.n.data, make([]byte, end-len(f.n.data))...)
		}
		copy(f.n.data[offset:], b[:n])
		return nil
	})
	return n, err
}

func (f *diskFile) Truncate(size int64) error {
	return f.d.do(operation{verb: "truncate", name: f.name(), offset: size}, func(float64) error {
		f.n.data = append(f.n.data, make([]byte, max(0, int(size)-len(f.n.data)))...)[:size:size]
		return nil
	})
}

func (f *diskFile) Sync() error {
	return f.d.do(operation{verb: "sync", name: f.name()}, func(float64) error {
		f.n.kept = slices.Clone(f.n.data)
		return nil
	})
}

func (f *diskFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *diskFile) Close() error {
	release := func(float64) error {
		f.d.open--
		return nil
	}
	if !f.writable {
		f.d.mu.Lock()
		defer f.d.mu.Unlock()
		return release(1)
	}
	return f.d.do(operation{verb: "close", name: f.name()}, release)
}

// byFiller reports whether the calling goroutine is the filler's.
func byFiller() bool {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "(*filler).extend") || strings.HasSuffix(frame.Function, "(*filler).rest") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (f *diskFile) Map(int64) {}

func (f *diskFile) Expect(int64, int64) {}

func (f *diskFile) Store(b []byte, offset int64) (int, error) { return f.WriteAt(b, offset) }
