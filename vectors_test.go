package batpak

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/log"
)

var update = flag.Bool("update", false, "write the test vectors anew: only for a new format")

const vectorDir = "testdata/vectors"

// A blob is bytes, as hexadecimal in JSON.
type blob []byte

func (b blob) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }
func (b *blob) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(string(t))
	return err
}

type invalidVector struct {
	Name string `json:"name"`
	Hex  blob   `json:"hex"`
}

type headerVector struct {
	Name   string         `json:"name"`
	Hex    blob           `json:"hex"`
	Hash   event.Hash     `json:"hash"`
	Fields map[string]any `json:"fields"`
}

type recordVector struct {
	Name    string     `json:"name"`
	Hex     blob       `json:"hex"`
	Header  blob       `json:"header"`
	Payload blob       `json:"payload"`
	Content event.Hash `json:"content"`
	Hash    event.Hash `json:"hash"`
}

type commitVector struct {
	Name       string       `json:"name"`
	Hex        blob         `json:"hex"`
	LinkBefore event.Hash   `json:"link_before"`
	First      event.Seq    `json:"first"`
	Count      int          `json:"count,omitempty"`
	Durable    event.Seq    `json:"durable,omitempty"`
	Link       event.Hash   `json:"link,omitzero"`
	Hashes     []event.Hash `json:"hashes,omitempty"`
}

type segmentVector struct {
	Name       string     `json:"name"`
	Hex        blob       `json:"hex"`
	First      event.Seq  `json:"first"`
	LinkBefore event.Hash `json:"link_before"`
	Sealed     bool       `json:"sealed"`
	Last       event.Seq  `json:"last,omitempty"`
	Link       event.Hash `json:"link,omitzero"`
}

type vectors[V, I any] struct {
	Store   *event.StoreID `json:"store,omitempty"`
	Valid   []V            `json:"valid"`
	Invalid []I            `json:"invalid"`
}

type storeVector struct {
	Store   event.StoreID      `json:"store"`
	Events  []storeEventVector `json:"events"`
	Link    event.Hash         `json:"link"`
	Receipt Receipt            `json:"receipt"`
}

type storeEventVector struct {
	Seq     event.Seq       `json:"seq"`
	ID      blob            `json:"id"`
	Entity  string          `json:"entity"`
	Scope   string          `json:"scope"`
	Lane    event.Lane      `json:"lane"`
	Clock   event.Clock     `json:"clock"`
	Kind    uint16          `json:"kind"`
	Time    event.Timestamp `json:"time"`
	Content event.Hash      `json:"content"`
	Prev    event.Hash      `json:"prev"`
	Hash    event.Hash      `json:"hash"`
	Payload blob            `json:"payload"`
}

var vectorStore = event.StoreID{0xBA, 0x7B, 0xA7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}

// goldenStore makes the store of the vectors in dir: three segments, several streams and lanes, a batch, keys, extensions,
// causes, an empty payload.
func goldenStore(t *testing.T, dir string) []Receipt {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, identityFile), identity{vectorStore, 1_700_000_000_000_000}.encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	now, n := time.UnixMilli(1_700_000_000_000), uint32(0)
	s := openTest(t, dir, &Options{SegmentBytes: 2048,
		Clock:  func() time.Time { now = now.Add(1500 * time.Microsecond); return now },
		random: func() uint32 { n += 0x01010101; return n },
	})
	var receipts []Receipt
	commit := func(ps ...Proposal) {
		t.Helper()
		rs, err := s.Commit(ps...)
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, rs...)
	}
	for i := range 4 {
		commit(Proposal{At: At("player:1", "room:dungeon"), Payload: moved{X: i, Y: -i}})
	}
	commit(
		Proposal{At: At("order:é", "shop"), Kind: 0x1002, Data: []byte("plain text"), Key: "order-1", Extensions: map[string][]byte{"app.trace": {1, 2, 3}, "z.z": {}}},
		Proposal{At: At("player:1", "room:hall"), Kind: 0x1003, Lane: 7, Cause: CauseItem(0), Correlation: receipts[0].ID, Key: "order-1-reply"},
		Proposal{At: At("player:1", "room:hall"), Kind: 0x1003, Lane: 7, Cause: CauseItem(1), Data: bytes.Repeat([]byte{0}, 600), Key: "order-1-again"},
	)
	for i := range 6 {
		commit(Proposal{At: At(fmt.Sprintf("player:%d", i%3), "room:dungeon"), Payload: moved{X: 100 * i}, Cause: CauseID(receipts[i].ID)})
	}
	closeTest(t, s)
	return receipts
}

