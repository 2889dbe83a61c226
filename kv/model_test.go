package kv_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/batpak/batpak/kv"
)

// A model is what a DB holds: bucket, key, value.
type model map[string]map[string]string

func (m model) clone() model {
	c := make(model)
	for name, bucket := range m {
		c[name] = maps.Clone(bucket)
	}
	return c
}

func (m model) put(bucket, key, value string) {
	if m[bucket] == nil {
		m[bucket] = make(map[string]string)
	}
	m[bucket][key] = value
}

// scan gives the keys from a bound, in either direction.
func (m model) scan(bucket string, from []byte, reverse bool) (keys []string) {
	for key := range m[bucket] {
		if from == nil || !reverse && key >= string(from) || reverse && key <= string(from) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if reverse {
		slices.Reverse(keys)
	}
	return keys
}

var (
	modelBucket = rapid.SampledFrom([]string{"a", "b", "bb"})
	modelStride = rapid.SampledFrom([]int{1, 7, -1})
	modelValue  = rapid.SampledFrom([]int{0, 3, 90, 2000, 9000})
)

func drawRange(t *rapid.T) (bucket string, keys []string) {
	bucket = modelBucket.Draw(t, "bucket")
	start, stride := rapid.IntRange(0, 999).Draw(t, "start"), modelStride.Draw(t, "stride")
	for i := range rapid.SampledFrom([]int{1, 1, 5, 300, 1000}).Draw(t, "count") {
		keys = append(keys, fmt.Sprintf("%03d", (start+stride*i+1000)%1000))
	}
	return bucket, keys
}

// change puts or deletes a range of keys, in the DB and in the model.
func change(t *rapid.T, tx kv.Tx, m model) {
	bucket, keys := drawRange(t)
	value := ""
	put := rapid.Bool().Draw(t, "put")
	if put {
		value = string(bytes.Repeat([]byte{rapid.Byte().Draw(t, "fill")}, modelValue.Draw(t, "length")/len(keys)+1))
	}
	for _, key := range keys {
		var err error
		if put {
			m.put(bucket, key, value)
			err = tx.Put(bucket, []byte(key), []byte(value))
		} else {
			delete(m[bucket], key)
			err = tx.Delete(bucket, []byte(key))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// compare reads a range in both directions, and each key by itself.
func compare(t *rapid.T, tx kv.Tx, m model) {
	bucket := modelBucket.Draw(t, "bucket")
	var from []byte
	if rapid.Bool().Draw(t, "bounded") {
		from = fmt.Append(nil, rapid.IntRange(0, 1100).Draw(t, "from"))
	}
	for _, reverse := range []bool{false, true} {
		pairs := tx.Scan(bucket, from)
		if reverse {
			pairs = tx.ScanReverse(bucket, from)
		}
		var keys []string
		for k, v := range pairs {
			keys = append(keys, string(k))
			if want := m[bucket][string(k)]; string(v) != want || !bytes.Equal(tx.Get(bucket, k), v) {
				t.Fatalf("%s %s: value of %d bytes, want %d", bucket, k, len(v), len(want))
			}
		}
		if want := m.scan(bucket, from, reverse); !slices.Equal(keys, want) {
			t.Fatalf("scan of %s from %q, reverse %v:\n got %q\nwant %q", bucket, from, reverse, keys, want)
		}
	}
}

// TestModel runs the same transactions on a DB and on a map: rolled back and not, small and large, read inside
// and after, with the bolt file closed and opened between them.
func TestModel(t *testing.T) {
	bolt := func(pageBytes int) func(t testing.TB) (kv.DB, func() kv.DB) {
		return func(t testing.TB) (kv.DB, func() kv.DB) {
			root := tempRoot(t)
			db := openPages(t, root, pageBytes)
			return db, func() kv.DB {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				db = openBolt(t, root)
				return db
			}
		}
	}
	for name, open := range map[string]func(t testing.TB) (db kv.DB, reopen func() kv.DB){
		"memory": func(testing.TB) (kv.DB, func() kv.DB) {
			db := kv.NewMemory()
			return db, func() kv.DB { return db }
		},
		"bolt":                  bolt(0),
		"bolt, pages of 32 KiB": bolt(kv.LargePages),
	} {
		t.Run(name, func(outer *testing.T) {
			outer.Parallel()
			rapid.Check(outer, func(t *rapid.T) {
				db, reopen := open(outer)
				defer func() { db.Close() }()
				m := make(model)
				for range rapid.IntRange(1, 8).Draw(t, "transactions") {
					m = modelTransaction(t, db, m)
					if rapid.Bool().Draw(t, "reopen") {
						db = reopen()
					}
					if err := db.View(func(tx kv.Tx) error { compare(t, tx, m); return nil }); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// modelTransaction runs one Update and returns the model after it.
func modelTransaction(t *rapid.T, db kv.DB, m model) model {
	refusal := errors.New("refusal")
	next := m.clone()
	refused := rapid.IntRange(0, 4).Draw(t, "refuse") == 0
	err := db.Update(func(tx kv.Tx) error {
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			change(t, tx, next)
			compare(t, tx, next)
		}
		if refused {
			return refusal
		}
		return nil
	})
	if refused && err == refusal {
		return m
	}
	if refused || err != nil {
		t.Fatalf("Update: %v", err)
	}
	return next
}
