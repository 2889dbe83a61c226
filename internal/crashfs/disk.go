// Package crashfs is a simulated disk for tests: a [vfs.FS] in memory that knows what a crash would leave.
//
// The bytes of a file and the names in a directory are apart, and each is durable only after a sync of its own. What was
// not synced may survive a power cut or not: the sectors of a file each as of some moment since the sync, the length as of
// another, and each change of a name by itself. [Disk.Crash] picks one such outcome, by a seed, and returns it as a new
// disk. What the process that reads and writes sees is always the newest.
//
// A test drives it by four means: [Disk.StopAt] ends the process at an operation, [Disk.Inject] makes operations fail or
// lie, [Disk.SetCapacity] fills it up, and [Disk.Trace] prints what was done. Operations are the calls that change or sync
// something; they are counted from 1. A call that is refused because of what is there, such as removing a name that is
// missing, is none.
package crashfs

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/batpak/batpak/internal/vfs"
)

// ErrStopped is the cause of every error from the operation on at which the process ended.
var ErrStopped = errors.New("the process has ended")

// A Disk is a simulated disk. Its methods may be called from any goroutine.
type Disk struct {
	mu       sync.Mutex
	root     *dir
	ops      []Op
	stopAt   int // an operation's number; 0: none
	stopped  bool
	handles  int // files opened so far
	inject   func(Op) Fault
	limited  bool // by capacity
	capacity int64
}

var _ vfs.FS = (*Disk)(nil)

// New returns an empty disk.
func New() *Disk { return &Disk{root: newDir()} }

// StopAt ends the process at the n-th operation from now: that one is not done, and it and everything after it fails with
// [ErrStopped], reads too. 0 means never.
func (d *Disk) StopAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAt = 0
	if n > 0 {
		d.stopAt = len(d.ops) + n
	}
}

// Stop ends the process now. Operations that are under way and have had no effect yet have none.
func (d *Disk) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
}

// Stopped reports whether the process has ended.
func (d *Disk) Stopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// Inject makes f decide how each operation goes. It is called before the operation, in the goroutine that does it, and may
// block or call the disk. Nil means that all go well.
func (d *Disk) Inject(f func(Op) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inject = f
}

// SetCapacity bounds the sum of the lengths of all files. A write beyond it is cut short and fails with ENOSPC. A negative
// capacity means no bound.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity, d.limited = bytes, bytes >= 0
}

// Used returns the sum of the lengths of all files in bytes.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.root.bytes()
}

// Ops returns the operations so far.
func (d *Disk) Ops() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ops)
}

// Trace returns the operations so far as text, one a line.
func (d *Disk) Trace() string {
	var b strings.Builder
	for _, op := range d.Ops() {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// do runs an operation as the stop and the fault have it. can says why it is not possible, if it is not; both functions are
// called with mu held.
func (d *Disk) do(op Op, can func() error, effect func(Fault) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return failed(op.Verb, op.Name, ErrStopped)
	}
	if err := can(); err != nil {
		return failed(op.Verb, op.Name, err)
	}
	op.N = len(d.ops) + 1
	d.ops = append(d.ops, op)
	err := d.run(op, effect)
	d.ops[op.N-1].Err = err
	return failed(op.Verb, op.Name, err)
}

// run does what is left of do once the operation has its number.
func (d *Disk) run(op Op, effect func(Fault) error) error {
	d.stopped = d.stopped || op.N == d.stopAt
	var f Fault
	if inject := d.inject; inject != nil && !d.stopped {
		d.mu.Unlock()
		f = inject(op)
		d.mu.Lock()
	}
	if d.stopped {
		return ErrStopped
	}
	if f.Effect == None {
		return f.Err
	}
	if err := effect(f); err != nil {
		return err
	}
	return f.Err
}

// look runs a call that changes nothing.
func (d *Disk) look(verb Verb, name string, f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return failed(verb, name, ErrStopped)
	}
	return failed(verb, name, f())
}

func failed(verb Verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: string(verb), Path: name, Err: err}
}

// Create makes a new file; see [vfs.FS].
func (d *Disk) Create(name string) (vfs.File, error) {
	var file *file
	err := d.do(Op{Verb: Create, Name: name}, func() error { return d.free(name) }, func(Fault) error {
		file = d.create(name)
		return nil
	})
	return opened(file, err)
}

// create makes the file and opens it. The caller holds mu and knows that the name is free.
func (d *Disk) create(name string) *file {
	parent, base, _ := d.parent(name)
	n := &inode{name: name}
	parent.change(entry{name: base, node: n})
	return d.handle(n, true)
}

// handle opens n. The caller holds mu.
func (d *Disk) handle(n *inode, writable bool) *file {
	d.handles++
	return &file{d: d, n: n, handle: d.handles, writable: writable, told: n.losses}
}

// free says why name cannot be made, if it cannot.
func (d *Disk) free(name string) error {
	parent, base, err := d.parent(name)
	if err == nil && parent.names[base] != nil {
		err = fs.ErrExist
	}
	return err
}

// opened keeps a nil *file out of the interface.
func opened(f *file, err error) (vfs.File, error) {
	if f == nil || err != nil {
		return nil, err
	}
	return f, nil
}

// Open opens a file for reading and writing; see [vfs.FS].
func (d *Disk) Open(name string) (vfs.File, error) { return d.open(name, true) }

