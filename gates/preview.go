package gates

import (
	"bytes"
	"fmt"

	"github.com/batpak/batpak/event"
)

// Preview returns the event that gates see for a proposal. It shares no memory with it. Where the proposal's cause is an item
// of its commit, the event has no causation yet. The error, for a coordinate or a payload that could not be appended, matches
// [event.ErrInvalid].
func Preview(p *event.Proposal) (event.Event, error) {
	if err := p.At.Validate(); err != nil {
		return event.Event{}, err
	}
	t, data, err := p.Encode()
	if err != nil {
		return event.Event{}, err
	}
	h := event.Header{
		Entity: p.At.Entity, Scope: p.At.Scope, Lane: p.Lane,
		Kind: t.Kind, PayloadVersion: t.Version, PayloadLength: uint32(len(data)),
		Key: p.Key, Correlation: p.Correlation, Causation: p.Cause.ID, Extensions: p.Extensions,
	}
	return event.Event{Header: h.Clone(), Payload: bytes.Clone(data)}, nil
}

var errBypassed = fmt.Errorf("extension %q is for Pipeline.Bypass to write: %w", BypassExtension, event.ErrInvalid)

// judged is Preview for proposals that nobody may have given a bypass to.
func judged(p *event.Proposal) (event.Event, error) {
	if _, ok := p.Extensions[BypassExtension]; ok {
		return event.Event{}, errBypassed
	}
	return Preview(p)
}
