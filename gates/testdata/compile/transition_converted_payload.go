// want: cannot convert opening
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type (
	shut struct{}
	open struct{}

	opened struct{}
)

func (opened) EventType() event.Type { return event.Type{Kind: 0x1001, Name: "opened", Version: 1} }

type other struct{}

func (other) EventType() event.Type { return event.Type{Kind: 0x1002, Name: "other", Version: 1} }

var opening = gates.NewTransition[shut, open, opened]()

func commit(...event.Proposal) ([]int, error) { return nil, nil }

var closing = gates.Transition[shut, open, other](opening)
