package batpak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
)

// position returns the position of the cursor of shipping as it is saved.
func position(t testing.TB, s *Store) Seq {
	t.Helper()
	st, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range st.Cursors {
		if c.Name == "shipping" && !c.Open {
			return c.Position
		}
	}
	return 0
}

var errHandler = errors.New("no parcels left")

// failures are the ways in which the answer to an event fails, each with a check of the error.
var failures = map[string]struct {
	fail func(b *Batch) error
	is   func(err error) bool
}{
	"error": {func(*Batch) error { return errHandler }, func(err error) bool { return errors.Is(err, errHandler) }},
	"panic": {func(*Batch) error { panic("oh") }, func(err error) bool {
		var p *PanicError
		return errors.As(err, &p) && p.Value == "oh" && strings.Contains(string(p.Stack), "TestReactionRestarts")
	}},
	"panic with an error": {func(*Batch) error { panic(errHandler) }, func(err error) bool {
		var p *PanicError
		return errors.As(err, &p) && p.Value == errHandler
	}},
	"conflict": {func(b *Batch) error {
		b.Propose(Proposal{At: At("parcel", "out"), Payload: shipped{}, Expect: AtClock(1000)})
		return nil
	}, func(err error) bool { var c *ConflictError; return errors.As(err, &c) && c.Want == 1000 }},
	"invalid": {func(b *Batch) error {
		b.Append(At("", "out"), shipped{})
		return nil
	}, func(err error) bool { return errors.Is(err, ErrInvalid) }},
}

// TestReactionRestarts lets the answer to the fourth of six orders fail for ever. It is tried once more for each restart, and
// no other is; what was before is saved. When it fails no more, the reaction goes on with it.
func TestReactionRestarts(t *testing.T) {
	for name, f := range failures {
		for restarts, want := range map[int]int{0: DefaultRestarts, -1: 0, 1: 1, 2: 2, 7: 7} {
			t.Run(fmt.Sprintf("%s/%d", name, restarts), func(t *testing.T) {
				dir := memoryDir(t)
				s := openTest(t, dir, nil)
				order(t, s, 0, 1, 2, 3, 4, 5)
				calls := map[Seq]int{}
				r := Reaction{Name: "shipping", Restarts: restarts, Handlers: []event.Handler[*Batch]{
					event.On(func(b *Batch, e Event, p ordered) error {
						if calls[e.Seq]++; e.Seq == 4 {
							return f.fail(b)
						}
						b.Append(At("parcel:"+e.Entity, "out"), shipped{p.Number, 1, 0})
						return nil
					})}}
				err := s.React(t.Context(), r)
				var failed *ReactionError
				if !errors.As(err, &failed) || !f.is(err) || failed.Seq != 4 || failed.Reaction != "shipping" || failed.Restarts != want {
					t.Errorf("%v", err)
				}
				if !maps.Equal(calls, map[Seq]int{1: 1, 2: 1, 3: 1, 4: want + 1}) {
					t.Errorf("calls by event: %v", calls)
				}
				if at := position(t, s); at != 3 {
					t.Errorf("saved at %d", at)
				}
				closeTest(t, s)
				s = openTest(t, dir, nil)
				calls = map[Seq]int{}
				if err := answerAll(s, func(e *Event, _ ordered) error { calls[e.Seq]++; return nil }); err != nil {
					t.Fatal(err)
				}
				if want := map[Seq]int{4: 1, 5: 1, 6: 1, 10: 1}; !maps.Equal(calls, want) {
					t.Errorf("calls by event after that: %v", calls)
				}
			})
		}
	}
}

