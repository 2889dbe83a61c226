package chain

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/batpak/batpak/event"
)

// sampleReceipts are receipts of the first and of a later event of a stream.
func sampleReceipts() (rs []Receipt) {
	for _, e := range stream(3)[:2] {
		rs = append(rs, NewReceipt(testStore, &e.Header, e.Hash, event.Durable))
	}
	return rs
}

// FuzzReceipt reads any bytes as a receipt.
func FuzzReceipt(f *testing.F) {
	for _, r := range sampleReceipts() {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"seq":1,"SEQ":2,"seq":3}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Receipt
		if json.Unmarshal(b, &r) == nil {
			checkReceipt(t, r)
		}
	})
}

// FuzzReceiptFields replaces the value of a member of a receipt, or leaves it out.
func FuzzReceiptFields(f *testing.F) {
	names := strings.Fields("store seq id entity scope lane clock kind time content prev hash durability")
	long := `"` + strings.Repeat("s", 1025) + `"`
	for i, value := range []string{`"ab"`, `18446744073709551615`, `"00000000000000000000000000"`, `"\ud800"`, long, `4294967296`,
		`0`, `"0b1"`, `-1`, `null`, `""`, `[]`, `"unknown"`} {
		f.Add(uint8(i), value, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, which uint8, value string, second bool) {
		if !json.Valid([]byte(value)) && value != "" {
			return
		}
		r := sampleReceipts()[0]
		if second {
			r = sampleReceipts()[1]
		}
		good, _ := json.Marshal(r) // as others test
		members := map[string]json.RawMessage{}
		if err := json.Unmarshal(good, &members); err != nil {
			t.Fatal(err)
		}
		name := names[int(which)%len(names)]
		if members[name] = json.RawMessage(value); value == "" {
			delete(members, name)
		}
		var b strings.Builder
		for i, name := range slices.Sorted(maps.Keys(members)) {
			fmt.Fprintf(&b, "%c%q:%s", "{,"[min(i, 1)], name, members[name])
		}
		var back Receipt
		if err := json.Unmarshal([]byte(b.String()+"}"), &back); err != nil {
			return
		}
		checkReceipt(t, back)
		changed := back != r
		bound := back.Store != r.Store || back.Entity != r.Entity || back.Lane != r.Lane || back.Prev != r.Prev // by the genesis
		if v := VerifyReceipt(back); v.OK() && back.Clock == 1 && bound {
			t.Errorf("%s of the first event accepted as %s: %+v", name, value, v)
		}
		e := stream(3)[0]
		if second {
			e = stream(3)[1]
		}
		if v := VerifyAgainst(back, testStore, &e); v.OK() != (!changed || name == "durability" && VerifyReceipt(back).OK()) {
			t.Errorf("%s replaced by %s: %+v", name, value, v)
		}
	})
}

// checkReceipt checks a receipt that was read: it is written as what is read as the same again, unless its durability is
// neither of the two, and then it is no receipt.
func checkReceipt(t *testing.T, r Receipt) {
	t.Helper()
	v := VerifyReceipt(r)
	if v.OK() != (v.Reason == "") || v.OK() && (r.Seq == 0 || r.Coordinate().Validate() != nil || r.ID.Seq() != r.Seq) {
		t.Errorf("%+v: %+v", r, v)
	}
	if r.Durability != event.Durable && r.Durability != event.Written {
		if v.OK() {
			t.Errorf("durability %v accepted", r.Durability)
		}
		return
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Receipt
	if err := json.Unmarshal(b, &back); err != nil || back != r {
		t.Errorf("%s came back as %+v, %v", b, back, err)
	}
}

// FuzzOpen takes any header and payload for the event at some place.
func FuzzOpen(f *testing.F) {
	e := stream(3)[2]
	f.Add(uint64(e.Seq), event.AppendHeader(nil, &e.Header), e.Payload)
	f.Add(uint64(e.Seq), []byte{0xA0}, []byte{})
	f.Fuzz(func(t *testing.T, seq uint64, header, payload []byte) { checkOpen(t, event.Seq(seq), header, payload) })
}

// FuzzOpenFields replaces the fields of an event that must agree with each other.
func FuzzOpenFields(f *testing.F) {
	e := stream(3)[2]
	f.Add(uint64(0), uint64(0), uint64(0), int64(0), int32(0), uint8(0), e.Payload)
	f.Add(uint64(1), uint64(0), uint64(0), int64(0), int32(0), uint8(0), e.Payload)
	f.Add(uint64(1), uint64(1), uint64(1), int64(0), int32(0), uint8(0), e.Payload)
	f.Add(uint64(0), uint64(0), uint64(0), int64(1), int32(0), uint8(0), e.Payload)
	f.Add(uint64(0), uint64(0), uint64(0), int64(0), int32(0), uint8(32), e.Payload)
	f.Add(uint64(0), uint64(0), uint64(0), int64(1000), int32(0), uint8(0), e.Payload)
	f.Add(uint64(0), uint64(0), uint64(0), int64(-1_000_000), int32(-1), uint8(1), []byte{})
	f.Fuzz(func(t *testing.T, seq, headerSeq, idSeq uint64, time int64, length int32, content uint8, payload []byte) {
		h := e.Header
		h.Seq += event.Seq(headerSeq)
		h.ID = event.NewID(h.Time, h.Seq+event.Seq(idSeq)&event.MaxSeq, 7)
		h.Time += event.Timestamp(time)
		h.Correlation = h.ID
		h.PayloadLength = uint32(int32(len(payload)) + length)
		h.Content = Content(payload)
		h.Content[content%32] ^= content / 32
		checkOpen(t, e.Seq+event.Seq(seq), event.AppendHeader(nil, &h), payload)
	})
}

// checkOpen checks that an event is opened if and only if everything in it agrees, and says what does not.
func checkOpen(t *testing.T, seq event.Seq, header, payload []byte) {
	t.Helper()
	h, err := event.DecodeHeader(header)
	id := h.ID.Seq() == seq && h.ID.Milli() == int64(h.Time)/1000
	agree := err == nil && id && h.Seq == seq && int(h.PayloadLength) == len(payload)
	same := agree && h.Content == Content(payload)
	var e, again event.Event
	bad := Open(&e, seq, header, payload)
	if (bad == nil) != same || e.Hash != Event(header) || string(e.Payload) != string(payload) {
		t.Errorf("%x as event %d: %v", header, seq, bad)
	}
	if bad != nil {
		if err := bad.Error(); bad.Check == "" || !errors.Is(err, event.ErrCorrupt) || !strings.Contains(err.Error(), bad.Check) {
			t.Errorf("finding %+v", bad)
		}
	}
	if bad := OpenHeader(&again, seq, header, payload); (bad == nil) != agree {
		t.Errorf("%x as the header of event %d: %v", header, seq, bad)
	}
	if same && string(event.AppendHeader(nil, &e.Header)) != string(header) {
		t.Errorf("%x has another spelling", header)
	}
}
