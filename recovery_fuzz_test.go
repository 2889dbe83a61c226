package batpak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// A patient is a small closed store that is the same each time, and what is known about it: what damage is held against.
type patient struct {
	victim                 // the files have an index as openDiskDB keeps it
	commits map[Seq][]byte // by their first event
	links   map[Seq]Hash   // of the commit that ends with an event, and of 0 the origin
	indexes [][]byte       // the index file after each commit, the oldest first
}

var patientStore = StoreID{0x5A, 15: 1}

// newPatient makes a store of 30 events in some segments. The commits of the newest are longer than a sector, and were only
// written, so none says that the one before it was durable.
func newPatient(t testing.TB) *patient {
	t.Helper()
	p := &patient{commits: map[Seq][]byte{}, links: map[Seq]Hash{}}
	id := identity{store: patientStore, created: 1}
	l := newLife(crashOptions(Durable))
	l.opts.SegmentBytes = 3400
	if err := errors.Join(l.disk.Put(identityFile, id.encode()), l.openStore()); err != nil {
		t.Fatal(err)
	}
	for n := 0; len(p.receipts) < 30; n++ {
		ps := patientProposals(n)
		p.receipts = append(p.receipts, mustCommit(t, l.s, ps...)...)
		if ps[0].Durability == Written {
			continue
		}
		if err := l.fold(); err != nil {
			t.Fatal(err)
		}
		p.indexes = append(p.indexes, l.saved.files[len(l.saved.files)-1])
	}
	if err := l.s.Sync(); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.events, err = gather(l.s.Query(Query{})); err != nil {
		t.Fatal(err)
	}
	closeTest(t, l.s)
	p.files = readDisk(t, l.disk)
	p.links[0] = chain.Origin(id.store)
	for _, name := range p.files.segments() {
		for _, part := range dissect(p.files[name])[1:] {
			b := p.files[name][part.offset:][:part.length]
			p.commits[part.first], p.links[part.last()] = b, Hash(b[28:60])
		}
	}
	if n := len(p.files.segments()); n < 4 || len(p.events) != 30 || len(p.indexes) < 12 {
		t.Fatalf("%d segments, %d events, %d indexes", n, len(p.events), len(p.indexes))
	}
	return p
}

// patientProposals returns those of commit n: one to three of some streams, or one of some size.
func patientProposals(n int) (ps []Proposal) {
	for i := range 1 + n%3 {
		p := raw(string("abc"[(n+i)%3]), fmt.Sprintf("payload %d of commit %d", i, n))
		p.Lane = event.Lane(n % 5 / 4)
		ps = append(ps, p)
	}
	if n > 10 {
		ps = ps[:1]
		ps[0].Data = append(bytes.Repeat([]byte("long "), 40+40*(n%3)), make([]byte, 300)...)
	}
	if n > 15 {
		ps[0].Durability = Written
	}
	if len(ps) == 1 && n%4 != 0 {
		ps[0].Key, ps[0].Extensions = fmt.Sprint("key ", n), map[string][]byte{"a.b": []byte("extension")}
	}
	return ps
}

