//go:build !linux

package vfs

import "os"

// A mapping does nothing where it is not known that the system keeps mapped and written pages the same.
type mapping struct{}

func (*mapping) allocated(int64)                             {}
func (*mapping) write(*os.File, []byte, int64) (bool, error) { return false, nil }
func (*mapping) check(*os.File) error                        { return nil }
func (*mapping) release()                                    {}

type image struct{}

func (*image) load(*os.File, int64)    {}
func (*image) read([]byte, int64) bool { return false }
func (*image) release()                {}