// TestReactionRecovers lets the answers to some orders fail for a while. All are answered in the end.
func TestReactionRecovers(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0, 1, 2, 3, 4, 5)
	fails := map[Seq]int{1: 1, 4: 1, 6: 1}
	if err := answerAll(s, func(e *Event, _ ordered) error {
		if fails[e.Seq]--; fails[e.Seq] == 0 {
			panic("for now")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := mustAnswerAll(t, s); n != 7 {
		t.Errorf("%d orders", n)
	}
}

// TestReactionRestartWithin fails at intervals. Failures so long ago are forgotten, by the store's clock.
func TestReactionRestartWithin(t *testing.T) {
	const forever = 50 // calls, of which the last goes well
	for _, c := range []struct {
		restarts      int
		within, apart time.Duration
		calls         int
	}{
		{1, time.Second, time.Second - 1, 2}, {1, time.Second, time.Second, forever},
		{2, time.Second, time.Second/2 - 1, 3}, {2, time.Second, time.Second / 2, forever},
		{1, 0, DefaultRestartWithin - 1, 2}, {1, 0, DefaultRestartWithin, forever},
	} {
		now := time.UnixMicro(1_700_000_000_000_000)
		s := openTest(t, memoryDir(t), &Options{Clock: func() time.Time { return now }})
		order(t, s, 0)
		calls := 0
		r := shipping(func(*Event, ordered) error {
			if calls++; calls == forever {
				return nil
			}
			now = now.Add(c.apart)
			return errHandler
		})
		r.Restarts, r.RestartWithin, r.Query.Through = c.restarts, c.within, 1
		err := s.React(t.Context(), r)
		if calls != c.calls || (calls == forever) != (err == nil) {
			t.Errorf("%d restarts in %v, failures %v apart: %d calls, %v", c.restarts, c.within, c.apart, calls, err)
		}
	}
}

// TestReactionUndecodable meets an order whose payload is none. The reaction stops there at once, what was before is saved, and
// an undecodable event of a kind that has no handler is passed over.
func TestReactionUndecodable(t *testing.T) {
	for name, p := range map[string]Proposal{
		"bytes":         {At: At("order:x", "shop"), Kind: ordered{}.EventType().Kind, Data: []byte{0xFF}},
		"other fields":  {At: At("order:x", "shop"), Kind: ordered{}.EventType().Kind, Data: []byte{0x01}},
		"newer version": {At: At("order:x", "shop"), Payload: orderedLater{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, memoryDir(t), nil)
			mustCommit(t, s, Proposal{At: At("noise", "shop"), Kind: 0x3009, Data: []byte{0xFF}})
			order(t, s, 0, 1)
			bad := mustCommit(t, s, p)[0].Seq
			order(t, s, 2)
			calls := 0
			err := s.React(t.Context(), shipping(func(*Event, ordered) error { calls++; return nil }))
			var failed *ReactionError
			var undecoded *event.DecodeError
			if !errors.As(err, &failed) || !errors.As(err, &undecoded) || failed.Seq != bad || failed.Restarts != 0 || undecoded.Seq != bad {
				t.Error(err)
			}
			if at := position(t, s); at != bad-1 || calls != 2 {
				t.Errorf("saved at %d, after %d calls", at, calls)
			}
		})
	}
}

// orderedLater is ordered as newer code has it.
type orderedLater struct{}

func (orderedLater) EventType() Type { return Type{Kind: 0x3001, Name: "ordered", Version: 2} }
func (orderedLater) Upcasts() []event.Step {
	return []event.Step{event.Upcast(1, func(ordered) (orderedLater, error) { return orderedLater{}, nil })}
}

type paid struct {
	Number int `cbor:"number"`
}

func (paid) EventType() Type { return Type{Kind: 0x3003, Name: "paid", Version: 1} }

type archived struct {
	Seq Seq `cbor:"seq"`
}

func (archived) EventType() Type { return Type{Kind: 0x3004, Name: "archived", Version: 1} }

// TestReactionsChained runs three reactions beside writers: orders are shipped, what is shipped last is paid, and orders and
// payments are archived by one reaction with a handler for each. Each answers each of its events once, in order.
func TestReactionsChained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSimulated(t, crashfs.New(), Options{})
		paying := Reaction{Name: "paying", Query: Query{Prefix: "parcel"}, Handlers: []event.Handler[*Batch]{
			event.On(func(b *Batch, e Event, p shipped) error {
				if p.Part == 2 {
					b.Append(At("account", "bank"), paid{p.Number})
				}
				return nil
			})}}
		archiving := Reaction{Name: "archiving", Handlers: []event.Handler[*Batch]{
			event.On(func(b *Batch, e Event, _ ordered) error {
				b.Append(At("archive:ordered", "a"), archived{e.Seq})
				return nil
			}),
			event.On(func(b *Batch, e Event, _ paid) error { b.Append(At("archive:paid", "a"), archived{e.Seq}); return nil }),
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 3)
		for _, r := range []Reaction{shipping(nil), paying, archiving} {
			go func() { ended <- s.React(ctx, r) }()
		}
		for n := range 200 {
			order(t, s, n)
			mustCommit(t, s, raw("noise", "x"))
		}
		synctest.Wait()
		cancel()
		for range 3 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		checkChain(t, s)
	})
}

