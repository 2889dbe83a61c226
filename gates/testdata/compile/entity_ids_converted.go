// want: cannot convert id
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

func converted(id event.EntityID[account]) event.EntityID[order] {
	return event.EntityID[order](id)
}

var _ gates.Permit
