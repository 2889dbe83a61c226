package batpak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
)

// typed is a payload whose type is what a test says.
type typed struct {
	Type `cbor:"-"`
	X    int `cbor:"x"`
}

func (p typed) EventType() Type { return p.Type }

// raw is a proposal of a plain event at entity.
func raw(entity, data string) Proposal {
	return Proposal{At: At(entity, "s"), Kind: 0xF001, Data: []byte(data)}
}

// with returns p changed.
func with(p Proposal, change func(*Proposal)) Proposal {
	change(&p)
	return p
}

func mustCommit(t testing.TB, s *Store, ps ...Proposal) []Receipt {
	t.Helper()
	rs, err := s.Commit(ps...)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// nothingAppended calls do and fails the test if the store grew.
func nothingAppended(t testing.TB, s *Store, do func()) {
	t.Helper()
	before := s.accepted()
	do()
	if after := s.accepted(); after != before {
		t.Errorf("the store went from event %d to %d", before.Seq, after.Seq)
	}
}

func TestCoordinateRules(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	long := strings.Repeat("x", event.MaxCoordinateBytes)
	type reason = event.CoordinateReason
	for _, c := range []struct {
		name          string
		entity, scope string
		part          string
		reason        reason
	}{
		{"both empty: the entity first", "", "", "entity", event.Empty},
		{"entity empty before scope too long", "", long + "x", "entity", event.Empty},
		{"scope empty before entity too long", long + "x", "", "scope", event.Empty},
		{"scope empty before bytes of the entity", "a\x00", "", "scope", event.Empty},
		{"entity too long before scope too long", long + "x", long + "x", "entity", event.TooLong},
		{"scope too long before bytes of the entity", "a/b", long + "x", "scope", event.TooLong},
		{"length before bytes", long + "\x00", "s", "entity", event.TooLong},
		{"length counts bytes", strings.Repeat("é", 512) + "x", "s", "entity", event.TooLong},
		{"entity before scope", "a/b", "s\x00", "entity", event.PathTraversal},
		{"NUL", "a\x00b", "s", "entity", event.NulByte},
		{"control", "a\x1fb", "s", "entity", event.ControlChar},
		{"tab", "a\tb", "s", "entity", event.ControlChar},
		{"delete", "a\x7f", "s", "entity", event.ControlChar},
		{"slash", "a/b", "s", "entity", event.PathTraversal},
		{"dots", "a..b", "s", "entity", event.PathTraversal},
		{"bar", "a|b", "s", "entity", event.ForbiddenSeparator},
		{"equals", "a=b", "s", "entity", event.ForbiddenSeparator},
		{"not UTF-8", "a\xff", "s", "entity", event.NotUTF8},
		{"scope NUL", "a", "s\x00", "scope", event.NulByte},
		{"scope control", "a", "s\n", "scope", event.ControlChar},
		{"scope dots", "a", "..", "scope", event.PathTraversal},
		{"scope bar", "a", "s|", "scope", event.ForbiddenSeparator},
		{"scope not UTF-8", "a", "\xc3\x28", "scope", event.NotUTF8},
		{"fine", "a", "s", "", ""},
		{"fine: single dots, colons, spaces and others", "a.b:c @*é日", ". .", "", ""},
		{"fine: as long as can be", long, strings.Repeat("é", 512), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.reason == "" {
				if _, err := s.Append(At(c.entity, c.scope), moved{}); err != nil {
					t.Error(err)
				}
				return
			}
			check := func(err error) {
				t.Helper()
				var bad *CoordinateError
				if !errors.As(err, &bad) || bad.Part != c.part || bad.Reason != c.reason || !errors.Is(err, ErrInvalid) {
					t.Errorf("got %v, want %s %s", err, c.part, c.reason)
				}
			}
			nothingAppended(t, s, func() {
				_, err := s.Append(At(c.entity, c.scope), moved{})
				check(err)
				var item *ItemError
				if errors.As(err, &item) {
					t.Errorf("an append of one names an item: %v", err)
				}
				_, err = s.Commit(raw("a", ""), raw("a", ""), Proposal{At: At(c.entity, c.scope), Kind: 0xF001})
				check(err)
				if !errors.As(err, &item) || item.Item != 2 {
					t.Errorf("item 2 is not named: %v", err)
				}
			})
		})
	}
}

func TestReservedKinds(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	for _, k := range []Kind{1, event.KindDenial, event.KindTombstone, 0x0FFF, 0xD000, 0xD001, 0xDFFF} {
		t.Run(k.String(), func(t *testing.T) {
			check := func(err error, item int) {
				t.Helper()
				var bad *ReservedKindError
				if !errors.As(err, &bad) || bad.Kind != k || !errors.Is(err, ErrReservedKind) || !errors.Is(err, ErrInvalid) {
					t.Errorf("got %v", err)
				}
				var at *ItemError
				if errors.As(err, &at) != (item >= 0) || at != nil && at.Item != item {
					t.Errorf("item %d is not named: %v", item, err)
				}
			}
			nothingAppended(t, s, func() {
				payload := typed{Type: Type{Kind: k, Name: "reserved", Version: 1}}
				_, err := s.Append(At("a", "s"), payload)
				check(err, -1)
				_, err = s.Commit(Proposal{At: At("a", "s"), Kind: k})
				check(err, 0)
				_, err = s.Commit(raw("a", ""), Proposal{At: At("a", "s"), Payload: payload}, raw("a", ""))
				check(err, 1)
				_, err = s.Commit(raw("a", ""), raw("a", ""), Proposal{At: At("a", "s"), Kind: k})
				check(err, 2)
			})
		})
	}
	for _, k := range []Kind{0x1000, 0xCFFF, 0xE000, 0xFFFF} {
		mustCommit(t, s, Proposal{At: At("a", "s"), Kind: k})
	}
}

