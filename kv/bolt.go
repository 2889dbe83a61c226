package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The settings of bbolt that we choose. The others are its defaults: above all it syncs every commit, twice (the
// pages, then the meta page that makes them true), and writes the list of free pages with each.
// Without that list on disk, opening reads the whole file: 0.4 s warm and 10 s cold at a million events.
const (
	// growBytes is how far bbolt extends the file beyond what a commit needs, with an extra sync each time. Because the
	// mapping is longer than growBytes (db.growSize), each extension comes to pages × page size + growBytes: the
	// default of 16 MiB makes a store of one key 16.8 MB long, ours 1.08 MB, and 1.28 MB with LargePages. An index of 36 bytes an event that is
	// written 50 000 events at a time grows by 1.8 MB a commit, so a smaller step would save nothing more.
	growBytes = 1 << 20

	// lockWait bounds the wait for the file's lock. The kernel frees the lock of a process that died at once, so there
	// is nothing to wait for. bbolt tries every 50 ms until 50 ms before the end: twice.
	lockWait = 100 * time.Millisecond

	fileMode = 0o600
)

// LargePages is the page size for files of large values. The list of free pages, which opening reads and each commit writes, is
// an eighth of what it is with pages of 4 KiB; the smallest commit is 96 KiB instead of 12.
const LargePages = 32 << 10

// mapBytes is how much address space the file's mapping has from the start. bbolt maps a longer range only when no read
// transaction is open, and new ones wait meanwhile: a View of 2 s held an Update up by 2.008 s, and with 1 GiB
// mapped by 0.1 s. A mapping past the end of the file takes addresses and no memory: 1 GiB of 128 TiB. A 32-bit process
// has 3 GiB or so for everything, and on Windows the file takes the length of the mapping.
func mapBytes() int {
	switch {
	case runtime.GOOS == "windows":
		return growBytes
	case strconv.IntSize == 32:
		return 64 << 20
	}
	return 1 << 30
}

// boltDB keeps a bbolt file. Whatever bbolt does with a bad file stays in here.
//
// bbolt believes what it maps, and reacts to nonsense in four ways. It returns errors. It panics: everything that
// enters bbolt recovers. It reads past the end of the file, which is a fault that SetPanicOnFault makes a panic. And it
// runs out of stack or memory, which ends the process: checkBolt looks for what leads there before bbolt may.
//
// After a panic nobody knows what bbolt's memory holds, so the first damage is kept and the file left alone.
type boltDB struct {
	name   string
	gate   gate
	db     *bbolt.DB
	file   *os.File // the one that db has open
	close  func() error
	broken atomic.Pointer[DamagedError] // the first damage, once there is one

	idle idleReads

	writer sync.Mutex // held by the one Update
	failed error      // the first failed commit, under writer: further Updates are refused with it
}

// OpenBolt opens the bbolt file of that name under root, and creates it if there is none. One DB has the file at a time;
// for others, in this process or another, OpenBolt returns ErrLocked.
//
// An Update that makes the file outgrow its mapping, at each GiB, waits for the Views that are open, and new ones for it.
//
// A file that is not a good store is a DamagedError and is left as it was found; move it away and open again. Other
// errors are the operating system's. Opening reads the inner pages of the trees and the list of free pages, not the
// values: about a hundredth of the file.
//
// A file that is created has pages of pageBytes: a power of two from 4096 to [LargePages], or 0 for those of the operating system.
//
// Creating writes a file beside, syncs it, renames it and syncs the directory. After a power cut there is no file,
// or an empty store, and perhaps name.new, which the next creation replaces.
func OpenBolt(root *os.Root, name string, pageBytes int) (DB, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	_, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = createBolt(root, name, pageBytes)
	}
	if err != nil {
		return nil, err
	}
	return loadBolt(root, name, os.O_RDWR)
}

