// Package batpak is an embedded, synchronous, tamper-evident event store. A service opens a directory, appends typed
// events, and gets receipts that a stranger can verify.
//
//	store, err := batpak.Open("data", nil)
//	receipt, err := store.Append(batpak.At("player:42", "room:dungeon"), PlayerMoved{X: 10})
//	for e, err := range store.Query(batpak.Query{Prefix: "player", Limit: 100}) { … }
//	err = store.Close()
//
// # What is where
//
// The directory holds the log, which is the truth: segment files of commits, each commit one or more events under one
// checksum, every event bound by Blake3 to the one before it in its stream and every commit to the one before it. Beside
// it lies index.bolt, which is derived from the log and may be deleted at any time.
//
// # Reading and writing
//
// One process writes ([Open]); any number may read at the same time ([OpenReader]). All methods may be called from any
// goroutine. Methods that only touch the store take no context; those that wait for something to happen do.
//
// What is read has been checked: the payload against its hash, the header against the index, and each event of a stream
// against the one before it. Damage is a [*CorruptError]; nothing is skipped.
//
// # Durability
//
// By default an append returns when its event would survive a power cut, and no reader sees an event that could vanish.
// With [Written] it returns, and is seen, once the event would survive the end of the process; [Store.Frontier] says what
// is durable.
package batpak

import (
	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
)

// The values that events are made of; see package event.
type (
	Coordinate = event.Coordinate
	Event      = event.Event
	Header     = event.Header
	Payload    = event.Payload
	Type       = event.Type
	Kind       = event.Kind
	Category   = event.Category
	Lane       = event.Lane
	Clock      = event.Clock
	Seq        = event.Seq
	ID         = event.ID
	Hash       = event.Hash
	StoreID    = event.StoreID
	Query      = event.Query
	Timestamp  = event.Timestamp
)

// Evidence; see package chain.
type (
	Receipt    = chain.Receipt
	Verdict    = chain.Verdict
	Walk       = chain.Walk
	Finding    = chain.Finding
	Durability = chain.Durability
)

// What an append waits for.
const (
	Durable = chain.Durable
	Written = chain.Written
)

// Errors with facts; see package event.
type (
	CorruptError      = event.CorruptError
	CoordinateError   = event.CoordinateError
	ReservedKindError = event.ReservedKindError
)

// Classes of failure, for errors.Is; see package event.
var (
	ErrInvalid             = event.ErrInvalid
	ErrReservedKind        = event.ErrReservedKind
	ErrTooLarge            = event.ErrTooLarge
	ErrNotFound            = event.ErrNotFound
	ErrConflict            = event.ErrConflict
	ErrIdempotencyMismatch = event.ErrIdempotencyMismatch
	ErrIdempotencyPartial  = event.ErrIdempotencyPartial
	ErrKindMismatch        = event.ErrKindMismatch
	ErrFutureVersion       = event.ErrFutureVersion
	ErrPastVersion         = event.ErrPastVersion
	ErrFutureFormat        = event.ErrFutureFormat
	ErrClosed              = event.ErrClosed
	ErrLocked              = event.ErrLocked
	ErrCorrupt             = event.ErrCorrupt
	ErrClock               = event.ErrClock
)

// At returns the coordinate of an entity and a scope.
func At(entity, scope string) Coordinate { return event.At(entity, scope) }

// Decode returns the payload of e as a P; see [event.Decode].
func Decode[P Payload](e Event) (P, error) { return event.Decode[P](e) }
