package projection

import (
	"fmt"
	"time"

	"github.com/batpak/batpak/event"
)

// A snapshot is a state as it is kept: a canonical CBOR array of these.
type snapshot struct {
	_      struct{} `cbor:",toarray"`
	Format uint     // snapshotFormat
	Of     string   // what it is made of: see target.of
	AsOf   int64    // when everything visible was in it, in microseconds since 1970
	Seq    event.Seq
	Hash   event.Hash
	Events uint64
	State  []byte
}

const snapshotFormat = 1

// id names the snapshot of a projection, of this version, and a key.
func (t *target[S]) id() string {
	return fmt.Sprintf("%s/%d/%s", t.p.spec.Name, t.p.spec.Version, t.key)
}

// of says what a snapshot is made of: the query, and the payload types as the handlers see them.
func (t *target[S]) of() string {
	q := t.query
	q.After = 0
	s := q.String()
	for _, typ := range t.p.router.Types() {
		s += fmt.Sprintf("; %s v%d", typ.Kind, typ.Version)
	}
	return s
}

// load returns the state of the snapshot and when it was up to date, or nil if there is none that can be used.
func (t *target[S]) load(snaps Snapshots) (*State[S], time.Time, error) {
	b := snaps.LoadSnapshot(t.id())
	var s snapshot
	if b == nil || event.Unmarshal(b, &s) != nil || s.Format != snapshotFormat || s.Of != t.of() {
		return nil, time.Time{}, nil
	}
	if ok, err := anchored(snaps, s.Seq, s.Hash); err != nil || !ok && s.Seq > 0 {
		return nil, time.Time{}, err
	}
	state := &State[S]{Seq: s.Seq, Hash: s.Hash, Events: s.Events, Value: t.p.Init()}
	if s.Events > 0 {
		var v S
		if event.Unmarshal(s.State, &v) != nil {
			return nil, time.Time{}, nil
		}
		state.Value = v
	}
	return state, time.UnixMicro(s.AsOf), nil
}

// save keeps the state, which is encoded in b.
func (t *target[S]) save(snaps Snapshots, b []byte) error {
	b, err := event.Marshal(&snapshot{Format: snapshotFormat, Of: t.of(), AsOf: t.began.UnixMicro(),
		Seq: t.dst.Seq, Hash: t.dst.Hash, Events: t.dst.Events, State: b})
	if err == nil {
		snaps.SaveSnapshot(t.id(), b)
	}
	return err
}
