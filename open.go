package batpak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

const indexFile = "index.bolt"

// An OpenReport says what [Open] found and did. Damage of the index is found when the part concerned is first used, which
// may be later; the report says so from then on.
type OpenReport struct {
	Created      bool          `json:"created"`                 // there was no store
	Replayed     int           `json:"replayed"`                // events read from the log, behind the index
	TornFile     string        `json:"torn_file,omitempty"`     // segment from which a torn tail was cut off
	TornAt       int64         `json:"torn_at,omitempty"`       // offset of the cut
	TornBytes    int64         `json:"torn_bytes,omitempty"`    // bytes cut off, none of them acknowledged as durable
	IndexRebuilt string        `json:"index_rebuilt,omitempty"` // why the index was built anew
	Quarantined  string        `json:"quarantined,omitempty"`   // where the damaged index file is now
	Recorded     []Receipt     `json:"recorded,omitempty"`      // of the events appended for repairs that had none yet
	Took         time.Duration `json:"took_ns"`
}

// Open opens the store in dir for writing, and makes one if the directory is missing or empty. Nil options are the defaults.
// It appends nothing, but for the event of a [Repair] that has none yet. Memory and time do not grow with the number of events, unless the index has to be rebuilt.
//
// A store that another process, or another call in this one, holds open for writing gives a [*LockedError]; one of a newer
// format [ErrFutureFormat]; one whose log is damaged, or ends before what is known to have been durable, a
// [*CorruptError], and then nothing has been changed. A tail that a crash tore and nobody was told is durable is cut off.
func Open(dir string, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, fs: o.fs, batchHeads: map[event.Stream]head{}, heads: heads{most: o.maxHeads}}
	if s.fs == nil {
		if s.root, err = makeRoot(dir); err != nil {
			return nil, err
		}
		s.fs = vfs.OS(s.root)
	}
	if err := s.open(dir); err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	if err := s.recordRepairs(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// makeRoot makes the directory if need be, durably, and opens it.
func makeRoot(dir string) (*os.Root, error) {
	missing := []string{dir}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, d := range missing {
		if err := syncParent(d); err != nil {
			return nil, err
		}
	}
	return os.OpenRoot(dir)
}

// syncParent makes the name of dir durable.
func syncParent(dir string) error {
	parent, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if errors.Is(err, fs.ErrPermission) {
		return nil // then it was not we who made dir
	}
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// open does the work of Open. What it has opened, abandon closes.
func (s *Store) open(dir string) (err error) {
	begin := time.Now()
	if s.lock, err = acquireLock(s.fs, dir); err != nil {
		return err
	}
	id, created, err := loadIdentity(s.fs, true, event.TimestampOf(s.opts.Clock()))
	if err != nil {
		return err
	}
	s.opened.Created = created
	if s.lock2, err = lockIdentity(s.fs, dir); err != nil {
		return err
	}
	s.store, s.created, s.processors = id.store, id.created, runtime.GOMAXPROCS(0)
	s.view.rebuild = s.rebuildIndex
	if err := s.openIndex(); errors.Is(err, kv.ErrLocked) {
		return &LockedError{Dir: dir, Holder: "a process that has " + indexFile + " open"}
	} else if err != nil {
		return err
	}
	if err := s.openLog(); err != nil {
		return err
	}
	if err := s.announce(s.bound(s.end.Seq), s.end.Seq); err != nil {
		return err
	}
	s.keeper.start(s)
	s.opened.Took = time.Since(begin)
	s.opts.Logger.Info("store opened", "dir", dir, "store", s.store, "events", s.end.Seq, "report", s.opened)
	return nil
}

// abandon closes what a failed open leaves.
func (s *Store) abandon() error {
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	for _, lock := range []vfs.File{s.lock2, s.lock} {
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
	}
	return errors.Join(err, s.closeRoot())
}

// closeRoot closes the directory, of which a simulated disk has none.
func (s *Store) closeRoot() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// openIndex opens the index file, or begins a new one and puts the damaged one aside.
func (s *Store) openIndex() (err error) {
	s.db, s.index, err = s.loadIndex()
	if errors.Is(err, index.ErrDamaged) || errors.Is(err, kv.ErrDamaged) {
		return s.newIndex(err)
	}
	return err
}

// loadIndex opens the index file.
func (s *Store) loadIndex() (db kv.DB, x *index.Index, err error) {
	if s.opts.MemoryIndex {
		db = kv.NewMemory()
	} else if s.opts.openIndex != nil {
		if db, err = s.opts.openIndex(); err != nil {
			return nil, nil, err
		}
	} else if db, err = kv.OpenBolt(s.root, indexFile, kv.LargePages); err != nil {
		return nil, nil, err
	}
	if x, err = index.Open(db, s.store); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, x, nil
}

// newIndex puts the index file aside and begins a new one, because of cause.
func (s *Store) newIndex(cause error) (err error) {
	if s.db != nil {
		_ = s.db.Close() // it is of no more use
	}
	s.noteRebuild(cause)
	if err := s.quarantine(); err != nil {
		return err
	}
	s.db, s.index, err = s.loadIndex()
	return err
}

// noteRebuild says in the report, and to the logger, why the index is built anew.
func (s *Store) noteRebuild(cause error) {
	s.opts.Logger.Warn("index: rebuilding from the log", "cause", cause)
	s.openedMu.Lock()
	defer s.openedMu.Unlock()
	s.opened.IndexRebuilt = cause.Error()
}

// quarantine renames the index file, replacing one put aside earlier.
func (s *Store) quarantine() error {
	const aside = "index.bad"
	err := s.fs.Rename(indexFile, aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.openedMu.Lock()
	s.opened.Quarantined = aside
	s.openedMu.Unlock()
	return s.fs.SyncDir(".")
}

// openLog recovers the log and brings the index up to date with it. What the index or the lock file knows to be durable must
// be in the log as they know it; an index that is itself damaged goes.
func (s *Store) openLog() error {
	w, _, err := readWatermarks(s.lock, s.store)
	if err != nil {
		return err
	}
	witness := max(s.index.Position().Seq, w.durable)
	err = checkAnchor(s.fs, s.store, s.index)
	if err == nil {
		err = s.replayLog(witness)
	}
	if !errors.Is(err, index.ErrDamaged) {
		return err
	}
	if err := s.keepWitness(witness); err != nil {
		return err
	}
	if err := s.newIndex(err); err != nil {
		return err
	}
	return s.replayLog(witness)
}

// keepWitness makes LOCK say, durably, what an index knew that is about to go: should the log have lost events, the next
// Open must find out too.
func (s *Store) keepWitness(durable event.Seq) error {
	if err := s.announce(durable, durable); err != nil {
		return err
	}
	return s.lock.Sync()
}

// checkAnchor checks that the last event in the index is in the log, at the position from which replay goes on.
func checkAnchor(f vfs.FS, store event.StoreID, x *index.Index) error {
	err := readAnchor(f, store, x)
	if errors.Is(err, ErrCorrupt) {
		if _, damaged := x.Row(x.Position().Seq); damaged != nil { // which compares the checksum
			return damaged
		}
		err = fmt.Errorf("the log is not the one that %s was made from: %w", indexFile, err)
	}
	return err
}

func readAnchor(f vfs.FS, store event.StoreID, x *index.Index) error {
	p := x.Position()
	if p.Seq == 0 {
		return nil
	}
	row, err := x.Anchor()
	if err != nil {
		return err
	}
	v := view{store: store, segments: log.OneSegment(f, store, p.Segment)}
	defer v.segments.Close()
	if _, err := v.read(&row); err != nil {
		return err
	}
	if int64(row.Offset)+int64(row.Length) != p.Offset {
		return &event.CorruptError{File: log.SegmentName(p.Segment), Offset: int64(row.Offset), Seq: p.Seq, Check: "position of the last indexed event"}
	}
	return nil
}

// replayLog opens the log and indexes what lies behind the index.
func (s *Store) replayLog(witness event.Seq) error {
	p := s.index.Position()
	r := replay{store: s.store, index: s.index, link: p.Link, time: p.Time, foldEvents: s.opts.foldEvents}
	if p.Seq == 0 {
		r.link = chain.Origin(s.store)
	}
	opts := log.Options{SegmentBytes: s.opts.SegmentBytes, Genesis: chain.Origin(s.store), Witness: witness, Progress: s.progress}
	l, rec, err := log.Open(s.fs, s.store, opts, logPosition(p), r.commit)
	if err != nil {
		return err
	}
	s.log, s.segments = l, l.Segments
	s.opened.Replayed, s.opened.TornFile, s.opened.TornAt, s.opened.TornBytes = rec.Replayed, rec.TornFile, rec.TornAt, rec.TornBytes
	s.end, s.lastTime = r.end(p), r.time
	s.appended.Store(uint64(s.end.Seq))
	s.raiseVisible(s.end.Seq)
	return nil
}

// progress is called by the log when something was written or synced: readers may see more.
func (s *Store) progress() {
	if s.log == nil {
		return // still opening
	}
	accepted := event.Seq(s.appended.Load())
	durable := min(s.log.Durable(), accepted)
	visible := durable
	if s.opts.Durability == Written {
		visible = min(s.log.Written(), accepted)
	}
	if uint64(durable) > s.announced.Load() {
		s.announceDurable(durable)
	}
	s.raiseVisible(visible)
}

// announceDurable says in LOCK that events up to durable are, unless another goroutine has said so of more.
func (s *Store) announceDurable(durable event.Seq) {
	s.announceMu.Lock()
	defer s.announceMu.Unlock()
	if uint64(durable) <= s.announced.Load() {
		return
	}
	if err := s.write(watermarks{s.bound(durable), durable}); err != nil {
		s.opts.Logger.Warn("lock file: readers in other processes fall behind", "error", err)
		s.announced.Store(uint64(durable)) // it is durable all the same
	}
}

// bound returns up to where readers in other processes may read if events up to durable are.
func (s *Store) bound(durable event.Seq) event.Seq {
	if s.opts.Durability == Written {
		return noBound
	}
	return durable
}

// announce says in LOCK up to where events are visible and durable.
func (s *Store) announce(visible, durable event.Seq) error {
	s.announceMu.Lock()
	defer s.announceMu.Unlock()
	return s.write(watermarks{visible, durable})
}

// write writes the watermarks into LOCK. The caller holds announceMu.
func (s *Store) write(w watermarks) error {
	if _, err := s.lock.WriteAt(w.encode(s.lockBytes[:], s.store), holderBytes); err != nil {
		return err
	}
	s.announced.Store(uint64(w.durable))
	return nil
}

func logPosition(p index.Position) log.Position {
	return log.Position{Seq: p.Seq, Segment: p.Segment, Offset: p.Offset, Link: p.Link}
}

func indexPosition(p log.Position, t event.Timestamp) index.Position {
	return index.Position{Seq: p.Seq, Time: t, Segment: p.Segment, Offset: p.Offset, Link: p.Link}
}