// checkChain checks what the three reactions have appended.
func checkChain(t *testing.T, s *Store) {
	t.Helper()
	var orders, payments []Seq
	archives := map[string][]Seq{}
	es, err := gather(s.Query(Query{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		switch e.Kind {
		case ordered{}.EventType().Kind:
			orders = append(orders, e.Seq)
		case paid{}.EventType().Kind:
			p, err := Decode[paid](e)
			if err != nil || p.Number != len(payments) {
				t.Errorf("payment of order %d where %d is due, %v", p.Number, len(payments), err)
			}
			first, err := s.At(orders[p.Number])
			if err != nil || e.Correlation != first.ID {
				t.Errorf("payment of order %d has correlation %v, not %v, %v", p.Number, e.Correlation, first.ID, err)
			}
			payments = append(payments, e.Seq)
		case archived{}.EventType().Kind:
			p, err := Decode[archived](e)
			if err != nil {
				t.Error(err)
			}
			archives[e.Entity] = append(archives[e.Entity], p.Seq)
		}
	}
	if len(orders) != 200 || len(payments) != 200 || !slices.Equal(archives["archive:ordered"], orders) || !slices.Equal(archives["archive:paid"], payments) {
		t.Errorf("%d orders, %d payments, archived %d and %d", len(orders), len(payments), len(archives["archive:ordered"]), len(archives["archive:paid"]))
	}
	mustAnswerAll(t, s)
}

// TestReactionPutsNothing answers some orders with nothing. They are dealt with all the same.
func TestReactionPutsNothing(t *testing.T) {
	dir := memoryDir(t)
	for range 2 {
		s := openTest(t, dir, nil)
		if position(t, s) == 0 {
			order(t, s, 0, 1, 2, 3)
		}
		calls := 0
		r := Reaction{Name: "shipping", Query: Query{Through: 4}, Handlers: []event.Handler[*Batch]{
			event.On(func(*Batch, Event, ordered) error { calls++; return nil })}}
		if err := s.React(t.Context(), r); err != nil {
			t.Error(err)
		}
		if at := position(t, s); at != 4 || s.Visible() != 4 || calls != 4 && calls != 0 {
			t.Errorf("saved at %d of %d, after %d calls", at, s.Visible(), calls)
		}
		closeTest(t, s)
	}
}

// TestReactionConflict lets a batch expect what another append makes untrue. The handler is called again and then decides on
// what is there.
func TestReactionConflict(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0, 1, 2)
	calls := 0
	r := Reaction{Name: "stock", Query: Query{Through: 3}, Handlers: []event.Handler[*Batch]{
		event.On(func(b *Batch, e Event, p ordered) error {
			page, err := s.Page(Query{Entity: "stock"})
			if err != nil {
				return err
			}
			if calls++; calls == 2 {
				mustCommit(t, s, raw("stock", "meddled"))
			}
			expect := Empty()
			if n := len(page.Events); n > 0 {
				expect = AtClock(page.Events[n-1].Clock)
			}
			b.Propose(Proposal{At: At("stock", "s"), Payload: shipped{p.Number, 1, 0}, Expect: expect})
			return nil
		})}}
	if err := s.React(t.Context(), r); err != nil {
		t.Error(err)
	}
	if page, err := s.Page(Query{Entity: "stock"}); err != nil || len(page.Events) != 4 || calls != 4 {
		t.Errorf("%d events after %d calls, %v", len(page.Events), calls, err)
	}
}

// TestReactionThrough ends at Through, whether or not something is selected there, and ends at once when run again.
func TestReactionThrough(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	ended := make(chan error)
	r := shipping(nil)
	r.Query = Query{Prefix: "order", Through: 20}
	go func() { ended <- s.React(t.Context(), r) }()
	order(t, s, 0, 1, 2)
	for range 40 {
		mustCommit(t, s, raw("noise", "x"))
	}
	order(t, s, 3)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if answered, _, err := checkAnswers(s); err != nil || answered != 3 {
		t.Errorf("%d answers, %v", answered, err)
	}
	if err := s.React(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// TestReactionCancelled cancels in the middle of a page, with the handler of the fifth order. That one is answered and saved,
// and no other.
func TestReactionCancelled(t *testing.T) {
	dir := memoryDir(t)
	s := openTest(t, dir, nil)
	order(t, s, 0, 1, 2, 3, 4, 5, 6, 7)
	ctx, cancel := context.WithCancelCause(t.Context())
	calls := map[Seq]int{}
	if err := s.React(ctx, shipping(func(e *Event, _ ordered) error {
		if calls[e.Seq]++; e.Seq == 5 {
			cancel(errAnswered)
		}
		return nil
	})); err != errAnswered {
		t.Error(err)
	}
	if err := s.React(ctx, shipping(func(e *Event, _ ordered) error { calls[e.Seq]++; return nil })); err != errAnswered {
		t.Error(err)
	}
	closeTest(t, s)
	s = openTest(t, dir, nil)
	if at := position(t, s); at != 5 || len(calls) != 5 {
		t.Errorf("saved at %d, called for %v", at, calls)
	}
	if err := answerAll(s, func(e *Event, _ ordered) error { calls[e.Seq]++; return nil }); err != nil {
		t.Fatal(err)
	}
	mustAnswerAll(t, s)
	for seq, n := range calls {
		if n != 1 {
			t.Errorf("%d calls for %d", n, seq)
		}
	}
}

// A repair ends the log in the middle of the answers, behind the orders whose position is saved. The orders whose answers are
// lost are answered again, and no others; also if the reaction began behind the first orders, whose turn never comes.
func TestReactionAfterRepair(t *testing.T) {
	for _, tt := range []struct {
		begins          Seq
		store, proposal Durability
	}{{0, 0, 0}, {3, 0, 0}, {0, Durable, Written}, {0, Written, Written}, {0, Written, 0}} {
		begins := tt.begins
		t.Run(fmt.Sprintf("begins=%d,%v,%v", begins, tt.store, tt.proposal), func(t *testing.T) {
			dir := t.TempDir()
			opts := &Options{Durability: tt.store}
			s := openTest(t, dir, opts)
			order(t, s, 0, 1, 2, 3, 4, 5)
			calls := map[Seq]int{}
			react := func() {
				t.Helper()
				last := order(t, s, -1)[0].Seq
				ctx, cancel := context.WithCancelCause(t.Context())
				r := shippingAt(tt.proposal, func(e *Event, _ ordered) error {
					if calls[e.Seq]++; e.Seq == last {
						cancel(errAnswered)
					}
					return nil
				})
				r.Query.After = begins
				if err := s.React(ctx, r); err != errAnswered {
					t.Fatal(err)
				}
			}
			react()
			closeTest(t, s)
			cutLog(t, dir)
			s = openTest(t, dir, opts)
			if at := position(t, s); at != 7 {
				t.Errorf("saved at %d", at)
			}
			begins += 100 // an After means nothing to a reaction that is there
			react()
			want := map[Seq]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 2, s.Visible() - 4: 1}
			if begins > 100 {
				delete(want, 1)
				delete(want, 2)
				delete(want, 3)
			} else {
				mustAnswerAll(t, s)
			}
			if !maps.Equal(calls, want) {
				t.Errorf("calls by event: %v, not %v", calls, want)
			}
		})
	}
}

// The event at the position itself is lost, and with it answers behind it. A cursor cannot go on from there, but a reaction can
// begin again: even where the log now ends before where it began.
func TestReactionAfterItsPosition(t *testing.T) {
	for _, begins := range []Seq{0, 2, 3} {
		t.Run(fmt.Sprint("begins=", begins), func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir, nil)
			order(t, s, 0, 1, 2)
			r := shipping(nil)
			r.Query.After = begins
			c, err := s.Cursor(r.Name, r.Query)
			if err == nil {
				err = errors.Join(c.Save(3), c.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			closeTest(t, s)
			cutLog(t, dir) // 3 is a record of it now
			s = openTest(t, dir, nil)
			if _, err := s.Cursor(r.Name, r.Query); !errors.Is(err, ErrCorrupt) {
				t.Errorf("a cursor: %v", err)
			}
			if err := answerAll(s, nil); err != nil {
				t.Fatal(err)
			}
			var answered []int
			for e, err := range event.Each[shipped](s.Query(Query{})) {
				if err != nil {
					t.Fatal(err)
				}
				answered = append(answered, e.Value.Number)
			}
			want := []int{0, 0, 1, 1, -1, -1} // the last is that of answerAll
			if begins > 0 {
				want = want[4:]
			}
			if !slices.Equal(answered, want) {
				t.Errorf("answered are %v, not %v", answered, want)
			}
		})
	}
}

// A log that is cut before a reaction began, and grows beyond that before the reaction runs again: what follows the repair is
// answered, however often the reaction runs and whatever is cut off then, wherever the repair was killed and whatever the
// clock says.
func TestReactionCutBeforeItsBeginning(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour} {
		for name, cut := range map[string]func(*testing.T, string){"repaired": cutLog, "repaired but for the record": cutLogOnly} {
			t.Run(fmt.Sprint(name, ", clock ahead by ", ahead), func(t *testing.T) {
				dir := t.TempDir()
				s := begunBehindSix(t, dir, &Options{Clock: func() time.Time { return time.Now().Add(ahead) }})
				again := func(numbers ...int) {
					t.Helper()
					closeTest(t, s)
					cut(t, dir)
					s = openTest(t, dir, nil)
					order(t, s, numbers...)
					if err := answerAll(s, nil); err != nil {
						t.Fatal(err)
					}
					for n, times := range ordersAsked(t, s) {
						if due := min(times, 1); due != answersTo(t, s, n) && n != 0 {
							t.Errorf("order %d: %d answers", n, answersTo(t, s, n))
						}
					}
					if got := answersTo(t, s, 0); got != 0 {
						t.Errorf("order 0, of before the reaction: %d answers", got)
					}
				}
				again(20, 21, 22, 23, 24, 25, 26)
				again(30)
				again()
			})
		}
	}
}

// A reaction that began in a log which is no more, and no repair says where the two part, cannot begin again.
func TestReactionOfAnotherLog(t *testing.T) {
	dir := t.TempDir()
	closeTest(t, begunBehindSix(t, dir, nil))
	state, aside := filepath.Join(dir, stateFile), filepath.Join(t.TempDir(), stateFile)
	if err := os.Rename(state, aside); err != nil {
		t.Fatal(err)
	}
	cutLog(t, dir)
	if err := os.Rename(aside, state); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, dir, nil)
	order(t, s, 20, 21, 22, 23, 24, 25, 26)
	if err := answerAll(s, nil); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "where it began") {
		t.Errorf("%v, want an ErrCorrupt that says where it began", err)
	}
	if n := answersTo(t, s, 20); n != 0 {
		t.Errorf("%d answers", n)
	}
}