// TestVectors checks that the code makes the vectors as they are on file, and reads and refuses them as they say. With
// -update it writes them.
func TestVectors(t *testing.T) {
	dir := t.TempDir()
	receipts := goldenStore(t, dir)
	made := storeVector{Store: vectorStore, Receipt: receipts[6]}
	r, err := OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for e, err := range r.Query(Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		made.Events = append(made.Events, storeEventVector{e.Seq, e.ID[:], e.Entity, e.Scope, e.Lane, e.Clock, uint16(e.Kind), e.Time, e.Content, e.Prev, e.Hash, e.Payload})
	}
	made.Link = r.replay.link
	files := []string{identityFile}
	for _, first := range r.segments.Firsts() {
		files = append(files, log.SegmentName(first))
	}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("store", name), b)
	}
	goldenJSON(t, "store.json", made)
	goldenJSON(t, "headers.json", headerVectors())
	goldenJSON(t, "records.json", recordVectors(r.records(t)))
	goldenJSON(t, "commits.json", commitVectors(r.commits(t)))
	goldenJSON(t, "segments.json", segmentVectors(t, dir, r))
}

// golden compares b with a file of the vectors, or writes it.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join(vectorDir, name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(b, want) {
		t.Errorf("%s is not what the code makes (%v)", path, err)
	}
}

func goldenJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, name, append(b, '\n'))
}