// readDisk returns the files of a simulated disk.
func readDisk(t testing.TB, d *crashfs.Disk) files {
	t.Helper()
	f := files{}
	for _, dir := range []string{"", "log/"} {
		names, err := d.ReadDir(cmpOr(strings.TrimSuffix(dir, "/"), "."))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if b, err := vfs.ReadFile(d, dir+name, 1<<30); err == nil { // not a directory
				f[dir+name] = b
			}
		}
	}
	return f
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// put makes a simulated disk with the files.
func (f files) put(t testing.TB) *crashfs.Disk {
	t.Helper()
	d := crashfs.New()
	if err := d.Mkdir("log"); err != nil {
		t.Fatal(err)
	}
	for name, b := range f {
		if err := d.Put(name, b); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (f files) sizeBytes() (n int64) {
	for _, b := range f {
		n += int64(len(b))
	}
	return n
}

// Damage is a string of steps of 8 bytes each:
//
//	0  u8   what is done; see damageSteps
//	1  u8   to which file: its place among the names, counted round them
//	2  u16  from where, counted round the length of the file
//	4  u16  how much, or to where
//	6  u8   a value
//	7  u8   another file, or what else the step needs
const (
	stepBytes = 8
	maxSteps  = 16
	maxFile   = 64 << 10 // that a step makes
)

// A surgery is damage under way.
type surgery struct {
	files   files
	indexes [][]byte
	name    string // of the file that the step is done to
	other   string
	from    int // in the file, if it is not empty
	amount  int
	value   byte
	choice  int
	forged  bool // a run of the index may say what it likes
}

// damageSteps are what a step may do. Where nothing sensible can be done nothing is.
var damageSteps = []struct {
	name string
	do   func(s *surgery, b []byte) []byte
}{
	{"flip", func(s *surgery, b []byte) []byte { b[s.from] ^= 1 << (s.value % 8); return b }},
	{"set", func(s *surgery, b []byte) []byte { b[s.from] = s.value; return b }},
	{"fill", func(s *surgery, b []byte) []byte {
		part := b[s.from:min(len(b), s.from+s.amount)]
		copy(part, bytes.Repeat([]byte{s.value}, len(part)))
		return b
	}},
	{"truncate", func(s *surgery, b []byte) []byte { return b[:s.from] }},
	{"extend", func(s *surgery, b []byte) []byte { return append(b, bytes.Repeat([]byte{s.value}, s.amount)...) }},
	{"swap", func(s *surgery, b []byte) []byte {
		n := 1 << (4 + s.value%6)
		one, two := s.from/n*n, s.amount%len(b)/n*n
		if max(one, two)+n <= len(b) {
			kept := bytes.Clone(b[one : one+n])
			copy(b[one:], b[two:two+n])
			copy(b[two:], kept)
		}
		return b
	}},
	{"move", func(s *surgery, b []byte) []byte {
		copy(b[s.from:], bytes.Clone(b[s.amount%len(b):min(len(b), s.amount%len(b)+int(s.value)*4)]))
		return b
	}},
	{"delete", func(s *surgery, b []byte) []byte { return nil }},
	{"copy over", func(s *surgery, b []byte) []byte { return bytes.Clone(s.files[s.other]) }},
	{"under another name", func(s *surgery, b []byte) []byte {
		seq := Seq(s.choice)
		if s.value == 0xFF {
			seq = 1<<64 - 1 - seq
		}
		s.files[log.SegmentName(seq)] = bytes.Clone(b)
		return b
	}},
	{"drop a commit", func(s *surgery, b []byte) []byte { return s.splice(b, nil) }},
	{"double a commit", func(s *surgery, b []byte) []byte {
		other := s.files[s.other]
		cuts := commitCuts(other)
		if len(cuts) < 2 {
			return b
		}
		i := int(s.value) % (len(cuts) - 1)
		return s.splice(b, bytes.Clone(other[cuts[i]:cuts[i+1]]))
	}},
	{"number a commit", func(s *surgery, b []byte) []byte {
		cuts := commitCuts(b)
		if len(cuts) < 2 {
			return b
		}
		switch c := b[cuts[s.from%(len(cuts)-1)]:]; s.choice % 3 {
		case 0:
			binary.LittleEndian.PutUint64(c[8:], uint64(s.value)) // first seq
		case 1:
			binary.LittleEndian.PutUint32(c[16:], uint32(s.value)) // count
		default:
			binary.LittleEndian.PutUint64(c[20:], uint64(s.value)) // durable watermark
		}
		return b
	}},
	{"repair", func(s *surgery, b []byte) []byte { return s.repair(b) }},
	{"stale", func(s *surgery, b []byte) []byte {
		s.files[indexFile] = bytes.Clone(s.indexes[int(s.value)%len(s.indexes)])
		return s.files[s.name]
	}},
	{"zeros of a sector", func(s *surgery, b []byte) []byte {
		at := s.from / 512 * 512
		clear(b[at:min(len(b), at+512)])
		return b
	}},
}

// splice replaces a commit, or with an odd choice what lies before one, by others.
func (s *surgery) splice(b, others []byte) []byte {
	cuts := commitCuts(b)
	i := s.from % len(cuts)
	end := cuts[min(i+1, len(cuts)-1)]
	if s.choice%2 == 1 {
		end = cuts[i]
	}
	return slices.Concat(b[:cuts[i]], others, b[end:])
}

// commitCuts returns where the commits of a segment begin and where the last one ends, as far as their lengths make sense.
func commitCuts(b []byte) []int {
	at := min(segmentHead, len(b))
	cuts := []int{at}
	for len(b)-at > commitHead {
		n := 8 + int(binary.LittleEndian.Uint32(b[at:]))
		if n <= commitHead || n > len(b)-at {
			break
		}
		at += n
		cuts = append(cuts, at)
	}
	return cuts
}

// repair makes right the checksums of whatever the file is.
func (s *surgery) repair(b []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	switch {
	case strings.HasPrefix(s.name, "log/"):
		if len(b) >= segmentHead {
			repair(b, 0)
		}
		cuts := commitCuts(b)
		for _, at := range cuts[:len(cuts)-1] {
			repair(b, at)
		}
	case s.name == identityFile && len(b) >= identityBytes:
		binary.LittleEndian.PutUint32(b[12:], 0)
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:identityBytes], table))
	case s.name == lockFile && len(b) >= holderBytes+watermarkBytes:
		w := watermarks{Seq(binary.LittleEndian.Uint64(b[holderBytes:])), Seq(binary.LittleEndian.Uint64(b[holderBytes+8:]))}
		copy(b[holderBytes:], w.encode(nil, patientStore))
	case s.name == indexFile && len(b) >= 4:
		s.forged = s.forged || s.choice%2 == 1
		b = repairIndex(b, s.choice%2 == 1)
	}
	return b
}

