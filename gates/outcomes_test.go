package gates_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
)

type outcome = gates.Outcome[int]

// The outcomes that are neither Ok nor Batch; those of first and second are told apart by their texts.
func failed(s string) outcome {
	return gates.Err[int](&gates.OutcomeError{Kind: gates.ErrorConflict, Message: s})
}
func retried(s string) outcome { return gates.RetryOf[int](gates.Retry{Attempt: 1, Reason: s}) }
func pending(s string) outcome {
	return gates.PendingOf[int](gates.Pending{Condition: gates.WaitCustom{Tag: s}})
}
func cancelled(s string) outcome { return gates.CancelledOf[int](gates.Cancelled{Reason: s}) }

func drawText(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "", "é\n"}).Draw(t, "text") }

func drawCondition(t *rapid.T, depth int) gates.WaitCondition {
	some := func() (list []gates.WaitCondition) {
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			list = append(list, drawCondition(t, depth-1))
		}
		return append([]gates.WaitCondition{}, list...)
	}
	last := 4
	if depth == 0 {
		last = 2
	}
	switch rapid.IntRange(0, last).Draw(t, "condition") {
	case 0:
		return gates.WaitUntil{At: event.Timestamp(rapid.Int64().Draw(t, "at"))}
	case 1:
		return gates.WaitEvent{ID: event.ID{rapid.Byte().Draw(t, "id")}}
	case 2:
		return gates.WaitCustom{Tag: drawText(t), Data: []byte(drawText(t))}
	case 3:
		return gates.WaitAll(some())
	}
	return gates.WaitAny(some())
}

func drawError(t *rapid.T) *gates.OutcomeError {
	kind := gates.ErrorKind(rapid.Uint32Range(0, 10).Draw(t, "kind"))
	if rapid.Bool().Draw(t, "custom") {
		kind = gates.CustomError(rapid.Uint16().Draw(t, "number"))
	}
	actions := []gates.Compensation{
		nil, gates.Rollback{Events: []event.ID{{1}, {2}}}, gates.Rollback{Events: []event.ID{}}, gates.Notify{Target: "a", Message: "b"},
		gates.Release{Resources: []string{"x", ""}}, gates.Release{Resources: []string{}}, gates.CustomCompensation{Type: "t", Data: []byte{0, 1}},
	}
	return &gates.OutcomeError{Kind: kind, Message: drawText(t), Compensation: rapid.SampledFrom(actions).Draw(t, "action")}
}

// draw returns a random outcome, with batches nested at most so deep.
func draw(t *rapid.T, depth int) outcome {
	last := 5
	if depth == 0 {
		last = 4
	}
	switch rapid.IntRange(0, last).Draw(t, "variant") {
	case 0:
		return gates.Ok(rapid.IntRange(-9, 9).Draw(t, "value"))
	case 1:
		return gates.Err[int](drawError(t))
	case 2:
		return gates.RetryOf[int](gates.Retry{
			After: time.Duration(rapid.Int64().Draw(t, "after")), Attempt: rapid.Uint32().Draw(t, "attempt"), MaxAttempts: 3, Reason: drawText(t)})
	case 3:
		p := gates.Pending{ResumeToken: [16]byte{rapid.Byte().Draw(t, "token"), 15: 1}}
		if rapid.Bool().Draw(t, "conditional") {
			p.Condition = drawCondition(t, 2)
		}
		return gates.PendingOf[int](p)
	case 4:
		return cancelled(drawText(t))
	}
	return drawBatch(t, depth-1)
}

func drawBatch(t *rapid.T, depth int) outcome {
	var items []outcome
	for range rapid.IntRange(0, 3).Draw(t, "items") {
		items = append(items, draw(t, depth))
	}
	return gates.Batch(items...)
}

// drawFunc returns a function to outcomes, of all sorts, that is the same each time.
func drawFunc(t *rapid.T) func(int) outcome {
	results := make([]outcome, 5)
	for i := range results {
		results[i] = draw(t, 1)
	}
	return func(n int) outcome {
		if i := (n%7 + 7) % 7; i < len(results) {
			return results[i]
		}
		return gates.Ok(n + 1)
	}
}