func (r *Reader) commits(t *testing.T) []log.Commit {
	t.Helper()
	var cs []log.Commit
	_, err := r.segments.Scan(log.Position{Link: chain.Origin(r.store)}, func(c *log.Commit) error {
		copied := *c
		copied.Records = bytes.Clone(c.Records)
		cs = append(cs, copied)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func (r *Reader) records(t *testing.T) []log.Record {
	t.Helper()
	var rs []log.Record
	for _, c := range r.commits(t) {
		for rec, err := range c.Each() {
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, rec)
		}
	}
	return rs
}

// vectorHeader is a header with every field set.
func vectorHeader() event.Header {
	h := event.Header{
		Seq: 70000, Entity: "player:1", Scope: "room:dungeon", Lane: 4, Clock: 300, Kind: 0xF001, Time: 1_700_000_000_000_001,
		Correlation: event.NewID(1, 1, 1), Causation: event.NewID(5000, 2, 3),
		PayloadVersion: 2, PayloadLength: 1000, Content: event.Hash{1}, Prev: event.Hash{31: 2}, Key: "key\x00\xFF", Flags: 128,
		Encryption: &event.Encryption{KeyScope: "player:1", Nonce: [24]byte{9}},
		Extensions: map[string][]byte{"a.b": {1}, "app.trace": {}, "zz.z": {2, 3}},
	}
	h.ID = event.NewID(h.Time, h.Seq, 0xDEADBEEF)
	return h
}

func headerFields(h *event.Header) map[string]any {
	f := map[string]any{"seq": h.Seq, "id": blob(h.ID[:]), "entity": h.Entity, "scope": h.Scope, "clock": h.Clock, "kind": uint16(h.Kind), "time": int64(h.Time),
		"content_hash": h.Content, "previous_hash": h.Prev}
	set := func(name string, is bool, v any) {
		if is {
			f[name] = v
		}
	}
	set("lane", h.Lane > 0, h.Lane)
	set("correlation", h.Correlation != h.ID, blob(h.Correlation[:]))
	set("causation", !h.Causation.IsZero(), blob(h.Causation[:]))
	set("payload_version", h.PayloadVersion > 0, h.PayloadVersion)
	set("payload_length", h.PayloadLength > 0, h.PayloadLength)
	set("idempotency_key", h.Key != "", blob(h.Key))
	set("flags", h.Flags > 0, h.Flags)
	if h.Encryption != nil {
		f["encryption"] = map[string]any{"key_scope": h.Encryption.KeyScope, "nonce": blob(h.Encryption.Nonce[:])}
	}
	if h.Extensions != nil {
		ext := map[string]blob{}
		for name, v := range h.Extensions {
			ext[name] = v
		}
		f["extensions"] = ext
	}
	return f
}

func headerVectors() vectors[headerVector, invalidVector] {
	var v vectors[headerVector, invalidVector]
	valid := func(name string, change func(*event.Header)) []byte {
		h := vectorHeader()
		change(&h)
		b := event.AppendHeader(nil, &h)
		v.Valid = append(v.Valid, headerVector{name, b, chain.Event(b), headerFields(&h)})
		return b
	}
	invalid := func(name string, b []byte) { v.Invalid = append(v.Invalid, invalidVector{name, b}) }
	full := valid("every field", func(*event.Header) {})
	small := valid("only what must be there", func(h *event.Header) {
		*h = event.Header{Seq: 1, ID: event.NewID(1000, 1, 0), Entity: "e", Scope: "s", Clock: 1, Kind: 1, Time: 1999, Content: event.Hash{1}, Prev: event.Hash{2}}
		h.Correlation = h.ID
	})
	valid("keys of a later version", func(h *event.Header) {
		h.Unknown = []byte{0x13, 0xF6, 0x18, 0x64, 0x82, 0x01, 0xA1, 0x61, 'x', 0xF9, 0x3C, 0x00}
	})
	valid("largest values", func(h *event.Header) {
		h.Lane, h.Clock, h.Kind, h.PayloadVersion, h.PayloadLength, h.Flags = 1<<32-1, 1<<63-1, 0xFFFF, 0xFFFF, 1<<32-1, 255
		h.Seq, h.Entity, h.Key = event.MaxSeq, string(bytes.Repeat([]byte("é"), 512)), string(bytes.Repeat([]byte{0}, 256))
		h.ID = event.NewID(h.Time, h.Seq, 1)
	})

	invalid("empty", nil)
	invalid("cut off", full[:len(full)-1])
	invalid("a byte behind it", append(bytes.Clone(full), 0))
	invalid("not a map", append([]byte{0x80 | 2*(small[0]&31)}, small[1:]...))
	invalid("one pair fewer than said", append([]byte{small[0] + 1}, small[1:]...))
	invalid("indefinite length", append(append([]byte{0xBF}, small[1:]...), 0xFF))
	invalid("length of the map not shortest", append([]byte{0xB8, small[0] & 31}, small[1:]...))
	invalid("integer not shortest", append([]byte{small[0], 1, 0x18, 0x01}, small[3:]...))
	invalid("keys out of order", func() []byte { // clock before scope
		i := bytes.Index(small, []byte{4, 0x61, 's', 6, 1})
		b := append(bytes.Clone(small[:i]), 6, 1, 4, 0x61, 's')
		return append(b, small[i+5:]...)
	}())
	invalid("key twice", append([]byte{small[0] + 1, 1, 1}, small[1:]...))
	invalid("key 0", append([]byte{small[0] + 1, 0, 1}, small[1:]...))
	invalid("negative key", append(append([]byte{small[0] + 1}, small[1:]...), 0x20, 1))
	change := func(name string, change func(*event.Header)) {
		h, err := event.DecodeHeader(small)
		if err != nil {
			panic(err)
		}
		change(&h)
		invalid(name, event.AppendHeader(nil, &h))
	}
	change("no seq", func(h *event.Header) { h.Seq = 0 })
	change("seq above 2^48-1", func(h *event.Header) { h.Seq = 1 << 48 })
	change("no scope", func(h *event.Header) { h.Scope = "" })
	change("empty entity", func(h *event.Header) { h.Entity = "" })
	change("entity of 1025 bytes", func(h *event.Header) { h.Entity = string(bytes.Repeat([]byte{'a'}, 1025)) })
	change("entity with a slash", func(h *event.Header) { h.Entity = "a/b" })
	change("scope with two dots", func(h *event.Header) { h.Scope = "a..b" })
	change("scope not UTF-8", func(h *event.Header) { h.Scope = "a\xFF" })
	change("no kind", func(h *event.Header) { h.Kind = 0 })
	change("zero id", func(h *event.Header) { h.ID, h.Correlation = ID{}, ID{} })
	change("zero content hash", func(h *event.Header) { h.Content = Hash{} })
	change("idempotency key of 257 bytes", func(h *event.Header) { h.Key = string(bytes.Repeat([]byte{1}, 257)) })
	change("extension without a dot", func(h *event.Header) { h.Extensions = map[string][]byte{"abc": nil} })
	change("extension with two dots", func(h *event.Header) { h.Extensions = map[string][]byte{"a.b.c": nil} })
	change("no clock", func(h *event.Header) { h.Clock = 0 })
	change("no time", func(h *event.Header) { h.Time = 0 })
	change("time beyond the id", func(h *event.Header) { h.Time = event.MaxTimestamp + 1 })
	change("longer than 65536 bytes", func(h *event.Header) { h.Extensions = map[string][]byte{"a.b": make([]byte, 1<<16-100)} })
	later := func(name string, pair ...byte) { // at the end, with the count right
		invalid(name, append(append([]byte{small[0] + 1}, small[1:]...), pair...))
	}
	later("later key not deterministic", 0x13, 0x18, 0x01)
	later("float not shortest", 0x13, 0xFA, 0x3F, 0x80, 0, 0)
	later("NaN not the shortest", 0x13, 0xFB, 0x7F, 0xF8, 0, 0, 0, 0, 0, 0)
	later("map in a later key with a key twice", 0x13, 0xA2, 1, 1, 1, 1)
	later("indefinite string in a later key", 0x13, 0x5F, 0x41, 1, 0xFF)
	later("text in a later key not UTF-8", 0x13, 0x61, 0xFF)
	later("simple value that is reserved", 0x13, 0xF8, 0x20)
	later("value at level 17", append([]byte{0x13}, append(bytes.Repeat([]byte{0x81}, 15), 0)...)...)
	later("flags of two bytes", 16, 0x19, 1, 0)
	later("flags as text", 16, 0x61, 'x')
	later("encryption with one key", 17, 0xA1, 1, 0x61, 'k')
	later("encryption with a short nonce", append([]byte{17, 0xA2, 1, 0x61, 'k', 2, 0x57}, make([]byte, 23)...)...)
	later("encryption with an empty key scope", append([]byte{17, 0xA2, 1, 0x60, 2, 0x58, 24}, make([]byte, 24)...)...)
	later("no extension in the map", 18, 0xA0)
	later("extension of text", 18, 0xA1, 0x63, 'a', '.', 'b', 0x61, 'x')
	later("extensions out of order", 18, 0xA2, 0x63, 'b', '.', 'b', 0x40, 0x63, 'a', '.', 'b', 0x40)
	later("empty idempotency key", 15, 0x40)
	i := bytes.Index(small, []byte{7, 1, 8})
	invalid("correlation is the id", func() []byte {
		h, _ := event.DecodeHeader(small)
		own := append([]byte{9, 0x50}, h.ID[:]...)
		j := bytes.Index(small, append([]byte{13, 0x58, 32}, h.Content[:]...))
		b := append([]byte{small[0] + 1}, small[1:j]...)
		return append(append(b, own...), small[j:]...)
	}())
	invalid("lane of zero", func() []byte {
		j := bytes.Index(small, []byte{6, 1, 7, 1})
		b := append([]byte{small[0] + 1}, small[1:j]...)
		return append(append(b, 5, 0), small[j:]...)
	}())
	invalid("kind as text", append(append(bytes.Clone(small[:i+1]), 0x61, '1'), small[i+2:]...))
	return v
}

func recordVectors(rs []log.Record) vectors[recordVector, invalidVector] {
	var v vectors[recordVector, invalidVector]
	for i, r := range rs {
		if i%3 == 0 || len(r.Payload) == 0 {
			b := log.AppendRecord(nil, r.Header, r.Payload)
			v.Valid = append(v.Valid, recordVector{fmt.Sprintf("event %d", r.Seq), b, r.Header, r.Payload, chain.Content(r.Payload), chain.Event(r.Header)})
		}
	}
	b := v.Valid[0].Hex
	alter := func(name string, change func(b []byte) []byte) {
		v.Invalid = append(v.Invalid, invalidVector{name, change(bytes.Clone(b))})
	}
	alter("empty", func([]byte) []byte { return nil })
	alter("cut off", func(b []byte) []byte { return b[:len(b)-1] })
	alter("a byte behind it", func(b []byte) []byte { return append(b, 0) })
	alter("header length too long", func(b []byte) []byte { b[3] = 0x80; return b })
	alter("border moved", func(b []byte) []byte { b[0]++; b[4]--; return b })
	alter("payload changed", func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	alter("payload of another length", func(b []byte) []byte { b[4]++; return append(b, 0) })
	alter("content hash changed", func(b []byte) []byte { b[bytes.Index(b, v.Valid[0].Content[:])] ^= 1; return b })
	return v
}

// encodeCommit is written after docs/FORMAT.md, not after package log.
func encodeCommit(c *log.Commit) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(52+len(c.Records)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.First))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.Count))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Durable))
	b = append(append(b, c.Link[:]...), c.Records...)
	return repairCommit(b)
}

