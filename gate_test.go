package batpak

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// A withdrawal is taken from an account, which begins with 1000.
type withdrawal struct {
	Cents int `cbor:"cents"`
}

func (withdrawal) EventType() Type { return Type{Kind: 0x3101, Name: "withdrawal", Version: 1} }

func withdraw(left *int, e Event) error {
	w, err := Decode[withdrawal](e)
	*left -= w.Cents
	return err
}

// noOverdraft denies what is more than is left of 1000.
func noOverdraft() gates.Gate[gates.Head] {
	return gates.Invariant("no overdraft", withdraw, func(taken int, e Event) *gates.Denial {
		if w, err := Decode[withdrawal](e); err != nil || w.Cents > 1000+taken {
			return gates.Deny("OVERDRAFT", "%d of %d: %v", w.Cents, 1000+taken, err)
		}
		return nil
	})
}

func gateSet[C any](t testing.TB, gs ...gates.Gate[C]) *gates.Set[C] {
	set, err := gates.NewSet(gs...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// taken folds what was withdrawn from an entity.
func taken(t *testing.T, s *Store, entity string) (sum, count int) {
	for w, err := range event.Each[withdrawal](s.Query(Query{Entity: entity})) {
		if err != nil {
			t.Fatal(err)
		}
		sum, count = sum+w.Value.Cents, count+1
	}
	return sum, count
}

// TestNobodyOverdraws has 32 goroutines withdraw from one account with no expectation, by themselves and in batches of three, in
// each durability, with the store opened anew between, so that the gate's state is of an earlier store too.
func TestNobodyOverdraws(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) {
			dir := t.TempDir()
			opts := &Options{Durability: class, CommitGates: gateSet(t, noOverdraft())}
			for round := range 3 {
				s, err := Open(dir, opts)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for i := range 32 {
					wg.Go(func() {
						for range 5 {
							p := Proposal{At: At("account:1", "bank"), Payload: withdrawal{7 + i%3}}
							other := Proposal{At: At("account:2", "bank"), Payload: withdrawal{1}}
							ps := []Proposal{p}
							if i%2 == 0 {
								ps = []Proposal{p, other, p}
							}
							if _, err := s.Commit(ps...); err != nil && !errors.Is(err, ErrDenied) {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if sum, count := taken(t, s, "account:1"); sum > 1000 || sum < 1000-9 {
					t.Errorf("round %d: %d withdrawn in %d events", round, sum, count)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestCommitGateSeesTheHead compares what a gate at the commit point is given with what the store has afterwards, for single
// events and batches that extend a stream several times, some of which are refused.
func TestCommitGateSeesTheHead(t *testing.T) {
	var s *Store
	var got []string
	gate := gates.Gate[gates.Head]{Name: "look", Check: func(h gates.Head, e Event) *gates.Denial {
		clock := Clock(1)
		for past, err := range h.Events(1) {
			if clock++; err != nil || past.Clock != clock || past.Stream() != h.Stream || string(past.Payload) != fmt.Sprint(clock) {
				t.Errorf("event %+v, %q, of the past, %v", past.Header, past.Payload, err)
			}
		}
		if h.Clock+1 != e.Clock || h.Hash != e.Prev && h.Clock > 0 || clock != max(1, h.Clock) || h.Seq >= e.Seq {
			t.Errorf("head %+v of %+v after events up to %d", h, e.Header, clock)
		}
		got = append(got, fmt.Sprintf("%s/%d %d", h.Stream.Entity, h.Stream.Lane, e.Clock))
		if string(e.Payload) == "no" {
			return gates.Deny("NO", "no")
		}
		return nil
	}}
	s, err := Open(t.TempDir(), &Options{CommitGates: gateSet(t, gate), SegmentBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := func(entity string, lane Lane, data string) Proposal {
		return Proposal{At: At(entity, "s"), Lane: lane, Kind: event.KindData, Data: []byte(data)}
	}
	for _, step := range []struct {
		ps   []Proposal
		want string
		ok   bool
	}{
		{[]Proposal{p("a", 0, "1")}, "a/0 1", true},
		{[]Proposal{p("a", 0, "2"), p("b", 0, "1"), p("a", 0, "3"), p("a", 1, "1")}, "a/0 2, b/0 1, a/0 3, a/1 1", true},
		{[]Proposal{p("a", 0, "4"), p("a", 0, "no"), p("a", 0, "6")}, "a/0 4, a/0 5", false},
		{[]Proposal{p("a", 0, "4"), p("a", 0, "5")}, "a/0 4, a/0 5", true},
		{[]Proposal{p("a", 0, "no")}, "a/0 6", false},
		{[]Proposal{p("a", 0, "6")}, "a/0 6", true},
	} {
		got = nil
		_, err := s.Commit(step.ps...)
		if text := strings.Join(got, ", "); text != step.want || (err == nil) != step.ok || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("gate saw %s, not %s: %v", text, step.want, err)
		}
	}
	if n := s.Visible(); n != 8 {
		t.Errorf("%d events", n)
	}
}

// TestGateCannotCallTheStore calls every method of the store from a gate at the commit point. None may wait for ever, and those
// that return an error must return ErrInGate.
func TestGateCannotCallTheStore(t *testing.T) {
	var s *Store
	calls := 0
	gate := gates.Gate[gates.Head]{Name: "calls", Check: func(h gates.Head, e Event) *gates.Denial {
		v := reflect.ValueOf(s)
		for i := range v.NumMethod() {
			name, method := v.Type().Method(i).Name, v.Method(i)
			var in []reflect.Value
			for k := range method.Type().NumIn() {
				if typ := method.Type().In(k); !method.Type().IsVariadic() || k < method.Type().NumIn()-1 {
					in = append(in, argument(t, typ))
				}
			}
			if name == "Commit" {
				in = append(in, reflect.ValueOf(Proposal{At: At("a", "s"), Kind: event.KindData}))
			}
			calls++
			for _, out := range method.Call(in) {
				switch err, _ := out.Interface().(error); {
				case name == "DropSnapshots" || name == "DeleteCursor": // they do not wait for the commit
				case out.Type() == reflect.TypeFor[error]() && !errors.Is(err, ErrInGate):
					t.Errorf("%s: %v", name, err)
				case out.Kind() == reflect.Func: // a sequence
					out.Call([]reflect.Value{reflect.MakeFunc(out.Type().In(0), func(pair []reflect.Value) []reflect.Value {
						if err, _ := pair[1].Interface().(error); !errors.Is(err, ErrInGate) {
							t.Errorf("%s: %v", name, err)
						}
						return []reflect.Value{reflect.ValueOf(false)}
					})})
				}
			}
		}
		return nil
	}}
	s, err := Open(t.TempDir(), &Options{CommitGates: gateSet(t, gate)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(At("a", "s"), withdrawal{1})
		done <- err
	}()
	select {
	case err = <-done:
	case <-time.After(time.Minute):
		t.Fatal("the store waits for itself")
	}
	if err != nil || calls < 20 || s.Visible() != 1 {
		t.Errorf("%v after %d calls, %d events", err, calls, s.Visible())
	}
	if _, err := s.Append(At("b", "s"), withdrawal{1}); err != nil { // and no other goroutine is taken for the gate
		t.Error(err)
	}
}

// argument returns a value that a method of the store can be called with.
func argument(t *testing.T, typ reflect.Type) reflect.Value {
	switch typ {
	case reflect.TypeFor[context.Context]():
		return reflect.ValueOf(t.Context())
	case reflect.TypeFor[Coordinate]():
		return reflect.ValueOf(At("a", "s"))
	case reflect.TypeFor[Payload]():
		return reflect.ValueOf(withdrawal{1})
	case reflect.TypeFor[Proposal]():
		return reflect.ValueOf(Proposal{At: At("a", "s"), Kind: event.KindData})
	case reflect.TypeFor[*gates.Denial]():
		return reflect.ValueOf(gates.Deny("NO", "no"))
	case reflect.TypeFor[Reaction]():
		return reflect.ValueOf(shipping(nil))
	case reflect.TypeFor[Watermark]():
		return reflect.ValueOf(WatermarkVisible)
	case reflect.TypeFor[string]():
		return reflect.ValueOf("x")
	}
	return reflect.Zero(typ)
}

// TestGatesOnEveryPath proposes what a gate of the store denies on every way in, and looks at what is recorded of it.
func TestGatesOnEveryPath(t *testing.T) {
	denied := func(e Event) *gates.Denial {
		if e.Kind == 0x3001 {
			return nil
		}
		return gates.Deny("NO", "kind %s", e.Kind).With("entity", e.Entity)
	}
	early := gateSet(t, gates.Gate[struct{}]{Name: "early", Check: func(_ struct{}, e Event) *gates.Denial { return denied(e) }})
	late := gateSet(t, gates.Gate[gates.Head]{Name: "late", Check: func(_ gates.Head, e Event) *gates.Denial { return denied(e) }})
	for name, opts := range map[string]*Options{"early": {Gates: early, RecordDenials: true}, "late": {CommitGates: late, RecordDenials: true}} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.TempDir(), opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ok := Proposal{At: At("order:1", "shop"), Payload: ordered{1}}
			no := Proposal{At: At("account:1", "bank"), Payload: withdrawal{1}}
			if _, err := s.Commit(ok); err != nil {
				t.Fatal(err)
			}
			permit, err := gateSet[int](t).Evaluate(0, no)
			if err != nil {
				t.Fatal(err)
			}
			r := shipping(nil)
			r.Restarts = -1
			for path, try := range map[string]func() error{
				"Append":             func() error { _, err := s.Append(no.At, no.Payload); return err },
				"Commit":             func() error { _, err := s.Commit(no); return err },
				"a batch":            func() error { _, err := s.Commit(ok, no); return err },
				"bytes":              func() error { _, err := s.Commit(Proposal{At: no.At, Kind: 0x3101, Data: []byte{0}}); return err },
				"a permit":           func() error { _, err := gates.Commit(permit, s.Commit); return err },
				"a reaction":         func() error { return s.React(t.Context(), r) },
				"with a key":         func() error { p := no; p.Key = "k"; _, err := s.Commit(p); return err },
				"another durability": func() error { p := no; p.Durability = Written; _, err := s.Commit(p); return err },
			} {
				before := s.Visible()
				err := try()
				var denial *DeniedError
				if !errors.Is(err, ErrDenied) || !errors.As(err, &denial) || denial.Denial.Gate != name || denial.Recorded == nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				if path == "a batch" && denial.Item != 1 {
					t.Errorf("item %d", denial.Item)
				}
				e, err := s.Get(denial.Recorded.ID)
				if err != nil || e.Seq != before+1 || s.Visible() != e.Seq || s.VerifyReceipt(*denial.Recorded).Status == "invalid" {
					t.Errorf("%s: event %d is the record, %v", path, e.Seq, err)
				}
				record, err := Decode[DenialRecord](e)
				if err != nil || record.Denial.Code != "NO" || record.Denial.Gate != name || len(record.Denial.Trace.Evaluations) != 1 ||
					record.Entity != denialEntity(path) || record.Content.String() == (Hash{}).String() {
					t.Errorf("%s: %+v, %v", path, record, err)
				}
			}
		})
	}
}

// No proposal and no gate can keep a denial from being recorded: not by a key or texts that are not UTF-8, not by their length,
// and not by a bound of payloads.
func TestDenialsOfAllSortsAreRecorded(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	var many []gates.Pair
	for range 1000 {
		many = append(many, gates.Pair{Name: "\xff" + long[:1<<13], Value: long[1 : 1<<13]})
	}
	for name, tt := range map[string]struct {
		key    string
		denial gates.Denial
	}{
		"key":              {"\xff\xfe", gates.Denial{Code: "NO", Message: "no"}},
		"longest key":      {strings.Repeat("\xff", event.MaxKeyBytes), gates.Denial{Code: "NO"}},
		"message":          {"", gates.Denial{Code: "NO", Message: "\xff"}},
		"code":             {"", gates.Denial{Code: "\xff"}},
		"long message":     {"", gates.Denial{Code: "NO", Message: long}},
		"odd long message": {"", gates.Denial{Code: "NO", Message: "x" + long}},
		"facts":            {"", gates.Denial{Code: "NO", Context: many}},
	} {
		gate := gates.Gate[struct{}]{Name: "no", Check: func(struct{}, Event) *gates.Denial { return &tt.denial }}
		s := openTest(t, memoryDir(t), &Options{Gates: gateSet(t, gate), RecordDenials: true, MaxPayload: 20})
		_, err := s.Commit(Proposal{At: At("a", "s"), Payload: withdrawal{1}, Key: tt.key})
		var denied *DeniedError
		if !errors.As(err, &denied) || denied.Recorded == nil {
			t.Fatalf("%s: %v", name, err)
		}
		e, err := s.Get(denied.Recorded.ID)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Decode[DenialRecord](e)
		if err != nil || string(r.Key) != tt.key || len(r.Denial.Context) != min(len(tt.denial.Context), maxDenialFacts) {
			t.Errorf("%s: key %q, %d facts, %v", name, r.Key, len(r.Denial.Context), err)
		}
		if m := r.Denial.Message; len(m) > maxDenialText || len(tt.denial.Message) > maxDenialText && (len(m) < maxDenialText-8 || !strings.HasSuffix(m, "é…")) {
			t.Errorf("%s: message of %d bytes", name, len(m))
		}
		if denied.Denial.Message != tt.denial.Message {
			t.Errorf("%s: the caller's message has changed", name)
		}
		closeTest(t, s)
	}
}

// TestRecordDenialBounds: what is recorded of a denial that somebody else made has bounds too.
func TestRecordDenialBounds(t *testing.T) {
	s := openTest(t, memoryDir(t), &Options{MaxPayload: 1000})
	p := Proposal{At: At("a", "s"), Payload: withdrawal{1}, Key: strings.Repeat("k", event.MaxKeyBytes+1)}
	if r, err := s.RecordDenial(p, gates.Deny("NO", "no")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a key that no event can have: recorded as %d, %v", r.Seq, err)
	}
	p.Key = p.Key[1:]
	denial := gates.Deny("NO", "no")
	denial.Trace.Evaluations = make([]gates.Evaluation, 3*maxDenialTrace)
	receipt, err := s.RecordDenial(p, denial)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Get(receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Decode[DenialRecord](e); err != nil || len(r.Denial.Trace.Evaluations) != maxDenialTrace || len(denial.Trace.Evaluations) != 3*maxDenialTrace {
		t.Errorf("%d evaluations recorded, %v", len(r.Denial.Trace.Evaluations), err)
	}
}

func denialEntity(path string) string {
	if path == "a reaction" {
		return "parcel:order:1"
	}
	return "account:1"
}

// TestReplayIsNotJudged retries an accepted append when the gates have changed their mind.
func TestReplayIsNotJudged(t *testing.T) {
	closed := false
	check := func(Event) *gates.Denial {
		if closed {
			return gates.Deny("CLOSED", "closed")
		}
		return nil
	}
	s, err := Open(t.TempDir(), &Options{
		Gates:       gateSet(t, gates.Gate[struct{}]{Name: "early", Check: func(_ struct{}, e Event) *gates.Denial { return check(e) }}),
		CommitGates: gateSet(t, gates.Gate[gates.Head]{Name: "late", Check: func(_ gates.Head, e Event) *gates.Denial { return check(e) }}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := Proposal{At: At("a", "s"), Payload: withdrawal{1}, Key: "k"}
	first, err := s.Commit(p)
	if err != nil {
		t.Fatal(err)
	}
	closed = true
	again, err := s.Commit(p)
	if err != nil || again[0] != first[0] {
		t.Errorf("%+v, %v", again, err)
	}
	p.Key = "other"
	if _, err := s.Commit(p); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

// TestTypes checks what a store with a registry refuses to append.
func TestTypes(t *testing.T) {
	types, err := event.NewRegistry(event.Register[withdrawal]())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.TempDir(), &Options{Types: types})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, tt := range map[string]struct {
		p  Proposal
		ok bool
	}{
		"registered":           {Proposal{Payload: withdrawal{1}}, true},
		"not registered":       {Proposal{Payload: ordered{1}}, false},
		"bytes of its kind":    {Proposal{Kind: 0x3101, Data: []byte{0}}, false},
		"bytes of no type":     {Proposal{Kind: 0x3102, Data: []byte{0}}, true},
		"a permit of the type": {Proposal{Payload: frozenBy(t, withdrawal{1})}, true},
	} {
		tt.p.At = At("a", "s")
		if _, err := s.Commit(tt.p); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// frozenBy returns the payload as a permit carries it.
func frozenBy(t *testing.T, p Payload) (frozen Payload) {
	permit, err := gateSet[int](t).Evaluate(0, Proposal{At: At("a", "s"), Payload: p})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gates.Commit(permit, func(ps ...Proposal) ([]int, error) { frozen = ps[0].Payload; return []int{0}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return frozen
}

// TestJudgedBytesAreWritten changes the bytes of a proposal while its gates are asked, and its batch while a later item is.
func TestJudgedBytesAreWritten(t *testing.T) {
	data, first := []byte("judged"), []byte("first")
	change := func(Event) *gates.Denial { data[0], first[0] = 'X', 'X'; return nil }
	s := openTest(t, t.TempDir(), &Options{
		Gates:       gateSet(t, gates.Gate[struct{}]{Name: "early", Check: func(_ struct{}, e Event) *gates.Denial { return change(e) }}),
		CommitGates: gateSet(t, gates.Gate[gates.Head]{Name: "late", Check: func(_ gates.Head, e Event) *gates.Denial { return change(e) }}),
	})
	_, err := s.Commit(Proposal{At: At("a", "s"), Kind: event.KindData, Data: first}, Proposal{At: At("a", "s"), Kind: event.KindData, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range []string{"first", "judged"} {
		if e, err := s.At(Seq(seq + 1)); err != nil || string(e.Payload) != want {
			t.Errorf("%q, %v", e.Payload, err)
		}
	}
}

// scribble changes whatever can be changed of an event without changing its owner's copy of the struct.
func scribble(e Event) {
	clear(e.Payload)
	for _, v := range e.Extensions {
		clear(v)
	}
	delete(e.Extensions, "app.gone")
	if e.Extensions != nil {
		e.Extensions["app.new"] = []byte("new")
	}
}

// TestGatesCannotChangeWhatIsStored has gates that keep the event they judge, and those of its stream before it, stored and of the
// same commit, and write into them when the next is judged. What is stored is what was proposed. A gate that writes into the event
// it judges is a defect, which appends nothing.
func TestGatesCannotChangeWhatIsStored(t *testing.T) {
	ext := func() map[string][]byte { return map[string][]byte{"app.gone": []byte("1"), "app.kept": []byte("2")} }
	typed := Proposal{At: At("a", "s"), Payload: withdrawal{7}, Extensions: ext()}
	raw := Proposal{At: At("a", "s"), Kind: event.KindData, Data: []byte("raw"), Extensions: ext()}
	_, data, err := typed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	kept := [2]string{"raw", string(data)} // by the clock, from 1
	scribbling := false
	var before []Event
	keep := func(e Event) *gates.Denial {
		for _, e := range before {
			scribble(e)
		}
		if before = append(before[:0], e); scribbling {
			scribble(e)
		}
		return nil
	}
	late := func(h gates.Head, e Event) *gates.Denial {
		for past, err := range h.Events(0) {
			if want := kept[past.Clock%2]; err != nil || string(past.Payload) != want || past.Extensions["app.gone"] == nil {
				t.Errorf("event %d before it has %q and %q, %v", past.Clock, past.Payload, past.Extensions, err)
			}
			scribble(past)
		}
		return keep(e)
	}
	for name, opts := range map[string]*Options{
		"early":         {Gates: gateSet(t, gates.Gate[struct{}]{Name: "scribbles", Check: func(_ struct{}, e Event) *gates.Denial { return keep(e) }})},
		"at the commit": {CommitGates: gateSet(t, gates.Gate[gates.Head]{Name: "scribbles", Check: late})},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir, opts)
			for _, scribbling = range []bool{false, true, false} {
				_, err := s.Commit(typed, raw, typed, raw)
				if denied, ok := errors.AsType[*DeniedError](err); ok != scribbling || ok && denied.Denial.Code != gates.CodeDefect || !ok && err != nil {
					t.Fatalf("scribbling %t: %v", scribbling, err)
				}
			}
			if err := errors.Join(wholeReport(s.Verify(t.Context(), nil)), s.Close()); err != nil {
				t.Error(err)
			}
			if string(raw.Data) != "raw" || !reflect.DeepEqual(typed.Extensions, ext()) {
				t.Fatalf("the proposals have changed: %+v, %+v", typed, raw)
			}
			s = openTest(t, dir, nil)
			for e, err := range s.Query(Query{}) {
				if err != nil || string(e.Payload) != kept[e.Clock%2] || !reflect.DeepEqual(e.Extensions, ext()) {
					t.Fatalf("event %d has %q and %q: %v", e.Seq, e.Payload, e.Extensions, err)
				}
			}
			if rep, err := s.Verify(t.Context(), nil); err != nil || !rep.OK() || rep.Last != 8 {
				t.Errorf("%+v, %v", rep, err)
			}
		})
	}
}

// TestHeadOutsideItsGate uses a head when its gate has answered, from a later gate in the same goroutine, and from another
// goroutine.
func TestHeadOutsideItsGate(t *testing.T) {
	var kept *gates.Head
	look := func(h *gates.Head) error {
		for _, err := range h.Events(0) {
			return err
		}
		return nil
	}
	s := openTest(t, t.TempDir(), &Options{CommitGates: gateSet(t, gates.Gate[gates.Head]{Name: "keeps", Check: func(h gates.Head, _ Event) *gates.Denial {
		if kept != nil {
			if err := look(kept); !errors.Is(err, ErrInvalid) {
				t.Errorf("from a later gate: %v", err)
			}
		}
		if err := look(&h); err != nil {
			t.Error(err)
		}
		other := make(chan error)
		go func() { other <- look(&h) }()
		if err := <-other; !errors.Is(err, ErrInvalid) {
			t.Errorf("from another goroutine: %v", err)
		}
		kept = &h
		return nil
	}})})
	for range 3 {
		if _, err := s.Append(At("a", "s"), withdrawal{1}); err != nil {
			t.Fatal(err)
		}
		if err := look(kept); !errors.Is(err, ErrInvalid) {
			t.Errorf("after the gate: %v", err)
		}
	}
}

// TestCursorInGate asks a cursor that is being saved for its position, from a gate that the saving waits for.
func TestCursorInGate(t *testing.T) {
	var s *Store
	var c *Cursor
	asked, saving := make(chan bool), make(chan error, 1)
	gate := gates.Gate[gates.Head]{Name: "asks", Check: func(_ gates.Head, e Event) *gates.Denial {
		if e.Clock < 2 {
			return nil
		}
		go func() { close(asked); saving <- c.Save(1) }()
		<-asked
		for range 1000 { // while Save gets to where it waits
			_ = c.Position()
			runtime.Gosched()
		}
		if err := errors.Join(c.Save(1)); !errors.Is(err, ErrInGate) {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, ErrInGate) {
			t.Error(err)
		}
		if err := s.DeleteCursor("other"); !errors.Is(err, ErrInGate) {
			t.Error(err)
		}
		if _, err := s.DropSnapshots(""); !errors.Is(err, ErrInGate) {
			t.Error(err)
		}
		s.SaveSnapshot("id", []byte{1})
		if b := s.LoadSnapshot("id"); b != nil {
			t.Errorf("snapshot %x in a gate", b)
		}
		return nil
	}}
	s = openTest(t, t.TempDir(), &Options{CommitGates: gateSet(t, gate)})
	for i := range 2 {
		if _, err := s.Append(At("a", "s"), withdrawal{1}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			c = mustCursor(t, s, "c", Query{})
		}
	}
	if err := <-saving; err != nil {
		t.Error(err)
	}
	if b := s.LoadSnapshot("id"); b != nil {
		t.Errorf("a gate saved the snapshot %x", b)
	}
}
