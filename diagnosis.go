package batpak

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// A Diagnosis says what is wrong with a store, and what can be proven of it all the same.
type Diagnosis struct {
	Store    StoreID `json:"store"`
	Identity string  `json:"identity"` // what is wrong with the file STORE; "" for nothing
	Log      Report  `json:"log"`      // what [VerifyDir] finds
	Index    string  `json:"index"`    // why index.bolt cannot be used, was not looked at or is missing; "" if it can be used
	Indexed  Seq     `json:"indexed"`  // up to where it goes
	Refused  string  `json:"refused"`  // why [Open] refuses the store; "" if it opens
	Torn     int64   `json:"torn"`     // bytes at the end of the log, never acknowledged as durable, that Open cuts off
	Repair   Plan    `json:"repair"`   // what [Repair] would do
}

// OK reports whether nothing is wrong. A torn tail is not wrong, and neither is a missing index.
func (d *Diagnosis) OK() bool { return d.Refused == "" && d.Identity == "" && d.Log.OK() }

// A Plan is what it takes to make a store open that [Open] refuses. The zero Plan is nothing.
type Plan struct {
	Identity bool       `json:"identity"` // write STORE again, with the id that the segments have
	Index    bool       `json:"index"`    // set index.bolt aside; it is built anew from the log
	Cut      bool       `json:"cut"`      // end the log after an event
	After    Seq        `json:"after"`    // this one; 0: nothing is kept
	Reason   string     `json:"reason"`   // why: what is wrong behind it
	Removed  []log.Part `json:"removed"`  // what the cut removes, each part copied before
	Events   int        `json:"events"`   // so many events among that are whole
	Witness  Seq        `json:"witness"`  // the newest event known to have been durable, if it is behind the cut

	at log.Position
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return !p.Identity && !p.Index && !p.Cut }

// Diagnose finds out what is wrong with the store in dir, and what Repair would do about it. It changes nothing. Of a store
// that another process writes to it does not look at the index, and the end of the log may look torn or damaged; while it
// looks at the index no process can open the store for writing. It reads the whole log at least once.
func Diagnose(ctx context.Context, dir string, opts *VerifyOptions) (*Diagnosis, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	d := doctor{fs: vfs.OS(root), openIndex: func() (kv.DB, error) { return kv.ReadBolt(root, indexFile) }}
	return d.diagnose(ctx, opts)
}

// A doctor looks at a store that is not open.
type doctor struct {
	fs        vfs.FS
	openIndex func() (kv.DB, error)

	id       identity
	witness  event.Seq // from LOCK
	position index.Position
	found    Diagnosis
}

func (d *doctor) diagnose(ctx context.Context, opts *VerifyOptions) (*Diagnosis, error) {
	if err := d.identify(); err != nil {
		return nil, err
	}
	segments, err := log.OpenSegments(d.fs, d.id.store)
	if err != nil {
		return nil, err
	}
	defer segments.Close()
	d.found.Store = d.id.store
	if d.witness, err = lockWitness(d.fs, d.id.store); err != nil {
		return nil, err
	}
	if d.found.Log, err = verify(ctx, opts, &verifier{store: d.id.store, segments: segments, witness: d.witness}); err != nil {
		return nil, err
	}
	anchor, err := d.index()
	if err != nil {
		return nil, err
	}
	return &d.found, d.examine(anchor)
}

// identify reads STORE, or takes the id from the segments if that is damaged or belongs to another store.
func (d *doctor) identify() (err error) {
	d.id, _, err = loadIdentity(d.fs, false, 0)
	if err == nil {
		err = d.checkIdentity()
	}
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	d.found.Identity, d.found.Refused, d.found.Repair.Identity = err.Error(), err.Error(), true
	if d.id.store, err = log.Identify(d.fs); err != nil {
		return err
	}
	d.id.created, err = d.firstTime()
	return err
}

