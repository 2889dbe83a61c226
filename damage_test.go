package batpak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/log"
)

// memoryDir returns a new directory, in memory where the system has such a place: syncing it costs nothing.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "batpak")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// files are those of a store, by path.
type files map[string][]byte

func readFiles(t testing.TB, dir string) files {
	t.Helper()
	f := files{}
	for _, pattern := range []string{"*", "log/*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range paths {
			name, err := filepath.Rel(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err == nil { // not a directory
				f[filepath.ToSlash(name)] = b
			}
		}
	}
	return f
}

// write makes dir hold the files and no others.
func (f files) write(t testing.TB, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "log"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, b := range f {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (f files) segments() []string {
	var names []string
	for name := range f {
		if strings.HasPrefix(name, "log/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A victim is a small store, closed cleanly, and what it holds.
type victim struct {
	files    files
	events   []Event
	receipts []Receipt
}

// newVictim makes a store of 13 events in some segments: streams of several entities and lanes, a batch, and an event with
// everything that a header can have.
func newVictim(t testing.TB) *victim {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "store")
	now := time.UnixMicro(1_700_000_000_000_000)
	s := openTest(t, dir, &Options{SegmentBytes: 900, Clock: func() time.Time { now = now.Add(time.Second); return now }})
	v := &victim{receipts: mustCommit(t, s, raw("a", "one"))}
	v.receipts = append(v.receipts, mustCommit(t, s, raw("b", "two"))...)
	for _, ps := range [][]Proposal{
		{with(raw("a", "three"), func(p *Proposal) { p.Lane = 2 })},
		{raw("a", "four"), raw("b", "five"), raw("c", "six")},
		{with(raw("b", "seven"), func(p *Proposal) {
			p.Key, p.Correlation, p.Cause = "key", v.receipts[1].ID, CauseID(v.receipts[1].ID)
			p.Extensions = map[string][]byte{"a.b": []byte("extension"), "c.d": {}}
		})},
		{raw("c", "")},
		{Proposal{At: At("a", "s"), Payload: moved{X: 9}}},
		{raw("a", "ten")},
		{with(raw("a", "eleven"), func(p *Proposal) { p.Lane = 2 })},
		{raw("b", "twelve")},
		{raw("a", "thirteen")},
	} {
		v.receipts = append(v.receipts, mustCommit(t, s, ps...)...)
	}
	var err error
	if v.events, err = gather(s.Query(Query{})); err != nil || len(v.events) != 13 {
		t.Fatalf("%d events, %v", len(v.events), err)
	}
	closeTest(t, s)
	v.files = readFiles(t, dir)
	if n := len(v.files.segments()); n < 4 {
		t.Fatalf("%d segments", n)
	}
	return v
}

// The format, in the words of package log: what a forger knows.
const (
	segmentHead = 72
	commitHead  = 60
	recordHead  = 8
)

// A part of a segment is its header or a commit, at an offset.
type part struct {
	offset, length int
	first          Seq
	records        []int // offset of each record; none in the header
}

func (p *part) last() Seq { return p.first + Seq(max(len(p.records), 1)) - 1 }

// record returns the event whose record has the byte at offset, or 0.
func (p *part) record(offset int) Seq {
	i, found := slices.BinarySearch(p.records, offset)
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return p.first + Seq(i)
}

// dissect returns the parts of an undamaged segment.
func dissect(b []byte) []part {
	parts := []part{{0, segmentHead, Seq(binary.LittleEndian.Uint64(b[32:])), nil}}
	for at := segmentHead; at < len(b); {
		p := part{offset: at, length: 8 + int(binary.LittleEndian.Uint32(b[at:])), first: Seq(binary.LittleEndian.Uint64(b[at+8:]))}
		for r := at + commitHead; r < at+p.length; {
			p.records = append(p.records, r)
			r += recordHead + int(binary.LittleEndian.Uint32(b[r:])) + int(binary.LittleEndian.Uint32(b[r+4:]))
		}
		parts = append(parts, p)
		at += p.length
	}
	return parts
}

// repair makes the checksum right of what begins at offset, a segment's header or a commit, as long as its length says.
func repair(b []byte, offset int) {
	table := crc32.MakeTable(crc32.Castagnoli)
	if offset == 0 {
		binary.LittleEndian.PutUint32(b[12:], 0)
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:segmentHead], table))
		return
	}
	end := offset + 8 + int(binary.LittleEndian.Uint32(b[offset:]))
	if end <= len(b) {
		binary.LittleEndian.PutUint32(b[offset+4:], crc32.Checksum(b[offset+8:end], table))
	}
}

// telling reports whether err may be returned about damaged files: it says so. A forged format is one of the future.
func telling(err error, format bool) bool {
	return errors.Is(err, ErrCorrupt) || format && errors.Is(err, ErrFutureFormat)
}

// checkView returns what is wrong with what can be read: each event must be the right one or give an error that tells,
// and a query must give all that is right, or end with such an error.
func (v *victim) checkView(w *view, format bool) error {
	for i := range v.events {
		want := &v.events[i]
		for _, get := range []func() (Event, error){
			func() (Event, error) { return w.At(want.Seq) },
			func() (Event, error) { return w.Get(want.ID) },
		} {
			e, err := get()
			if err == nil && !equal(&e, want) {
				return fmt.Errorf("event %d is another one", want.Seq)
			}
			if err != nil && !telling(err, format) {
				return fmt.Errorf("event %d: %w", want.Seq, err)
			}
		}
	}
	for _, q := range []Query{{}, {Reverse: true}, {Entity: "a"}, {Entity: "b", Reverse: true}, {Prefix: "c"}} {
		got, err := gather(w.Query(q))
		if err != nil && !telling(err, format) {
			return fmt.Errorf("query %+v: %w", q, err)
		}
		var want []Event
		for _, e := range v.events {
			if q.Match(&e.Header) {
				want = append(want, e)
			}
		}
		if q.Reverse {
			slices.Reverse(want)
		}
		if len(got) > len(want) || err == nil && len(got) < len(want) {
			return fmt.Errorf("query %+v: %d events of %d without an error", q, len(got), len(want))
		}
		for i := range got {
			if !equal(&got[i], &want[i]) {
				return fmt.Errorf("query %+v: event %d is another one", q, want[i].Seq)
			}
		}
	}
	return nil
}

// An opened is a store or a reader.
type opened struct {
	name string
	*view
	verify func() (Report, error)
	close  func() error
}

// checkOpen opens a damaged store and reports whether that told of the damage, at once or when it verified, and what is
// wrong if it did not, or if it gave wrong events.
func (v *victim) checkOpen(t testing.TB, open func() (*opened, error), format bool) (atOnce bool, err error) {
	o, err := open()
	if err != nil {
		if !telling(err, format) {
			return true, fmt.Errorf("open: %w", err)
		}
		return true, nil
	}
	defer o.close() // of what may be damaged
	if err := v.checkView(o.view, format); err != nil {
		return false, err
	}
	rep, err := o.verify()
	if err == nil && rep.OK() || err != nil && !telling(err, format) {
		return false, fmt.Errorf("verify: %d findings, %v", len(rep.Findings), err)
	}
	return false, nil
}

func storeOpener(t testing.TB, dir string, opts *Options) func() (*opened, error) {
	return func() (*opened, error) {
		s, err := Open(dir, opts)
		if err != nil {
			return nil, err
		}
		return &opened{"store", &s.view, func() (Report, error) { return s.Verify(t.Context(), nil) }, s.Close}, nil
	}
}

func readerOpener(t testing.TB, dir string) func() (*opened, error) {
	return func() (*opened, error) {
		r, err := OpenReader(dir, nil)
		if err != nil {
			return nil, err
		}
		return &opened{"reader", &r.view, func() (Report, error) { return r.Verify(t.Context(), nil) }, r.Close}, nil
	}
}

// One changed byte of a segment, anywhere and whether or not the checksum over it is made right again, is found, and named
// with its segment and event, and no reading gives a wrong event or hides one.
func TestDamageAnywhere(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	for _, segment := range v.files.segments() {
		for _, repaired := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s repaired=%v", filepath.Base(segment), repaired), func(t *testing.T) {
				t.Parallel()
				d := damager{victim: v, segment: segment, repaired: repaired, dir: filepath.Join(memoryDir(t), "store")}
				d.files = maps.Clone(v.files)
				delete(d.files, indexFile)
				d.files.write(t, d.dir)
				for _, p := range dissect(v.files[segment]) {
					for i := range p.length {
						d.damage(t, &p, p.offset+i)
						if t.Failed() {
							return
						}
					}
				}
			})
		}
	}
}