func same[T any](t *rapid.T, law string, got, want gates.Outcome[T]) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %+v, want %+v", law, got, want)
	}
}

// K7: the laws of functors and monads, on nested outcomes of all sorts.
func TestOutcomeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, f, g, n := draw(t, 3), drawFunc(t), drawFunc(t), rapid.IntRange(-9, 9).Draw(t, "n")
		double, minus := func(n int) int { return 2 * n }, func(n int) int { return n - 3 }
		same(t, "functor identity", gates.Map(m, func(n int) int { return n }), m)
		same(t, "functor composition", gates.Map(gates.Map(m, double), minus), gates.Map(m, func(n int) int { return minus(double(n)) }))
		same(t, "left identity", gates.AndThen(gates.Ok(n), f), f(n))
		same(t, "right identity", gates.AndThen(m, gates.Ok[int]), m)
		same(t, "associativity", gates.AndThen(gates.AndThen(m, f), g),
			gates.AndThen(m, func(n int) outcome { return gates.AndThen(f(n), g) }))
		same(t, "map is then Ok", gates.Map(m, double), gates.AndThen(m, func(n int) outcome { return gates.Ok(double(n)) }))
		same(t, "flatten", gates.Flatten(gates.Map(m, f)), gates.AndThen(m, f))
		same(t, "map of errors, identity", m.MapErr(func(e *gates.OutcomeError) *gates.OutcomeError { return e }), m)
		same(t, "or else Err", m.OrElse(gates.Err[int]), m)
		same(t, "then if never", m.AndThenIf(func(int) bool { return false }, f), m)
		same(t, "then if always", m.AndThenIf(func(int) bool { return true }, f), gates.AndThen(m, f))
		same(t, "inspection", m.Inspect(func(int) {}).InspectErr(func(*gates.OutcomeError) {}), m)
	})
}

// K7: batches under concatenation are a monoid.
func TestBatchLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c, none := drawBatch(t, 2), drawBatch(t, 2), drawBatch(t, 2), gates.Batch[int]()
		same(t, "left unit", gates.Concat(none, a), a)
		same(t, "right unit", gates.Concat(a, none), a)
		same(t, "associativity", gates.Concat(gates.Concat(a, b), c), gates.Concat(a, gates.Concat(b, c)))
		same(t, "of three", gates.Concat(a, b, c), gates.Concat(gates.Concat(a, b), c))
		before := fmt.Sprint(a, b)
		gates.Concat(gates.Concat(a, b), c)
		if fmt.Sprint(a, b) != before {
			t.Fatal("a batch was changed")
		}
	})
	given := []outcome{gates.Ok(1), gates.Ok(2)}
	batch := gates.Batch(given...)
	items, _ := batch.Items()
	given[0], items[1] = gates.Ok(8), gates.Ok(9)
	if !reflect.DeepEqual(batch, gates.Batch(gates.Ok(1), gates.Ok(2))) {
		t.Error("a batch shares its items:", batch)
	}
	if got := gates.Concat[int](); !reflect.DeepEqual(got, gates.Batch[int]()) {
		t.Error(got)
	}
	if got := gates.Concat(gates.Ok(1), gates.Batch(gates.Ok(2))); !reflect.DeepEqual(got, gates.Batch(gates.Ok(1), gates.Ok(2))) {
		t.Error(got)
	}
}

