package event

import (
	"bytes"
	"encoding"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseIDOneSpelling(t *testing.T) {
	good := NewID(1_700_000_000_000_000, 123456789, 42).String()
	for name, text := range map[string]string{
		"empty":            "",
		"lower case":       strings.ToLower(good),
		"short":            good[:25],
		"long":             good + "0",
		"letter I":         good[:25] + "I",
		"letter L":         good[:25] + "L",
		"letter O":         good[:25] + "O",
		"letter U":         good[:25] + "U",
		"space":            " " + good[1:],
		"overflow":         "8" + good[1:],
		"overflow, all Z":  strings.Repeat("Z", 26),
		"hexadecimal":      "018bcfe56800075bcd150000002a0000",
		"with a kind name": "event:" + good,
		"bytes above 127":  good[:25] + "\xff",
	} {
		t.Run(name, func(t *testing.T) {
			id, err := ParseID(text)
			if !errors.Is(err, ErrInvalid) || !id.IsZero() {
				t.Errorf("ParseID(%q) = %v, %v", text, id, err)
			}
		})
	}
	highest := "7" + strings.Repeat("Z", 25)
	if id, err := ParseID(highest); err != nil || id.String() != highest || id != ID(bytes.Repeat([]byte{255}, 16)) {
		t.Errorf("ParseID(%q) = %v, %v", highest, id, err)
	}
}

// TestIDOrder checks that ids, and their texts, sort by seq while time does not go back.
func TestIDOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t1 := rapid.Int64Range(0, 1<<57).Draw(t, "time")
		s1 := rapid.Uint64Range(0, uint64(MaxSeq)-1).Draw(t, "seq")
		a := NewID(Timestamp(t1), Seq(s1), rapid.Uint32().Draw(t, "random"))
		t2 := t1 + rapid.Int64Range(1, 1<<56).Draw(t, "later")
		s2 := rapid.Uint64Range(s1+1, uint64(MaxSeq)).Draw(t, "next seq")
		b := NewID(Timestamp(t2), Seq(s2), rapid.Uint32().Draw(t, "next random"))
		if bytes.Compare(a[:], b[:]) >= 0 || a.String() >= b.String() {
			t.Fatalf("%s is not before %s", a, b)
		}
		if a.Seq() != Seq(s1) || a.Milli() != t1/1000 {
			t.Fatalf("parts of %s are %d and %d", a, a.Seq(), a.Milli())
		}
		if back, err := ParseID(a.String()); err != nil || back != a {
			t.Fatalf("ParseID(%s) = %s, %v", a, back, err)
		}
	})
}

// TestHexText checks the texts of hashes and store ids: one spelling, and a refused one changes nothing.
func TestHexText(t *testing.T) {
	id, h := StoreID{0xAB, 15: 1}, Hash{0xCD, 31: 2}
	for name, v := range map[string]struct {
		text string
		into func() (encoding.TextUnmarshaler, func() string)
	}{
		"store id": {id.String(), func() (encoding.TextUnmarshaler, func() string) {
			v := new(StoreID)
			return v, func() string { return v.String() }
		}},
		"hash": {h.String(), func() (encoding.TextUnmarshaler, func() string) {
			v := new(Hash)
			return v, func() string { return v.String() }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			into, text := v.into()
			zero := text()
			for _, bad := range []string{"", v.text[2:], v.text + "00", strings.ToUpper(v.text), "0x" + v.text[2:], v.text[:len(v.text)-1] + "g"} {
				if err := into.UnmarshalText([]byte(bad)); !errors.Is(err, ErrInvalid) || text() != zero {
					t.Errorf("%q: %v, now %s", bad, err, text())
				}
			}
			if err := into.UnmarshalText([]byte(v.text)); err != nil || text() != v.text {
				t.Errorf("%q: %v, now %s", v.text, err, text())
			}
		})
	}
}

func TestTimestamp(t *testing.T) {
	at := time.Date(2024, 2, 29, 12, 30, 1, 1_999, time.FixedZone("east", 3600))
	ts := TimestampOf(at)
	if got := ts.String(); got != "2024-02-29T11:30:01.000001Z" {
		t.Error(got)
	}
	if got := TimestampOf(ts.Time()); got != ts {
		t.Errorf("%d became %d", ts, got)
	}
	if got := TimestampOf(time.Unix(-1, 999_999_999)); got != -1 {
		t.Errorf("a nanosecond before 1970 is %d", got)
	}
}
