package batpak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
)

// FuzzIdentity takes any bytes for STORE.
func FuzzIdentity(f *testing.F) {
	whole := identity{store: patientStore, created: 1}.encode()
	f.Add(whole)
	f.Add(whole[:11])
	f.Add(append([]byte(identityMagic+"\x01\x00\x00\x00\x00"), whole[13:]...)) // the checksum
	f.Add(append(bytes.Clone(whole), make([]byte, 5000)...))
	f.Fuzz(checkIdentity)
}

// FuzzIdentityFields replaces the fields of STORE, with the checksum made right and then changed by so much.
func FuzzIdentityFields(f *testing.F) {
	f.Add(uint32(1), patientStore[:], int64(1), uint32(0), int16(0))
	f.Add(uint32(0), patientStore[:], int64(-1), uint32(0), int16(0))
	f.Add(uint32(2), patientStore[:], int64(1), uint32(1), int16(-20))
	f.Add(uint32(1), patientStore[:], int64(1), uint32(0), int16(5000))
	f.Fuzz(func(t *testing.T, format uint32, store []byte, created int64, wrong uint32, by int16) {
		id := identity{created: Timestamp(created)}
		copy(id.store[:], store)
		b := id.encode()
		binary.LittleEndian.PutUint32(b[8:], format)
		clear(b[12:16])
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli)^wrong)
		checkIdentity(t, append(b, make([]byte, 1<<15)...)[:max(0, identityBytes+int(by))])
	})
}

// checkIdentity reads STORE. What is accepted is the one spelling of what was read; what is not is damage or of the future.
func checkIdentity(t *testing.T, b []byte) {
	d := crashfs.New()
	if err := d.Put(identityFile, b); err != nil {
		t.Fatal(err)
	}
	before := totalAllocated()
	id, created, err := loadIdentity(d, true, 5)
	if n := totalAllocated() - before; n > 32<<10 {
		t.Errorf("%d bytes allocated for %d", n, len(b))
	}
	if err != nil {
		if !telling(err, true) || !strings.Contains(err.Error(), identityFile) {
			t.Errorf("%x: %v", b, err)
		}
		return
	}
	if created || !bytes.Equal(id.encode(), b) {
		t.Errorf("%x read as %+v, made: %v", b, id, created)
	}
}

