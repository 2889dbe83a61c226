package kv

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// boltCursor finds neighbours in a bucket; in a nil one there are none. Each method enters bbolt and leaves it.
// A bbolt cursor loses its way when the bucket changes: after a change it starts again from the last key.
type boltCursor struct {
	t      *boltTx
	bucket *bbolt.Bucket
	c      *bbolt.Cursor
	seen   int // t.changes when c was placed
}

func (t *boltTx) cursor(bucket string) *boltCursor {
	t.enter()
	c := &boltCursor{t: t, bucket: t.bucket(bucket)}
	if c.bucket != nil {
		c.c = c.bucket.Cursor()
	}
	t.leave()
	return c
}

// leave checks the pair that the cursor is at and leaves bbolt with it.
func (c *boltCursor) leave(k, v []byte) ([]byte, []byte) {
	require(k == nil || v != nil, "nested bucket")
	require(len(k) <= MaxKeyBytes && int64(len(v)) <= c.t.longest, "key or value longer than the file")
	c.seen = c.t.changes
	c.t.leave()
	return k, v
}

// ceiling moves to the first key >= from.
func (c *boltCursor) ceiling(from []byte) ([]byte, []byte) {
	if c.c == nil {
		return nil, nil
	}
	c.t.enter()
	return c.leave(c.c.Seek(from))
}

// above moves to the first key > last, where the cursor was.
func (c *boltCursor) above(last []byte) (k, v []byte) {
	c.t.enter()
	if c.seen == c.t.changes {
		k, v = c.c.Next()
	} else if k, v = c.c.Seek(last); bytes.Equal(k, last) {
		k, v = c.c.Next()
	}
	require(k == nil || bytes.Compare(k, last) > 0, "keys out of order")
	return c.leave(k, v)
}

// floor moves to the last key <= from, or the last of all if from is nil.
func (c *boltCursor) floor(from []byte) (k, v []byte) {
	if c.c == nil {
		return nil, nil
	}
	c.t.enter()
	if from == nil {
		return c.leave(c.last())
	}
	if k, v = c.c.Seek(from); !bytes.Equal(k, from) {
		k, v = c.retreat(k, from)
	}
	return c.leave(k, v)
}

// below moves to the last key < last, where the cursor was.
func (c *boltCursor) below(last []byte) (k, v []byte) {
	c.t.enter()
	k = last
	if c.seen != c.t.changes {
		k, _ = c.c.Seek(last)
	}
	return c.leave(c.retreat(k, last))
}

// retreat moves to the last key < bound from k, the first key >= bound.
//
// Keys deleted in this transaction leave empty leaves behind until the commit. There bbolt's Prev says nil as it does
// at the beginning, but a second one goes on; so nil is the beginning only if no key is smaller.
func (c *boltCursor) retreat(k, bound []byte) ([]byte, []byte) {
	if k == nil {
		return c.last()
	}
	k, v := c.c.Prev()
	if k == nil {
		first, _ := c.bucket.Cursor().First()
		for smaller := bytes.Compare(first, bound) < 0; k == nil && smaller; {
			k, v = c.c.Prev()
		}
	}
	require(k == nil || bytes.Compare(k, bound) < 0, "keys out of order")
	return k, v
}

// last moves to the last key. bbolt's Last never returns if there are leaves and all are empty.
func (c *boltCursor) last() ([]byte, []byte) {
	if first, _ := c.bucket.Cursor().First(); first == nil {
		return nil, nil
	}
	return c.c.Last()
}
