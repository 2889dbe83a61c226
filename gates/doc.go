// Package gates decides what may be appended, says why not, and keeps what was decided until it is appended. It imports
// no other package of batpak but event, appends nothing itself, and takes what appends as a function: the Commit method
// of a store.
//
// # Gates
//
// A [Gate] is a named function of the caller's context, of a type of your own, and the proposed event. [On] makes one for
// a payload type. A [Set] asks its gates in order. [Set.Judge] says yes (nil) or no (a [*Denial], with the trace of what
// was asked). [Set.Evaluate] says yes with a [Permit], which is bound to the exact bytes that were judged and used once,
// by [Commit]:
//
//	set, err := gates.NewSet(gates.On("limit", func(u User, e event.Event, p Withdrawn) *gates.Denial {
//		if p.Amount > u.Limit {
//			return gates.Deny("OVER_LIMIT", "%d is over the limit", p.Amount).With("limit", u.Limit)
//		}
//		return nil
//	}))
//	permit, err := set.Evaluate(user, event.Proposal{At: event.At("account:7", "bank"), Payload: Withdrawn{100}})
//	done, err := gates.Commit(permit, store.Commit)
//
// A [Pipeline] gives the way a name, and can go past the gates with a reason, which is stored in the event
// ([Pipeline.Bypass]).
//
// A gate whose context is [Head] is for the commit point of a store, where no other append can come in between.
// [Invariant] makes one that judges with the state of the stream.
//
// # Machines
//
// A [Machine] says which kinds of event a stream can have when. Its states are Go types, so that an illegal [Apply] does not
// compile; [Resume] checks the events that are stored.
//
// # Outcomes
//
// An [Outcome] is a value, an error, or why there is neither yet, with combinators that obey the laws of functors and
// monads. As JSON it is one object, read strictly; the value within is as its type reads it, which decides what that takes.
// Outcomes need nothing of the above.
package gates
