package log

import (
	"bytes"
	"errors"
	"testing"

	"github.com/batpak/batpak/event"
)

// TestTruncateSealedAnywhere cuts sealed segments, the first and a middle one, at every offset. It shows scenario H2 of
// docs/conformance.md: opening names the segment, or if that ends with a whole commit the next one, which does not continue it,
// and changes nothing.
func TestTruncateSealedAnywhere(t *testing.T) {
	for _, first := range []event.Seq{1, 5} {
		whole := threeSegments().names[SegmentName(first)].data
		half := (len(whole) + segmentHeaderBytes) / 2 // the end of the first of two commits of the same length
		for cut := range len(whole) {
			d := threeSegments()
			d.put(SegmentName(first), whole[:cut])
			n, _, err := openDisk(t, d, testOptions())
			want := SegmentName(first)
			if cut == segmentHeaderBytes || cut == half {
				want = SegmentName(first + 4)
			}
			var bad *event.CorruptError
			if !errors.As(err, &bad) || bad.File != want {
				t.Errorf("segment %d cut at %d: %d events, %v; want an error of %s", first, cut, n, err, want)
			}
			if now := d.names[SegmentName(first)].data; !bytes.Equal(now, whole[:cut]) {
				t.Errorf("segment %d cut at %d: it has %d bytes now", first, cut, len(now))
			}
		}
	}
}
