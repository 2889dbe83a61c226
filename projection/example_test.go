package projection_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/projection"
)

type Sold struct {
	Goods string `cbor:"goods"`
	Cents int    `cbor:"cents"`
}

func (Sold) EventType() event.Type { return event.Type{Kind: 0x1001, Name: "sold", Version: 1} }

// Till is what one shop has taken.
var Till = projection.MustNew(projection.Spec[int]{
	Name: "till", Version: 1,
	Handlers: []projection.Handler[int]{
		projection.On(func(cents *int, _ event.Event, p Sold) error { *cents += p.Cents; return nil }),
	},
})

// Sales is how often each thing was sold, in all shops whose names begin with the key.
var Sales = projection.MustNew(projection.Spec[map[string]int]{
	Name: "sales", Version: 1,
	Init:  func() map[string]int { return map[string]int{} },
	Query: func(key string) event.Query { return event.Query{Prefix: key, Kind: 0x1001} },
	Handlers: []projection.Handler[map[string]int]{
		projection.On(func(sales *map[string]int, _ event.Event, p Sold) error { (*sales)[p.Goods]++; return nil }),
	},
	MaxStateBytes: 10 << 20,
})

// The state of one entity and one of many, each as of now, as of some seconds ago, and both in one pass.
func Example() {
	dir, _ := os.MkdirTemp("", "batpak")
	defer os.RemoveAll(dir)
	store, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	store.Append(event.At("shop:1", "town"), Sold{"apple", 50})
	store.Append(event.At("shop:2", "town"), Sold{"apple", 60})
	store.Append(event.At("shop:1", "town"), Sold{"pear", 80})

	till, err := projection.Get(store, Till, "shop:1", projection.Consistent)
	fmt.Println(till.Value, "cents after event", till.Seq, err)

	sales, err := projection.Get(store, Sales, "shop", projection.AtMost(5*time.Second))
	fmt.Println(sales.Value, err)

	_, changed, err := projection.GetIfChanged(store, Till, "shop:1", till.Seq)
	fmt.Println("changed:", changed, err)

	var one, two projection.State[int]
	err = projection.Fold(store, projection.Into(&one, Till, "shop:1"), projection.Into(&two, Till, "shop:2"))
	fmt.Println(one.Value, two.Value, err)
	// Output:
	// 130 cents after event 3 <nil>
	// map[apple:2 pear:1] <nil>
	// changed: false <nil>
	// 130 60 <nil>
}

// Watch yields the state as it is, and then as events change it.
func ExampleWatch() {
	dir, _ := os.MkdirTemp("", "batpak")
	defer os.RemoveAll(dir)
	store, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	store.Append(event.At("shop:1", "town"), Sold{"apple", 50})
	for till, err := range projection.Watch(context.Background(), store, Till, "shop:1") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(till.Value)
		if till.Value > 100 {
			break
		}
		store.Append(event.At("shop:1", "town"), Sold{"apple", 30})
	}
	// Output:
	// 50
	// 80
	// 110
}
