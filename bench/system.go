package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"
	"unsafe"
)

// A system is one of those compared.
type system struct {
	name     string
	settings string // what was chosen that is not a default
	durable  string // what an append waits for that must survive a power cut
	written  string // what it waits for that must survive the end of the process, or what comes nearest
	survives bool   // written does survive it
	verifies bool   // what is read is checked against a checksum or a hash by default
	grouped  bool   // group commit is added around it for many callers
	open     func(dir string, c config) (store, error)
}

// A config says how a store is opened.
type config struct {
	durable bool
	callers int // that append at the same time
	reads   bool
}

// A store is an open store of a system. It has one goroutine at a time, except that many may call Append.
type store interface {
	// Append stores events, several of them atomically, and gives them their keys. It returns when they are durable or
	// written, as the store was opened.
	Append(es []event) error

	// Get makes e the event with a key.
	Get(k key, e *event) error

	// Query visits the events that q selects, in commit order.
	Query(q query, visit func(*event) error) error

	Close() error
}

// A query selects by position, and by at most one of the others.
type query struct {
	Entity       string
	Scope        string
	Kind         uint16
	Since, Until int64  // [Since, Until) in nanoseconds; Until 0 for any time
	After        uint64 // the position to go on behind; positions begin at 1
	Limit        int    // 0 means all
}

// A cannotError says why a system does not do something.
type cannotError string

func (e cannotError) Error() string { return string(e) }

// errEnough ends a visit early and is not handed out.
var errEnough = errors.New("enough")

// limited returns visit such that it ends after limit events.
func limited(limit int, visit func(*event) error) func(*event) error {
	if limit == 0 {
		return visit
	}
	return func(e *event) error {
		if err := visit(e); err != nil {
			return err
		}
		if limit--; limit == 0 {
			return errEnough
		}
		return nil
	}
}

// unlessEnough hides what limited returned to end a visit.
func unlessEnough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// A sequencer numbers and dates the events of a system that does neither.
type sequencer struct {
	mu       sync.Mutex
	position uint64
	time     int64
}

// take gives the events the next positions and increasing times.
func (s *sequencer) take(es []event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := max(time.Now().UnixNano(), s.time+1)
	for i := range es {
		s.position++
		s.time = now + int64(i)
		es[i].Key, es[i].Time = positionKey(s.position), s.time
	}
}

// firstAt returns the first position from 1 to last whose event is not before t, or last+1. Times increase with
// positions.
func firstAt(last uint64, t int64, timeAt func(position uint64) (int64, error)) (uint64, error) {
	var failed error
	i := sort.Search(int(last), func(i int) bool {
		at, err := timeAt(uint64(i) + 1)
		if err != nil && failed == nil {
			failed = err
		}
		return at >= t
	})
	return uint64(i) + 1, failed
}

// recordHead is the length of the fixed part of a record: time, kind and the lengths of entity and scope.
const recordHead = 8 + 2 + 1 + 1

// appendRecord encodes an event for a system that stores bytes.
func appendRecord(b []byte, e *event) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time))
	b = binary.LittleEndian.AppendUint16(b, e.Kind)
	b = append(b, byte(len(e.Entity)), byte(len(e.Scope)))
	b = append(append(b, e.Entity...), e.Scope...)
	return append(b, e.Payload...)
}

// parseRecord makes e the event of a record, whose bytes it aliases.
func parseRecord(b []byte, position uint64, e *event) error {
	if len(b) < recordHead || len(b) < recordHead+int(b[10])+int(b[11]) {
		return fmt.Errorf("record of %d bytes is too short", len(b))
	}
	entity := b[recordHead:][:b[10]]
	scope := b[recordHead+len(entity):][:b[11]]
	e.Time = recordTime(b)
	e.Kind = binary.LittleEndian.Uint16(b[8:])
	e.Entity = unsafe.String(unsafe.SliceData(entity), len(entity))
	e.Scope = unsafe.String(unsafe.SliceData(scope), len(scope))
	e.Payload = b[recordHead+len(entity)+len(scope):]
	e.Key = positionKey(position)
	return nil
}

func recordTime(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

// The keys of a system that orders bytes: one for the event, and one for each of entity, scope and kind.
const (
	eventTag  = 'e'
	entityTag = 'n'
	scopeTag  = 's'
	kindTag   = 'k'
)

func eventKey(position uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{eventTag}, position)
}

// indexPrefix begins the keys of the events that have a value.
func indexPrefix(tag byte, value string) []byte {
	return append(append([]byte{tag}, value...), 0)
}

func kindValue(kind uint16) string { return string([]byte{byte(kind >> 8), byte(kind)}) }

// indexKeys returns the keys under which an event is found.
func indexKeys(e *event) [3][]byte {
	at := e.Key[8:]
	return [3][]byte{
		append(indexPrefix(entityTag, e.Entity), at...),
		append(indexPrefix(scopeTag, e.Scope), at...),
		append(indexPrefix(kindTag, kindValue(e.Kind)), at...),
	}
}

// prefix returns where the index keys that q selects begin, or nil if it selects by position or time.
func (q *query) prefix() []byte {
	switch {
	case q.Entity != "":
		return indexPrefix(entityTag, q.Entity)
	case q.Scope != "":
		return indexPrefix(scopeTag, q.Scope)
	case q.Kind != 0:
		return indexPrefix(kindTag, kindValue(q.Kind))
	}
	return nil
}

// keyRange returns the first and the last key to look at for an index prefix.
func (q *query) keyRange(prefix []byte) (from, to []byte) {
	from = binary.BigEndian.AppendUint64(slices.Clone(prefix), q.After+1)
	return from, binary.BigEndian.AppendUint64(slices.Clone(prefix), 1<<64-1)
}

// keyPosition returns the position at the end of a key.
func keyPosition(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(k)-8:]) }

// visitRecord calls visit with the event of a record, unless that is not before until, which ends the visit.
func visitRecord(b []byte, position uint64, until int64, visit func(*event) error) error {
	var e event
	if err := parseRecord(b, position, &e); err != nil {
		return err
	}
	if until != 0 && e.Time >= until {
		return errEnough
	}
	return visit(&e)
}

// systems are all that can be compared, in the order of the tables.
var systems = []*system{batpakSystem, pureSystem, plainSystem, bboltSystem, pebbleSystem, badgerSystem, walSystem, sqliteSystem, jetstreamSystem, rustSystem}

func systemNamed(name string) *system {
	for _, s := range systems {
		if s.name == name {
			return s
		}
	}
	return nil
}
