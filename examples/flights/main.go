// Flights folds 20 000 real flights into the mean delay of each airport, and watches the figures move while the last of them
// come in.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/examples/data"
	"github.com/batpak/batpak/projection"
)

// Flown is a flight that has left.
type Flown struct {
	Date        string `json:"date"`
	Delay       int    `json:"delay"`    // minutes; negative: early
	Distance    int    `json:"distance"` // miles
	Origin      string `json:"origin"`
	Destination string `json:"destination"`
}

func (Flown) EventType() event.Type { return event.Type{Kind: 0x4001, Name: "flown", Version: 1} }

// Delays is how late flights leave, by airport.
type Delays map[string]Airport

// An Airport is what has left from it, and how late in all.
type Airport struct {
	Flights int
	Minutes int
}

// Mean returns the minutes by which a flight leaves late.
func (a Airport) Mean() float64 { return float64(a.Minutes) / float64(a.Flights) }

// ByAirport folds all flights of a store, whatever the key.
var ByAirport = projection.MustNew(projection.Spec[Delays]{
	Name: "delays by airport", Version: 1,
	Init:  func() Delays { return Delays{} },
	Query: func(string) event.Query { return event.Query{Kind: 0x4001} },
	Handlers: []projection.Handler[Delays]{
		projection.On(func(d *Delays, _ event.Event, f Flown) error {
			a := (*d)[f.Origin]
			(*d)[f.Origin] = Airport{a.Flights + 1, a.Minutes + f.Delay}
			return nil
		}),
	},
})

// live is how many of the flights come in while we watch.
const live = 500

func main() {
	dir := append(os.Args[1:], "flights")[0]
	if err := run(dir); err != nil {
		log.Fatal(err)
	}
}

func run(dir string) (err error) {
	flights, err := proposals()
	if err != nil {
		return err
	}
	store, err := batpak.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for part := range slices.Chunk(flights[:len(flights)-live], 1000) {
		if _, err := store.Commit(part...); err != nil { // with keys: who runs this again appends nothing
			return err
		}
	}
	if err := watch(store, flights[len(flights)-live:]); err != nil {
		return err
	}
	delays, err := projection.Get(store, ByAirport, "", projection.Consistent)
	if err != nil {
		return err
	}
	late := slices.SortedFunc(maps.Keys(delays.Value), func(a, b string) int {
		return cmp.Compare(delays.Value[b].Mean(), delays.Value[a].Mean())
	})
	fmt.Println(len(late), "airports; the latest of those with 200 flights and more:")
	late = slices.DeleteFunc(late, func(a string) bool { return delays.Value[a].Flights < 200 })
	for _, airport := range late[:5] {
		fmt.Printf("%s  %5.2f minutes, %d flights\n", airport, delays.Value[airport].Mean(), delays.Value[airport].Flights)
	}
	return nil
}

// proposals returns a proposal for each flight: the entity is the route, the scope the airport.
func proposals() ([]batpak.Proposal, error) {
	lines, err := gzip.NewReader(bytes.NewReader(data.Flights))
	if err != nil {
		return nil, err
	}
	var ps []batpak.Proposal
	in := bufio.NewScanner(lines)
	for in.Scan() {
		var f Flown
		if err := json.Unmarshal(in.Bytes(), &f); err != nil {
			return nil, err
		}
		ps = append(ps, batpak.Proposal{
			At:      event.At("route:"+f.Origin+"-"+f.Destination, f.Origin),
			Payload: f,
			Key:     event.IdempotencyKey("flights", fmt.Sprint(len(ps))),
		})
	}
	return ps, in.Err()
}

// watch shows the delays of Atlanta while flights come in, one after the other.
func watch(store *batpak.Store, flights []batpak.Proposal) error {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	go func() {
		for _, p := range flights {
			if _, err := store.Commit(p); err != nil {
				stop(err)
				return
			}
		}
	}()
	shown := 0
	for delays, err := range projection.Watch(ctx, store, ByAirport, "") {
		if err != nil {
			return err
		}
		if atl := delays.Value["ATL"]; atl.Flights > shown {
			fmt.Printf("Atlanta after %d flights: %.2f minutes\n", atl.Flights, atl.Mean())
			shown = atl.Flights + 4 // some of them
		}
		if delays.Events == 20_000 {
			break
		}
	}
	return nil
}