func repairCommit(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

func commitVectors(cs []log.Commit) vectors[commitVector, commitVector] {
	v := vectors[commitVector, commitVector]{Store: &vectorStore}
	before := chain.Origin(vectorStore)
	var batch commitVector
	for i := range cs {
		c := &cs[i]
		x := commitVector{Name: fmt.Sprintf("events %d to %d", c.First, c.Last()), Hex: encodeCommit(c), LinkBefore: before, First: c.First, Count: c.Count, Durable: c.Durable, Link: c.Link}
		for r := range c.Each() {
			x.Hashes = append(x.Hashes, chain.Event(r.Header))
		}
		before = c.Link
		if i%4 == 0 || c.Count > 1 {
			v.Valid = append(v.Valid, x)
		}
		if c.Count > 1 {
			batch = x
		}
	}
	alter := func(name string, change func(b []byte) []byte) {
		v.Invalid = append(v.Invalid, commitVector{Name: name, Hex: change(bytes.Clone(batch.Hex)), LinkBefore: batch.LinkBefore, First: batch.First})
	}
	alter("cut off", func(b []byte) []byte { return b[:len(b)-1] })
	alter("payload changed", func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	alter("payload changed, checksum right", func(b []byte) []byte { b[len(b)-1] ^= 1; return repairCommit(b) })
	alter("link changed, checksum right", func(b []byte) []byte { b[28] ^= 1; return repairCommit(b) })
	alter("durable watermark changed, checksum right", func(b []byte) []byte { b[20]--; return repairCommit(b) })
	alter("durable watermark not below the first seq", func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[20:], uint64(batch.First))
		return repairCommit(b)
	})
	alter("first seq changed, checksum right", func(b []byte) []byte { b[8]++; return repairCommit(b) })
	alter("one record fewer than there are", func(b []byte) []byte { b[16]--; return repairCommit(b) })
	alter("one record more than there are", func(b []byte) []byte { b[16]++; return repairCommit(b) })
	alter("no record", func(b []byte) []byte { b[16] = 0; return repairCommit(b) })
	alter("length too short", func(b []byte) []byte { binary.LittleEndian.PutUint32(b, 51); return b })
	v.Invalid = append(v.Invalid, commitVector{Name: "another link before", Hex: batch.Hex, LinkBefore: event.Hash{1}, First: batch.First})
	forge := func(name string, change func(hs []event.Header)) {
		v.Invalid = append(v.Invalid, commitVector{Name: name, Hex: forgeCommit(cs, batch.First, batch.LinkBefore, change), LinkBefore: batch.LinkBefore, First: batch.First})
	}
	forge("seq of an event, hashes right", func(hs []event.Header) { hs[2].Seq++ })
	forge("seq in an id, hashes right", func(hs []event.Header) { hs[0].ID[11]++; hs[0].Correlation = hs[0].ID })
	forge("time in an id, hashes right", func(hs []event.Header) { hs[0].ID[5]++; hs[0].Correlation = hs[0].ID })
	forge("times not increasing, hashes right", func(hs []event.Header) { hs[1].Time = hs[0].Time; hs[1].ID = event.NewID(hs[1].Time, hs[1].Seq, 1<<31) })
	forge("clock skips one, hashes right", func(hs []event.Header) { hs[2].Clock++ })
	forge("previous hash, hashes right", func(hs []event.Header) { hs[2].Prev[0] ^= 1 })
	forge("genesis, hashes right", func(hs []event.Header) { hs[0].Prev[0] ^= 1 })
	forge("content hash, hashes right", func(hs []event.Header) { hs[0].Content[0] ^= 1 })
	forge("payload length, hashes right", func(hs []event.Header) { hs[0].PayloadLength++ })
	return v
}

