// want: cannot refer to unexported field value
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

var forged = gates.Outcome[event.Seq]{value: 1}
