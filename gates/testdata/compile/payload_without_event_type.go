// want: missing method EventType
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type opened struct{}

func check(c int, e event.Event, o opened) *gates.Denial { return nil }

var gate = gates.On("a", check)
