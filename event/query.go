package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Query selects events. It is the one filter of reading, following, conditions and projections: a conjunction of the
// fields that are set, so the zero Query matches everything. Results are in commit order, or the opposite with Reverse.
//
// Positions and clocks are half-open (after, through]: a consumer that has seen up to n continues with After: n.
type Query struct {
	Entity      string    // exact
	Prefix      string    // the entity itself or anything below it at a colon: "a" matches "a" and "a:b", not "ab"
	Scope       string    // exact
	Kind        Kind      // exact
	Category    *Category // of the kind; new(event.Category(1))
	Lane        *Lane     // nil means every lane; new(event.Lane(0))
	Correlation ID        // events with this correlation; the event with this id too, unless it names another

	After, Through           Seq       // Through 0 means no bound
	ClockAfter, ClockThrough Clock     // ClockThrough 0 means no bound
	Since, Until             time.Time // [Since, Until); the zero time means no bound

	Reverse bool // newest first
	Limit   int  // at most so many events; 0 means all
}

// Validate reports a range that is inverted, a negative limit or a category above 15, as an error matching [ErrInvalid].
func (q *Query) Validate() error {
	switch {
	case q.Through != 0 && q.Through < q.After:
		return fmt.Errorf("query: through %d is before after %d: %w", q.Through, q.After, ErrInvalid)
	case q.ClockThrough != 0 && q.ClockThrough < q.ClockAfter:
		return fmt.Errorf("query: clock through %d is before clock after %d: %w", q.ClockThrough, q.ClockAfter, ErrInvalid)
	case !q.Until.IsZero() && q.Until.Before(q.Since):
		return fmt.Errorf("query: until %v is before since %v: %w", q.Until, q.Since, ErrInvalid)
	case q.Limit < 0:
		return fmt.Errorf("query: limit %d is negative: %w", q.Limit, ErrInvalid)
	case q.Category != nil && *q.Category > maxKindCateg:
		return fmt.Errorf("query: category %d is above 15: %w", *q.Category, ErrInvalid)
	}
	return nil
}

// TimeRange returns the bounds of Since and Until as [since, until) in microseconds; until is the highest Timestamp if
// there is none.
func (q *Query) TimeRange() (since, until Timestamp) {
	until = 1<<63 - 1
	if !q.Since.IsZero() {
		since = ceilMicro(q.Since)
	}
	if !q.Until.IsZero() {
		until = ceilMicro(q.Until)
	}
	return since, until
}

// ceilMicro rounds up, so that comparing whole microseconds with the result decides as comparing with t would. Times that no
// event can have, some of which no int64 of microseconds can hold either, become the nearest that decides the same.
func ceilMicro(t time.Time) Timestamp {
	switch {
	case t.Before(time.UnixMicro(0)):
		return 0
	case t.After(MaxTimestamp.Time()):
		return MaxTimestamp + 1
	}
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return Timestamp(us)
}

// Clone returns a copy of the query, which shares nothing with it.
func (q *Query) Clone() Query {
	c := *q
	if q.Category != nil {
		c.Category = new(*q.Category)
	}
	if q.Lane != nil {
		c.Lane = new(*q.Lane)
	}
	return c
}

// Match reports whether an event with this header is selected. Reverse and Limit play no part.
func (q *Query) Match(h *Header) bool {
	return (q.Entity == "" || h.Entity == q.Entity) &&
		(q.Prefix == "" || InNamespace(h.Entity, q.Prefix)) &&
		(q.Scope == "" || h.Scope == q.Scope) &&
		(q.Kind == 0 || h.Kind == q.Kind) &&
		(q.Category == nil || h.Kind.Category() == *q.Category) &&
		(q.Lane == nil || h.Lane == *q.Lane) &&
		(q.Correlation.IsZero() || h.Correlation == q.Correlation) &&
		h.Seq > q.After && (q.Through == 0 || h.Seq <= q.Through) &&
		h.Clock > q.ClockAfter && (q.ClockThrough == 0 || h.Clock <= q.ClockThrough) &&
		q.matchTime(h.Time)
}

func (q *Query) matchTime(t Timestamp) bool {
	if q.Since.IsZero() && q.Until.IsZero() {
		return true
	}
	since, until := q.TimeRange()
	return t >= since && t < until
}

// String returns the fields that are set, in one spelling: queries with equal text select the same events.
func (q *Query) String() string {
	var b strings.Builder
	set := func(name string, is bool, value any) {
		if is {
			fmt.Fprintf(&b, " %s=%v", name, value)
		}
	}
	set("entity", q.Entity != "", strconv.Quote(q.Entity))
	set("prefix", q.Prefix != "", strconv.Quote(q.Prefix))
	set("scope", q.Scope != "", strconv.Quote(q.Scope))
	set("kind", q.Kind != 0, q.Kind)
	if q.Category != nil {
		set("category", true, *q.Category)
	}
	if q.Lane != nil {
		set("lane", true, *q.Lane)
	}
	set("correlation", !q.Correlation.IsZero(), q.Correlation)
	set("after", q.After != 0, q.After)
	set("through", q.Through != 0, q.Through)
	set("clock-after", q.ClockAfter != 0, q.ClockAfter)
	set("clock-through", q.ClockThrough != 0, q.ClockThrough)
	since, until := q.TimeRange()
	set("since", !q.Since.IsZero(), since)
	set("until", !q.Until.IsZero(), until)
	set("reverse", q.Reverse, true)
	set("limit", q.Limit != 0, q.Limit)
	if b.Len() == 0 {
		return "everything"
	}
	return b.String()[1:]
}

// Union returns a query that selects all that q and r select, and maybe more: what they do not agree on is left out, and
// ranges span both. It has no Reverse and no Limit.
func (q Query) Union(r Query) Query {
	u := Query{
		Entity: agreed(q.Entity, r.Entity), Prefix: agreed(q.Prefix, r.Prefix), Scope: agreed(q.Scope, r.Scope),
		Kind: agreed(q.Kind, r.Kind), Correlation: agreed(q.Correlation, r.Correlation),
		After: min(q.After, r.After), ClockAfter: min(q.ClockAfter, r.ClockAfter),
	}
	if q.Category != nil && r.Category != nil && *q.Category == *r.Category {
		u.Category = q.Category
	}
	if q.Lane != nil && r.Lane != nil && *q.Lane == *r.Lane {
		u.Lane = q.Lane
	}
	if q.Through != 0 && r.Through != 0 {
		u.Through = max(q.Through, r.Through)
	}
	if q.ClockThrough != 0 && r.ClockThrough != 0 {
		u.ClockThrough = max(q.ClockThrough, r.ClockThrough)
	}
	if !q.Since.IsZero() && !r.Since.IsZero() {
		u.Since = q.Since
		if r.Since.Before(q.Since) {
			u.Since = r.Since
		}
	}
	if !q.Until.IsZero() && !r.Until.IsZero() {
		u.Until = q.Until
		if r.Until.After(q.Until) {
			u.Until = r.Until
		}
	}
	return u
}

// agreed returns what both are, or the zero value.
func agreed[T comparable](a, b T) T {
	if a != b {
		var zero T
		return zero
	}
	return a
}