// begunBehindSix opens a store with an order 0, five orders in one commit, and the position of a reaction that began behind them.
func begunBehindSix(t *testing.T, dir string, opts *Options) *Store {
	t.Helper()
	s := openTest(t, dir, opts)
	order(t, s, 0)
	if _, err := s.Commit(orders(1, 2, 3, 4, 5)...); err != nil {
		t.Fatal(err)
	}
	r := shipping(nil)
	r.Query.After = 6
	c, err := s.Cursor(r.Name, r.Query)
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// orders are proposals of orders with these numbers.
func orders(numbers ...int) (ps []Proposal) {
	for _, n := range numbers {
		ps = append(ps, Proposal{At: At("order:many", "shop"), Payload: ordered{n}})
	}
	return ps
}

// ordersAsked counts the orders that there are of each number, apart from those that end answerAll.
func ordersAsked(t *testing.T, s *Store) map[int]int {
	t.Helper()
	n := map[int]int{}
	for e, err := range event.Each[ordered](s.Query(Query{})) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Value.Number >= 0 {
			n[e.Value.Number]++
		}
	}
	return n
}

// answersTo counts the answers to an order.
func answersTo(t *testing.T, s *Store, number int) (n int) {
	t.Helper()
	for e, err := range event.Each[shipped](s.Query(Query{})) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Value.Number == number && e.Value.Part == 1 {
			n++
		}
	}
	return n
}