// Each row is one commit that is refused, or not, for what its proposals say.
func TestProposalRules(t *testing.T) {
	const maxPayload = 3000
	s := openTest(t, memoryDir(t), &Options{MaxPayload: maxPayload})
	header := func(p Proposal) int { // as the store counts: an upper bound
		return headerBound(&event.Header{Entity: p.At.Entity, Scope: p.At.Scope, Key: p.Key, Extensions: p.Extensions})
	}
	extended := func(bytes int) Proposal {
		p := with(raw("a", ""), func(p *Proposal) { p.Extensions = map[string][]byte{"x.y": {}} })
		p.Extensions["x.y"] = make([]byte, bytes-header(p))
		return p
	}
	extension := func(name string) Proposal {
		return with(raw("a", ""), func(p *Proposal) { p.Extensions = map[string][]byte{name: {1}} })
	}
	many := func(n int) []Proposal { return slices.Repeat([]Proposal{raw("a", "")}, n) }
	one := func(change func(*Proposal)) []Proposal { return []Proposal{with(raw("a", ""), change)} }
	third := func(c Cause) []Proposal {
		return []Proposal{raw("a", ""), raw("b", ""), with(raw("c", ""), func(p *Proposal) { p.Cause = c })}
	}
	for _, c := range []struct {
		name string
		ps   []Proposal
		want error // nil: accepted
		item int   // named in the error; -1: none
	}{
		{"payload at the limit", one(func(p *Proposal) { p.Data = make([]byte, maxPayload) }), nil, 0},
		{"payload one above", one(func(p *Proposal) { p.Data = make([]byte, maxPayload+1) }), ErrTooLarge, 0},
		{"batch at the limit", many(MaxBatch), nil, 0},
		{"batch one above", many(MaxBatch + 1), ErrTooLarge, -1},
		{"header at the limit", []Proposal{extended(event.MaxHeaderBytes)}, nil, 0},
		{"header one above", []Proposal{raw("a", ""), extended(event.MaxHeaderBytes + 1)}, ErrTooLarge, 1},
		{"key at the limit", one(func(p *Proposal) { p.Key = strings.Repeat("k", event.MaxKeyBytes) }), nil, 0},
		{"key one above", one(func(p *Proposal) { p.Key = strings.Repeat("k", event.MaxKeyBytes+1) }), ErrTooLarge, 0},
		{"key of any bytes", one(func(p *Proposal) { p.Key = "\x00\xff/" }), nil, 0},
		{"neither payload nor kind", one(func(p *Proposal) { p.Kind = 0 }), ErrInvalid, 0},
		{"both payload and kind", one(func(p *Proposal) { p.Payload = moved{} }), ErrInvalid, 0},
		{"both payload and data", one(func(p *Proposal) { p.Payload, p.Kind, p.Data = moved{}, 0, []byte{} }), ErrInvalid, 0},
		{"type of version 0", one(func(p *Proposal) { p.Payload, p.Kind, p.Data = typed{Type: Type{Kind: 0xF001}}, 0, nil }), ErrInvalid, 0},
		{"no data", one(func(p *Proposal) { p.Data = nil }), nil, 0},
		{"durability unknown", one(func(p *Proposal) { p.Durability = 3 }), ErrInvalid, 0},
		{"IfNone with an inverted query", one(func(p *Proposal) { p.IfNone = &IfNone{Query: Query{After: 2, Through: 1}} }), ErrInvalid, 0},
		{"cause: the first item", third(CauseItem(0)), nil, 0},
		{"cause: the item before", third(CauseItem(1)), nil, 0},
		{"cause: the item itself", third(CauseItem(2)), ErrInvalid, 2},
		{"cause: a later item", third(CauseItem(3)), ErrInvalid, 2},
		{"cause: item -1", third(CauseItem(-1)), ErrInvalid, 2},
		{"cause: item -2", third(CauseItem(-2)), ErrInvalid, 2},
		{"extension", []Proposal{extension("app.trace")}, nil, 0},
		{"extension: any printable ASCII", []Proposal{extension("!~.~!")}, nil, 0},
		{"extension as long as can be", []Proposal{extension("a." + strings.Repeat("b", event.MaxExtensionBytes-2))}, nil, 0},
		{"extension one longer", []Proposal{extension("a." + strings.Repeat("b", event.MaxExtensionBytes-1))}, ErrInvalid, 0},
		{"extension without a dot", []Proposal{extension("trace")}, ErrInvalid, 0},
		{"extension with two dots", []Proposal{extension("a.b.c")}, ErrInvalid, 0},
		{"extension without a namespace", []Proposal{extension(".b")}, ErrInvalid, 0},
		{"extension without a name", []Proposal{extension("a.")}, ErrInvalid, 0},
		{"extension with a space", []Proposal{extension("a. b")}, ErrInvalid, 0},
		{"extension not ASCII", []Proposal{extension("a.é")}, ErrInvalid, 0},
		{"extension empty", []Proposal{extension("")}, ErrInvalid, 0},
		{"extension reserved", []Proposal{raw("a", ""), extension("batpak.x")}, ErrInvalid, 1},
		{"extension nearly reserved", []Proposal{extension("batpaks.x")}, nil, 0},
		{"keys of some", []Proposal{with(raw("a", ""), func(p *Proposal) { p.Key = "some" }), raw("a", "")}, ErrIdempotencyPartial, -1},
		{"the same key twice", slices.Repeat(one(func(p *Proposal) { p.Key = "twice" }), 2), ErrIdempotencyPartial, -1},
		{"nothing", nil, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == nil {
				rs := mustCommit(t, s, c.ps...)
				if len(rs) != len(c.ps) {
					t.Fatalf("%d receipts", len(rs))
				}
				for i, r := range rs {
					e, err := s.Get(r.ID)
					if err != nil {
						t.Fatal(err)
					}
					p := &c.ps[i]
					if !bytes.Equal(e.Payload, p.Data) || e.Key != p.Key || !cmp.Equal(e.Extensions, p.Extensions) {
						t.Errorf("item %d came back as %+v", i, e)
					}
					if item, ok := p.Cause.Item(); ok && e.Causation != rs[item].ID {
						t.Errorf("item %d has cause %s", i, e.Causation)
					}
				}
				return
			}
			nothingAppended(t, s, func() {
				_, err := s.Commit(c.ps...)
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				var item *ItemError
				if errors.As(err, &item) != (c.item >= 0) || item != nil && item.Item != c.item {
					t.Errorf("item %d is not named: %v", c.item, err)
				}
			})
		})
	}
	closeTest(t, s)
	if rep, err := VerifyDir(t.Context(), filepath.Clean(s.root.Name()), nil); err != nil || !rep.OK() {
		t.Errorf("afterwards: %+v, %v", rep.Findings, err)
	}
}

