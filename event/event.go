package event

// A Seq is the position of an event in the log. The first event has 1 and each later one exactly one more, so the zero
// Seq means "before the first event".
type Seq uint64

// A Clock is the position of an event in its stream, from 1, dense.
type Clock uint64

// A Lane numbers an independent branch of an entity. Each (entity, lane) is a stream with its own clock and chain.
type Lane uint32

// A Stream names the events of one entity in one lane.
type Stream struct {
	Entity string
	Lane   Lane
}

// An Event is an immutable fact as it is stored. The payload belongs to whoever received the event and may be kept.
type Event struct {
	Header
	Payload []byte
	Hash    Hash // of the encoded header, which holds the hash of the payload and of the event before it in the stream
}

// Position is shorthand for e.Seq, to pass as [Query.After].
func (e *Event) Position() Seq { return e.Seq }
