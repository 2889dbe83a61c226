package main

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"
)

var badgerSystem = &system{
	name:     "badger",
	settings: "a key for the event and one each for entity, scope and kind; no detection of conflicts",
	durable:  "SyncWrites",
	written:  "its log is a mapped file",
	survives: true,
	verifies: true,
	open:     openBadger,
}

type badgerStore struct {
	db      *badger.DB
	numbers sequencer
}

func openBadger(dir string, c config) (store, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithSyncWrites(c.durable).WithDetectConflicts(false).WithMetricsEnabled(false))
	if err != nil {
		return nil, err
	}
	b := &badgerStore{db: db}
	return b, db.View(b.last)
}

// last makes the numbering go on behind the newest event.
func (b *badgerStore) last(tx *badger.Txn) error {
	it := tx.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{eventTag}})
	defer it.Close()
	if it.Seek(eventKey(1<<64 - 1)); !it.Valid() {
		return nil
	}
	b.numbers.position = keyPosition(it.Item().Key())
	return it.Item().Value(func(v []byte) error {
		b.numbers.time = recordTime(v)
		return nil
	})
}

func (b *badgerStore) Append(es []event) error {
	b.numbers.take(es)
	return b.db.Update(func(tx *badger.Txn) error {
		for i := range es {
			if err := tx.Set(eventKey(es[i].Key.position()), appendRecord(nil, &es[i])); err != nil {
				return err
			}
			for _, k := range indexKeys(&es[i]) {
				if err := tx.Set(k, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (b *badgerStore) Get(k key, e *event) error {
	return b.db.View(func(tx *badger.Txn) error {
		return badgerRecord(tx, k.position(), func(v []byte) error {
			return parseRecord(bytes.Clone(v), k.position(), e)
		})
	})
}

func badgerRecord(tx *badger.Txn, position uint64, use func([]byte) error) error {
	item, err := tx.Get(eventKey(position))
	if err != nil {
		return err
	}
	return item.Value(use)
}

func (b *badgerStore) Query(q query, visit func(*event) error) error {
	visit = limited(q.Limit, visit)
	return unlessEnough(b.db.View(func(tx *badger.Txn) error {
		if prefix := q.prefix(); prefix != nil {
			return b.listed(tx, &q, prefix, visit)
		}
		return b.ranged(tx, &q, visit)
	}))
}

// listed visits the events whose index keys have a prefix.
func (b *badgerStore) listed(tx *badger.Txn, q *query, prefix []byte, visit func(*event) error) error {
	it := tx.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	from, _ := q.keyRange(prefix)
	for it.Seek(from); it.Valid(); it.Next() {
		at := keyPosition(it.Item().Key())
		err := badgerRecord(tx, at, func(v []byte) error { return visitRecord(v, at, 0, visit) })
		if err != nil {
			return err
		}
	}
	return nil
}

// ranged visits the events of a range of positions or times.
func (b *badgerStore) ranged(tx *badger.Txn, q *query, visit func(*event) error) error {
	from := q.After + 1
	if q.Until != 0 {
		var err error
		from, err = firstAt(b.numbers.position, q.Since, func(position uint64) (t int64, err error) {
			err = badgerRecord(tx, position, func(v []byte) error {
				t = recordTime(v)
				return nil
			})
			return t, err
		})
		if err != nil {
			return err
		}
	}
	o := badger.DefaultIteratorOptions
	o.Prefix = []byte{eventTag}
	it := tx.NewIterator(o)
	defer it.Close()
	for it.Seek(eventKey(from)); it.Valid(); it.Next() {
		at := keyPosition(it.Item().Key())
		if err := it.Item().Value(func(v []byte) error { return visitRecord(v, at, q.Until, visit) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *badgerStore) Close() error { return b.db.Close() }
