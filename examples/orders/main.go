// Orders takes orders from placed to delivered. An order is a machine whose illegal steps do not compile; a reaction hands
// each paid order to the warehouse, once, whenever this program dies.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// The states of an order.
type (
	New       struct{}
	Placed    struct{}
	Paid      struct{}
	Shipped   struct{}
	Cancelled struct{}
)

// The events of an order, and that of the warehouse.
type (
	OrderPlaced struct {
		Goods string `cbor:"goods"`
	}
	OrderPaid struct {
		Cents int64 `cbor:"cents"`
	}
	OrderShipped struct {
		Parcel string `cbor:"parcel"`
	}
	OrderCancelled struct{}

	ParcelRequested struct {
		Order string `cbor:"order"`
	}
)

func (OrderPlaced) EventType() event.Type {
	return event.Type{Kind: 0x2001, Name: "order placed", Version: 1}
}
func (OrderPaid) EventType() event.Type {
	return event.Type{Kind: 0x2002, Name: "order paid", Version: 1}
}
func (OrderShipped) EventType() event.Type {
	return event.Type{Kind: 0x2003, Name: "order shipped", Version: 1}
}
func (OrderCancelled) EventType() event.Type {
	return event.Type{Kind: 0x2004, Name: "order cancelled", Version: 1}
}
func (ParcelRequested) EventType() event.Type {
	return event.Type{Kind: 0x2101, Name: "parcel requested", Version: 1}
}

// The steps that there are. An order cannot be shipped before it is paid: nothing here leads from Placed to Shipped, so
// gates.Apply(store.Commit, Ship, placed, …) does not compile.
var (
	Place  = gates.NewTransition[New, Placed, OrderPlaced]()
	Pay    = gates.NewTransition[Placed, Paid, OrderPaid]()
	Ship   = gates.NewTransition[Paid, Shipped, OrderShipped]()
	Cancel = gates.NewTransition[Placed, Cancelled, OrderCancelled]()
)

// Warehouse asks for a parcel for each order that was paid.
var Warehouse = batpak.Reaction{
	Name:  "warehouse",
	Query: batpak.Query{Prefix: "order"},
	Handlers: []event.Handler[*batpak.Batch]{
		event.On(func(b *batpak.Batch, e event.Event, _ OrderPaid) error {
			b.Append(event.At("parcel:"+e.Entity, "warehouse"), ParcelRequested{Order: e.Entity})
			return nil
		}),
	},
}

func main() {
	dir := append(os.Args[1:], "orders")[0]
	if err := run(dir); err != nil {
		log.Fatal(err)
	}
}

func run(dir string) (err error) {
	store, err := batpak.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	machine, err := gates.NewMachine[New](Place, Pay, Ship, Cancel)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	stopped := make(chan struct{})
	go func() {
		stop(store.React(ctx, Warehouse)) // should it fail, nobody waits for parcels in vain
		close(stopped)
	}()
	for range 3 {
		at := event.At(fmt.Sprintf("order:%d", store.Visible()+1), "shop")
		if err := fulfil(ctx, store, machine, at); err != nil {
			stop(err)
			break
		}
	}
	stop(errDone)
	<-stopped
	if err := context.Cause(ctx); err != errDone {
		return err
	}
	return nil
}

var errDone = errors.New("all orders are fulfilled")

// fulfil takes one order all the way, waiting for its parcel.
func fulfil(ctx context.Context, store *batpak.Store, machine *gates.Machine[New], at event.Coordinate) error {
	placed, _, err := gates.Apply(store.Commit, Place, machine.Begin(at), OrderPlaced{Goods: "a book"})
	if err != nil {
		return err
	}
	paid, payment, err := gates.Apply(store.Commit, Pay, placed, OrderPaid{Cents: 1999})
	if err != nil {
		return err
	}
	if _, _, err := gates.Apply(store.Commit, Cancel, placed, OrderCancelled{}); !errors.Is(err, batpak.ErrConflict) {
		return fmt.Errorf("a paid order was cancelled: %w", err) // placed is what it was, not what it is
	}
	parcels := batpak.Query{Entity: "parcel:" + at.Entity, After: payment.Seq, Limit: 1}
	for parcel, err := range store.Follow(ctx, parcels) {
		if err != nil {
			return err
		}
		_, shipment, err := gates.Apply(store.Commit, Ship, paid, OrderShipped{Parcel: parcel.ID.String()})
		if err != nil {
			return err
		}
		if parcel.Causation != payment.ID {
			return fmt.Errorf("%s: parcel %s was not caused by payment %s", at.Entity, parcel.ID, payment.ID)
		}
		fmt.Println(at.Entity, "is paid by event", payment.Seq, "and shipped by", shipment.Seq)
	}
	if _, err := gates.Resume[Shipped](machine, at, store.Query(batpak.Query{Entity: at.Entity})); err != nil {
		return err
	}
	return nil
}
