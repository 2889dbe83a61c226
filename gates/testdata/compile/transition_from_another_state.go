// want: type gates.In[open] of in does not match inferred type gates.In[shut]
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

func openTwice(in gates.In[open]) {
	_, _, _ = gates.Apply(commit, opening, in, opened{})
}