// ReadBolt is OpenBolt for reading only: it changes and creates nothing, and an Update fails. A missing file is
// fs.ErrNotExist. Several may read the file at a time, none while another DB has it open for writing.
func ReadBolt(root *os.Root, name string) (DB, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if _, err := root.Stat(name); err != nil {
		return nil, err
	}
	return loadBolt(root, name, os.O_RDONLY)
}

// loadBolt checks a file that is there and opens it.
func loadBolt(root *os.Root, name string, flag int) (DB, error) {
	if err := inspectBolt(root, name); err != nil {
		return nil, err
	}
	db, file, err := openBolt(root, name, flag, 0)
	if err != nil {
		return nil, err
	}
	d := &boltDB{name: fullName(root, name), db: db, file: file}
	d.close = sync.OnceValue(d.release)
	return d, nil
}

// createBolt makes an empty store. Only a whole one ever has the name.
func createBolt(root *os.Root, name string, pageBytes int) error {
	if pageBytes != 0 && (pageBytes < 4096 || pageBytes > LargePages || pageBytes&(pageBytes-1) != 0) {
		return fmt.Errorf("%s: pages of %d bytes, not a power of two from 4096 to %d", fullName(root, name), pageBytes, LargePages)
	}
	temp := name + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, _, err := openBolt(root, temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, pageBytes) // writes four pages and syncs them
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(root, path.Dir(filepath.ToSlash(name)))
}

