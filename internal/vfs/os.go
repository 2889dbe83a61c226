package vfs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// OS returns the real file system below root, which stays the caller's to close.
func OS(root *os.Root) FS { return osFS{root} }

type osFS struct{ root *os.Root }

// An osFile reads and writes little pieces of what is allocated through a mapping, where the system has one that serves.
type osFile struct {
	*os.File
	readOnly bool
	image    image   // if readOnly
	mapped   mapping // if not
}

func (o osFS) open(name string, flag int) (File, error) {
	f, err := o.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, readOnly: flag == os.O_RDONLY}, nil
}

func (o osFS) Create(name string) (File, error) {
	return o.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (o osFS) Open(name string) (File, error) { return o.open(name, os.O_RDWR) }

func (o osFS) OpenRead(name string) (File, error) { return o.open(name, os.O_RDONLY) }

func (o osFS) Mkdir(name string) error {
	err := o.root.Mkdir(name, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, statErr := o.root.Stat(name)
	if statErr == nil && info.IsDir() {
		return nil
	}
	return errors.Join(err, statErr)
}

func (o osFS) ReadDir(name string) ([]string, error) {
	d, err := o.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (o osFS) Rename(oldname, newname string) error { return o.root.Rename(oldname, newname) }

func (o osFS) Remove(name string) error { return o.root.Remove(name) }

func (o osFS) SyncDir(name string) error {
	d, err := o.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock refuses a link, which could make the caller write to whatever it leads to.
func (o osFS) Lock(name string) (File, error) {
	if info, err := o.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := o.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return &osFile{File: f}, err
	}
	return &osFile{File: f}, nil
}

func (f *osFile) Allocated(size int64) {
	if f.readOnly {
		f.image.load(f.File, size)
	} else {
		f.mapped.allocated(size)
	}
}

func (f *osFile) ReadAt(b []byte, offset int64) (int, error) {
	if f.image.read(b, offset) {
		return len(b), nil
	}
	return f.File.ReadAt(b, offset)
}

func (f *osFile) WriteAt(b []byte, offset int64) (int, error) {
	if done, err := f.mapped.write(f.File, b, offset); err != nil {
		return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	} else if done {
		return len(b), nil
	}
	return f.File.WriteAt(b, offset)
}

func (f *osFile) Truncate(size int64) error {
	f.mapped.release()
	return f.File.Truncate(size)
}

func (f *osFile) Close() error {
	f.mapped.release()
	f.image.release()
	return f.File.Close()
}

func (f *osFile) Sync() error {
	if err := syncFile(f.File); err != nil {
		return err
	}
	if err := f.mapped.check(f.File); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
