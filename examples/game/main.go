// Game is a first program: what a day with a store is made of.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/projection"
)

type Moved struct{ X, Y int }

func (Moved) EventType() batpak.Type { return batpak.Type{Kind: 0xF001, Name: "moved", Version: 1} }

type Place struct{ X, Y, Moves int }

var Where = projection.MustNew(projection.Spec[Place]{Name: "where", Version: 1, Handlers: []projection.Handler[Place]{
	projection.On(func(p *Place, _ batpak.Event, m Moved) error {
		p.X, p.Y, p.Moves = p.X+m.X, p.Y+m.Y, p.Moves+1
		return nil
	}),
}})

func main() {
	dir := append(os.Args[1:], "game")[0]
	store := must(batpak.Open(dir, nil)) // nil: durable and verified

	receipt := must(store.Append(batpak.At("player:42", "room:dungeon"), Moved{X: 10, Y: 2}))
	must(store.Append(batpak.At("player:42", "room:attic"), Moved{Y: 5}))

	page := must(store.Page(batpak.Query{Prefix: "player", Limit: 500})) // and from page.Next on, while page.More
	for _, e := range page.Events {
		fmt.Println(e.Seq, e.Entity, e.Scope, must(batpak.Decode[Moved](e)))
	}
	first := must(store.Get(receipt.ID))
	walk := must(store.Walk(page.Events[len(page.Events)-1].ID, 50)) // ancestry, newest first, every hash checked
	fmt.Println(len(walk.Events), "events back to", first.Scope, "and the stream's", walk.End)

	fmt.Println("receipt:", store.VerifyReceipt(receipt).Status)

	where := must(projection.Get(store, Where, "player:42", projection.Consistent))
	fmt.Printf("%+v after event %d\n", where.Value, where.Seq)

	if err := store.Close(); err != nil {
		log.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
