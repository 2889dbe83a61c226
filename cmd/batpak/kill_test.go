package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/batpak/batpak"
)

// batpakCommand returns a command that runs batpak in a process of its own; see TestMain.
func batpakCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("batpak")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// importNumbers returns a command that imports numbers from its stdin.
func importNumbers(t *testing.T, dir string, args ...string) *exec.Cmd {
	return batpakCommand(t, append([]string{"import", "--store", dir, "--source", "numbers", "--entity", "n:{{.n}}", "--scope", "test",
		"--kind", "0xF001", "--batch", "100", "-"}, args...)...)
}

// awaitEvents returns when a reader sees at least n events in a store that another process is making.
func awaitEvents(t *testing.T, dir string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		r, err := batpak.OpenReader(dir, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is not there yet
		}
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, err := range r.Follow(ctx, batpak.Query{Limit: n}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	t.Fatal("there is no store")
}

// startImport starts an import and feeds it the numbers up to last. It returns when n events can be read.
func startImport(t *testing.T, dir string, last, n int) (cmd *exec.Cmd, feed io.WriteCloser) {
	t.Helper()
	cmd = importNumbers(t, dir)
	feed, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Write(numbers(1, last)); err != nil {
		t.Fatal(err)
	}
	awaitEvents(t, dir, n)
	return cmd, feed
}

// TestKilledImport kills an import that has committed some batches and read half of another, and repeats it.
func TestKilledImport(t *testing.T) {
	for _, batch := range []string{"100", "70"} {
		t.Run("batch "+batch, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			const all, half, committed = 5000, 2550, 2500
			cmd, _ := startImport(t, dir, half, committed)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the import ended before it was killed")
			}
			again := importNumbers(t, dir, "--batch", batch, "--json")
			again.Stdin = bytes.NewReader(numbers(1, all))
			out, err := again.Output()
			if err != nil {
				t.Fatal(err)
			}
			var sum importJSON
			if err := json.Unmarshal(out, &sum); err != nil || sum.Lines != all || sum.Appended != all-committed || sum.AlreadyThere != committed {
				t.Fatalf("%+v, %v", sum, err)
			}
			checkNumbers(t, dir, all)
		})
	}
}

// checkNumbers checks that the store has each number once, in order, and nothing else.
func checkNumbers(t *testing.T, dir string, all int) {
	t.Helper()
	report, err := batpak.VerifyDir(t.Context(), dir, nil)
	if err != nil || !report.OK() || report.Events != all {
		t.Fatalf("%+v, %v", report, err)
	}
	r, err := batpak.OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for e, err := range r.Query(batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("n:%d", e.Seq); e.Entity != want || e.Clock != 1 || e.Key != fmt.Sprintf("numbers:%d", e.Seq) {
			t.Fatalf("event %d: entity %s, clock %d, key %s", e.Seq, e.Entity, e.Clock, e.Key)
		}
	}
}

// TestLiveImport reads, and tries to write, beside an import in another process.
func TestLiveImport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	cmd, feed := startImport(t, dir, 250, 200)
	out, err := batpakCommand(t, "append", "--store", dir, "--entity", "e", "--scope", "s", "--kind", "0xF001", "--data", "x").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(string(out), fmt.Sprintf("locked by pid %d on ", cmd.Process.Pid)) {
		t.Errorf("append: %v: %s", err, out)
	}
	for _, args := range [][]string{{"ls", "--limit", "0", "--json"}, {"get", "200"}, {"walk", "200"}, {"stats"}, {"verify"}} {
		if out, err := batpakCommand(t, append(args, "--store", dir)...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, dir, 250)
}

// TestInterruptedFollow checks that an interrupt ends following and is no failure.
func TestInterruptedFollow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	first := importNumbers(t, dir)
	first.Stdin = bytes.NewReader(numbers(1, 3))
	if err := first.Run(); err != nil {
		t.Fatal(err)
	}
	cmd := batpakCommand(t, "follow", "--store", dir, "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 3 {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("one line more: %s", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
