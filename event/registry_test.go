package event

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A price has had three versions: a whole number of euros, cents, and cents with a currency.
type price struct {
	Cents    int64  `cbor:"cents"`
	Currency string `cbor:"currency"`
}

type priceV1 struct {
	Euros int64 `cbor:"euros"`
}

type priceV2 struct {
	Cents int64 `cbor:"cents"`
}

func (price) EventType() Type { return Type{Kind: 0x2001, Name: "price", Version: 3} }

func (price) Upcasts() []Step {
	return []Step{
		Upcast(2, func(old map[string]any) (map[string]any, error) {
			old["currency"] = "EUR"
			return old, nil
		}),
		Upcast(1, func(old priceV1) (priceV2, error) {
			if old.Euros < 0 {
				return priceV2{}, errNegative
			}
			return priceV2{Cents: old.Euros * 100}, nil
		}),
	}
}

var errNegative = errors.New("negative price")

// TestDecodeRefuses has what is no encoding of the type, and types that cannot be.
func TestDecodeRefuses(t *testing.T) {
	for name, err := range map[string]error{
		"null":             decodeErr[price](Event{Header: Header{Kind: 0x2001}, Payload: []byte{0xF6}}),
		"null, tagged":     decodeErr[price](Event{Header: Header{Kind: 0x2001}, Payload: []byte{0xD9, 0xD9, 0xF7, 0xF6}}),
		"undefined":        decodeErr[price](Event{Header: Header{Kind: 0x2001}, Payload: []byte{0xF7}}),
		"a pointer":        decodeErr[*price](priced(t, 3, price{1, "EUR"})),
		"an interface":     decodeErr[Payload](priced(t, 3, price{1, "EUR"})),
		"an Upcaster":      decodeErr[Upcaster](priced(t, 3, price{1, "EUR"})),
		"a step's panic":   decodeErr[price](priced(t, 2, nil)),
		"a nil's encoding": proposalErr((*price)(nil)),
		"a pointer method": proposalErr(new(pointed)),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if p, err := Decode[price](priced(t, 3, map[string]any{"CENTS": 5})); err != nil || p.Cents != 0 {
		t.Errorf("another name is taken for the field: %+v, %v", p, err)
	}
}

// pointed is no payload type: what it points to is not asked.
type pointed struct{}

func (*pointed) EventType() Type { return Type{Kind: 0x2002, Name: "pointed", Version: 1} }

// TestPointerToPayload: a pointer to a payload type is stored as what it points to.
func TestPointerToPayload(t *testing.T) {
	typ, data, err := (&Proposal{At: At("a", "b"), Payload: &price{5, "EUR"}}).Encode()
	e := Event{Header: Header{Kind: typ.Kind, PayloadVersion: typ.Version}, Payload: data}
	if p, decodeErr := Decode[price](e); err != nil || decodeErr != nil || p != (price{5, "EUR"}) {
		t.Error(p, err, decodeErr)
	}
}

func decodeErr[P Payload](e Event) error {
	_, err := Decode[P](e)
	return err
}

func proposalErr(p Payload) error {
	_, _, err := (&Proposal{At: At("a", "b"), Payload: p}).Encode()
	return err
}

func encoded(t interface{ Fatal(...any) }, v any) []byte {
	b, err := Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func priced(t interface{ Fatal(...any) }, version uint16, v any) Event {
	return Event{Header: Header{Seq: 7, Kind: 0x2001, PayloadVersion: version}, Payload: encoded(t, v)}
}

// TestUpcast checks that frozen bytes of each version are read as the current type, that the bytes stay as they were, and
// what is refused.
func TestUpcast(t *testing.T) {
	for name, tt := range map[string]struct {
		e    Event
		want price
		err  error
	}{
		"version 1":            {priced(t, 1, priceV1{3}), price{300, "EUR"}, nil},
		"version 2":            {priced(t, 2, priceV2{250}), price{250, "EUR"}, nil},
		"version 3":            {priced(t, 3, price{9, "SEK"}), price{9, "SEK"}, nil},
		"no version":           {priced(t, 0, price{9, "SEK"}), price{9, "SEK"}, nil},
		"version 4":            {priced(t, 4, price{9, "SEK"}), price{}, ErrFutureVersion},
		"a step that fails":    {priced(t, 1, priceV1{-1}), price{}, ErrPastVersion},
		"bytes of no version":  {priced(t, 1, "three"), price{}, ErrPastVersion},
		"bytes not canonical":  {Event{Header: Header{Kind: 0x2001, PayloadVersion: 2}, Payload: []byte{0x18, 0x01}}, price{}, ErrPastVersion},
		"bytes of another one": {priced(t, 2, []int{1}), price{}, ErrPastVersion},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tt.e.Payload)
			got, err := Decode[price](tt.e)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%+v, %v", got, err)
			}
			var bad *DecodeError
			if err != nil && (!errors.As(err, &bad) || bad.Version != tt.e.PayloadVersion || bad.Type.Name != "price") {
				t.Errorf("%#v", err)
			}
			if name == "a step that fails" && !errors.Is(err, errNegative) {
				t.Errorf("%v does not say why", err)
			}
			if !slices.Equal(before, tt.e.Payload) {
				t.Error("the stored bytes have changed")
			}
		})
	}
}

