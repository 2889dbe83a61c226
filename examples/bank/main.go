// Bank keeps accounts whose money nobody can overdraw, whatever the tellers do at the same time: the balance is folded from
// the account's events, and a gate of the store looks at it at the moment of each append.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
	"github.com/batpak/batpak/projection"
)

// AccountID names an account. An id of another sort does not fit where an account's is wanted.
type AccountID = event.EntityID[account]

type account struct{}

func (account) EntityPrefix() string { return "account" }

// The events of an account.
type (
	Opened struct {
		Owner string `cbor:"owner"`
	}
	Deposited struct {
		Cents int64 `cbor:"cents"`
	}
	Withdrawn struct {
		Cents int64 `cbor:"cents"`
	}
)

func (Opened) EventType() event.Type { return event.Type{Kind: 0x1001, Name: "opened", Version: 1} }
func (Deposited) EventType() event.Type {
	return event.Type{Kind: 0x1002, Name: "deposited", Version: 1}
}
func (Withdrawn) EventType() event.Type {
	return event.Type{Kind: 0x1003, Name: "withdrawn", Version: 1}
}

// Account is what an account's events come to.
type Account struct {
	Owner     string
	Cents     int64
	Movements int
}

// Balance folds the events of one account.
var Balance = projection.MustNew(projection.Spec[Account]{
	Name: "balance", Version: 1,
	Handlers: []projection.Handler[Account]{
		projection.On(func(a *Account, _ event.Event, p Opened) error { a.Owner = p.Owner; return nil }),
		projection.On(func(a *Account, _ event.Event, p Deposited) error { return a.move(p.Cents) }),
		projection.On(func(a *Account, _ event.Event, p Withdrawn) error { return a.move(-p.Cents) }),
	},
})

func (a *Account) move(cents int64) error {
	a.Cents += cents
	a.Movements++
	return nil
}

// Overdraft denies a withdrawal of more than is there. It runs at the commit point: nothing comes between the balance that it
// sees and the append.
var Overdraft = gates.Invariant("overdraft", Balance.Apply, func(a Account, e event.Event) *gates.Denial {
	w, err := event.Decode[Withdrawn](e)
	switch {
	case errors.Is(err, event.ErrKindMismatch):
		return nil // not a withdrawal
	case err != nil:
		return gates.Deny("UNREADABLE", "%v", err)
	case w.Cents > a.Cents:
		return gates.Deny("OVERDRAFT", "%d cents wanted, %d there", w.Cents, a.Cents).With("owner", a.Owner)
	}
	return nil
})

// Options opens a bank: no append gets around its gates, and what they deny is recorded.
func Options() (*batpak.Options, error) {
	types, err := event.NewRegistry(event.Register[Opened](), event.Register[Deposited](), event.Register[Withdrawn]())
	if err != nil {
		return nil, err
	}
	sums, err := gates.NewSet(
		gates.On("deposit", func(_ struct{}, _ event.Event, p Deposited) *gates.Denial { return positive(p.Cents) }),
		gates.On("withdrawal", func(_ struct{}, _ event.Event, p Withdrawn) *gates.Denial { return positive(p.Cents) }),
	)
	if err != nil {
		return nil, err
	}
	invariants, err := gates.NewSet(Overdraft)
	if err != nil {
		return nil, err
	}
	return &batpak.Options{Types: types, Gates: sums, CommitGates: invariants, RecordDenials: true}, nil
}

func positive(cents int64) *gates.Denial {
	if cents <= 0 {
		return gates.Deny("SUM", "%d cents", cents)
	}
	return nil
}

// A Teller is who asks for a withdrawal at the counter.
type Teller struct {
	Name  string
	Limit int64
}

// Counter is the way of the tellers: what is above their limit needs somebody's approval.
func Counter() (*gates.Pipeline[Teller], error) {
	limit := gates.On("limit", func(t Teller, _ event.Event, p Withdrawn) *gates.Denial {
		if p.Cents > t.Limit {
			return gates.Deny("LIMIT", "%s may pay %d cents", t.Name, t.Limit)
		}
		return nil
	})
	set, err := gates.NewSet(limit)
	if err != nil {
		return nil, err
	}
	return gates.NewPipeline("counter", set), nil
}

func main() {
	dir := append(os.Args[1:], "bank")[0]
	if err := run(dir); err != nil {
		log.Fatal(err)
	}
}

func run(dir string) (err error) {
	opts, err := Options()
	if err != nil {
		return err
	}
	store, err := batpak.Open(dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	id, err := event.EntityIDOf[account]("7")
	if err != nil {
		return err
	}
	_, err = store.Commit(
		batpak.Proposal{At: id.At("branch:1"), Payload: Opened{Owner: "Ada"}, Expect: batpak.Empty()},
		batpak.Proposal{At: id.At("branch:1"), Payload: Deposited{Cents: 1000}},
	)
	if err != nil && !errors.Is(err, batpak.ErrConflict) { // a conflict: it was opened the last time
		return err
	}
	if err := rush(store, id); err != nil {
		return err
	}
	return counter(store, id)
}

// rush has many withdraw at once, more than there is.
func rush(store *batpak.Store, id AccountID) error {
	var wg sync.WaitGroup
	results := make([]error, 32)
	for i := range results {
		wg.Go(func() { _, results[i] = store.Append(id.At("machine"), Withdrawn{Cents: 100}) })
	}
	wg.Wait()
	paid := 0
	for _, err := range results {
		switch {
		case err == nil:
			paid++
		case !errors.Is(err, batpak.ErrDenied):
			return err
		}
	}
	balance, err := projection.Get(store, Balance, id.String(), projection.Consistent)
	if err != nil {
		return err
	}
	fmt.Printf("%d of %d withdrawals paid, %d cents left\n", paid, len(results), balance.Value.Cents)
	return nil
}

// counter has a teller pay more than she may, and somebody approve it.
func counter(store *batpak.Store, id AccountID) error {
	if _, err := store.Append(id.At("branch:1"), Deposited{Cents: 5000}); err != nil {
		return err
	}
	pipeline, err := Counter()
	if err != nil {
		return err
	}
	grace := Teller{"Grace", 1000}
	wish := batpak.Proposal{At: id.At("branch:1"), Payload: Withdrawn{Cents: 5000}}
	_, err = pipeline.Evaluate(grace, wish)
	var denial *gates.Denial
	if !errors.As(err, &denial) {
		return fmt.Errorf("no limit held: %w", err)
	}
	fmt.Println("denied:", denial)
	if _, err := store.RecordDenial(wish, denial); err != nil {
		return err
	}
	permit, err := pipeline.Bypass(wish, gates.Bypass{Name: "large sum", Justification: "the account is closed", ApprovedBy: "the manager"})
	if err != nil {
		return err
	}
	paid, err := gates.Commit(permit, store.Commit)
	if err != nil {
		return err
	}
	fmt.Println("paid, as", paid.Audit.Bypass.ApprovedBy, "approved")
	return nil
}
