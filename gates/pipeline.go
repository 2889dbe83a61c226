package gates

import (
	"bytes"
	"fmt"
	"maps"
	"strings"

	"github.com/batpak/batpak/event"
)

// A Pipeline is a named way to a commit: through a set of gates, or past them with a reason that is stored. It does not
// change, and may be used from any goroutine.
type Pipeline[C any] struct {
	name  string
	gates *Set[C]
}

// NewPipeline returns a pipeline through these gates. Its name is in traces and audits.
func NewPipeline[C any](name string, gates *Set[C]) *Pipeline[C] { return &Pipeline[C]{name, gates} }

// Evaluate is [Set.Evaluate], with the name of the pipeline in the denial's trace and the permit's audit.
func (l *Pipeline[C]) Evaluate(c C, p event.Proposal) (Permit, error) {
	return l.gates.evaluate(l.name, c, p)
}

// BypassExtension is the extension of an event whose gates were not asked. It says why, and is covered by the event's hash.
const BypassExtension = "gates.bypass"

// A Bypass is the reason for not asking the gates.
type Bypass struct {
	Name          string // of the sort of reason, for programs
	Justification string // for people
	ApprovedBy    string // may be empty
}

// Bypass returns a permit without asking the gates. The reason becomes a part of the event, as [BypassExtension]. The error
// matches [event.ErrInvalid]: for a reason without name or justification, a proposal that carries a reason already, and
// one whose coordinate or payload is wrong.
func (l *Pipeline[C]) Bypass(p event.Proposal, b Bypass) (Permit, error) {
	if strings.TrimSpace(b.Name) == "" || strings.TrimSpace(b.Justification) == "" {
		return Permit{}, fmt.Errorf("bypass %q has no name or no justification: %w", b.Name, event.ErrInvalid)
	}
	if _, err := judged(&p); err != nil {
		return Permit{}, err
	}
	record, err := event.Marshal(bypassRecord{l.name, b.Name, b.Justification, b.ApprovedBy})
	if err != nil {
		return Permit{}, err
	}
	extensions := map[string][]byte{BypassExtension: record}
	maps.Copy(extensions, p.Extensions)
	p.Extensions = extensions
	return freeze(p, Audit{Pipeline: l.name, Bypass: &b})
}

// bypassRecord is the extension, in canonical CBOR.
type bypassRecord struct {
	Pipeline      string `cbor:"pipeline"`
	Name          string `cbor:"name"`
	Justification string `cbor:"justification"`
	ApprovedBy    string `cbor:"approved_by"`
}

// ReadBypass returns the audit of an event that was appended by a bypass, and nil for any other. It says what the event
// says: what else can append to the store can write the extension too. An extension that [Pipeline.Bypass] cannot have
// written is an error that matches [event.ErrInvalid].
func ReadBypass(e event.Event) (*Audit, error) {
	b, ok := e.Extensions[BypassExtension]
	if !ok {
		return nil, nil
	}
	var r bypassRecord
	if err := event.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("event %d: extension %q: %w", e.Seq, BypassExtension, err)
	}
	again, err := event.Marshal(r)
	if err != nil || !bytes.Equal(again, b) || strings.TrimSpace(r.Name) == "" || strings.TrimSpace(r.Justification) == "" {
		return nil, fmt.Errorf("event %d: extension %q is not a bypass: %w", e.Seq, BypassExtension, event.ErrInvalid)
	}
	return &Audit{Pipeline: r.Pipeline, Bypass: &Bypass{r.Name, r.Justification, r.ApprovedBy}}, nil
}
