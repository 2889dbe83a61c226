// Package projection folds events into states. A [Projection] says how: an initial state, a handler for each payload type
// that changes it, and which events it is made of. [Get] returns the state as of now:
//
//	var Balance = projection.MustNew(projection.Spec[Account]{
//		Name: "balance", Version: 1,
//		Handlers: []projection.Handler[Account]{
//			projection.On(func(a *Account, _ event.Event, p Deposited) error { a.Cents += p.Cents; return nil }),
//			projection.On(func(a *Account, _ event.Event, p Withdrawn) error { a.Cents -= p.Cents; return nil }),
//		},
//	})
//
//	balance, err := projection.Get(store, Balance, "account:7", projection.Consistent)
//
// # Snapshots
//
// A state is derived: it can always be folded again from the first event. So that this need not be each time, Get keeps
// snapshots in a source that can hold them, as a store does in state.bolt. A snapshot names the newest event it was made
// of, with that event's hash, which commits to everything before it in its stream; the query and the payload types; and
// the projection's name and version. If any of it is not as it is now, or a byte has changed, the snapshot is left aside
// and the events are folded anew. So a snapshot can save time and cannot make a state wrong, provided that Version
// changes whenever what the handlers compute does.
//
// # Freshness
//
// [Consistent] states hold every event that could be read when the call began. [AtMost] allows one that was, at most so
// long ago.
package projection
