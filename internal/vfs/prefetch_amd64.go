package vfs

// prefetch asks the processor to bring b, which is not empty, into its caches, and waits for nothing. It reads nothing, so that
// memory which is not there is no fault.
//
//go:noescape
func prefetch(b []byte)
