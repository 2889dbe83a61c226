package gates

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/batpak/batpak/event"
)

// An outcome is a JSON object {"type", "data"}, and so are conditions and compensations:
//
//	ok         the value, as its type encodes
//	err        {"kind", "message", "compensation"}; compensation, one of those below, only if there is one
//	retry      {"after_ns", "attempt", "max_attempts", "reason"}
//	pending    {"condition", "resume_token"}; condition, one of those below, only if there is one
//	cancelled  {"reason"}
//	batch      an array of outcomes
//
//	rollback {"events"} · notify {"target", "message"} · release {"resources"} · custom {"type", "data"}
//	until {"at_us"} · event {"id"} · all, any: an array of conditions · custom {"tag", "data"}
//
// Reading is strict: every member is there once, by its exact name, and there is no other. What lies within the data of ok is for
// the type of the value to say.

// MaxNesting is how deep the batches of an outcome, or the conditions of a [Pending], may be nested in JSON.
const MaxNesting = 32

var errNesting = fmt.Errorf("nested deeper than %d: %w", MaxNesting, event.ErrInvalid)

type tagged struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

type errJSON struct {
	Kind         ErrorKind `json:"kind"`
	Message      string    `json:"message"`
	Compensation any       `json:"compensation,omitempty"`
}

type retryJSON struct {
	After       time.Duration `json:"after_ns"`
	Attempt     uint32        `json:"attempt"`
	MaxAttempts uint32        `json:"max_attempts"`
	Reason      string        `json:"reason"`
}

type pendingJSON struct {
	Condition   any   `json:"condition,omitempty"`
	ResumeToken Token `json:"resume_token"`
}

type cancelledJSON struct {
	Reason string `json:"reason"`
}

