// Package kvtest is the conformance test of kv.DB: each sentence of its contract, for any implementation.
package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/batpak/batpak/kv"
)

// Run tests the DB that open returns, an empty one for each subtest. Run closes it.
func Run(t *testing.T, open func(t *testing.T) kv.DB) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, kv.DB)
	}{
		{"get what was put", testGet},
		{"put copies", testPutCopies},
		{"size bounds", testSizes},
		{"buckets are apart", testBuckets},
		{"scan bounds", testScanBounds},
		{"scan many", testScanMany},
		{"scan and delete", testScanDelete},
		{"scan and put", testScanPut},
		{"scan after deleting", testScanAfterDelete},
		{"view is read-only", testReadOnly},
		{"view is a snapshot", testSnapshot},
		{"views beside an update", testViewsBesideUpdate},
		{"memo", testMemo},
		{"updates one at a time", testUpdatesInTurn},
		{"rollback on error", testRollbackError},
		{"rollback on panic", testRollbackPanic},
		{"rollback on goexit", testRollbackGoexit},
		{"view panics", testViewPanic},
		{"tx ends", testTxEnds},
		{"size", testSizeBytes},
		{"closed", testClosed},
		{"close waits", testCloseWaits},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := open(t)
			defer db.Close()
			test.run(t, db)
		})
	}
}

