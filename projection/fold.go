package projection

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/batpak/batpak/event"
)

// A Source is where events come from: a store, or a reader of one. Query yields the events that q selects and that are
// visible, in order, checked; At returns the event at a position, or an error that matches [event.ErrNotFound].
type Source interface {
	Query(q event.Query) iter.Seq2[event.Event, error]
	At(seq event.Seq) (event.Event, error)
}

// Snapshots is a [Source] that keeps snapshots too. LoadSnapshot returns what SaveSnapshot was last given for an id, or nil:
// also if that was lost, or damaged, which costs no more than time. Now is the clock that ages are measured with.
type Snapshots interface {
	Source
	LoadSnapshot(id string) []byte
	SaveSnapshot(id string, data []byte)
	Now() time.Time
}

// A State is a state and the events it was made of. The zero State is that of no projection: [Fold] begins with it. A copy of a
// State shares what Value refers to, and a fold that goes on from the one changes the other: Fold goes on from the State that it
// left, and not from a copy.
type State[S any] struct {
	Value  S          `json:"value"`
	Seq    event.Seq  `json:"seq"`    // of the newest event that the query selected, handled or not; 0: there is none
	Hash   event.Hash `json:"hash"`   // of that event
	Events uint64     `json:"events"` // how many the query selected
	Of     string     `json:"of"`     // which projection and key it is of, and what they are made of; set by Fold

	left *mark[S] // shared with copies
}

// A mark says where Fold left a state, and with which event. Copies of a State share it with the original: a fold that goes on from one
// of them moves it, so that the others are known for what they are, wherever they are put.
type mark[S any] struct {
	at  *State[S] // nil: a handler has failed
	seq event.Seq
}

// current reports whether s is as Fold left it.
func (s *State[S]) current() bool { return s.left != nil && *s.left == mark[S]{s, s.Seq} }

// A TooLargeError says that a state has outgrown its bound. It matches [event.ErrTooLarge].
type TooLargeError struct {
	Projection string
	Key        string
	Seq        event.Seq // the newest event folded
	Bytes, Max int
}

// Error names the projection, the key and the sizes.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("projection %q: state of %q takes %d bytes at event %d, at most %d", e.Projection, e.Key, e.Bytes, e.Seq, e.Max)
}

// Is reports whether target is [event.ErrTooLarge].
func (e *TooLargeError) Is(target error) bool { return target == event.ErrTooLarge }

// A Target is one projection of a [Fold]; [Into] makes it.
type Target interface {
	prepare(src Source) error
	selects() event.Query // from where the state is
	take(e event.Event, shared bool) error
	finish(src Source) error
}

// Into returns the target of a [Fold] that brings dst, the state of a key, up to date. It goes on from dst if an earlier fold of
// the same projection, key and source left that there, else from a snapshot, else from the first event. After an error dst is as it
// was, or half done: do not use it then. A fold that failed in a handler, or panicked there, is not gone on from.
func Into[S any](dst *State[S], p *Projection[S], key string) Target {
	return &target[S]{p: p, key: key, dst: dst}
}

// Fold brings the targets up to date with everything that is visible, in one pass over the events that any of them wants. Each
// target has events of its own, whose payloads its handlers may keep and change.
func Fold(src Source, targets ...Target) error {
	if len(targets) == 0 {
		return nil
	}
	for _, t := range targets {
		if err := t.prepare(src); err != nil {
			return err
		}
	}
	for e, err := range src.Query(union(targets)) {
		if err != nil {
			return err
		}
		for i, t := range targets {
			if err := t.take(e, i+1 < len(targets)); err != nil {
				return err
			}
		}
	}
	for _, t := range targets {
		if err := t.finish(src); err != nil {
			return err
		}
	}
	return nil
}

// union returns a query that selects at least what the targets do.
func union(targets []Target) event.Query {
	q := targets[0].selects()
	for _, t := range targets[1:] {
		q = q.Union(t.selects())
	}
	return q
}

// sizeEvery is how many events are folded before the first look at the size of the state. The next ones come whenever they
// have doubled, so that looking costs no more than folding, however large the state is.
const sizeEvery = 4096

// sizeBytes is how many bytes of payloads are folded before the first look, if that are fewer events. The next looks come when
// as many bytes as the state takes have been folded.
const sizeBytes = 1 << 20