// The combinators act on what they say and on nothing else.
func TestCombinators(t *testing.T) {
	all := gates.Batch(gates.Ok(1), failed("x"), retried("r"), gates.Batch(gates.Ok(2), failed("y"), pending("p")), cancelled("c"))
	var values []int
	var errs []string
	all.Inspect(func(n int) { values = append(values, n) }).InspectErr(func(e *gates.OutcomeError) { errs = append(errs, e.Message) })
	if !slices.Equal(values, []int{1, 2}) || !slices.Equal(errs, []string{"x", "y"}) {
		t.Error(values, errs)
	}
	for name, tt := range map[string][2]any{
		"map": {gates.Map(all, func(n int) int { return 10 * n }), gates.Batch(gates.Ok(10), failed("x"), retried("r"), gates.Batch(gates.Ok(20), failed("y"), pending("p")), cancelled("c"))},
		"map err": {all.MapErr(func(e *gates.OutcomeError) *gates.OutcomeError {
			return &gates.OutcomeError{Kind: e.Kind, Message: e.Message + "!"}
		}), gates.Batch(gates.Ok(1), failed("x!"), retried("r"), gates.Batch(gates.Ok(2), failed("y!"), pending("p")), cancelled("c"))},
		"or else":  {all.OrElse(func(e *gates.OutcomeError) outcome { return gates.Ok(len(e.Message)) }), gates.Batch(gates.Ok(1), gates.Ok(1), retried("r"), gates.Batch(gates.Ok(2), gates.Ok(1), pending("p")), cancelled("c"))},
		"then if":  {all.AndThenIf(func(n int) bool { return n > 1 }, func(int) outcome { return cancelled("big") }), gates.Batch(gates.Ok(1), failed("x"), retried("r"), gates.Batch(cancelled("big"), failed("y"), pending("p")), cancelled("c"))},
		"and then": {gates.AndThen(all, func(n int) outcome { return gates.Batch(gates.Ok(n), gates.Ok(n)) }), gates.Batch(gates.Batch(gates.Ok(1), gates.Ok(1)), failed("x"), retried("r"), gates.Batch(gates.Batch(gates.Ok(2), gates.Ok(2)), failed("y"), pending("p")), cancelled("c"))},
	} {
		if !reflect.DeepEqual(tt[0], tt[1]) {
			t.Errorf("%s: got %+v", name, tt[0])
		}
	}
}

// K8: zip over all pairs of variants. The first of a row is a, the first of a column is b; a and b in a cell say whose
// result it is.
func TestZip(t *testing.T) {
	const table = `
a \ b      err  cancelled  retry  pending  batch  ok
err        a    a          a      a        a      a
cancelled  b    a          a      a        a      a
retry      b    b          a      a        a      a
pending    b    b          b      a        a      a
batch      b    b          b      b        pairs  items
ok         b    b          b      b        items  values`
	make := func(variant, s string, n int) outcome {
		return map[string]outcome{
			"err": failed(s), "cancelled": cancelled(s), "retry": retried(s), "pending": pending(s),
			"batch": gates.Batch(gates.Ok(n), gates.Ok(n+1)), "ok": gates.Ok(n),
		}[variant]
	}
	rows := strings.Split(strings.TrimSpace(table), "\n")
	columns := strings.Fields(rows[0])[3:]
	cells := 0
	for _, row := range rows[1:] {
		fields := strings.Fields(row)
		for i, cell := range fields[1:] {
			a, b := make(fields[0], "a", 10), make(columns[i], "b", 1)
			got := gates.Zip(a, b, func(x, y int) int { return x - y })
			want := map[string]outcome{"a": a, "b": b, "values": gates.Ok(9), "pairs": gates.Batch(gates.Ok(9), gates.Ok(9))}[cell]
			switch {
			case cell == "items" && fields[0] == "ok":
				want = gates.Batch(gates.Ok(9), gates.Ok(8))
			case cell == "items":
				want = gates.Batch(gates.Ok(9), gates.Ok(10))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s and %s: got %+v, want %+v", fields[0], columns[i], got, want)
			}
			cells++
		}
	}
	if cells != 36 {
		t.Errorf("%d pairs", cells)
	}
	add := func(x, y int) int { return x + y }
	uneven := gates.Zip(gates.Batch(gates.Ok(1)), gates.Batch[int](), add)
	if e, ok := uneven.Err(); !ok || e.Kind != gates.ErrorInternal {
		t.Error(uneven)
	}
	nested := gates.Zip(gates.Batch(gates.Batch(gates.Ok(1), failed("a")), gates.Ok(2)), gates.Batch(gates.Ok(10), gates.Batch(gates.Ok(20), retried("b"))), add)
	want := gates.Batch(gates.Batch(gates.Ok(11), failed("a")), gates.Batch(gates.Ok(22), retried("b")))
	if !reflect.DeepEqual(nested, want) {
		t.Errorf("got %+v", nested)
	}
	if empty := gates.Zip(gates.Batch[int](), gates.Batch[int](), add); !reflect.DeepEqual(empty, gates.Batch[int]()) {
		t.Error(empty)
	}
}

