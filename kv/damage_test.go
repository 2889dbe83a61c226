package kv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/batpak/batpak/kv"
)

// pageSizes are those that a file may have: state.bolt and the index differ.
var pageSizes = []int{4096, kv.LargePages}

// Keys of 400 bytes, of which a page of 4 KiB has 5 or so, make a tree of three levels from 60, and of large pages one of
// two levels from 160.
const deepKeys = 60

func deepKeysOf(pageBytes int) int { return deepKeys * (1 + pageBytes/8192) }

func deepKey(i int) string { return fmt.Sprintf("%0400d", i) }

// eachPageSize calls f with a whole file of each page size.
func eachPageSize(t *testing.T, f func(t *testing.T, whole []byte, pageBytes int)) {
	t.Helper()
	for _, pageBytes := range pageSizes {
		t.Run(fmt.Sprintf("pages of %d bytes", pageBytes), func(t *testing.T) { f(t, wholeFile(t, pageBytes), pageBytes) })
	}
}

// wholeFile is a store of every kind of page: an inline bucket, one with branches, one with overflow pages, and a
// freelist. It ends with its last page.
func wholeFile(t testing.TB, pageBytes int) []byte {
	t.Helper()
	root := tempRoot(t)
	db := openPages(t, root, pageBytes)
	keys := deepKeysOf(pageBytes)
	for round := range 3 {
		if err := db.Update(func(tx kv.Tx) error {
			for i := range keys {
				put(t, tx, "deep", deepKey(i*7%keys), fmt.Sprint("value ", round))
			}
			put(t, tx, "inline", "key", fmt.Sprint("value ", round))
			put(t, tx, "inline", "empty", "")
			put(t, tx, "long", "a", strings.Repeat("long", pageBytes*3/8))
			put(t, tx, "long", "b", strings.Repeat("long", pageBytes*3/8))
			for i := 0; i < keys && round == 1; i += 2 {
				if err := tx.Delete("deep", []byte(deepKey(i))); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := root.ReadFile("kv.db")
	if err != nil {
		t.Fatal(err)
	}
	pages := max(binary.NativeEndian.Uint64(file[16+40:]), binary.NativeEndian.Uint64(file[pageBytes+16+40:]))
	return file[:int(pages)*pageBytes]
}

func put(t testing.TB, tx kv.Tx, bucket, key, value string) {
	t.Helper()
	if err := tx.Put(bucket, []byte(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}

var allBuckets = []string{"deep", "inline", "long", "new"}

// use opens a file, reads all of it in every way, writes to each bucket, and opens it again. Whatever the file is,
// that ends, and either works or says ErrDamaged. It returns the first error.
func use(t testing.TB, root *os.Root, file []byte, write bool) error {
	t.Helper()
	if err := root.WriteFile("kv.db", file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := kv.OpenBolt(root, "kv.db", 0)
	if err == nil {
		err = db.View(readAll)
		if write {
			again := db.Update(writeSome)
			err = errors.Join(err, again, db.View(readAll))
		}
		if closing := db.Close(); closing != nil {
			t.Errorf("Close: %v", closing)
		}
	}
	if err != nil && !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("%v, want ErrDamaged or nothing", err)
	}
	return err
}

func readAll(tx kv.Tx) error {
	sum := fnv.New64a()
	for _, bucket := range allBuckets {
		for k, v := range tx.Scan(bucket, nil) {
			sum.Write(k)
			sum.Write(v)
			sum.Write(tx.Get(bucket, k))
		}
		for k, v := range tx.ScanReverse(bucket, nil) {
			sum.Write(k)
			sum.Write(v)
		}
	}
	return nil
}

func writeSome(tx kv.Tx) error {
	for _, bucket := range allBuckets {
		for i := range deepKeys / 5 {
			key := []byte(deepKey(i * 5))
			if err := tx.Delete(bucket, key); err != nil {
				return err
			}
			key[0] = 'x'
			if err := tx.Put(bucket, key, []byte("written")); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestDamageSectors(t *testing.T) {
	t.Parallel()
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		if err := use(t, root, whole, true); err != nil {
			t.Fatalf("undamaged: %v", err)
		}
		found := 0
		for _, damage := range []struct {
			name string
			do   func(file []byte, from int)
		}{
			{"zeros", func(f []byte, at int) { clear(f[at : at+512]) }},
			{"ones", func(f []byte, at int) { copy(f[at:], bytes.Repeat([]byte{0xff}, 512)) }},
			{"flipped", func(f []byte, at int) {
				for i := range 512 {
					f[at+i] ^= 0xff
				}
			}},
			{"of another page", func(f []byte, at int) { copy(f[at:at+512], whole[(at+3*pageBytes)%len(whole):]) }},
		} {
			for at := 0; at < len(whole); at += 512 {
				file := bytes.Clone(whole)
				damage.do(file, at)
				if use(t, root, file, at%4096 == 0) != nil {
					found++
				}
				if t.Failed() {
					t.Fatalf("sector at %d %s", at, damage.name)
				}
			}
		}
		t.Logf("%d of %d found in %d pages", found, 4*len(whole)/512, len(whole)/pageBytes)
	})
}

// TestDamageHeaders flips a bit in each byte of each page header and of the first element.
func TestDamageHeaders(t *testing.T) {
	t.Parallel()
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		for page := 0; page < len(whole); page += pageBytes {
			for i := range 32 {
				file := bytes.Clone(whole)
				file[page+i] ^= 1 << (i * 3 % 8)
				use(t, root, file, i%8 == 0)
				if t.Failed() {
					t.Fatalf("page %d, byte %d", page/pageBytes, i)
				}
			}
		}
	})
}

// FuzzDamage writes bytes into a good store. The seeds make a branch of a leaf.
func FuzzDamage(f *testing.F) {
	var wholes [][]byte
	for _, pageBytes := range pageSizes {
		f.Add(uint8(len(wholes)), uint32(5*pageBytes+8), []byte{1})
		wholes = append(wholes, wholeFile(f, pageBytes))
	}
	root := tempRoot(f)
	f.Fuzz(func(t *testing.T, which uint8, at uint32, patch []byte) {
		file := bytes.Clone(wholes[int(which)%len(wholes)])
		copy(file[int(at)%len(file):], patch)
		use(t, root, file, true)
	})
}

func TestDamageTruncated(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		for size := 0; size < len(whole); size += pageBytes / 2 {
			if err := use(t, root, whole[:size], true); err == nil {
				t.Errorf("cut to %d of %d bytes: no error", size, len(whole))
			}
		}
	})
}

// branchPages are the pages that have children.
func branchPages(file []byte, pageBytes int) (pages []uint64) {
	for at := 2 * pageBytes; at < len(file); at += pageBytes {
		id := binary.NativeEndian.Uint64(file[at:])
		if id == uint64(at/pageBytes) && binary.NativeEndian.Uint16(file[at+8:]) == 1 {
			pages = append(pages, id)
		}
	}
	return pages
}

// TestDamageCycle points each child of each branch at each branch: bbolt by itself overflows its stack or fills
// memory, which ends the process. Branches that are in the tree no more may point anywhere.
func TestDamageCycle(t *testing.T) {
	t.Parallel()
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		found := 0
		for _, page := range branchPages(whole, pageBytes) {
			for i := range int(binary.NativeEndian.Uint16(whole[int(page)*pageBytes+10:])) {
				for _, to := range append(branchPages(whole, pageBytes), 0, 1, 2, 1<<20, 1<<51, 1<<64-1) {
					file := bytes.Clone(whole)
					binary.NativeEndian.PutUint64(file[int(page)*pageBytes+16+16*i+8:], to)
					if use(t, root, file, true) != nil {
						found++
					}
				}
			}
		}
		if found == 0 {
			t.Error("nothing found")
		}
	})
}

// TestDamageLeaves damages the first element of each leaf, which no check at opening reads.
func TestDamageLeaves(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		length := func(bytes uint32) func(page []byte) {
			return func(page []byte) { binary.NativeEndian.PutUint32(page[16+12:], bytes) }
		}
		for _, test := range []struct {
			name  string
			do    func(page []byte)
			cause string
		}{
			{"value of 64 KiB", length(1 << 16), ""},
			{"value of 1 MiB", length(1 << 20), "longer than the file"},
			{"value of 1 GiB", length(1 << 30), "longer than the file"},
			{"value of 4 GiB", length(1<<32 - 1), "out of range"},
			{"last key first", func(p []byte) { p[16+binary.NativeEndian.Uint32(p[16+4:])] = 0xff }, "out of order"},
			{"nested bucket", func(p []byte) { p[16] = 1 }, "nested bucket"},
		} {
			t.Run(test.name, func(t *testing.T) {
				var causes strings.Builder
				for at := 2 * pageBytes; at < len(whole); at += pageBytes {
					if whole[at+8] == 2 && binary.NativeEndian.Uint64(whole[at:]) == uint64(at/pageBytes) {
						file := bytes.Clone(whole)
						test.do(file[at:])
						fmt.Fprintln(&causes, use(t, root, file, true))
					}
				}
				if !strings.Contains(causes.String(), test.cause) {
					t.Errorf("got %s, want %q among it", causes.String(), test.cause)
				}
			})
		}
	})
}

