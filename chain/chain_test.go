package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/zeebo/blake3"
)

var testStore = event.StoreID{0xAB, 15: 0xCD}

// sum is Blake3-256 over everything given, one after the other.
func sum(parts ...[]byte) event.Hash { return blake3.Sum256(bytes.Join(parts, nil)) }

// TestHashes computes each hash from the bytes that the package comment lists.
func TestHashes(t *testing.T) {
	le := func(n int, v byte) []byte { return append([]byte{v}, make([]byte, n-1)...) }
	events := bytes.Repeat([]byte{7}, 64)
	before := event.Hash{3}
	for name, h := range map[string]struct{ got, want event.Hash }{
		"content":         {Content([]byte("payload")), sum([]byte("batpak/1 contentpayload"))},
		"empty content":   {Content(nil), sum([]byte("batpak/1 content"))},
		"event":           {Event([]byte("header")), sum([]byte("batpak/1 event  header"))},
		"genesis":         {Genesis(testStore, event.Stream{Entity: "a:é", Lane: 5}), sum([]byte("batpak/1 genesis"), testStore[:], []byte("a:é"), le(4, 5))},
		"genesis, lane 0": {Genesis(testStore, event.Stream{Entity: "a"}), sum([]byte("batpak/1 genesis"), testStore[:], []byte("a"), le(4, 0))},
		"genesis, high":   {Genesis(testStore, event.Stream{Entity: "a", Lane: 0x01020304}), sum([]byte("batpak/1 genesis"), testStore[:], []byte("a\x04\x03\x02\x01"))},
		"origin":          {Origin(testStore), sum([]byte("batpak/1 origin "), testStore[:])},
		"link":            {Link(before, 9, 8, events), sum([]byte("batpak/1 link   "), before[:], le(8, 9), le(8, 8), events)},
		"link, high":      {Link(before, 1<<40, 0, events[:32]), sum([]byte("batpak/1 link   "), before[:], []byte{5: 1, 7: 0}, le(8, 0), events[:32])},
	} {
		if h.got != h.want {
			t.Errorf("%s is %v, want %v", name, h.got, h.want)
		}
	}
}

// stream returns n events of one stream, linked from its genesis, with gaps in seq.
func stream(n int) []event.Event {
	var es []event.Event
	prev := Genesis(testStore, event.Stream{Entity: "e", Lane: 2})
	for i := range n {
		h := event.Header{Seq: event.Seq(3*i + 2), Entity: "e", Scope: "s", Lane: 2, Clock: event.Clock(i + 1), Kind: 0xF001, Time: event.Timestamp(1_000_000 + 5*i),
			Content: Content([]byte{byte(i)}), PayloadLength: 1, Prev: prev}
		h.ID = event.NewID(h.Time, h.Seq, 77)
		h.Correlation = h.ID
		e := event.Event{Header: h, Payload: []byte{byte(i)}, Hash: Event(event.AppendHeader(nil, &h))}
		prev = e.Hash
		es = append(es, e)
	}
	return es
}

func TestAncestry(t *testing.T) {
	failure := errors.New("disk gone")
	for name, tt := range map[string]struct {
		limit  int
		damage func(es []event.Event)
		before func(e *event.Event) error // if not nil, may fail
		length int
		end    End
		err    error // returned
		why    error // in the walk
	}{
		"all":               {limit: 10, length: 5, end: ReachedGenesis},
		"just all":          {limit: 5, length: 5, end: ReachedGenesis},
		"one short":         {limit: 4, length: 4, end: ReachedLimit},
		"one":               {limit: 1, length: 1, end: ReachedLimit},
		"none":              {limit: 0, length: 0, end: ReachedLimit},
		"missing":           {limit: 10, length: 3, end: ReachedMissing, why: event.ErrNotFound, before: failAt(3, event.ErrNotFound)},
		"corrupt":           {limit: 10, length: 3, end: ReachedCorrupt, why: event.ErrCorrupt, before: failAt(3, &event.CorruptError{Check: "x"})},
		"other failure":     {limit: 10, length: 3, end: ReachedLimit, err: failure, before: failAt(3, failure)},
		"not asked for":     {limit: 3, length: 3, end: ReachedLimit, before: failAt(3, failure)},
		"another event":     {limit: 10, length: 4, end: ReachedCorrupt, why: event.ErrCorrupt, damage: func(es []event.Event) { es[0].Hash[0] ^= 1 }},
		"another clock":     {limit: 10, length: 3, end: ReachedCorrupt, why: event.ErrCorrupt, damage: func(es []event.Event) { es[1].Clock = 1 }},
		"wrong genesis":     {limit: 10, length: 5, end: ReachedCorrupt, why: event.ErrCorrupt, damage: func(es []event.Event) { es[0].Prev[0] ^= 1 }},
		"genesis elsewhere": {limit: 10, length: 5, end: ReachedCorrupt, why: event.ErrCorrupt, damage: func(es []event.Event) { es[0].Lane = 3 }},
	} {
		t.Run(name, func(t *testing.T) {
			es := stream(5)
			if tt.damage != nil {
				tt.damage(es)
			}
			w, err := Ancestry(testStore, es[4], tt.limit, func(e *event.Event) (event.Event, error) {
				if tt.before != nil {
					if err := tt.before(e); err != nil {
						return event.Event{}, err
					}
				}
				i := slices.IndexFunc(es, func(x event.Event) bool { return x.Seq == e.Seq })
				return es[i-1], nil
			})
			if !errors.Is(err, tt.err) || !errors.Is(w.Err, tt.why) || len(w.Events) != tt.length || w.End != tt.end {
				t.Errorf("%d events to %s (%v), %v", len(w.Events), w.End, w.Err, err)
			}
			for i, e := range w.Events {
				if e.Seq != es[4-i].Seq {
					t.Errorf("event %d of the walk is %d", i, e.Seq)
				}
			}
		})
	}
}

