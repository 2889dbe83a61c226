package main

import (
	"testing"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

// TestOrders runs the program twice on one store, and checks that every paid order has one parcel and was shipped with it.
func TestOrders(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := run(dir); err != nil {
			t.Fatal(err)
		}
	}
	store, err := batpak.OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	parcels := map[string]string{}
	for p, err := range event.Each[ParcelRequested](store.Query(batpak.Query{})) {
		if err != nil || parcels[p.Value.Order] != "" {
			t.Fatalf("a second parcel for %q, or %v", p.Value.Order, err)
		}
		parcels[p.Value.Order] = p.ID.String()
	}
	shipped := 0
	for s, err := range event.Each[OrderShipped](store.Query(batpak.Query{})) {
		if err != nil || parcels[s.Entity] != s.Value.Parcel || s.Clock != 3 {
			t.Errorf("%s was shipped with %q, %v", s.Entity, s.Value.Parcel, err)
		}
		shipped++
	}
	if shipped != 6 || len(parcels) != 6 {
		t.Errorf("%d shipped, %d parcels", shipped, len(parcels))
	}
}