// A zipped is what a and b come to by the table of TestZip, in words: of a batch its items, of others a line of text.
type zipped struct {
	text  string
	items []zipped
	batch bool
}

// inWords returns an outcome as a zipped, with what show says of a value.
func inWords[T any](o gates.Outcome[T], show func(T) string) zipped {
	if items, ok := o.Items(); ok {
		z := zipped{batch: true}
		for _, item := range items {
			z.items = append(z.items, inWords(item, show))
		}
		return z
	}
	if v, ok := o.Value(); ok {
		return zipped{text: "ok " + show(v)}
	}
	if e, ok := o.Err(); ok {
		return zipped{text: fmt.Sprintf("err %#v", *e)}
	}
	if c, ok := o.Cancelled(); ok {
		return zipped{text: fmt.Sprintf("cancelled %#v", c)}
	}
	if r, ok := o.Retry(); ok {
		return zipped{text: fmt.Sprintf("retry %#v", r)}
	}
	p, _ := o.Pending()
	return zipped{text: fmt.Sprintf("pending %#v", p)}
}

// zipInWords is the model of Zip: what stands in the way, in the order of the table, and else pairs of values. A value beside a batch
// is a batch of that value as long as the other.
func zipInWords(a, b zipped) zipped {
	for _, word := range []string{"err", "cancelled", "retry", "pending"} {
		for _, z := range []zipped{a, b} {
			if !z.batch && strings.HasPrefix(z.text, word+" ") {
				return z
			}
		}
	}
	if !a.batch && !b.batch {
		return zipped{text: "ok (" + a.text[3:] + ", " + b.text[3:] + ")"}
	}
	as, bs := a.items, b.items
	if !a.batch {
		as = slices.Repeat([]zipped{a}, len(bs))
	}
	if !b.batch {
		bs = slices.Repeat([]zipped{b}, len(as))
	}
	if len(as) != len(bs) {
		return zipped{text: "uneven"}
	}
	z := zipped{batch: true}
	for i := range as {
		z.items = append(z.items, zipInWords(as[i], bs[i]))
	}
	return z
}

// uneven makes the errors of batches that cannot be zipped what the model says, whose message is not its business.
func (z zipped) uneven() zipped {
	for i := range z.items {
		z.items[i] = z.items[i].uneven()
	}
	if strings.HasPrefix(z.text, "err ") && strings.Contains(z.text, "cannot be zipped") {
		z.text = "uneven"
	}
	return z
}

// drawBeside returns an outcome to zip with o: of batches mostly one of as many items, so that whole trees are zipped, and else a
// batch of any length, a value or whatever comes.
func drawBeside(t *rapid.T, o outcome) outcome {
	items, ok := o.Items()
	switch choice := rapid.IntRange(0, 7).Draw(t, "beside"); {
	case ok && choice < 4:
		for i := range items {
			items[i] = drawBeside(t, items[i])
		}
		return gates.Batch(items...)
	case choice < 5:
		return gates.Ok(rapid.IntRange(-9, 9).Draw(t, "value"))
	case choice < 7:
		return drawBatch(t, 1)
	}
	return draw(t, 2)
}

// K8: zip of nested outcomes of all sorts is what the model says, and nothing is called for what is not there.
func TestZipModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			a := drawBeside(t, drawBatch(t, 2)) // more often a batch than draw makes one
			b := drawBeside(t, a)
			checkZip(t, a, b)
			checkZip(t, b, a)
		}
	})
}

// checkZip zips two outcomes and compares what comes of it with the model.
func checkZip(t *rapid.T, a, b outcome) {
	t.Helper()
	calls := 0
	pair := func(x, y int) string { calls++; return fmt.Sprintf("(%d, %d)", x, y) }
	got := inWords(gates.Zip(a, b, pair), func(s string) string { return s }).uneven()
	number := func(n int) string { return fmt.Sprint(n) }
	want := zipInWords(inWords(a, number), inWords(b, number))
	if !reflect.DeepEqual(got, want) || calls != want.values() {
		t.Fatalf("%+v and %+v, by %d calls: got %+v, want %+v", a, b, calls, got, want)
	}
}

