package batpak

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/batpak/batpak/log"
)

// TestTailDamage changes each byte of the record of an event that is still in memory, in an open store. What is read is
// compared with the file all the same: every change is found, or was made good again.
func TestTailDamage(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{Durability: Written})
	p := Proposal{At: At("a:b", "s"), Kind: 0xF001, Data: []byte("payload"), Extensions: map[string][]byte{"a.b": []byte("value")}}
	r := mustCommit(t, s, raw("a", "before"), p, raw("a", "after"))[1]
	row, err := s.row(r.Seq)
	if err != nil || row.Entry == nil {
		t.Fatalf("not in the tail: %+v, %v", row, err)
	}
	path := filepath.Join(dir, log.SegmentName(1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int(row.Length) {
		damaged := bytes.Clone(whole)
		damaged[int(row.Offset)+i] ^= 0x10
		writeOver(t, path, damaged)
		if e, err := s.Get(r.ID); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d of %d: %+v, %v", i, row.Length, e, err)
		}
		for e, err := range s.Query(Query{Entity: "a:b"}) {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d of %d, query: %+v, %v", i, row.Length, e, err)
			}
		}
	}
	writeOver(t, path, whole)
	if e, err := s.Get(r.ID); err != nil || e.Hash != r.Hash || string(e.Payload) != "payload" {
		t.Errorf("as it was: %+v, %v", e, err)
	}
}

// writeOver changes a file that is open elsewhere.
func writeOver(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestTailEventsAreTheCallers changes what was read of an event that is still in memory: neither what is read again nor what
// a request with its key is compared with changes.
func TestTailEventsAreTheCallers(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	p := Proposal{At: At("a", "s"), Kind: 0xF001, Data: []byte("payload"), Key: "k", Extensions: map[string][]byte{"a.b": []byte("value")}}
	r := mustCommit(t, s, p)[0]
	for range 2 {
		e, err := s.Get(r.ID)
		if err != nil || len(e.Extensions) != 1 || string(e.Extensions["a.b"]) != "value" || string(e.Payload) != "payload" {
			t.Fatalf("%+v, %v", e, err)
		}
		e.Extensions["a.b"][0]++
		e.Extensions["c.d"] = nil
		e.Payload[0]++
		if again := mustCommit(t, s, p)[0]; again != r {
			t.Fatalf("%+v, and again %+v", r, again)
		}
	}
}
