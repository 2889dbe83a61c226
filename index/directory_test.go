package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/batpak/batpak/event"
)

// TestDirectory looks for terms through the directory and by binary search, those that are there and others, in runs of a few
// to many terms: of entities with one lane and more, and of all tags.
func TestDirectory(t *testing.T) {
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 6))
	for _, n := range []int{0, 1, 2, 9, 10, 11, 64, 1000, 30_000} {
		var terms, others [][]byte
		for i := range n {
			s := event.Stream{Entity: fmt.Sprintf("entity:%d", r.IntN(2*n)), Lane: event.Lane(r.IntN(4) * r.IntN(2) << r.IntN(20))}
			terms = append(terms, appendStreamTerm(nil, s), appendTextTerm(nil, tagKey, fmt.Sprint("k", i)), appendKindTerm(nil, event.Kind(i)))
			others = append(others, appendStreamTerm(nil, event.Stream{Entity: s.Entity, Lane: 77}), appendEntityTerms(nil, s.Entity+"x"),
				appendTextTerm(nil, tagKey, fmt.Sprint("x", i)), appendTextTerm(nil, tagScope, s.Entity))
		}
		slices.SortFunc(terms, bytes.Compare)
		terms = slices.CompactFunc(terms, bytes.Equal)
		run := runOf(t, terms)
		for _, term := range slices.Concat(terms, others, [][]byte{{tagEntity}, {tagNamespace}, []byte("e\x00\x00\x00\x00\x00")}) {
			i := run.search(term)
			want := i < run.len() && bytes.Equal(run.term(i), term)
			if _, ok, err := run.find(term); ok != want || err != nil {
				t.Fatalf("seed %d, %d terms: found %q: %v, %v", seed, len(terms), term, ok, err)
			}
			if term[0] != tagEntity || len(term) <= laneBytes {
				continue
			}
			whole := entityRange(string(bytes.TrimSuffix(group(term)[1:], []byte{0})))
			at := run.search(whole.from)
			if at < run.len() && bytes.Compare(run.term(at), whole.to) >= 0 {
				at = run.len()
			}
			if i, err := run.start(&whole); i != at || err != nil {
				t.Fatalf("seed %d, %d terms: the streams of %q begin at %d, not %d, %v", seed, len(terms), whole.from, i, at, err)
			}
		}
	}
}

// runOf returns a run of one event that has all of the terms, which are sorted.
func runOf(t *testing.T, terms [][]byte) run {
	t.Helper()
	w := emptyRun(1)
	for _, term := range terms {
		l := w.term(term, 1)
		l.add(0)
		w.done(&l)
	}
	r, err := parseRun(w.encode())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDirectoryOfOneHash looks for terms that all have the same checksum: they must not make the directory slow, and each is found.
func TestDirectoryOfOneHash(t *testing.T) {
	const places = 12
	pattern := binary.LittleEndian.AppendUint64(nil, 1|crc32.Castagnoli<<1) // to add it to a message leaves the checksum as it is
	var terms [][]byte
	for n := range 1 << places {
		term := make([]byte, 1+5*places)
		term[0] = tagKey
		for i := range places {
			if n>>i&1 == 1 {
				copy(term[1+5*i:], pattern[:5])
			}
		}
		terms = append(terms, term)
	}
	slices.SortFunc(terms, bytes.Compare)
	for _, term := range terms {
		if crc32.Checksum(term, castagnoli) != crc32.Checksum(terms[0], castagnoli) {
			t.Fatalf("%x has another checksum", term)
		}
	}
	run := runOf(t, terms[1:]) // the first is not there
	for i, term := range terms {
		if _, ok, err := run.find(term); ok != (i > 0) || err != nil {
			t.Errorf("term %d: %v, %v", i, ok, err)
		}
	}
	used := 0
	for at := 0; at < len(run.directory); at += slotBytes {
		if binary.LittleEndian.Uint32(run.directory[at:]) != 0 {
			used++
		}
	}
	if used != maxProbes {
		t.Errorf("%d terms of one hash have %d slots, not %d", len(terms)-1, used, maxProbes)
	}
}