func syncDir(root *os.Root, name string) error {
	if runtime.GOOS == "windows" { // directories cannot be synced there
		return nil
	}
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// inspectBolt checks a file under bbolt's shared lock: nobody is writing it.
func inspectBolt(root *os.Root, name string) error {
	db, file, err := openBolt(root, name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkBolt(file); err != nil {
		return asDamage(fullName(root, name), err)
	}
	return nil
}

// openBolt has bbolt open the file with the flags, and returns both. If bbolt panics, its mapping is lost until the
// process ends, but not the descriptor.
func openBolt(root *os.Root, name string, flag, pageBytes int) (db *bbolt.DB, file *os.File, err error) {
	options := &bbolt.Options{
		Timeout:      lockWait,
		PageSize:     pageBytes,             // of a new file; another says what it has
		FreelistType: bbolt.FreelistMapType, // finds room in constant time, where the array searches
		NoStatistics: true,                  // counters would cost each transaction a lock
		ReadOnly:     flag&os.O_RDWR == 0,
		OpenFile: func(string, int, os.FileMode) (_ *os.File, err error) {
			file, err = openWithMeta(root, name, flag)
			return file, err
		},
	}
	if !options.ReadOnly {
		options.InitialMmapSize = mapBytes()
	}
	defer func() {
		if p := recover(); p != nil {
			file.Close()
			err = &DamagedError{fullName(root, name), cause(p)}
		}
	}()
	if db, err = bbolt.Open(name, fileMode, options); err != nil {
		return nil, nil, asDamage(fullName(root, name), err)
	}
	db.AllocSize = growBytes
	return db, file, nil
}

// openWithMeta keeps bbolt from taking an empty file for one to create: a store that lost its bytes is not a new one.
// Whoever else has the file open may be writing it, but at all times one of its metas is valid.
func openWithMeta(root *os.Root, name string, flag int) (*os.File, error) {
	file, err := root.OpenFile(name, flag, fileMode)
	if err != nil || flag&os.O_CREATE != 0 {
		return file, err
	}
	if _, err := newestMeta(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func fullName(root *os.Root, name string) string { return filepath.Join(root.Name(), name) }

// asDamage sorts an error from opening: a bad file, a lock that another holds, or the operating system.
func asDamage(name string, err error) error {
	var structure errStructure
	switch {
	case errors.As(err, &structure):
		return &DamagedError{name, err}
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s: %w", name, ErrLocked)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// cause makes an error of what bbolt panicked with.
func cause(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	return fmt.Errorf("bbolt: %v", p)
}

func (d *boltDB) View(fn func(Tx) error) error {
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	return d.transact(false, fn)
}

func (d *boltDB) Update(fn func(Tx) error) error {
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	d.writer.Lock()
	defer d.writer.Unlock()
	if d.failed != nil {
		return d.failed
	}
	d.idle.drop()
	defer d.idle.resume()
	return d.transact(true, fn)
}

// transact runs one transaction. Three things can panic in it: bbolt, which the transaction knows because it notes
// when it is inside; whoever reads a key or value of a file that has shrunk, which is a fault with an address; and the
// callback by itself. The first two are damage. The third rolls back and goes on, like a Goexit.
func (d *boltDB) transact(writable bool, fn func(Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	t, err := d.start(writable)
	if err != nil {
		return err
	}
	defer func() {
		p := recover()
		whole := p == nil
		if damage := t.damageIn(p); damage != nil {
			err, p, whole = d.breaks(damage), nil, false
		}
		d.finish(t, whole)
		if p != nil {
			panic(p)
		}
	}()
	if err := fn(t); err != nil || t.inBolt || !writable {
		return err
	}
	d.idle.pause()
	t.inBolt = true
	err = t.tx.Commit()
	t.inBolt = false
	if err != nil {
		d.failed = fmt.Errorf("%s: commit: %w", d.name, err)
		return d.failed
	}
	return nil
}

// start begins a transaction. bbolt reads the meta pages while it holds locks, and a panic there leaves them held.
func (d *boltDB) start(writable bool) (t *boltTx, err error) {
	if e := d.broken.Load(); e != nil {
		return nil, e
	}
	var generation uint64
	if !writable {
		var r *reading
		if r, generation = d.idle.take(); r != nil {
			return &boltTx{reading: r}, nil
		}
	}
	defer func() {
		if p := recover(); p != nil {
			d.unlock(writable)
			err = d.breaks(cause(p))
		}
	}()
	tx, err := d.db.Begin(writable)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	return &boltTx{reading: &reading{tx: tx, longest: tx.Size(), generation: generation}, writable: writable}, nil
}

// finish keeps the transaction of a View that went well for another, or else rolls back what has not been committed, and
// so gives bbolt's locks back. For a View that cannot panic: it looks at no page.
func (d *boltDB) finish(t *boltTx, whole bool) {
	t.ended = true
	if !t.writable && whole && !t.inBolt && d.idle.put(t.reading) {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			d.unlock(t.writable)
			d.breaks(cause(p))
		}
	}()
	t.tx.Rollback() // an error says that it is committed
}

// unlock gives back what a panic in bbolt's Begin or Rollback left locked, so that transactions which are still open
// can end, and Close can unmap the file. There is no other way than by the names of bbolt's fields. Without it,
// readers of a file that is truncated to nothing wait for each other for ever; a test does that.
func (d *boltDB) unlock(writable bool) {
	field := reflect.ValueOf(d.db).Elem().FieldByName
	if writable {
		lock := (*sync.Mutex)(field("rwlock").Addr().UnsafePointer())
		lock.TryLock() // as d.writer is held, only this Update can have it, and then it has it now
		lock.Unlock()
		return
	}
	(*sync.RWMutex)(field("mmaplock").Addr().UnsafePointer()).RUnlock()
	(*sync.Mutex)(field("metalock").Addr().UnsafePointer()).Unlock()
}

// breaks keeps the first damage and returns it.
func (d *boltDB) breaks(err error) error {
	d.broken.CompareAndSwap(nil, &DamagedError{d.name, err})
	return d.broken.Load()
}

// SizeBytes is the length of the file.
func (d *boltDB) SizeBytes() (int64, error) {
	if err := d.gate.enter(); err != nil {
		return 0, err
	}
	defer d.gate.leave()
	if e := d.broken.Load(); e != nil {
		return 0, e
	}
	info, err := d.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d *boltDB) Close() error { return d.close() }

func (d *boltDB) release() (err error) {
	d.gate.close()
	d.idle.pause()
	defer func() {
		if p := recover(); p != nil {
			err = d.breaks(cause(p))
		}
	}()
	return d.db.Close()
}