// forgeCommit changes the headers of the commit that begins with first, and makes checksum and link right.
func forgeCommit(cs []log.Commit, first event.Seq, before event.Hash, change func([]event.Header)) []byte {
	for _, c := range cs {
		if c.First != first {
			continue
		}
		var hs []event.Header
		var payloads [][]byte
		for r := range c.Each() {
			h, err := event.DecodeHeader(r.Header)
			if err != nil {
				panic(err)
			}
			hs, payloads = append(hs, h), append(payloads, r.Payload)
		}
		change(hs)
		c.Records = nil
		var hashes []byte
		for i := range hs {
			if i == 2 { // it follows the second one in its stream, which may have changed
				if before, err := event.DecodeHeader(event.AppendHeader(nil, &hs[1])); err == nil && hs[2].Prev == originalHash(cs, hs[1].Seq) {
					hs[2].Prev = chain.Event(event.AppendHeader(nil, &before))
				}
			}
			b := event.AppendHeader(nil, &hs[i])
			h := chain.Event(b)
			hashes = append(hashes, h[:]...)
			c.Records = log.AppendRecord(c.Records, b, payloads[i])
		}
		c.Link = chain.Link(before, c.First, c.Durable, hashes)
		return encodeCommit(&c)
	}
	panic("no such commit")
}

