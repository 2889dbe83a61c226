// want: does not match inferred type opened for P
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

var opening = gates.NewTransition[shut, open, opened]()

func commit(...event.Proposal) ([]int, error) { return nil, nil }

type closed struct{}

func (closed) EventType() event.Type { return event.Type{Kind: 0x1002, Name: "closed", Version: 1} }

func wrongPayload(in gates.In[shut]) {
	_, _, _ = gates.Apply(commit, opening, in, closed{})
}
