package batpak

import (
	"io/fs"
	"testing"

	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
)

// A young directory gets its STORE, and what comes after it, right behind the first look for that.
type young struct {
	vfs.FS
	make func()
}

func (y *young) OpenRead(name string) (vfs.File, error) {
	if make := y.make; name == identityFile && make != nil {
		y.make = nil
		make()
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return y.FS.OpenRead(name)
}

// TestIdentityOfAYoungStore looks at a directory in which another process makes a store at that moment: it is not one that has lost
// its STORE.
func TestIdentityOfAYoungStore(t *testing.T) {
	disk := crashfs.New()
	var made identity
	y := &young{disk, func() {
		var err error
		if made, _, err = loadIdentity(disk, true, 5); err != nil {
			t.Fatal(err)
		}
		file, err := disk.Create(indexFile)
		if err != nil {
			t.Fatal(err)
		}
		closeTest(t, file)
	}}
	if id, created, err := loadIdentity(y, false, 0); err != nil || created || id != made {
		t.Errorf("%v, %v, want %v: %v", id, created, made, err)
	}
	if err := disk.Remove(identityFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := loadIdentity(disk, true, 5); err == nil {
		t.Error("a store without STORE is taken for a new one")
	}
}
