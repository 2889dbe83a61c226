package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// plainSystem is the pure-segment design as one writes it without batpak's log: what of P's speed is batpak's own shows
// beside it. A record of it is a length, a checksum, the hash of the content, the hash of that and of the record before,
// and the content.
var plainSystem = &system{
	name:     "plain",
	settings: "the pure-segment design written anew without batpak's log: allocated segments of 64 MiB, CRC-32C, a Blake3 chain, maps of ids, entities, scopes and kinds made by scanning at each opening",
	durable:  "fdatasync a group",
	written:  "a write(2)",
	survives: true,
	verifies: true,
	grouped:  true,
	open:     openPlain,
}

const (
	plainSegmentBytes = 64 << 20
	plainHead         = 4 + 4 + 32 + 32 // length and checksum of the rest, content hash, chain hash
	plainMostBytes    = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A plainPlace is where a record is.
type plainPlace struct{ segment, offset, length uint32 }

type plainStore struct {
	dir      string
	durable  bool
	files    []*os.File
	offset   int64 // of the next record, in the last file
	link     [32]byte
	numbers  sequencer
	buf      []byte
	places   []plainPlace // by position, from 1
	ids      map[key]uint64
	entities map[string][]uint64
	scopes   map[string][]uint64
	kinds    map[uint16][]uint64
	group
}

func openPlain(dir string, c config) (store, error) {
	p := &plainStore{dir: dir, durable: c.durable, ids: map[key]uint64{}, entities: map[string][]uint64{}, scopes: map[string][]uint64{},
		kinds: map[uint16][]uint64{}}
	p.commit = p.write
	for {
		f, err := os.OpenFile(p.segment(len(p.files)), os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.files = append(p.files, f)
		if err := p.load(f); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	if len(p.files) > 0 {
		return p, nil
	}
	return p, p.begin()
}

func (p *plainStore) segment(n int) string { return filepath.Join(p.dir, fmt.Sprintf("%08d.seg", n)) }

// load indexes the records of a file.
func (p *plainStore) load(f *os.File) error {
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	p.offset = 0
	for int64(len(b)) >= p.offset+plainHead {
		body, _, chained, err := plainParse(b[p.offset:])
		if err != nil {
			return nil // the torn end; what follows is written over it
		}
		var e event
		if err := parseRecord(body, uint64(len(p.places))+1, &e); err != nil {
			return err
		}
		e.Entity, e.Scope = strings.Clone(e.Entity), strings.Clone(e.Scope)
		p.link = chained
		p.index(&e, plainHead+len(body))
		p.numbers.position, p.numbers.time = e.Key.position(), e.Time
	}
	return nil
}

// plainParse returns what is in the record that b begins with.
func plainParse(b []byte) (body []byte, content, chained [32]byte, err error) {
	n := int64(binary.LittleEndian.Uint32(b))
	if n == 0 || n > plainMostBytes || n > int64(len(b))-8 || crc32.Checksum(b[8:8+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, content, chained, errors.New("no record")
	}
	return b[plainHead : 8+n], [32]byte(b[8:]), [32]byte(b[40:]), nil
}

// index remembers an event that is at the end of the last file.
func (p *plainStore) index(e *event, length int) {
	at := e.Key.position()
	p.places = append(p.places, plainPlace{uint32(len(p.files) - 1), uint32(p.offset), uint32(length)})
	p.ids[e.Key] = at
	p.entities[e.Entity] = append(p.entities[e.Entity], at)
	p.scopes[e.Scope] = append(p.scopes[e.Scope], at)
	p.kinds[e.Kind] = append(p.kinds[e.Kind], at)
	p.offset += int64(length)
}

// begin makes the next file.
func (p *plainStore) begin() error {
	f, err := os.OpenFile(p.segment(len(p.files)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	p.files = append(p.files, f)
	p.offset = 0
	return unix.Fallocate(int(f.Fd()), 0, 0, plainSegmentBytes)
}

func (p *plainStore) write(parts [][]event) error {
	if p.offset >= plainSegmentBytes {
		if err := unix.Fdatasync(int(p.files[len(p.files)-1].Fd())); err != nil {
			return err
		}
		if err := p.begin(); err != nil {
			return err
		}
	}
	p.buf = p.buf[:0]
	from := p.offset
	for _, es := range parts {
		p.numbers.take(es)
		for i := range es {
			p.index(&es[i], p.encode(&es[i]))
		}
	}
	file := p.files[len(p.files)-1]
	if _, err := file.WriteAt(p.buf, from); err != nil || !p.durable {
		return err
	}
	return unix.Fdatasync(int(file.Fd()))
}

// encode appends the record of an event to buf and returns its length.
func (p *plainStore) encode(e *event) int {
	from := len(p.buf)
	p.buf = append(p.buf, make([]byte, plainHead)...)
	p.buf = appendRecord(p.buf, e)
	b := p.buf[from:]
	content := blake3.Sum256(b[plainHead:])
	var both [64]byte
	copy(both[:], p.link[:])
	copy(both[32:], content[:])
	p.link = blake3.Sum256(both[:])
	copy(b[8:], content[:])
	copy(b[40:], p.link[:])
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return len(b)
}

func (p *plainStore) Get(k key, e *event) error {
	at := p.ids[k]
	if at == 0 {
		return fmt.Errorf("event %x is not there", k)
	}
	return p.read(at, e)
}

// read makes e the event at a position.
func (p *plainStore) read(at uint64, e *event) error {
	place := p.places[at-1]
	b := make([]byte, place.length)
	if _, err := p.files[place.segment].ReadAt(b, int64(place.offset)); err != nil {
		return err
	}
	return plainOpen(b, at, e)
}

// plainOpen makes e the event of a record, and compares checksum and hash.
func plainOpen(b []byte, at uint64, e *event) error {
	body, content, _, err := plainParse(b)
	if err == nil && blake3.Sum256(body) != content {
		err = errors.New("hash is wrong")
	}
	if err != nil {
		return fmt.Errorf("event %d: %w", at, err)
	}
	return parseRecord(body, at, e)
}

func (p *plainStore) Query(q query, visit func(*event) error) error {
	visit = limited(q.Limit, visit)
	var list []uint64
	switch {
	case q.Entity != "":
		list = p.entities[q.Entity]
	case q.Scope != "":
		list = p.scopes[q.Scope]
	case q.Kind != 0:
		list = p.kinds[q.Kind]
	default:
		return p.scan(q, visit)
	}
	var e event
	for _, at := range list {
		if at <= q.After {
			continue
		}
		if err := p.read(at, &e); err != nil {
			return err
		}
		if err := visit(&e); err != nil {
			return unlessEnough(err)
		}
	}
	return nil
}

// scan visits events in commit order, and reads a good many at a time.
func (p *plainStore) scan(q query, visit func(*event) error) error {
	from := q.After + 1
	if q.Until != 0 {
		var err error
		if from, err = firstAt(uint64(len(p.places)), q.Since, p.timeAt); err != nil {
			return err
		}
	}
	for from <= uint64(len(p.places)) {
		first := p.places[from-1]
		n, bytes := from, uint32(0)
		for ; n <= uint64(len(p.places)) && p.places[n-1].segment == first.segment && bytes < 128<<10; n++ {
			bytes += p.places[n-1].length
		}
		b := make([]byte, bytes)
		if _, err := p.files[first.segment].ReadAt(b, int64(first.offset)); err != nil {
			return err
		}
		for ; from < n; from++ {
			length := p.places[from-1].length
			var e event
			if err := plainOpen(b[:length], from, &e); err != nil {
				return err
			}
			if q.Until != 0 && e.Time >= q.Until {
				return nil
			}
			if err := visit(&e); err != nil {
				return unlessEnough(err)
			}
			b = b[length:]
		}
	}
	return nil
}

func (p *plainStore) timeAt(position uint64) (int64, error) {
	var e event
	err := p.read(position, &e)
	return e.Time, err
}

func (p *plainStore) Close() (err error) {
	if len(p.files) > 0 {
		err = unix.Fdatasync(int(p.files[len(p.files)-1].Fd()))
	}
	for _, f := range p.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