// repairIndex makes the image of an index whole again that was damaged within values. With runs it repairs the checksums that
// runs have of their own too, but not that of the meta record.
func repairIndex(b []byte, runs bool) []byte {
	var values [][]byte
	rest := b[4:]
	for n := 0; len(rest) > 0; n++ {
		size, k := binary.Uvarint(rest)
		if k <= 0 || size > uint64(len(rest)-k) || n%3 == 0 && size == 0 { // no bucket is without a name
			return b
		}
		if n%3 == 2 && size > 4 {
			values = append(values, rest[k:k+int(size)])
		}
		rest = rest[k+int(size):]
	}
	for _, v := range values {
		if runs && string(v[min(8, len(v)):min(len(v), 24)]) != string(patientStore[:]) {
			binary.LittleEndian.PutUint32(v, crc32.Checksum(v[4:], crc32.MakeTable(crc32.Castagnoli)))
		}
	}
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return b
}

// operate does the steps on a copy of the files, and says what was done.
func operate(f files, indexes [][]byte, steps []byte) (after *surgery, done string) {
	s := surgery{files: files{}, indexes: indexes}
	for name, b := range f {
		s.files[name] = bytes.Clone(b)
	}
	for n := 0; len(steps) >= stepBytes && n < maxSteps && len(s.files) > 0; steps, n = steps[stepBytes:], n+1 {
		names := slices.Sorted(maps.Keys(s.files))
		s.name, s.other = names[int(steps[1])%len(names)], names[int(steps[7])%len(names)]
		s.from, s.amount = int(binary.LittleEndian.Uint16(steps[2:])), int(binary.LittleEndian.Uint16(steps[4:]))
		s.value, s.choice = steps[6], int(steps[7])
		step := damageSteps[int(steps[0])%len(damageSteps)]
		b := s.files[s.name]
		if len(b) > 0 {
			s.from %= len(b)
			b = step.do(&s, b)
		} else if step.name == "extend" {
			b = step.do(&s, b)
		}
		done += fmt.Sprintf("%s %s %d %d %#02x %d; ", step.name, s.name, s.from, s.amount, s.value, s.choice)
		switch {
		case step.name == "delete":
			delete(s.files, s.name)
		case len(b) <= maxFile:
			s.files[s.name] = b
		}
	}
	return &s, done
}

// An anchor is what the index file knows of the log: a position, the row of the event before it, and that so many events
// were durable. An index whose rows cannot be read knows only the last, and so does one with another row than the log, if
// its checksum is wrong.
type anchor struct {
	index.Position
	row     index.Row
	damaged bool // the checksum of the run that holds the row is wrong
	witness Seq
}

