package gates_test

import (
	"fmt"
	"log"
	"os"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// tempStore returns a store in a new directory, and what removes both.
func tempStore() (*batpak.Store, func()) {
	dir, err := os.MkdirTemp("", "gates")
	if err != nil {
		log.Fatal(err)
	}
	store, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	return store, func() {
		store.Close()
		os.RemoveAll(dir)
	}
}

// A Transfer is what the gates of the example judge.
type Transfer struct {
	To     string `cbor:"to"`
	Amount int    `cbor:"amount"`
}

func (Transfer) EventType() event.Type {
	return event.Type{Kind: 0xF0A1, Name: "transfer", Version: 1}
}

// A Clerk is who asks.
type Clerk struct {
	Name  string
	Limit int
}

// Gates judge a proposal. What they permit is what is appended, once.
func Example() {
	store, done := tempStore()
	defer done()
	set, err := gates.NewSet(
		gates.Gate[Clerk]{Name: "known", Check: func(c Clerk, e event.Event) *gates.Denial {
			if c.Name == "" {
				return gates.Deny("ANONYMOUS", "nobody may write to %s", e.Entity)
			}
			return nil
		}},
		gates.On("limit", func(c Clerk, e event.Event, t Transfer) *gates.Denial {
			if t.Amount > c.Limit {
				return gates.Deny("OVER_LIMIT", "%d is too much for %s", t.Amount, c.Name).With("limit", c.Limit)
			}
			return nil
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	ada := Clerk{Name: "ada", Limit: 100}

	_, err = set.Evaluate(ada, event.Proposal{At: event.At("account:7", "bank"), Payload: Transfer{"account:9", 500}})
	fmt.Println(err)

	permit, err := set.Evaluate(ada, event.Proposal{At: event.At("account:7", "bank"), Payload: Transfer{"account:9", 50}})
	if err != nil {
		log.Fatal(err)
	}
	committed, err := gates.Commit(permit, store.Commit)
	fmt.Println(committed.Receipt.Seq, committed.Audit.Gates, err)

	_, err = gates.Commit(permit, store.Commit)
	fmt.Println(err)
	// Output:
	// [limit] 500 is too much for ada
	// 1 [known limit] <nil>
	// permit was used before: invalid
}

// The states of a ticket, and the events that lead from one to the next.
type (
	Open   struct{}
	Held   struct{}
	Closed struct{}

	Hold struct {
		Why string `cbor:"why"`
	}
	Close struct{}
)

func (Hold) EventType() event.Type { return event.Type{Kind: 0xF0B1, Name: "hold", Version: 1} }

func (Close) EventType() event.Type { return event.Type{Kind: 0xF0B2, Name: "close", Version: 1} }

var (
	holdIt  = gates.NewTransition[Open, Held, Hold]()
	closeIt = gates.NewTransition[Held, Closed, Close]()
)

// A ticket is open until it is held, and held until it is closed. Closing one that is open does not compile.
func ExampleMachine() {
	store, done := tempStore()
	defer done()
	tickets, err := gates.NewMachine[Open](holdIt, closeIt)
	if err != nil {
		log.Fatal(err)
	}
	at := event.At("ticket:1", "support")
	held, receipt, err := gates.Apply(store.Commit, holdIt, tickets.Begin(at), Hold{"waiting for a reply"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("held at clock", receipt.Clock)
	if _, _, err := gates.Apply(store.Commit, closeIt, held, Close{}); err != nil {
		log.Fatal(err)
	}

	// Later, and elsewhere: the events say where the ticket is.
	stored := store.Query(event.Query{Entity: "ticket:1"})
	name, clock, err := tickets.StateOf(stored)
	fmt.Println(name, clock, err)
	_, err = gates.Resume[Held](tickets, at, stored)
	fmt.Println(err)
	// Output:
	// held at clock 1
	// Closed 2 <nil>
	// stream is in state Closed, not Held
}

// Work of several parts has a batch of outcomes, on which one acts as on a single one.
func ExampleOutcome() {
	parts := gates.Batch(
		gates.Ok(20),
		gates.Err[int](&gates.OutcomeError{Kind: gates.ErrorNotFound, Message: "no price"}),
		gates.Ok(22),
	)
	doubled := gates.Map(parts, func(n int) int { return 2 * n })
	_, err := gates.JoinAll(doubled).Result()
	fmt.Println(err)

	repaired := doubled.OrElse(func(*gates.OutcomeError) gates.Outcome[int] { return gates.Ok(0) })
	prices, err := gates.JoinAll(repaired).Result()
	fmt.Println(prices, err)
	// Output:
	// not_found: no price
	// [40 0 44] <nil>
}
