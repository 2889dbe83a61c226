package index

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// pairKV is one value of a database.
type pairKV struct {
	bucket     string
	key, value []byte
}

// foldedDB returns a database with an index of a few runs and no tail, and what is in it.
func foldedDB(t *testing.T) (kv.DB, []pairKV) {
	all := foldedPairs(t)
	return pairsDB(t, all), all
}

// answers opens the index and asks it everything. An answer may be an error.
func answers(db kv.DB) (out []string) {
	x, err := Open(db, testStore)
	if err != nil {
		return []string{errorText(err)}
	}
	add := func(answer any, err error) {
		if err != nil {
			answer = errorText(err)
		}
		out = append(out, fmt.Sprint(answer))
	}
	add(x.Position(), nil)
	for seq := event.Seq(1); seq <= 97; seq += 8 {
		r, err := x.Row(seq)
		add(r, err)
	}
	for _, q := range []event.Query{
		{}, {Entity: "a:b"}, {Prefix: "a", Reverse: true}, {Scope: "s", Lane: new(event.Lane(1))},
		{Kind: 0x1000, Since: event.Timestamp(1_000_300).Time()}, {Category: new(event.Category(1))},
		{Entity: "a:b", Lane: new(event.Lane(0)), ClockAfter: 10, Reverse: true}, {Correlation: event.NewID(1_000_005, 1, 7)},
	} {
		rows, next, more, err := x.Page(&q, 400, nil)
		add(fmt.Sprint(rows, next, more), err)
	}
	for _, entity := range []string{"a:b", "a"} {
		row, _, err := x.Head(event.Stream{Entity: entity}, event.MaxSeq)
		add(row, err)
		row, _, err = x.Clock(event.Stream{Entity: entity}, 30)
		add(row, err)
	}
	row, _, err := x.Key("k")
	add(row, err)
	seq, err := x.Seek(1_000_400)
	add(seq, err)
	for _, tag := range []byte{Entities, Namespaces, Scopes, Kinds} {
		terms, err := x.Terms(tag, "", "", 10)
		add(terms, err)
	}
	return out
}

const damagedAnswer = "damaged"

func errorText(err error) string {
	var d *DamagedError
	if errors.Is(err, ErrDamaged) && errors.As(err, &d) && d.What != "" && d.Err != nil {
		return damagedAnswer
	}
	return err.Error()
}

func put(t *testing.T, db kv.DB, p pairKV, value []byte) {
	t.Helper()
	if err := db.Update(func(tx kv.Tx) error { return tx.Put(p.bucket, p.key, value) }); err != nil {
		t.Fatal(err)
	}
}

// checkAnswers compares each answer with what it was before the damage, and reports whether any noticed it.
func checkAnswers(t *testing.T, db kv.DB, good []string, what string) (noticed bool) {
	t.Helper()
	got := answers(db)
	if len(got) == 1 && got[0] == damagedAnswer {
		return true
	}
	for i := range good {
		if got[i] == damagedAnswer {
			noticed = true
		} else if got[i] != good[i] {
			t.Fatalf("%s: answer %d: %s", what, i, gocmp.Diff(good[i], got[i]))
		}
	}
	return noticed
}

// TestDamageBytes changes every stored byte in turn. Every answer stays as it was or is ErrDamaged, and since every value
// is looked at, some answer is.
func TestDamageBytes(t *testing.T) {
	db, all := foldedDB(t)
	good := answers(db)
	if slices.Contains(good, damagedAnswer) {
		t.Fatal(good)
	}
	for _, p := range all {
		for i := range p.value {
			bad := bytes.Clone(p.value)
			bad[i] ^= 1 << (i % 8)
			put(t, db, p, bad)
			what := fmt.Sprintf("%s, byte %d of %d", p.bucket, i, len(p.value))
			if !checkAnswers(t, db, good, what) {
				t.Fatalf("%s: not noticed", what)
			}
		}
		put(t, db, p, p.value)
	}
}

// TestDamageValues shortens and lengthens values, takes them away, and puts those of one key under another.
func TestDamageValues(t *testing.T) {
	db, all := foldedDB(t)
	good := answers(db)
	for i, p := range all {
		other := all[(i+1)%len(all)]
		for what, bad := range map[string][]byte{
			"empty": {}, "half": p.value[:len(p.value)/2], "short": p.value[:len(p.value)-1],
			"long": append(bytes.Clone(p.value), 0), "other": other.value,
		} {
			put(t, db, p, bad)
			if !checkAnswers(t, db, good, p.bucket+" "+what) {
				t.Errorf("%s, %s: not noticed", p.bucket, what)
			}
		}
		put(t, db, p, p.value)
		if p.bucket == metaBucket { // without one the index is empty, and its position says so
			continue
		}
		if err := db.Update(func(tx kv.Tx) error { return tx.Delete(p.bucket, p.key) }); err != nil {
			t.Fatal(err)
		}
		if !checkAnswers(t, db, good, p.bucket+" absent") {
			t.Errorf("%s absent: not noticed", p.bucket)
		}
		put(t, db, p, p.value)
	}
}

func TestDamageOfOthers(t *testing.T) {
	db, _ := foldedDB(t)
	if _, err := Open(db, event.StoreID{9}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("index of another store: %v", err)
	}
	failing := failingDB{DB: db, err: &kv.DamagedError{Name: "index.bolt", Err: errors.New("bad page")}}
	if _, err := Open(failing, testStore); !errors.Is(err, ErrDamaged) || !errors.Is(err, kv.ErrDamaged) {
		t.Fatalf("damage of the database: %v", err)
	}
	// While an index is open its meta record cannot be taken away or go back unnoticed.
	x, err := Open(db, testStore)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*meta{nil, {}} {
		err := db.Update(func(tx kv.Tx) error {
			if m == nil {
				return tx.Delete(metaBucket, metaKey)
			}
			return tx.Put(metaBucket, metaKey, m.encode(testStore))
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Row(1); !errors.Is(err, ErrDamaged) {
			t.Fatalf("meta record %v: %v", m, err)
		}
	}
}

// failingDB fails transactions with err.
type failingDB struct {
	kv.DB
	err error
}

func (d failingDB) View(func(kv.Tx) error) error { return d.err }

func (d failingDB) Update(fn func(kv.Tx) error) error {
	return d.DB.Update(func(tx kv.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return d.err
	})
}