// values returns how many values there are.
func (z zipped) values() (n int) {
	for _, item := range z.items {
		n += item.values()
	}
	if strings.HasPrefix(z.text, "ok ") {
		n++
	}
	return n
}

// K9, and what comes between.
func TestJoin(t *testing.T) {
	ok, batch, internal := gates.Ok[int], gates.Batch[int], gates.ErrorInternal
	if values, err := gates.JoinAll[int]().Result(); err != nil || values == nil || len(values) != 0 {
		t.Error("of nothing, all:", values, err)
	}
	for name, none := range map[string]outcome{"nothing": gates.JoinAny[int](), "an empty batch": gates.JoinAny(batch(), batch(batch()))} {
		if e, is := none.Err(); !is || e.Kind != internal {
			t.Errorf("of %s, any: %v", name, none)
		}
	}
	for name, tt := range map[string]struct {
		list []outcome
		all  string // values, or the text of the first that is none
		any  outcome
	}{
		"one":                   {[]outcome{ok(1)}, "[1]", ok(1)},
		"values":                {[]outcome{ok(1), ok(2)}, "[1 2]", ok(1)},
		"values in batches":     {[]outcome{batch(ok(1), batch(ok(2))), batch(), ok(3)}, "[1 2 3]", ok(1)},
		"an error first":        {[]outcome{failed("x"), ok(1)}, "conflict: x", ok(1)},
		"errors":                {[]outcome{failed("x"), failed("y")}, "conflict: x", failed("y")},
		"an error in a batch":   {[]outcome{ok(1), batch(ok(2), failed("x")), retried("r")}, "conflict: x", ok(1)},
		"errors, then a batch":  {[]outcome{failed("x"), batch(failed("y"), batch(ok(5)))}, "conflict: x", ok(5)},
		"errors and no more":    {[]outcome{failed("x"), batch(failed("y")), batch()}, "conflict: x", failed("y")},
		"a retry before":        {[]outcome{failed("x"), retried("r"), ok(1)}, "conflict: x", retried("r")},
		"pending before":        {[]outcome{pending("p"), ok(1)}, "pending: to be resumed with token 00000000000000000000000000000000", pending("p")},
		"cancelled before":      {[]outcome{batch(cancelled("c")), ok(1)}, "cancelled: c", cancelled("c")},
		"a retry that is after": {[]outcome{ok(1), retried("r")}, "timeout: attempt 1 of 0: r", ok(1)},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := gates.JoinAll(tt.list...).Result()
			if got := fmt.Sprint(values); err == nil && got != tt.all || err != nil && err.Error() != tt.all {
				t.Error("all:", values, err)
			}
			if got := gates.JoinAny(tt.list...); !reflect.DeepEqual(got, tt.any) {
				t.Error("any:", got)
			}
		})
	}
}