// TestDamageBucketName changes the name of a bucket so that it is out of order. A bucket beside it could not be found any more,
// as if it had never been.
func TestDamageBucketName(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, _ int) {
		root := tempRoot(t)
		for from, to := range map[string]string{"inline": "anline", "long": "aong", "deep": "peep"} {
			file := bytes.ReplaceAll(whole, []byte(from), []byte(to))
			if err := root.WriteFile("kv.db", file, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := kv.OpenBolt(root, "kv.db", 0); !errors.Is(err, kv.ErrDamaged) || !strings.Contains(err.Error(), "out of order") {
				t.Errorf("%s as %s: %v", from, to, err)
			}
		}
	})
}

// sealMeta gives a meta page its checksum, and makes the other invalid.
func sealMeta(file []byte, page, pageBytes int) {
	meta := file[page*pageBytes+16:]
	sum := fnv.New64a()
	sum.Write(meta[:56])
	binary.NativeEndian.PutUint64(meta[56:], sum.Sum64())
	clear(file[(1-page)*pageBytes:][:pageBytes])
}

func TestDamageMeta(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		newest := 0
		if binary.NativeEndian.Uint64(whole[16+48:]) < binary.NativeEndian.Uint64(whole[pageBytes+16+48:]) {
			newest = 1
		}
		for _, test := range []struct {
			name  string
			do    func(meta []byte)
			cause string
		}{
			{"as it was", func([]byte) {}, ""},
			{"version", func(m []byte) { m[4]++ }, "no valid meta page"},
			{"page size 0", func(m []byte) { clear(m[8:12]) }, "no valid meta page"},
			{"page size 5000", func(m []byte) { binary.NativeEndian.PutUint32(m[8:], 5000) }, "no valid meta page"},
			{"root 0", func(m []byte) { clear(m[16:24]) }, "flags"},
			{"root far off", func(m []byte) { binary.NativeEndian.PutUint64(m[16:], 1<<52) }, "past page"},
			{"no freelist", func(m []byte) { copy(m[32:40], bytes.Repeat([]byte{0xff}, 8)) }, "past page"},
			{"freelist is root", func(m []byte) { copy(m[32:40], m[16:24]) }, "flags"},
			{"root is freelist", func(m []byte) { copy(m[16:24], m[32:40]) }, "page"},
			{"more pages", func(m []byte) { binary.NativeEndian.PutUint64(m[40:], 1<<40) }, "file of"},
			{"no pages", func(m []byte) { clear(m[40:48]) }, "file of"},
		} {
			t.Run(test.name, func(t *testing.T) {
				file := bytes.Clone(whole)
				test.do(file[newest*pageBytes+16:])
				sealMeta(file, newest, pageBytes)
				err := use(t, root, file, true)
				if test.cause == "" && err != nil || test.cause != "" && (err == nil || !strings.Contains(err.Error(), test.cause)) {
					t.Errorf("%v, want %q", err, test.cause)
				}
			})
		}
	})
}

