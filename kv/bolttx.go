package kv

import (
	"iter"
	"runtime"
	"sync"

	"go.etcd.io/bbolt"
)

// boltTx is a bbolt transaction that knows when bbolt has the word: every call into bbolt is between enter and leave,
// so a panic that comes out with inBolt set is bbolt's, and one without is the callback's.
type boltTx struct {
	*reading
	writable bool
	inBolt   bool
	ended    bool
	changes  int // Puts and Deletes so far: a scan that sees it move looks for its place again
}

// A reading is what of a transaction another View can go on with.
type reading struct {
	tx         *bbolt.Tx
	buckets    []namedBucket // those looked up so far, a handful; bbolt searches its root each time
	longest    int64         // no value can be longer: the file's pages, or a value put since
	generation uint64        // of idleReads when it began
	memo       any
}

// idleReads keeps the transactions of Views that have ended for Views to come: to begin one and to look its buckets up costs
// more than most Views do. One View at a time has each. They are gone when an Update begins, so that it can use again what
// the ones before replaced, and while it commits, which may have to wait for every open one.
type idleReads struct {
	mu         sync.Mutex
	paused     bool
	generation uint64 // counts Updates
	list       []*reading
}

// maxIdleReads is how many Views at a time find one.
const maxIdleReads = 16

// take returns an idle transaction or nil, and the generation of one that begins now.
func (i *idleReads) take() (*reading, uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.list)
	if n == 0 {
		return nil, i.generation
	}
	r := i.list[n-1]
	i.list = i.list[:n-1]
	return r, i.generation
}

// put keeps a transaction and reports whether it did.
func (i *idleReads) put(r *reading) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.paused || r.generation != i.generation || len(i.list) == maxIdleReads {
		return false
	}
	i.list = append(i.list, r)
	return true
}

// drop ends what is idle.
func (i *idleReads) drop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.list {
		_ = r.tx.Rollback() // of a read-only transaction that is open: cannot fail
	}
	i.list = nil
}

// pause ends what is idle and lets nothing be idle.
func (i *idleReads) pause() {
	i.mu.Lock()
	i.paused = true
	i.mu.Unlock()
	i.drop()
}

// resume lets transactions that begin from now on be idle.
func (i *idleReads) resume() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.paused = false
	i.generation++
}

func (t *boltTx) enter() {
	t.mustLive()
	if t.inBolt { // a panic of bbolt came by here and the callback swallowed it
		panic("transaction continued after a panic")
	}
	t.inBolt = true
}

func (t *boltTx) mustLive() {
	if t.ended {
		panic(errEnded)
	}
}

func (t *boltTx) leave() { t.inBolt = false }

// damageIn returns the damage in what a callback panicked with, which may be nothing. A fault without an address is a
// nil pointer, not a mapped page.
func (t *boltTx) damageIn(p any) error {
	if t.inBolt {
		if p == nil {
			p = "panic swallowed by the callback"
		}
		return cause(p)
	}
	if fault, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	}); ok {
		return fault
	}
	return nil
}

// require panics, as bbolt would, on an impossible key or value. Called between enter and leave.
func require(holds bool, what string) {
	if !holds {
		panic(errStructure(what))
	}
}

type namedBucket struct {
	name   string
	bucket *bbolt.Bucket
}

// bucket returns the bucket or nil. Called between enter and leave.
func (t *boltTx) bucket(name string) *bbolt.Bucket {
	for _, b := range t.buckets {
		if b.name == name {
			return b.bucket
		}
	}
	b := t.tx.Bucket([]byte(name))
	if b != nil {
		t.buckets = append(t.buckets, namedBucket{name, b})
	}
	return b
}

func (t *boltTx) Get(bucket string, key []byte) []byte {
	t.enter()
	var v []byte
	if b := t.bucket(bucket); b != nil {
		v = b.Get(key)
	}
	require(int64(len(v)) <= t.longest, "value longer than the file")
	t.leave()
	return v
}

func (t *boltTx) Put(bucket string, key, value []byte) error {
	t.mustLive()
	if !t.writable {
		return ErrReadOnly
	}
	if err := checkPut(bucket, key, value); err != nil {
		return err
	}
	if value == nil {
		value = []byte{} // nil would read as absent
	}
	t.enter()
	b := t.bucket(bucket)
	if b == nil {
		var err error
		b, err = t.tx.CreateBucket([]byte(bucket))
		require(err == nil, "bucket name taken by a plain key")
		t.buckets = append(t.buckets, namedBucket{bucket, b})
	}
	err := b.Put(key, value)
	require(err == nil, "key taken by a nested bucket")
	t.leave()
	t.changes++
	t.longest = max(t.longest, int64(len(value)))
	return nil
}

func (t *boltTx) Delete(bucket string, key []byte) error {
	t.mustLive()
	if !t.writable {
		return ErrReadOnly
	}
	t.enter()
	if b := t.bucket(bucket); b != nil {
		require(b.Delete(key) == nil, "key taken by a nested bucket")
	}
	t.leave()
	t.changes++
	return nil
}

func (t *boltTx) Memo() *any {
	t.mustLive()
	return &t.memo
}

func (t *boltTx) Scan(bucket string, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := t.cursor(bucket)
		for k, v := c.ceiling(from); k != nil && yield(k, v); {
			k, v = c.above(k)
		}
	}
}

func (t *boltTx) ScanReverse(bucket string, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := t.cursor(bucket)
		for k, v := c.floor(from); k != nil && yield(k, v); {
			k, v = c.below(k)
		}
	}
}