func TestResult(t *testing.T) {
	for name, tt := range map[string]struct {
		o        outcome
		kind     gates.ErrorKind
		terminal bool
	}{
		"err":       {failed("x"), gates.ErrorConflict, true},
		"nil err":   {gates.Err[int](nil), gates.ErrorInternal, true},
		"zero":      {outcome{}, gates.ErrorInternal, true},
		"cancelled": {cancelled("x"), gates.ErrorCancelled, true},
		"retry":     {retried("x"), gates.ErrorTimeout, false},
		"pending":   {pending("x"), gates.ErrorPending, false},
		"batch":     {gates.Batch(gates.Ok(1)), gates.ErrorBatchCollapse, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.o.Result()
			var e *gates.OutcomeError
			if !errors.As(err, &e) || e.Kind != tt.kind || tt.o.IsTerminal() != tt.terminal {
				t.Error(err)
			}
			_, isOk := tt.o.Value()
			_, isErr := tt.o.Err()
			_, isRetry := tt.o.Retry()
			_, isPending := tt.o.Pending()
			_, isCancelled := tt.o.Cancelled()
			_, isBatch := tt.o.Items()
			got := fmt.Sprint(isOk, isErr, isRetry, isPending, isCancelled, isBatch)
			want := fmt.Sprint(false, strings.HasSuffix(name, "err") || name == "zero", name == "retry", name == "pending", name == "cancelled", name == "batch")
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	if v, err := gates.Ok(7).Result(); v != 7 || err != nil || !gates.Ok(7).IsTerminal() {
		t.Error(v, err)
	}
}

func TestErrorKinds(t *testing.T) {
	for _, tt := range []struct {
		kind  gates.ErrorKind
		text  string
		is    string // domain, operational, retryable
		class error
	}{
		{gates.ErrorNotFound, "not_found", "d", event.ErrNotFound},
		{gates.ErrorConflict, "conflict", "d", event.ErrConflict},
		{gates.ErrorValidation, "validation", "d", event.ErrInvalid},
		{gates.ErrorPolicyRejection, "policy_rejection", "d", event.ErrDenied},
		{gates.ErrorCancelled, "cancelled", "d", nil},
		{gates.ErrorStorage, "storage", "or", nil},
		{gates.ErrorTimeout, "timeout", "or", nil},
		{gates.ErrorPending, "pending", "o", nil},
		{gates.ErrorSerialization, "serialization", "o", nil},
		{gates.ErrorInternal, "internal", "o", nil},
		{gates.ErrorBatchCollapse, "batch_collapse", "o", nil},
		{gates.CustomError(0), "custom:0", "", nil},
		{gates.CustomError(65535), "custom:65535", "", nil},
	} {
		is := ""
		if tt.kind.IsDomain() {
			is += "d"
		}
		if tt.kind.IsOperational() {
			is += "o"
		}
		if tt.kind.IsRetryable() {
			is += "r"
		}
		var back gates.ErrorKind
		err := back.UnmarshalText([]byte(tt.text))
		if tt.kind.String() != tt.text || is != tt.is || back != tt.kind || err != nil {
			t.Errorf("%s: %s, read as %s, %v", tt.kind, is, back, err)
		}
		for _, class := range []error{event.ErrNotFound, event.ErrConflict, event.ErrInvalid, event.ErrDenied} {
			if errors.Is(&gates.OutcomeError{Kind: tt.kind}, class) != (class == tt.class) {
				t.Errorf("%s matches %v", tt.kind, class)
			}
		}
	}
	for _, text := range []string{"", "Internal", "custom", "custom:", "custom:65536", "custom:007", "custom:-1", "7"} {
		if err := new(gates.ErrorKind).UnmarshalText([]byte(text)); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, k := range []gates.ErrorKind{11, 1<<17 | 3, 1<<32 - 1} {
		if _, err := k.MarshalText(); err == nil || k.String() != "unknown" || k.IsOperational() || k.IsDomain() {
			t.Error(k)
		}
	}
}

func TestOutcomeJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := draw(t, 3)
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back outcome
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		same(t, string(b), back, o)
	})
	for want, o := range map[string]any{
		`{"type":"ok","data":{"Limit":5}}`:                                                                                 gates.Ok(caller{5}),
		`{"type":"ok","data":null}`:                                                                                        gates.Ok[*int](nil),
		`{"type":"ok","data":{"type":"ok","data":1}}`:                                                                      gates.Ok(gates.Ok(1)),
		`{"type":"err","data":{"kind":"conflict","message":"x"}}`:                                                          failed("x"),
		`{"type":"retry","data":{"after_ns":0,"attempt":1,"max_attempts":0,"reason":"x"}}`:                                 retried("x"),
		`{"type":"pending","data":{"resume_token":"` + strings.Repeat("0", 32) + `"}}`:                                     gates.PendingOf[int](gates.Pending{}),
		`{"type":"cancelled","data":{"reason":"x"}}`:                                                                       cancelled("x"),
		`{"type":"batch","data":[{"type":"batch","data":[]}]}`:                                                             gates.Batch(gates.Batch[int]()),
		`{"type":"err","data":{"kind":"internal","message":"outcome was never set"}}`:                                      outcome{},
		`{"type":"err","data":{"kind":"internal","message":"","compensation":{"type":"release","data":{"resources":[]}}}}`: gates.Err[int](&gates.OutcomeError{Compensation: gates.Release{}}),
	} {
		if b, err := json.Marshal(o); string(b) != want || err != nil {
			t.Errorf("got %s, %v, want %s", b, err, want)
		}
	}
}

