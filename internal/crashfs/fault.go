package crashfs

// A Fault says how an operation goes. The zero Fault is none. A fault without Err is a lie: the caller is told that all
// went well.
type Fault struct {
	Effect Effect
	Part   int64 // bytes that a write with effect Some writes, from its start
	Err    error // what the caller gets as the cause; nil means success
}

// An Effect is what an operation that goes wrong does all the same.
//
// When writes of a file are Lost and Err is set, every other open file of it is told so once, by the next Sync of its own;
// files opened later are not. That is how Linux does it.
type Effect uint8

// The effects.
const (
	All  Effect = iota // everything
	None               // nothing; a later sync makes up for one that did nothing
	Some               // a write: its first bytes; anything else: everything
	Lost               // a sync: what it was to make durable never will be, unless it is written again
)