func TestCommitSizeLimit(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{Durability: Written})
	ps := slices.Repeat([]Proposal{raw("a", "")}, 4)
	rest := MaxCommitBytes - 1024 - 4*headerBound(&event.Header{Entity: "a", Scope: "s"})
	for i := range ps[:3] {
		ps[i].Data = make([]byte, DefaultMaxPayload)
		rest -= DefaultMaxPayload
	}
	ps[3].Data = make([]byte, rest+1)
	nothingAppended(t, s, func() {
		if _, err := s.Commit(ps...); !errors.Is(err, ErrTooLarge) {
			t.Errorf("one byte above: %v", err)
		}
	})
	ps[3].Data = ps[3].Data[:rest]
	rs := mustCommit(t, s, ps...)
	if e, err := s.Get(rs[3].ID); err != nil || len(e.Payload) != rest {
		t.Error(err)
	}
	if _, err := s.Append(At("a", "s"), moved{}); err != nil {
		t.Error(err)
	}
}

// A value given to Commit may be changed when it has returned.
func TestCommitKeepsNothingOfTheProposal(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	data, value := []byte("data"), []byte("value")
	ext := map[string][]byte{"a.b": value}
	r := mustCommit(t, s, Proposal{At: At("a", "s"), Kind: 0xF001, Data: data, Extensions: ext, Key: "k"})[0]
	copy(data, "XXXX")
	copy(value, "XXXXX")
	ext["c.d"] = nil
	e, err := s.Get(r.ID)
	if err != nil || string(e.Payload) != "data" || string(e.Extensions["a.b"]) != "value" || len(e.Extensions) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	ext = map[string][]byte{"a.b": []byte("value")}
	again := mustCommit(t, s, Proposal{At: At("a", "s"), Kind: 0xF001, Data: []byte("data"), Extensions: ext, Key: "k"})[0]
	if again != r {
		t.Error("the same request is not known by its key any more")
	}
}

func TestExpect(t *testing.T) {
	type conflict = ConflictError
	at := func(entity string, lane Lane, e Expect) Proposal {
		return with(raw(entity, ""), func(p *Proposal) { p.Lane, p.Expect = lane, e })
	}
	for _, c := range []struct {
		name string
		ps   []Proposal // for a store in which stream a/0 has 3 events, a/1 one and b none
		want *conflict
	}{
		{"any", []Proposal{at("a", 0, Expect{}), at("b", 0, Expect{})}, nil},
		{"empty", []Proposal{at("b", 0, Empty())}, nil},
		{"empty, found three", []Proposal{at("a", 0, Empty())}, &conflict{0, "a/0", 0, 3, 0}},
		{"clock", []Proposal{at("a", 0, AtClock(3))}, nil},
		{"clock below", []Proposal{at("a", 0, AtClock(2))}, &conflict{0, "a/0", 2, 3, 0}},
		{"clock above", []Proposal{at("a", 0, AtClock(4))}, &conflict{0, "a/0", 4, 3, 0}},
		{"clock of an empty stream", []Proposal{at("b", 0, AtClock(7))}, &conflict{0, "b/0", 7, 0, 0}},
		{"clock 0 is empty", []Proposal{at("b", 0, AtClock(0))}, nil},
		{"clock 0 is not one event", []Proposal{at("a", 1, AtClock(0))}, &conflict{0, "a/1", 0, 1, 0}},
		{"per lane", []Proposal{at("a", 1, AtClock(1)), at("a", 2, Empty()), at("a", 0, AtClock(3))}, nil},
		{"other lane's clock", []Proposal{at("a", 1, AtClock(3))}, &conflict{0, "a/1", 3, 1, 0}},
		{"several of one stream in a batch", []Proposal{at("b", 0, Empty()), at("b", 0, AtClock(1)), at("b", 0, Expect{}), at("b", 0, AtClock(3))}, nil},
		{"batch counts its own events", []Proposal{at("b", 0, Empty()), at("b", 0, Empty())}, &conflict{1, "b/0", 0, 1, 0}},
		{"batch refused as a whole", []Proposal{at("b", 0, Empty()), at("a", 0, AtClock(3)), at("a", 0, AtClock(3))}, &conflict{2, "a/0", 3, 4, 0}},
		{"batch over streams", []Proposal{at("a", 0, AtClock(3)), at("b", 0, Empty()), at("a", 0, AtClock(4)), at("a", 1, AtClock(2))}, &conflict{3, "a/1", 2, 1, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := memoryDir(t)
			s := openTest(t, dir, &Options{Durability: Written})
			mustCommit(t, s, raw("a", "1"), raw("a", "2"), at("a", 1, Expect{}))
			mustCommit(t, s, raw("a", "3"))
			check := func() {
				t.Helper()
				if c.want == nil {
					mustCommit(t, s, c.ps...)
					return
				}
				nothingAppended(t, s, func() {
					_, err := s.Commit(c.ps...)
					var got *conflict
					if !errors.As(err, &got) || *got != *c.want || !errors.Is(err, ErrConflict) {
						t.Errorf("got %+v, want %+v", err, c.want)
					}
				})
			}
			if c.want != nil {
				check()
			}
			closeTest(t, s)
			s = openTest(t, dir, nil) // heads come from the index file now
			check()
		})
	}
}

