package gates

import (
	"cmp"
	"fmt"
	"iter"
	"time"
)

// An Outcome is what came of work: a value, or why there is none yet or ever, or a batch of outcomes. It is exactly one of
//
//	Ok          a T
//	Err         an [*OutcomeError]
//	Retry       nothing yet; try again later
//	Pending     nothing yet; something else must happen first
//	Cancelled   called off
//	Batch       any number of outcomes, which may be batches
//
// and does not change. The combinators act on the values (or errors) and pass the rest through; on a batch they act on each
// item. The zero Outcome is an Err of kind [ErrorInternal].
type Outcome[T any] struct {
	variant variant
	value   T
	why     any // an *OutcomeError, Retry, Pending or Cancelled
	items   []Outcome[T]
}

type variant uint8

// The variants, in the order in which [Zip] prefers them.
const (
	variantErr variant = iota
	variantCancelled
	variantRetry
	variantPending
	variantBatch
	variantOk
)

// Retry says when to try again.
type Retry struct {
	After       time.Duration
	Attempt     uint32 // that failed, from 1
	MaxAttempts uint32
	Reason      string
}

// Pending says what is waited for.
type Pending struct {
	Condition   WaitCondition // may be nil
	ResumeToken Token         // with which the work is taken up again
}

// Cancelled says why work was called off.
type Cancelled struct {
	Reason string
}

// Ok returns the outcome with this value.
func Ok[T any](v T) Outcome[T] { return Outcome[T]{variant: variantOk, value: v} }

// Err returns the outcome with this error, which must not change any more. Nil stands for an error of kind [ErrorInternal].
func Err[T any](e *OutcomeError) Outcome[T] {
	return Outcome[T]{variant: variantErr, why: cmp.Or(e, errUnset)}
}

// RetryOf returns the outcome that asks for another attempt.
func RetryOf[T any](r Retry) Outcome[T] { return Outcome[T]{variant: variantRetry, why: r} }

// PendingOf returns the outcome that waits.
func PendingOf[T any](p Pending) Outcome[T] { return Outcome[T]{variant: variantPending, why: p} }

// CancelledOf returns the outcome of work that was called off.
func CancelledOf[T any](c Cancelled) Outcome[T] { return Outcome[T]{variant: variantCancelled, why: c} }

// Batch returns the outcome that has these items.
func Batch[T any](items ...Outcome[T]) Outcome[T] {
	return Outcome[T]{variant: variantBatch, items: append([]Outcome[T](nil), items...)}
}

// Concat returns the batch of the items of all the outcomes, in order. One that is no batch counts as a batch of itself.
// Batches under Concat are a monoid: it is associative, and the empty batch changes nothing.
func Concat[T any](outcomes ...Outcome[T]) Outcome[T] {
	all := Batch[T]()
	for _, o := range outcomes {
		if items, ok := o.Items(); ok {
			all.items = append(all.items, items...)
		} else {
			all.items = append(all.items, o)
		}
	}
	return all
}

// Value returns the value of an Ok.
func (o Outcome[T]) Value() (T, bool) { return o.value, o.variant == variantOk }

// Err returns the error of an Err.
func (o Outcome[T]) Err() (*OutcomeError, bool) {
	if o.variant == variantErr && o.why == nil {
		return errUnset, true
	}
	e, ok := o.why.(*OutcomeError)
	return e, ok
}

// Retry returns what a Retry says.
func (o Outcome[T]) Retry() (Retry, bool) { r, ok := o.why.(Retry); return r, ok }

// Pending returns what a Pending says.
func (o Outcome[T]) Pending() (Pending, bool) { p, ok := o.why.(Pending); return p, ok }

// Cancelled returns what a Cancelled says.
func (o Outcome[T]) Cancelled() (Cancelled, bool) { c, ok := o.why.(Cancelled); return c, ok }

// Items returns a copy of the items of a Batch.
func (o Outcome[T]) Items() ([]Outcome[T], bool) {
	return append([]Outcome[T](nil), o.items...), o.variant == variantBatch
}

// IsTerminal reports whether nothing more will come of the work: it is an Ok, an Err or a Cancelled.
func (o Outcome[T]) IsTerminal() bool {
	return o.variant == variantOk || o.variant == variantErr || o.variant == variantCancelled
}

// Result returns the value of an Ok. For the others the error is an [*OutcomeError]: of an Err its own, else one of kind
// [ErrorCancelled], [ErrorTimeout] for Retry, [ErrorPending] or [ErrorBatchCollapse].
func (o Outcome[T]) Result() (T, error) {
	var none T
	switch o.variant {
	case variantOk:
		return o.value, nil
	case variantErr:
		e, _ := o.Err()
		return none, e
	case variantCancelled:
		c, _ := o.Cancelled()
		return none, &OutcomeError{Kind: ErrorCancelled, Message: c.Reason}
	case variantRetry:
		r, _ := o.Retry()
		return none, &OutcomeError{Kind: ErrorTimeout, Message: fmt.Sprintf("attempt %d of %d: %s", r.Attempt, r.MaxAttempts, r.Reason)}
	case variantPending:
		p, _ := o.Pending()
		return none, &OutcomeError{Kind: ErrorPending, Message: fmt.Sprintf("to be resumed with token %s", p.ResumeToken)}
	}
	return none, &OutcomeError{Kind: ErrorBatchCollapse, Message: fmt.Sprintf("batch of %d outcomes is no single value", len(o.items))}
}