func failAt(clock event.Clock, err error) func(*event.Event) error {
	return func(e *event.Event) error {
		if e.Clock == clock {
			return err
		}
		return nil
	}
}

// wantCheck checks that f is a finding of this check, or none if that is "".
func wantCheck(t *testing.T, name string, f *Finding, check string) {
	t.Helper()
	switch {
	case f == nil && check != "" || f != nil && f.Check != check:
		t.Errorf("%s: %v, want %q", name, f, check)
	case f != nil && (!errors.Is(f.Error(), event.ErrCorrupt) || f.String() == "" || f.Expected == f.Found):
		t.Errorf("%s: finding %v", name, f)
	}
}

func TestOpen(t *testing.T) {
	base := stream(3)[2]
	for _, tt := range []struct {
		name    string
		seq     event.Seq
		change  func(h *event.Header)
		payload string
		check   string
	}{
		{"good", 8, func(*event.Header) {}, "\x02", ""},
		{"another seq", 9, func(*event.Header) {}, "\x02", "seq"},
		{"seq in the id", 8, func(h *event.Header) { h.ID = event.NewID(h.Time, 9, 77) }, "\x02", "seq in the id"},
		{"time in the id", 8, func(h *event.Header) { h.ID = event.NewID(h.Time+1000, 8, 77) }, "\x02", "time in the id"},
		{"longer payload", 8, func(*event.Header) {}, "\x02\x02", "payload length"},
		{"no payload", 8, func(*event.Header) {}, "", "payload length"},
		{"another payload", 8, func(*event.Header) {}, "\x03", "content hash"},
		{"not a header", 8, func(h *event.Header) { h.Kind = 0 }, "\x02", "header"},
	} {
		h := base.Header
		tt.change(&h)
		h.Correlation = h.ID
		b := event.AppendHeader(nil, &h)
		var e event.Event
		f := Open(&e, tt.seq, b, []byte(tt.payload))
		wantCheck(t, tt.name, f, tt.check)
		if e.Hash != Event(b) || string(e.Payload) != tt.payload {
			t.Errorf("%s: hash %v, payload %q", tt.name, e.Hash, e.Payload)
		}
		f = OpenHeader(&e, tt.seq, b, []byte(tt.payload))
		if tt.check == "content hash" {
			tt.check = ""
		}
		wantCheck(t, tt.name+", header only", f, tt.check)
	}
}

func TestFollowsLaterLinked(t *testing.T) {
	es := stream(2)
	a, b := es[0], es[1]
	genesis := Genesis(testStore, a.Stream())
	wantCheck(t, "second", Follows(&b, 1, a.Hash), "")
	wantCheck(t, "first", Follows(&a, 0, genesis), "")
	wantCheck(t, "clock", Follows(&b, 2, a.Hash), "clock")
	wantCheck(t, "previous hash", Follows(&b, 1, b.Hash), "previous hash")
	wantCheck(t, "genesis", Follows(&a, 0, a.Hash), "previous hash")
	wantCheck(t, "later", Later(&b, a.ID, a.Time), "")
	wantCheck(t, "same time", Later(&b, a.ID, b.Time), "time")
	wantCheck(t, "earlier", Later(&a, b.ID, b.Time), "time")
	wantCheck(t, "same id", Later(&b, b.ID, a.Time), "id")
	wantCheck(t, "linked", Linked(3, a.Hash, a.Hash), "")
	f := Linked(3, a.Hash, b.Hash)
	wantCheck(t, "another link", f, "link")
	if f.Seq != 3 {
		t.Errorf("finding of event %d", f.Seq)
	}
}

