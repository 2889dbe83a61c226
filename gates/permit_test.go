package gates_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// A ledger is a commit function that remembers what it was given.
type ledger struct {
	mu        sync.Mutex
	proposals []event.Proposal
	fail      error
}

func (l *ledger) commit(ps ...event.Proposal) ([]int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	var receipts []int
	for _, p := range ps {
		l.proposals = append(l.proposals, p)
		receipts = append(receipts, len(l.proposals))
	}
	return receipts, nil
}

func permitFor(t testing.TB, p event.Proposal) gates.Permit {
	t.Helper()
	set := setOf(t, gates.Gate[caller]{Name: "yes", Check: func(caller, event.Event) *gates.Denial { return nil }})
	permit, err := set.Evaluate(caller{}, p)
	if err != nil {
		t.Fatal(err)
	}
	return permit
}

// K3: a permit is used once, by whichever copy and goroutine comes first.
func TestPermitIsUsedOnce(t *testing.T) {
	var l ledger
	permit := permitFor(t, event.Proposal{At: account, Payload: withdrawn{5}})
	var won, spent atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range 64 {
		own := permit
		wg.Go(func() {
			<-start
			var err error
			if i%2 == 0 {
				_, err = gates.Commit(own, l.commit)
			} else {
				_, err = gates.CommitAll([]gates.Permit{own}, l.commit)
			}
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, gates.ErrSpent):
				spent.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	if won.Load() != 1 || spent.Load() != 63 || len(l.proposals) != 1 {
		t.Errorf("%d won, %d were told it is spent, %d appended", won.Load(), spent.Load(), len(l.proposals))
	}
}

func TestPermitStaysSpent(t *testing.T) {
	for name, commit := range map[string]func(...event.Proposal) ([]int, error){
		"commit fails":       (&ledger{fail: event.ErrConflict}).commit,
		"commit has no word": func(...event.Proposal) ([]int, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			permit := permitFor(t, event.Proposal{At: account, Payload: withdrawn{5}})
			if _, err := gates.Commit(permit, commit); err == nil || errors.Is(err, gates.ErrSpent) {
				t.Error(err)
			}
			if _, err := gates.Commit(permit, new(ledger).commit); !errors.Is(err, gates.ErrSpent) {
				t.Error(err)
			}
		})
	}
	permit := permitFor(t, event.Proposal{At: account, Payload: withdrawn{5}})
	func() {
		defer func() { _ = recover() }()
		_, _ = gates.Commit(permit, func(...event.Proposal) ([]int, error) { panic("in the middle") })
	}()
	if _, err := gates.Commit(permit, new(ledger).commit); !errors.Is(err, gates.ErrSpent) {
		t.Error(err)
	}
}

func TestForgedPermit(t *testing.T) {
	good := permitFor(t, event.Proposal{At: account, Payload: withdrawn{5}})
	asJSON := []byte("{}")
	if b, err := json.Marshal([]gates.Permit{good}); err != nil || string(b) != "[{}]" {
		t.Errorf("JSON says %s, %v", b, err)
	}
	asCBOR, err := event.Marshal(good)
	if err != nil || !bytes.Equal(asCBOR, []byte{0xA0}) {
		t.Errorf("CBOR says %x, %v", asCBOR, err)
	}
	if err := gob.NewEncoder(new(bytes.Buffer)).Encode(good); err == nil {
		t.Error("gob encodes a permit")
	}
	var asGob bytes.Buffer // of a type that looks like one
	if err := gob.NewEncoder(&asGob).Encode(imitation{}); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(*gates.Permit) error{
		"JSON":      func(p *gates.Permit) error { return json.Unmarshal(asJSON, p) },
		"JSON null": func(p *gates.Permit) error { return p.UnmarshalJSON([]byte("null")) },
		"JSON in a map": func(p *gates.Permit) error {
			return json.Unmarshal([]byte(`{"a":"b"}`), &map[string]*gates.Permit{"a": p})
		},
		"CBOR":   func(p *gates.Permit) error { return event.Unmarshal(asCBOR, p) },
		"gob":    func(p *gates.Permit) error { return gob.NewDecoder(&asGob).Decode(p) },
		"text":   func(p *gates.Permit) error { return p.UnmarshalText(nil) },
		"binary": func(p *gates.Permit) error { return p.UnmarshalBinary(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var p gates.Permit
			if err := read(&p); !errors.Is(err, gates.ErrForged) || !errors.Is(err, event.ErrInvalid) {
				t.Error(err)
			}
			commitForged(t, p)
		})
	}
	commitForged(t, gates.Permit{})
}

type imitation struct{}

func (imitation) GobEncode() ([]byte, error) { return []byte("permit"), nil }

func commitForged(t *testing.T, p gates.Permit) {
	t.Helper()
	var l ledger
	if _, err := gates.Commit(p, l.commit); !errors.Is(err, gates.ErrForged) || len(l.proposals) > 0 {
		t.Error(err)
	}
}

// A drawer is a payload whose values are shared, and whose type can be changed, as no payload should.
type drawer struct {
	Amount  int    `cbor:"amount"`
	version uint16 // from 1 on
}

func (d drawer) EventType() event.Type {
	return event.Type{Kind: 0xF003, Name: "drawer", Version: 1 + d.version}
}

// K4: what is committed is what was judged, or nothing.
func TestPayloadChangedAfterEvaluation(t *testing.T) {
	pointer, data := &drawer{Amount: 5}, []byte("abc")
	for name, tt := range map[string]struct {
		p      event.Proposal
		change func()
	}{
		"through a pointer":  {event.Proposal{At: account, Payload: pointer}, func() { pointer.Amount = 500 }},
		"type":               {event.Proposal{At: account, Payload: pointer}, func() { pointer.version = 1 }},
		"type that is wrong": {event.Proposal{At: account, Payload: pointer}, func() { pointer.version = 0xFFFF }},
		"through data":       {event.Proposal{At: account, Kind: 0xF002, Data: data}, func() { data[1] = '?' }},
	} {
		t.Run(name, func(t *testing.T) {
			pointer.Amount, pointer.version, data[1] = 5, 0, 'b'
			permit, other := permitFor(t, tt.p), permitFor(t, event.Proposal{At: account, Payload: withdrawn{1}})
			tt.change()
			var l ledger
			if _, err := gates.CommitAll([]gates.Permit{other, permit}, l.commit); !errors.Is(err, gates.ErrChanged) {
				t.Error(err)
			}
			if _, err := gates.Commit(permit, l.commit); !errors.Is(err, gates.ErrSpent) || len(l.proposals) > 0 {
				t.Error(err)
			}
			if _, err := gates.Commit(other, l.commit); err != nil {
				t.Error("a permit that was not changed is used up:", err)
			}

			pointer.Amount, pointer.version, data[1] = 5, 0, 'b'
			permit = permitFor(t, tt.p)
			tt.change()
			if _, err := gates.Commit(permit, l.commit); !errors.Is(err, gates.ErrChanged) || len(l.proposals) != 1 {
				t.Error(err)
			}
			if _, err := gates.Commit(permit, l.commit); !errors.Is(err, gates.ErrSpent) {
				t.Error(err)
			}
		})
	}
}

// A flicker is a payload that encodes otherwise each time.
type flicker struct{ n *atomic.Int32 }

func (flicker) EventType() event.Type { return event.Type{Kind: 0xF004, Name: "flicker", Version: 1} }

func (f flicker) MarshalCBOR() ([]byte, error) { return []byte{byte(f.n.Add(1))}, nil }

// The bytes that gates see are those that are frozen, and the gates cannot change those either.
func TestJudgedBytesAreFrozen(t *testing.T) {
	var saw []byte
	var kept event.Event
	set := setOf(t, gates.Gate[caller]{Name: "a", Check: func(_ caller, e event.Event) *gates.Denial {
		saw, kept = bytes.Clone(e.Payload), e
		return nil
	}})
	var l ledger
	p := event.Proposal{At: account, Kind: 0xF002, Data: []byte{1}, Extensions: map[string][]byte{"app.x": {1}}}
	permit, err := set.Evaluate(caller{}, p)
	if err != nil {
		t.Fatal(err)
	}
	kept.Payload[0], kept.Extensions["app.x"][0] = 9, 9
	if _, err := gates.Commit(permit, l.commit); err != nil {
		t.Fatal(err)
	}
	if got := l.proposals[0]; !bytes.Equal(saw, got.Data) || got.Data[0] != 1 || got.Extensions["app.x"][0] != 1 {
		t.Error(got)
	}
	n := new(atomic.Int32)
	permit, err = set.Evaluate(caller{}, event.Proposal{At: account, Payload: flicker{n}, Extensions: p.Extensions})
	if err != nil || n.Load() != 1 || !bytes.Equal(saw, []byte{1}) {
		t.Errorf("encoded %d times, the gates saw %x, %v", n.Load(), saw, err)
	}
	if _, err := gates.Commit(permit, l.commit); !errors.Is(err, gates.ErrChanged) {
		t.Error(err)
	}
}

// The rest of a proposal is copied, so that a change after the evaluation is without effect.
func TestProposalIsCopied(t *testing.T) {
	ifNone := &event.IfNone{Query: event.Query{Category: new(event.Category(1)), Lane: new(event.Lane(2)), Scope: "bank"}, After: 9}
	p := event.Proposal{
		At: account, Payload: withdrawn{5}, Lane: 4, Expect: event.ExpectClock(3), IfNone: ifNone, Key: "k", Correlation: event.ID{1},
		Cause: event.CauseItem(0), Extensions: map[string][]byte{"app.a": []byte("x")}, Durability: event.Written,
	}
	permit := permitFor(t, p)
	p.Extensions["app.a"][0] = '?'
	p.Extensions["app.b"] = nil
	*ifNone.Query.Category, *ifNone.Query.Lane, ifNone.After = 5, 6, 7
	var l ledger
	done, err := gates.Commit(permit, l.commit)
	if err != nil || done.Receipt != 1 || !slices.Equal(done.Audit.Gates, []string{"yes"}) || done.Audit.Bypass != nil {
		t.Fatal(done, err)
	}
	got := l.proposals[0]
	if string(got.Extensions["app.a"]) != "x" || len(got.Extensions) != 1 {
		t.Error(got.Extensions)
	}
	if n := got.IfNone; *n.Query.Category != 1 || *n.Query.Lane != 2 || n.After != 9 || n.Query.Scope != "bank" {
		t.Error(n)
	}
	if got.At != p.At || got.Lane != 4 || got.Expect != p.Expect || got.Key != "k" || got.Correlation != p.Correlation || got.Cause != p.Cause || got.Durability != event.Written {
		t.Error(got)
	}
	typ, data, err := got.Encode()
	if want, _ := event.Marshal(withdrawn{5}); err != nil || typ != (withdrawn{}).EventType() || !bytes.Equal(data, want) {
		t.Error(typ, data, err)
	}
}

func TestCommitAll(t *testing.T) {
	var l ledger
	permit := func(n int) gates.Permit { return permitFor(t, event.Proposal{At: account, Payload: withdrawn{n}}) }
	a, b, c := permit(1), permit(2), permit(3)
	if done, err := gates.CommitAll(nil, l.commit); err != nil || len(done) != 0 {
		t.Error(done, err)
	}
	for name, tt := range map[string]struct {
		permits []gates.Permit
		err     error
	}{
		"forged last": {[]gates.Permit{a, b, {}}, gates.ErrForged},
		"there twice": {[]gates.Permit{a, b, a}, gates.ErrSpent},
	} {
		if _, err := gates.CommitAll(tt.permits, l.commit); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := gates.Commit(c, l.commit); err != nil {
		t.Fatal(err)
	}
	if _, err := gates.CommitAll([]gates.Permit{a, c, b}, l.commit); !errors.Is(err, gates.ErrSpent) || fmt.Sprint(err)[:8] != "permit 1" {
		t.Error(err)
	}
	done, err := gates.CommitAll([]gates.Permit{b, a}, l.commit)
	if err != nil || len(done) != 2 || done[0].Receipt != 2 || done[1].Receipt != 3 {
		t.Error(done, err)
	}
	if _, err := gates.CommitAll([]gates.Permit{a, b}, l.commit); !errors.Is(err, gates.ErrSpent) || len(l.proposals) != 3 {
		t.Error(err)
	}
}

// Two commits that want the same permits in the opposite order: one gets both.
func TestCommitAllCrossed(t *testing.T) {
	for range 200 {
		var l ledger
		a, b := permitFor(t, event.Proposal{At: account, Payload: withdrawn{1}}), permitFor(t, event.Proposal{At: account, Payload: withdrawn{2}})
		var wg sync.WaitGroup
		for _, order := range [][]gates.Permit{{a, b}, {b, a}, {a}, {b}} {
			wg.Go(func() {
				if _, err := gates.CommitAll(order, l.commit); err != nil && !errors.Is(err, gates.ErrSpent) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(l.proposals) != 2 {
			t.Fatalf("%d were appended", len(l.proposals))
		}
	}
}

func openStore(t testing.TB) *batpak.Store {
	t.Helper()
	store, err := batpak.Open(t.TempDir(), &batpak.Options{Durability: batpak.Written})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// What a real store has from a permit is what was judged.
func TestCommitToStore(t *testing.T) {
	store := openStore(t)
	done, err := gates.Commit(permitFor(t, event.Proposal{At: account, Payload: withdrawn{5}}), store.Commit)
	if err != nil {
		t.Fatal(err)
	}
	e, err := store.Get(done.Receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := event.Decode[withdrawn](e); err != nil || w.Amount != 5 || e.PayloadVersion != 3 {
		t.Error(w, err)
	}
	raw, err := gates.Commit(permitFor(t, event.Proposal{At: account, Kind: 0xF002, Data: []byte{}}), store.Commit)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = store.Get(raw.Receipt.ID); err != nil || len(e.Payload) != 0 || e.PayloadVersion != 0 {
		t.Error(e, err)
	}
}
