package main

import (
	"testing"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

// TestBank runs the program twice on one store, and checks that no account was ever overdrawn, that each denial is recorded, and
// that the approval is stored with what was approved.
func TestBank(t *testing.T) {
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
	var a Account
	approved := 0
	for e, err := range store.Query(batpak.Query{Prefix: "account"}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := Balance.Apply(&a, e); err != nil || a.Cents < 0 {
			t.Fatalf("after event %d: %+v, %v", e.Seq, a, err)
		}
		if audit, err := gates.ReadBypass(e); err != nil {
			t.Error(err)
		} else if audit != nil && audit.Bypass.ApprovedBy == "the manager" && audit.Pipeline == "counter" {
			approved++
		}
	}
	denials := map[string]int{}
	for d, err := range event.Each[batpak.DenialRecord](store.Query(batpak.Query{Kind: event.KindDenial})) {
		if err != nil {
			t.Fatal(err)
		}
		denials[d.Value.Denial.Gate]++
	}
	if a.Cents != 0 || a.Movements != 15 || approved != 2 || denials["overdraft"] != 22+32 || denials["limit"] != 2 {
		t.Errorf("%+v, %d approved, denials %v", a, approved, denials)
	}
}
