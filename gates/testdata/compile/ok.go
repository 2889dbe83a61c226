// What the other files do wrong, done right.
package fixture

import (
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type (
	shut struct{}
	open struct{}

	opened struct{}
	closed struct{}
)

func (opened) EventType() event.Type { return event.Type{Kind: 0x1001, Name: "opened", Version: 1} }
func (closed) EventType() event.Type { return event.Type{Kind: 0x1002, Name: "closed", Version: 1} }

var (
	opening = gates.NewTransition[shut, open, opened]()
	closing = gates.NewTransition[open, shut, closed]()
)

func commit(...event.Proposal) ([]int, error) { return nil, nil }

func machine(at event.Coordinate) {
	m, _ := gates.NewMachine[shut](opening, closing)
	isShut := m.Begin(at)
	isOpen, _, _ := gates.Apply(commit, opening, isShut, opened{})
	_, _, _ = gates.Apply(commit, closing, isOpen, closed{})
	var again gates.In[open]
	again, _ = gates.Resume[open](m, at, nil)
	_ = again
}

type user struct{ name string }

func permits(p event.Proposal) {
	check := func(u user, e event.Event, o opened) *gates.Denial { return nil }
	set, _ := gates.NewSet(gates.On("a", check), gates.Gate[user]{Name: "b"})
	permit, _ := set.Evaluate(user{}, p)
	_, _ = gates.Commit(permit, commit)
}

type (
	account struct{}
	order   struct{}
)

func (account) EntityPrefix() string { return "account" }
func (order) EntityPrefix() string   { return "order" }

func ship(id event.EntityID[order]) event.Coordinate { return id.At("shop") }

func ids() {
	id, _ := event.EntityIDOf[order]("7")
	_ = ship(id)
}
