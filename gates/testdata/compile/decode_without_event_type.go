// want: does not satisfy event.Payload
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type untyped struct{ Cents int }

func read(e event.Event) (untyped, error) { return event.Decode[untyped](e) }

var _ gates.Permit
