package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// syncFile is fdatasync(2): it writes the bytes and what is needed to read them back, the length among it, but not the
// time of change, which is what makes it cheap for a file whose length does not change.
func syncFile(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// writeBack is sync_file_range(2), where there is such a thing: bytes go to the disk without a flush of its cache and without what
// else the file system has to write.
func writeBack(f *os.File, offset, length int64) error {
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER).(unix.Errno)
	}
	switch err {
	case 0, unix.ENOSYS, unix.EINVAL, unix.ESPIPE, unix.EOPNOTSUPP, unix.EPERM: // sync_file_range is a hint only
		return nil
	}
	return &fs.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
}
