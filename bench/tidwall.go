package main

import (
	"path/filepath"

	"github.com/tidwall/wal"
)

var walSystem = &system{
	name:     "tidwall/wal",
	settings: "NoCopy; it has positions and no other index, so entity, scope and kind cannot be asked for",
	durable:  "fsync a write",
	written:  "NoSync: a write(2)",
	survives: true,
	grouped:  true,
	open:     openWAL,
}

type walStore struct {
	log     *wal.Log
	numbers sequencer
	batch   wal.Batch
	record  []byte
	group
}

func openWAL(dir string, c config) (store, error) {
	log, err := wal.Open(filepath.Join(dir, "log"), &wal.Options{NoSync: !c.durable, NoCopy: true})
	if err != nil {
		return nil, err
	}
	w := &walStore{log: log}
	w.commit = w.write
	return w, w.last()
}

// last makes the numbering go on behind the newest event.
func (w *walStore) last() (err error) {
	if w.numbers.position, err = w.log.LastIndex(); err != nil || w.numbers.position == 0 {
		return err
	}
	w.numbers.time, err = w.timeAt(w.numbers.position)
	return err
}

func (w *walStore) write(parts [][]event) error {
	if len(parts) == 1 && len(parts[0]) == 1 {
		e := &parts[0][0]
		w.numbers.take(parts[0])
		w.record = appendRecord(w.record[:0], e)
		return w.log.Write(e.Key.position(), w.record)
	}
	w.batch.Clear()
	for _, es := range parts {
		w.numbers.take(es)
		for i := range es {
			w.record = appendRecord(w.record[:0], &es[i])
			w.batch.Write(es[i].Key.position(), w.record)
		}
	}
	return w.log.WriteBatch(&w.batch)
}

func (w *walStore) Get(k key, e *event) error {
	b, err := w.log.Read(k.position())
	if err != nil {
		return err
	}
	return parseRecord(b, k.position(), e)
}

func (w *walStore) timeAt(position uint64) (int64, error) {
	b, err := w.log.Read(position)
	if err != nil {
		return 0, err
	}
	return recordTime(b), nil
}

func (w *walStore) Query(q query, visit func(*event) error) error {
	if q.prefix() != nil {
		return cannotError("it has no index of entities, scopes or kinds")
	}
	visit = limited(q.Limit, visit)
	from := q.After + 1
	if q.Until != 0 {
		var err error
		if from, err = firstAt(w.numbers.position, q.Since, w.timeAt); err != nil {
			return err
		}
	}
	for at := from; at <= w.numbers.position; at++ {
		b, err := w.log.Read(at)
		if err != nil {
			return err
		}
		if err := visitRecord(b, at, q.Until, visit); err != nil {
			return unlessEnough(err)
		}
	}
	return nil
}

func (w *walStore) Close() error { return w.log.Close() }