// originalHash returns the event hash of an event before anything was forged.
func originalHash(cs []log.Commit, seq event.Seq) event.Hash {
	for _, c := range cs {
		for r := range c.Each() {
			if r.Seq == seq {
				return chain.Event(r.Header)
			}
		}
	}
	return event.Hash{}
}

func segmentVectors(t *testing.T, dir string, r *Reader) vectors[segmentVector, segmentVector] {
	t.Helper()
	v := vectors[segmentVector, segmentVector]{Store: &vectorStore}
	firsts := r.segments.Firsts()
	link := chain.Origin(vectorStore)
	for i, first := range firsts {
		b, err := os.ReadFile(filepath.Join(dir, log.SegmentName(first)))
		if err != nil {
			t.Fatal(err)
		}
		x := segmentVector{Name: fmt.Sprintf("segment %d", i+1), Hex: b, First: first, LinkBefore: link, Sealed: i < len(firsts)-1}
		for _, c := range r.commits(t) {
			if c.Segment == first {
				x.Last, x.Link, link = c.Last(), c.Link, c.Link
			}
		}
		v.Valid = append(v.Valid, x)
	}
	newest, sealed := v.Valid[len(v.Valid)-1], v.Valid[0]
	zeros := newest
	zeros.Name, zeros.Hex = "zeros behind the last commit of the newest", append(bytes.Clone(newest.Hex), make([]byte, 700)...)
	empty := newest
	empty.Name, empty.Hex, empty.Last, empty.Link = "newest without a commit", newest.Hex[:72], newest.First-1, newest.LinkBefore
	v.Valid = append(v.Valid, zeros, empty)
	dirty := zeros
	dirty.Name, dirty.Hex, dirty.Last, dirty.Link = "a byte behind the zeros of the newest", append(bytes.Clone(zeros.Hex), 1), 0, Hash{}
	few := newest
	few.Name, few.Hex, few.Last, few.Link = "a few bytes behind the last commit of the newest", append(bytes.Clone(newest.Hex), 0, 1, 0), 0, Hash{}
	none := sealed
	none.Name, none.Hex, none.Last, none.Link = "sealed without a commit", sealed.Hex[:72], 0, Hash{}
	v.Invalid = append(v.Invalid, dirty, few, none)

	alter := func(name string, change func(x *segmentVector, b []byte) []byte) {
		x := sealed
		x.Name, x.Last, x.Link = name, 0, Hash{}
		x.Hex = change(&x, bytes.Clone(sealed.Hex))
		v.Invalid = append(v.Invalid, x)
	}
	header := func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[12:], 0)
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:72], castagnoli))
		return b
	}
	alter("magic", func(_ *segmentVector, b []byte) []byte { b[0] ^= 1; return header(b) })
	alter("newer format", func(_ *segmentVector, b []byte) []byte { b[8] = 2; return header(b) })
	alter("header checksum", func(_ *segmentVector, b []byte) []byte { b[12] ^= 1; return b })
	alter("another store", func(_ *segmentVector, b []byte) []byte { b[16] ^= 1; return header(b) })
	alter("another first seq", func(_ *segmentVector, b []byte) []byte { b[32]++; return header(b) })
	alter("another link before", func(_ *segmentVector, b []byte) []byte { b[40] ^= 1; return header(b) })
	alter("header cut off", func(_ *segmentVector, b []byte) []byte { return b[:71] })
	alter("sealed, with zeros behind", func(_ *segmentVector, b []byte) []byte { return append(b, 0, 0, 0, 0, 0, 0, 0, 0) })
	alter("sealed, cut off", func(_ *segmentVector, b []byte) []byte { return b[:len(b)-1] })
	alter("first commit gone", func(_ *segmentVector, b []byte) []byte {
		n := 72 + 8 + binary.LittleEndian.Uint32(b[72:])
		return append(b[:72:72], b[n:]...)
	})
	alter("first commit twice", func(_ *segmentVector, b []byte) []byte {
		n := 72 + 8 + binary.LittleEndian.Uint32(b[72:])
		return append(b[:n:n], b[72:]...)
	})
	return v
}

