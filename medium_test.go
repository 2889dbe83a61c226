package batpak

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/kv"
)

// A medium is what a store of the tests lies on, with the identity of the vectors: a real directory or a simulated disk.
type medium interface {
	open(o Options) (*Store, error)
	openReader() (*Reader, error)
	removeIndex() error
	// stopAt ends the process at the n-th operation from now; 0 means never. A real one cannot.
	stopAt(n int)
	stopped() bool
	// crash returns what the next process finds. A real process can only be killed.
	crash(cut crashfs.Cut, seed uint64) (medium, string)
}

// A realMedium is a directory.
type realMedium struct {
	t    testing.TB
	root string // in which directories are made
	dir  string
}

// newRealMedium makes a directory in root.
func newRealMedium(t testing.TB, root string) *realMedium {
	t.Helper()
	dir, err := os.MkdirTemp(root, "")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, identityFile), modelIdentity.encode(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &realMedium{t, root, dir}
}

var modelIdentity = identity{vectorStore, 1_700_000_000_000_000}

func (m *realMedium) open(o Options) (*Store, error) { return Open(m.dir, &o) }
func (m *realMedium) openReader() (*Reader, error)   { return OpenReader(m.dir, nil) }
func (m *realMedium) removeIndex() error             { return os.Remove(filepath.Join(m.dir, indexFile)) }
func (m *realMedium) stopAt(int)                     {}
func (m *realMedium) stopped() bool                  { return false }

// crash copies the files as the system sees them.
func (m *realMedium) crash(crashfs.Cut, uint64) (medium, string) {
	next := newRealMedium(m.t, m.root)
	readFiles(m.t, m.dir).write(m.t, next.dir)
	return next, "killed"
}

// A simMedium is a simulated disk.
type simMedium struct {
	disk  *crashfs.Disk
	saved *savedIndexes
	root  string // a real directory that is left alone
}

func newSimMedium(t testing.TB, root string) *simMedium {
	m := &simMedium{crashfs.New(), &savedIndexes{}, root}
	if err := m.disk.Put(identityFile, modelIdentity.encode()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *simMedium) open(o Options) (*Store, error) {
	o.fs = m.disk
	o.openIndex = func() (kv.DB, error) { return openDiskDB(m.disk, m.saved) }
	return Open("disk", &o)
}

func (m *simMedium) openReader() (r *Reader, err error) {
	r = &Reader{opts: ReaderOptions{PollInterval: DefaultPollInterval}}
	if r.root, err = os.OpenRoot(m.root); err != nil {
		return nil, err
	}
	if err := r.open(m.disk); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (m *simMedium) removeIndex() error { return m.disk.Remove(indexFile) }
func (m *simMedium) stopAt(n int)       { m.disk.StopAt(n) }
func (m *simMedium) stopped() bool      { return m.disk.Stopped() }

// crash ends the process if it has not ended. A power cut may leave any index that there was, or none.
func (m *simMedium) crash(cut crashfs.Cut, seed uint64) (medium, string) {
	m.disk.Stop()
	next := &simMedium{m.disk.Crash(cut), m.saved.clone(), m.root}
	if cut == crashfs.Killed() {
		return next, cut.String()
	}
	return next, cut.String() + ", " + next.saved.age(next.disk, rand.New(rand.NewPCG(seed, 1)))
}
