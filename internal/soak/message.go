package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/batpak/batpak"
)

// A child reports to the command through its standard output, in messages:
//
//	offset  0  kind, one byte
//	        1  u32  length of the body
//	        5  body: of acknowledged and seen as below, else JSON
//
// The body of an acknowledged commit is caller u32, commit u32, a byte that is 1 if it has keys, and its marks; that of seen
// events is marks. What a killed child had begun to say is ignored.
const (
	kindOpened       = 'o' // opening
	kindAcknowledged = 'a'
	kindSeen         = 's'
	kindSample       = 'm' // sample
	kindWarned       = 'w' // warning
	kindFailed       = 'f' // failure: the child ends
	kindClosed       = 'c' // closing

	messageHeadBytes = 5
	maxMessageBytes  = 64 << 20
	commitHeadBytes  = 9
)

// An opening is what a child says when it has opened the store.
type opening struct {
	Store   batpak.StoreID
	Visible batpak.Seq
	Report  batpak.OpenReport // of a writer
}

// A warning is what the store logs as such.
type warning struct {
	Error bool // more than a warning
	Text  string
}

// A failure is why a child ends by itself.
type failure struct {
	Text    string
	Corrupt bool // it matches batpak.ErrCorrupt
	Opening bool // the store could not be opened
}

// A closing compares a child after it has closed the store with before it opened it.
type closing struct {
	Before, After census
	Leftovers     string // if there are more after
}

// more reports whether something was not given back.
func (c *closing) more() bool {
	return c.After.Goroutines > c.Before.Goroutines || c.After.Files > c.Before.Files
}

// A mark is what is reported of one event.
type mark struct {
	Seq        batpak.Seq
	Hash       batpak.Hash
	ID         batpak.ID
	Durability batpak.Durability // that was acknowledged; 0 of an event that was seen
}

const markBytes = 8 + 32 + 16 + 1

func appendMark(dst []byte, m *mark) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Seq))
	dst = append(append(dst, m.Hash[:]...), m.ID[:]...)
	return append(dst, byte(m.Durability))
}

func parseMarks(b []byte) ([]mark, error) {
	if len(b)%markBytes != 0 {
		return nil, fmt.Errorf("marks of %d bytes", len(b))
	}
	var marks []mark
	for ; len(b) > 0; b = b[markBytes:] {
		m := mark{Seq: batpak.Seq(binary.LittleEndian.Uint64(b)), Durability: batpak.Durability(b[56])}
		copy(m.Hash[:], b[8:])
		copy(m.ID[:], b[40:])
		marks = append(marks, m)
	}
	return marks, nil
}

// An acknowledgement is a commit that returned.
type acknowledgement struct {
	caller, commit int
	keyed          bool
	marks          []mark
}

func (a *acknowledgement) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(a.caller))
	b = append(binary.LittleEndian.AppendUint32(b, uint32(a.commit)), 0)
	if a.keyed {
		b[commitHeadBytes-1] = 1
	}
	for i := range a.marks {
		b = appendMark(b, &a.marks[i])
	}
	return b
}

func parseAcknowledgement(b []byte) (a acknowledgement, err error) {
	if len(b) < commitHeadBytes {
		return a, fmt.Errorf("acknowledgement of %d bytes", len(b))
	}
	a.caller, a.commit = int(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint32(b[4:]))
	a.keyed = b[commitHeadBytes-1] == 1
	a.marks, err = parseMarks(b[commitHeadBytes:])
	return a, err
}

// A sender writes messages, for any goroutine.
type sender struct {
	mu sync.Mutex
	w  *bufio.Writer
}

// send writes a message, and with flush everything held back. That the other end is gone ends the process by a signal or
// with its input; so errors need no care.
func (s *sender) send(kind byte, body []byte, flush bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	s.w.Write(head)
	s.w.Write(body)
	if flush {
		s.w.Flush()
	}
}

// say sends a value as JSON, at once.
func (s *sender) say(kind byte, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types are ours
	}
	s.send(kind, body, true)
}

// readMessage returns the next message, or io.EOF where there is no whole one.
func readMessage(r *bufio.Reader) (kind byte, body []byte, err error) {
	var head [messageHeadBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, io.EOF
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > maxMessageBytes {
		return 0, nil, fmt.Errorf("message of %d bytes", n)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, io.EOF
	}
	return head[0], body, nil
}