// MarshalJSON returns {"type", "data"}. Invalid UTF-8 in texts is replaced, as package json does it.
func (o Outcome[T]) MarshalJSON() ([]byte, error) {
	t, err := o.tagged(MaxNesting)
	if err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

func (o Outcome[T]) tagged(depth int) (t tagged, err error) {
	if depth == 0 {
		return t, errNesting
	}
	switch o.variant {
	case variantOk:
		t = tagged{"ok", o.value}
	case variantErr:
		e, _ := o.Err()
		var undo any
		undo, err = tagCompensation(e.Compensation)
		t = tagged{"err", errJSON{e.Kind, e.Message, undo}}
	case variantCancelled:
		c, _ := o.Cancelled()
		t = tagged{"cancelled", cancelledJSON(c)}
	case variantRetry:
		r, _ := o.Retry()
		t = tagged{"retry", retryJSON(r)}
	case variantPending:
		p, _ := o.Pending()
		body := pendingJSON{ResumeToken: p.ResumeToken}
		if p.Condition != nil {
			body.Condition, err = tagCondition(p.Condition, MaxNesting)
		}
		t = tagged{"pending", body}
	case variantBatch:
		t.Type = "batch"
		t.Data, err = tagEach(o.items, func(item Outcome[T]) (tagged, error) { return item.tagged(depth - 1) })
	}
	return t, err
}

func tagEach[V any](list []V, tag func(V) (tagged, error)) ([]tagged, error) {
	all := make([]tagged, len(list))
	for i, v := range list {
		var err error
		if all[i], err = tag(v); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func tagCompensation(c Compensation) (any, error) {
	switch c := c.(type) {
	case nil:
		return nil, nil
	case Rollback:
		return tagged{"rollback", Rollback{append([]event.ID{}, c.Events...)}}, nil
	case Notify:
		return tagged{"notify", c}, nil
	case Release:
		return tagged{"release", Release{append([]string{}, c.Resources...)}}, nil
	case CustomCompensation:
		return tagged{"custom", CustomCompensation{c.Type, append([]byte{}, c.Data...)}}, nil
	}
	return nil, fmt.Errorf("compensation of type %T: %w", c, event.ErrInvalid)
}

func tagCondition(c WaitCondition, depth int) (t tagged, err error) {
	if depth == 0 {
		return t, errNesting
	}
	deeper := func(c WaitCondition) (tagged, error) { return tagCondition(c, depth-1) }
	switch c := c.(type) {
	case WaitUntil:
		t = tagged{"until", c}
	case WaitEvent:
		t = tagged{"event", c}
	case WaitAll:
		t.Type = "all"
		t.Data, err = tagEach(c, deeper)
	case WaitAny:
		t.Type = "any"
		t.Data, err = tagEach(c, deeper)
	case WaitCustom:
		t = tagged{"custom", WaitCustom{c.Tag, append([]byte{}, c.Data...)}}
	default:
		err = fmt.Errorf("condition of type %T: %w", c, event.ErrInvalid)
	}
	return t, err
}

// UnmarshalJSON reads what MarshalJSON writes.
func (o *Outcome[T]) UnmarshalJSON(b []byte) error {
	if !json.Valid(b) || !utf8.Valid(b) { // package json has looked for the first, another caller may not have
		return fmt.Errorf("outcome: %.40q is not JSON in UTF-8: %w", b, event.ErrInvalid)
	}
	read, err := readOutcome[T](b, MaxNesting)
	if err != nil {
		return fmt.Errorf("outcome: %w", err)
	}
	*o = read
	return nil
}

func readOutcome[T any](b []byte, depth int) (Outcome[T], error) {
	var none Outcome[T]
	if depth == 0 {
		return none, errNesting
	}
	typ, data, err := untag(b)
	if err != nil {
		return none, err
	}
	switch typ {
	case "ok":
		v, err := strict[T](data)
		return Ok(v), err
	case "err":
		e, err := readError(data)
		return Err[T](e), err
	case "cancelled":
		c, err := record[cancelledJSON](data, "reason")
		return CancelledOf[T](Cancelled(c)), err
	case "retry":
		r, err := record[retryJSON](data, "after_ns", "attempt", "max_attempts", "reason")
		return RetryOf[T](Retry(r)), err
	case "pending":
		p, err := readPending(data)
		return PendingOf[T](p), err
	case "batch":
		items, err := readEach(data, func(item []byte) (Outcome[T], error) { return readOutcome[T](item, depth-1) })
		return Batch(items...), err
	}
	return none, fmt.Errorf("type %.40q is unknown: %w", typ, event.ErrInvalid)
}

func readError(data []byte) (*OutcomeError, error) {
	e, err := record[struct {
		Kind         ErrorKind       `json:"kind"`
		Message      string          `json:"message"`
		Compensation json.RawMessage `json:"compensation"`
	}](data, "kind", "message", "compensation?")
	if err != nil {
		return nil, err
	}
	read := &OutcomeError{Kind: e.Kind, Message: e.Message}
	if e.Compensation != nil {
		read.Compensation, err = readCompensation(e.Compensation)
	}
	return read, err
}

func readCompensation(b []byte) (Compensation, error) {
	typ, data, err := untag(b)
	if err != nil {
		return nil, err
	}
	switch typ {
	case "rollback":
		return record[Rollback](data, "events")
	case "notify":
		return record[Notify](data, "target", "message")
	case "release":
		return record[Release](data, "resources")
	case "custom":
		return record[CustomCompensation](data, "type", "data")
	}
	return nil, fmt.Errorf("compensation %.40q is unknown: %w", typ, event.ErrInvalid)
}

func readPending(data []byte) (Pending, error) {
	p, err := record[struct {
		Condition   json.RawMessage `json:"condition"`
		ResumeToken Token           `json:"resume_token"`
	}](data, "condition?", "resume_token")
	if err != nil {
		return Pending{}, err
	}
	read := Pending{ResumeToken: p.ResumeToken}
	if p.Condition != nil {
		read.Condition, err = readCondition(p.Condition, MaxNesting)
	}
	return read, err
}

func readCondition(b []byte, depth int) (WaitCondition, error) {
	if depth == 0 {
		return nil, errNesting
	}
	typ, data, err := untag(b)
	if err != nil {
		return nil, err
	}
	deeper := func(b []byte) (WaitCondition, error) { return readCondition(b, depth-1) }
	switch typ {
	case "until":
		return record[WaitUntil](data, "at_us")
	case "event":
		return record[WaitEvent](data, "id")
	case "all":
		list, err := readEach(data, deeper)
		return WaitAll(list), err
	case "any":
		list, err := readEach(data, deeper)
		return WaitAny(list), err
	case "custom":
		return record[WaitCustom](data, "tag", "data")
	}
	return nil, fmt.Errorf("condition %.40q is unknown: %w", typ, event.ErrInvalid)
}

func untag(b []byte) (string, json.RawMessage, error) {
	m, err := members(b)
	if err != nil {
		return "", nil, err
	}
	if err := exactly(m, "type", "data"); err != nil {
		return "", nil, err
	}
	typ, err := strict[string](m["type"])
	return typ, m["data"], err
}

// readEach reads the elements of an array.
func readEach[V any](b []byte, read func([]byte) (V, error)) ([]V, error) {
	raw, err := strict[[]json.RawMessage](b)
	if err == nil && raw == nil {
		err = fmt.Errorf("null in place of an array: %w", event.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	all := make([]V, len(raw))
	for i := range raw {
		if all[i], err = read(raw[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// record reads an object that has exactly these members, none of them null. One whose name ends in "?" may be absent.
func record[V any](b []byte, names ...string) (v V, err error) {
	m, err := members(b)
	if err != nil {
		return v, err
	}
	if err := exactly(m, names...); err != nil {
		return v, err
	}
	for name, value := range m {
		if err := checkMember(name, value); err != nil {
			return v, fmt.Errorf("member %q: %w", name, err)
		}
	}
	return strict[V](b)
}

// checkMember refuses what package json takes for a value that it is not.
func checkMember(name string, value json.RawMessage) error {
	if err := checkScalar(value); err != nil {
		return err
	}
	if name == "data" {
		return checkBytes(value)
	}
	if value[0] != '[' {
		return nil
	}
	_, err := readEach(value, func(item []byte) (struct{}, error) { return struct{}{}, checkScalar(item) })
	return err
}

// checkBytes refuses what is not one text of base64.
func checkBytes(value json.RawMessage) error {
	text, err := strict[string](value)
	if err == nil && strings.ContainsAny(text, "\r\n") {
		err = fmt.Errorf("more than one line: %w", event.ErrInvalid)
	}
	if err == nil {
		if _, bad := base64.StdEncoding.Strict().DecodeString(text); bad != nil {
			err = fmt.Errorf("%w: %w", event.ErrInvalid, bad)
		}
	}
	return err
}

// checkScalar refuses null, the zero below zero, and text with half of a pair of surrogates.
func checkScalar(value json.RawMessage) error {
	switch {
	case string(value) == "null", string(value) == "-0":
		return fmt.Errorf("%s: %w", value, event.ErrInvalid)
	case value[0] == '"' && !paired(value):
		return fmt.Errorf("%.40s has half of a pair of surrogates: %w", value, event.ErrInvalid)
	}
	return nil
}

// paired reports whether every surrogate that a JSON text names is one of a pair.
func paired(text []byte) bool {
	var high rune // that waits for its other half
	for i := 0; i < len(text); i++ {
		r := rune(0)
		if text[i] == '\\' {
			if i++; text[i] == 'u' {
				n, _ := strconv.ParseUint(string(text[i+1:i+5]), 16, 16) // it is JSON
				r, i = rune(n), i+4
			}
		}
		switch {
		case high != 0:
			if utf16.DecodeRune(high, r) == utf8.RuneError {
				return false
			}
			high = 0
		case utf16.IsSurrogate(r):
			high = r
		}
	}
	return high == 0
}

// members splits an object. None may be there twice.
func members(b []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("%.20q is not an object: %w", b, event.ErrInvalid)
	}
	m := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		key := name.(string) // as the name of a member always is
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("member %.40q is there twice: %w", key, event.ErrInvalid)
		}
		m[key] = value
	}
	return m, nil
}

// exactly checks that the members are those named.
func exactly(m map[string]json.RawMessage, names ...string) error {
	known := 0
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		if _, ok := m[name]; ok {
			known++
		} else if !optional {
			return fmt.Errorf("member %q is missing: %w", name, event.ErrInvalid)
		}
	}
	if known < len(m) {
		return fmt.Errorf("%d members are unknown: %w", len(m)-known, event.ErrInvalid)
	}
	return nil
}

// strict reads exactly one value, of which every member is known to V.
func strict[V any](b []byte) (v V, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %w", event.ErrInvalid, err)
	}
	return v, nil
}
