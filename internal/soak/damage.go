package main

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/batpak/batpak"
)

const indexName = "index.bolt"

// A damage is what was done to the files of a store while no process wrote to it, and what may come of it.
type damage struct {
	kind      string
	mayLose   bool         // what was written and not durable may be gone
	mustTear  bool         // opening must report a torn tail
	mayRefuse bool         // opening may refuse the store as corrupt
	undo      func() error // if mayRefuse
}

// opening returns what kind of opening follows.
func (d *damage) opening() string {
	if strings.HasPrefix(d.kind, "index") {
		return openIndex
	}
	return openTail
}

// A damager damages the files of one store. A method that finds nothing to damage returns nil.
type damager struct {
	dir      string // of the store
	older    string // path of an older copy of the index
	store    batpak.StoreID
	random   *rand.Rand
	durable  func() batpak.Seq // events up to here are known to be durable
	powerCut func()            // ends the readers, as a power cut does
}

// damages are all that a damager can do.
var damages = []func(*damager) (*damage, error){
	(*damager).deleteIndex, (*damager).flipIndex, (*damager).truncateIndex, (*damager).restoreIndex,
	(*damager).appendGarbage, (*damager).flipTail, (*damager).zeroSector, (*damager).cutTail,
}

// any does one of the damages, chosen at random.
func (d *damager) any() (*damage, error) {
	done, err := damages[d.random.IntN(len(damages))](d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the writer was killed before it had made that file
	}
	return done, err
}

func (d *damager) indexPath() string { return filepath.Join(d.dir, indexName) }

func (d *damager) deleteIndex() (*damage, error) {
	return &damage{kind: "index deleted"}, os.Remove(d.indexPath())
}

// flipIndex changes some bytes of the index, anywhere or close to its beginning.
func (d *damager) flipIndex() (*damage, error) {
	info, err := os.Stat(d.indexPath())
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if d.random.IntN(3) == 0 {
		size = min(size, 64<<10)
	}
	_, err = d.flip(d.indexPath(), 0, size)
	return &damage{kind: "index flipped"}, err
}

func (d *damager) truncateIndex() (*damage, error) {
	info, err := os.Stat(d.indexPath())
	if err != nil {
		return nil, err
	}
	return &damage{kind: "index truncated"}, os.Truncate(d.indexPath(), d.random.Int64N(info.Size()+1))
}

// keepIndex copies the index, to be restored later.
func (d *damager) keepIndex() error {
	err := copyFile(d.older, d.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *damager) restoreIndex() (*damage, error) {
	return &damage{kind: "index older"}, copyFile(d.indexPath(), d.older)
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// flip changes 1 to 16 bytes of a file, from one offset to another, and returns what makes it as it was.
func (d *damager) flip(path string, from, to int64) (undo func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil || to <= from {
		return nil, errors.Join(err, file.Close())
	}
	before := map[int64]byte{}
	for range 1 + d.random.IntN(16) {
		at := from + d.random.Int64N(to-from)
		b := make([]byte, 1)
		if _, err := file.ReadAt(b, at); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		if _, again := before[at]; again {
			continue // a second change could undo the first
		}
		before[at] = b[0]
		b[0] ^= byte(1 + d.random.IntN(255))
		if _, err := file.WriteAt(b, at); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return func() error { return writeBytes(path, before) }, file.Close()
}

func writeBytes(path string, bytes map[int64]byte) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	for at, b := range bytes {
		if err == nil {
			_, err = file.WriteAt([]byte{b}, at)
		}
	}
	return errors.Join(err, file.Close())
}