// checkIdentity holds the id in STORE against the segments, if these agree on one.
func (d *doctor) checkIdentity() error {
	id, err := log.Identify(d.fs)
	switch {
	case errors.Is(err, ErrCorrupt) || err == nil && id == d.id.store:
		return nil
	case err != nil:
		return err
	}
	return &event.CorruptError{File: identityFile, Check: "store id", Expected: id.String() + " as in all segments", Found: d.id.store.String()}
}

// firstTime returns the time of the first event, or 0 if it cannot be read.
func (d *doctor) firstTime() (t event.Timestamp, err error) {
	r := replay{store: d.id.store, link: chain.Origin(d.id.store)}
	visit := func(c *log.Commit) error {
		if err := r.commit(c); err != nil {
			return err
		}
		t = r.entries[0].Header.Time
		return errBeyond
	}
	_, _, err = log.Examine(d.fs, d.id.store, r.link, 0, log.Position{}, visit)
	if errors.Is(err, errBeyond) || errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return t, err
}

// index looks at the index. It sets position, the zero one if the index is of no use. anchor is why the log is not the one
// that a good index was made from.
func (d *doctor) index() (anchor, err error) {
	db, err := d.openIndex()
	if errors.Is(err, fs.ErrNotExist) {
		d.found.Index = "there is no " + indexFile
		return nil, nil
	}
	if errors.Is(err, kv.ErrDamaged) || errors.Is(err, kv.ErrLocked) {
		d.found.Index = err.Error()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	x, err := index.Open(db, d.id.store)
	if err == nil {
		d.witness = max(d.witness, x.Position().Seq) // whatever is wrong behind it, as for Open
		if err = checkAnchor(d.fs, d.id.store, x); errors.Is(err, ErrCorrupt) {
			anchor, err = err, nil
		}
	}
	if err == nil {
		d.found.Indexed, d.position = x.Position().Seq, x.Position()
		err = x.Check() // Open leaves that to who reads, and goes on from the position whatever comes of it
	}
	if errors.Is(err, index.ErrDamaged) || errors.Is(err, kv.ErrDamaged) {
		d.found.Index, d.found.Indexed = err.Error(), 0
		return anchor, nil
	}
	return anchor, err
}

// examine finds out whether the log opens, and if not where it must end. It reads from where the index ends, as Open does; an
// index that is not of this log knows nothing of where that is.
func (d *doctor) examine(anchor error) error {
	from := d.position
	if anchor != nil {
		from = index.Position{}
	}
	end, recovery, err := d.read(from)
	d.found.Torn = recovery.TornBytes
	switch {
	case err == nil && anchor == nil:
		return nil
	case err == nil: // the log is good, of its kind, and the index is not of it
		d.found.Refused, d.found.Repair.Index = anchor.Error(), true
		return nil
	case !errors.Is(err, ErrCorrupt):
		return err
	}
	d.found.Repair.Index = anchor != nil || d.position.Seq > end.Seq
	return d.plan(end, err)
}

// read does what opening the log does as far as that is reading.
func (d *doctor) read(from index.Position) (log.Position, log.Recovery, error) {
	r := replay{store: d.id.store, link: from.Link, time: from.Time}
	if from.Seq == 0 {
		r.link = chain.Origin(d.id.store)
	}
	return log.Examine(d.fs, d.id.store, chain.Origin(d.id.store), d.witness, logPosition(from), r.commit)
}

// plan sets what it takes to end the log at end, because of what is behind it.
func (d *doctor) plan(end log.Position, cause error) (err error) {
	d.found.Refused = cause.Error()
	p := &d.found.Repair
	p.Cut, p.After, p.Reason, p.at = true, end.Seq, cause.Error(), end
	if d.witness > end.Seq {
		p.Witness = d.witness
	}
	for _, r := range d.found.Log.Provable {
		if r.Last > end.Seq {
			p.Events += int(r.Last - max(r.First-1, end.Seq))
		}
	}
	p.Removed, err = log.Behind(d.fs, end)
	return err
}
