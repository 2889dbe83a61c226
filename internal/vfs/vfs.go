// Package vfs is the file system as the store needs it: few operations, each with what it leaves behind when it fails or
// when the power goes. Everything the store does to its directory goes through an [FS], so that a test can put a
// simulated disk in its place.
//
// Two things are durable separately: the bytes of a file, after [File.Sync], and the names in a directory, after
// [FS.SyncDir]. Until then a power cut may keep, drop or tear what was written, at sector granularity and in any order.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked is returned by [FS.Lock] when another open file holds the lock.
var ErrLocked = errors.New("file is locked")

// ErrTooLong is returned by [ReadFile] for a file above the bound.
var ErrTooLong = errors.New("file is longer than it can be")

// An FS is one directory and what lies below it. Names are slash-separated and relative; none leads outside. Errors are
// *fs.PathError and match fs.ErrNotExist and the like. Methods may be called from any goroutine.
type FS interface {
	// Create makes a new file for reading and writing; it fails with fs.ErrExist if the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading only.
	OpenRead(name string) (File, error)
	// Mkdir makes a directory; an existing one is no error.
	Mkdir(name string) error
	// ReadDir lists the names in a directory, sorted.
	ReadDir(name string) ([]string, error)
	// Rename replaces newname by oldname: after a crash newname is the old or the new file, whole.
	Rename(oldname, newname string) error
	// Remove removes a file. Without SyncDir it may come back, whole.
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Lock opens the file, creating it if need be, and takes an exclusive advisory lock on it without waiting. If
	// another holds it the error matches ErrLocked and the file is returned open for reading, so that the holder can be
	// named. Closing the file releases the lock, and so does the end of the process.
	Lock(name string) (File, error)
}

// A File is an open file. ReadAt and WriteAt may be called from any goroutine.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Map says that the first size bytes of a file opened for reading are there to stay, and that a ReadAt among them may go through memory,
	// which costs less than a call of the system. If the file becomes shorter all the same, such a ReadAt may find in the rest of the
	// last page zeros, or what was stored there. It must be told before others use the file.
	Map(size int64)
	// Expect says that a ReadAt of these bytes may follow soon. What is mapped may come nearer to the processor meanwhile, a KiB of it at
	// most; nothing else changes. It may be called beside reads.
	Expect(offset, length int64)
	// Store is WriteAt of bytes that the file has already, for a writer that does not sync soon: it may go through memory, which costs
	// less than a call of the system, while the sync after it costs more. What is stored first is there first if the process
	// ends, but of one call any part may be. One goroutine may call it at a time, and none may make the file shorter meanwhile.
	Store(b []byte, offset int64) (int, error)
	// Truncate sets the length; bytes added are zero.
	Truncate(size int64) error
	// Sync makes the bytes and the length durable. After an error nothing is known of what was written since the last
	// successful Sync, and a later success says nothing about it. Each open File is told once of a failure to write back
	// what was written through any of them.
	Sync() error
	// Size returns the length in bytes.
	Size() (int64, error)
}

// ReadFile returns the content of a file of at most max bytes; the error of a longer one matches ErrTooLong.
func ReadFile(f FS, name string, max int64) ([]byte, error) {
	file, err := f.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooLong}
	}
	b := make([]byte, size)
	n, err := file.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// WriteFile puts data under name so that after a power cut there is either what was there before or data, whole.
func WriteFile(f FS, dir, name string, data []byte) error {
	path := name
	if dir != "." {
		path = dir + "/" + name
	}
	tmp := path + ".tmp"
	if err := f.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.Create(tmp)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.Rename(tmp, path); err != nil {
		return err
	}
	return f.SyncDir(dir)
}