func view(t *testing.T, db kv.DB, fn func(kv.Tx)) {
	t.Helper()
	if err := db.View(func(tx kv.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func update(t *testing.T, db kv.DB, fn func(kv.Tx)) {
	t.Helper()
	if err := db.Update(func(tx kv.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func put(t *testing.T, tx kv.Tx, bucket, key, value string) {
	t.Helper()
	if err := tx.Put(bucket, []byte(key), []byte(value)); err != nil {
		t.Fatalf("Put(%q, %.40q): %v", bucket, key, err)
	}
}

func remove(t *testing.T, tx kv.Tx, bucket, key string) {
	t.Helper()
	if err := tx.Delete(bucket, []byte(key)); err != nil {
		t.Fatalf("Delete(%q, %q): %v", bucket, key, err)
	}
}

// dump is a sequence as "k=v k=v".
func dump(pairs iter.Seq2[[]byte, []byte]) string {
	var all []string
	for k, v := range pairs {
		all = append(all, fmt.Sprintf("%s=%s", k, v))
	}
	return strings.Join(all, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %.200q, want %.200q", what, got, want)
	}
}

// wantBucket checks a bucket's pairs in both directions, in a View of its own.
func wantBucket(t *testing.T, db kv.DB, bucket, pairs string) {
	t.Helper()
	view(t, db, func(tx kv.Tx) { wantPairs(t, tx, bucket, pairs) })
}

func wantPairs(t *testing.T, tx kv.Tx, bucket, pairs string) {
	t.Helper()
	want(t, "Scan", dump(tx.Scan(bucket, nil)), pairs)
	reverse := strings.Fields(pairs)
	slices.Reverse(reverse)
	want(t, "ScanReverse", dump(tx.ScanReverse(bucket, nil)), strings.Join(reverse, " "))
}

func testGet(t *testing.T, db kv.DB) {
	check := func(tx kv.Tx) {
		t.Helper()
		want(t, "Get(a)", string(tx.Get("b", []byte("a"))), "2")
		for _, key := range []string{"empty", "nil"} {
			if v := tx.Get("b", []byte(key)); v == nil || len(v) != 0 {
				t.Errorf("Get(%s) = %#v, want empty and not nil", key, v)
			}
		}
		for _, key := range []string{"absent", "gone", "", "A", "aa", "zzz"} {
			if v := tx.Get("b", []byte(key)); v != nil {
				t.Errorf("Get(%q) = %q, want nil", key, v)
			}
		}
		if v := tx.Get("no such bucket", []byte("a")); v != nil {
			t.Errorf("Get in an absent bucket = %q, want nil", v)
		}
	}
	update(t, db, func(tx kv.Tx) {
		put(t, tx, "b", "a", "1")
		put(t, tx, "b", "a", "2")
		put(t, tx, "b", "empty", "")
		put(t, tx, "b", "gone", "x")
		remove(t, tx, "b", "gone")
		remove(t, tx, "b", "never was")
		remove(t, tx, "no such bucket", "a")
		if err := tx.Put("b", []byte("nil"), nil); err != nil {
			t.Fatal(err)
		}
		check(tx)
	})
	view(t, db, check)
	update(t, db, func(tx kv.Tx) { put(t, tx, "b", "a", "3"); remove(t, tx, "b", "empty") })
	wantBucket(t, db, "b", "a=3 nil=")
}

func testPutCopies(t *testing.T, db kv.DB) {
	value := []byte("value")
	update(t, db, func(tx kv.Tx) {
		key := []byte("key")
		if err := tx.Put("b", key, value); err != nil {
			t.Fatal(err)
		}
		copy(key, "xxx")
		wantPairs(t, tx, "b", "key=value")
		if err := tx.Delete("b", key); err != nil {
			t.Fatal(err)
		}
	})
	copy(value, "xxxxx")
	wantBucket(t, db, "b", "key=value")
}

func testSizes(t *testing.T, db kv.DB) {
	long := strings.Repeat("k", kv.MaxKeyBytes)
	update(t, db, func(tx kv.Tx) {
		put(t, tx, "b", long, "v")
		put(t, tx, long, "k", "v")
		put(t, tx, "b", "long value", strings.Repeat("v", 1<<20))
		for _, bad := range []struct{ bucket, key string }{{"b", ""}, {"b", long + "k"}, {"", "k"}, {long + "k", "k"}} {
			if err := tx.Put(bad.bucket, []byte(bad.key), nil); !errors.Is(err, kv.ErrSize) {
				t.Errorf("Put with a bucket name of %d and a key of %d bytes: %v, want ErrSize",
					len(bad.bucket), len(bad.key), err)
			}
			remove(t, tx, bad.bucket, bad.key)
			if v := tx.Get(bad.bucket, []byte(bad.key)); v != nil {
				t.Errorf("Get finds what Put refused: %q", v)
			}
		}
	})
	view(t, db, func(tx kv.Tx) {
		want(t, "longest key", string(tx.Get("b", []byte(long))), "v")
		want(t, "longest bucket name", string(tx.Get(long, []byte("k"))), "v")
		want(t, "long value", string(tx.Get("b", []byte("long value"))), strings.Repeat("v", 1<<20))
		if n := len(slices.Collect(keys(tx.Scan("b", nil)))); n != 2 {
			t.Errorf("%d keys, want 2", n)
		}
	})
}

func keys(pairs iter.Seq2[[]byte, []byte]) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range pairs {
			if !yield(string(k)) {
				return
			}
		}
	}
}

func testBuckets(t *testing.T, db kv.DB) {
	update(t, db, func(tx kv.Tx) {
		put(t, tx, "a", "k", "1")
		put(t, tx, "b", "k", "2")
		put(t, tx, "a/b", "k", "3")
		remove(t, tx, "b", "k")
	})
	wantBucket(t, db, "a", "k=1")
	wantBucket(t, db, "b", "")
	wantBucket(t, db, "a/b", "k=3")
	wantBucket(t, db, "c", "")
}

func testScanBounds(t *testing.T, db kv.DB) {
	update(t, db, func(tx kv.Tx) {
		for _, key := range []string{"c", "b", "d", "bb", "b\x00", "\xff"} {
			put(t, tx, "b", key, "")
		}
	})
	for _, test := range []struct{ from, up, down string }{
		{"", "b= b\x00= bb= c= d= \xff=", ""},
		{"a", "b= b\x00= bb= c= d= \xff=", ""},
		{"b", "b= b\x00= bb= c= d= \xff=", "b="},
		{"b\x00", "b\x00= bb= c= d= \xff=", "b\x00= b="},
		{"ba", "bb= c= d= \xff=", "b\x00= b="},
		{"bb", "bb= c= d= \xff=", "bb= b\x00= b="},
		{"d", "d= \xff=", "d= c= bb= b\x00= b="},
		{"e", "\xff=", "d= c= bb= b\x00= b="},
		{"\xff", "\xff=", "\xff= d= c= bb= b\x00= b="},
		{"\xff\xff", "", "\xff= d= c= bb= b\x00= b="},
	} {
		view(t, db, func(tx kv.Tx) {
			want(t, fmt.Sprintf("Scan(%q)", test.from), dump(tx.Scan("b", []byte(test.from))), test.up)
			want(t, fmt.Sprintf("ScanReverse(%q)", test.from), dump(tx.ScanReverse("b", []byte(test.from))), test.down)
		})
	}
	wantBucket(t, db, "b", "b= b\x00= bb= c= d= \xff=")
}

// many keys fill some dozens of pages or chunks.
const many = 3000

func fill(t *testing.T, db kv.DB) {
	t.Helper()
	update(t, db, func(tx kv.Tx) {
		for i := range many {
			put(t, tx, "b", number(i), strings.Repeat("v", i%50))
		}
	})
}

func number(i int) string { return fmt.Sprintf("%08d", i) }

func testScanMany(t *testing.T, db kv.DB) {
	fill(t, db)
	view(t, db, func(tx kv.Tx) {
		pairs := tx.Scan("b", []byte(number(100)))
		for range 2 { // a sequence can be used again
			next := 100
			for k, v := range pairs {
				if string(k) != number(next) || len(v) != next%50 {
					t.Fatalf("got %s with %d bytes, want %d", k, len(v), next)
				}
				next++
			}
			if next != many {
				t.Fatalf("scan ended at %d", next)
			}
		}
		next := many - 100
		for k := range tx.ScanReverse("b", []byte(number(next))) {
			if string(k) != number(next) {
				t.Fatalf("got %s, want %d", k, next)
			}
			if next--; next == 5 {
				break
			}
		}
		if next != 5 {
			t.Fatalf("reverse scan ended at %d", next)
		}
	})
}

func testScanDelete(t *testing.T, db kv.DB) {
	for _, reverse := range []bool{false, true} {
		fill(t, db)
		update(t, db, func(tx kv.Tx) {
			pairs := tx.Scan("b", nil)
			if reverse {
				pairs = tx.ScanReverse("b", nil)
			}
			seen := 0
			for k := range pairs {
				seen++
				if err := tx.Delete("b", bytes.Clone(k)); err != nil {
					t.Fatal(err)
				}
			}
			if seen != many {
				t.Errorf("reverse=%v: saw %d of %d keys", reverse, seen, many)
			}
			wantPairs(t, tx, "b", "")
		})
		wantBucket(t, db, "b", "")
	}
}

func testScanPut(t *testing.T, db kv.DB) {
	update(t, db, func(tx kv.Tx) {
		put(t, tx, "b", "m", "")
		var seen []string
		for k := range tx.Scan("b", nil) {
			seen = append(seen, string(k))
			switch string(k) {
			case "m":
				put(t, tx, "b", "a", "") // behind
				put(t, tx, "b", "p", "")
				put(t, tx, "b", "z", "")
			case "p":
				put(t, tx, "b", "p", "again")
				remove(t, tx, "b", "z")
				put(t, tx, "b", "y", "")
			}
		}
		want(t, "keys seen", strings.Join(seen, " "), "m p y")
		seen = nil
		for k := range tx.ScanReverse("b", nil) {
			seen = append(seen, string(k))
			switch string(k) {
			case "m":
				put(t, tx, "b", "n", "") // behind
				put(t, tx, "b", "c", "")
				remove(t, tx, "b", "m")
			case "c":
				remove(t, tx, "b", "a")
			}
		}
		want(t, "keys seen in reverse", strings.Join(seen, " "), "y p m c")
	})
	wantBucket(t, db, "b", "c= n= p=again y=")
}

// testScanAfterDelete leaves holes of many keys, inside the transaction and after it.
func testScanAfterDelete(t *testing.T, db kv.DB) {
	fill(t, db)
	for _, hole := range []struct{ from, to int }{{1000, 2000}, {0, 500}, {2500, many}, {1, many - 1}, {0, many}} {
		check := func(tx kv.Tx) {
			up := slices.Collect(keys(tx.Scan("b", nil)))
			down := slices.Collect(keys(tx.ScanReverse("b", nil)))
			middle := number((hole.from + hole.to) / 2)
			for k := range tx.Scan("b", []byte(middle)) {
				want(t, "first after the hole", string(k), number(hole.to))
				break
			}
			for k := range tx.ScanReverse("b", []byte(middle)) {
				want(t, "last before the hole", string(k), number(hole.from-1))
				break
			}
			slices.Reverse(down)
			if !slices.Equal(up, down) {
				t.Errorf("hole %v: %d keys up, %d down", hole, len(up), len(down))
			}
			if len(up) != many-(hole.to-hole.from) {
				t.Errorf("hole %v: %d keys", hole, len(up))
			}
		}
		fill(t, db)
		update(t, db, func(tx kv.Tx) {
			for i := hole.from; i < hole.to; i++ {
				remove(t, tx, "b", number(i))
			}
			check(tx)
		})
		view(t, db, check)
	}
}

func testReadOnly(t *testing.T, db kv.DB) {
	update(t, db, func(tx kv.Tx) { put(t, tx, "b", "k", "v") })
	view(t, db, func(tx kv.Tx) {
		for _, key := range []string{"k", "new", ""} {
			if err := tx.Put("b", []byte(key), nil); !errors.Is(err, kv.ErrReadOnly) {
				t.Errorf("Put(%q) in a View: %v, want ErrReadOnly", key, err)
			}
			if err := tx.Delete("b", []byte(key)); !errors.Is(err, kv.ErrReadOnly) {
				t.Errorf("Delete(%q) in a View: %v, want ErrReadOnly", key, err)
			}
		}
		if err := tx.Put("new bucket", []byte("k"), nil); !errors.Is(err, kv.ErrReadOnly) {
			t.Errorf("Put into a new bucket in a View: %v, want ErrReadOnly", err)
		}
		wantPairs(t, tx, "b", "k=v")
	})
	refusal := errors.New("refusal")
	if err := db.View(func(kv.Tx) error { return refusal }); err != refusal {
		t.Errorf("View returned %v, want its callback's error", err)
	}
	wantBucket(t, db, "b", "k=v")
}

// hold starts a View and returns when its callback runs. The callback waits for fn, and runs it.
func hold(t *testing.T, db kv.DB) (run func(fn func(kv.Tx))) {
	t.Helper()
	began, fns, done := make(chan struct{}), make(chan func(kv.Tx)), make(chan error)
	go func() {
		done <- db.View(func(tx kv.Tx) error {
			close(began)
			(<-fns)(tx)
			return nil
		})
	}()
	<-began
	return func(fn func(kv.Tx)) {
		t.Helper()
		fns <- fn
		if err := <-done; err != nil {
			t.Errorf("View: %v", err)
		}
	}
}

// testSnapshot has Views wait for Updates, which only a test may: of so little data that no implementation makes
// the Updates wait in turn.
func testSnapshot(t *testing.T, db kv.DB) {
	state := func(generation string) func(kv.Tx) {
		return func(tx kv.Tx) { wantPairs(t, tx, "b", generation) }
	}
	var holders []func(func(kv.Tx))
	var states []string
	for i := range 6 {
		states = append(states, strings.TrimSpace(strings.Repeat(fmt.Sprintf("k=%d ", i), min(i, 1))))
		holders = append(holders, hold(t, db))
		update(t, db, func(tx kv.Tx) {
			put(t, tx, "b", "k", fmt.Sprint(i+1))
			put(t, tx, "b", "other", "")
			remove(t, tx, "b", "other")
			for j := range 500 { // enough to reuse pages, if they were free
				put(t, tx, "churn", number(j), number(i))
			}
		})
	}
	wantBucket(t, db, "b", "k=6")
	for i, run := range holders {
		run(state(states[i]))
	}
}

// testMemo leaves in each View's memo what it read, and looks for it in those that follow and that run beside it.
func testMemo(t *testing.T, db kv.DB) {
	look := func(tx kv.Tx) {
		t.Helper()
		now := string(tx.Get("b", []byte("k")))
		if m := *tx.Memo(); m != nil && m != now {
			t.Fatalf("%q is remembered where %q is to be read", m, now)
		}
		*tx.Memo() = now
	}
	for round := range 3 {
		update(t, db, func(tx kv.Tx) {
			look(tx)
			put(t, tx, "b", "k", fmt.Sprint(round))
			*tx.Memo() = "of an update"
		})
		for range 2 {
			view(t, db, func(tx kv.Tx) {
				look(tx)
				view(t, db, func(beside kv.Tx) {
					if beside.Memo() == tx.Memo() {
						t.Error("two Views have the same memo")
					}
					look(beside)
				})
			})
		}
		view(t, db, func(tx kv.Tx) {
			if *tx.Memo() == nil {
				t.Error("what the View before has left is not there")
			}
		})
		view(t, db, func(tx kv.Tx) {
			update(t, db, func(tx kv.Tx) { put(t, tx, "b", "k", "later") })
			look(tx)
			view(t, db, look)
		})
	}
}

func testViewsBesideUpdate(t *testing.T, db kv.DB) {
	update(t, db, func(tx kv.Tx) { put(t, tx, "b", "k", "old") })
	update(t, db, func(tx kv.Tx) {
		put(t, tx, "b", "k", "new")
		var views sync.WaitGroup
		for range 4 { // all of them begin and end while the Update runs
			views.Go(func() {
				if err := db.View(func(tx kv.Tx) error {
					want(t, "beside the update", dump(tx.Scan("b", nil)), "k=old")
					return nil
				}); err != nil {
					t.Errorf("View: %v", err)
				}
			})
		}
		views.Wait()
		want(t, "in the update", dump(tx.Scan("b", nil)), "k=new")
	})
	wantBucket(t, db, "b", "k=new")
}

func testUpdatesInTurn(t *testing.T, db kv.DB) {
	const writers, each = 4, 8
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				if err := db.Update(func(tx kv.Tx) error {
					return tx.Put("b", []byte("k"), append(bytes.Clone(tx.Get("b", []byte("k"))), '+'))
				}); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
		all.Go(func() {
			last := -1
			for last < writers*each && !t.Failed() {
				view(t, db, func(tx kv.Tx) {
					once, twice := len(tx.Get("b", []byte("k"))), len(tx.Get("b", []byte("k")))
					if once != twice || once < last {
						t.Errorf("saw %d, then %d, after %d", once, twice, last)
					}
					last = once
				})
				runtime.Gosched()
			}
		})
	}
	all.Wait()
	wantBucket(t, db, "b", "k="+strings.Repeat("+", writers*each))
}

func spoil(t *testing.T, tx kv.Tx) {
	t.Helper()
	put(t, tx, "b", "k", "spoilt")
	put(t, tx, "b", "new", "")
	remove(t, tx, "b", "gone")
	for i := range 500 {
		put(t, tx, "new bucket", number(i), "")
	}
}

// wantUnspoilt checks that what spoil did is undone, and that the DB can be written.
func wantUnspoilt(t *testing.T, db kv.DB) {
	t.Helper()
	wantBucket(t, db, "b", "gone=no k=v")
	wantBucket(t, db, "new bucket", "")
	update(t, db, func(tx kv.Tx) { put(t, tx, "b", "k", "w") })
	wantBucket(t, db, "b", "gone=no k=w")
}

func prepare(t *testing.T, db kv.DB) {
	t.Helper()
	update(t, db, func(tx kv.Tx) { put(t, tx, "b", "k", "v"); put(t, tx, "b", "gone", "no") })
}

func testRollbackError(t *testing.T, db kv.DB) {
	prepare(t, db)
	refusal := errors.New("refusal")
	if err := db.Update(func(tx kv.Tx) error { spoil(t, tx); return refusal }); err != refusal {
		t.Errorf("Update returned %v, want its callback's error", err)
	}
	wantUnspoilt(t, db)
}

func testRollbackPanic(t *testing.T, db kv.DB) {
	prepare(t, db)
	for _, value := range []any{"dropped", errors.New("an error"), 7} {
		if got := panics(func() { db.Update(func(tx kv.Tx) error { spoil(t, tx); panic(value) }) }); got != value {
			t.Errorf("panic came out as %v, want %v", got, value)
		}
	}
	var nobody *struct{ field int }
	got := panics(func() { db.Update(func(tx kv.Tx) error { spoil(t, tx); nobody.field++; return nil }) })
	if _, ok := got.(runtime.Error); !ok {
		t.Errorf("nil pointer came out as %v", got)
	}
	got = panics(func() {
		db.Update(func(tx kv.Tx) error {
			for range tx.Scan("b", nil) {
				panic("in the loop")
			}
			return nil
		})
	})
	if got != "in the loop" {
		t.Errorf("panic in a scan's loop came out as %v", got)
	}
	wantUnspoilt(t, db)
}

func panics(fn func()) (value any) {
	defer func() { value = recover() }()
	fn()
	return nil
}

func testRollbackGoexit(t *testing.T, db kv.DB) {
	prepare(t, db)
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.Update(func(tx kv.Tx) error { spoil(t, tx); runtime.Goexit(); return nil })
	}()
	<-done
	wantUnspoilt(t, db)
}

func testViewPanic(t *testing.T, db kv.DB) {
	prepare(t, db)
	if got := panics(func() { db.View(func(kv.Tx) error { panic("dropped") }) }); got != "dropped" {
		t.Errorf("panic came out as %v", got)
	}
	wantUnspoilt(t, db)
}

func testTxEnds(t *testing.T, db kv.DB) {
	prepare(t, db)
	var txs []kv.Tx
	var pairs []iter.Seq2[[]byte, []byte]
	keep := func(tx kv.Tx) {
		txs = append(txs, tx)
		pairs = append(pairs, tx.Scan("b", nil), tx.ScanReverse("b", nil))
	}
	view(t, db, keep)
	update(t, db, keep)
	for _, tx := range txs {
		for name, use := range map[string]func(){
			"Get":    func() { tx.Get("b", []byte("k")) },
			"Put":    func() { tx.Put("b", []byte("k"), nil) },
			"Delete": func() { tx.Delete("b", []byte("k")) },
		} {
			if panics(use) == nil {
				t.Errorf("%s after the end did not panic", name)
			}
		}
	}
	for _, p := range pairs {
		if panics(func() { dump(p) }) == nil {
			t.Error("a scan after the end did not panic")
		}
	}
	wantUnspoilt(t, db)
}

func testSizeBytes(t *testing.T, db kv.DB) {
	size := func() int64 {
		n, err := db.SizeBytes()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := size()
	update(t, db, func(tx kv.Tx) { put(t, tx, "b", "k", strings.Repeat("v", 10<<20)) })
	if grown := size() - before; grown < 10<<20 || grown > 12<<20 {
		t.Errorf("10 MiB take %d bytes", grown)
	}
}

func testClosed(t *testing.T, db kv.DB) {
	prepare(t, db)
	for range 3 {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		ran := func(kv.Tx) error { t.Error("callback ran"); return nil }
		if err := db.View(ran); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("View: %v, want ErrClosed", err)
		}
		if err := db.Update(ran); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("Update: %v, want ErrClosed", err)
		}
		if _, err := db.SizeBytes(); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("SizeBytes: %v, want ErrClosed", err)
		}
	}
}

func testCloseWaits(t *testing.T, db kv.DB) {
	prepare(t, db)
	run := hold(t, db)
	var ended atomic.Bool
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() {
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if !ended.Load() {
				t.Error("Close returned before the transaction")
			}
		})
	}
	for range 1000 { // once Close has begun, time for it to return too early
		for db.View(func(kv.Tx) error { return nil }) == nil {
			runtime.Gosched()
		}
		runtime.Gosched()
	}
	run(func(tx kv.Tx) {
		wantPairs(t, tx, "b", "gone=no k=v")
		ended.Store(true)
	})
	closing.Wait()
}
