package projection

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/google/go-cmp/cmp"
)

// A memory is events in a slice, that keeps snapshots in a map and counts what is read.
type memory struct {
	now       time.Time
	snapshots map[string][]byte
	saved     int // snapshots
	read      int // events that queries have yielded
	queries   int

	mu      sync.Mutex
	events  []event.Event
	changed chan struct{} // closed when an event is appended
}

func newMemory() *memory {
	return &memory{now: time.UnixMicro(1_700_000_000_000_000), snapshots: map[string][]byte{}, changed: make(chan struct{})}
}

// bytesOf is an encoded payload.
func bytesOf(v any) []byte {
	b, err := event.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// append appends typed payloads of an entity.
func (m *memory) append(entity string, ps ...event.Payload) {
	for _, p := range ps {
		t := p.EventType()
		m.put(event.Header{Entity: entity, Scope: "bank", Kind: t.Kind, PayloadVersion: t.Version}, bytesOf(p))
	}
}

// put appends an event. Its hash is like no other's.
func (m *memory) put(h event.Header, payload []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.Seq, h.Clock = event.Seq(len(m.events)+1), event.Clock(len(m.events)+1)
	e := event.Event{Header: h, Payload: payload, Hash: event.Hash{31: 1}}
	binary.LittleEndian.PutUint64(e.Hash[:], uint64(h.Seq))
	m.events = append(m.events, e)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) At(seq event.Seq) (event.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seq == 0 || int(seq) > len(m.events) {
		return event.Event{}, fmt.Errorf("event %d: %w", seq, event.ErrNotFound)
	}
	return m.events[seq-1], nil
}

// look returns what is there, and what says that there is more.
func (m *memory) look() ([]event.Event, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events, m.changed
}

func (m *memory) Query(q event.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		m.queries++
		if err := q.Validate(); err != nil {
			yield(event.Event{}, err)
			return
		}
		events, _ := m.look()
		for i, n := 0, 0; i < len(events) && (q.Limit == 0 || n < q.Limit); i++ {
			if !q.Match(&events[i].Header) {
				continue
			}
			n++
			m.read++
			if !yield(events[i], nil) {
				return
			}
		}
	}
}

func (m *memory) Follow(ctx context.Context, q event.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for seen := 0; ; {
			events, changed := m.look()
			for ; seen < len(events); seen++ {
				if q.Match(&events[seen].Header) && !yield(events[seen], nil) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(event.Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

func (m *memory) Now() time.Time                   { return m.now }
func (m *memory) LoadSnapshot(id string) []byte    { return m.snapshots[id] }
func (m *memory) SaveSnapshot(id string, b []byte) { m.saved++; m.snapshots[id] = b }
func (m *memory) only() Source                     { return struct{ Source }{m} } // without snapshots
func (m *memory) counted(f func()) (read int)      { before := m.read; f(); return m.read - before }

// The payloads of the tests.
type (
	deposited struct {
		Cents int64 `cbor:"cents"`
	}
	withdrawn struct {
		Cents int64 `cbor:"cents"`
	}
	noted struct{ Text string }
	// deposited2 is what deposited became.
	deposited2 struct{ Euros, Cents int64 }
)

func (deposited) EventType() event.Type {
	return event.Type{Kind: 0x1001, Name: "deposited", Version: 1}
}
func (withdrawn) EventType() event.Type {
	return event.Type{Kind: 0x1002, Name: "withdrawn", Version: 1}
}
func (noted) EventType() event.Type { return event.Type{Kind: 0x1003, Name: "noted", Version: 1} }

func (deposited2) EventType() event.Type {
	return event.Type{Kind: 0x1001, Name: "deposited", Version: 2}
}

func (deposited2) Upcasts() []event.Step {
	return []event.Step{event.Upcast(1, func(old deposited) (deposited2, error) {
		return deposited2{old.Cents / 100, old.Cents % 100}, nil
	})}
}

// An account is the state of the tests.
type account struct {
	Cents int64
	Moves map[string]int
}

const key = "account:7"

func deposit(a *account, _ event.Event, p deposited) error {
	a.Cents += p.Cents
	a.Moves["in"]++
	return nil
}

func deposit2(a *account, e event.Event, p deposited2) error {
	return deposit(a, e, deposited{p.Euros*100 + p.Cents})
}

func withdraw(a *account, _ event.Event, p withdrawn) error {
	if p.Cents < 0 {
		return errNegative
	}
	a.Cents -= p.Cents
	a.Moves["out"]++
	return nil
}

// balance is the spec of the tests. It snapshots after every event.
func balance() Spec[account] {
	return Spec[account]{
		Name: "balance", Version: 1, SnapshotEvery: 1,
		Init:     func() account { return account{Moves: map[string]int{}} },
		Handlers: []Handler[account]{On(deposit), On(withdraw)},
	}
}

// must returns v.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// butOf leaves out of a comparison what a state says that it is of.
var butOf = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Of" || p.Last().String() == ".left" }, cmp.Ignore())