// TestDamageFreelist: a count of 0xffff says that the count is in the first element, and bbolt allocates as much.
func TestDamageFreelist(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		root := tempRoot(t)
		for at := 2 * pageBytes; at < len(whole); at += pageBytes {
			if whole[at+8] != 16 || binary.NativeEndian.Uint64(whole[at:]) != uint64(at/pageBytes) {
				continue
			}
			for _, count := range []uint64{1 << 20, 1 << 36, 1 << 60, 1<<64 - 1} {
				file := bytes.Clone(whole)
				copy(file[at+10:], "\xff\xff")
				binary.NativeEndian.PutUint64(file[at+16:], count)
				use(t, root, file, true)
			}
		}
	})
}

func TestOpenBadFiles(t *testing.T) {
	root := tempRoot(t)
	for _, content := range []string{"", "x", "not a store", strings.Repeat("not a store\n", 1000), strings.Repeat("\x00", 1<<16)} {
		err := use(t, root, []byte(content), false)
		var damaged *kv.DamagedError
		if !errors.As(err, &damaged) || damaged.Name != filepath.Join(root.Name(), "kv.db") || damaged.Err == nil {
			t.Errorf("%.20q: %#v, want a DamagedError with the name and the cause", content, err)
		}
		if left, err := root.ReadFile("kv.db"); err != nil || string(left) != content {
			t.Errorf("%.20q was changed to %.20q (%v)", content, left, err)
		}
	}
}

