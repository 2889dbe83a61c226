package batpak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
)

// A diskDB is a file of kv on a simulated disk, index.bolt unless another is named: a database in memory, the whole of which is written to the file, durably
// and at once, by each Update. The file is like bbolt's to the store: it can be renamed, missing, older or damaged.
type diskDB struct {
	kv.DB
	disk  *crashfs.Disk
	name  string
	saved *savedIndexes

	writer  sync.Mutex // held by the one Update
	buckets map[string]bool
	failed  error
}

// savedIndexes are all contents that index files have had on a disk and on those it came from.
type savedIndexes struct {
	mu    sync.Mutex
	files [][]byte
}

func (s *savedIndexes) add(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, b)
}

func (s *savedIndexes) clone() *savedIndexes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &savedIndexes{files: slices.Clone(s.files)}
}

// openDiskDB opens the index file, and makes an empty one if there is none.
func openDiskDB(disk *crashfs.Disk, saved *savedIndexes) (kv.DB, error) {
	return openDiskFile(disk, indexFile, saved)
}

// openDiskFile opens a file of any name.
func openDiskFile(disk *crashfs.Disk, name string, saved *savedIndexes) (kv.DB, error) {
	b, err := vfs.ReadFile(disk, name, 1<<30)
	d := &diskDB{DB: kv.NewMemory(), disk: disk, name: name, saved: saved, buckets: map[string]bool{}}
	if errors.Is(err, fs.ErrNotExist) {
		return d, d.Update(func(kv.Tx) error { return nil })
	}
	if err != nil {
		return nil, err
	}
	err = d.DB.Update(func(tx kv.Tx) error { return loadIndexImage(bucketNoter{tx, d.buckets}, b) })
	return d, err
}

// Update is atomic in memory and on the disk: if the disk fails, the transaction is rolled back, and so is every later one.
func (d *diskDB) Update(fn func(kv.Tx) error) error {
	d.writer.Lock()
	defer d.writer.Unlock()
	return d.DB.Update(func(tx kv.Tx) error {
		if d.failed != nil {
			return d.failed
		}
		if err := fn(bucketNoter{tx, d.buckets}); err != nil {
			return err
		}
		b := indexImage(tx, slices.Sorted(maps.Keys(d.buckets)))
		if d.failed = d.disk.Put(d.name, b); d.failed == nil {
			d.saved.add(b)
		}
		return d.failed
	})
}

// indexedIn returns how far the index file of a store goes; 0 if it is of no use.
func indexedIn(b []byte, store StoreID) Seq {
	db := kv.NewMemory()
	defer db.Close()
	if db.Update(func(tx kv.Tx) error { return loadIndexImage(tx, b) }) != nil {
		return 0
	}
	x, err := index.Open(db, store)
	if err != nil {
		return 0
	}
	return x.Position().Seq
}

// A bucketNoter notes which buckets there are.
type bucketNoter struct {
	kv.Tx
	buckets map[string]bool
}

func (n bucketNoter) Put(bucket string, key, value []byte) error {
	n.buckets[bucket] = true
	return n.Tx.Put(bucket, key, value)
}

// indexImage encodes the buckets: a checksum, then bucket, key and value of each pair, each with its length before it.
func indexImage(tx kv.Tx, buckets []string) []byte {
	b := make([]byte, 4)
	put := func(s []byte) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, bucket := range buckets {
		for k, v := range tx.Scan(bucket, nil) {
			put([]byte(bucket))
			put(k)
			put(v)
		}
	}
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return b
}

func loadIndexImage(tx kv.Tx, b []byte) error {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != crc32.ChecksumIEEE(b[4:]) {
		return &kv.DamagedError{Name: indexFile, Err: errors.New("checksum")}
	}
	b = b[4:]
	next := func() []byte {
		n, k := binary.Uvarint(b)
		s := b[k : k+int(n)]
		b = b[k+int(n):]
		return s
	}
	for len(b) > 0 {
		bucket, key, value := next(), next(), next()
		if err := tx.Put(string(bucket), key, value); err != nil {
			return &kv.DamagedError{Name: indexFile, Err: err}
		}
	}
	return nil
}

// age makes the index file one that a power cut may have left, as r has it: as it is, half of the time; else an older one,
// none, a cut off or a damaged one. It says which.
func (s *savedIndexes) age(disk *crashfs.Disk, r *rand.Rand) string {
	b, err := vfs.ReadFile(disk, indexFile, 1<<30)
	if err != nil {
		return "no index"
	}
	what := ""
	switch k := r.IntN(8); {
	case k < 4 || len(b) == 0 || len(s.files) == 0:
		return "newest index"
	case k == 4 || k == 5:
		n := r.IntN(len(s.files))
		what, b = fmt.Sprintf("index %d of %d", n+1, len(s.files)), s.files[n]
	case k == 6:
		if err := errors.Join(disk.Remove(indexFile), disk.SyncDir(".")); err != nil {
			panic(err)
		}
		return "index removed"
	case r.IntN(2) == 0:
		what, b = "index cut off", b[:r.IntN(len(b))]
	default:
		what = "index damaged"
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
	if err := disk.Put(indexFile, b); err != nil {
		panic(err)
	}
	return what
}
