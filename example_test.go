package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/batpak/batpak"
)

type PlayerMoved struct {
	X, Y int
}

func (PlayerMoved) EventType() batpak.Type {
	return batpak.Type{Kind: 0xF001, Name: "player moved", Version: 1}
}

// The jobs of a first day: open, append, read a page, one entity, one event, its ancestry, check a receipt, verify, close.
func Example() {
	dir, _ := os.MkdirTemp("", "batpak")
	defer os.RemoveAll(dir)

	store, err := batpak.Open(dir, nil) // nil: durable and verified
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	at := batpak.At("player:42", "room:dungeon")
	var last batpak.Receipt
	for x := range 3 {
		if last, err = store.Append(at, PlayerMoved{X: x * 10}); err != nil {
			log.Fatal(err)
		}
	}
	for e, err := range store.Query(batpak.Query{Prefix: "player", Scope: "room:dungeon"}) {
		if err != nil {
			log.Fatal(err)
		}
		moved, err := batpak.Decode[PlayerMoved](e)
		fmt.Println(e.Seq, e.Entity, moved, err)
	}
	walk, _ := store.Walk(last.ID, 50)
	fmt.Println(len(walk.Events), "events back to", walk.End)
	fmt.Println("receipt:", store.VerifyReceipt(last).Status)
	report, _ := store.Verify(context.Background(), nil)
	fmt.Println("verified:", report.Events, "events, fine:", report.OK())
	// Output:
	// 1 player:42 {0 0} <nil>
	// 2 player:42 {10 0} <nil>
	// 3 player:42 {20 0} <nil>
	// 3 events back to genesis
	// receipt: unsigned accepted
	// verified: 3 events, fine: true
}

// open opens a store in a new directory, which close removes.
func open(opts *batpak.Options) (store *batpak.Store, close func()) {
	dir, err := os.MkdirTemp("", "batpak")
	if err == nil {
		store, err = batpak.Open(dir, opts)
	}
	if err != nil {
		log.Fatal(err)
	}
	return store, func() {
		store.Close()
		os.RemoveAll(dir)
	}
}

// Two events of two streams are stored together or not at all, and only if the account is as it was read.
func ExampleStore_Commit() {
	store, done := open(nil)
	defer done()
	opened, _ := store.Commit(batpak.Proposal{At: batpak.At("account:7", "bank"), Kind: 0x1001, Data: []byte("opened"), Expect: batpak.Empty()})

	withdraw := []batpak.Proposal{
		{At: batpak.At("account:7", "bank"), Kind: 0x1002, Data: []byte("-50"), Expect: batpak.AtClock(opened[0].Clock)},
		{At: batpak.At("cash:1", "bank"), Kind: 0x1003, Data: []byte("50"), Cause: batpak.CauseItem(0)},
	}
	receipts, err := store.Commit(withdraw...)
	fmt.Println(len(receipts), err)

	_, err = store.Commit(withdraw...) // the account has moved on
	fmt.Println(errors.Is(err, batpak.ErrConflict), err)
	// Output:
	// 2 <nil>
	// true proposal 0: stream account:7/0 is at clock 2, not 1
}

// A request that may have been made before is made again with the same key.
func ExampleProposal_idempotency() {
	store, done := open(nil)
	defer done()
	order := batpak.Proposal{At: batpak.At("order:1", "shop"), Kind: 0x1001, Data: []byte("2 apples"), Key: "request-77"}
	first, _ := store.Commit(order)
	again, err := store.Commit(order)
	fmt.Println(first[0].ID == again[0].ID, err, store.Visible())

	order.Data = []byte("3 apples")
	_, err = store.Commit(order)
	fmt.Println(errors.Is(err, batpak.ErrIdempotencyMismatch))
	// Output:
	// true <nil> 1
	// true
}

// A decision holds only if nothing was said on the matter since it was made.
func ExampleIfNone() {
	store, done := open(nil)
	defer done()
	taken := batpak.Query{Kind: 0x1001, Scope: "username:ada"}
	register := func(user string, seen batpak.Seq) error {
		_, err := store.Commit(batpak.Proposal{At: batpak.At(user, "username:ada"), Kind: 0x1001, IfNone: &batpak.IfNone{Query: taken, After: seen}})
		return err
	}
	seen := store.Visible() // both look now, and find the name free
	fmt.Println(register("user:1", seen))
	fmt.Println(register("user:2", seen))
	// Output:
	// <nil>
	// proposal 0: event 1 matches what must not have happened
}

// Paging in commit order, as a consumer does that keeps its position.
func ExampleStore_page() {
	store, done := open(nil)
	defer done()
	for i := range 5 {
		store.Append(batpak.At("a", "b"), PlayerMoved{X: i})
	}
	for position := batpak.Seq(0); ; {
		page, err := store.Page(batpak.Query{After: position, Limit: 2})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(page.Events), page.Next, page.More)
		if position = page.Next; !page.More {
			break
		}
	}
	// Output:
	// 2 2 true
	// 2 4 true
	// 1 5 false
}

// Following sees what is there and then what comes, each event once.
func ExampleStore_follow() {
	store, done := open(nil)
	defer done()
	store.Append(batpak.At("a", "b"), PlayerMoved{X: 1})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for e, err := range store.Follow(ctx, batpak.Query{Entity: "a"}) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println("event", e.Seq)
		if e.Seq == 3 {
			cancel()
			continue
		}
		store.Append(batpak.At("a", "b"), PlayerMoved{X: 2})
	}
	// Output:
	// event 1
	// event 2
	// event 3
	// context canceled
}

// With Written, an append returns when the event would survive the end of the process; Sync and Wait do the rest.
func ExampleStore_Sync() {
	store, done := open(&batpak.Options{Durability: batpak.Written, SyncInterval: time.Hour})
	defer done()
	store.Append(batpak.At("a", "b"), PlayerMoved{})
	f := store.Frontier()
	fmt.Println(f.Visible, f.Durable)
	store.Sync()
	f = store.Frontier()
	fmt.Println(f.Visible, f.Durable)
	// Output:
	// 1 0
	// 1 1
}

// A cursor keeps its position from one run of the program to the next.
func ExampleStore_Cursor() {
	store, done := open(nil)
	defer done()
	for i := range 5 {
		store.Append(batpak.At("player:1", "room"), PlayerMoved{X: i})
	}
	for range 2 { // as two runs of the program would
		cursor, err := store.Cursor("billing", batpak.Query{Prefix: "player"})
		if err != nil {
			log.Fatal(err)
		}
		page, err := cursor.Page(3)
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range page.Events {
			fmt.Print("event ", e.Seq, "; ")
		}
		if err := cursor.Save(page.Next); err != nil {
			log.Fatal(err)
		}
		fmt.Println("saved at", cursor.Position())
		cursor.Close()
	}
	// Output:
	// event 1; event 2; event 3; saved at 3
	// event 4; event 5; saved at 5
}