// Types that cannot be registered, or not together.
type (
	noVersion   struct{}
	system      struct{}
	noSteps     struct{}
	hole        struct{}
	double      struct{}
	beyond      struct{}
	fromNothing struct{}
	samePrice   struct{}
	stepless    struct{}
	denial      struct{}
)

func step(from uint16) Step { return Upcast(from, func(v any) (any, error) { return v, nil }) }

func (noVersion) EventType() Type   { return Type{Kind: 0x2002, Name: "no version"} }
func (system) EventType() Type      { return Type{Kind: KindTombstone, Name: "system", Version: 1} }
func (denial) EventType() Type      { return Type{Kind: KindDenial, Name: "denial", Version: 1} }
func (stepless) EventType() Type    { return Type{Kind: 0x2008, Name: "stepless", Version: 2} }
func (stepless) Upcasts() []Step    { return []Step{Upcast[any, any](1, nil)} }
func (noSteps) EventType() Type     { return Type{Kind: 0x2003, Name: "no steps", Version: 2} }
func (hole) EventType() Type        { return Type{Kind: 0x2004, Name: "hole", Version: 4} }
func (hole) Upcasts() []Step        { return []Step{step(1), step(3)} }
func (double) EventType() Type      { return Type{Kind: 0x2005, Name: "double", Version: 3} }
func (double) Upcasts() []Step      { return []Step{step(1), step(2), step(1)} }
func (beyond) EventType() Type      { return Type{Kind: 0x2006, Name: "beyond", Version: 2} }
func (beyond) Upcasts() []Step      { return []Step{step(1), step(2)} }
func (fromNothing) EventType() Type { return Type{Kind: 0x2007, Name: "from nothing", Version: 2} }
func (fromNothing) Upcasts() []Step { return []Step{step(1), step(0)} }
func (samePrice) EventType() Type   { return Type{Kind: 0x2001, Name: "same price", Version: 1} }

