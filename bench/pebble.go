package main

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

var pebbleSystem = &system{
	name:     "Pebble",
	settings: "a key for the event and one each for entity, scope and kind; cache 64 MiB, memtables 32 MiB, newest format",
	durable:  "pebble.Sync (its own group commit)",
	written:  "pebble.NoSync: buffered in the process",
	survives: false,
	verifies: true,
	open:     openPebble,
}

type pebbleStore struct {
	db      *pebble.DB
	cache   *pebble.Cache
	sync    *pebble.WriteOptions
	numbers sequencer
}

// quiet swallows what a library logs.
type quiet struct{}

func (quiet) Infof(string, ...any)    {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Fatalf(f string, a ...any) {
	panic(f)
}

func openPebble(dir string, c config) (store, error) {
	p := &pebbleStore{cache: pebble.NewCache(64 << 20), sync: pebble.Sync}
	if !c.durable {
		p.sync = pebble.NoSync
	}
	var err error
	p.db, err = pebble.Open(dir, &pebble.Options{
		Cache: p.cache, MemTableSize: 32 << 20, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{},
	})
	if err != nil {
		return nil, err
	}
	return p, p.last()
}

// last makes the numbering go on behind the newest event.
func (p *pebbleStore) last() error {
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: []byte{eventTag}, UpperBound: []byte{eventTag + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	if it.Last() {
		p.numbers.position, p.numbers.time = keyPosition(it.Key()), recordTime(it.Value())
	}
	return it.Error()
}

func (p *pebbleStore) Append(es []event) error {
	p.numbers.take(es)
	b := p.db.NewBatch()
	defer b.Close()
	var record []byte
	for i := range es {
		e := &es[i]
		record = appendRecord(record[:0], e)
		if err := b.Set(eventKey(e.Key.position()), record, nil); err != nil {
			return err
		}
		for _, k := range indexKeys(e) {
			if err := b.Set(k, nil, nil); err != nil {
				return err
			}
		}
	}
	return b.Commit(p.sync)
}

func (p *pebbleStore) Get(k key, e *event) error {
	v, closer, err := p.db.Get(eventKey(k.position()))
	if err != nil {
		return err
	}
	defer closer.Close()
	return parseRecord(bytes.Clone(v), k.position(), e)
}

func (p *pebbleStore) timeAt(position uint64) (int64, error) {
	var e event
	err := p.Get(positionKey(position), &e)
	return e.Time, err
}

func (p *pebbleStore) Query(q query, visit func(*event) error) error {
	visit = limited(q.Limit, visit)
	if prefix := q.prefix(); prefix != nil {
		from, to := q.keyRange(prefix)
		return unlessEnough(p.each(from, append(to, 0), func(k, _ []byte) error {
			v, closer, err := p.db.Get(eventKey(keyPosition(k)))
			if err != nil {
				return err
			}
			defer closer.Close()
			return visitRecord(v, keyPosition(k), 0, visit)
		}))
	}
	from := q.After + 1
	if q.Until != 0 {
		var err error
		if from, err = firstAt(p.numbers.position, q.Since, p.timeAt); err != nil {
			return err
		}
	}
	return unlessEnough(p.each(eventKey(from), []byte{eventTag + 1}, func(k, v []byte) error {
		return visitRecord(v, keyPosition(k), q.Until, visit)
	}))
}

// each visits the keys of [from, to).
func (p *pebbleStore) each(from, to []byte, visit func(k, v []byte) error) error {
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := visit(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

func (p *pebbleStore) Close() error {
	err := p.db.Close()
	p.cache.Unref()
	return err
}
