package chain

import (
	"github.com/batpak/batpak/event"
)

// A Receipt is evidence of an accepted append. Its event hash commits to the whole header of the event, and so to its
// payload and to everything before it in its stream: a store that shows another event at this place is found out by
// whoever kept the receipt.
type Receipt struct {
	Store      event.StoreID    `json:"store"`
	Seq        event.Seq        `json:"seq"`
	ID         event.ID         `json:"id"`
	Entity     string           `json:"entity"`
	Scope      string           `json:"scope"`
	Lane       event.Lane       `json:"lane"`
	Clock      event.Clock      `json:"clock"`
	Kind       event.Kind       `json:"kind"`
	Time       event.Timestamp  `json:"time"` // microseconds since 1970
	Content    event.Hash       `json:"content"`
	Prev       event.Hash       `json:"prev"`
	Hash       event.Hash       `json:"hash"`
	Durability event.Durability `json:"durability"`
}

// NewReceipt returns the receipt of an event of a store.
func NewReceipt(store event.StoreID, h *event.Header, hash event.Hash, d event.Durability) Receipt {
	return Receipt{Store: store, Seq: h.Seq, ID: h.ID, Entity: h.Entity, Scope: h.Scope, Lane: h.Lane, Clock: h.Clock, Kind: h.Kind,
		Time: h.Time, Content: h.Content, Prev: h.Prev, Hash: hash, Durability: d}
}

// A Verdict is the outcome of verifying a receipt.
type Verdict struct {
	Status Status `json:"status"`
	Reason Reason `json:"reason,omitempty"` // why it is invalid
	Err    error  `json:"-"`                // with UnreadableEvent, what reading gave
}

// OK reports whether the receipt may be believed as far as its status says.
func (v Verdict) OK() bool { return v.Status != Invalid }

// A Status says how far a receipt may be believed.
type Status string

// The statuses of a verdict. Unsigned means that the receipt agrees with the store it was held against, or, without a
// store, that it agrees with itself; anyone could have written it.
const (
	Invalid  Status = "invalid"
	Unsigned Status = "unsigned accepted"
)

// A Reason says why a receipt is invalid.
type Reason string

// The reasons, in the order in which they are checked.
const (
	StoreMismatch       Reason = "receipt of another store"
	MalformedReceipt    Reason = "receipt contradicts itself"
	MissingEvent        Reason = "no such event"
	UnreadableEvent     Reason = "the event cannot be read"
	IDMismatch          Reason = "another event has this seq"
	CoordinateMismatch  Reason = "entity, scope, lane or clock differ"
	KindMismatch        Reason = "kind differs"
	TimeMismatch        Reason = "time differs"
	ContentHashMismatch Reason = "content hash differs"
	PrevHashMismatch    Reason = "previous hash differs"
	EventHashMismatch   Reason = "event hash differs"
)

// VerifyReceipt checks a receipt by itself, without a store.
func VerifyReceipt(r Receipt) Verdict {
	ok := r.Seq > 0 && r.Clock > 0 && r.Clock <= event.Clock(r.Seq) && r.Time > 0 && r.ID.Seq() == r.Seq && r.ID.Milli() == int64(r.Time)/1000 &&
		r.Coordinate().Validate() == nil && r.Kind != 0 && (r.Durability == event.Durable || r.Durability == event.Written)
	if ok && r.Clock == 1 {
		ok = r.Prev == Genesis(r.Store, event.Stream{Entity: r.Entity, Lane: r.Lane})
	}
	if !ok {
		return Verdict{Status: Invalid, Reason: MalformedReceipt}
	}
	return Verdict{Status: Unsigned}
}

// Coordinate returns the entity and scope.
func (r *Receipt) Coordinate() event.Coordinate { return event.At(r.Entity, r.Scope) }

// VerifyAgainst checks a receipt by itself and against the event that the store has at its seq.
func VerifyAgainst(r Receipt, store event.StoreID, e *event.Event) Verdict {
	if r.Store != store {
		return Verdict{Status: Invalid, Reason: StoreMismatch}
	}
	if v := VerifyReceipt(r); !v.OK() {
		return v
	}
	want := NewReceipt(store, &e.Header, e.Hash, r.Durability)
	for _, c := range []struct {
		ok     bool
		reason Reason
	}{
		{r.ID == want.ID && r.Seq == want.Seq, IDMismatch},
		{r.Coordinate() == want.Coordinate() && r.Lane == want.Lane && r.Clock == want.Clock, CoordinateMismatch},
		{r.Kind == want.Kind, KindMismatch},
		{r.Time == want.Time, TimeMismatch},
		{r.Content == want.Content, ContentHashMismatch},
		{r.Prev == want.Prev, PrevHashMismatch},
		{r.Hash == want.Hash, EventHashMismatch},
	} {
		if !c.ok {
			return Verdict{Status: Invalid, Reason: c.reason}
		}
	}
	return Verdict{Status: Unsigned}
}
