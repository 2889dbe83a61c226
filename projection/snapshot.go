package projection

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/batpak/batpak/event"
)

// A snapshot is a state as it is kept: a canonical CBOR array of these, behind its checksum.
type snapshot struct {
	_      struct{} `cbor:",toarray"`
	Format uint     // snapshotFormat
	Of     string   // what it is made of: see target.makes
	AsOf   int64    // when everything visible was in it, in microseconds since 1970
	Seq    event.Seq
	Hash   event.Hash
	Events uint64
	State  []byte
}

const (
	snapshotFormat = 1
	checksumBytes  = 4
)

// snapshotSum is the CRC-32C of a snapshot and the id that it is kept under.
func snapshotSum(id string, array []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(id+"\x00"), table), table, array)
}

// encode returns the bytes that are kept under an id.
func (s *snapshot) encode(id string) ([]byte, error) {
	array, err := event.Marshal(s)
	if err != nil {
		return nil, err
	}
	return append(binary.LittleEndian.AppendUint32(nil, snapshotSum(id, array)), array...), nil
}

// decode reports whether b is what was kept under an id, and makes s that.
func (s *snapshot) decode(id string, b []byte) bool {
	if len(b) < checksumBytes {
		return false
	}
	array := b[checksumBytes:]
	return binary.LittleEndian.Uint32(b) == snapshotSum(id, array) && event.Unmarshal(array, s) == nil && s.Format == snapshotFormat
}

// id names the snapshot of a projection, of this version, and a key. A name has no slash, so that no two are the same.
func (t *target[S]) id() string {
	return fmt.Sprintf("%s/%d/%s", t.p.spec.Name, t.p.spec.Version, t.key)
}

// makes says what a snapshot is made of: the query, and the payload types as the handlers see them.
func (t *target[S]) makes() string {
	q := t.query
	q.After = 0
	s := q.String()
	for _, typ := range t.p.router.Types() {
		s += fmt.Sprintf("; %s v%d", typ.Kind, typ.Version)
	}
	return s
}

// whole says which projection and key a state is of, and what it is made of.
func (t *target[S]) whole() string { return t.id() + ": " + t.makes() }

// load returns the state of the snapshot and when it was up to date, or nil if there is none that can be used.
func (t *target[S]) load(snaps Snapshots) (*State[S], time.Time, error) {
	var s snapshot
	if !s.decode(t.id(), snaps.LoadSnapshot(t.id())) || s.Of != t.makes() {
		return nil, time.Time{}, nil
	}
	if ok, err := anchored(snaps, s.Seq, s.Hash); err != nil || !ok && s.Seq > 0 {
		return nil, time.Time{}, err
	}
	if len(s.State) > t.p.spec.MaxStateBytes { // the bound was another; what the state has become may fit
		return nil, time.Time{}, nil
	}
	state := &State[S]{Of: t.whole(), Seq: s.Seq, Hash: s.Hash, Events: s.Events}
	if event.Unmarshal(s.State, &state.Value) != nil {
		return nil, time.Time{}, nil
	}
	return state, time.UnixMicro(s.AsOf), nil
}

// save keeps the state, which is encoded in b.
func (t *target[S]) save(snaps Snapshots, b []byte) error {
	s := snapshot{Format: snapshotFormat, Of: t.makes(), AsOf: t.began.UnixMicro(),
		Seq: t.dst.Seq, Hash: t.dst.Hash, Events: t.dst.Events, State: b}
	kept, err := s.encode(t.id())
	if err == nil {
		snaps.SaveSnapshot(t.id(), kept)
	}
	return err
}
