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

// An osFile reads what is mapped through memory, and stores through it, where the system has that.
type osFile struct {
	*os.File
	image  image
	window window
}

func (o osFS) open(name string, flag int) (File, error) {
	f, err := o.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
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

func (f *osFile) Map(size int64) { f.image.load(f.File, size) }

func (f *osFile) Expect(offset, length int64) { f.image.expect(offset, length) }

func (f *osFile) ReadAt(b []byte, offset int64) (int, error) {
	if f.image.read(b, offset) {
		return len(b), nil
	}
	return f.File.ReadAt(b, offset)
}

func (f *osFile) Store(b []byte, offset int64) (int, error) {
	if f.window.write(f.File, b, offset) {
		return len(b), nil
	}
	return f.WriteAt(b, offset)
}

func (f *osFile) Close() error {
	f.image.release()
	f.window.release()
	return f.File.Close()
}

func (f *osFile) Sync() error { return syncFile(f.File) }

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
