package crashfs

import "fmt"

// A Verb says what an operation does.
type Verb string

// The verbs of operations.
const (
	Create   Verb = "create"
	Write    Verb = "write"
	Truncate Verb = "truncate"
	Sync     Verb = "sync"
	Mkdir    Verb = "mkdir"
	Rename   Verb = "rename"
	Remove   Verb = "remove"
	SyncDir  Verb = "syncdir"
	Put      Verb = "put"
)

// An Op is one operation: a call that changes or syncs something.
type Op struct {
	N      int // from 1
	Verb   Verb
	Name   string
	To     string // of a rename
	Offset int64  // of a write
	Length int64  // of a write or put, or the new one of a truncate
	Zeros  bool   // a write of nothing but zeros
	Handle int    // of a write, truncate or sync of a file: which of the open files, from 1
	Err    error  // how it ended, once it has
}

// String returns the operation as a line of text without its number: verb, name, what else there is, and its error.
func (o Op) String() string {
	s := fmt.Sprintf("%s %s", o.Verb, o.Name)
	switch o.Verb {
	case Write:
		s += fmt.Sprintf(" %d+%d", o.Offset, o.Length)
		if o.Zeros {
			s += " zeros"
		}
	case Truncate, Put:
		s += fmt.Sprintf(" %d", o.Length)
	case Rename:
		s += " " + o.To
	}
	if o.Err != nil {
		s += ": " + o.Err.Error()
	}
	return s
}
