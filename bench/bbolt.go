package main

import (
	"bytes"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

var bboltSystem = &system{
	name:     "bbolt",
	settings: "a bucket of events by position and one of keys by entity, scope and kind; 1 GiB mapped from the start; DB.Batch for many callers",
	durable:  "two fdatasyncs a transaction",
	written:  "NoSync: pages written to the file",
	survives: true,
	open:     openBbolt,
}

// Buckets.
var (
	eventBucket = []byte("events")
	indexBucket = []byte("index")
)

type bboltStore struct {
	db      *bbolt.DB
	numbers sequencer
	update  func(func(*bbolt.Tx) error) error
}

func openBbolt(dir string, c config) (store, error) {
	o := *bbolt.DefaultOptions
	o.InitialMmapSize, o.NoSync, o.FreelistType = 1<<30, !c.durable, bbolt.FreelistMapType
	db, err := bbolt.Open(filepath.Join(dir, "events.bolt"), 0o600, &o)
	if err != nil {
		return nil, err
	}
	b := &bboltStore{db: db, update: db.Update}
	if c.callers > 1 {
		db.MaxBatchSize, db.MaxBatchDelay = c.callers, time.Millisecond
		b.update = db.Batch
	}
	if !c.reads {
		err = db.Update(createBuckets)
	}
	if err == nil {
		err = db.View(b.last)
	}
	return b, err
}

func createBuckets(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(eventBucket); err != nil {
		return err
	}
	_, err := tx.CreateBucketIfNotExists(indexBucket)
	return err
}

// last makes the numbering go on behind the newest event.
func (b *bboltStore) last(tx *bbolt.Tx) error {
	if k, v := tx.Bucket(eventBucket).Cursor().Last(); k != nil {
		b.numbers.position, b.numbers.time = keyPosition(k), recordTime(v)
	}
	return nil
}

func (b *bboltStore) Append(es []event) error {
	return b.update(func(tx *bbolt.Tx) error {
		b.numbers.take(es)
		events, index := tx.Bucket(eventBucket), tx.Bucket(indexBucket)
		events.FillPercent = 1 // keys are appended
		for i := range es {
			if err := events.Put(es[i].Key[8:], appendRecord(nil, &es[i])); err != nil {
				return err
			}
			for _, k := range indexKeys(&es[i]) {
				if err := index.Put(k, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (b *bboltStore) Get(k key, e *event) error {
	return b.db.View(func(tx *bbolt.Tx) error {
		return parseRecord(bytes.Clone(tx.Bucket(eventBucket).Get(k[8:])), k.position(), e)
	})
}

func (b *bboltStore) Query(q query, visit func(*event) error) error {
	visit = limited(q.Limit, visit)
	return unlessEnough(b.db.View(func(tx *bbolt.Tx) error {
		events := tx.Bucket(eventBucket)
		if prefix := q.prefix(); prefix != nil {
			from, to := q.keyRange(prefix)
			c := tx.Bucket(indexBucket).Cursor()
			for k, _ := c.Seek(from); k != nil && bytes.Compare(k, to) <= 0; k, _ = c.Next() {
				at := k[len(k)-8:]
				if err := visitRecord(events.Get(at), keyPosition(at), 0, visit); err != nil {
					return err
				}
			}
			return nil
		}
		from := q.After + 1
		if q.Until != 0 {
			var err error
			from, err = firstAt(b.numbers.position, q.Since, func(p uint64) (int64, error) {
				k := positionKey(p)
				return recordTime(events.Get(k[8:])), nil
			})
			if err != nil {
				return err
			}
		}
		start := positionKey(from)
		c := events.Cursor()
		for k, v := c.Seek(start[8:]); k != nil; k, v = c.Next() {
			if err := visitRecord(v, keyPosition(k), q.Until, visit); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *bboltStore) Close() error { return b.db.Close() }