func anchorIn(t testing.TB, f files, store StoreID) anchor {
	t.Helper()
	b, ok := f[indexFile]
	if !ok {
		return anchor{}
	}
	db, err := openDiskDB(files{indexFile: b}.put(t), &savedIndexes{})
	if err != nil {
		return anchor{}
	}
	defer db.Close()
	x, err := index.Open(db, store)
	if err != nil {
		return anchor{}
	}
	a := anchor{Position: x.Position(), witness: x.Position().Seq}
	if a.witness == 0 {
		return anchor{}
	}
	if a.row, err = x.Anchor(); err != nil {
		return anchor{witness: a.witness}
	}
	_, err = x.Row(a.witness)
	a.damaged = err != nil
	return a
}

// foresee says what opening must come to, by the words of docs/FORMAT.md and docs/architecture.md and without the code: the
// seq at which the store ends, or that it must be refused. What it knows beside the files is which commits are genuine:
// nobody can make another whose hashes fit.
func (p *patient) foresee(t testing.TB, f files) (last Seq, refused bool) {
	t.Helper()
	id, ok := f[identityFile]
	if !ok { // a new store, where there is none
		_, indexed := f[indexFile]
		return 0, indexed || len(f.segments()) > 0
	}
	if len(id) != identityBytes || string(id[:8]) != identityMagic || binary.LittleEndian.Uint32(id[8:]) != 1 || !fits(id, 12) {
		return 0, true
	}
	store := StoreID(id[16:32])
	a := anchorIn(t, f, store)
	witness := max(a.witness, p.lockWitness(f, store))
	r := reading{patient: p, files: f, store: store, at: a.Position}
	for _, name := range f.segments() {
		digits, isSegment := strings.CutSuffix(strings.TrimPrefix(name, "log/"), ".seg")
		if first, err := strconv.ParseUint(digits, 10, 64); isSegment && len(digits) == 20 && err == nil && first > 0 {
			r.firsts = append(r.firsts, Seq(first))
		}
	}
	if a.Seq > 0 && !r.anchored(&a.row) {
		if !a.damaged {
			return 0, true
		}
		r.at = index.Position{}
	}
	if len(r.firsts) == 0 {
		return 0, witness > 0
	}
	if r.firsts[0] != 1 || !r.read() || !r.mayEnd(witness) {
		return 0, true
	}
	return r.at.Seq, false
}

// fits reports whether the CRC-32C of b is what its bytes at offset say, with those as zero.
func fits(b []byte, offset int) bool {
	zeroed := bytes.Clone(b)
	clear(zeroed[offset : offset+4])
	return binary.LittleEndian.Uint32(b[offset:]) == crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli))
}

// lockWitness returns the durable watermark in LOCK, or 0.
func (p *patient) lockWitness(f files, store StoreID) Seq {
	b := f[lockFile]
	if len(b) < 276 {
		return 0
	}
	sum := crc32.Checksum(slices.Concat(store[:], b[256:272]), crc32.MakeTable(crc32.Castagnoli))
	if binary.LittleEndian.Uint32(b[272:]) != sum {
		return 0
	}
	return Seq(binary.LittleEndian.Uint64(b[264:]))
}

// A reading follows the log from a position.
type reading struct {
	*patient
	files  files
	store  StoreID
	firsts []Seq
	at     index.Position
	rest   []byte // behind at, in the newest segment
}

// anchored reports whether the record of the row, which the index says to be the last before the position, is there.
func (r *reading) anchored(row *index.Row) bool {
	i, found := slices.BinarySearch(r.firsts, r.at.Seq)
	if !found {
		i--
	}
	end := int64(row.Offset) + int64(row.Length)
	if i < 0 || r.firsts[i] != r.at.Segment || end != r.at.Offset || int(r.at.Seq) > len(r.events) {
		return false
	}
	name := log.SegmentName(r.at.Segment)
	b, original := r.files[name], r.patient.files[name]
	if int64(min(len(b), len(original))) < r.at.Offset || !r.header(b, r.at.Segment) {
		return false
	}
	same := bytes.Equal(b[row.Offset:r.at.Offset], original[row.Offset:r.at.Offset])
	return same && row.Check == [8]byte(r.events[r.at.Seq-1].Hash[:8])
}

// header reports whether a segment has a good header.
func (r *reading) header(b []byte, first Seq) bool {
	return len(b) >= segmentHead && string(b[:8]) == "BATPAKSG" && binary.LittleEndian.Uint32(b[8:]) == 1 &&
		fits(b[:segmentHead], 12) && StoreID(b[16:32]) == r.store && Seq(binary.LittleEndian.Uint64(b[32:])) == first
}

