//go:build !unix

package vfs

import (
	"errors"
	"io/fs"
	"os"
)

// lockFile refuses: one writer could not be promised.
func lockFile(f *os.File) error {
	return &fs.PathError{Op: "lock", Path: f.Name(), Err: errors.ErrUnsupported}
}
