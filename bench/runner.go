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
	"time"
)

// A runner carries out a plan, one child process after the other.
type runner struct {
	self     string // the program that measures, usually this one
	rust     string // the harness of the crate, or "" if there is none
	progress io.Writer
	within   time.Duration

	started time.Time
	results []result
	left    []string // what was left out, and why
}

// grace is how long a child may take beyond the time that it measures: for opening, checking and closing.
const grace = 3 * time.Minute

// run carries out the steps until they are done, the time is over, or ctx is.
func (r *runner) run(ctx context.Context, steps []step) {
	r.started = time.Now()
	for i := range steps {
		s := &steps[i]
		switch {
		case ctx.Err() != nil:
			r.leave(s, "interrupted")
		case time.Since(r.started) > r.within:
			r.leave(s, "no time left")
		case s.System == rustSystem.name && r.rust == "":
			r.leave(s, "the harness is not built")
		case s.prepared && s.Work != "load" && !exists(s.manifestFile()):
			r.leave(s, "its store was not loaded")
		default:
			if s.prepared && s.Work != "load" {
				warm(s.Dir)
			}
			r.step(ctx, s)
		}
		if s.last || !s.prepared {
			if err := os.RemoveAll(s.Dir); err != nil {
				fmt.Fprintln(r.progress, err)
			}
		}
	}
}

// warm reads the files of a store, so that whatever else was done since they were read is not measured with what follows.
// What cannot be read is for the child to report.
func warm(dir string) {
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if f, err := os.Open(name); err == nil {
			io.Copy(io.Discard, f)
			f.Close()
		}
		return nil
	})
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (r *runner) leave(s *step, why string) {
	again := ""
	if s.Repeat > 0 {
		again = fmt.Sprintf(", repeat %d", s.Repeat+1)
	}
	r.left = append(r.left, fmt.Sprintf("%s, %s%s%s: %s", s.System, s.Work, s.variant(), again, why))
}

// step runs one child and keeps its result.
func (r *runner) step(ctx context.Context, s *step) {
	res := r.child(ctx, s)
	if s.killed {
		if res.Failed != "" {
			r.keep(res)
		}
		return
	}
	r.keep(res)
}

func (r *runner) keep(res result) {
	r.results = append(r.results, res)
	fmt.Fprintf(r.progress, "%6.1fs  %-12s %-20s%-28s %s\n", time.Since(r.started).Seconds(), res.System, res.Work, res.variant(), res.summary())
}

// summary is the line of progress.
func (r *result) summary() string {
	switch {
	case r.Failed != "":
		return "FAILED: " + r.Failed
	case r.Cannot != "":
		return "not done: " + r.Cannot
	case r.Work == "fold":
		return fmt.Sprintf("%.0f ns CPU and %.1f bytes per event", r.CPU, r.IndexBytes)
	case r.Rate > 0 && r.P99 == 0:
		return count(r.Rate) + " events/s"
	case r.Rate > 0:
		return fmt.Sprintf("%s events/s, p99 %s µs", count(r.Rate), micros(r.P99))
	}
	return fmt.Sprintf("open %.1f ms, heap %.1f MiB", r.OpenMS, r.HeapMiB)
}

// variant says how a spec differs from the usual one of its work.
func (s *spec) variant() string {
	var v []string
	if s.Size > 0 {
		v = append(v, sizeText(s.Size))
	}
	if s.Payload != usualPayload {
		v = append(v, "payload "+bytesText(s.Payload))
	}
	if s.Entities != usualEntities {
		v = append(v, sizeText(s.Entities)+" entities")
	}
	switch {
	case s.Work == "follow" && s.Callers == 1:
		v = append(v, "one caller")
	case s.Work == "follow":
		v = append(v, fmt.Sprintf("%d callers", s.Callers))
	case s.Pace > 0:
		v = append(v, fmt.Sprintf("%d queries/s each", s.Pace))
	}
	if len(v) == 0 {
		return ""
	}
	return " " + strings.Join(v, ", ")
}

func sizeText(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}

func bytesText(n int) string {
	if n%1024 == 0 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}

// child runs the process of a step and returns what it printed.
func (r *runner) child(ctx context.Context, s *step) result {
	failed := result{spec: s.spec}
	spec, err := json.Marshal(s.spec)
	if err != nil {
		failed.Failed = err.Error()
		return failed
	}
	ctx, cancel := context.WithTimeout(ctx, s.Limit+grace)
	defer cancel()
	program, args := r.self, []string{"-child", string(spec)}
	if s.System == rustSystem.name {
		program, args = r.rust, args[1:]
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), childVariable+"=1")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	res, err := communicate(c, s)
	if err != nil {
		failed.Failed = fmt.Sprintf("%v: %s", err, lastLine(stderr.String()))
		return failed
	}
	return res
}

// childVariable is set in the environment of a child, so that the binary of the tests knows that it is one.
const childVariable = "BATPAK_BENCH_CHILD"

// communicate reads what a child prints: one result, or the line upon which it is to be killed.
func communicate(c *exec.Cmd, s *step) (res result, err error) {
	out, err := c.StdoutPipe()
	if err != nil {
		return res, err
	}
	if err := c.Start(); err != nil {
		return res, err
	}
	res.spec = s.spec
	got := false
	lines := bufio.NewReader(out)
	for {
		line, readErr := lines.ReadString('\n')
		if s.killed && strings.TrimSpace(line) == readyLine {
			err = c.Process.Kill()
			_, _ = io.Copy(io.Discard, lines)
			return res, errors.Join(err, ignoreExit(c.Wait()))
		}
		if strings.HasPrefix(line, "{") {
			err = json.Unmarshal([]byte(line), &res)
			got = true
		}
		if readErr != nil {
			break
		}
	}
	if err := errors.Join(err, c.Wait()); err != nil {
		return res, err
	}
	if !got {
		return res, errors.New("the child printed no result")
	}
	return res, nil
}

// ignoreExit drops the error that says that a process was killed.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") || strings.Contains(l, "panicked at") {
			return l
		}
	}
	return lines[len(lines)-1]
}
