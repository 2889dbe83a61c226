package crashfs

// A Fault says how an operation goes. The zero Fault is none. A fault without Err is a lie: the caller is told that all
// went well.
type Fault struct {
	Effect Effect
	Part   int64 // bytes that a write with effect Some writes, from its start
	Err    error // what the caller gets as the cause; nil means success
}

// An Effect is what an operation that goes wrong does all the same.
type Effect uint8

// The effects.
const (
	All  Effect = iota // everything
	None               // nothing; a later sync makes up for one that did nothing
	Some               // a write: its first bytes; anything else: everything
	Lost               // a sync of a file: what it was to make durable never will be, unless it is written again
)
