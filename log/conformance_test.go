package log

import (
	"bytes"
	"errors"
	"testing"

	"github.com/batpak/batpak/event"
)

// TestTruncateSealedAnywhere cuts sealed segments, the first and a middle one, at every offset. It shows scenario H2 of
// docs/conformance.md: opening names the segment, or the next one, which does not continue it, and changes nothing.
func TestTruncateSealedAnywhere(t *testing.T) {
	for _, first := range []event.Seq{1, 5} {
		whole := threeSegments().names[SegmentName(first)].data
		for cut := range len(whole) {
			d := threeSegments()
			d.put(SegmentName(first), whole[:cut])
			n, _, err := openDisk(t, d, testOptions())
			var bad *event.CorruptError
			if !errors.As(err, &bad) || bad.File != SegmentName(first) && bad.File != SegmentName(first+4) {
				t.Errorf("segment %d cut at %d: %d events, %v", first, cut, n, err)
			}
			if now := d.names[SegmentName(first)].data; !bytes.Equal(now, whole[:cut]) {
				t.Errorf("segment %d cut at %d: it has %d bytes now", first, cut, len(now))
			}
		}
	}
}
