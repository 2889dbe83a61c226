package kv_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/kv/kvtest"
)

func TestMemory(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.DB { return kv.NewMemory() })
}

func TestBolt(t *testing.T) {
	for _, pageBytes := range pageSizes {
		t.Run(fmt.Sprintf("pages of %d bytes", pageBytes), func(t *testing.T) {
			kvtest.Run(t, func(t *testing.T) kv.DB { return openPages(t, tempRoot(t), pageBytes) })
		})
	}
}

func tempRoot(t testing.TB) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func openBolt(t testing.TB, root *os.Root) kv.DB {
	t.Helper()
	return openPages(t, root, 0)
}

// openPages is openBolt with the size of the pages if the file is created.
func openPages(t testing.TB, root *os.Root, pageBytes int) kv.DB {
	t.Helper()
	db, err := kv.OpenBolt(root, "kv.db", pageBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