// A cursor that is saved by hand does not hide from its reaction that answers were lost.
func TestReactionCutBehindACursor(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	order(t, s, 0, 1)
	if err := answerAll(s, nil); err != nil {
		t.Fatal(err)
	}
	closeTest(t, s)
	cutLog(t, dir)
	s = openTest(t, dir, nil)
	c, err := s.Cursor("shipping", Query{})
	if err == nil {
		err = errors.Join(c.Save(c.Position()), c.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := answerAll(s, nil); err != nil {
		t.Fatal(err)
	}
	mustAnswerAll(t, s)
}

// cutLog damages the last commit of a closed store and repairs that, so that it is gone.
func cutLog(t *testing.T, dir string) {
	t.Helper()
	damageLast(t, dir)
	if r, err := Repair(t.Context(), dir, func(*Diagnosis) bool { return true }, nil); err != nil || !r.Done || len(r.Recorded) != 1 {
		t.Fatal(err)
	}
}

// cutLogOnly is cutLog with a repair that is killed before it records that.
func cutLogOnly(t *testing.T, dir string) {
	t.Helper()
	damageLast(t, dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r := newRepairer(root, dir, func(*Diagnosis) bool { return true })
	if _, err := r.locked(t.Context(), nil); err != nil || !r.report.Done {
		t.Fatal(err)
	}
}

// damageLast damages the last commit of a closed store.
func damageLast(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	name := files[len(files)-1]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-20] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A cause of cancelling that Go cannot compare is returned like another.
func TestReactionCause(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	for _, orders := range []int{0, 1} {
		for range orders {
			order(t, s, 1)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(uncomparable{"stop", "now"})
		var got uncomparable
		if err := s.React(ctx, shipping(nil)); !errors.As(err, &got) || len(got) != 2 {
			t.Errorf("%v", err)
		}
	}
}

type uncomparable []string

func (u uncomparable) Error() string { return strings.Join(u, " ") }

// An answer has as many events as a commit may have.
func TestReactionBatchTooLarge(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 1)
	r := Reaction{Name: "shipping", Restarts: -1, Handlers: []event.Handler[*Batch]{event.On(func(b *Batch, e Event, p ordered) error {
		for range MaxBatch + 1 {
			b.Append(At("parcel", "out"), shipped{})
		}
		return nil
	})}}
	var failed *ReactionError
	if err := s.React(t.Context(), r); !errors.As(err, &failed) || !errors.Is(err, ErrTooLarge) || s.Visible() != 1 {
		t.Errorf("%v, and %d events", err, s.Visible())
	}
}

// TestReactionClose closes the store while a reaction waits, and at each of the steps of a reaction that handles events: from
// the handler, and from the outside while the handler runs. The reaction ends with ErrClosed and leaves nothing running.
func TestReactionClose(t *testing.T) {
	t.Run("waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := openSimulated(t, crashfs.New(), Options{})
			order(t, s, 0)
			ended := make(chan error)
			go func() { ended <- s.React(t.Context(), shipping(nil)) }()
			synctest.Wait()
			closeTest(t, s)
			if err := <-ended; err != ErrClosed {
				t.Error(err)
			}
		})
	})
	for _, puts := range []int{0, 1} {
		for _, fails := range []error{nil, errHandler} {
			for at := Seq(1); at <= 3; at++ {
				for _, restarts := range []int{-1, 0} {
					t.Run(fmt.Sprintf("handling %d, put %d, failing %v, %d restarts", at, puts, fails, restarts), func(t *testing.T) {
						closeInHandler(t, puts, fails, at, restarts)
					})
				}
			}
		}
	}
}

