package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batpak/batpak"
)

// eventHelp lists the fields of an event in JSON.
const eventHelp = `Fields of an event: seq, id, time, entity, scope, lane, clock, kind, correlation, causation (if it names a cause), key (if it
has an idempotency key), payload_version, payload_length, content, prev, hash, extensions (those that are text),
extensions_base64 (the others), payload or payload_base64.
` + payloadHelp

// An instant is a time in JSON: RFC 3339 in UTC with microseconds. It is read from microseconds since 1970 as well, as
// package batpak writes times itself.
type instant batpak.Timestamp

// MarshalJSON writes RFC 3339, or the number where that has no year for it, before 0 and behind 9999.
func (t instant) MarshalJSON() ([]byte, error) {
	if year := batpak.Timestamp(t).Time().Year(); year < 0 || year > 9999 {
		return json.Marshal(int64(t))
	}
	return json.Marshal(batpak.Timestamp(t).String())
}

// UnmarshalJSON reads both forms.
func (t *instant) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '"' {
		return json.Unmarshal(b, (*int64)(t))
	}
	var v time.Time
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*t = instant(v.UnixMicro())
	return nil
}

// An eventJSON is an event as every command writes it.
type eventJSON struct {
	Seq              batpak.Seq        `json:"seq"`
	ID               batpak.ID         `json:"id"`
	Time             instant           `json:"time"`
	Entity           string            `json:"entity"`
	Scope            string            `json:"scope"`
	Lane             batpak.Lane       `json:"lane"`
	Clock            batpak.Clock      `json:"clock"`
	Kind             batpak.Kind       `json:"kind"`
	Correlation      batpak.ID         `json:"correlation"`
	Causation        batpak.ID         `json:"causation,omitzero"`
	Key              string            `json:"key,omitempty"`
	PayloadVersion   uint16            `json:"payload_version"`
	PayloadLength    uint32            `json:"payload_length"`
	Content          batpak.Hash       `json:"content"`
	Prev             batpak.Hash       `json:"prev"`
	Hash             batpak.Hash       `json:"hash"`
	Extensions       map[string]string `json:"extensions,omitempty"`
	ExtensionsBase64 map[string][]byte `json:"extensions_base64,omitempty"`
	Payload          json.RawMessage   `json:"payload,omitempty"`
	PayloadBase64    []byte            `json:"payload_base64,omitzero"`
}

func newEventJSON(e *batpak.Event) eventJSON {
	j := eventJSON{Seq: e.Seq, ID: e.ID, Time: instant(e.Time), Entity: e.Entity, Scope: e.Scope, Lane: e.Lane, Clock: e.Clock, Kind: e.Kind,
		Correlation: e.Correlation, Causation: e.Causation, Key: e.Key, PayloadVersion: e.PayloadVersion, PayloadLength: e.PayloadLength,
		Content: e.Content, Prev: e.Prev, Hash: e.Hash}
	for name, v := range e.Extensions {
		if utf8.Valid(v) {
			if j.Extensions == nil {
				j.Extensions = map[string]string{}
			}
			j.Extensions[name] = string(v)
			continue
		}
		if j.ExtensionsBase64 == nil {
			j.ExtensionsBase64 = map[string][]byte{}
		}
		j.ExtensionsBase64[name] = v
	}
	if p, ok := payloadJSON(e); ok {
		j.Payload = p
	} else {
		j.PayloadBase64 = append([]byte{}, e.Payload...)
	}
	return j
}

// printEvent writes everything about one event, for people.
func printEvent(w io.Writer, e *batpak.Event) {
	f := fields{w}
	f.add("seq", e.Seq)
	f.add("id", e.ID)
	f.add("time", e.Time)
	f.add("entity", e.Entity)
	f.add("scope", e.Scope)
	f.add("stream", fmt.Sprintf("lane %d, clock %d", e.Lane, e.Clock))
	f.add("kind", e.Kind)
	if e.Correlation != e.ID {
		f.add("correlation", e.Correlation)
	}
	if !e.Causation.IsZero() {
		f.add("causation", e.Causation)
	}
	if e.Key != "" {
		f.add("key", fmt.Sprintf("%q", e.Key))
	}
	j := newEventJSON(e)
	for _, name := range sortedKeys(j.Extensions) {
		f.add(name, fmt.Sprintf("%q", j.Extensions[name]))
	}
	for _, name := range sortedKeys(j.ExtensionsBase64) {
		f.add(name, fmt.Sprintf("%x", j.ExtensionsBase64[name]))
	}
	f.add("content", e.Content)
	f.add("prev", e.Prev)
	f.add("hash", e.Hash)
	f.add("payload", payloadText(e, 0))
}

// eventCells are the cells of an event's row in a table.
func eventCells(e *batpak.Event) []string {
	return []string{fmt.Sprint(e.Seq), e.Time.String(), e.ID.String(), e.Entity, e.Scope, fmt.Sprintf("%d/%d", e.Lane, e.Clock), e.Kind.String(),
		payloadText(e, 80)}
}

var eventTitles = strings.Fields("seq time id entity scope lane/clock kind payload")