func TestOutcomeJSONIsStrict(t *testing.T) {
	token := strings.Repeat("0", 32)
	for _, text := range []string{
		`null`, `1`, `[]`, `{}`, `{"type":"ok"}`, `{"data":1}`, `{"type":"ok","data":1,"x":2}`, `{"type":"ok","data":1,"data":2}`,
		`{"Type":"ok","data":1}`, `{"type":"OK","data":1}`, `{"type":null,"data":1}`, `{"type":1,"data":1}`, `{"type":"ok","data":"1"}`,
		`{"type":"batch","data":null}`, `{"type":"batch","data":{}}`, `{"type":"batch","data":[null]}`, `{"type":"batch","data":[1]}`,
		`{"type":"cancelled","data":{}}`, `{"type":"cancelled","data":null}`, `{"type":"cancelled","data":{"reason":null}}`,
		`{"type":"cancelled","data":{"Reason":"x"}}`, `{"type":"cancelled","data":{"reason":"x","more":1}}`,
		`{"type":"retry","data":{"after_ns":0,"attempt":1,"reason":"x"}}`,
		`{"type":"retry","data":{"after_ns":0,"attempt":-1,"max_attempts":0,"reason":"x"}}`,
		`{"type":"retry","data":{"after_ns":0.5,"attempt":1,"max_attempts":0,"reason":"x"}}`,
		`{"type":"err","data":{"kind":"other","message":"x"}}`, `{"type":"err","data":{"kind":"internal"}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":null}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"other","data":{}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"notify","data":{"target":"x"}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"rollback","data":{"events":["x"]}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"rollback","data":{"events":[null]}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"release","data":{"resources":["a",null]}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"custom","data":{"type":"t","data":[1,2]}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"custom","data":{"type":"t","data":"AQ\r\n=="}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"custom","data":{"type":"t","data":"AR=="}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"custom","data":{"type":"t","data":null}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"x","compensation":{"type":"release","data":{"resources":["a","\udc00"]}}}}`,
		`{"type":"err","data":{"kind":"internal","message":"\ud83d","compensation":{"type":"notify","data":{"target":"x","message":"x"}}}}`,
		`{"type":"retry","data":{"after_ns":-0,"attempt":1,"max_attempts":0,"reason":"x"}}`,
		`{"type":"retry","data":{"after_ns":0,"attempt":-0,"max_attempts":0,"reason":"x"}}`,
		`{"type":"cancelled","data":{"reason":"\ud800"}}`, `{"type":"cancelled","data":{"reason":"x\udbffy"}}`,
		`{"type":"cancelled","data":{"reason":"\ud83d\ud83d\ude00"}}`, `{"type":"cancelled","data":{"reason":"\ude00\ud83d"}}`,
		`{"type":"cancelled","data":{"reason":"\\\ud800"}}`, `{"type":"cancelled","data":{"reason":"\ud83d\\ude00"}}`,
		"{\"type\":\"cancelled\",\"data\":{\"reason\":\"\xff\"}}",
		`{"type":"pending","data":{}}`, `{"type":"pending","data":{"resume_token":"00"}}`,
		`{"type":"pending","data":{"resume_token":"` + token + `00"}}`, `{"type":"pending","data":{"resume_token":"` + token[1:] + `A"}}`,
		`{"type":"pending","data":{"resume_token":"` + token + `","condition":null}}`,
		`{"type":"pending","data":{"resume_token":"` + token + `","condition":{"type":"other","data":{}}}}`,
		`{"type":"pending","data":{"resume_token":"` + token + `","condition":{"type":"all","data":null}}}`,
		`{"type":"pending","data":{"resume_token":"` + token + `","condition":{"type":"any","data":[null]}}}`,
		`{"type":"pending","data":{"resume_token":"` + token + `","condition":{"type":"until","data":{}}}}`,
	} {
		o := gates.Ok(5)
		if err := json.Unmarshal([]byte(text), &o); !errors.Is(err, event.ErrInvalid) || !reflect.DeepEqual(o, gates.Ok(5)) {
			t.Errorf("%s: %v, %v", text, o, err)
		}
	}
	for _, text := range []string{`{"type":"ok","data":1`, `{"type":"ok","data":1} x`, `{"type":"ok","data":1}{}`, `{"type"`, ``} {
		o := gates.Ok(5)
		if err := o.UnmarshalJSON([]byte(text)); !errors.Is(err, event.ErrInvalid) || !reflect.DeepEqual(o, gates.Ok(5)) {
			t.Errorf("%s: %v, %v", text, o, err)
		}
	}
	for _, o := range []outcome{
		gates.Err[int](&gates.OutcomeError{Compensation: &gates.Notify{}}), gates.Batch(gates.Err[int](&gates.OutcomeError{Compensation: (*gates.Release)(nil)})),
		gates.PendingOf[int](gates.Pending{Condition: &gates.WaitCustom{}}),
	} {
		if b, err := json.Marshal(o); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s, %v", b, err)
		}
	}
	var typed gates.Outcome[caller]
	if err := json.Unmarshal([]byte(`{"type":"ok","data":{"Limit":5,"more":1}}`), &typed); !errors.Is(err, event.ErrInvalid) {
		t.Error(err)
	}
}

