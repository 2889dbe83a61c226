// want: does not match inferred type gates.Gate[user]
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type user struct{ name string }

func pass(user, event.Event) *gates.Denial { return nil }

func bound(gates.Head, event.Event) *gates.Denial { return nil }

func set() {
	_, _ = gates.NewSet(gates.Gate[user]{Name: "a", Check: pass}, gates.Gate[gates.Head]{Name: "b", Check: bound})
}
