// want: cannot use untyped
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type untyped struct{ Cents int }

var proposal = event.Proposal{At: event.At("account:7", "bank"), Payload: untyped{1}}

var _ gates.Permit
