package kv

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// memoryDB holds a state that never changes but for its memo. An Update builds the next state, sharing what it does not touch, and puts
// it in place with one atomic store: a View keeps the state it started with, and rolling back is forgetting.
type memoryDB struct {
	gate   gate
	writer sync.Mutex // held by the one Update
	state  atomic.Pointer[memoryState]
}

type memoryState struct {
	buckets   map[string]*memoryBucket
	sizeBytes int64
	memo      *atomic.Pointer[any] // of the View that last ended well, until another takes it
}

// NewMemory returns an empty DB in memory. Nothing of it outlives the process.
func NewMemory() DB {
	d := new(memoryDB)
	d.state.Store(newMemoryState())
	return d
}

func newMemoryState() *memoryState { return &memoryState{memo: new(atomic.Pointer[any])} }

func (d *memoryDB) View(fn func(Tx) error) error {
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	s := d.state.Load()
	t := &memoryTx{memoryState: *s, remembered: s.memo.Swap(nil)}
	if t.remembered == nil {
		t.remembered = new(any)
	}
	defer t.end()
	err := fn(t)
	if err == nil {
		s.memo.Store(t.remembered)
	}
	return err
}

func (d *memoryDB) Update(fn func(Tx) error) error {
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	d.writer.Lock()
	defer d.writer.Unlock()

	t := &memoryTx{memoryState: *d.state.Load(), writable: true, remembered: new(any)}
	t.buckets = maps.Clone(t.buckets)
	if t.buckets == nil {
		t.buckets = make(map[string]*memoryBucket)
	}
	defer t.end()
	if err := fn(t); err != nil {
		return err
	}
	d.state.Store(&memoryState{t.buckets, t.sizeBytes, new(atomic.Pointer[any])}) // the commit
	return nil
}

// SizeBytes counts keys, values and their slice headers.
func (d *memoryDB) SizeBytes() (int64, error) {
	if err := d.gate.enter(); err != nil {
		return 0, err
	}
	defer d.gate.leave()
	return d.state.Load().sizeBytes, nil
}

func (d *memoryDB) Close() error {
	d.gate.close()
	d.state.Store(newMemoryState())
	return nil
}

// A memoryTx is a state of its own. Buckets whose owner it is were made by it and are seen by nobody else.
type memoryTx struct {
	memoryState
	writable   bool
	ended      bool
	changes    int // Puts and Deletes so far: a scan that sees it move looks for its place again
	remembered *any
}

// end drops the state: what this transaction owned still points to it, and must not keep old states alive.
func (t *memoryTx) end() { *t = memoryTx{ended: true} }

// bucket returns the bucket, which may be nil: a nil bucket is an empty one.
func (t *memoryTx) bucket(name string) *memoryBucket {
	if t.ended {
		panic(errEnded)
	}
	return t.buckets[name]
}

// own returns the bucket in a form that this transaction may change.
func (t *memoryTx) own(name string) *memoryBucket {
	b := t.buckets[name]
	if b == nil {
		b = &memoryBucket{owner: t}
	} else if b.owner != t {
		b = &memoryBucket{owner: t, chunks: slices.Clone(b.chunks)}
	}
	t.buckets[name] = b
	t.changes++
	return b
}

func (t *memoryTx) Get(bucket string, key []byte) []byte {
	b := t.bucket(bucket)
	if at := b.seek(key); b.holds(at, key) {
		return b.pair(at).value
	}
	return nil
}

func (t *memoryTx) Put(bucket string, key, value []byte) error {
	old := t.bucket(bucket)
	if !t.writable {
		return ErrReadOnly
	}
	if err := checkPut(bucket, key, value); err != nil {
		return err
	}
	if at := old.seek(key); old.holds(at, key) {
		t.sizeBytes -= old.pair(at).sizeBytes()
	}
	p := memoryPair{bytes.Clone(key), append([]byte{}, value...)} // never nil: an empty value is present
	t.sizeBytes += p.sizeBytes()
	t.own(bucket).put(p)
	return nil
}

func (t *memoryTx) Memo() *any {
	if t.ended {
		panic(errEnded)
	}
	return t.remembered
}

func (t *memoryTx) Delete(bucket string, key []byte) error {
	old := t.bucket(bucket)
	if !t.writable {
		return ErrReadOnly
	}
	if at := old.seek(key); old.holds(at, key) {
		t.sizeBytes -= old.pair(at).sizeBytes()
		t.own(bucket).remove(at)
	}
	return nil
}

func (t *memoryTx) Scan(bucket string, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		b := t.bucket(bucket)
		for at := b.seek(from); at.chunk < b.len(); {
			p, seen := b.pair(at), t.changes
			if !yield(p.key, p.value) {
				return
			}
			if b = t.bucket(bucket); t.changes == seen {
				at = b.next(at)
			} else {
				at = b.after(p.key)
			}
		}
	}
}

func (t *memoryTx) ScanReverse(bucket string, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		b := t.bucket(bucket)
		at := place{b.len(), 0}
		if from != nil {
			at = b.after(from)
		}
		for at = b.previous(at); at.chunk >= 0; at = b.previous(at) {
			p, seen := b.pair(at), t.changes
			if !yield(p.key, p.value) {
				return
			}
			if b = t.bucket(bucket); t.changes != seen {
				at = b.seek(p.key)
			}
		}
	}
}
