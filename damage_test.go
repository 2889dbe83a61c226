package batpak

import (
	"os"
	"testing"
)

// memoryDir returns a new directory, in memory where the system has such a place: syncing it costs nothing.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "batpak")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
