package event

import (
	"errors"
	"fmt"
)

// Classes of failure. Every error of batpak that a caller may want to tell apart matches one of them with errors.Is;
// those with facts have a type of their own that errors.As finds.
var (
	ErrInvalid             = errors.New("invalid")                                         // the request itself is wrong
	ErrReservedKind        = errors.New("kind is reserved")                                // also matches ErrInvalid
	ErrTooLarge            = errors.New("too large")                                       // payload, header or batch over its bound
	ErrNotFound            = errors.New("not found")                                       // no such event
	ErrConflict            = errors.New("conflict")                                        // an expectation or IfNone did not hold
	ErrDenied              = errors.New("denied")                                          // a gate said no
	ErrIdempotencyMismatch = errors.New("idempotency key used for another request")        // same key, other content
	ErrIdempotencyPartial  = errors.New("idempotency keys of the batch do not agree")      // only some keyed, or only some known
	ErrKindMismatch        = errors.New("event is of another kind")                        // decoding into the wrong type
	ErrFutureVersion       = errors.New("payload version is newer than the code")          // upgrade the program
	ErrPastVersion         = errors.New("payload version is older and cannot be lifted")   // no upcaster known
	ErrFutureFormat        = errors.New("store format is newer than the code")             // upgrade the program
	ErrClosed              = errors.New("store is closed")                                 //
	ErrLocked              = errors.New("store is locked by another process")              //
	ErrCorrupt             = errors.New("corrupt")                                         // stored bytes are wrong
	ErrClock               = errors.New("clock is before 1970 or beyond the range of ids") // the injected or system clock
)

// A CorruptError says that stored bytes are not what was written: where, which check failed, and how far the log is
// still provable. It matches [ErrCorrupt].
type CorruptError struct {
	File     string // path within the store's directory
	Offset   int64  // bytes from the start of the file
	Seq      Seq    // the event concerned, or the first one that is unprovable; 0 if none can be named
	Check    string // the check that failed: "commit checksum", "content hash", …
	Expected string // may be empty
	Found    string // may be empty
	Provable Seq    // everything at or below has been checked by the operation that failed; 0 if it checked nothing
	Err      error  // the cause, may be nil
}

// Error names file, offset, event and check, then what was expected and found.
func (e *CorruptError) Error() string {
	s := fmt.Sprintf("%s: offset %d: ", e.File, e.Offset)
	if e.Seq > 0 {
		s += fmt.Sprintf("event %d: ", e.Seq)
	}
	s += e.Check + " failed"
	if e.Expected != "" || e.Found != "" {
		s += fmt.Sprintf(": expected %s, found %s", e.Expected, e.Found)
	}
	if e.Provable > 0 {
		s += fmt.Sprintf(" (provable up to event %d)", e.Provable)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is reports whether target is [ErrCorrupt].
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }
