package batpak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/log"
)

// A view reads a store: what [Store] and [Reader] have in common. It sees the events up to a watermark that only rises,
// finds them through the index and checks what it reads from the log against it.
type view struct {
	store       event.StoreID
	created     event.Timestamp
	processors  int // that goroutines may use
	segments    *log.Segments
	index       *index.Index
	visible     atomic.Uint64
	appended    atomic.Uint64 // the newest event that the index has, visible or not yet; 0 in a Reader
	reading     atomic.Int32  // goroutines that look up and open events for queries
	helping     atomic.Int32  // those of them that open events ahead of a loop body
	pageReaders sync.Pool     // of *pageReader that nobody uses, 2 MiB each at most
	changed     signal        // visible or another watermark moved, or the store closed
	closed      atomic.Bool
	judging     atomic.Int64 // the goroutine in which a gate at the commit point is asked; 0: none is

	// refresh brings a Reader up to date, and poll waits until that may be worth while; both are nil for a Store, which
	// always is up to date and fires changed.
	refresh func() error
	poll    func(context.Context) error
	// rebuild replaces what is folded into an index that was found damaged, unless that was done since rebuilds had the
	// value given. It returns nil if it is worth trying again.
	rebuild  func(rebuilds int64, cause error) error
	rebuilds atomic.Int64
}

// StoreID returns the identity of the store, which every receipt names.
func (v *view) StoreID() StoreID { return v.store }

// Visible returns the seq of the newest event that can be read.
func (v *view) Visible() Seq { return Seq(v.visible.Load()) }

// raiseVisible moves the watermark and wakes those who wait for it.
func (v *view) raiseVisible(to event.Seq) {
	for {
		now := v.visible.Load()
		if now >= uint64(to) {
			break
		}
		if v.visible.CompareAndSwap(now, uint64(to)) {
			break
		}
	}
	v.changed.fire()
}

// ready refuses a closed store, a gate that a store waits for, and brings a reader up to date.
func (v *view) ready() error {
	if v.closed.Load() {
		return ErrClosed
	}
	if v.inGate() {
		return ErrInGate
	}
	if v.refresh != nil {
		return v.refresh()
	}
	return nil
}

// indexed calls do with the index, and once more if the index proves damaged and could be rebuilt.
func (v *view) indexed(do func(*index.Index) error) error {
	rebuilds := v.rebuilds.Load()
	err := do(v.index)
	if errors.Is(err, index.ErrDamaged) && v.rebuild != nil {
		if err := v.rebuild(rebuilds, err); err != nil {
			return err
		}
		err = do(v.index)
	}
	return err
}

// Get returns the event with this id. Without one the error matches [ErrNotFound], and if what is stored at its place has
// changed, [ErrCorrupt].
func (v *view) Get(id ID) (Event, error) {
	e, err := v.At(id.Seq())
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && e.ID != id:
		return Event{}, fmt.Errorf("event %s: %w", id, ErrNotFound)
	case err != nil:
		return Event{}, err
	}
	return e, nil
}

// At returns the event at a position, with the same errors as [Store.Get].
func (v *view) At(seq Seq) (Event, error) {
	if err := v.ready(); err != nil {
		return Event{}, err
	}
	e, err := v.at(seq)
	return e, v.unlessClosed(err)
}

// unlessClosed returns ErrClosed for an error that comes of the store having been closed meanwhile.
func (v *view) unlessClosed(err error) error {
	if err != nil && v.closed.Load() {
		return ErrClosed
	}
	return err
}

func (v *view) at(seq event.Seq) (Event, error) {
	if seq == 0 || seq > v.Visible() {
		return Event{}, fmt.Errorf("event at %d: %w", seq, ErrNotFound)
	}
	row, err := v.row(seq)
	if err != nil {
		return Event{}, err
	}
	return v.read(&row)
}

// read returns the event of a row, which must have been written.
func (v *view) read(row *index.Row) (Event, error) {
	segment := v.segments.Locate(row.Seq)
	b, err := v.segments.Read(segment, int64(row.Offset), int64(row.Length))
	if err != nil {
		return Event{}, err
	}
	var e Event
	err = v.open(&e, segment, row, b, whole)
	return e, err
}

// readHeader returns the header and the hash of the event of a row, which must have been written. The payload is not looked
// at: what is chained to the event, or compared with it, is in its header.
func (v *view) readHeader(row *index.Row) (*event.Header, event.Hash, error) {
	segment := v.segments.Locate(row.Seq)
	b, err := v.segments.Read(segment, int64(row.Offset), int64(row.Length))
	if err != nil {
		return nil, event.Hash{}, err
	}
	var e Event
	err = v.open(&e, segment, row, b, headerOnly)
	return &e.Header, e.Hash, err
}

func (v *view) row(seq event.Seq) (row index.Row, err error) {
	err = v.indexed(func(x *index.Index) (err error) {
		row, err = x.Row(seq)
		return err
	})
	return row, err
}

// open turns the bytes of a record into the event e, which aliases them, and checks them: against the event in memory while it
// is there, or else against themselves, and against what the index remembers of the event's hash. After an
// error e is the zero Event.
func (v *view) open(e *Event, segment event.Seq, row *index.Row, b []byte, d depth) error {
	var bad *chain.Finding
	r, err := log.ParseRecord(b)
	if err != nil {
		bad = &chain.Finding{Seq: row.Seq, Check: "record", Expected: fmt.Sprintf("%d bytes", row.Length), Found: err.Error()}
	} else if row.Entry != nil && spelled(&row.Entry.Header, r.Header) {
		e.Header, e.Hash = row.Entry.Header.Clone(), row.Entry.Hash
		bad = chain.OpenPayload(e, r.Payload)
	} else if bad = d.check(e, row.Seq, &r); bad == nil && [8]byte(e.Hash[:8]) != row.Check {
		bad = &chain.Finding{Seq: row.Seq, ID: e.ID, Check: "event hash", Expected: fmt.Sprintf("%x…", row.Check), Found: e.Hash.String()}
	}
	if bad != nil {
		*e = Event{}
		bad.File, bad.Offset = log.SegmentName(segment), int64(row.Offset)
		return bad.Error()
	}
	return nil
}

// A depth is how much of an event is looked at.
type depth bool

const (
	whole      depth = true
	headerOnly depth = false // and the length of the payload
)

// check decodes the record of event seq into e and checks it against itself.
func (d depth) check(e *Event, seq event.Seq, r *log.Record) *chain.Finding {
	if d == headerOnly {
		return chain.OpenHeader(e, seq, r.Header, r.Payload)
	}
	return chain.Open(e, seq, r.Header, r.Payload)
}

// spelled reports whether b is the encoding of h. To compare is quicker than to hash and decode, and it says more.
func spelled(h *event.Header, b []byte) bool {
	var scratch [512]byte
	return bytes.Equal(event.AppendHeader(scratch[:0], h), b)
}

// Bounds of one read from a segment.
const (
	maxReadBytes = 128 << 10 // for several records; one record may be longer
	maxOpenBytes = 4 << 20   // of the events that wait to be yielded; one event may be longer
	maxGapBytes  = 4 << 10   // between records, that are read although not wanted
)

// A page of some length is opened in up to maxReaders goroutines: reading and hashing is most of the work of a query.
const (
	maxReaders = 4
	manyRows   = 128 // from which on it is worth another goroutine, unless there are as many as processors
	fewRows    = 32  // of which a span is not divided to give all goroutines some
)

// An opener may let other goroutines go first after rowsPerTurn events of a span, and other threads after rowsPerThread events of
// a page. A thread that gives way may wait for milliseconds, so that is not often.
const (
	rowsPerTurn   = 8
	rowsPerThread = 64
)

// An opener is one goroutine that opens events.
type opener struct {
	buf       []byte // what is read; no event aliases it
	seen      uint64 // the visible watermark when it looked last
	taken     int    // how many rows of the page it has taken, in spans
	following bool   // they are those of a follower that has seen all before
}

// pause lets others go first if readers have all processors while appends are under way. The scheduler would leave each reader its
// processor for 10 ms, and a sync that is over waits for one. With a processor to spare nobody is kept waiting, and to give
// up this one would cost 10 µs.
func (o *opener) pause(v *view) {
	if int(v.reading.Load()) < v.processors {
		return
	}
	visible := v.visible.Load()
	if visible != o.seen || v.appended.Load() > visible {
		o.seen = visible
		runtime.Gosched()
	}
}

// giveWay lets other threads go first when the opener has opened n events of a page, if it is time, while something was appended
// that is not visible yet. The system's scheduler too would leave a reader its processor for some milliseconds, and the thread whose
// sync is over waits for it, also where Go has a processor to spare. A follower gives way only where readers have all processors,
// and a gate at the commit point, for which all appends wait, never.
func (o *opener) giveWay(v *view, n int) {
	if n%rowsPerThread != 0 || v.appended.Load() <= v.visible.Load() || v.judging.Load() != 0 {
		return
	}
	if !o.following || int(v.reading.Load()) >= v.processors {
		yieldThread()
	}
}

// A pageReader opens the events of a page of rows. Its memory is used again.
type pageReader struct {
	v        *view
	rows     []index.Row // for whoever looks them up
	spans    []span
	unpacked []Event      // of all spans
	next     atomic.Int32 // the span that nobody has taken yet
	openers  [maxReaders]opener
}

// pageReader returns one that was released, or a new one, for a page.
func (v *view) pageReader(following bool) *pageReader {
	r, ok := v.pageReaders.Get().(*pageReader)
	if !ok {
		r = &pageReader{v: v}
	}
	for i := range r.openers {
		r.openers[i].taken, r.openers[i].following = 0, following
	}
	return r
}

// release gives the reader to whoever wants one next, with nothing in it of what it has read. No goroutine is left in it.
func (r *pageReader) release() {
	for i := range r.spans {
		clear(r.spans[i].events)
	}
	clear(r.spans)
	clear(r.rows)
	r.v.pageReaders.Put(r)
}

// events yields the events of the rows, which are in commit order or the reverse. Records that lie close to each other
// are read together, and of many rows several such spans at a time, ahead of the loop body, as far as memory for them has its
// bound. No goroutine is left when the loop ends.
func (r *pageReader) events(rows []index.Row) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		readers, most := 1, len(rows)
		if len(rows) >= manyRows {
			readers = max(min(runtime.GOMAXPROCS(0), maxReaders)-int(r.v.helping.Load()), 1)
		}
		if readers > 1 {
			most = max(len(rows)/(2*readers), fewRows)
		}
		for len(rows) > 0 {
			rows = r.divide(rows, most)
			if !r.yield(readers, yield) {
				return
			}
		}
	}
}

// yield yields the events of the spans. While the loop body works on one span, others open those behind it.
func (r *pageReader) yield(readers int, yield func(Event, error) bool) bool {
	r.next.Store(0)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer r.next.Store(int32(len(r.spans))) // so that nobody takes another
	for i := 1; i < min(readers, len(r.spans)); i++ {
		wg.Go(func() {
			r.v.reading.Add(1)
			defer r.v.reading.Add(-1)
			r.v.helping.Add(1)
			defer r.v.helping.Add(-1)
			for r.open(&r.openers[i]) {
			}
		})
	}
	for i := range r.spans {
		s := &r.spans[i]
		for !s.opened.Load() && r.open(&r.openers[0]) {
		}
		s.opening.Wait()
		if !s.yield(yield) {
			return false
		}
	}
	return true
}

// divide sets spans to the parts of rows that are read together, of at most most rows each, up to maxOpenBytes but at least one,
// and returns the rest.
func (r *pageReader) divide(rows []index.Row, most int) []index.Row {
	r.spans, r.unpacked = r.spans[:0], slices.Grow(r.unpacked[:0], len(rows))
	at, bytes := 0, int64(0)
	for at < len(rows) {
		n, segment, from, to := r.v.span(rows[at:min(at+most, len(rows))])
		if bytes += to - from; bytes > maxOpenBytes && at > 0 {
			break
		}
		r.spans = append(r.spans, span{rows: rows[at : at+n], segment: segment, from: from, to: to, events: r.unpacked[at : at : at+n]})
		r.spans[len(r.spans)-1].opening.Add(1)
		at += n
	}
	return rows[at:]
}

// open opens the next span that nobody has taken, and reports whether there was one.
func (r *pageReader) open(o *opener) bool {
	i := int(r.next.Add(1)) - 1
	if i >= len(r.spans) {
		return false
	}
	s := &r.spans[i]
	defer s.opening.Done()
	if i+1 < len(r.spans) { // while this one is hashed
		next := &r.spans[i+1]
		r.v.segments.Expect(next.segment, next.from, next.to-next.from)
	}
	s.open(r.v, o)
	s.opened.Store(true)
	return true
}

// A span is rows whose records are read together.
type span struct {
	rows     []index.Row
	segment  event.Seq
	from, to int64   // offsets in the segment
	events   []Event // that are not yielded yet; with room for those of all rows
	err      error   // of the event after those

	opened  atomic.Bool // whether events and err are as they will be
	opening sync.WaitGroup
}

// open reads and checks the events of the span.
func (s *span) open(v *view, o *opener) {
	var b []byte
	if b, s.err = s.read(v, &o.buf); s.err != nil {
		return
	}
	before := o.taken
	o.taken += len(s.rows)
	for i := range s.rows {
		if i%rowsPerTurn == 0 {
			o.pause(v)
		}
		row := &s.rows[i]
		start := int64(row.Offset) - s.from
		s.events = s.events[:i+1]
		e := &s.events[i]
		if s.err = v.open(e, s.segment, row, b[start:start+int64(row.Length):start+int64(row.Length)], whole); s.err != nil {
			s.events = s.events[:i]
			return
		}
		if len(s.rows) > 1 {
			e.Payload = append(make([]byte, 0, len(e.Payload)), e.Payload...) // do not pin the others
		}
		o.giveWay(v, before+i+1)
	}
}

// read returns the bytes of the records. Those of a single one belong to its event.
func (s *span) read(v *view, buf *[]byte) ([]byte, error) {
	n := s.to - s.from
	if len(s.rows) == 1 {
		return v.segments.Read(s.segment, s.from, n)
	}
	if int64(cap(*buf)) < n {
		*buf = make([]byte, n, maxReadBytes)
	}
	b := (*buf)[:n]
	return b, v.segments.ReadAt(s.segment, b, s.from)
}

// yield yields the events, and then the error if there is one. It reports whether to go on.
func (s *span) yield(yield func(Event, error) bool) bool {
	for len(s.events) > 0 {
		e := s.events[0]
		s.events[0], s.events = Event{}, s.events[1:] // the loop body may keep it or not
		if !yield(e, nil) {
			return false
		}
	}
	if s.err != nil {
		yield(Event{}, s.err)
	}
	return s.err == nil
}

// span returns how many of the rows to read at once, in which segment, and the bytes from first to last.
func (v *view) span(rows []index.Row) (n int, segment event.Seq, from, to int64) {
	segment = v.segments.Locate(rows[0].Seq)
	from = int64(rows[0].Offset)
	to = from + int64(rows[0].Length)
	for n = 1; n < len(rows); n++ {
		r := &rows[n]
		start, end := int64(r.Offset), int64(r.Offset)+int64(r.Length)
		if v.segments.Locate(r.Seq) != segment || start > to+maxGapBytes || end < from-maxGapBytes || max(to, end)-min(from, start) > maxReadBytes {
			break
		}
		from, to = min(from, start), max(to, end)
	}
	return n, segment, from, to
}

// VerifyReceipt compares a receipt with what the store has. The error, if any, is one of reading.
func (v *view) VerifyReceipt(r Receipt) Verdict {
	e, err := v.At(r.Seq)
	if errors.Is(err, ErrNotFound) {
		return Verdict{Status: chain.Invalid, Reason: chain.MissingEvent}
	}
	if err != nil {
		return Verdict{Status: chain.Invalid, Reason: chain.UnreadableEvent, Err: err}
	}
	return chain.VerifyAgainst(r, v.store, &e)
}

// Walk returns the ancestry of an event: itself and the events before it in its stream, newest first, at most limit, each
// checked against the link of the one after it; and where it ended. An unknown id gives [ErrNotFound].
func (v *view) Walk(id ID, limit int) (Walk, error) {
	if limit < 0 {
		return Walk{}, fmt.Errorf("walk: limit %d is negative: %w", limit, ErrInvalid)
	}
	e, err := v.Get(id)
	if err != nil {
		return Walk{}, err
	}
	w, err := chain.Ancestry(v.store, e, limit, func(e *Event) (Event, error) {
		p, err := v.streamEvent(e.Stream(), e.Clock-1)
		return p, v.unlessClosed(err)
	})
	return w, err
}

// streamEvent returns the event with this clock in a stream.
func (v *view) streamEvent(s event.Stream, c event.Clock) (Event, error) {
	var row index.Row
	var ok bool
	err := v.indexed(func(x *index.Index) (err error) {
		row, ok, err = x.Clock(s, c)
		return err
	})
	if err != nil {
		return Event{}, err
	}
	if !ok || row.Seq > v.Visible() {
		return Event{}, fmt.Errorf("event %d of stream %s/%d: %w", c, s.Entity, s.Lane, ErrNotFound)
	}
	return v.read(&row)
}
