// want: cannot use id
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type (
	account struct{}
	order   struct{}
)

func (account) EntityPrefix() string { return "account" }
func (order) EntityPrefix() string   { return "order" }

func ship(id event.EntityID[order]) event.Coordinate { return id.At("shop") }

func mixed(id event.EntityID[account]) event.Coordinate { return ship(id) }

var _ gates.Permit