// TestOutcomeJSONEscapes reads texts in which characters are escaped.
func TestOutcomeJSONEscapes(t *testing.T) {
	for text, want := range map[string]string{
		`\ud83d\ude00`: "\U0001F600", `\uD83D\uDE00\ud83d\ude00`: "\U0001F600\U0001F600", `\\ud800`: `\ud800`, `\ufffd`: "\uFFFD", `\"\u0041\n`: "\"A\n",
	} {
		var o outcome
		err := json.Unmarshal([]byte(`{"type":"cancelled","data":{"reason":"`+text+`"}}`), &o)
		if c, ok := o.Cancelled(); err != nil || !ok || c.Reason != want {
			t.Errorf("%s: %q, %v", text, c.Reason, err)
		}
	}
}

func TestOutcomeJSONDepth(t *testing.T) {
	o, condition := gates.Ok(1), gates.WaitCondition(gates.WaitUntil{})
	for range gates.MaxNesting - 1 {
		o, condition = gates.Batch(o), gates.WaitAll{condition}
	}
	for name, tt := range map[string][2]outcome{
		"batches":    {o, gates.Batch(o)},
		"conditions": {gates.PendingOf[int](gates.Pending{Condition: condition}), gates.PendingOf[int](gates.Pending{Condition: gates.WaitAny{condition}})},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(tt[0])
			if err != nil {
				t.Fatal(err)
			}
			var back outcome
			if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, tt[0]) {
				t.Error(back, err)
			}
			if b, err := json.Marshal(tt[1]); !errors.Is(err, event.ErrInvalid) {
				t.Errorf("%s, %v", b, err)
			}
			leaf, deeper := `{"type":"ok","data":1}`, `{"type":"batch","data":[{"type":"ok","data":1}]}`
			if name == "conditions" {
				leaf, deeper = `{"type":"until","data":{"at_us":0}}`, `{"type":"any","data":[{"type":"until","data":{"at_us":0}}]}`
			}
			text := strings.Replace(string(b), leaf, deeper, 1)
			if err := json.Unmarshal([]byte(text), &back); text == string(b) || !errors.Is(err, event.ErrInvalid) {
				t.Error(err)
			}
		})
	}
	if _, err := json.Marshal(gates.PendingOf[int](gates.Pending{Condition: gates.WaitAll{nil}})); !errors.Is(err, event.ErrInvalid) {
		t.Error(err)
	}
}

func FuzzOutcomeJSON(f *testing.F) {
	for _, o := range []outcome{gates.Ok(1), failed("x"), retried("r"), pending("p"), cancelled("c"), gates.Batch(gates.Ok(1), gates.Batch[int]()),
		gates.Err[int](&gates.OutcomeError{Kind: gates.CustomError(7), Compensation: gates.Notify{Target: "a"}})} {
		b, err := json.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var o, back outcome
		if json.Unmarshal(b, &o) != nil {
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &back); err != nil || !reflect.DeepEqual(o, back) {
			t.Fatalf("%s read and written is %s: %v", b, again, err)
		}
	})
}
