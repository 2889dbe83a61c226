package batpak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/log"
)

// DefaultMaxFindings is how many findings a report holds unless [VerifyOptions] say otherwise.
const DefaultMaxFindings = 1000

// VerifyOptions of [Store.Verify]. Nil and the zero value mean: everything.
type VerifyOptions struct {
	// LinksOnly leaves payloads unread by the hash: it checks headers, streams and commits, and the report says so.
	LinksOnly bool
	// MaxFindings bounds the findings kept; 0 means DefaultMaxFindings. The others are counted.
	MaxFindings int
	// Progress is called now and then, from one goroutine at a time, with the bytes read and those to read.
	Progress func(done, total int64)
}

// A Report is the outcome of a verification.
type Report struct {
	Store     StoreID       `json:"store"`
	LinksOnly bool          `json:"links_only"` // payloads were not verified
	Events    int           `json:"events"`     // read
	Commits   int           `json:"commits"`
	Segments  int           `json:"segments"`
	Streams   int           `json:"streams"`
	Bytes     int64         `json:"bytes"`
	Last      Seq           `json:"last"`          // the newest event
	Link      Hash          `json:"link"`          // of the newest commit: it covers every event of the store
	Provable  []Range       `json:"provable"`      // whole commits that link to each other; all but the first range hang in the air
	Findings  []Finding     `json:"findings"`      // in the order of the log
	More      int           `json:"more_findings"` // not kept
	Took      time.Duration `json:"took_ns"`
}

// A Range is the events from First to Last.
type Range struct {
	First Seq `json:"first"`
	Last  Seq `json:"last"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 && r.More == 0 }

// Verify reads every event that is visible and checks all that can be checked from the files: each commit's checksum and
// link, each segment's seal, each event's hashes, that the clocks of each stream are dense and each event names the one
// before it, that times and ids increase, and that the index agrees. What is wrong is in the report; the error is of reading
// or of ctx. It works in parallel, beside appends, and takes about 100 bytes of memory per stream.
func (s *Store) Verify(ctx context.Context, opts *VerifyOptions) (Report, error) {
	if err := s.ready(); err != nil {
		return Report{}, err
	}
	p := s.accepted()
	if err := s.log.Sync(p.Seq); err != nil {
		return Report{}, err
	}
	until := logPosition(p)
	if until.Segment == 0 { // no event yet
		until.Segment, until.Offset = 1, log.HeaderBytes
	}
	return verify(ctx, opts, &verifier{store: s.store, segments: s.segments, until: until, index: &s.view})
}

// VerifyDir is Verify of a store that need not be open, and that [Open] may refuse: it takes no lock, changes nothing, and
// goes on behind damage where it can. It does not look at the index. While another process writes to the store, the end of
// the log may look torn.
func VerifyDir(ctx context.Context, dir string, opts *VerifyOptions) (Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Report{}, err
	}
	defer root.Close()
	f := vfs.OS(root)
	id, _, err := loadIdentity(f, false, 0)
	var bad *event.CorruptError
	if errors.As(err, &bad) {
		return Report{Findings: []Finding{finding(bad)}}, nil
	}
	if err != nil {
		return Report{}, err
	}
	segments, err := log.OpenSegments(f, id.store)
	if err != nil {
		return Report{}, err
	}
	defer segments.Close()
	v := &verifier{store: id.store, segments: segments}
	if v.witness, err = lockWitness(f, id.store); err != nil {
		return Report{}, err
	}
	return verify(ctx, opts, v)
}

func finding(e *event.CorruptError) Finding {
	return Finding{File: e.File, Offset: e.Offset, Seq: e.Seq, Check: e.Check, Expected: e.Expected, Found: e.Found}
}

// A verifier reads the log in one goroutine, hashes in several and judges, in the order of the log, in the caller's.
type verifier struct {
	store    event.StoreID
	segments *log.Segments
	until    log.Position // the end of what is verified; zero: all there is
	witness  event.Seq    // events up to here must be there
	index    *view        // whose index must agree; nil: none
	opts     VerifyOptions
	report   Report
	linked   bool // the commit before is in the last range of report.Provable, and nothing was wrong since

	total   int64
	link    event.Hash // of the commit before
	durable event.Seq  // the watermark of the commit before
	next    event.Seq  // of the event expected
	id      event.ID   // of the event before
	time    event.Timestamp
	streams map[event.Stream]tip
	rows    []index.Row // of the events to come
}

// A tip is the newest event of a stream that was seen.
type tip struct {
	seq   event.Seq
	clock event.Clock
	hash  event.Hash
}

// A piece is some commits and findings that follow each other in the log.
type piece struct {
	items []item
	bytes int
	done  chan struct{} // closed when every commit of it has been hashed
}

// An item is a commit, a failed check of the log, or both; or the beginning of a segment.
type item struct {
	commit *log.Commit
	bad    *event.CorruptError
	begins bool // a segment: commit has its first seq and the link in its header

	events []checked
	hashes []byte
}

// checked is a record that was decoded and hashed.
type checked struct {
	event  Event // without payload
	bad    *chain.Finding
	offset int64
}

const pieceBytes = 512 << 10

func verify(ctx context.Context, opts *VerifyOptions, v *verifier) (Report, error) {
	begin := time.Now()
	if opts != nil {
		v.opts = *opts
	}
	setDefault(&v.opts.MaxFindings, DefaultMaxFindings)
	v.report = Report{Store: v.store, LinksOnly: v.opts.LinksOnly, Provable: []Range{}, Findings: []Finding{}}
	v.link, v.next, v.streams = chain.Origin(v.store), 1, map[event.Stream]tip{}
	if _, bytes, err := v.segments.Size(); err == nil {
		v.total = bytes
	}
	err := v.run(ctx)
	if err == nil {
		err = v.finish()
	}
	if v.index != nil {
		err = v.index.unlessClosed(err)
	}
	v.report.Took = time.Since(begin)
	return v.report, err
}

// run starts the reader and the hashers and judges what comes from them. All have ended when it returns.
func (v *verifier) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	workers := runtime.GOMAXPROCS(0)
	ordered, work := make(chan *piece, 2*workers), make(chan *piece, 2*workers)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(ordered)
		defer close(work)
		if err := v.read(ctx, ordered, work); err != nil {
			cancel(err)
		}
	})
	for range workers {
		wg.Go(func() {
			for p := range work {
				v.hash(p)
			}
		})
	}
	var err error
	for p := range ordered {
		if <-p.done; err == nil {
			if err = v.judge(p); err != nil {
				cancel(err)
			}
		}
	}
	wg.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	return err
}

// read sends the log in pieces, each to be judged in order and to be hashed.
func (v *verifier) read(ctx context.Context, ordered, work chan<- *piece) error {
	p := &piece{done: make(chan struct{})}
	send := func() bool {
		for _, ch := range []chan<- *piece{work, ordered} {
			select {
			case ch <- p:
			case <-ctx.Done():
				return false
			}
		}
		p = &piece{done: make(chan struct{})}
		return true
	}
	for _, first := range v.segments.Firsts() {
		if v.until.Segment > 0 && first > v.until.Segment {
			break
		}
		p.items = append(p.items, v.header(first))
		limit := int64(0)
		if first == v.until.Segment {
			limit = v.until.Offset
		}
		more, err := v.segments.Check(first, limit, func(c *log.Commit, bad *event.CorruptError) bool {
			i := item{bad: bad}
			if c != nil {
				copied := *c
				copied.Records = slices.Clone(c.Records)
				i.commit = &copied
				p.bytes += len(c.Records)
			}
			p.items = append(p.items, i)
			return p.bytes < pieceBytes || send()
		})
		if err != nil || !more {
			return err
		}
	}
	send()
	return nil
}

// header returns the item that begins a segment. A header that cannot be read is reported by what follows.
func (v *verifier) header(first event.Seq) item {
	_, link, err := v.segments.Header(first)
	if err != nil {
		return item{begins: true}
	}
	return item{begins: true, commit: &log.Commit{Segment: first, First: first, Link: link}}
}

// hash decodes and hashes the records of a piece.
func (v *verifier) hash(p *piece) {
	defer close(p.done)
	for i := range p.items {
		it := &p.items[i]
		if it.commit == nil || it.begins {
			continue
		}
		for r, err := range it.commit.Each() {
			c := checked{offset: r.Offset}
			if err != nil {
				c.bad = &chain.Finding{Seq: r.Seq, Check: "record", Expected: "the rest of the commit", Found: err.Error()}
			} else {
				c.bad = v.openRecord(&c.event, &r)
				it.hashes = append(it.hashes, c.event.Hash[:]...)
			}
			c.event.Payload = nil
			it.events = append(it.events, c)
		}
		it.commit.Records = nil
	}
}

func (v *verifier) openRecord(e *Event, r *log.Record) *chain.Finding {
	return depth(!v.opts.LinksOnly).check(e, r.Seq, r)
}

// judge checks a piece against all that came before it.
func (v *verifier) judge(p *piece) error {
	for i := range p.items {
		it := &p.items[i]
		if it.begins {
			v.judgeSegment(it.commit)
			continue
		}
		if it.bad != nil {
			v.add(finding(it.bad))
		}
		if it.commit == nil {
			v.linked = false
			continue
		}
		for j := range it.events {
			if err := v.judgeEvent(it.commit, &it.events[j]); err != nil {
				return err
			}
		}
		v.prove(it, v.judgeCommit(it))
	}
	v.report.Bytes += int64(p.bytes)
	if v.opts.Progress != nil {
		v.opts.Progress(min(v.report.Bytes, v.total), v.total)
	}
	return nil
}

// judgeSegment checks that a segment continues the one before. Its header is nil if it could not be read.
func (v *verifier) judgeSegment(header *log.Commit) {
	v.report.Segments++
	if header == nil {
		v.linked = false
		return
	}
	v.linked = v.linked && header.First == v.next && header.Link == v.link
	file := log.SegmentName(header.Segment)
	if header.First != v.next {
		v.add(Finding{File: file, Seq: v.next, Check: "first seq of the segment", Expected: fmt.Sprint(v.next), Found: fmt.Sprint(header.First)})
	}
	if header.Link != v.link {
		v.add(Finding{File: file, Seq: header.First, Check: "link before the segment", Expected: v.link.String(), Found: header.Link.String()})
	}
	v.next = header.First
}

// prove adds a commit to what is provable, if nothing is wrong with it.
func (v *verifier) prove(it *item, linked bool) {
	whole := linked && it.bad == nil && !slices.ContainsFunc(it.events, func(e checked) bool { return e.bad != nil })
	if ranges := v.report.Provable; whole && v.linked {
		ranges[len(ranges)-1].Last = it.commit.Last()
	} else if whole && len(ranges) <= v.opts.MaxFindings {
		v.report.Provable = append(ranges, Range{it.commit.First, it.commit.Last()})
	}
	v.linked = whole
}

// judgeCommit checks the link and reports whether it is right. The commits that follow are held against the link that is
// stored, so that one change is found once.
func (v *verifier) judgeCommit(it *item) (linked bool) {
	c := it.commit
	bad := chain.Linked(c.First, chain.Link(v.link, c.First, c.Durable, it.hashes), c.Link)
	if bad != nil {
		v.addAt(bad, c, c.Offset)
	}
	if c.Durable < v.durable {
		v.addAt(&chain.Finding{Seq: c.First, Check: "durable watermark", Expected: fmt.Sprintf("at least %d", v.durable), Found: fmt.Sprint(c.Durable)}, c, c.Offset)
	}
	v.link, v.durable = c.Link, c.Durable
	v.next = max(v.next, c.Last()+1)
	v.report.Commits++
	v.report.Events += len(it.events)
	return bad == nil
}

// judgeEvent checks an event by itself, against the one before it in its stream and in the store, and against the index.
func (v *verifier) judgeEvent(c *log.Commit, e *checked) error {
	if e.bad != nil {
		v.addAt(e.bad, c, e.offset)
		if e.event.Seq == 0 {
			return nil // the header could not be read
		}
	}
	if bad := chain.Later(&e.event, v.id, v.time); bad != nil {
		v.addAt(bad, c, e.offset)
	}
	v.id, v.time = e.event.ID, e.event.Time
	stream := e.event.Stream()
	before, ok := v.streams[stream]
	if !ok {
		before.hash = chain.Genesis(v.store, stream)
	}
	if bad := chain.Follows(&e.event, before.clock, before.hash); bad != nil {
		v.addAt(bad, c, e.offset)
	}
	v.streams[stream] = tip{e.event.Seq, e.event.Clock, e.event.Hash}
	return v.judgeRow(c, e)
}

// judgeRow checks that the index knows the event as it is.
func (v *verifier) judgeRow(c *log.Commit, e *checked) error {
	if v.index == nil {
		return nil
	}
	if len(v.rows) == 0 || v.rows[0].Seq != e.event.Seq {
		err := v.index.indexed(func(x *index.Index) (err error) {
			v.rows, _, _, err = x.Page(&event.Query{After: e.event.Seq - 1, Through: v.until.Seq}, mostRows, v.rows)
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(v.rows) == 0 || v.rows[0].Seq != e.event.Seq {
		v.addAt(&chain.Finding{Seq: e.event.Seq, ID: e.event.ID, Check: "index row", Expected: "a row", Found: "none"}, c, e.offset)
		return nil
	}
	row := v.rows[0]
	v.rows = v.rows[1:]
	if int64(row.Offset) != e.offset || row.Check != [8]byte(e.event.Hash[:8]) {
		v.addAt(&chain.Finding{Seq: e.event.Seq, ID: e.event.ID, Check: "index row",
			Expected: fmt.Sprintf("offset %d, hash %x…", e.offset, e.event.Hash[:8]), Found: fmt.Sprintf("offset %d, hash %x…", row.Offset, row.Check)}, c, e.offset)
	}
	return nil
}

// finish checks that nothing is missing at the end.
func (v *verifier) finish() error {
	v.report.Last, v.report.Link, v.report.Streams = v.next-1, v.link, len(v.streams)
	if last := max(v.until.Seq, v.witness); v.report.Last < last {
		v.add(Finding{File: log.SegmentName(v.segments.Locate(v.next)), Seq: v.next, Check: "durable watermark",
			Expected: fmt.Sprintf("events up to %d", last), Found: fmt.Sprintf("events up to %d", v.report.Last)})
	}
	if v.until.Seq > 0 && v.link != v.until.Link {
		v.add(Finding{Seq: v.report.Last, Check: "link of the newest commit", Expected: v.until.Link.String(), Found: v.link.String()})
	}
	if v.index == nil {
		return nil
	}
	for stream, tip := range v.streams {
		if err := v.judgeHead(stream, tip); err != nil {
			return err
		}
	}
	return nil
}

// judgeHead checks that the index has the same newest event of a stream, or one that was appended since.
func (v *verifier) judgeHead(stream event.Stream, t tip) error {
	return v.index.indexed(func(x *index.Index) error {
		row, ok, err := x.Head(stream, event.MaxSeq)
		if err != nil || ok && (row.Seq == t.seq || row.Seq > v.until.Seq) {
			return err
		}
		v.add(Finding{Seq: t.seq, Check: "head of stream " + stream.Entity, Expected: fmt.Sprint(t.seq), Found: fmt.Sprint(row.Seq)})
		return nil
	})
}

func (v *verifier) addAt(f *chain.Finding, c *log.Commit, offset int64) {
	f.File, f.Offset = log.SegmentName(c.Segment), offset
	v.add(*f)
}

func (v *verifier) add(f Finding) {
	if len(v.report.Findings) == v.opts.MaxFindings {
		v.report.More++
		return
	}
	v.report.Findings = append(v.report.Findings, f)
}
