package event

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQueryMatch(t *testing.T) {
	h := Header{Seq: 10, ID: NewID(5_000_000, 10, 1), Entity: "alice:1", Scope: "room", Lane: 2, Clock: 4, Kind: 0xF001, Time: 5_000_000}
	h.Correlation = NewID(1, 3, 1)
	at := h.Time.Time()
	for name, tt := range map[string]struct {
		q    Query
		want bool
	}{
		"everything":             {Query{}, true},
		"entity":                 {Query{Entity: "alice:1"}, true},
		"entity is no prefix":    {Query{Entity: "alice"}, false},
		"prefix":                 {Query{Prefix: "alice"}, true},
		"prefix itself":          {Query{Prefix: "alice:1"}, true},
		"prefix within a name":   {Query{Prefix: "ali"}, false},
		"scope":                  {Query{Scope: "room"}, true},
		"other scope":            {Query{Scope: "roo"}, false},
		"kind":                   {Query{Kind: 0xF001}, true},
		"other kind":             {Query{Kind: 0xF002}, false},
		"category":               {Query{Category: new(Category(0xF))}, true},
		"category 0":             {Query{Category: new(Category(0))}, false},
		"lane":                   {Query{Lane: new(Lane(2))}, true},
		"lane 0":                 {Query{Lane: new(Lane(0))}, false},
		"correlation":            {Query{Correlation: h.Correlation}, true},
		"id, names another":      {Query{Correlation: h.ID}, false},
		"after, exclusive":       {Query{After: 10}, false},
		"after":                  {Query{After: 9}, true},
		"through, inclusive":     {Query{Through: 10}, true},
		"through":                {Query{Through: 9}, false},
		"empty range":            {Query{After: 10, Through: 10}, false},
		"clock after, exclusive": {Query{ClockAfter: 4}, false},
		"clock after":            {Query{ClockAfter: 3}, true},
		"clock through":          {Query{ClockThrough: 4}, true},
		"clock through, below":   {Query{ClockThrough: 3}, false},
		"since, inclusive":       {Query{Since: at}, true},
		"since, 1 ns later":      {Query{Since: at.Add(1)}, false},
		"since, 999 ns earlier":  {Query{Since: at.Add(-999)}, true},
		"until, exclusive":       {Query{Until: at}, false},
		"until, 1 ns later":      {Query{Until: at.Add(1)}, true},
		"until, 1 us later":      {Query{Until: at.Add(1000)}, true},
		"since and until, 1 ns":  {Query{Since: at, Until: at.Add(1)}, true},
		"nothing between":        {Query{Since: at.Add(1), Until: at.Add(999)}, false},
		"since before 1970":      {Query{Since: time.Unix(-1, 1)}, true},
		"until before 1970":      {Query{Until: time.Unix(-1, 1)}, false},
		"reverse and limit":      {Query{Reverse: true, Limit: 1}, true},
		"all at once": {Query{Entity: "alice:1", Prefix: "alice", Scope: "room", Kind: 0xF001, Category: new(Category(15)), Lane: new(Lane(2)),
			Correlation: h.Correlation, After: 9, Through: 10, ClockAfter: 3, ClockThrough: 4, Since: at, Until: at.Add(1)}, true},
		"all but one": {Query{Entity: "alice:1", Prefix: "alice", Scope: "other", Kind: 0xF001, Lane: new(Lane(2))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.q.Validate(); err != nil {
				t.Error(err)
			}
			if got := tt.q.Match(&h); got != tt.want {
				t.Errorf("Match = %v", got)
			}
		})
	}
}

func TestQueryValidate(t *testing.T) {
	at := time.Unix(100, 0)
	for name, tt := range map[string]struct {
		q  Query
		ok bool
	}{
		"zero":                       {Query{}, true},
		"through is after":           {Query{After: 5, Through: 5}, true},
		"through before after":       {Query{After: 5, Through: 4}, false},
		"clock through before after": {Query{ClockAfter: 5, ClockThrough: 4}, false},
		"clock range empty":          {Query{ClockAfter: 5, ClockThrough: 5}, true},
		"until is since":             {Query{Since: at, Until: at}, true},
		"until before since":         {Query{Since: at, Until: at.Add(-1)}, false},
		"until only":                 {Query{Until: at}, true},
		"until in 1900":              {Query{Until: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}, true},
		"negative limit":             {Query{Limit: -1}, false},
		"category 15":                {Query{Category: new(Category(15))}, true},
		"category 16":                {Query{Category: new(Category(16))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.q.Validate()
			if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		})
	}
}

// TestQueryTime compares the time range with comparing instants: an event is selected if its time is not before Since
// and before Until, to the nanosecond.
func TestQueryTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := Timestamp(rapid.Int64Range(1, 1<<52).Draw(t, "time"))
		near := rapid.Int64Range(-3000, 3000)
		q := Query{Since: ts.Time().Add(time.Duration(near.Draw(t, "since"))), Until: ts.Time().Add(time.Duration(near.Draw(t, "until")))}
		want := !ts.Time().Before(q.Since) && ts.Time().Before(q.Until)
		if got := q.Match(&Header{Seq: 1, Clock: 1, Time: ts}); got != want {
			t.Fatalf("Match = %v, comparing says %v", got, want)
		}
	})
}

// TestQueryFarTimes checks bounds that microseconds in 64 bits cannot hold: far ones include or exclude everything.
func TestQueryFarTimes(t *testing.T) {
	far, past := time.Date(400_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-400_000, 1, 1, 0, 0, 0, 0, time.UTC)
	h := Header{Seq: 1, Clock: 1, Time: 1}
	for name, tt := range map[string]struct {
		q    Query
		want bool
	}{
		"until the far future": {Query{Until: far}, true},
		"since the far future": {Query{Since: far}, false},
		"since the far past":   {Query{Since: past}, true},
		"until the far past":   {Query{Until: past}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.q.Match(&h); got != tt.want {
				t.Errorf("Match = %v", got)
			}
		})
	}
}
