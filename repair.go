package batpak

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// Repairs leave what they removed under removedDir, each in a directory of its own, with a record of what was done.
const (
	removedDir     = "removed"
	recordFile     = "record.cbor"
	maxRecordBytes = 1 << 20
	maxRemoved     = 1000 // parts in a record, of a few hundred bytes each
	repairTime     = "20060102T150405.000000Z"
	repairKey      = "batpak.repair/" // and the name of the directory: the idempotency key of the event
)

// repairAt is where the events of repairs are.
var repairAt = event.At("batpak:store", "repair")

// A RepairRecord is the payload of the event that a repair leaves, of kind [event.KindRepair], entity "batpak:store" and
// scope "repair".
type RepairRecord struct {
	Reason   string        `cbor:"reason"`   // what was wrong
	After    Seq           `cbor:"after"`    // the newest event that was kept, if the log was cut
	Cut      bool          `cbor:"cut"`      // the log was ended after that event
	Witness  Seq           `cbor:"witness"`  // the newest event known to have been durable, if it went
	Identity bool          `cbor:"identity"` // STORE was written again
	Index    bool          `cbor:"index"`    // index.bolt was set aside
	Removed  []RemovedPart `cbor:"removed"`
	More     int           `cbor:"more"` // so many parts more are in the directory of the copies, and not listed
}

// A RemovedPart is a range of bytes that a repair took out of the log and where the copy is.
type RemovedPart struct {
	File   string   `cbor:"file"`
	Offset int64    `cbor:"offset"`
	Bytes  int64    `cbor:"bytes"`
	SHA256 [32]byte `cbor:"sha256"` // of the copy
	Copy   string   `cbor:"copy"`   // path within the store's directory
}

// EventType implements [Payload].
func (RepairRecord) EventType() Type {
	return Type{Kind: event.KindRepair, Name: "batpak.repair", Version: 1}
}

// A RepairReport is what a repair did.
type RepairReport struct {
	Diagnosis *Diagnosis `json:"diagnosis"` // before
	Done      bool       `json:"done"`      // false if there was nothing to do, or it was not approved
	Copies    string     `json:"copies"`    // the directory, within the store's, that holds what was removed
	Recorded  []Receipt  `json:"recorded"`  // of the events that record it, and of earlier repairs that had not come to that
}

// Repair makes a store open again that [Open] refuses. It diagnoses it, asks approve, which is told what would be done, and
// if that is true does it: it copies what it is going to remove into a directory under removed/, ends the log after the last
// provable event, and opens the store, upon which an event is appended that says so ([RepairRecord]). Events after the cut are lost to the
// store, and their positions are given again: receipts for them do not verify any more.
//
// A store that opens is not changed, whatever else is wrong with it: Repair does not remove damaged events from between good
// ones. Each step can be interrupted: what it did stands, and another Repair does the rest. It needs the store for itself.
func Repair(ctx context.Context, dir string, approve func(*Diagnosis) bool, opts *VerifyOptions) (*RepairReport, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r := newRepairer(root, dir, approve)
	return &r.report, r.run(ctx, opts)
}

func newRepairer(root *os.Root, dir string, approve func(*Diagnosis) bool) *repairer {
	r := &repairer{dir: dir, approve: approve, clock: time.Now, doctor: doctor{
		fs: vfs.OS(root), openIndex: func() (kv.DB, error) { return kv.ReadBolt(root, indexFile) },
	}}
	r.open = func() (*Store, error) { return Open(dir, nil) }
	return r
}

// A repairer is one call of Repair.
type repairer struct {
	doctor
	dir     string
	approve func(*Diagnosis) bool
	clock   func() time.Time
	open    func() (*Store, error)
	report  RepairReport
}

func (r *repairer) run(ctx context.Context, opts *VerifyOptions) error {
	pending, err := r.locked(ctx, opts)
	if err != nil || !r.report.Done && !pending {
		return err
	}
	s, err := r.open() // which records what was done
	if err != nil {
		return err
	}
	r.report.Recorded = s.opened.Recorded
	return s.Close()
}

