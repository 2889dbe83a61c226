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
	Durability = event.Durability
	Proposal   = event.Proposal
	Expect     = event.Expect
	IfNone     = event.IfNone
	Cause      = event.Cause
	Registry   = event.Registry
)

// Evidence; see package chain.
type (
	Receipt = chain.Receipt
	Verdict = chain.Verdict
	Walk    = chain.Walk
	Finding = chain.Finding
)

// What an append waits for.
const (
	Durable = event.Durable
	Written = event.Written
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
	ErrDenied              = event.ErrDenied
	ErrClock               = event.ErrClock
)

// Empty expects that a stream has no event.
func Empty() Expect { return event.ExpectEmpty() }

// AtClock expects that the newest event of a stream has clock c.
func AtClock(c Clock) Expect { return event.ExpectClock(c) }

// CauseID names an event by its id.
func CauseID(id ID) Cause { return event.CauseID(id) }

// CauseItem names an earlier proposal of the same Commit by its index, from 0.
func CauseItem(index int) Cause { return event.CauseItem(index) }

// At returns the coordinate of an entity and a scope.
func At(entity, scope string) Coordinate { return event.At(entity, scope) }

// IdempotencyKey derives a key for [Proposal.Key]; see [event.IdempotencyKey].
func IdempotencyKey(domain string, components ...string) string {
	return event.IdempotencyKey(domain, components...)
}

// Decode returns the payload of e as a P; see [event.Decode].
func Decode[P Payload](e Event) (P, error) { return event.Decode[P](e) }