// AndThen returns the outcome of f for each value.
func AndThen[T, U any](o Outcome[T], f func(T) Outcome[U]) Outcome[U] {
	switch o.variant {
	case variantOk:
		return f(o.value)
	case variantBatch:
		return each(o, func(item Outcome[T]) Outcome[U] { return AndThen(item, f) })
	}
	return Outcome[U]{variant: o.variant, why: o.why}
}

// each returns the batch of what f makes of each item.
func each[T, U any](o Outcome[T], f func(Outcome[T]) Outcome[U]) Outcome[U] {
	b := Batch[U]()
	for _, item := range o.items {
		b.items = append(b.items, f(item))
	}
	return b
}

// Map returns o with f applied to each value.
func Map[T, U any](o Outcome[T], f func(T) U) Outcome[U] {
	return AndThen(o, func(v T) Outcome[U] { return Ok(f(v)) })
}

// Flatten returns o with each value, an outcome, in place of the Ok that holds it.
func Flatten[T any](o Outcome[Outcome[T]]) Outcome[T] {
	return AndThen(o, func(inner Outcome[T]) Outcome[T] { return inner })
}

// AndThenIf returns the outcome of f for each value that pred holds for, and the others as they are.
func (o Outcome[T]) AndThenIf(pred func(T) bool, f func(T) Outcome[T]) Outcome[T] {
	return AndThen(o, func(v T) Outcome[T] {
		if pred(v) {
			return f(v)
		}
		return Ok(v)
	})
}

// OrElse returns the outcome of f for each error.
func (o Outcome[T]) OrElse(f func(*OutcomeError) Outcome[T]) Outcome[T] {
	switch o.variant {
	case variantErr:
		e, _ := o.Err()
		return f(e)
	case variantBatch:
		return each(o, func(item Outcome[T]) Outcome[T] { return item.OrElse(f) })
	}
	return o
}

// MapErr returns o with f applied to each error. f returns another error, or the same unchanged.
func (o Outcome[T]) MapErr(f func(*OutcomeError) *OutcomeError) Outcome[T] {
	return o.OrElse(func(e *OutcomeError) Outcome[T] { return Err[T](f(e)) })
}

// Inspect calls f with each value and returns o.
func (o Outcome[T]) Inspect(f func(T)) Outcome[T] {
	return Map(o, func(v T) T { f(v); return v })
}

// InspectErr calls f with each error and returns o.
func (o Outcome[T]) InspectErr(f func(*OutcomeError)) Outcome[T] {
	return o.MapErr(func(e *OutcomeError) *OutcomeError { f(e); return e })
}

// Zip returns f of both values. If not both have one, the result is what stands first in this order, or a if they are alike:
// Err, Cancelled, Retry, Pending. A batch is zipped with a value item by item, and with a batch pair by pair; batches of
// different lengths are an Err of kind [ErrorInternal].
func Zip[A, B, C any](a Outcome[A], b Outcome[B], f func(A, B) C) Outcome[C] {
	switch first := min(a.variant, b.variant); {
	case first < variantBatch && first == a.variant:
		return Outcome[C]{variant: a.variant, why: a.why}
	case first < variantBatch:
		return Outcome[C]{variant: b.variant, why: b.why}
	case a.variant == variantOk && b.variant == variantOk:
		return Ok(f(a.value, b.value))
	case a.variant == variantOk:
		return each(b, func(item Outcome[B]) Outcome[C] { return Zip(a, item, f) })
	case b.variant == variantOk:
		return each(a, func(item Outcome[A]) Outcome[C] { return Zip(item, b, f) })
	case len(a.items) != len(b.items):
		return internal[C]("batches of %d and %d outcomes cannot be zipped", len(a.items), len(b.items))
	}
	zipped := Batch[C]()
	for i := range a.items {
		zipped.items = append(zipped.items, Zip(a.items[i], b.items[i], f))
	}
	return zipped
}

// JoinAll returns all values, in order, those in batches among them; or the first outcome that has none. Of nothing it is the
// Ok of no values.
func JoinAll[T any](outcomes ...Outcome[T]) Outcome[[]T] {
	values := []T{}
	for o := range leaves(outcomes) {
		if o.variant != variantOk {
			return Outcome[[]T]{variant: o.variant, why: o.why}
		}
		values = append(values, o.value)
	}
	return Ok(values)
}

// JoinAny returns the first outcome, in order and looking into batches, that is not an Err; if all are, the last one. Of
// nothing it is an Err of kind [ErrorInternal].
func JoinAny[T any](outcomes ...Outcome[T]) Outcome[T] {
	last := internal[T]("none of no outcomes")
	for o := range leaves(outcomes) {
		if last = o; o.variant != variantErr {
			break
		}
	}
	return last
}

// leaves yields the outcomes that are no batch.
func leaves[T any](outcomes []Outcome[T]) iter.Seq[Outcome[T]] {
	return func(yield func(Outcome[T]) bool) { walk(outcomes, yield) }
}

func walk[T any](outcomes []Outcome[T], yield func(Outcome[T]) bool) bool {
	for _, o := range outcomes {
		if o.variant == variantBatch && !walk(o.items, yield) || o.variant != variantBatch && !yield(o) {
			return false
		}
	}
	return true
}

func internal[T any](format string, args ...any) Outcome[T] {
	return Err[T](&OutcomeError{Kind: ErrorInternal, Message: fmt.Sprintf(format, args...)})
}
