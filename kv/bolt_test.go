package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"testing"
)

func openTestBolt(t *testing.T, root *os.Root) *boltDB {
	t.Helper()
	db, err := OpenBolt(root, "kv.db", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db.(*boltDB)
}

func openTestRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func putKey(key string) func(Tx) error {
	return func(tx Tx) error { return tx.Put("b", []byte(key), []byte("value")) }
}

// TestBoltSettings holds what bbolt made of the settings against the arithmetic in their comments.
func TestBoltSettings(t *testing.T) {
	root := openTestRoot(t)
	db := openTestBolt(t, root)
	pageBytes := int64(os.Getpagesize())
	if size, err := db.SizeBytes(); err != nil || size != 4*pageBytes && runtime.GOOS != "windows" {
		t.Errorf("an empty store takes %d bytes (%v), want four pages", size, err)
	}
	if err := db.Update(putKey("k")); err != nil {
		t.Fatal(err)
	}
	if size, err := db.SizeBytes(); err != nil || size > growBytes+10*pageBytes {
		t.Errorf("a store of one key takes %d bytes (%v)", size, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openTestBolt(t, root)
	if err := db.View(func(tx Tx) error {
		if v := tx.Get("b", []byte("k")); string(v) != "value" {
			return fmt.Errorf("after reopening: %q", v)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if db.db.NoSync || db.db.NoFreelistSync || db.db.NoGrowSync {
		t.Error("bbolt does not sync everything")
	}
}

// TestPageBytes: a store with large pages is one like another, and page sizes that bbolt would not open again are refused.
func TestPageBytes(t *testing.T) {
	root := openTestRoot(t)
	for _, bad := range []int{-1, 1, 512, 5000, 2 * LargePages, 1 << 25} {
		if _, err := OpenBolt(root, "kv.db", bad); err == nil {
			t.Errorf("pages of %d bytes", bad)
		}
	}
	for _, asked := range []int{LargePages, 0, 4096} { // of a store that is there, what is asked means nothing
		db, err := OpenBolt(root, "kv.db", asked)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(putKey("k")); err != nil {
			t.Error(err)
		}
		if got := db.(*boltDB).db.Info().PageSize; got != LargePages {
			t.Errorf("pages of %d bytes", got)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestBoltCommitFails: a commit that the system refuses leaves a store to read. Writes are refused for the same reason.
func TestBoltCommitFails(t *testing.T) {
	db := openTestBolt(t, openTestRoot(t))
	if err := db.Update(putKey("k")); err != nil {
		t.Fatal(err)
	}
	if err := db.file.Close(); err != nil {
		t.Fatal(err)
	}
	first := db.Update(putKey("another"))
	if !errors.Is(first, fs.ErrClosed) || errors.Is(first, ErrDamaged) {
		t.Errorf("Update: %v, want the system's error", first)
	}
	if err := db.Update(putKey("more")); err != first {
		t.Errorf("Update: %v, want the same %v", err, first)
	}
	if err := db.View(func(tx Tx) error {
		if v := tx.Get("b", []byte("k")); string(v) != "value" {
			return fmt.Errorf("got %q", v)
		}
		return nil
	}); err != nil {
		t.Errorf("View: %v", err)
	}
}

// TestBoltPanics: what bbolt panics with inside the callback, at the commit and at the rollback is damage.
func TestBoltPanics(t *testing.T) {
	inside := func(tx Tx) error {
		tx.(*boltTx).enter()
		panic("page 7 already freed")
	}
	atCommit := func(tx Tx) error {
		tx.(*boltTx).tx.OnCommit(func() { panic("page 7 already freed") })
		return tx.Put("b", []byte("k"), nil)
	}
	swallowed := func(tx Tx) error {
		defer func() { recover() }()
		return inside(tx)
	}
	continued := func(tx Tx) error {
		swallowed(tx)
		return tx.Put("b", []byte("k"), nil)
	}
	for name, fn := range map[string]func(Tx) error{
		"inside": inside, "at commit": atCommit, "swallowed": swallowed, "continued": continued,
	} {
		t.Run(name, func(t *testing.T) {
			db := openTestBolt(t, openTestRoot(t))
			err := db.Update(fn)
			if !errors.Is(err, ErrDamaged) || errors.Unwrap(err) == nil {
				t.Fatalf("Update: %v, want ErrDamaged with a cause", err)
			}
			if again := db.Update(putKey("k")); again != err {
				t.Errorf("Update: %v, want the same %v", again, err)
			}
			if again := db.View(func(Tx) error { return nil }); again != err {
				t.Errorf("View: %v, want the same %v", again, err)
			}
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestBoltUnlock leaves the writer's lock held, as a panic in bbolt's Rollback would. Giving it back twice is no harm.
func TestBoltUnlock(t *testing.T) {
	db := openTestBolt(t, openTestRoot(t))
	if _, err := db.db.Begin(true); err != nil {
		t.Fatal(err)
	}
	db.unlock(true)
	db.unlock(true)
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