func TestIfNone(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{Durability: Durable, SyncInterval: time.Hour, foldEvents: 1 << 20})
	rs := mustCommit(t, s, raw("a", ""), raw("b", ""), with(raw("a", ""), func(p *Proposal) { p.Kind = 0xE001 }), raw("c:d", ""))
	rs = append(rs, mustCommit(t, s, raw("b", ""), with(raw("a", ""), func(p *Proposal) { p.Correlation = rs[1].ID }))...)
	if err := s.foldTo(s.accepted()); err != nil {
		t.Fatal(err)
	}
	for range 8 { // in the tail
		mustCommit(t, s, raw("z", ""))
	}
	hidden := mustCommit(t, s, with(raw("hidden", ""), func(p *Proposal) { p.Durability = Written }))[0]
	for _, c := range []struct {
		name string
		cond IfNone
		want Seq // the event found; 0: the condition holds
	}{
		{"nothing at all", IfNone{Query: Query{}, After: 0}, 1},
		{"nothing since the newest", IfNone{Query: Query{}, After: hidden.Seq}, 0},
		{"nothing since later", IfNone{Query: Query{}, After: hidden.Seq + 100}, 0},
		{"nothing since the one before", IfNone{Query: Query{}, After: hidden.Seq - 1}, hidden.Seq},
		{"entity", IfNone{Query: Query{Entity: "a"}, After: 3}, 6},
		{"entity since", IfNone{Query: Query{Entity: "a"}, After: 6}, 0},
		{"entity absent", IfNone{Query: Query{Entity: "x"}, After: 0}, 0},
		{"prefix", IfNone{Query: Query{Prefix: "c"}, After: 0}, 4},
		{"kind", IfNone{Query: Query{Kind: 0xE001}, After: 0}, 3},
		{"category", IfNone{Query: Query{Category: new(Category(0xE))}, After: 3}, 0},
		{"correlation", IfNone{Query: Query{Correlation: rs[1].ID}, After: 2}, 6},
		{"clock", IfNone{Query: Query{Entity: "a", ClockAfter: 3}, After: 0}, 0},
		{"through", IfNone{Query: Query{Entity: "a", Through: 5}, After: 3}, 0},
		{"not visible yet", IfNone{Query: Query{Entity: "hidden"}, After: 0}, hidden.Seq},
		{"query's After plays no part", IfNone{Query: Query{Entity: "a", After: 6}, After: 3}, 6},
		{"query's Limit and Reverse play no part", IfNone{Query: Query{Entity: "a", Limit: 1, Reverse: true}, After: 3}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			if s.Visible() >= hidden.Seq {
				t.Fatal("the hidden event is visible already")
			}
			p := with(raw("new", ""), func(p *Proposal) { p.IfNone, p.Durability = &c.cond, Written })
			if c.want == 0 { // in a batch that is refused for another reason, so that the rows have the same store
				nothingAppended(t, s, func() {
					_, err := s.Commit(p, with(raw("b", ""), func(p *Proposal) { p.Expect = Empty() }))
					var conflict *ConflictError
					if !errors.As(err, &conflict) || conflict.Item != 1 || conflict.Found != 0 {
						t.Errorf("the condition does not hold: %v", err)
					}
				})
				return
			}
			nothingAppended(t, s, func() {
				_, err := s.Commit(with(raw("other", ""), func(p *Proposal) { p.Durability = Written }), p)
				var conflict *ConflictError
				if !errors.As(err, &conflict) || *conflict != (ConflictError{Item: 1, Found: c.want}) || !errors.Is(err, ErrConflict) {
					t.Errorf("got %v, want a conflict with event %d", err, c.want)
				}
			})
		})
	}
}

// Of 32 callers who have read the same and decide on it, one is right in every round: the others have missed an event.
func TestIfNoneLetsOneWin(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			s := openTest(t, memoryDir(t), &Options{Durability: class, foldEvents: 10})
			const callers, rounds = 32, 30
			last := Seq(0)
			for round := range rounds {
				var won atomic.Int64
				var wg sync.WaitGroup
				begin := make(chan struct{})
				for i := range callers {
					wg.Go(func() {
						<-begin
						p := with(raw(fmt.Sprintf("decision:%d", i%5), ""), func(p *Proposal) { p.IfNone = &IfNone{Query: Query{Prefix: "decision"}, After: last} })
						rs, err := s.Commit(p)
						var conflict *ConflictError
						switch {
						case err == nil:
							won.Add(1)
							if rs[0].Seq != last+1 {
								t.Errorf("round %d: event %d", round, rs[0].Seq)
							}
						case !errors.As(err, &conflict) || conflict.Found != last+1:
							t.Errorf("round %d: %v", round, err)
						}
					})
				}
				close(begin)
				wg.Wait()
				if won.Load() != 1 {
					t.Fatalf("round %d: %d callers won", round, won.Load())
				}
				last++
			}
		})
	}
}

// Of 8 callers who expect the same head, one wins.
func TestExpectLetsOneWin(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{foldEvents: 10})
	for round := range 50 {
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := s.Commit(with(raw("a", ""), func(p *Proposal) { p.Expect = AtClock(Clock(round)) }))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d callers won", round, won.Load())
		}
	}
}

