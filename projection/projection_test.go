package projection

import (
	"bytes"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/event"
)

var errNegative = errors.New("negative")

// other is another type of the kind of deposited, and beyond one without the steps that its version needs.
type (
	other  struct{}
	beyond struct{}
)

func (other) EventType() event.Type  { return event.Type{Kind: 0x1001, Name: "other", Version: 1} }
func (beyond) EventType() event.Type { return event.Type{Kind: 0x1004, Name: "beyond", Version: 2} }

func TestNew(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Spec[account])
		says   string
	}{
		"no name":             {func(s *Spec[account]) { s.Name = "" }, "is empty"},
		"a name with a slash": {func(s *Spec[account]) { s.Name = "a/b" }, `"a/b"`},
		"a long name":         {func(s *Spec[account]) { s.Name = strings.Repeat("a", 129) }, "129 bytes"},
		"version 0":           {func(s *Spec[account]) { s.Version = 0 }, "version 0"},
		"no handlers":         {func(s *Spec[account]) { s.Handlers = nil }, "no handlers"},
		"a type twice":        {func(s *Spec[account]) { s.Handlers = append(s.Handlers, On(deposit)) }, "kind is that of"},
		"two types of a kind": {func(s *Spec[account]) {
			s.Handlers = append(s.Handlers, On(func(*account, event.Event, other) error { return nil }))
		}, "kind is that of"},
		"a type without its steps": {func(s *Spec[account]) {
			s.Handlers = append(s.Handlers, On(func(*account, event.Event, beyond) error { return nil }))
		}, "no upcast"},
		"a pointer": {func(s *Spec[account]) {
			s.Handlers = append(s.Handlers, On(func(*account, event.Event, *other) error { return nil }))
		}, "payload type *projection.other: it is a pointer"},
		"an interface": {func(s *Spec[account]) {
			s.Handlers = append(s.Handlers, On(func(*account, event.Event, event.Payload) error { return nil }))
		}, "payload type event.Payload: it is an interface"},
		"MaxStateBytes below 0":  {func(s *Spec[account]) { s.MaxStateBytes = -1 }, "out of bounds"},
		"MaxStateBytes too high": {func(s *Spec[account]) { s.MaxStateBytes = MaxStateBytes + 1 }, "out of bounds"},
		"SnapshotEvery below 0":  {func(s *Spec[account]) { s.SnapshotEvery = -1 }, "out of bounds"},
	} {
		s := balance()
		tt.change(&s)
		p, err := New(s)
		if p != nil || !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: MustNew does not panic", name)
				}
			}()
			MustNew(s)
		}()
	}
	s := balance()
	s.Name, s.MaxStateBytes = strings.Repeat("a", 128), MaxStateBytes
	if _, err := New(s); err != nil {
		t.Error(err)
	}
}

