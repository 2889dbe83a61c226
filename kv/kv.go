// Package kv is the embedded key-value store under an index: named buckets of byte keys and byte values, in key order,
// read and written in transactions. It does not know what an index is.
//
// A [DB] has two implementations. [OpenBolt] keeps one file and is durable: what Update reported as done survives a
// power cut. [NewMemory] keeps the same buckets in memory, for tests and for readers that may not touch the file.
// Both pass the conformance test in package kvtest, which states this contract as code.
//
// # Transactions
//
// A transaction is a call of View or Update, and the [Tx] is good only inside the callback. Updates run one at a time,
// in some order, and each takes effect all at once or not at all. A View sees the state between two Updates, for
// as long as it lasts: Updates that finish meanwhile do not show in it. Any number of Views run beside each other and
// beside one Update.
//
// A callback must not call its DB, and a View must not wait for an Update: either may be waiting for it to return.
// No other goroutine may use its Tx.
//
// # Damage
//
// The store is meant to be rebuilt from something better: when the file is bad, the answer is a [DamagedError], which
// matches [ErrDamaged], never a crash. What is noticed is damage to the structure. A changed byte inside a value comes
// back as a changed value, so the caller keeps a checksum with each.
package kv

import (
	"errors"
	"fmt"
	"iter"
)

// Bounds of a key and of a value. A bucket name has the bounds of a key.
const (
	MaxKeyBytes   = 32 << 10  // 32 KiB, and at least 1 byte
	MaxValueBytes = 1<<31 - 2 // 2 GiB less two bytes; an empty value is a value
)

// A DB is a set of named buckets. Its methods may be called from any number of goroutines.
type DB interface {
	// View calls fn with a read-only transaction and returns its error.
	View(fn func(Tx) error) error

	// Update calls fn with a transaction that may write. If fn returns nil, what it wrote takes effect, and is durable
	// if the implementation is. If fn returns an error, Update returns it as it is and nothing changes; if fn
	// panics, nothing changes and the panic goes on. An error of the operating system at the end leaves open whether
	// the transaction took effect: the DB refuses further Updates with that error.
	Update(fn func(Tx) error) error

	// SizeBytes is how many bytes the store takes, in the file or in memory.
	SizeBytes() (int64, error)

	// Close waits for open transactions and releases the store. Calling it again does nothing.
	// From its start the other methods return ErrClosed.
	Close() error
}

// A Tx is one transaction. Keys and values that it returns belong to the DB: they are valid until the callback returns
// and must not be modified (they may be mapped read-only). Using a Tx after its callback has returned panics.
type Tx interface {
	// Get returns the value of key, or nil if there is no such key or bucket. The value of a present key is not nil.
	Get(bucket string, key []byte) []byte

	// Put sets the value of key, and creates the bucket if it is new. It copies the key; the value must not be changed
	// before the transaction has ended.
	// It returns ErrReadOnly in a View and ErrSize if a bound is broken; either way nothing changes.
	Put(bucket string, key, value []byte) error

	// Delete removes key. That it is absent already is no error. It returns ErrReadOnly in a View.
	Delete(bucket string, key []byte) error

	// Memo is a place for what the callback derives from its snapshot, nil at first. A later View of the same snapshot may
	// find it there; no two transactions have it at a time, and none with another snapshot.
	Memo() *any

	// Scan yields the pairs of bucket with keys >= from, ascending; nil means from the first.
	// The loop may Put and Delete: the scan goes on after the last key it gave, in the bucket as it then is.
	Scan(bucket string, from []byte) iter.Seq2[[]byte, []byte]

	// ScanReverse yields the pairs of bucket with keys <= from, descending; nil means from the last.
	// The loop may Put and Delete, as in Scan.
	ScanReverse(bucket string, from []byte) iter.Seq2[[]byte, []byte]
}

// The classes of error, for errors.Is.
var (
	ErrClosed   = errors.New("key-value store is closed")
	ErrDamaged  = errors.New("key-value store is damaged")
	ErrLocked   = errors.New("key-value store is open elsewhere")
	ErrReadOnly = errors.New("transaction is read-only")
	ErrSize     = errors.New("size is out of bounds")
)

// A DamagedError says that the file of a store cannot be trusted. It matches ErrDamaged.
// A DB that has returned one returns the same from then on, until it is closed.
type DamagedError struct {
	Name string // the file
	Err  error  // what is wrong with it
}

// Error names the file and what is wrong with it.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Name, e.Err) }

// Unwrap returns what is wrong with the file.
func (e *DamagedError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrDamaged].
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// checkPut holds the arguments of Put against their bounds.
func checkPut(bucket string, key, value []byte) error {
	switch {
	case len(bucket) == 0 || len(bucket) > MaxKeyBytes:
		return fmt.Errorf("bucket name of %d bytes: %w", len(bucket), ErrSize)
	case len(key) == 0 || len(key) > MaxKeyBytes:
		return fmt.Errorf("key of %d bytes: %w", len(key), ErrSize)
	case int64(len(value)) > MaxValueBytes:
		return fmt.Errorf("value of %d bytes: %w", len(value), ErrSize)
	}
	return nil
}

// errEnded is the panic of a Tx that is used after its callback has returned.
const errEnded = "kv: transaction used after its end"