// OpenRead opens a file for reading; see [vfs.FS].
func (d *Disk) OpenRead(name string) (vfs.File, error) { return d.open(name, false) }

func (d *Disk) open(name string, writable bool) (vfs.File, error) {
	var f *file
	err := d.look("open", name, func() error {
		n, err := d.file(name)
		if err == nil {
			f = d.handle(n, writable)
		}
		return err
	})
	return opened(f, err)
}

// Mkdir makes a directory; see [vfs.FS].
func (d *Disk) Mkdir(name string) error {
	there := false
	_ = d.look(Mkdir, name, func() error {
		_, err := d.dir(name)
		there = err == nil
		return nil
	})
	if there {
		return nil
	}
	return d.do(Op{Verb: Mkdir, Name: name}, func() error { return d.free(name) }, func(Fault) error {
		parent, base, _ := d.parent(name)
		parent.change(entry{name: base, node: newDir()})
		return nil
	})
}

// ReadDir lists a directory; see [vfs.FS].
func (d *Disk) ReadDir(name string) (names []string, err error) {
	err = d.look("readdir", name, func() error {
		n, err := d.dir(name)
		if err == nil {
			names = n.list()
		}
		return err
	})
	return names, err
}

// Rename renames a file within its directory; see [vfs.FS]. It cannot move one to another directory.
func (d *Disk) Rename(oldname, newname string) error {
	return d.do(Op{Verb: Rename, Name: oldname, To: newname}, func() error {
		_, err := d.file(oldname)
		if err == nil && path.Dir(oldname) != path.Dir(newname) {
			err = errors.ErrUnsupported
		}
		return err
	}, func(Fault) error {
		n, err := d.file(oldname)
		if err != nil {
			return err
		}
		n.name = newname
		parent, base, _ := d.parent(oldname)
		parent.change(entry{name: path.Base(newname), node: n, from: base})
		return nil
	})
}

// Remove removes a file; see [vfs.FS].
func (d *Disk) Remove(name string) error {
	return d.do(Op{Verb: Remove, Name: name}, func() error {
		_, err := d.file(name)
		return err
	}, func(Fault) error {
		parent, base, _ := d.parent(name)
		parent.change(entry{name: base})
		return nil
	})
}

// SyncDir makes the names in a directory durable; see [vfs.FS]. If it fails, a later one may still do so.
func (d *Disk) SyncDir(name string) error {
	return d.do(Op{Verb: SyncDir, Name: name}, func() error {
		_, err := d.dir(name)
		return err
	}, func(f Fault) error {
		n, err := d.dir(name)
		if err == nil && f.Effect == All {
			n.sync()
		}
		return err
	})
}

// Lock opens and locks a file; see [vfs.FS]. Making it, if it is missing, is an operation. A crash releases the lock.
func (d *Disk) Lock(name string) (vfs.File, error) {
	var f *file
	err := d.look("lock", name, func() (err error) {
		f, err = d.locked(name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = d.do(Op{Verb: Create, Name: name}, func() error { return d.free(name) }, func(Fault) error {
			f = d.create(name)
			f.n.holder = f
			return nil
		})
	}
	if f == nil || err != nil && !errors.Is(err, vfs.ErrLocked) {
		return nil, err
	}
	return f, err
}

// locked opens a file that is there and locks it. The caller holds mu.
func (d *Disk) locked(name string) (*file, error) {
	n, err := d.file(name)
	if err != nil {
		return nil, err
	}
	if n.holder != nil {
		return d.handle(n, false), vfs.ErrLocked
	}
	n.holder = d.handle(n, true)
	return n.holder, nil
}

// Put makes data the content of name in one operation that is whole and durable when it returns, as a database's commit
// is. Another file of that name is replaced.
func (d *Disk) Put(name string, data []byte) error {
	return d.do(Op{Verb: Put, Name: name, Length: int64(len(data))}, func() error {
		_, _, err := d.parent(name)
		return err
	}, func(Fault) error {
		parent, base, err := d.parent(name)
		if err != nil {
			return err
		}
		if d.limited && d.root.bytes()+int64(len(data)) > d.capacity {
			return syscall.ENOSPC
		}
		parent.put(base, &inode{name: name, data: slices.Clone(data), durable: slices.Clone(data)})
		return nil
	})
}

// room returns how many of the bytes by which a file is to grow there is room for. The caller holds mu.
func (d *Disk) room(growth int64) int64 {
	if !d.limited || growth <= 0 {
		return growth
	}
	return max(0, min(growth, d.capacity-d.root.bytes()))
}

// parent returns the directory of a name and its last element.
func (d *Disk) parent(name string) (*dir, string, error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, "", fs.ErrInvalid
	}
	parent, err := d.dir(path.Dir(name))
	return parent, path.Base(name), err
}

// dir finds a directory.
func (d *Disk) dir(name string) (*dir, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	at := d.root
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		next, ok := at.names[part].(*dir)
		if !ok {
			return nil, fs.ErrNotExist
		}
		at = next
	}
	return at, nil
}

// file finds a file.
func (d *Disk) file(name string) (*inode, error) {
	parent, base, err := d.parent(name)
	if err != nil {
		return nil, err
	}
	n, ok := parent.names[base].(*inode)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return n, nil
}