func closeInHandler(t *testing.T, puts int, fails error, at Seq, restarts int) {
	dir := memoryDir(t)
	s := openTest(t, dir, nil)
	order(t, s, 0, 1, 2)
	r := Reaction{Name: "shipping", Restarts: restarts, Handlers: []event.Handler[*Batch]{
		event.On(func(b *Batch, e Event, p ordered) error {
			for range puts {
				b.Append(At("parcel:"+e.Entity, "out"), shipped{p.Number, 1, 0})
			}
			if e.Seq != at {
				return nil
			}
			closeTest(t, s)
			return fails
		})}}
	err := s.React(t.Context(), r)
	if err != ErrClosed && (fails == nil || restarts >= 0 || !errors.Is(err, fails)) {
		t.Errorf("ended with %v", err)
	}
	s = openTest(t, dir, nil)
	if err := answerAll(s, nil); err != nil {
		t.Error(err)
	}
}

// TestReactionCloseBetween closes the store after events were read and before the first of them is looked at.
func TestReactionCloseBetween(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0)
	e, err := s.At(1)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.newWorker(shipping(nil))
	if err != nil {
		t.Fatal(err)
	}
	closeTest(t, s)
	if err := w.react(&e); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestReactionCloseBeside closes the store from another goroutine while a reaction is at work.