func TestIdempotency(t *testing.T) {
	keyed := func(key, entity, data string) Proposal {
		return with(raw(entity, data), func(p *Proposal) { p.Key = key })
	}
	full := with(keyed("full", "f", "payload"), func(p *Proposal) {
		p.Lane, p.Correlation, p.Cause = 3, event.NewID(5, 6, 7), CauseID(event.NewID(1, 2, 3))
		p.Extensions = map[string][]byte{"a.b": {1, 2}}
	})
	conditional := with(keyed("cas", "c", ""), func(p *Proposal) { p.Expect = Empty() })
	none := with(keyed("none", "n", ""), func(p *Proposal) { p.IfNone = &IfNone{Query: Query{Entity: "n"}, After: 0} })
	batch := []Proposal{keyed("b1", "b", "1"), keyed("b2", "b", "2"), with(keyed("b3", "d", "3"), func(p *Proposal) { p.Cause = CauseItem(1) })}
	typedOne := Proposal{At: At("t", "s"), Payload: moved{X: 1}, Key: "typed"}

	dir := memoryDir(t)
	opts := &Options{foldEvents: 5, SegmentBytes: 4096}
	s := openTest(t, dir, opts)
	commits := map[string][]Proposal{"full": {full}, "cas": {conditional}, "none": {none}, "batch": batch, "typed": {typedOne}}
	receipts := map[string][]Receipt{}
	for _, name := range []string{"full", "cas", "none", "batch", "typed"} {
		receipts[name] = mustCommit(t, s, commits[name]...)
	}
	check := func(t *testing.T) {
		end := s.accepted()
		for name, ps := range commits {
			if d := cmp.Diff(receipts[name], mustCommit(t, s, ps...)); d != "" {
				t.Errorf("%s again (- first, + second):\n%s", name, d)
			}
		}
		if again := mustCommit(t, s, batch[1]); again[0] != receipts["batch"][1] {
			t.Error("an item of the batch by itself has another receipt")
		}
		if again := mustCommit(t, s, conditional, none); again[0] != receipts["cas"][0] || again[1] != receipts["none"][0] {
			t.Error("two commits in one have other receipts")
		}
		for _, c := range []struct {
			name string
			ps   []Proposal
			want MismatchError
		}{
			{"payload", []Proposal{with(full, func(p *Proposal) { p.Data = []byte("another") })}, MismatchError{0, "full", 1}},
			{"kind", []Proposal{with(full, func(p *Proposal) { p.Kind++ })}, MismatchError{0, "full", 1}},
			{"entity", []Proposal{with(full, func(p *Proposal) { p.At.Entity = "g" })}, MismatchError{0, "full", 1}},
			{"scope", []Proposal{with(full, func(p *Proposal) { p.At.Scope = "g" })}, MismatchError{0, "full", 1}},
			{"lane", []Proposal{with(full, func(p *Proposal) { p.Lane = 0 })}, MismatchError{0, "full", 1}},
			{"correlation", []Proposal{with(full, func(p *Proposal) { p.Correlation = ID{} })}, MismatchError{0, "full", 1}},
			{"correlation of one without", []Proposal{with(conditional, func(p *Proposal) { p.Correlation = full.Correlation })}, MismatchError{0, "cas", 2}},
			{"cause", []Proposal{with(full, func(p *Proposal) { p.Cause = Cause{} })}, MismatchError{0, "full", 1}},
			{"cause in a batch", []Proposal{batch[0], batch[1], with(batch[2], func(p *Proposal) { p.Cause = CauseItem(0) })}, MismatchError{2, "b3", 6}},
			{"extension", []Proposal{with(full, func(p *Proposal) { p.Extensions = nil })}, MismatchError{0, "full", 1}},
			{"extension's value", []Proposal{with(full, func(p *Proposal) { p.Extensions = map[string][]byte{"a.b": {1, 3}} })}, MismatchError{0, "full", 1}},
			{"version", []Proposal{with(typedOne, func(p *Proposal) {
				p.Payload = typed{Type: Type{Kind: 0xF001, Version: 2}, X: 1}
			})}, MismatchError{0, "typed", 7}},
			{"second of a batch", []Proposal{batch[0], with(batch[1], func(p *Proposal) { p.Data = nil })}, MismatchError{1, "b2", 5}},
		} {
			_, err := s.Commit(c.ps...)
			var got *MismatchError
			if !errors.As(err, &got) || *got != c.want || !errors.Is(err, ErrIdempotencyMismatch) {
				t.Errorf("other %s: got %v, want %v", c.name, err, &c.want)
			}
		}
		for name, ps := range map[string][]Proposal{
			"known, new":        {full, keyed("new", "x", "")},
			"new, known":        {keyed("new", "x", ""), full},
			"new, known, known": {keyed("new", "x", ""), batch[0], batch[1]},
			"known, no key":     {full, raw("x", "")},
			"known twice":       {full, full},
		} {
			if _, err := s.Commit(ps...); !errors.Is(err, ErrIdempotencyPartial) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.accepted() != end {
			t.Errorf("the store went from event %d to %d", end.Seq, s.accepted().Seq)
		}
	}
	t.Run("live", check)
	for range 20 {
		mustCommit(t, s, raw("noise", ""))
	}
	t.Run("folded", check)
	closeTest(t, s)
	s = openTest(t, dir, opts)
	t.Run("reopened", check)
	closeTest(t, s)
	if err := os.Remove(filepath.Join(dir, indexFile)); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, opts)
	t.Run("without the index file", check)
	closeTest(t, s)
	s = openTest(t, dir, &Options{MemoryIndex: true})
	t.Run("index in memory", check)
}

// Of 8 callers with one key, each gets the same receipt, and there is one event.
func TestIdempotencyConcurrently(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			s := openTest(t, memoryDir(t), &Options{Durability: class, foldEvents: 8})
			for round := range 50 {
				var rs [8]Receipt
				var wg sync.WaitGroup
				for i := range rs {
					wg.Go(func() {
						got, err := s.Commit(with(raw("a", ""), func(p *Proposal) { p.Key, p.Expect = fmt.Sprint("key ", round), AtClock(Clock(round)) }))
						if err != nil {
							t.Errorf("round %d: %v", round, err)
							return
						}
						rs[i] = got[0]
						if _, err := s.Get(rs[i].ID); err != nil {
							t.Errorf("round %d: read after the append returned: %v", round, err)
						}
					})
				}
				wg.Wait()
				for _, r := range rs {
					if r != rs[0] || r.Seq != Seq(round+1) {
						t.Fatalf("round %d: receipts of events %d and %d", round, rs[0].Seq, r.Seq)
					}
				}
			}
		})
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	dir := memoryDir(t)
	opts := &Options{Clock: func() time.Time { return now }}
	s := openTest(t, dir, opts)
	last := Timestamp(0)
	appended := func(want Timestamp) {
		t.Helper()
		r := mustCommit(t, s, raw("a", ""))[0]
		if r.Time != want || r.Time <= last || r.ID.Milli() != int64(want)/1000 {
			t.Errorf("event at %v with id of %d ms, want %v", r.Time, r.ID.Milli(), want)
		}
		last = r.Time
	}
	appended(event.TimestampOf(now))
	appended(last + 1) // the clock stands still
	now = now.Add(-10 * time.Second)
	appended(last + 1)
	mustCommit(t, s, raw("a", ""), raw("b", ""), raw("c", ""))
	last += 3
	appended(last + 1)
	now = now.Add(time.Hour)
	appended(event.TimestampOf(now))
	closeTest(t, s)
	now = now.Add(-time.Hour)
	s = openTest(t, dir, opts)
	appended(last + 1)
	latest := (event.MaxTimestamp - MaxBatch).Time()
	for _, bad := range []time.Time{{}, time.Unix(-1, 0), time.Unix(0, 0), time.UnixMilli(1 << 48), latest.Add(time.Microsecond)} {
		now = bad
		nothingAppended(t, s, func() {
			if _, err := s.Append(At("a", "s"), moved{}); !errors.Is(err, ErrClock) {
				t.Errorf("clock at %v: %v", bad, err)
			}
			if _, err := s.Commit(raw("a", ""), raw("b", "")); !errors.Is(err, ErrClock) {
				t.Errorf("clock at %v, in a batch: %v", bad, err)
			}
		})
	}
	now = latest
	appended(event.TimestampOf(now))
}

