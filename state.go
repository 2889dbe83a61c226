package batpak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// The file state.bolt holds what programs keep beside the log, each value with a CRC-32C over its bucket, its key and itself
// before it:
//
//	cursors    name  → a cursorState: it cannot be derived, so that a damaged one is an error
//	snapshots  id    → what a projection keeps: a damaged one is none
//	identity   store → the store id: the file of another store is refused
//	           cursor <name> → that there is this cursor: it is not new, even if a changed byte hides its position
//
// It is made when something is first kept, and every change is durable when the call returns.
const (
	stateFile       = "state.bolt"
	cursorsBucket   = "cursors"
	snapshotsBucket = "snapshots"
	identityBucket  = "identity"
	identityKey     = "store"
	listedPrefix    = "cursor "
	checksumBytes   = 4
)

// state is that file, opened when it is first needed.
type state struct {
	mu      sync.Mutex
	db      kv.DB
	closed  bool
	cursors map[string]*Cursor // those that are open, nil while one is being opened or deleted
}

// stateDB returns the file, which it makes if create is set; else nil without one.
func (s *Store) stateDB(create bool) (kv.DB, error) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.closed {
		return nil, ErrClosed
	}
	if s.state.db != nil {
		return s.state.db, nil
	}
	db, err := s.openState(create)
	if db == nil || err != nil {
		return nil, asState("opening", err)
	}
	if err := s.claimState(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.state.db = db
	return db, nil
}

// openState opens the file, or makes it; without create it returns nil if there is none.
func (s *Store) openState(create bool) (kv.DB, error) {
	if s.opts.openState != nil {
		return s.opts.openState()
	}
	if !create {
		if _, err := s.root.Stat(stateFile); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return kv.OpenBolt(s.root, stateFile, 0)
}

// claimState writes the identity of the store into a new file, and compares it with that of another.
func (s *Store) claimState(db kv.DB) error {
	var b []byte
	cursors := false // which a file without an identity has not yet
	err := db.View(func(tx kv.Tx) (err error) {
		for range tx.Scan(cursorsBucket, nil) {
			cursors = true
			break
		}
		b, err = stateValue(tx, identityBucket, identityKey)
		return err
	})
	switch {
	case err != nil:
		return asState("identity", err)
	case b == nil && !cursors:
		return putState(db, identityBucket, identityKey, s.store[:])
	case string(b) != string(s.store[:]):
		return &CorruptError{File: stateFile, Check: "store id", Expected: s.store.String(), Found: fmt.Sprintf("%x", b)}
	}
	return nil
}

// closeState closes the file for good.
func (s *Store) closeState() error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.state.closed = true
	if s.state.db == nil {
		return nil
	}
	return s.state.db.Close()
}

// asState says of an error of the file which file it was.
func asState(what string, err error) error {
	if errors.Is(err, kv.ErrDamaged) {
		return &CorruptError{File: stateFile, Check: "structure", Found: what, Err: err}
	}
	if errors.Is(err, kv.ErrClosed) {
		return ErrClosed
	}
	return err
}

// stateSum is the checksum of a value.
func stateSum(bucket, key string, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte(bucket+"\x00"+key+"\x00"))
	return crc32.Update(sum, table, value)
}

// stateValue returns a copy of the value of a key, nil if there is none.
func stateValue(tx kv.Tx, bucket, key string) ([]byte, error) {
	b := tx.Get(bucket, []byte(key))
	if b == nil {
		return nil, nil
	}
	if len(b) < checksumBytes || binary.LittleEndian.Uint32(b) != stateSum(bucket, key, b[checksumBytes:]) {
		return nil, &CorruptError{File: stateFile, Check: "checksum of " + bucket + " " + key}
	}
	return append([]byte{}, b[checksumBytes:]...), nil
}

func putState(db kv.DB, bucket, key string, value []byte) error {
	return asState(bucket, db.Update(func(tx kv.Tx) error { return putValue(tx, bucket, key, value) }))
}

// putValue puts a value with its checksum.
func putValue(tx kv.Tx, bucket, key string, value []byte) error {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, checksumBytes+len(value)), stateSum(bucket, key, value))
	return tx.Put(bucket, []byte(key), append(b, value...))
}

// Now returns the time by the store's clock, [Options.Clock].
func (s *Store) Now() time.Time { return s.opts.Clock() }

// LoadSnapshot returns a copy of what SaveSnapshot was last given for an id, or nil: also if that is damaged or cannot be
// read, of which the logger is told. It is there for package projection.
func (s *Store) LoadSnapshot(id string) []byte {
	if s.inGate() {
		return nil
	}
	b, err := s.loadState(snapshotsBucket, id)
	if err != nil && !errors.Is(err, ErrClosed) {
		s.opts.Logger.Warn("snapshot not read", "id", id, "cause", err)
	}
	return b
}

func (s *Store) loadState(bucket, key string) (b []byte, err error) {
	db, err := s.stateDB(false)
	if db == nil || err != nil {
		return nil, err
	}
	err = db.View(func(tx kv.Tx) (err error) {
		b, err = stateValue(tx, bucket, key)
		return err
	})
	return b, asState(bucket, err)
}

// SaveSnapshot keeps data under an id, durably, instead of what was there. It reports no error, since a snapshot that is
// not kept costs no more than time; the logger is told.
func (s *Store) SaveSnapshot(id string, data []byte) {
	var db kv.DB
	err := s.ready()
	if err == nil {
		db, err = s.stateDB(true)
	}
	if err == nil {
		err = putState(db, snapshotsBucket, id, data)
	}
	if err != nil && !errors.Is(err, ErrClosed) {
		s.opts.Logger.Warn("snapshot not saved", "id", id, "cause", err)
	}
}

// DropSnapshots forgets the snapshots whose id begins with prefix, all with "", and returns how many there were. Package
// projection names them "name/version/key".
func (s *Store) DropSnapshots(prefix string) (count int, err error) {
	if s.inGate() {
		return 0, ErrInGate
	}
	db, err := s.stateDB(false)
	if db == nil || err != nil {
		return 0, err
	}
	err = db.Update(func(tx kv.Tx) error {
		count = 0
		for k := range tx.Scan(snapshotsBucket, []byte(prefix)) {
			if !strings.HasPrefix(string(k), prefix) {
				return nil
			}
			if err := tx.Delete(snapshotsBucket, k); err != nil {
				return err
			}
			count++
		}
		return nil
	})
	return count, asState(snapshotsBucket, err)
}

// anchored reports whether the event at seq is visible and has this hash. Before the first event there is always nothing.
func (s *Store) anchored(seq event.Seq, hash event.Hash) (bool, error) {
	found, err := s.hashAt(seq)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return found == hash, err
}

// hashAt returns the hash of the event at seq, or zero for 0.
func (s *Store) hashAt(seq event.Seq) (event.Hash, error) {
	if seq == 0 {
		return event.Hash{}, nil
	}
	e, err := s.At(seq)
	return e.Hash, err
}
