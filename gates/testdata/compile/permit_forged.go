// want: cannot refer to unexported field state
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

var forged = gates.Permit{state: nil}

var _ event.Proposal