func TestRegistry(t *testing.T) {
	for name, tt := range map[string]struct {
		types []Registered
		says  string
	}{
		"version 0":            {[]Registered{Register[noVersion]()}, "version 0"},
		"a reserved kind":      {[]Registered{Register[system]()}, "reserved"},
		"a pointer":            {[]Registered{Register[*price]()}, "payload type *event.price: it is a pointer"},
		"an interface":         {[]Registered{Register[Payload]()}, "payload type event.Payload: it is an interface"},
		"another interface":    {[]Registered{Register[Upcaster]()}, "payload type event.Upcaster: it is an interface"},
		"the zero Registered":  {[]Registered{{}}, "not made by"},
		"a step of nothing":    {[]Registered{Register[stepless]()}, "without a function"},
		"no steps":             {[]Registered{Register[noSteps]()}, "no upcast from version 1 to 2"},
		"a hole":               {[]Registered{Register[hole]()}, "no upcast from version 2 to 3"},
		"a step twice":         {[]Registered{Register[double]()}, "two upcasts from version 1"},
		"a step too far":       {[]Registered{Register[beyond]()}, "upcast from version 2"},
		"a step from 0":        {[]Registered{Register[fromNothing]()}, "upcast from version 0"},
		"two types of a kind":  {[]Registered{Register[price](), Register[samePrice]()}, "event.price"},
		"the same type twice":  {[]Registered{Register[price](), Register[price]()}, "event.price"},
		"one of many is wrong": {[]Registered{Register[price](), Register[moved1](), Register[hole]()}, "hole"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewRegistry(tt.types...)
			var bad *TypeError
			if !errors.As(err, &bad) || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := NewRegistry(Register[denial]()); err != nil {
		t.Errorf("batpak's own events cannot be read: %v", err)
	}
	if _, err := NewRouter(On[int, price](nil)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a handler without a function: %v", err)
	}
	r, err := NewRegistry(Register[price](), Register[moved1]())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Types(); len(got) != 2 || got[0].Name != "price" || got[1].Name != "moved once" {
		t.Errorf("types are %v", got)
	}
	if got, ok := r.Lookup(0x2001); got.Version != 3 || !ok {
		t.Errorf("%v, %t", got, ok)
	}
	if _, ok := r.Lookup(0x2002); ok {
		t.Error("a kind that is not there is")
	}
	if got, err := r.Decode(priced(t, 1, priceV1{1})); got != (price{100, "EUR"}) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := r.Decode(Event{Header: Header{Kind: 0x2002}}); !errors.Is(err, ErrKindMismatch) {
		t.Errorf("%v", err)
	}
	for name, tt := range map[string]struct {
		typ Type
		ok  bool
	}{
		"registered":                   {price{}.EventType(), true},
		"an older version":             {Type{0x2001, "price", 2}, false},
		"another name":                 {Type{0x2001, "cost", 3}, false},
		"not there":                    {Type{0x2002, "price", 3}, false},
		"bytes of no registered kind":  {Type{Kind: 0x2002}, true},
		"bytes of one that is":         {Type{Kind: 0x2001}, false},
		"bytes of one, with its name":  {Type{0x2001, "price", 0}, false},
		"a version beyond the current": {Type{0x2001, "price", 4}, false},
	} {
		if err := r.Check(tt.typ); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// moved1 is a type that never had another version.
type moved1 struct{ X int }

func (moved1) EventType() Type { return Type{Kind: 0x2F01, Name: "moved once", Version: 1} }

func TestRouter(t *testing.T) {
	r, err := NewRouter(
		On(func(log *[]string, e Event, p price) error { *log = append(*log, p.Currency); return nil }),
		On(func(log *[]string, e Event, p moved1) error { return errNegative }),
	)
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	if handled, err := r.Route(&log, priced(t, 1, priceV1{1})); !handled || err != nil || !slices.Equal(log, []string{"EUR"}) {
		t.Errorf("%t, %v, %q", handled, err, log)
	}
	if handled, err := r.Route(&log, Event{Header: Header{Kind: 0x2002}}); handled || err != nil {
		t.Errorf("%t, %v", handled, err)
	}
	if handled, err := r.Route(&log, priced(t, 4, price{})); !handled || !errors.Is(err, ErrFutureVersion) || len(log) != 1 {
		t.Errorf("%t, %v", handled, err)
	}
	if _, err := r.Route(&log, Event{Header: Header{Kind: 0x2F01}, Payload: encoded(t, moved1{1})}); err != errNegative {
		t.Errorf("%v", err)
	}
	_, err = NewRouter(On(func(int, Event, price) error { return nil }), On(func(int, Event, samePrice) error { return nil }))
	var bad *TypeError
	if !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
}

func TestEach(t *testing.T) {
	events := []Event{priced(t, 1, priceV1{1}), {Header: Header{Kind: 0x2F01}}, priced(t, 2, priceV2{5}), priced(t, 4, price{}), priced(t, 3, price{1, "SEK"})}
	all := func(fail error) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			yield(Event{}, fail)
		}
	}
	var got []int64
	var last error
	for p, err := range Each[price](all(nil)) {
		if last = err; err == nil {
			got = append(got, p.Value.Cents)
		}
	}
	if !slices.Equal(got, []int64{100, 5}) || !errors.Is(last, ErrFutureVersion) {
		t.Errorf("%v, %v", got, last)
	}
	events = events[:1]
	for p, err := range Each[price](all(errNegative)) {
		if last = err; err == nil && p.Seq != 7 {
			t.Errorf("event %d", p.Seq)
		}
	}
	if last != errNegative {
		t.Errorf("%v", last)
	}
	for range Each[price](all(nil)) { // nothing is asked for after the loop has ended: the sequence would panic
		break
	}
}

// TestNilTypes: what has nil for its zero value is no payload type, and the error says so wherever one is named.
func TestNilTypes(t *testing.T) {
	for _, tt := range []struct {
		goType, problem string
		errs            []error
	}{
		{"*event.price", "it is a pointer", nilTypeErrs[*price](t)},
		{"event.Payload", "it is an interface", nilTypeErrs[Payload](t)},
		{"event.Upcaster", "it is an interface", nilTypeErrs[Upcaster](t)},
		{"event.embedsPointer", "EventType panics", append(nilTypeErrs[embedsPointer](t), proposalErr(embedsPointer{}))},
		{"event.embedsPayload", "EventType panics", append(nilTypeErrs[embedsPayload](t), proposalErr(embedsPayload{}))},
	} {
		for i, err := range tt.errs {
			var bad *TypeError
			if !errors.As(err, &bad) || bad.GoType != tt.goType || !strings.HasPrefix(bad.Problem, tt.problem) || !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, call %d: %v", tt.goType, i, err)
			}
		}
	}
}

type (
	embedsPointer struct{ *price }
	embedsPayload struct{ Payload }
	tags          []string
	attributes    map[string]string
)

func (tags) EventType() Type       { return Type{Kind: 0x2002, Name: "tags", Version: 1} }
func (attributes) EventType() Type { return Type{Kind: 0x2003, Name: "attributes", Version: 1} }

type (
	taggedNull struct{}
	unwilling  struct{}
)

func (taggedNull) EventType() Type              { return Type{Kind: 0x2004, Name: "tagged null", Version: 1} }
func (taggedNull) MarshalCBOR() ([]byte, error) { return []byte{0xD9, 0xD9, 0xF7, 0xF6}, nil }
func (unwilling) EventType() Type               { return Type{Kind: 0x2005, Name: "unwilling", Version: 1} }
func (unwilling) MarshalCBOR() ([]byte, error)  { panic("cannot encode") }

// TestNilPayloads: what is encoded as null could not be read again. Empty ones can.
func TestNilPayloads(t *testing.T) {
	for _, p := range []Payload{tags(nil), attributes(nil), taggedNull{}, unwilling{}} {
		if err := proposalErr(p); !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("%T", p)) {
			t.Errorf("%T: %v", p, err)
		}
	}
	if err := errors.Join(proposalErr(tags{}), proposalErr(attributes{})); err != nil {
		t.Error(err)
	}
}

