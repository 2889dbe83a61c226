package main

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/batpak/batpak"
)

// A sample is what a child uses at one moment. What the system does not tell is 0.
type sample struct {
	At         time.Duration // since the command began; the parent sets it
	Age        time.Duration // of the child
	RSS        int64         // resident memory, in bytes
	Anonymous  int64         // of that, without mapped files
	Peak       int64         // the most that RSS was
	Goroutines int
	Files      int        // open file descriptors
	Visible    batpak.Seq // events that the child can read
}

const (
	sampleInterval = 250 * time.Millisecond
	settledAge     = 2 * time.Second // before that a process is not representative
)

// takeSample measures this process.
func takeSample() sample {
	s := sample{Goroutines: runtime.NumGoroutine(), Files: openFiles()}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return s
	}
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		field := map[string]*int64{"VmRSS": &s.RSS, "RssAnon": &s.Anonymous, "VmHWM": &s.Peak}[string(name)]
		if field == nil {
			continue
		}
		kB, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err == nil {
			*field = kB << 10
		}
	}
	return s
}

// openFiles counts the file descriptors of this process, without the one that counting takes; 0 if the system does not tell.
func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names) - 1
}

// sendSamples reports what this process uses until ctx is done.
func sendSamples(ctx context.Context, out *sender, visible func() batpak.Seq) {
	begin := time.Now()
	t := time.NewTicker(sampleInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s := takeSample()
		s.Age, s.Visible = time.Since(begin), visible()
		out.say(kindSample, s)
	}
}

// A census counts what must be given back.
type census struct{ Goroutines, Files int }

func takeCensus() census { return census{runtime.NumGoroutine(), openFiles()} }

// censusAfter returns the census once it is no more than before, or after a second: a goroutine that has said it is done is
// counted until it has been scheduled once more.
func censusAfter(before census) census {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		now := takeCensus()
		if now.Goroutines <= before.Goroutines && now.Files <= before.Files {
			return now
		}
		select {
		case <-ctx.Done():
			return now
		case <-t.C:
		}
	}
}

// leftovers returns the stacks of all goroutines and the names of all open files.
func leftovers() string {
	b := make([]byte, 64<<10)
	b = b[:runtime.Stack(b, true)]
	entries, _ := os.ReadDir("/proc/self/fd") // where there is none it has no names
	for _, e := range entries {
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			b = append(b, "\n"+e.Name()+" "+name...)
		}
	}
	return string(b)
}

// median returns the one in the middle, and whether there is any.
func median[T int | int64 | time.Duration](values []T) (T, bool) {
	if len(values) == 0 {
		return 0, false
	}
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2], true
}

// window returns a figure of the samples taken in a part of the run, both ends given as a share of its length, by
// processes that have settled.
func window(samples []sample, length time.Duration, from, to float64, figure func(*sample) int64) []int64 {
	var values []int64
	for i := range samples {
		share := float64(samples[i].At) / float64(length)
		if samples[i].Age >= settledAge && share >= from && share <= to {
			values = append(values, figure(&samples[i]))
		}
	}
	return values
}
