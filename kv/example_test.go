package kv_test

import (
	"fmt"

	"github.com/batpak/batpak/kv"
)

// Write in one transaction, read in another. A durable store is the same with kv.OpenBolt.
func ExampleDB() {
	db := kv.NewMemory()
	defer db.Close()

	if err := db.Update(func(tx kv.Tx) error {
		for _, name := range []string{"carol", "alice", "bob"} {
			if err := tx.Put("people", []byte(name), []byte{byte(len(name))}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		fmt.Println(err)
	}

	db.View(func(tx kv.Tx) error {
		for name, length := range tx.Scan("people", []byte("b")) {
			fmt.Printf("%s %d\n", name, length[0])
		}
		return nil
	})
	// Output:
	// bob 3
	// carol 5
}