func TestVerifyReceipt(t *testing.T) {
	es := stream(3)
	for _, tt := range []struct {
		name   string
		of     int
		change func(r *Receipt)
		ok     bool
	}{
		{"first", 0, func(*Receipt) {}, true},
		{"third", 2, func(*Receipt) {}, true},
		{"written", 2, func(r *Receipt) { r.Durability = event.Written }, true},
		{"no seq", 2, func(r *Receipt) { r.Seq = 0 }, false},
		{"another seq", 2, func(r *Receipt) { r.Seq++ }, false},
		{"no id", 2, func(r *Receipt) { r.ID = event.ID{} }, false},
		{"no clock", 2, func(r *Receipt) { r.Clock = 0 }, false},
		{"clock above seq", 2, func(r *Receipt) { r.Clock = event.Clock(r.Seq) + 1 }, false},
		{"no time", 2, func(r *Receipt) { r.Time = 0 }, false},
		{"another millisecond", 2, func(r *Receipt) { r.Time += 1000 }, false},
		{"no kind", 2, func(r *Receipt) { r.Kind = 0 }, false},
		{"no entity", 2, func(r *Receipt) { r.Entity = "" }, false},
		{"scope with a slash", 2, func(r *Receipt) { r.Scope = "/" }, false},
		{"no durability", 2, func(r *Receipt) { r.Durability = 0 }, false},
		{"unknown durability", 2, func(r *Receipt) { r.Durability = 3 }, false},
		{"first of another store", 0, func(r *Receipt) { r.Store[0] ^= 1 }, false},
		{"first of another entity", 0, func(r *Receipt) { r.Entity = "f" }, false},
		{"first of another lane", 0, func(r *Receipt) { r.Lane++ }, false},
		{"first with another prev", 0, func(r *Receipt) { r.Prev[0] ^= 1 }, false},
	} {
		e := es[tt.of]
		r := NewReceipt(testStore, &e.Header, e.Hash, event.Durable)
		tt.change(&r)
		v := VerifyReceipt(r)
		if v.OK() != tt.ok || tt.ok && v.Status != Unsigned || !tt.ok && v.Reason != MalformedReceipt {
			t.Errorf("%s: %+v", tt.name, v)
		}
	}
}

// TestVerifyAgainst changes one field of a receipt at a time, so that it still agrees with itself.
func TestVerifyAgainst(t *testing.T) {
	e := stream(3)[2]
	for _, tt := range []struct {
		name   string
		change func(r *Receipt)
		reason Reason
	}{
		{"good", func(*Receipt) {}, ""},
		{"durability", func(r *Receipt) { r.Durability = event.Written }, ""},
		{"store", func(r *Receipt) { r.Store[0] ^= 1 }, StoreMismatch},
		{"store before what it says of itself", func(r *Receipt) { r.Store[0] ^= 1; r.Seq = 0 }, StoreMismatch},
		{"malformed", func(r *Receipt) { r.Seq = 0 }, MalformedReceipt},
		{"id", func(r *Receipt) { r.ID[15] ^= 1 }, IDMismatch},
		{"seq and id", func(r *Receipt) { r.Seq++; r.ID = event.NewID(r.Time, r.Seq, 77) }, IDMismatch},
		{"entity", func(r *Receipt) { r.Entity = "f" }, CoordinateMismatch},
		{"scope", func(r *Receipt) { r.Scope = "t" }, CoordinateMismatch},
		{"lane", func(r *Receipt) { r.Lane++ }, CoordinateMismatch},
		{"clock", func(r *Receipt) { r.Clock++ }, CoordinateMismatch},
		{"kind", func(r *Receipt) { r.Kind++ }, KindMismatch},
		{"time", func(r *Receipt) { r.Time++ }, TimeMismatch},
		{"content", func(r *Receipt) { r.Content[0] ^= 1 }, ContentHashMismatch},
		{"previous hash", func(r *Receipt) { r.Prev[0] ^= 1 }, PrevHashMismatch},
		{"hash", func(r *Receipt) { r.Hash[0] ^= 1 }, EventHashMismatch},
		{"the first that differs", func(r *Receipt) { r.Hash[0] ^= 1; r.Kind++ }, KindMismatch},
	} {
		r := NewReceipt(testStore, &e.Header, e.Hash, event.Durable)
		tt.change(&r)
		if v := VerifyAgainst(r, testStore, &e); v.Reason != tt.reason || v.OK() != (tt.reason == "") {
			t.Errorf("%s: %+v, want %q", tt.name, v, tt.reason)
		}
	}
}

func TestReceiptJSON(t *testing.T) {
	e := stream(2)[1]
	for _, d := range []event.Durability{event.Durable, event.Written} {
		r := NewReceipt(testStore, &e.Header, e.Hash, d)
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Receipt
		if err := json.Unmarshal(b, &back); err != nil || back != r {
			t.Errorf("%s came back as %+v, %v", b, back, err)
		}
		for from, to := range map[string]string{r.Hash.String(): "zz", d.String(): "eternal", r.ID.String(): "1", r.Kind.String(): "0x10000"} {
			if err := json.Unmarshal(bytes.Replace(b, []byte(from), []byte(to), 1), &back); !errors.Is(err, event.ErrInvalid) {
				t.Errorf("%s instead of %s: %v", to, from, err)
			}
		}
	}
}