// FuzzLock takes any bytes for the content of LOCK: a watermark is believed only if its checksum is right, and the holder is
// named in one line that a terminal can show.
func FuzzLock(f *testing.F) {
	holder := append([]byte("4711 host\n"), make([]byte, holderBytes-10)...)
	f.Add(append(bytes.Clone(holder), watermarks{7, 7}.encode(nil, patientStore)...), uint64(8), uint64(8), false)
	f.Add(append(bytes.Clone(holder), watermarks{noBound, 7}.encode(nil, patientStore)...), uint64(1<<64-1), uint64(0), true)
	f.Add(append(bytes.Clone(holder), "\x07\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...), uint64(0), uint64(0), false)
	f.Add([]byte("4711"), uint64(0), uint64(0), false)
	f.Add([]byte("1 \x1b[2J\xff\n2"), uint64(0), uint64(0), true)
	f.Add([]byte("\xe6 \x96\x9a"), uint64(0), uint64(0), false) // a character across the space
	f.Fuzz(func(t *testing.T, b []byte, visible, durable uint64, put bool) {
		want := watermarks{Seq(visible), Seq(durable)}
		if put { // whole ones, wherever the file ends
			b = append(append(b, make([]byte, holderBytes)...)[:holderBytes], want.encode(nil, patientStore)...)
		}
		d := crashfs.New()
		if err := d.Put(lockFile, b); err != nil {
			t.Fatal(err)
		}
		file, err := d.OpenRead(lockFile)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		got, ok, err := readWatermarks(file, patientStore)
		rest := b[min(holderBytes, len(b)):]
		whole := len(rest) >= watermarkBytes && crc32.Checksum(append(patientStore[:], rest[:16]...), castagnoli) == binary.LittleEndian.Uint32(rest[16:])
		if err != nil || ok != whole || put && (!ok || got != want) || !ok && got != (watermarks{}) {
			t.Errorf("%x: watermarks %+v, %v, %v", b, got, ok, err)
		}
		checkHolder(t, d, file)
	})
}

// checkHolder checks how a holder is named to whoever comes second.
func checkHolder(t *testing.T, d *crashfs.Disk, file vfs.File) {
	t.Helper()
	name := readHolder(file)
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if name == "" || len(name) > 2*holderBytes || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) {
		t.Errorf("holder %q", name)
	}
	first, err := d.Lock(lockFile)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = acquireLock(d, "dir")
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.Holder != name {
		t.Errorf("second: %v", err)
	}
}

// FuzzPage asks for pages with any bounds, from any position on: together they are what the events themselves, one by one,
// say is selected, and the position that each page leads to is where it ended.
func FuzzPage(f *testing.F) {
	p := newPatient(f)
	r := recovered{patient: p, files: p.files, disk: p.files.put(f)}
	s, err := r.openOn(r.disk)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 5 { // so that some are in the tail
		child := with(raw("a", "child"), func(p *Proposal) { p.Lane, p.Correlation = 1, r.receipts[i].ID })
		rs := mustCommit(f, s, raw("a", fmt.Sprint("tail ", i)), child)
		for _, r := range rs {
			e, err := s.At(r.Seq)
			if err != nil {
				f.Fatal(err)
			}
			p.events = append(p.events, e)
		}
	}
	f.Cleanup(func() { closeTest(f, s) })
	first, last := p.events[0].Time.Time().UnixMicro(), p.events[len(p.events)-1].Time.Time().UnixMicro()
	id := p.events[1].ID
	const most, half = uint64(1<<64 - 1), uint64(1 << 63)
	none := uint64(0)
	f.Add("", "", "", uint16(0), uint8(0), none, none, none, none, int64(0), int64(0), id[:], uint8(3))
	f.Add("a", "", "s", uint16(0xF001), uint8(4), uint64(3), most, uint64(1), most, first, last, []byte{}, uint8(7))
	f.Add("", "a:b", "s", uint16(0), uint8(255), most-1, most, most, none, last, int64(math.MaxInt64), id[:], uint8(12))
	f.Add("", "b", "", uint16(1), uint8(30), uint64(30), uint64(31), half, half, int64(math.MinInt64), first, id[:5], uint8(1))
	f.Fuzz(func(t *testing.T, entity, prefix, scope string, kind uint16, flags uint8, after, through, clockAfter,
		clockThrough uint64, since, until int64, correlation []byte, limit uint8) {
		q := Query{Entity: entity, Prefix: prefix, Scope: scope, Kind: Kind(kind), After: Seq(after), Through: Seq(through),
			ClockAfter: event.Clock(clockAfter), ClockThrough: event.Clock(clockThrough), Reverse: flags&1 != 0, Limit: int(limit) % 20}
		if flags&2 != 0 {
			q.Lane = new(event.Lane(flags >> 6))
		}
		if flags&4 != 0 {
			q.Category = new(event.Category(kind >> 12))
		}
		if flags&8 != 0 {
			q.Since, q.Until = time.UnixMicro(since), time.UnixMicro(until)
		}
		if flags&16 != 0 {
			copy(q.Correlation[:], correlation)
		}
		if err := checkPaging(&s.view, p.events, q); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
		if e, err := s.Get(q.Correlation); err == nil && e.ID != q.Correlation || err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("event %v: %v, %v", q.Correlation, e.ID, err)
		}
	})
}

// checkPaging reads all pages of a query, and the query without pages.
func checkPaging(w *view, events []Event, q Query) error {
	var want []Event
	for _, e := range events {
		if q.Match(&e.Header) {
			want = append(want, e)
		}
	}
	if q.Reverse {
		slices.Reverse(want)
	}
	if q.Validate() != nil {
		if _, err := w.Page(q); !errors.Is(err, ErrInvalid) {
			return fmt.Errorf("not valid: %w", err)
		}
		return nil
	}
	all := q
	all.Limit = 0
	got, err := gather(w.Query(all))
	if err != nil || !slices.EqualFunc(got, want, func(a, b Event) bool { return equal(&a, &b) }) {
		return fmt.Errorf("%d events of %d: %w", len(got), len(want), err)
	}
	got = nil
	for more := true; more; {
		p, err := w.Page(q)
		if err != nil {
			return err
		}
		if q.Limit > 0 && len(p.Events) > q.Limit || q.Limit == 0 && p.More || len(got) > len(want) {
			return fmt.Errorf("page of %d, and more: %v", len(p.Events), p.More)
		}
		got, more = append(got, p.Events...), p.More
		switch {
		case more && q.Reverse && (p.Next == 0 || p.Next >= w.Visible()), more && !q.Reverse && p.Next <= q.After:
			return fmt.Errorf("it leads to %d", p.Next)
		case q.Reverse:
			q.Through = p.Next
		default:
			q.After = p.Next
		}
	}
	if !slices.EqualFunc(got, want, func(a, b Event) bool { return equal(&a, &b) }) {
		return fmt.Errorf("%d events in pages, %d at once", len(got), len(want))
	}
	return nil
}
