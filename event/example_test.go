package event_test

import (
	"fmt"

	"github.com/batpak/batpak/event"
)

// Price is a price in cents. Its first version had whole euros.
type Price struct {
	Cents int64 `cbor:"cents"`
}

func (Price) EventType() event.Type { return event.Type{Kind: 0x1001, Name: "price", Version: 2} }

func (Price) Upcasts() []event.Step {
	type v1 struct {
		Euros int64 `cbor:"euros"`
	}
	return []event.Step{
		event.Upcast(1, func(old v1) (Price, error) { return Price{Cents: old.Euros * 100}, nil }),
	}
}

// What an older program wrote is read as the type of now. A registry refuses types that have no way from each version.
func ExampleUpcast() {
	stored, _ := event.Marshal(map[string]int{"euros": 3})
	e := event.Event{Header: event.Header{Kind: 0x1001, PayloadVersion: 1}, Payload: stored}
	fmt.Println(event.Decode[Price](e))
	_, err := event.NewRegistry(event.Register[Price]())
	fmt.Println(err)
	// Output:
	// {300} <nil>
	// <nil>
}

type Stock struct {
	Left int `cbor:"left"`
}

func (Stock) EventType() event.Type { return event.Type{Kind: 0x1002, Name: "stock", Version: 1} }

// A router hands each event to the handler of its type.
func ExampleRouter() {
	router, err := event.NewRouter(
		event.On(func(log *[]string, e event.Event, p Price) error {
			*log = append(*log, fmt.Sprint(e.Entity, " costs ", p.Cents))
			return nil
		}),
		event.On(func(log *[]string, e event.Event, p Stock) error {
			*log = append(*log, fmt.Sprint(e.Entity, ": ", p.Left, " left"))
			return nil
		}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	var log []string
	stored, _ := event.Marshal(Stock{7})
	router.Route(&log, event.Event{Header: event.Header{Entity: "apple", Kind: 0x1002, PayloadVersion: 1}, Payload: stored})
	fmt.Println(log)
	// Output:
	// [apple: 7 left]
}

type customer struct{}

func (customer) EntityPrefix() string { return "customer" }

// CustomerID does not fit where the id of another sort is wanted.
type CustomerID = event.EntityID[customer]

func ExampleEntityID() {
	var id CustomerID
	id, err := event.EntityIDOf[customer]("ada")
	fmt.Println(id, id.At("shop"), err)
	_, err = event.ParseEntityID[customer]("order:7")
	fmt.Println(err)
	// Output:
	// customer:ada customer:ada@shop <nil>
	// entity "order:7" is not "customer:" and a key: invalid
}

// The same operation has the same key, whoever derives it.
func ExampleIdempotencyKey() {
	fmt.Println(event.IdempotencyKey("invoice", "customer:ada", "2026-11"))
	fmt.Println(event.IdempotencyKey("invoice", "customer:ada2026", "-11"))
	// Output:
	// c8b5ae1318ac2bac299c7214bb1f9e0b
	// 912df9f7165f9bce34a8e0b8979b478b
}