func TestReactionCloseBeside(t *testing.T) {
	for round := range 50 {
		s := openTest(t, memoryDir(t), &Options{Durability: Written})
		for n := range 30 {
			order(t, s, n)
		}
		ended, there := make(chan error), make(chan bool)
		go func() {
			ended <- s.React(t.Context(), shipping(func(e *Event, _ ordered) error {
				if e.Seq == 5 {
					close(there)
				}
				return nil
			}))
		}()
		<-there
		for range round * 20 {
			runtime.Gosched()
		}
		closeTest(t, s)
		if err := <-ended; err != ErrClosed {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// TestReactionLag appends what a reaction does not select. It falls behind by nothing.
func TestReactionLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSimulated(t, crashfs.New(), Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		r := shipping(nil)
		r.Query = Query{Prefix: "order"}
		go func() { ended <- s.React(ctx, r) }()
		for range 5 {
			for range 100 {
				mustCommit(t, s, raw("noise", "x"))
			}
			synctest.Wait()
			st, err := s.Stats()
			if err != nil || len(st.Cursors) != 1 || st.Cursors[0].Lag != 0 || st.Cursors[0].Position != s.Visible() || !st.Cursors[0].Open {
				t.Errorf("%+v, %v", st.Cursors, err)
			}
			order(t, s, 1)
		}
		cancel()
		<-ended
	})
}

// TestReactionUsesStore calls from a handler what a program may want to.
func TestReactionUsesStore(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0, 1, 2)
	calls := 0
	if err := answerAll(s, func(e *Event, p ordered) error {
		calls++
		r, err := s.Append(At("audit", "a"), archived{e.Seq})
		got, err2 := s.Get(e.ID)
		mine, err3 := s.Get(r.ID)
		st, err4 := s.Stats()
		_, err5 := s.Verify(t.Context(), nil)
		c, err6 := s.Cursor("another", Query{})
		if err := errors.Join(err, err2, err3, err4, err5, err6); err != nil {
			return err
		}
		if got.Hash != e.Hash || mine.Seq != r.Seq || len(st.Cursors) == 0 || !st.Cursors[len(st.Cursors)-1].Open {
			t.Errorf("event %d is %d, own %d is %d, cursors %+v", e.Seq, got.Seq, r.Seq, mine.Seq, st.Cursors)
		}
		if _, err := s.Cursor("shipping", Query{}); !errors.Is(err, ErrCursorOpen) {
			t.Error(err)
		}
		if err := s.React(t.Context(), shipping(nil)); !errors.Is(err, ErrCursorOpen) {
			t.Error(err)
		}
		s.SaveSnapshot("a", []byte("b"))
		return errors.Join(c.Save(e.Seq), c.Close(), s.Sync(), s.Wait(t.Context(), WatermarkDurable, r.Seq))
	}); err != nil {
		t.Fatal(err)
	}
	if n := mustAnswerAll(t, s); n != 4 || calls != 4 {
		t.Errorf("%d orders, %d calls", n, calls)
	}
}

