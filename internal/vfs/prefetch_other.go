//go:build !amd64

package vfs

func prefetch([]byte) {}