// TestInvalidVectors reads the vectors on file with this code: it accepts the valid and refuses the invalid.
func TestInvalidVectors(t *testing.T) {
	var headers vectors[headerVector, invalidVector]
	loadVectors(t, "headers.json", &headers)
	for _, h := range headers.Valid {
		if _, err := event.DecodeHeader(h.Hex); err != nil {
			t.Errorf("header %q: %v", h.Name, err)
		}
	}
	for _, h := range headers.Invalid {
		if _, err := event.DecodeHeader(h.Hex); !errors.Is(err, ErrInvalid) {
			t.Errorf("invalid header %q: %v", h.Name, err)
		}
	}
	var records vectors[recordVector, invalidVector]
	loadVectors(t, "records.json", &records)
	for _, r := range records.Invalid {
		rec, err := log.ParseRecord(r.Hex)
		if err == nil {
			var e Event
			if bad := chain.OpenHeader(&e, 0, rec.Header, rec.Payload); bad == nil || bad.Check == "seq" {
				if bad = chain.Open(&e, e.Seq, rec.Header, rec.Payload); bad == nil {
					t.Errorf("invalid record %q was accepted", r.Name)
				}
			}
		}
	}
	rep, err := VerifyDir(context.Background(), filepath.Join(vectorDir, "store"), nil)
	if err != nil || !rep.OK() || rep.Events != 13 {
		t.Errorf("golden store: %+v, %v", rep, err)
	}
}

func loadVectors(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestInvalidSegments lets a whole store be read whose first segment is replaced by each segment vector.
func TestInvalidSegments(t *testing.T) {
	var segments vectors[segmentVector, segmentVector]
	loadVectors(t, "segments.json", &segments)
	for _, x := range segments.Invalid {
		if !x.Sealed {
			continue // what follows the newest commit is for recovery
		}
		t.Run(x.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(vectorDir, "store"))); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, log.SegmentName(x.First)), x.Hex, 0o600); err != nil {
				t.Fatal(err)
			}
			rep, err := VerifyDir(context.Background(), dir, nil)
			if err == nil && rep.OK() {
				t.Error("the store verifies")
			}
			if s, err := Open(dir, nil); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFutureFormat) {
				t.Errorf("Open gives %v, %v", s, err)
			}
		})
	}
}