// The promise ORDERED, while 16 writers append to few streams, and the frontier all the while.
func TestOrderUnderLoad(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			dir := memoryDir(t)
			s := openTest(t, dir, &Options{Durability: class, SegmentBytes: 64 << 10, foldEvents: 100})
			const writers, commits = 16, 60
			type done struct {
				began, ended int64 // ticks of a common clock
				receipts     []Receipt
			}
			var tick atomic.Int64
			all := make([][]done, writers)
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 2 {
				wg.Go(func() { watchFrontier(t, s, stop) })
			}
			var writing sync.WaitGroup
			for w := range writers {
				writing.Go(func() {
					for i := range commits {
						ps := make([]Proposal, 1+i%4)
						for j := range ps {
							ps[j] = with(raw(fmt.Sprintf("e:%d", (w+j)%3), fmt.Sprint(w, i, j)), func(p *Proposal) { p.Lane = Lane(j % 2) })
							if i%10 == 9 {
								ps[j].Durability = Durable + Written - class
							}
						}
						d := done{began: tick.Add(1)}
						rs, err := s.Commit(ps...)
						d.ended, d.receipts = tick.Add(1), rs
						if err != nil {
							t.Error(err)
							return
						}
						all[w] = append(all[w], d)
						last := rs[len(rs)-1]
						if class == Durable && i%10 == 9 { // it asked for less than readers wait for
							if err := s.Sync(); err != nil {
								t.Error(err)
							}
						}
						if _, err := s.Get(last.ID); err != nil {
							t.Errorf("read after the append returned: %v", err)
						}
						if class == Durable && i%10 != 9 && s.Frontier().Durable < last.Seq {
							t.Errorf("the append of event %d returned before it was durable", last.Seq)
						}
					}
				})
			}
			writing.Wait()
			close(stop)
			wg.Wait()
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}

			dones := slices.Concat(all...)
			slices.SortFunc(dones, func(a, b done) int { return int(a.receipts[0].Seq) - int(b.receipts[0].Seq) })
			next, clocks := Seq(1), map[event.Stream]Clock{}
			latest := int64(0) // began of any commit so far
			for _, d := range dones {
				if d.ended < latest {
					t.Errorf("the commit of event %d had returned before another began that comes before it", d.receipts[0].Seq)
				}
				latest = max(latest, d.began)
				for _, r := range d.receipts {
					stream := event.Stream{Entity: r.Entity, Lane: r.Lane}
					clocks[stream]++
					if r.Seq != next || r.Clock != clocks[stream] {
						t.Fatalf("event %d, %d of its stream, where %d and %d are due", r.Seq, r.Clock, next, clocks[stream])
					}
					next++
				}
			}
			verify := func(s *Store) {
				t.Helper()
				for _, d := range dones {
					for _, r := range d.receipts {
						if v := s.VerifyReceipt(r); v.Status != chain.Unsigned {
							t.Errorf("receipt of event %d: %+v", r.Seq, v)
						}
					}
				}
			}
			verify(s)
			closeTest(t, s)
			s = openTest(t, dir, nil)
			verify(s)
			if rep, err := s.Verify(t.Context(), nil); err != nil || !rep.OK() || rep.Last != next-1 {
				t.Errorf("verify: %+v, %v", rep, err)
			}
		})
	}
}

// watchFrontier checks the order of the watermarks, and that none moves back, until stop is closed.
func watchFrontier(t *testing.T, s *Store, stop chan struct{}) {
	var before Frontier
	for {
		select {
		case <-stop:
			return
		default:
		}
		f := s.Frontier()
		if f.Accepted < f.Written || f.Written < f.Durable || f.Durable < f.Indexed || f.Accepted < f.Visible ||
			s.opts.Durability == Durable && f.Visible > f.Durable {
			t.Errorf("frontier %+v", f)
			return
		}
		if f.Accepted < before.Accepted || f.Written < before.Written || f.Durable < before.Durable || f.Visible < before.Visible || f.Indexed < before.Indexed {
			t.Errorf("frontier %+v after %+v", f, before)
			return
		}
		before = f
	}
}

// A receipt that was changed in any field is not believed.
func TestReceiptsOfOthersAreInvalid(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	other := openTest(t, memoryDir(t), nil)
	r := mustCommit(t, s, raw("a", ""), raw("a", ""))[1]
	mustCommit(t, other, raw("a", ""), raw("a", ""))
	if v := s.VerifyReceipt(r); v.Status != chain.Unsigned || v.Reason != "" {
		t.Fatalf("%+v", v)
	}
	if v := other.VerifyReceipt(r); v.Reason != chain.StoreMismatch {
		t.Errorf("in another store: %+v", v)
	}
	for name, change := range map[string]func(*Receipt){
		"store":   func(r *Receipt) { r.Store[0]++ },
		"seq":     func(r *Receipt) { r.Seq-- },
		"seq +":   func(r *Receipt) { r.Seq++ },
		"id":      func(r *Receipt) { r.ID[15]++ },
		"entity":  func(r *Receipt) { r.Entity = "b" },
		"scope":   func(r *Receipt) { r.Scope = "b" },
		"lane":    func(r *Receipt) { r.Lane = 1 },
		"clock":   func(r *Receipt) { r.Clock = 1 },
		"kind":    func(r *Receipt) { r.Kind++ },
		"time":    func(r *Receipt) { r.Time++ },
		"content": func(r *Receipt) { r.Content[0]++ },
		"prev":    func(r *Receipt) { r.Prev[31]++ },
		"hash":    func(r *Receipt) { r.Hash[31]++ },
	} {
		changed := r
		change(&changed)
		if v := s.VerifyReceipt(changed); v.OK() {
			t.Errorf("%s changed: %+v", name, v)
		}
	}
}

