package kv_test

import (
	"encoding/binary"
	"testing"

	"github.com/batpak/batpak/kv"
)

// eachDB runs a benchmark on both implementations. The bolt file is in the system's temporary directory.
func eachDB(b *testing.B, run func(b *testing.B, db kv.DB)) {
	b.Run("memory", func(b *testing.B) { run(b, kv.NewMemory()) })
	b.Run("bolt", func(b *testing.B) { run(b, openBolt(b, tempRoot(b))) })
}

func fill(b *testing.B, db kv.DB, count int) {
	b.Helper()
	if err := db.Update(func(tx kv.Tx) error {
		var key [8]byte
		for i := range count {
			binary.BigEndian.PutUint64(key[:], uint64(i))
			if err := tx.Put("b", key[:], key[:]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// One iteration is one Update that Puts 100 000 ascending keys, durable with bolt: from the second on it replaces them.
// Inserting into sorted nodes dominates.
func BenchmarkPutAscending100k(b *testing.B) {
	eachDB(b, func(b *testing.B, db kv.DB) {
		for b.Loop() {
			fill(b, db, 100_000)
		}
	})
}

// One iteration is a View with one Get among 100 000 keys. Beginning and ending the transaction dominates.
func BenchmarkViewGet(b *testing.B) {
	eachDB(b, func(b *testing.B, db kv.DB) {
		fill(b, db, 100_000)
		b.ReportAllocs()
		var key [8]byte
		var i uint64
		for b.Loop() {
			i++
			binary.BigEndian.PutUint64(key[:], i*7919%100_000)
			if err := db.View(func(tx kv.Tx) error { tx.Get("b", key[:]); return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// One iteration is one pair of a scan over 100 000 keys.
func BenchmarkScan(b *testing.B) {
	eachDB(b, func(b *testing.B, db kv.DB) {
		fill(b, db, 100_000)
		if err := db.View(func(tx kv.Tx) error {
			for b.Loop() {
				for range tx.Scan("b", nil) {
					if !b.Loop() {
						return nil
					}
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	})
}

// One iteration opens and closes a file of a million keys and 60 MB, in the page cache. Reading its 250 branch pages
// dominates.
func BenchmarkOpenMillion(b *testing.B) {
	root := tempRoot(b)
	db := openBolt(b, root)
	fill(b, db, 1_000_000)
	size, _ := db.SizeBytes()
	db.Close()
	for b.Loop() {
		db, err := kv.OpenBolt(root, "kv.db", 0)
		if err != nil {
			b.Fatal(err)
		}
		db.Close()
	}
	b.ReportMetric(float64(size)/1e6, "MB")
}