// locked does what must have the store for itself. pending says that earlier repairs may not have been recorded.
func (r *repairer) locked(ctx context.Context, opts *VerifyOptions) (pending bool, err error) {
	if err := r.identify(); err != nil { // before LOCK is made where there is no store
		return false, err
	}
	lock, err := acquireLock(r.fs, r.dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := vfs.ReadFile(r.fs, identityFile, 4096); err == nil {
		identity, err := lockIdentity(r.fs, r.dir)
		if err != nil {
			return false, err
		}
		defer identity.Close()
	}
	if r.report.Diagnosis, err = r.diagnose(ctx, opts); err != nil {
		return false, err
	}
	earlier, err := repairRecords(r.fs)
	if err != nil {
		return false, err
	}
	pending = len(earlier) > 0 && r.found.Refused == ""
	if r.found.Repair.Empty() || !r.approve(&r.found) {
		return pending, nil
	}
	return pending, r.apply(lock)
}

// apply carries out the plan.
func (r *repairer) apply(lock vfs.File) error {
	p := &r.found.Repair
	name, err := r.save()
	if err != nil {
		return err
	}
	r.report.Copies = name
	if p.Index {
		if err := r.setAside(indexFile, name); err != nil {
			return err
		}
	}
	if p.Cut {
		if err := log.Cut(r.fs, p.at); err != nil {
			return err
		}
		if err := forgetWatermark(lock); err != nil {
			return err
		}
	}
	if p.Identity {
		if err := vfs.WriteFile(r.fs, ".", identityFile, r.id.encode()); err != nil {
			return err
		}
	}
	r.report.Done = true
	return nil
}

// forgetWatermark makes LOCK witness nothing.
func forgetWatermark(lock vfs.File) error {
	if _, err := lock.WriteAt(make([]byte, watermarkBytes), holderBytes); err != nil {
		return err
	}
	return lock.Sync()
}

// save makes a directory with copies of what the plan removes and the record of it, durable, and returns its name.
func (r *repairer) save() (string, error) {
	p := &r.found.Repair
	name, err := r.makeDir()
	if err != nil {
		return "", err
	}
	record := RepairRecord{
		Reason: r.found.Refused, After: p.After, Cut: p.Cut, Witness: p.Witness, Identity: p.Identity, Index: p.Index,
		Removed: []RemovedPart{},
	}
	parts := p.Removed
	if p.Identity {
		if b, err := vfs.ReadFile(r.fs, identityFile, 4096); err == nil {
			parts = append([]log.Part{{File: identityFile, Bytes: int64(len(b))}}, parts...)
		}
	}
	for _, part := range parts {
		removed, err := r.copy(part, name)
		if err != nil {
			return "", err
		}
		if len(record.Removed) < maxRemoved {
			record.Removed = append(record.Removed, removed)
		} else {
			record.More++
		}
	}
	b, err := event.Marshal(record)
	if err != nil {
		return "", err
	}
	if err := vfs.WriteFile(r.fs, name, recordFile, b); err != nil {
		return "", err
	}
	for _, dir := range []string{removedDir, "."} {
		if err := r.fs.SyncDir(dir); err != nil {
			return "", err
		}
	}
	return name, nil
}

// makeDir makes a directory that is not there yet, named after the time.
func (r *repairer) makeDir() (string, error) {
	if err := r.fs.Mkdir(removedDir); err != nil {
		return "", err
	}
	name := path.Join(removedDir, r.clock().UTC().Format(repairTime))
	for i := 2; ; i++ {
		if _, err := r.fs.ReadDir(name); errors.Is(err, fs.ErrNotExist) {
			return name, r.fs.Mkdir(name)
		} else if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", path.Join(removedDir, r.clock().UTC().Format(repairTime)), i)
	}
}

// copy copies a part into the directory, durably but for the name.
func (r *repairer) copy(part log.Part, dir string) (removed RemovedPart, err error) {
	to := fmt.Sprintf("%s/%s", dir, path.Base(part.File))
	if part.Offset > 0 {
		to += fmt.Sprintf("+%d", part.Offset)
	}
	removed = RemovedPart{File: part.File, Offset: part.Offset, Bytes: part.Bytes, Copy: to}
	from, err := r.fs.OpenRead(part.File)
	if err != nil {
		return removed, err
	}
	defer from.Close()
	file, err := r.fs.Create(to)
	if err != nil {
		return removed, err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(io.NewOffsetWriter(file, 0), h), io.NewSectionReader(from, part.Offset, part.Bytes))
	if err == nil {
		err = file.Sync()
	}
	removed.SHA256 = [32]byte(h.Sum(nil))
	return removed, errors.Join(err, file.Close())
}

// setAside moves a file into the directory, durably.
func (r *repairer) setAside(name, dir string) error {
	if err := r.fs.Rename(name, dir+"/"+name); err != nil {
		return err
	}
	return errors.Join(r.fs.SyncDir(dir), r.fs.SyncDir("."))
}

// repairRecords returns the records of all repairs that were begun, by the name of their directory.
func repairRecords(f vfs.FS) (map[string][]byte, error) {
	names, err := f.ReadDir(removedDir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	records := map[string][]byte{}
	for _, name := range names {
		b, readErr := vfs.ReadFile(f, path.Join(removedDir, name, recordFile), maxRecordBytes)
		if readErr == nil {
			records[name] = b
		} else if !errors.Is(readErr, fs.ErrNotExist) && !errors.Is(readErr, syscall.ENOTDIR) { // of which somebody else made name
			return nil, readErr
		}
	}
	return records, err
}

// recordRepairs appends an event for each repair that was carried out and has none yet, before anything else is appended: so
// that the event of a cut is the first one behind it. The report says which.
func (s *Store) recordRepairs() error {
	records, err := repairRecords(s.fs)
	if err != nil {
		return err
	}
	cut := false
	for name, data := range records {
		pending, cuts, err := s.pendingRepair(name, data)
		if err != nil {
			return err
		}
		if !pending {
			delete(records, name)
		}
		cut = cut || pending && cuts
	}
	if cut {
		if err := s.cutCursors(s.end.Seq); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		receipts, err := s.Commit(Proposal{At: repairAt, Payload: system{event.KindRepair, records[name]}, Key: repairKey + name})
		if err != nil {
			return fmt.Errorf("record of repair %s: %w", name, err)
		}
		s.openedMu.Lock()
		s.opened.Recorded = append(s.opened.Recorded, receipts...)
		s.openedMu.Unlock()
	}
	return nil
}

// pendingRepair reports whether a repair was carried out and has no event, and whether it cut the log.
func (s *Store) pendingRepair(name string, data []byte) (pending, cut bool, err error) {
	var r RepairRecord
	if err := event.Unmarshal(data, &r); err != nil {
		s.opts.Logger.Warn("record of a repair not read", "directory", path.Join(removedDir, name), "cause", err)
		return false, false, nil
	}
	if r.Cut && r.After < s.end.Seq {
		return false, false, nil // it has its event, or the log was made whole instead
	}
	known, _, err := s.keyed(repairKey + name)
	return known == nil, r.Cut, err
}