// read takes commits up to the first that is not whole, and reports whether nothing is wrong before that.
func (r *reading) read() bool {
	if r.at.Seq == 0 {
		r.at = index.Position{Segment: 1, Offset: segmentHead}
	}
	for i, first := range r.firsts {
		if first < r.at.Segment {
			continue
		}
		if first > r.at.Segment {
			r.at.Segment, r.at.Offset = first, segmentHead
		}
		if !r.segment(i == len(r.firsts)-1) {
			return false
		}
	}
	return true
}

func (r *reading) segment(newest bool) bool {
	b := r.files[log.SegmentName(r.at.Segment)]
	if !r.header(b, r.at.Segment) || int64(len(b)) < r.at.Offset {
		return false
	}
	if r.at.Offset == segmentHead && (r.at.Segment != r.at.Seq+1 || Hash(b[40:72]) != r.links[r.at.Seq]) {
		return false
	}
	for {
		rest := b[r.at.Offset:]
		first, n := wholeCommit(rest)
		if n == 0 || first != r.at.Seq+1 {
			r.rest = rest
			return newest || len(rest) == 0
		}
		if !bytes.Equal(rest[:n], r.commits[first]) {
			return false // it is whole, but no hash can be right
		}
		r.at.Seq, r.at.Offset = first+Seq(binary.LittleEndian.Uint32(rest[16:]))-1, r.at.Offset+int64(n)
	}
}

// wholeCommit returns the first seq and the length of the commit that b begins with, or 0 if it is not whole.
func wholeCommit(b []byte) (first Seq, length int) {
	if len(b) < commitHead {
		return 0, 0
	}
	n := int64(binary.LittleEndian.Uint32(b)) + 8
	if n <= commitHead+recordHead || n > min(int64(len(b)), 64<<20) {
		return 0, 0
	}
	first, count := Seq(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint32(b[16:]))
	durable := Seq(binary.LittleEndian.Uint64(b[20:]))
	if count == 0 || count > (n-commitHead)/recordHead || durable >= first ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:n], crc32.MakeTable(crc32.Castagnoli)) {
		return 0, 0
	}
	return first, int(n)
}

// mayEnd reports whether what follows the last commit may have been torn by a crash, or is nothing.
func (r *reading) mayEnd(witness Seq) bool {
	if r.at.Seq < witness {
		return false
	}
	torn := false // whether a sector that ends before the first whole commit is unwritten
	start := int(r.at.Offset)
	for i := range r.rest {
		if i > 0 && (start+i)%512 == 0 {
			torn = torn || len(bytes.Trim(r.rest[max(0, i-512):i], "\x00")) == 0
		}
		first, n := wholeCommit(r.rest[i:])
		if n == 0 || first <= r.at.Seq || first > r.at.Seq+1+Seq(len(bytes.TrimRight(r.rest, "\x00"))/8) {
			continue
		}
		if Seq(binary.LittleEndian.Uint64(r.rest[i+20:])) > r.at.Seq || !torn {
			return false
		}
	}
	return true
}

// A meter is a file system that counts the bytes read. Where they become more than any opening needs it panics.
type meter struct {
	vfs.FS
	left atomic.Int64
}

type meterFile struct {
	vfs.File
	m *meter
}

func (m *meter) file(f vfs.File, err error) (vfs.File, error) {
	if f == nil {
		return nil, err
	}
	return meterFile{f, m}, err
}

func (m *meter) Create(name string) (vfs.File, error)   { return m.file(m.FS.Create(name)) }
func (m *meter) Open(name string) (vfs.File, error)     { return m.file(m.FS.Open(name)) }
func (m *meter) OpenRead(name string) (vfs.File, error) { return m.file(m.FS.OpenRead(name)) }
func (m *meter) Lock(name string) (vfs.File, error)     { return m.file(m.FS.Lock(name)) }

func (f meterFile) ReadAt(b []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(b, offset)
	if f.m.left.Add(-int64(n)) < 0 {
		panic("it reads on and on")
	}
	return n, err
}

// Bounds of what one use of a damaged store may read and allocate. An undamaged one takes about a sixth of each.
const (
	mostRead       = 16 << 20
	mostAllocated  = 12 << 20
	allocatedTimes = 64 // for each byte of the files
)