// TestReactionForgotten runs a reaction whose position was deleted, or is an older one again. What was answered is not answered
// again, nor is the handler called.
func TestReactionForgotten(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "store")
	s := openTest(t, dir, nil)
	order(t, s, 0, 1, 2)
	if err := answerAll(s, nil); err != nil {
		t.Fatal(err)
	}
	closeTest(t, s)
	older := readFiles(t, dir)[stateFile]
	for round := range 4 {
		s := openTest(t, dir, nil)
		if round%2 == 0 {
			if err := s.DeleteCursor("shipping"); err != nil {
				t.Fatal(err)
			}
		}
		order(t, s, 10+round)
		calls := 0
		if err := answerAll(s, func(*Event, ordered) error { calls++; return nil }); err != nil || calls != 2 {
			t.Errorf("%d calls, %v", calls, err)
		}
		if n := mustAnswerAll(t, s); n != 4+2*(round+1) {
			t.Errorf("%d orders", n)
		}
		closeTest(t, s)
		if err := os.WriteFile(filepath.Join(dir, stateFile), older, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReactionRefused starts reactions that cannot be. Nothing keeps their names.
func TestReactionRefused(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	h := shipping(nil).Handlers
	for what, r := range map[string]Reaction{
		"no handlers":               {Name: "shipping"},
		"two handlers for one kind": {Name: "shipping", Handlers: append(slices.Clone(h), h...)},
		"no name":                   {Handlers: h},
		"reverse":                   {Name: "shipping", Handlers: h, Query: Query{Reverse: true}},
		"limit":                     {Name: "shipping", Handlers: h, Query: Query{Limit: 1}},
	} {
		if err := s.React(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := answerAll(s, nil); err != nil {
		t.Error(err)
	}
}

// TestReactionPropose puts proposals with all they can have into a batch. The batch sets the key, and cause and correlation
// where there are none.
func TestReactionPropose(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	first := order(t, s, 0, 1)
	r := Reaction{Name: "all", Query: Query{After: 1, Through: 2}, Handlers: []event.Handler[*Batch]{
		event.On(func(b *Batch, e Event, p ordered) error {
			b.Propose(Proposal{At: At("a", "s"), Payload: paid{1}, Lane: 3, Key: "mine", Durability: Written, Extensions: map[string][]byte{"a.b": {1}}})
			b.Propose(Proposal{At: At("a", "s"), Payload: paid{2}, Cause: CauseID(first[0].ID), Correlation: first[0].ID})
			return nil
		})}}
	if err := s.React(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	a, err := s.At(3)
	b, err2 := s.At(4)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if a.Lane != 3 || a.Causation != first[1].ID || a.Correlation != first[1].ID || a.Key == "mine" || string(a.Extensions["a.b"]) != "\x01" {
		t.Errorf("%+v", a.Header)
	}
	if b.Causation != first[0].ID || b.Correlation != first[0].ID || len(b.Key) != len(a.Key) || b.Key == a.Key {
		t.Errorf("%+v", b.Header)
	}
}

// TestReactionStoreFails breaks the store under a reaction: its log, and its state file when a handler has failed. There is no
// restart, and the error is that of the disk.
func TestReactionStoreFails(t *testing.T) {
	for name, fails := range map[string]error{"log/": nil, stateFile: errHandler} {
		t.Run(name, func(t *testing.T) {
			l := newLife(crashOptions(Durable))
			if err := errors.Join(l.openStore(), l.orders(0, 3)); err != nil {
				t.Fatal(err)
			}
			defer l.end()
			calls := 0
			err := l.s.React(t.Context(), shipping(func(e *Event, _ ordered) error {
				if calls++; e.Seq < 3 {
					return nil
				}
				l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
					if strings.HasPrefix(op.Name, name) {
						f = crashfs.Fault{Effect: crashfs.None, Err: syscall.EIO}
					}
					return f
				})
				return fails
			}))
			if !errors.Is(err, syscall.EIO) || fails != nil && !errors.Is(err, fails) || calls != 3 {
				t.Errorf("%d calls, %v", calls, err)
			}
			l.setFault(nil)
		})
	}
}

// TestReactionFromNow begins a reaction behind what is there, stops it before anything was selected, and checks that it goes on
// from there and not from where the events then end; and that what lies before stays unanswered.
func TestReactionFromNow(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	order(t, s, 0, 1)
	r := shipping(nil)
	r.Query = Query{Prefix: "order", After: s.Visible()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.React(ctx, r); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	order(t, s, 2)
	r.Query.After = s.Visible() // which is where a new one would begin
	r.Query.Through = 0
	ctx, cancel = context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.React(ctx, r) }()
	if err := s.Wait(t.Context(), WatermarkVisible, 5); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for p, err := range event.Each[shipped](s.Query(Query{Prefix: "parcel"})) {
		if err != nil || p.Value.Number != 2 {
			t.Errorf("order %d is answered, %v", p.Value.Number, err)
		}
	}
	for name, bad := range map[string]Reaction{
		"behind the end":    {Name: "x", Handlers: r.Handlers, Query: Query{After: s.Visible() + 1}},
		"at the very end":   {Name: "x", Handlers: r.Handlers, Query: Query{After: 1<<64 - 1}},
		"a negative window": {Name: "x", Handlers: r.Handlers, RestartWithin: -1},
		"many restarts":     {Name: "x", Handlers: r.Handlers, Restarts: 1001},
	} {
		if err := s.React(t.Context(), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReservedKeys checks that nobody can take the key under which a reaction will answer.
func TestReservedKeys(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	rs := order(t, s, 0)
	b := Batch{trigger: &Event{Header: Header{ID: rs[0].ID}}, reaction: "shipping"}
	for _, key := range []string{b.key(0), "batpak.", "batpak.repair/x"} {
		if _, err := s.Commit(Proposal{At: At("a", "b"), Payload: ordered{1}, Key: key}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := answerAll(s, nil); err != nil {
		t.Error(err)
	}
}