// A target is a fold under way.
type target[S any] struct {
	p      *Projection[S]
	key    string
	dst    *State[S]
	maxAge time.Duration // a state of that age would have done, so a snapshot is worth while
	anew   bool          // from the first event, without a snapshot

	query event.Query
	began time.Time // when the source was looked at, if it keeps snapshots
	fresh int       // events folded since the snapshot
	since int       // events folded since the size was looked at
	bytes int       // of their payloads
	size  int       // of the state then
	of    string    // what dst.Of is

	initial bool // it began with the initial state, whose size is looked at too
}

func (t *target[S]) selects() event.Query { return t.query }

func (t *target[S]) prepare(src Source) error {
	var err error
	if t.query, err = t.p.query(t.key); err != nil {
		return err
	}
	t.of = t.whole()
	ok, err := false, error(nil)
	if t.dst.Of == t.of && t.dst.current() {
		ok, err = anchored(src, t.dst.Seq, t.dst.Hash)
	}
	if err != nil {
		return err
	}
	if !ok {
		if err := t.begin(src); err != nil {
			return err
		}
	}
	if t.dst.Of = t.of; !ok {
		t.dst.left = &mark[S]{t.dst, t.dst.Seq}
	}
	if snaps, ok := src.(Snapshots); ok {
		t.began = snaps.Now()
	}
	t.query.After = t.dst.Seq
	return nil
}

// begin sets dst to what the snapshot has, or to the initial state.
func (t *target[S]) begin(src Source) error {
	if snaps, ok := src.(Snapshots); ok && !t.anew {
		if s, _, err := t.load(snaps); s != nil || err != nil {
			if err == nil {
				*t.dst = *s
			}
			return err
		}
	}
	*t.dst = State[S]{Value: t.p.Init()}
	t.initial = true
	return nil
}

// anchored reports whether the event at seq is the one with this hash.
func anchored(src Source, seq event.Seq, hash event.Hash) (bool, error) {
	if seq == 0 {
		return false, nil
	}
	e, err := src.At(seq)
	if errors.Is(err, event.ErrNotFound) {
		return false, nil
	}
	return e.Hash == hash, err
}

// take folds e, which is the target's own unless others have it too.
func (t *target[S]) take(e event.Event, shared bool) error {
	if err := t.own(); err != nil {
		return err
	}
	if e.Seq <= t.dst.Seq || !t.query.Match(&e.Header) { // another target of the same state may have the same dst
		return nil
	}
	if shared {
		e.Header, e.Payload = e.Header.Clone(), bytes.Clone(e.Payload)
	}
	t.dst.left.at = nil // half done, should the handler fail or panic
	if err := t.p.handle(&t.dst.Value, e); err != nil {
		return fmt.Errorf("projection %q: state of %q: %w", t.p.spec.Name, t.key, err)
	}
	*t.dst.left = mark[S]{t.dst, e.Seq}
	t.dst.Seq, t.dst.Hash = e.Seq, e.Hash
	t.dst.Events++
	t.fresh++
	t.since, t.bytes = t.since+1, t.bytes+len(e.Payload)
	if t.since >= max(sizeEvery, t.fresh/2) || t.bytes >= max(sizeBytes, t.size) {
		_, err := t.encode()
		return err
	}
	return nil
}

// own refuses a dst that belongs to another target too.
func (t *target[S]) own() error {
	if t.dst.Of == t.of {
		return nil
	}
	return fmt.Errorf("projection %q: the state of %q is the destination of another target too, %s: %w", t.p.spec.Name, t.key, t.dst.Of, event.ErrInvalid)
}

// encode returns the state encoded, if it is within its bound.
func (t *target[S]) encode() ([]byte, error) {
	b, err := event.Marshal(t.dst.Value)
	t.since, t.bytes, t.size = 0, 0, len(b)
	if err != nil {
		return nil, fmt.Errorf("projection %q: state of %q: %w", t.p.spec.Name, t.key, err)
	}
	if len(b) > t.p.spec.MaxStateBytes {
		return nil, &TooLargeError{t.p.spec.Name, t.key, t.dst.Seq, len(b), t.p.spec.MaxStateBytes}
	}
	return b, nil
}

// finish looks at the size of a state that has changed, and saves it if that is worth while.
func (t *target[S]) finish(src Source) error {
	if err := t.own(); err != nil {
		return err
	}
	snaps, ok := src.(Snapshots)
	worth := ok && (t.fresh >= t.p.spec.SnapshotEvery || t.maxAge > 0 || t.anew)
	if t.since == 0 && !worth && !t.initial {
		return nil
	}
	b, err := t.encode()
	if err == nil && worth {
		t.fresh = 0
		err = t.save(snaps, b)
	}
	return err
}