// totalAllocated returns how many bytes were allocated so far.
func totalAllocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// FuzzRecovery damages the files of a store in every way that a step knows, and opens it on a simulated disk. Whether that
// is refused, and with how many events it opens, must be as foreseen. No reading gives an event that is not the one
// appended at its place, or takes memory that only a damaged length asks for; and what is appended then is there when the
// store is opened again.
func FuzzRecovery(f *testing.F) {
	p := newPatient(f)
	for _, steps := range recoverySeeds {
		f.Add([]byte(steps))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		s, done := operate(p.files, p.indexes, steps)
		before := totalAllocated()
		use := recovered{patient: p, files: s.files, forged: s.forged, disk: s.files.put(t)}
		err := use.writer(t)
		if err == nil {
			err = use.reader(t)
		}
		if err != nil {
			t.Errorf("%s%v", done, err)
		}
		if n, most := totalAllocated()-before, mostAllocated+allocatedTimes*uint64(s.files.sizeBytes()); n > most {
			t.Errorf("%s%d bytes allocated, more than %d", done, n, most)
		}
	})
}

// A recovered is a damaged store that is used.
type recovered struct {
	*patient
	files  files
	forged bool // what the index leaves out cannot be known
	disk   *crashfs.Disk
	saved  savedIndexes
}

// open opens the store for writing, through a meter.
func (r *recovered) open() (*Store, error) {
	m := &meter{FS: r.disk}
	m.left.Store(mostRead + 100*r.files.sizeBytes())
	return r.openOn(m)
}

// openOn opens the store for writing on the disk, or what is before it.
func (r *recovered) openOn(f vfs.FS) (*Store, error) {
	o := crashOptions(Durable)
	o.fs, o.openIndex = f, func() (kv.DB, error) { return openDiskDB(r.disk, &r.saved) }
	return Open("disk", &o)
}