// nilTypeErrs are the errors of all that takes a payload type. Each says so once, without asking for an event.
func nilTypeErrs[P Payload](t *testing.T) []error {
	_, registry := NewRegistry(Register[P]())
	_, router := NewRouter(On(func(int, Event, P) error { return nil }))
	all := []error{decodeErr[P](priced(t, 3, price{1, "EUR"})), registry, router}
	none := func(func(Event, error) bool) { t.Error("an event was asked for") }
	pairs := 0
	for _, err := range Each[P](none) {
		pairs++
		all = append(all, err)
	}
	if pairs != 1 {
		t.Errorf("%d pairs", pairs)
	}
	return all
}

type account struct{}

func (account) EntityPrefix() string { return "account" }

type tenant struct{}

func (tenant) EntityPrefix() string { return "tenant:1" }

func TestEntityID(t *testing.T) {
	id, err := EntityIDOf[account]("7:a")
	if err != nil || id.String() != "account:7:a" || id.Key() != "7:a" || id.At("bank") != At("account:7:a", "bank") || id.IsZero() {
		t.Fatalf("%q, %q, %v", id, id.Key(), err)
	}
	if id, err := EntityIDOf[tenant]("x"); err != nil || id.Key() != "x" {
		t.Errorf("%q, %v", id.Key(), err)
	}
	for _, bad := range []string{"", "account", "account:", "order:7", "accounts:7", "account:\x00", "account:" + strings.Repeat("x", 1017)} {
		if _, err := ParseEntityID[account](bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	type holder struct{ A, B EntityID[account] }
	var got holder
	if err := Unmarshal(encoded(t, holder{A: id}), &got); err != nil || got.A != id || !got.B.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	type other struct{ A, B EntityID[tenant] }
	var wrong other
	if err := Unmarshal(encoded(t, holder{A: id}), &wrong); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := (EntityID[account]{}).At("bank").Validate(); err == nil {
		t.Error("the zero id has a coordinate")
	}
}

// TestIdempotencyKey has values that were computed by another implementation of Blake3.
func TestIdempotencyKey(t *testing.T) {
	seen := map[string]string{}
	for name, key := range map[string]string{
		`d ab c`: IdempotencyKey("d", "ab", "c"), `d a bc`: IdempotencyKey("d", "a", "bc"), `dab c`: IdempotencyKey("dab", "c"),
		`d`: IdempotencyKey("d"), `d ""`: IdempotencyKey("d", ""), `""`: IdempotencyKey(""), `"" ""`: IdempotencyKey("", ""),
	} {
		if other, ok := seen[key]; ok || len(key) != 32 {
			t.Errorf("%s has key %s, as has %s", name, key, other)
		}
		seen[key] = name
	}
	if got := IdempotencyKey("d", "ab", "c"); got != "4fda80be6a8961758ded5336e2b80016" {
		t.Errorf("key is %s", got)
	}
	if got := IdempotencyKey(""); got != "e572dff82304700b856a555ac3a4558d" {
		t.Errorf("key of nothing is %s", got)
	}
}

// TestQueryText checks that two queries have the same text if and only if they are the same, and that a union selects
// whatever either selects.
func TestQueryText(t *testing.T) {
	draw := rapid.Custom(drawQuery)
	rapid.Check(t, func(t *rapid.T) {
		q, r := draw.Draw(t, "q"), draw.Draw(t, "r")
		if same := sameQuery(q, r); same != (q.String() == r.String()) {
			t.Errorf("%v and %v: the same: %t", &q, &r, same)
		}
		u := q.Union(r)
		h := Header{Entity: rapid.SampledFrom([]string{"a", "a:b", "b"}).Draw(t, "entity"), Scope: "s", Seq: Seq(rapid.IntRange(1, 4).Draw(t, "seq")),
			Clock: Clock(rapid.IntRange(1, 4).Draw(t, "clock")), Kind: Kind(0x1000 + rapid.IntRange(0, 1).Draw(t, "kind")),
			Lane: Lane(rapid.IntRange(0, 1).Draw(t, "lane")), Time: Timestamp(rapid.IntRange(1, 4).Draw(t, "time"))}
		if (q.Match(&h) || r.Match(&h)) && !u.Match(&h) {
			t.Errorf("%v or %v selects %+v, their union %v does not", &q, &r, h, &u)
		}
	})
}

func drawQuery(t *rapid.T) Query {
	some := func(name string) int { return max(0, rapid.IntRange(-3, 3).Draw(t, name)) }
	q := Query{Entity: rapid.SampledFrom([]string{"", "", "a", "a:b", `a" scope="s`}).Draw(t, "entity"), Prefix: rapid.SampledFrom([]string{"", "a"}).Draw(t, "prefix"),
		Scope: rapid.SampledFrom([]string{"", "s"}).Draw(t, "scope"), Kind: rapid.SampledFrom([]Kind{0, 0x1000, 0x1001}).Draw(t, "kind"),
		After: Seq(some("after")), Through: Seq(some("through")), ClockAfter: Clock(some("clock after")), ClockThrough: Clock(some("clock through")),
		Reverse: rapid.Bool().Draw(t, "reverse"), Limit: some("limit")}
	if n := some("lane"); n > 0 {
		q.Lane = new(Lane(n - 1))
	}
	if n := some("category"); n > 0 {
		q.Category = new(Category(n - 1))
	}
	if n := some("since"); n > 0 {
		q.Since = Timestamp(n).Time()
	}
	if n := some("until"); n > 0 {
		q.Until = Timestamp(n).Time()
	}
	return q
}

func sameQuery(q, r Query) bool {
	lane := q.Lane == nil && r.Lane == nil || q.Lane != nil && r.Lane != nil && *q.Lane == *r.Lane
	category := q.Category == nil && r.Category == nil || q.Category != nil && r.Category != nil && *q.Category == *r.Category
	q.Lane, r.Lane, q.Category, r.Category = nil, nil, nil, nil
	return lane && category && q == r
}
