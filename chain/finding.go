package chain

import (
	"fmt"

	"github.com/batpak/batpak/event"
)

// A Finding is one thing that is wrong with a store: which event, where, what was checked, expected and found.
type Finding struct {
	File     string    `json:"file,omitempty"`   // within the store's directory
	Offset   int64     `json:"offset,omitempty"` // in that file, of the record or commit
	Seq      event.Seq `json:"seq,omitempty"`    // the event, or the first that is concerned
	ID       event.ID  `json:"id,omitzero"`
	Check    string    `json:"check"`
	Expected string    `json:"expected,omitempty"`
	Found    string    `json:"found,omitempty"`
}

// String returns the finding on one line.
func (f Finding) String() string {
	s := fmt.Sprintf("%s offset %d: event %d: %s", f.File, f.Offset, f.Seq, f.Check)
	if f.Expected != "" || f.Found != "" {
		s += fmt.Sprintf(": expected %s, found %s", f.Expected, f.Found)
	}
	return s
}

// Error returns the finding as an error that matches [event.ErrCorrupt].
func (f Finding) Error() *event.CorruptError {
	return &event.CorruptError{File: f.File, Offset: f.Offset, Seq: f.Seq, Check: f.Check, Expected: f.Expected, Found: f.Found}
}

// differ returns a finding about e if want and got are not the same.
func differ[T comparable](e *event.Event, check string, want, got T) *Finding {
	if want == got {
		return nil
	}
	return &Finding{Seq: e.Seq, ID: e.ID, Check: check, Expected: fmt.Sprint(want), Found: fmt.Sprint(got)}
}

// first returns the first finding that is one.
func first(fs ...*Finding) *Finding {
	for _, f := range fs {
		if f != nil {
			return f
		}
	}
	return nil
}

// Open decodes the header and the payload of a record that should be event seq into e, and checks them against each other.
// The payload of e aliases the argument; it and the hash are set whatever is found. A finding has no file and offset: the caller
// knows those.
func Open(e *event.Event, seq event.Seq, header, payload []byte) *Finding {
	if bad := OpenHeader(e, seq, header, payload); bad != nil {
		return bad
	}
	return differ(e, "content hash", e.Content, Content(payload))
}

// OpenPayload is Open of an event whose header and hash are in e already and known to be right: it checks the payload.
func OpenPayload(e *event.Event, payload []byte) *Finding {
	e.Payload = payload
	return first(
		differ(e, "payload length", int(e.PayloadLength), len(payload)),
		differ(e, "content hash", e.Content, Content(payload)),
	)
}

// OpenHeader is Open, but of the payload it checks only the length.
func OpenHeader(e *event.Event, seq event.Seq, header, payload []byte) *Finding {
	e.Payload, e.Hash = payload, Event(header)
	var err error
	if e.Header, err = event.DecodeHeader(header); err != nil {
		return &Finding{Seq: seq, Check: "header", Expected: "a valid header", Found: err.Error()}
	}
	return first(
		differ(e, "seq", seq, e.Seq),
		differ(e, "seq in the id", seq, e.ID.Seq()),
		differ(e, "time in the id", int64(e.Time)/1000, e.ID.Milli()),
		differ(e, "payload length", int(e.PayloadLength), len(payload)),
	)
}

// Follows checks that e comes right after the event of the same stream with this clock and hash; clock 0 means that e is
// the first of its stream, which genesis then precedes.
func Follows(e *event.Event, clock event.Clock, hash event.Hash) *Finding {
	return first(
		differ(e, "clock", clock+1, e.Clock),
		differ(e, "previous hash", hash, e.Prev),
	)
}

// Later checks that e comes after the event with this id and time in commit order.
func Later(e *event.Event, id event.ID, t event.Timestamp) *Finding {
	if e.Time <= t {
		return differ(e, "time", "after "+t.String(), e.Time.String())
	}
	if string(e.ID[:]) <= string(id[:]) {
		return differ(e, "id", "after "+id.String(), e.ID.String())
	}
	return nil
}

// Linked checks the link of a commit that begins with event seq.
func Linked(seq event.Seq, want, got event.Hash) *Finding {
	return differ(&event.Event{Header: event.Header{Seq: seq}}, "link", want, got)
}