// What an append waits for and what readers see are two things: a proposal asks for the one, the store decides the other.
func TestDurabilityAndVisibility(t *testing.T) {
	quiet := Options{SyncInterval: time.Hour}
	t.Run("written in a durable store", func(t *testing.T) {
		s := openTest(t, memoryDir(t), &quiet)
		first := mustCommit(t, s, raw("a", ""))[0]
		r := mustCommit(t, s, with(raw("a", ""), func(p *Proposal) { p.Durability = Written }))[0]
		if f := s.Frontier(); r.Durability != Written || f.Written != r.Seq || f.Durable != first.Seq || f.Visible != first.Seq {
			t.Errorf("receipt %+v, frontier %+v", r, f)
		}
		if _, err := s.Get(r.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("an event that could vanish was read: %v", err)
		}
		if es, err := gather(s.Query(Query{})); len(es) != 1 {
			t.Errorf("%d events are visible, %v", len(es), err)
		}
		if v := s.VerifyReceipt(r); v.Reason != chain.MissingEvent {
			t.Errorf("its receipt: %+v", v)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(r.ID); err != nil {
			t.Errorf("after Sync: %v", err)
		}
		if f := s.Frontier(); f.Durable != r.Seq || f.Visible != r.Seq {
			t.Errorf("after Sync: %+v", f)
		}
	})
	t.Run("a durable append behind it", func(t *testing.T) {
		s := openTest(t, memoryDir(t), &quiet)
		r := mustCommit(t, s, with(raw("a", ""), func(p *Proposal) { p.Durability = Written }))[0]
		mustCommit(t, s, raw("b", ""))
		if _, err := s.Get(r.ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("durable in a written store", func(t *testing.T) {
		o := quiet
		o.Durability = Written
		s := openTest(t, memoryDir(t), &o)
		r := mustCommit(t, s, raw("a", ""))[0]
		if f := s.Frontier(); r.Durability != Written || f.Visible != 1 || f.Written != 1 || f.Durable != 0 {
			t.Errorf("receipt %+v, frontier %+v", r, f)
		}
		r = mustCommit(t, s, with(raw("a", ""), func(p *Proposal) { p.Durability = Durable }))[0]
		if f := s.Frontier(); r.Durability != Durable || f.Durable != 2 {
			t.Errorf("receipt %+v, frontier %+v", r, f)
		}
	})
	t.Run("a batch waits for the strictest", func(t *testing.T) {
		s := openTest(t, memoryDir(t), &quiet)
		rs := mustCommit(t, s, with(raw("a", ""), func(p *Proposal) { p.Durability = Written }), raw("b", ""))
		if f := s.Frontier(); rs[0].Durability != Durable || rs[1].Durability != Durable || f.Durable != 2 {
			t.Errorf("receipts %+v, frontier %+v", rs, f)
		}
	})
	t.Run("a known key waits too", func(t *testing.T) {
		s := openTest(t, memoryDir(t), &quiet)
		p := with(raw("a", ""), func(p *Proposal) { p.Key, p.Durability = "k", Written })
		mustCommit(t, s, p)
		p.Durability = Durable
		if r := mustCommit(t, s, p)[0]; r.Durability != Durable || s.Frontier().Durable != 1 {
			t.Errorf("receipt %+v, frontier %+v", r, s.Frontier())
		}
	})
}

// What was appended before a Sync can be read when it returns, also if another caller did the work.
func TestSyncMakesVisible(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for range 500 {
				rs, err := s.Commit(with(raw(fmt.Sprint(w), ""), func(p *Proposal) { p.Durability = Written }))
				if err == nil {
					err = s.Sync()
				}
				if err == nil {
					_, err = s.Get(rs[0].ID)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWait(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{SyncInterval: time.Hour, foldEvents: 3})
	ctx, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("mine")
	waited := make(chan error)
	for _, w := range []Watermark{WatermarkWritten, WatermarkDurable, WatermarkVisible, WatermarkIndexed} {
		t.Run(w.String(), func(t *testing.T) {
			next := s.accepted().Seq + 3
			go func() { waited <- s.Wait(t.Context(), w, next) }()
			for done := false; !done; { // folds end anywhere, and the next begins when there is enough
				mustCommit(t, s, raw("a", ""))
				select {
				case err := <-waited:
					if done = true; err != nil {
						t.Fatal(err)
					}
				default:
				}
			}
			if have, _ := w.of(s.Frontier()); have < next {
				t.Errorf("%d where %d was waited for", have, next)
			}
			if err := s.Wait(t.Context(), w, 1); err != nil {
				t.Errorf("for what is there: %v", err)
			}
			go func() { waited <- s.Wait(ctx, w, 1<<40) }()
		})
	}
	cancel(mine)
	for range 4 {
		if err := <-waited; err != mine {
			t.Errorf("cancelled: %v", err)
		}
	}
	if err := s.Wait(t.Context(), 9, 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown watermark: %v", err)
	}
	go func() { waited <- s.Wait(t.Context(), WatermarkDurable, 1<<40) }()
	closeTest(t, s)
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestClosedStore(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{foldEvents: 10})
	var r Receipt
	for range 100 {
		r = mustCommit(t, s, raw("a", strings.Repeat("x", 100)))[0]
	}
	reader, err := OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	underWay := map[string]*stuck{
		"query":          hold(s.Query(Query{})),
		"query entity":   hold(s.Query(Query{Entity: "a"})),
		"query reverse":  hold(s.Query(Query{Reverse: true})),
		"query page end": holdAt(s.Query(Query{}), firstRows),
		"follow":         hold(s.Follow(t.Context(), Query{})),
		"reader, query":  holdAt(reader.Query(Query{}), firstRows),
		"reader, follow": hold(reader.Follow(t.Context(), Query{})),
	}
	waiting := make(chan error)
	go func() {
		_, err := gather(s.Follow(t.Context(), Query{After: 100}))
		waiting <- err
	}()
	closeTest(t, s)
	closeTest(t, reader)
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("a waiting follower: %v", err)
	}
	for name, loop := range underWay {
		if got, err := loop.finish(); !errors.Is(err, ErrClosed) || len(got) == 100 {
			t.Errorf("%s under way: %d events, %v", name, len(got), err)
		}
	}
	ctx := t.Context()
	type methods interface {
		Close() error
		Get(ID) (Event, error)
		At(Seq) (Event, error)
		Walk(ID, int) (Walk, error)
		Page(Query) (Page, error)
		Verify(context.Context, *VerifyOptions) (Report, error)
		Stats() (Stats, error)
		VerifyReceipt(Receipt) Verdict
	}
	for name, v := range map[string]methods{"store": s, "reader": reader} {
		calls := map[string]func() error{
			"Close":         v.Close,
			"Get":           func() error { _, err := v.Get(r.ID); return err },
			"At":            func() error { _, err := v.At(1); return err },
			"Walk":          func() error { _, err := v.Walk(r.ID, 1); return err },
			"Page":          func() error { _, err := v.Page(Query{}); return err },
			"Verify":        func() error { _, err := v.Verify(ctx, nil); return err },
			"Stats":         func() error { _, err := v.Stats(); return err },
			"VerifyReceipt": func() error { return v.VerifyReceipt(r).Err },
		}
		if v == methods(s) {
			calls["Query"] = func() error { _, err := gather(s.Query(Query{})); return err }
			calls["Follow"] = func() error { _, err := gather(s.Follow(ctx, Query{})); return err }
			calls["Append"] = func() error { _, err := s.Append(At("a", "s"), moved{}); return err }
			calls["Commit"] = func() error { _, err := s.Commit(raw("a", "")); return err }
			calls["Commit of nothing"] = func() error { _, err := s.Commit(); return err }
			calls["Sync"] = s.Sync
			calls["Wait for what is there"] = func() error { return s.Wait(ctx, WatermarkDurable, 1) }
			calls["Wait for more"] = func() error { return s.Wait(ctx, WatermarkDurable, 1<<40) }
		} else {
			calls["Query"] = func() error { _, err := gather(reader.Query(Query{})); return err }
			calls["Follow"] = func() error { _, err := gather(reader.Follow(ctx, Query{})); return err }
			calls["Refresh"] = reader.Refresh
		}
		for call, do := range calls {
			if err := do(); !errors.Is(err, ErrClosed) {
				t.Errorf("%s: %s after Close: %v", name, call, err)
			}
		}
	}
	openTest(t, dir, nil)
}

// A store closed while others append: every receipt that was returned is honoured.
func TestCloseWhileAppending(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		for round := range 5 {
			t.Run(fmt.Sprintf("%s/%d", class, round), func(t *testing.T) {
				dir := memoryDir(t)
				s := openTest(t, dir, &Options{Durability: class, SegmentBytes: 8 << 10, foldEvents: 20})
				var mu sync.Mutex
				var receipts []Receipt
				enough := make(chan struct{})
				var once sync.Once
				var wg sync.WaitGroup
				for w := range 8 {
					wg.Go(func() {
						for i := 0; ; i++ {
							rs, err := s.Commit(slices.Repeat([]Proposal{raw(fmt.Sprint("e:", w), fmt.Sprint(i))}, 1+i%3)...)
							if err != nil {
								if !errors.Is(err, ErrClosed) {
									t.Error(err)
								}
								return
							}
							mu.Lock()
							receipts = append(receipts, rs...)
							if len(receipts) > 100*(round+1) {
								once.Do(func() { close(enough) })
							}
							mu.Unlock()
						}
					})
				}
				<-enough
				closeTest(t, s)
				wg.Wait()
				for _, o := range []*Options{nil, {MemoryIndex: true}} {
					s := openTest(t, dir, o)
					for _, r := range receipts {
						if v := s.VerifyReceipt(r); !v.OK() {
							t.Errorf("event %d: %+v", r.Seq, v)
						}
					}
					if rep, err := s.Verify(t.Context(), nil); err != nil || !rep.OK() {
						t.Errorf("verify: %+v, %v", rep.Findings, err)
					}
					closeTest(t, s)
				}
			})
		}
	}
}

// A sealed segment ends with its last commit, however the writing of zeros ahead of it and the roll meet.
func TestSealedSegmentsHaveNoZeros(t *testing.T) {
	for round := range 10 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			dir := memoryDir(t)
			s := openTest(t, dir, &Options{Durability: Written, SegmentBytes: 4096})
			for range 2000 {
				mustCommit(t, s, raw("a", ""))
			}
			closeTest(t, s)
			if rep, err := VerifyDir(t.Context(), dir, nil); err != nil || !rep.OK() {
				t.Fatalf("%v, %v", rep.Findings, err)
			}
			closeTest(t, openTest(t, dir, &Options{MemoryIndex: true}))
		})
	}
}

// No goroutine outlives the Close of what started it.
func TestCloseEndsGoroutines(t *testing.T) {
	ours := func() (stacks []string) {
		buf := make([]byte, 1<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "batpak/") && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "testing.(*T).Run") {
				stacks = append(stacks, g)
			}
		}
		return stacks
	}
	dir := memoryDir(t)
	s := openTest(t, dir, &Options{SegmentBytes: 4096, foldEvents: 10})
	for range 50 {
		mustCommit(t, s, raw("a", ""))
	}
	if _, err := s.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = s.Verify(ctx, nil)
	r, err := OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Follow(t.Context(), Query{Limit: 3}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(ours()) == 0 {
		t.Fatal("an open store has no goroutine: this test looks for the wrong thing")
	}
	closeTest(t, r)
	closeTest(t, s)
	var left []string
	for range 10_000 { // one that has said that it is done may need a moment to be gone
		if left = ours(); len(left) == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("after Close there are\n%s", strings.Join(left, "\n\n"))
}

// TestClockPanics recovers from a clock that panics: nothing was appended, and the store goes on.
func TestClockPanics(t *testing.T) {
	broken := false
	s := openTest(t, memoryDir(t), &Options{Clock: func() time.Time {
		if broken {
			panic("broken clock")
		}
		return time.Now()
	}})
	nothingAppended(t, s, func() {
		broken = true
		defer func() {
			if p := recover(); p != "broken clock" {
				t.Errorf("recovered %v", p)
			}
			broken = false
		}()
		_, err := s.Commit(raw("a", ""))
		t.Errorf("no panic: %v", err)
	})
	mustCommit(t, s, raw("a", ""))
	closeTest(t, s)
}
