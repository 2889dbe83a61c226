package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// rustSystem is the crate batpak, which a harness of its own drives (rust/src/main.rs): the runner starts that where it
// would start itself.
var rustSystem = &system{
	name:     "Rust batpak",
	settings: "the crate, defaults; memory-mapped index and checkpoint at Close as it sets them",
	durable:  "a sync an event, unbounded group commit, and each append waits for the durable watermark",
	written:  "its default: synced every 1000 events",
	survives: true,
	verifies: true,
}

// buildRust builds the harness, in at most the time given, and returns its path.
func buildRust(source string, most time.Duration, output io.Writer) (string, error) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		return "", errors.New("cargo is not on this machine")
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	c := exec.CommandContext(ctx, cargo, "build", "--release", "--locked", "--manifest-path", filepath.Join(source, "Cargo.toml"))
	c.Stdout, c.Stderr = output, output
	if err := c.Run(); ctx.Err() != nil {
		return "", fmt.Errorf("its harness was not built in %v", most)
	} else if err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(source, "target", "release", "batpak-bench"))
}

// sameWorkload checks that the harness makes the same events as this program.
func sameWorkload(path string) error {
	const events = 1000
	s := spec{Work: "digest", Size: events, Payload: usualPayload, Entities: usualEntities, Seed: 1}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	out, err := exec.Command(path, string(b)).Output()
	if err != nil {
		return err
	}
	want := newWorkload(s.Seed, s.Payload, s.Entities).digest(events)
	if got := strings.TrimSpace(string(out)); got != want {
		return fmt.Errorf("its workload has digest %s instead of %s", got, want)
	}
	return nil
}
