package kv_test

import (
	"os"
	"testing"

	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/kv/kvtest"
)

func TestMemory(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.DB { return kv.NewMemory() })
}

func TestBolt(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.DB { return openBolt(t, tempRoot(t)) })
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
	db, err := kv.OpenBolt(root, "kv.db", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