func TestOpenSystemErrors(t *testing.T) {
	root := tempRoot(t)
	if err := root.Mkdir("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir", "no such dir/kv.db", "../kv.db"} {
		_, err := kv.OpenBolt(root, name, 0)
		var system *fs.PathError
		if errors.Is(err, kv.ErrDamaged) || !errors.As(err, &system) {
			t.Errorf("OpenBolt(%q): %v, want an fs.PathError", name, err)
		}
	}
	if err := root.WriteFile("dir/kv.db.new", []byte("left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := kv.OpenBolt(root, "dir/kv.db", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := root.Stat("dir/kv.db.new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("kv.db.new: %v", err)
	}
	if _, err := kv.OpenBolt(root, "dir/kv.db", 0); !errors.Is(err, kv.ErrLocked) {
		t.Errorf("OpenBolt while open: %v, want ErrLocked", err)
	}
}

// TestShrinking truncates a file that is open. Each use says ErrDamaged, the same from then on, and Close ends.
func TestShrinking(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		for pages := range int64(4) {
			size := pages * int64(pageBytes)
			for name, first := range map[string]func(kv.DB) error{
				"View":   func(db kv.DB) error { return db.View(readAll) },
				"Update": func(db kv.DB) error { return db.Update(writeSome) },
			} {
				t.Run(fmt.Sprintf("%s of %d bytes", name, size), func(t *testing.T) {
					root := tempRoot(t)
					if err := root.WriteFile("kv.db", whole, 0o600); err != nil {
						t.Fatal(err)
					}
					db := openBolt(t, root)
					truncate(t, root, size)
					err := first(db)
					if !errors.Is(err, kv.ErrDamaged) {
						t.Fatalf("%v, want ErrDamaged", err)
					}
					wantBroken(t, db, err)
					if err := db.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
					if err := db.View(readAll); !errors.Is(err, kv.ErrClosed) {
						t.Errorf("View after Close: %v", err)
					}
					if err := root.Remove("kv.db"); err != nil {
						t.Fatal(err)
					}
					openBolt(t, root) // the lock has gone
				})
			}
		}
	})
}

func truncate(t *testing.T, root *os.Root, size int64) {
	t.Helper()
	if err := os.Truncate(filepath.Join(root.Name(), "kv.db"), size); err != nil {
		t.Fatal(err)
	}
}

func wantBroken(t *testing.T, db kv.DB, err error) {
	t.Helper()
	if again := db.View(readAll); again != err {
		t.Errorf("View: %v, want the same %v", again, err)
	}
	if again := db.Update(writeSome); again != err {
		t.Errorf("Update: %v, want the same %v", again, err)
	}
	if _, again := db.SizeBytes(); again != err {
		t.Errorf("SizeBytes: %v, want the same %v", again, err)
	}
}

// TestShrinkingUnderCallback: the fault is in the callback's code, on a value that it was given.
func TestShrinkingUnderCallback(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		for _, swallow := range []bool{false, true} {
			root := tempRoot(t)
			if err := root.WriteFile("kv.db", whole, 0o600); err != nil {
				t.Fatal(err)
			}
			db := openBolt(t, root)
			read := func(tx kv.Tx) error {
				v := tx.Get("long", []byte("a"))
				truncate(t, root, int64(2*pageBytes))
				if swallow {
					defer func() { recover() }()
					tx.Get("deep", []byte("k"))
					t.Error("Get of a page that is gone returned")
				}
				return errors.New(string(v))
			}
			err := db.View(read)
			if !errors.Is(err, kv.ErrDamaged) {
				t.Errorf("View: %v, want ErrDamaged", err)
			}
			wantBroken(t, db, err)
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

// TestShrinkingUnderReaders: bbolt faults while it holds the lock that all of them need.
func TestShrinkingUnderReaders(t *testing.T) {
	eachPageSize(t, func(t *testing.T, whole []byte, pageBytes int) {
		for range 10 {
			root := tempRoot(t)
			if err := root.WriteFile("kv.db", whole, 0o600); err != nil {
				t.Fatal(err)
			}
			db := openBolt(t, root)
			var reading, all sync.WaitGroup
			for range 8 {
				reading.Add(1)
				all.Go(func() {
					started := sync.OnceFunc(reading.Done)
					for {
						err := db.View(func(tx kv.Tx) error { started(); tx.Get("long", []byte("a")); return nil })
						if err != nil {
							if !errors.Is(err, kv.ErrDamaged) {
								t.Errorf("View: %v, want ErrDamaged", err)
							}
							return
						}
					}
				})
			}
			reading.Wait()
			truncate(t, root, 0)
			all.Wait()
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
}
