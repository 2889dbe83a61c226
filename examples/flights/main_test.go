package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/examples/data"
	"github.com/batpak/batpak/projection"
)

// TestFlights runs the program, twice, and compares the delays of every airport with what the lines of JSON say: folded from the
// events, from a snapshot, and after the index and the snapshots were deleted.
func TestFlights(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := run(dir); err != nil {
			t.Fatal(err)
		}
	}
	want := direct(t)
	if len(want) != 220 {
		t.Fatalf("%d airports", len(want))
	}
	if jq := byJQ(t); jq != nil && !maps.Equal(want, jq) {
		t.Error("jq comes to other delays")
	}
	for name, before := range map[string]func(){
		"as it is":           func() {},
		"without the index":  func() { remove(t, dir, "index.bolt") },
		"without snapshots":  func() { remove(t, dir, "state.bolt") },
		"without either":     func() { remove(t, dir, "index.bolt"); remove(t, dir, "state.bolt") },
		"from the beginning": nil,
	} {
		if before != nil {
			before()
		}
		store, err := batpak.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second begins with a snapshot of the first
			var got projection.State[Delays]
			if before == nil {
				got, err = projection.Rebuild(store, ByAirport, "")
			} else {
				got, err = projection.Get(store, ByAirport, "", projection.Consistent)
			}
			if err != nil || got.Events != 20_000 || !maps.Equal(got.Value, want) {
				t.Errorf("%s: %d events, %d airports, %v", name, got.Events, len(got.Value), err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, dir, name string) {
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func lines(t *testing.T) []byte {
	z, err := gzip.NewReader(bytes.NewReader(data.Flights))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// direct adds up the lines themselves.
func direct(t *testing.T) Delays {
	sums := Delays{}
	in := json.NewDecoder(bytes.NewReader(lines(t)))
	for in.More() {
		var line map[string]any
		if err := in.Decode(&line); err != nil {
			t.Fatal(err)
		}
		airport := line["origin"].(string)
		sums[airport] = Airport{sums[airport].Flights + 1, sums[airport].Minutes + int(line["delay"].(float64))}
	}
	return sums
}

// byJQ has jq do it, and returns nil where there is no jq.
func byJQ(t *testing.T) Delays {
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Log("jq is not here: left out")
		return nil
	}
	cmd := exec.Command(jq, "-s", `group_by(.origin) | map({(.[0].origin): {Flights: length, Minutes: (map(.delay) | add)}}) | add`)
	cmd.Stdin = bytes.NewReader(lines(t))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var sums Delays
	if err := json.Unmarshal(out, &sums); err != nil {
		t.Fatal(err)
	}
	return sums
}
