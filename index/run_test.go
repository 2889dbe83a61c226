package index

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/batpak/batpak/event"
)

// seedRun is a run of a few events with terms of every tag.
func seedRun() []byte {
	var m model
	s := seedTail(&m, 5)
	return new(runBuilder).run(new(runWriter), &s, 0, s.last)
}

// seedTail adds n events to m and returns a tail of them.
func seedTail(m *model, n int) snapshot {
	var t tail
	t.start(m.last())
	for i := range n {
		h := event.Header{Entity: "a:b", Scope: "s", Kind: 0x1000, Lane: event.Lane(i % 2)}
		if i > 0 {
			h.Correlation, h.Key = m.at(1).Header.ID, "k"
		}
		t.append(m.add(h, 5), nil)
	}
	return t.snap()
}

// withChecksum returns b with the checksum that its other bytes ask for, in front.
func withChecksum(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) >= 4 {
		binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	}
	return b
}

// FuzzRun changes runs behind the checksum. Whatever can be read to its end is spelled in one way.
func FuzzRun(f *testing.F) {
	f.Add(seedRun(), []byte("ea:b\x00\x00\x00\x00\x00"))
	f.Add(emptyRun(1).encode(), []byte("e"))
	f.Fuzz(func(t *testing.T, b, term []byte) {
		b = withChecksum(b)
		r, err := parseRun(b)
		if err != nil {
			return
		}
		useRun(t, &r, term)
		w, err := copyRun(&r)
		if err != nil {
			return
		}
		if again := w.encode(); !bytes.Equal(again, b) && sameDirectory(&r, again) {
			t.Fatalf("%x has another spelling: %x", b, again)
		}
	})
}

// sameDirectory reports whether the directory of r is that of its terms, as an encoded run that has the same terms has it.
func sameDirectory(r *run, encoded []byte) bool { return bytes.HasSuffix(encoded, r.directory) }

// emptyRun begins a run of the events 1 to last, at most 256, in which all bytes are zero.
func emptyRun(last event.Seq) *runWriter {
	w := new(runWriter)
	w.begin(1, last, 0, [][]byte{make([]byte, timeBytes)}, [][]byte{make([]byte, rowBytes*last)})
	return w
}

// useRun calls what reads a run. It must not panic, and cursors must keep their direction.
func useRun(t *testing.T, r *run, term []byte) {
	if l, ok, err := r.find(term); ok && err == nil {
		l.last()
	}
	r.row(0)
	r.row(r.span())
	for k := uint64(0); k < timesIn(r.first, r.last) && k < 100; k++ {
		r.time((event.Seq(r.first+timeStride-2)/timeStride+event.Seq(k))*timeStride + 1)
	}
	for _, q := range []event.Query{{Entity: "a:b", Scope: "s"}, {Prefix: "a"}, {Category: new(event.Category(1)), Lane: new(event.Lane(1))}} {
		for _, reverse := range []bool{false, true} {
			c, err := (&cursors{reverse: reverse}).over(selectionOf(&q), r)
			if c == nil || err != nil {
				continue
			}
			v := r.span() / 2
			if got, ok, err := c.seek(v); ok && err == nil && (!reverse && got < v || reverse && got > v) {
				t.Fatalf("seek %d, reverse %v: %d", v, reverse, got)
			}
		}
	}
}

// copyRun reads a run to its end, as a merge of one.
func copyRun(r *run) (*runWriter, error) {
	ref := newRunRef(r.first, r.last, 0, 0, 0)
	s := []mergeSource{{run: *r, ref: &ref}}
	w := new(runWriter)
	beginMerged(w, s)
	var last []byte
	for err := s[0].load(); s[0].cur != nil || err != nil; {
		if err != nil {
			return nil, err
		}
		if last != nil && bytes.Compare(last, s[0].cur) >= 0 {
			return nil, errTerms
		}
		last = s[0].cur
		err = mergeTerm(w, s, last)
	}
	return w, nil
}

func FuzzMeta(f *testing.F) {
	f.Add((&meta{}).encode(testStore))
	f.Add((&meta{position: Position{Seq: 30, Time: 7, Segment: 1, Offset: 900}, runs: []runRef{
		newRunRef(1, 20, 100, 3, 1), newRunRef(21, 30, 50, 0, 0),
	}}).encode(testStore))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = withChecksum(b)
		m, err := decodeMeta(b, testStore)
		if err != nil {
			return
		}
		if again := m.encode(testStore); !bytes.Equal(again, b) {
			t.Fatalf("%x has another spelling: %x", b, again)
		}
	})
}