// writer opens, reads, appends and opens again.
func (r *recovered) writer(t testing.TB) error {
	last, refused := r.foresee(t, r.files)
	s, err := r.open()
	switch {
	case err != nil && !refused:
		return fmt.Errorf("open: %w, and it must open with %d events", err, last)
	case err != nil && !telling(err, true):
		return fmt.Errorf("open: %w", err)
	case err != nil:
		return nil
	case refused:
		return errors.Join(fmt.Errorf("opened with %d events, and it must be refused", s.Visible()), s.Close())
	case s.Visible() != last:
		return errors.Join(fmt.Errorf("opened with %d events, and it must have %d", s.Visible(), last), s.Close())
	}
	if s.opened.Created { // all of it is gone: another store, of which nothing is known
		return s.Close()
	}
	err = r.check(t, &s.view, last)
	if err == nil {
		err = verified(s.Verify(t.Context(), nil))
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return r.goOn(t, s, last)
}

// verified lets those errors of a verification pass that tell of damage.
func verified(_ Report, err error) error {
	if err != nil && !telling(err, true) {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// goOn appends an event, which must be there when the store is opened again.
func (r *recovered) goOn(t testing.TB, s *Store, last Seq) error {
	rs, err := s.Commit(raw("z", "new"))
	if closeErr := s.Close(); closeErr != nil && !telling(closeErr, true) {
		return fmt.Errorf("close: %w", closeErr)
	}
	if err != nil {
		if !telling(err, true) {
			return fmt.Errorf("append: %w", err)
		}
		return nil // an index that had to be rebuilt, and could not
	}
	if s, err = r.open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer s.Close()
	e, err := s.At(last + 1)
	if s.Visible() != last+1 || err != nil || e.Hash != rs[0].Hash || string(e.Payload) != "new" {
		return fmt.Errorf("opened again with %d events, event %d is %v: %w", s.Visible(), last+1, e.Hash, err)
	}
	return nil
}

// reader opens the store for reading, as another process would.
func (r *recovered) reader(t testing.TB) error {
	m := &meter{FS: r.files.put(t)}
	m.left.Store(mostRead + 100*r.files.sizeBytes())
	w := &Reader{}
	err := w.open(m)
	defer func() { // Close would also close the directory, which there is none of
		w.closed.Store(true)
		if w.db != nil {
			w.segments.Close()
			w.db.Close()
		}
	}()
	_, has := r.files[identityFile]
	switch {
	case err != nil && (telling(err, true) || !has):
		return nil
	case err != nil:
		return fmt.Errorf("reader: %w", err)
	}
	if err = r.check(t, &w.view, w.Visible()); err == nil {
		err = verified(w.Verify(t.Context(), nil))
	}
	if err != nil {
		return fmt.Errorf("reader: %w", err)
	}
	return nil
}

// check reads all that there is in every way.
func (r *recovered) check(t testing.TB, w *view, last Seq) error {
	if last > Seq(len(r.events)) {
		return fmt.Errorf("%d events of %d", last, len(r.events))
	}
	v := victim{events: r.events[:last]}
	if r.forged {
		return r.checkForged(w, last)
	}
	if err := v.checkView(w, true); err != nil {
		return err
	}
	if _, err := w.At(last + 1); !errors.Is(err, ErrNotFound) && !telling(err, true) {
		return fmt.Errorf("event %d, behind the last: %w", last+1, err)
	}
	if last == 0 {
		return nil
	}
	es, err := gather(w.Follow(t.Context(), Query{Through: last}))
	if err != nil && !telling(err, true) || err == nil && len(es) != int(last) {
		return fmt.Errorf("follow: %d events of %d: %w", len(es), last, err)
	}
	for _, from := range []Seq{last, last / 2} {
		if err := r.walk(w, from); err != nil {
			return fmt.Errorf("walk from %d: %w", from, err)
		}
	}
	return nil
}

// checkForged reads what an index leads to whose checksums are right and whose content need not be.
func (r *recovered) checkForged(w *view, last Seq) error {
	for seq := Seq(1); seq <= last; seq++ {
		if e, err := w.At(seq); err == nil && !equal(&e, &r.events[seq-1]) || err != nil && !telling(err, true) {
			return fmt.Errorf("event %d, %v: %w", seq, e.Hash, err)
		}
	}
	for _, q := range []Query{{}, {Reverse: true}, {Entity: "a"}, {Prefix: "b", Reverse: true}, {Kind: 0xF001, Scope: "s"}} {
		es, err := gather(w.Query(q))
		if err != nil && !telling(err, true) {
			return fmt.Errorf("query %+v: %w", q, err)
		}
		for i := range es {
			if e := &es[i]; e.Seq > last || !equal(e, &r.events[e.Seq-1]) || !q.Match(&e.Header) {
				return fmt.Errorf("query %+v: event %d is another one", q, e.Seq)
			}
		}
	}
	return r.walk(w, last)
}

// walk follows the ancestry of an event.
func (r *recovered) walk(w *view, from Seq) error {
	if from == 0 {
		return nil
	}
	walk, err := w.Walk(r.events[from-1].ID, len(r.events))
	if err != nil {
		if !telling(err, true) {
			return err
		}
		return nil
	}
	for i := range walk.Events {
		if e := &walk.Events[i]; !equal(e, &r.events[e.Seq-1]) || e.Clock != r.events[from-1].Clock-Clock(i) {
			return fmt.Errorf("step %d is another event", i)
		}
	}
	if complete := len(walk.Events) == int(r.events[from-1].Clock); complete != (walk.End == chain.ReachedGenesis) {
		return fmt.Errorf("%d events, and it ended at %q", len(walk.Events), walk.End)
	}
	return nil
}

// FuzzRecoveryFiles does the same in a directory, where the index is a file of bbolt and readers of other processes look. It
// is slower, and what the index knows is not foreseen: so much must be there as LOCK says, and all if the index is whole. What
// Diagnose says of opening is so, and what is refused opens when it has been repaired.
func FuzzRecoveryFiles(f *testing.F) {
	p := newPatient(f)
	dir := filepath.Join(memoryDir(f), "store")
	delete(p.files, indexFile)
	p.files.write(f, dir)
	closeTest(f, openTest(f, dir, nil))
	p.files = readFiles(f, dir)
	p.indexes = [][]byte{p.files[indexFile]}
	for _, steps := range recoverySeeds {
		f.Add([]byte(steps))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		s, done := operate(p.files, p.indexes, steps)
		if err := p.openFiles(t, dir, s.files); err != nil {
			t.Errorf("%s%v", done, err)
		}
	})
}

// openFiles opens a directory with these files in every way.
func (p *patient) openFiles(t testing.TB, dir string, f files) error {
	f.write(t, dir)
	if err := verified(VerifyDir(t.Context(), dir, nil)); err != nil && f[identityFile] != nil {
		return err
	}
	r := recovered{patient: p, files: f}
	if o, err := readerOpener(t, dir)(); err == nil {
		err = errors.Join(r.check(t, o.view, o.Visible()), verified(o.verify()), o.close())
		if err != nil {
			return fmt.Errorf("reader: %w", err)
		}
	} else if f[identityFile] != nil && !telling(err, true) {
		return fmt.Errorf("open reader: %w", err)
	}
	d, sick := Diagnose(t.Context(), dir, nil)
	s, err := Open(dir, nil)
	if sick == nil && (d.Refused != "") != (err != nil) {
		return fmt.Errorf("diagnosed as %q, and opening gives %w", d.Refused, err)
	}
	if err != nil {
		if !telling(err, true) {
			return fmt.Errorf("open: %w", err)
		}
		return r.repair(t, dir, sick)
	}
	least := p.lockWitness(f, s.StoreID())
	if bytes.Equal(f[indexFile], p.files[indexFile]) && s.StoreID() == p.receipts[0].Store {
		least = Seq(len(p.events))
	}
	last := s.Visible()
	if s.opened.Created {
		return s.Close()
	}
	if last < least {
		return errors.Join(fmt.Errorf("opened with %d events, and %d were known to be durable", last, least), s.Close())
	}
	if err := r.check(t, &s.view, last); err != nil {
		return errors.Join(err, s.Close())
	}
	_, err = s.Append(At("z", "s"), moved{X: 1})
	if err := errors.Join(err, s.Close()); err != nil {
		if !telling(err, true) {
			return fmt.Errorf("append and close: %w", err)
		}
		return nil
	}
	if s, err = Open(dir, nil); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	if s.Visible() != last+1 {
		err = fmt.Errorf("opened again with %d events, not %d", s.Visible(), last+1)
	}
	return errors.Join(err, s.Close())
}

// repair makes a store open again that was refused. sick is why it could not be diagnosed.
func (r *recovered) repair(t testing.TB, dir string, sick error) error {
	rep, err := Repair(t.Context(), dir, func(*Diagnosis) bool { return true }, nil)
	if err != nil {
		if sick == nil || !telling(err, true) && r.files[identityFile] != nil {
			return fmt.Errorf("repair: %w", err)
		}
		return nil
	}
	if len(rep.Recorded) == 0 {
		return errors.New("no event records the repair")
	}
	d, kept := rep.Diagnosis, rep.Recorded[0].Seq-1
	if d.Repair.Cut && kept != d.Repair.After || kept > Seq(len(r.events)) {
		return fmt.Errorf("%d events kept, after %d: %+v", kept, len(r.events), d.Repair)
	}
	if !d.Repair.Cut && len(d.Log.Provable) > 0 && d.Log.Provable[0].First == 1 && kept < d.Log.Provable[0].Last {
		return fmt.Errorf("%d events kept, and %d were provable", kept, d.Log.Provable[0].Last)
	}
	s, err := Open(dir, nil)
	if err != nil {
		return fmt.Errorf("open the repaired store: %w", err)
	}
	defer s.Close()
	for seq := Seq(1); seq <= s.Visible(); seq++ {
		e, err := s.At(seq)
		good := err != nil && telling(err, true)
		switch {
		case err != nil:
		case seq <= kept:
			good = equal(&e, &r.events[seq-1])
		default:
			good = e.Kind == event.KindRepair
		}
		if !good {
			return fmt.Errorf("event %d of the repaired store, of which %d were kept, is of %s: %w", seq, kept, e.Entity, err)
		}
	}
	if s.Visible() <= kept {
		return fmt.Errorf("%d events, of which %d were kept", s.Visible(), kept)
	}
	return nil
}

// recoverySeeds are damage of each sort.
var recoverySeeds = []string{
	"",
	"\x00\x03\x80\x00\x00\x00\x03\x00", // a bit of the first segment
	"\x00\x07\xC0\x00\x00\x00\x03\x00\x0D\x07\x00\x00\x00\x00\x00\x00", // a bit of the newest, repaired
}