// States of which something would not come back from a snapshot.
type (
	hidden    struct{ n int }
	embedding struct{ hidden }
	hiddenPtr struct{ *inner }
	inner     struct{ N int }
	dash      struct {
		N int `cbor:"-"`
	}
	jsonDash struct {
		N int `json:"-"`
	}
	omitted struct {
		M map[string]int `cbor:"m,omitempty"`
	}
	twice struct {
		A int `cbor:"x"`
		B int `cbor:"x"`
	}
	covered struct {
		inner
		N int
	}
	Outer struct {
		N int
		M map[string]int
	}
	coveredPtr struct {
		*Outer
		M map[string]int
	}
	tagged struct {
		N int `cbor:"M"`
		M int `cbor:"N"`
	}
	wide struct {
		event.EntityID[accounts]
		N int
	}
	encoder struct{}
	chained struct {
		N    int
		Next *chained
	}
	Self struct {
		*Self
		N int
	}
	Deep struct{ K []node }
	node struct {
		*Deep
		N int
	}
	jsonLost struct {
		A int
		N int `cbor:"" json:"-"`
	}
	jsonNamed struct {
		N int `cbor:"N"`
		M int `cbor:"" json:"N"`
	}
	window   struct{ From, To int }
	windowed struct {
		W window `cbor:",omitzero"`
	}
	Traceless struct {
		N int `cbor:",omitempty"`
	}
	onTraceless struct{ *Traceless }
	codec       interface {
		MarshalCBOR() ([]byte, error)
		UnmarshalCBOR([]byte) error
	}
	numbers struct {
		A int `cbor:"01,keyasint"`
		B int `cbor:"1,keyasint"`
	}
	textAndNumber struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"1"`
	}
	stamp    struct{ time.Time }
	endpoint struct {
		netip.Addr
		Port int
	}
	omitting struct {
		Parent *omitting `cbor:"parent,omitempty"`
		Last   event.ID  `cbor:"last,omitzero"`
		Dash   int       `cbor:"-,"`
		Money  *big.Int
	}
	omittedFloats struct {
		F [1]struct{ X float64 } `cbor:",omitzero"`
	}
	Placed struct{ N int }
	array  struct {
		_ struct{} `cbor:",toarray"`
		*Placed
	}
	decoder      struct{ N int }
	omittedFloat struct {
		F float32 `json:",omitempty"`
	}
	level         uint8
	omittedLevels struct {
		L [1]struct{ V level } `cbor:",omitempty"`
	}
	omittedLevel struct {
		L level `cbor:",omitempty"`
	}
	maybe struct{ is bool }
	may   struct {
		P map[string]*maybe
	}
	pointer *pointer
	flat    struct {
		inner
		*Deep
		M  map[string][]*inner
		ID event.EntityID[accounts]
		_  int
	}
)

var _ = embedding{hidden: hidden{n: 1}} // nothing else uses the fields

// IsZero looks at a part.
func (w window) IsZero() bool { return w.From == 0 }

// accounts are a sort of entities.
type accounts struct{}

func (accounts) EntityPrefix() string { return "account" }

func (s stamp) MarshalCBOR() ([]byte, error) { return event.Marshal(s.UnixNano()) }
func (s *stamp) UnmarshalCBOR(b []byte) error {
	var nanos int64
	err := event.Unmarshal(b, &nanos)
	s.Time = time.Unix(0, nanos).UTC()
	return err
}

func (e endpoint) MarshalCBOR() ([]byte, error) {
	return event.Marshal(netip.AddrPortFrom(e.Addr, uint16(e.Port)))
}
func (e *endpoint) UnmarshalCBOR(b []byte) error {
	var both netip.AddrPort
	err := event.Unmarshal(b, &both)
	e.Addr, e.Port = both.Addr(), int(both.Port())
	return err
}

func (*decoder) UnmarshalCBOR([]byte) error { return nil }

// MarshalBinary gives nothing for one.
func (l level) MarshalBinary() ([]byte, error) { return bytes.Trim([]byte{byte(l)}, "\x01"), nil }
func (l *level) UnmarshalBinary(b []byte) error {
	*l = 1
	if len(b) > 0 {
		*l = level(b[0])
	}
	return nil
}

// MarshalCBOR gives null for what is not.
func (m maybe) MarshalCBOR() ([]byte, error) {
	if !m.is {
		return []byte{0xF6}, nil
	}
	return []byte{0xF5}, nil
}
func (m *maybe) UnmarshalCBOR(b []byte) error {
	m.is = b[0] == 0xF5
	return nil
}

func (encoder) MarshalCBOR() ([]byte, error) { return []byte{0xF6}, nil }

// refused returns why a projection onto S is not made, or "".
func refused[S any]() string {
	_, err := New(Spec[S]{Name: "state", Version: 1, Handlers: []Handler[S]{On(func(*S, event.Event, noted) error { return nil })}})
	switch {
	case err == nil:
		return ""
	case !errors.Is(err, event.ErrInvalid):
		return "not ErrInvalid: " + err.Error()
	}
	return err.Error()
}

// TestLostState checks that states are refused of which a field would be lost between a snapshot and the next fold.
func TestLostState(t *testing.T) {
	for name, tt := range map[string]struct{ got, says string }{
		"unexported":                 {refused[hidden](), "hidden.n is not encoded"},
		"unexported, in an embedded": {refused[embedding](), "hidden.n is not encoded"},
		"an unexported pointer":      {refused[hiddenPtr](), "inner is not encoded"},
		"in a slice":                 {refused[[]hidden](), "hidden.n"},
		"in an array":                {refused[[2]hidden](), "hidden.n"},
		"behind a pointer":           {refused[*hidden](), "hidden.n"},
		"in the keys of a map":       {refused[map[hidden]int](), "hidden.n"},
		"in the values of a map":     {refused[map[string]hidden](), "hidden.n"},
		"deep": {refused[struct {
			A map[string][]*struct{ B [1]hidden }
		}](), "hidden.n"},
		"a function":                    {refused[struct{ F func() }](), "func()"},
		"a channel":                     {refused[struct{ C []chan int }](), "chan int"},
		"an interface":                  {refused[map[string]any](), "interface"},
		"an interface with methods":     {refused[struct{ E error }](), "error"},
		"a complex number":              {refused[[]complex128](), "complex128"},
		"a time":                        {refused[time.Time](), "time.Time"},
		"times, deep":                   {refused[struct{ A map[string]*time.Time }](), "time.Time"},
		"left out":                      {refused[dash](), "dash.N"},
		"left out of JSON":              {refused[struct{ A []jsonDash }](), "jsonDash.N"},
		"an empty map left out":         {refused[omitted](), "omitted.M"},
		"two fields of one name":        {refused[twice](), "twice.B"},
		"covered, behind a pointer":     {refused[coveredPtr](), "coveredPtr.M"},
		"embedded in itself":            {refused[Self](), "Self.Self"},
		"covered by an outer field":     {refused[covered](), "covered.N"},
		"besides an embedded encoder":   {refused[wide](), "wide.N"},
		"left out, as JSON says":        {refused[jsonLost](), "jsonLost.N"},
		"two of one name, one in JSON":  {refused[jsonNamed](), "jsonNamed.M"},
		"a pointer to a slice":          {refused[struct{ P *[]int }](), "*[]int"},
		"a pointer to a map":            {refused[[]*map[string]int](), "*map[string]int"},
		"a pointer to a pointer":        {refused[struct{ P **int }](), "**int"},
		"left out by its own word":      {refused[windowed](), "windowed.W"},
		"embedded, and all left out":    {refused[onTraceless](), "onTraceless.Traceless"},
		"an encoder that is no decoder": {refused[struct{ E encoder }](), "encoder"},
		"an embedded time":              {refused[struct{ time.Time }](), "time.Time"},
		"an embedded pointer":           {refused[struct{ *netip.Addr }](), "Addr"},
		"an embedded interface":         {refused[struct{ codec }](), "codec"},
		"two of one number":             {refused[numbers](), "numbers.B"},
		"raw":                           {refused[[]cbor.RawMessage](), "cbor.RawMessage"},
		"pointers as keys":              {refused[map[*int]int](), "map[*int]int"},
		"pointers in keys":              {refused[map[[1]struct{ A *int }]int](), "other pointers"},
		"floats in what is left out":    {refused[omittedFloats](), "omitzero leaves out"},
		"embedded in an array":          {refused[array](), "array.Placed"},
		"a decoder that is no encoder":  {refused[struct{ D decoder }](), "decoder"},
		"a raw tag":                     {refused[cbor.RawTag](), "cbor.RawTag"},
		"nothing for a value":           {refused[omittedLevel](), "omittedLevel.L"},
		"nothing for a value, deep":     {refused[omittedLevels](), "omittedLevels.L"},
		"a pointer to a null":           {refused[may](), "*projection.maybe"},
		"a pointer to itself":           {refused[pointer](), "projection.pointer"},
		"a pointer to itself, deep":     {refused[[]struct{ P pointer }](), "projection.pointer"},
		"an address in memory":          {refused[uintptr](), "uintptr"},
		"a float below zero left out":   {refused[omittedFloat](), "omittedFloat.F"},
	} {
		if tt.got == "" || !strings.Contains(tt.got, tt.says) {
			t.Errorf("%s: %q", name, tt.got)
		}
	}
	for name, got := range map[string]string{
		"an integer": refused[int](), "fields": refused[account](), "a list": refused[chained](), "embedded": refused[flat](),
		"names swapped": refused[tagged](), "an address": refused[netip.Addr](), "hash": refused[map[event.ID]event.Hash](),
		"a timestamp": refused[event.Timestamp](),
	} {
		if got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestStatesComeBack checks that what New accepts is the same after a snapshot.
func TestStatesComeBack(t *testing.T) {
	id := must[event.EntityID[accounts]](t)(event.EntityIDOf[accounts]("7"))
	comesBack(t, flat{inner: inner{3}, Deep: &Deep{K: []node{{N: 1}, {Deep: &Deep{}, N: 2}}}, M: map[string][]*inner{"": {{1}, nil}, "x": nil, "y": {}}, ID: id})
	comesBack(t, chained{1, &chained{2, nil}})
	comesBack(t, tagged{1, 2})
	comesBack(t, textAndNumber{1, 2})
	comesBack(t, stamp{time.Unix(1, 2).UTC()})
	comesBack(t, endpoint{netip.MustParseAddr("10.0.0.1"), 80})
	comesBack(t, omitting{&omitting{Dash: 1}, event.ID{1}, 2, big.NewInt(-1 << 62)})
	comesBack(t, omitting{})
	comesBack(t, struct{ netip.Addr }{netip.MustParseAddr("10.0.0.1")})
	comesBack(t, map[netip.Addr]int{netip.MustParseAddr("10.0.0.1"): 1})
	comesBack(t, map[event.ID]event.Hash{{1}: {2}, {}: {}})
	comesBack(t, struct{ A, B level }{1, 2})
	comesBack(t, []maybe{{true}, {}})
	comesBack(t, struct {
		A, B *netip.Addr
		C    *event.EntityID[accounts] `cbor:",omitempty"`
	}{new(netip.Addr{}), nil, &id})
	comesBack(t, map[inner]float32{{1}: 1.5, {2}: -0.1})
	comesBack(t, netip.MustParseAddr("fe80::1"))
	comesBack(t, struct {
		A    [3]byte
		B    []byte
		C, D *string
		E    []int
	}{[3]byte{1}, []byte{}, nil, new("x"), nil})
}

func comesBack[S any](t *testing.T, want S) {
	t.Helper()
	src := newMemory()
	src.append(key, noted{})
	p := must[*Projection[S]](t)(New(Spec[S]{Name: "state", Version: 1, SnapshotEvery: 1,
		Handlers: []Handler[S]{On(func(s *S, _ event.Event, _ noted) error { *s = want; return nil })}}))
	for range 2 {
		got := must[State[S]](t)(Get(src, p, key, Consistent))
		if diff := cmp.Diff(want, got.Value, cmp.AllowUnexported(flat{}, node{}, maybe{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }),
			cmp.Comparer(func(a, b event.EntityID[accounts]) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
	if src.read != 1 {
		t.Errorf("%T was folded again: %d events read", want, src.read)
	}
}

func TestInit(t *testing.T) {
	s := balance()
	p := MustNew(s)
	p.Init().Moves["in"] = 9
	if got := p.Init(); got.Moves == nil || len(got.Moves) > 0 {
		t.Errorf("%v", got)
	}
	s.Init = nil
	if got := MustNew(s).Init(); got.Moves != nil {
		t.Errorf("%v", got)
	}
}

// TestApply folds single events: other kinds change nothing, and what cannot be folded is an error that says where.
func TestApply(t *testing.T) {
	p := MustNew(balance())
	for name, tt := range map[string]struct {
		kind    event.Kind
		version uint16
		payload []byte
		cents   int64
		err     error
		decode  bool
	}{
		"handled":              {0x1001, 1, bytesOf(deposited{5}), 5, nil, false},
		"without a version":    {0x1002, 0, bytesOf(withdrawn{5}), -5, nil, false},
		"another kind":         {0x1003, 1, []byte{0xFF}, 0, nil, false},
		"no payload":           {0x1001, 1, nil, 0, event.ErrInvalid, true},
		"cut off":              {0x1001, 1, []byte{0xA1}, 0, event.ErrInvalid, true},
		"another shape":        {0x1001, 1, bytesOf([]int{1}), 0, event.ErrInvalid, true},
		"text for a number":    {0x1001, 1, bytesOf(map[string]string{"cents": "5"}), 0, event.ErrInvalid, true},
		"not canonical":        {0x1001, 1, []byte{0xA1, 0x65, 'c', 'e', 'n', 't', 's', 0x18, 5}, 0, event.ErrInvalid, true},
		"of a later version":   {0x1001, 2, bytesOf(deposited{5}), 0, event.ErrFutureVersion, true},
		"refused by a handler": {0x1002, 1, bytesOf(withdrawn{-5}), 0, errNegative, false},
	} {
		a := p.Init()
		err := p.Apply(&a, event.Event{Header: event.Header{Seq: 3, Kind: tt.kind, PayloadVersion: tt.version}, Payload: tt.payload})
		var bad *event.DecodeError
		if a.Cents != tt.cents || !errors.Is(err, tt.err) || errors.As(err, &bad) != tt.decode || tt.decode && bad.Seq != 3 {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		if err != nil && !strings.Contains(err.Error(), `projection "balance": event 3`) {
			t.Errorf("%s: %v does not say where", name, err)
		}
	}
}

// TestNotMade: a projection that New did not make is refused before anything is read, with the type of its state.
func TestNotMade(t *testing.T) {
	for name, p := range map[string]*Projection[account]{"zero": {}, "nil": nil} {
		src := some()
		all := append(errs(src, p), p.Apply(new(account), src.events[0]))
		for _, err := range Watch(t.Context(), src, p, key) {
			all = append(all, err)
		}
		for i, err := range all {
			if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "projection.account") {
				t.Errorf("%s, call %d: %v", name, i, err)
			}
		}
		if got := p.Init(); len(all) != 7 || src.queries+src.saved > 0 || got.Cents != 0 {
			t.Errorf("%s: %d errors, %d queries, %+v", name, len(all), src.queries, got)
		}
	}
}