// A damager damages one segment of a store.
type damager struct {
	*victim
	files    files // without the index
	segment  string
	repaired bool
	dir      string
	cases    int
}

// damage tries two values of the byte at offset.
func (d *damager) damage(t *testing.T, p *part, offset int) {
	whole := d.victim.files[d.segment]
	was := whole[offset]
	other := byte(0)
	if was == 0 {
		other = 0xFF
	}
	for _, value := range []byte{was ^ 1<<(offset%8), other} {
		b := bytes.Clone(whole)
		b[offset] = value
		if d.repaired {
			repair(b, p.offset)
		}
		if bytes.Equal(b, whole) {
			continue // the checksum itself, made right again
		}
		d.cases++
		what := fmt.Sprintf("offset %d, event %d to %d, %#02x to %#02x", offset, p.first, p.last(), was, value)
		if err := d.check(t, p, offset, b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// check holds everything against a segment whose bytes are b.
func (d *damager) check(t *testing.T, p *part, offset int, b []byte) error {
	format := p.offset == 0 && offset >= 8 && offset < 12
	path := filepath.Join(d.dir, d.segment)
	restore := func(b []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, b, 0o600), os.WriteFile(filepath.Join(d.dir, lockFile), d.files[lockFile], 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	restore(b)
	defer restore(d.files[d.segment])
	rep, err := VerifyDir(t.Context(), d.dir, nil)
	if err == nil {
		err = d.named(&rep, p, offset)
	} else if telling(err, format) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("verify dir: %w", err)
	}
	if _, err := d.checkOpen(t, readerOpener(t, d.dir), format); err != nil {
		return fmt.Errorf("reader: %w", err)
	}
	if _, err := d.checkOpen(t, storeOpener(t, d.dir, &Options{MemoryIndex: true}), format); err != nil {
		return fmt.Errorf("index in memory: %w", err)
	}
	if d.cases%5 != 0 {
		return nil
	}
	changed := maps.Clone(d.victim.files)
	changed[d.segment] = b
	scratch := filepath.Join(filepath.Dir(d.dir), "scratch")
	for _, name := range []string{"index kept", "index deleted"} {
		if name == "index deleted" {
			delete(changed, indexFile)
		}
		changed.write(t, scratch)
		if _, err := d.checkOpen(t, storeOpener(t, scratch, nil), format); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// named reports whether a finding names the segment and the event. For a byte of a record that is the event, at an offset
// in its commit; in a commit of several, whose link is all that binds the newest event of a stream, any of the commit.
// For a byte of a header it is some event of the segment.
func (d *damager) named(rep *Report, p *part, offset int) error {
	first, last := p.first, p.last()
	for _, f := range rep.Findings {
		inside := f.Seq >= first && f.Seq <= last && f.Offset >= int64(p.offset) && f.Offset < int64(p.offset+p.length)
		if f.File == d.segment && f.Check != "" && f.Seq > 0 && (inside || p.record(offset) == 0) {
			return nil
		}
	}
	return fmt.Errorf("no finding names %s and event %d to %d: %v", d.segment, first, last, rep.Findings)
}

// A forgery is a log taken apart: what someone works on who knows the format.
type forgery struct {
	files    files
	segments []forgedSegment
}

type forgedSegment struct {
	name    string
	head    []byte
	commits [][]byte
}

func takeApart(f files) *forgery {
	g := &forgery{files: maps.Clone(f)}
	for _, name := range f.segments() {
		s := forgedSegment{name: name}
		for _, p := range dissect(f[name]) {
			b := bytes.Clone(f[name][p.offset : p.offset+p.length])
			if p.offset == 0 {
				s.head = b
			} else {
				s.commits = append(s.commits, b)
			}
		}
		g.segments = append(g.segments, s)
	}
	return g
}

// putTogether returns the files with the log that g has now.
func (g *forgery) putTogether() files {
	f := maps.Clone(g.files)
	for _, name := range f.segments() {
		delete(f, name)
	}
	for _, s := range g.segments {
		f[s.name] = slices.Concat(append([][]byte{s.head}, s.commits...)...)
	}
	return f
}

// number gives a commit another first seq, and makes its checksum right.
func number(commit []byte, first Seq) []byte {
	commit = bytes.Clone(commit)
	binary.LittleEndian.PutUint64(commit[8:], uint64(first))
	seal(commit)
	return commit
}

// seal makes the checksum of a commit by itself right.
func seal(commit []byte) {
	binary.LittleEndian.PutUint32(commit[4:], crc32.Checksum(commit[8:], crc32.MakeTable(crc32.Castagnoli)))
}

func firstOf(commit []byte) Seq { return Seq(binary.LittleEndian.Uint64(commit[8:])) }

// renumber makes the seqs of all commits and segments dense again, and their checksums right.
func (g *forgery) renumber() {
	next := Seq(1)
	for i := range g.segments {
		s := &g.segments[i]
		s.name = log.SegmentName(next)
		binary.LittleEndian.PutUint64(s.head[32:], uint64(next))
		repair(s.head, 0)
		for j, c := range s.commits {
			s.commits[j] = number(c, next)
			next += Seq(binary.LittleEndian.Uint32(c[16:]))
		}
	}
}

// rewrite lets change have each event of the log and then makes all right that can be made right from the files alone:
// hashes, links to the event before, links of commits, seals of segments, checksums.
func (g *forgery) rewrite(t testing.TB, change func(*Event)) {
	t.Helper()
	var link Hash
	heads := map[event.Stream]Hash{}
	for i := range g.segments {
		s := &g.segments[i]
		if i == 0 {
			link = Hash(s.head[40:72])
		}
		copy(s.head[40:], link[:])
		repair(s.head, 0)
		for j, b := range s.commits {
			c := log.Commit{First: firstOf(b), Count: int(binary.LittleEndian.Uint32(b[16:])), Records: b[commitHead:]}
			var records, hashes []byte
			for r, err := range c.Each() {
				if err != nil {
					t.Fatal(err)
				}
				h, err := event.DecodeHeader(r.Header)
				if err != nil {
					t.Fatal(err)
				}
				e := Event{Header: h, Payload: bytes.Clone(r.Payload)}
				change(&e)
				e.PayloadLength, e.Content = uint32(len(e.Payload)), chain.Content(e.Payload)
				if head, ok := heads[e.Stream()]; ok {
					e.Prev = head
				}
				header := event.AppendHeader(nil, &e.Header)
				hash := chain.Event(header)
				heads[e.Stream()] = hash
				records, hashes = log.AppendRecord(records, header, e.Payload), append(hashes, hash[:]...)
			}
			b = append(b[:commitHead:commitHead], records...)
			binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
			link = chain.Link(link, c.First, Seq(binary.LittleEndian.Uint64(b[20:])), hashes)
			copy(b[28:], link[:])
			seal(b)
			s.commits[j] = b
		}
	}
}

// rewriteEvent gives an event another payload and makes everything right again.
func rewriteEvent(t testing.TB, seq Seq) func(*forgery) {
	return func(g *forgery) {
		g.rewrite(t, func(e *Event) {
			if e.Seq == seq {
				e.Payload = []byte("forged")
			}
		})
	}
}

// Whole records, commits and segments moved, swapped, doubled, dropped, brought in or replaced, with each checksum made
// right where a forger could. The table says who finds it: D is VerifyDir, and of those who open the store, R the reader,
// K Open with the index kept, M Open without. A capital letter is a refusal to open; a small one means that it opens,
// that every event read is right or an error, and that its Verify finds it.
func TestForgery(t *testing.T) {
	v, other := newVictim(t), newVictim(t)
	drop := func(i, j int) func(*forgery) {
		return func(g *forgery) { g.segments[i].commits = slices.Delete(g.segments[i].commits, j, j+1) }
	}
	swapRecords := func(b []byte) []byte { // of the batch
		p := dissect(append(make([]byte, segmentHead), b...))[1]
		one, two := b[p.records[0]-segmentHead:p.records[1]-segmentHead], b[p.records[1]-segmentHead:p.records[2]-segmentHead]
		return slices.Concat(b[:commitHead], two, one, b[p.records[2]-segmentHead:])
	}
	batch := func(g *forgery) *[]byte {
		for i := range g.segments {
			for j := range g.segments[i].commits {
				if binary.LittleEndian.Uint32(g.segments[i].commits[j][16:]) > 1 {
					return &g.segments[i].commits[j]
				}
			}
		}
		return nil
	}
	last := func(g *forgery) *forgedSegment { return &g.segments[len(g.segments)-1] }
	for _, c := range []struct {
		name   string
		change func(*forgery)
		found  string
	}{
		{"commit dropped", drop(1, 0), "DRkM"},
		{"commit dropped, numbered again", func(g *forgery) { drop(1, 0)(g); g.renumber() }, "DRKM"},
		{"commits swapped", func(g *forgery) {
			c := g.segments[0].commits
			c[0], c[1] = c[1], c[0]
		}, "DRkM"},
		{"commits swapped, numbered again", func(g *forgery) {
			c := g.segments[0].commits
			c[0], c[1] = c[1], c[0]
			g.renumber()
		}, "DRkM"},
		{"commit moved to another segment", func(g *forgery) {
			g.segments[2].commits = append(g.segments[2].commits, g.segments[0].commits[1])
			drop(0, 1)(g)
		}, "DRkM"},
		{"commit doubled", func(g *forgery) {
			g.segments[1].commits = slices.Insert(g.segments[1].commits, 1, g.segments[1].commits[0])
		}, "DRkM"},
		{"last commit doubled", func(g *forgery) {
			s := last(g)
			s.commits = append(s.commits, s.commits[len(s.commits)-1])
		}, "D"}, // a torn tail: nothing says that it was ever acknowledged, and opening cuts it off
		{"last commit doubled, with the next seq", func(g *forgery) {
			s := last(g)
			c := s.commits[len(s.commits)-1]
			s.commits = append(s.commits, number(c, firstOf(c)+1))
		}, "DKM"}, // it lies beyond what a reader may see
		{"commit of another store in place of one", func(g *forgery) {
			g.segments[0].commits[1] = takeApart(other.files).segments[0].commits[1]
		}, "DRkM"},
		{"commit of another store at the end", func(g *forgery) {
			s, o := last(g), takeApart(other.files).segments[0].commits[0]
			s.commits = append(s.commits, number(o, Seq(len(v.events)+1)))
		}, "DKM"},
		{"segment of another store", func(g *forgery) { g.segments[1] = takeApart(other.files).segments[1] }, "DRkM"},
		{"segment of another store, its id changed", func(g *forgery) {
			s := takeApart(other.files).segments[1]
			copy(s.head[16:32], g.segments[1].head[16:32])
			copy(s.head[40:72], g.segments[1].head[40:72])
			repair(s.head, 0)
			g.segments[1] = s
		}, "DRkM"},
		{"records of a batch swapped", func(g *forgery) {
			b := batch(g)
			*b = swapRecords(*b)
			seal(*b)
		}, "DRkM"},
		{"record of a batch dropped", func(g *forgery) {
			b := batch(g)
			p := dissect(append(make([]byte, segmentHead), *b...))[1]
			*b = (*b)[:p.records[2]-segmentHead]
			binary.LittleEndian.PutUint32(*b, uint32(len(*b)-8))
			binary.LittleEndian.PutUint32((*b)[16:], 2)
			seal(*b)
		}, "DRkM"},
		{"event replaced by one of another stream", func(g *forgery) { replaceEvent(t, &g.segments[0].commits[1]) }, "DRkM"},
		{"last event replaced by one of another stream", func(g *forgery) {
			s := last(g)
			replaceEvent(t, &s.commits[len(s.commits)-1])
		}, "DRKM"},
		{"last commit cut off", func(g *forgery) { s := last(g); s.commits = s.commits[:len(s.commits)-1] }, "DRKM"},
		{"last commit cut off, no LOCK", func(g *forgery) {
			s := last(g)
			s.commits = s.commits[:len(s.commits)-1]
			delete(g.files, lockFile)
		}, "K"},
		{"first segment dropped", func(g *forgery) { g.segments = g.segments[1:] }, "DRKM"},
		{"middle segment dropped", func(g *forgery) { g.segments = slices.Delete(g.segments, 1, 2) }, "DRkM"},
		{"middle segment dropped, numbered again", func(g *forgery) { g.segments = slices.Delete(g.segments, 1, 2); g.renumber() }, "DRKM"},
		{"last segment dropped", func(g *forgery) { g.segments = g.segments[:len(g.segments)-1] }, "DRKM"},
		{"last segment dropped, no LOCK", func(g *forgery) {
			g.segments = g.segments[:len(g.segments)-1]
			delete(g.files, lockFile)
		}, "K"},
		{"all segments dropped", func(g *forgery) { g.segments = nil }, "DRKM"},
		{"segments swapped", func(g *forgery) {
			g.segments[0].name, g.segments[1].name = g.segments[1].name, g.segments[0].name
		}, "DRkM"},
		{"segments swapped, numbered again", func(g *forgery) {
			g.segments[0], g.segments[1] = g.segments[1], g.segments[0]
			g.renumber()
		}, "DRkM"},
		{"last segment doubled", func(g *forgery) {
			s := *last(g)
			s.name, s.head, s.commits = log.SegmentName(14), bytes.Clone(s.head), slices.Clone(s.commits)
			g.segments = append(g.segments, s)
			g.renumber()
		}, "DRKM"},
		{"zeros behind a sealed segment", func(g *forgery) {
			g.segments[0].commits = append(g.segments[0].commits, make([]byte, 512))
		}, "DRkM"},
		{"sealed segment cut short", func(g *forgery) {
			c := g.segments[0].commits
			c[len(c)-1] = c[len(c)-1][:len(c[len(c)-1])-1]
		}, "DRkM"},
		{"segment empty", func(g *forgery) { g.segments[1].head, g.segments[1].commits = nil, nil }, "DRkM"},
		{"rewritten from event 2 on", rewriteEvent(t, 2), "k"}, // which leaves the last event as it was
		{"rewritten from event 1 on", rewriteEvent(t, 1), "K"},
		{"rewritten from event 13 on", rewriteEvent(t, 13), "K"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := takeApart(v.files)
			c.change(g)
			f := g.putTogether()
			dir := filepath.Join(memoryDir(t), "store")
			var found strings.Builder
			f.write(t, dir)
			if rep, err := VerifyDir(t.Context(), dir, nil); err != nil {
				t.Errorf("verify dir: %v", err)
			} else if !rep.OK() {
				found.WriteString("D")
				if !slices.ContainsFunc(rep.Findings, func(f Finding) bool { return f.File != "" && f.Seq > 0 }) {
					t.Errorf("no finding names a segment and an event: %v", rep.Findings)
				}
			}
			for _, o := range []struct {
				letter  string
				open    func() (*opened, error)
				without bool // the index
			}{
				{"R", readerOpener(t, dir), false},
				{"K", storeOpener(t, dir, nil), false},
				{"M", storeOpener(t, dir, nil), true},
			} {
				f := maps.Clone(f)
				if o.without {
					delete(f, indexFile)
				}
				f.write(t, dir)
				atOnce, err := v.checkOpen(t, o.open, false)
				switch {
				case strings.Contains(strings.ToUpper(c.found), o.letter) && err != nil:
					t.Errorf("%s: %v", o.letter, err)
				case err != nil: // the table says that it does not find it
				case atOnce:
					found.WriteString(o.letter)
				default:
					found.WriteString(strings.ToLower(o.letter))
				}
			}
			if found.String() != c.found {
				t.Errorf("found by %q, the table says %q", found.String(), c.found)
			}
		})
	}
}

// replaceEvent puts into a commit of one event the event of another stream, with the right hash of its payload and the
// right checksum, in place of its own. It does not touch the link.
func replaceEvent(t testing.TB, commit *[]byte) {
	t.Helper()
	b := *commit
	c := log.Commit{First: firstOf(b), Count: 1, Records: b[commitHead:]}
	for r, err := range c.Each() {
		if err != nil {
			t.Fatal(err)
		}
		h, err := event.DecodeHeader(r.Header)
		if err != nil {
			t.Fatal(err)
		}
		h.Entity, h.Content, h.PayloadLength = "x", chain.Content([]byte("forged")), 6
		*commit = log.AppendRecord(b[:commitHead:commitHead], event.AppendHeader(nil, &h), []byte("forged"))
	}
	binary.LittleEndian.PutUint32(*commit, uint32(len(*commit)-8))
	seal(*commit)
}

// The limit of what the files alone can tell: someone who rewrites everything from an event on, and takes the index and
// LOCK away, leaves a store that is whole. A receipt kept elsewhere finds it, as does the receipt of any later event of
// the same stream.
func TestReceiptFindsARewrittenLog(t *testing.T) {
	v := newVictim(t)
	g := takeApart(v.files)
	rewriteEvent(t, 2)(g)
	f := g.putTogether()
	delete(f, indexFile)
	delete(f, lockFile)
	dir := filepath.Join(memoryDir(t), "store")
	f.write(t, dir)
	if rep, err := VerifyDir(t.Context(), dir, nil); err != nil || !rep.OK() || rep.Events != len(v.events) {
		t.Fatalf("the forgery is not perfect: %+v, %v", rep.Findings, err)
	}
	s := openTest(t, dir, nil)
	for _, r := range v.receipts {
		verdict := s.VerifyReceipt(r)
		switch {
		case r.Seq == 2 && verdict.Reason != chain.ContentHashMismatch:
			t.Errorf("receipt of the forged event: %+v", verdict)
		case r.Seq > 2 && r.Entity == "b" && verdict.Reason != chain.PrevHashMismatch:
			t.Errorf("receipt of event %d, behind it in its stream: %+v", r.Seq, verdict)
		case r.Entity != "b" && !verdict.OK():
			t.Errorf("receipt of event %d, of another stream: %+v", r.Seq, verdict)
		}
	}
}
