package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// A spec says what one child process measures. It is the child's only argument, in JSON, in whatever language the child is.
type spec struct {
	Work     string        `json:"work"`
	System   string        `json:"system"`
	Size     int           `json:"size"` // events that the store is to have before; 0 for a new one
	Payload  int           `json:"payload"`
	Entities int           `json:"entities"`
	Callers  int           `json:"callers"`
	Batch    int           `json:"batch"` // events in one append
	Durable  bool          `json:"durable"`
	Most     int           `json:"most"`     // events or queries after which it ends; 0 for no bound
	Limit    time.Duration `json:"limit_ns"` // after which it ends
	Warm     time.Duration `json:"warm_ns"`  // of reading, that comes before and is not counted
	Pace     int           `json:"pace"`     // queries a second of each reader beside appends; 0 for as many as it can
	Seed     uint64        `json:"seed"`     // of the workload
	Repeat   int           `json:"repeat"`   // which of several, from 0
	Dir      string        `json:"dir"`      // holds the store and what is noted about it
	Heap     int           `json:"heap_mib"` // that the process holds besides, never touched
	Parts    bool          `json:"parts"`    // divide the processor time
	Profile  string        `json:"profile"`  // file for a CPU profile of what is measured; "" for none
}

// A result is what a child measured: one line of JSON on its standard output. What does not apply is zero.
type result struct {
	spec
	N       int     `json:"n"`       // events, queries or openings measured
	Seconds float64 `json:"seconds"` // that they took
	Rate    float64 `json:"rate"`    // events a second
	P50     float64 `json:"p50_us"`  // of one call, microseconds
	P99     float64 `json:"p99_us"`
	CPU     float64 `json:"cpu_ns"` // user and system time per event, nanoseconds, that of closing included

	LogBytes   float64 `json:"log_bytes"`   // on disk per event, after closing
	IndexBytes float64 `json:"index_bytes"` // the same of what can be derived, if that is in files of its own
	PeakMiB    float64 `json:"peak_mib"`    // resident memory at its highest (VmHWM)
	EmptyMiB   float64 `json:"empty_mib"`   // resident memory before the store was opened
	OpenMiB    float64 `json:"open_mib"`    // resident memory after opening (VmRSS)
	HeapMiB    float64 `json:"heap_mib"`    // anonymous memory that opening added
	OwnMiB     float64 `json:"own_mib"`     // anonymous memory that opening and reading added

	OpenMS  float64          `json:"open_ms"`           // opening
	FirstMS float64          `json:"first_ms"`          // the first read after it, of the newest event
	Beside  float64          `json:"beside"`            // events a second while others read
	Reads   float64          `json:"reads"`             // events a second that those others read
	Events  int              `json:"events"`            // that the store had in fact
	Acked   int              `json:"acked"`             // appends acknowledged before the kill
	Longest float64          `json:"longest_ms"`        // the longest fold
	Series  [][]float64      `json:"series,omitempty"`  // seconds, events a second, tail, anonymous and resident MiB
	Samples map[string]int64 `json:"samples,omitempty"` // of a CPU profile, by part
	Note    string           `json:"note,omitempty"`    // what else is to be said
	Failed  string           `json:"failed,omitempty"`  // what was wrong: an event lost, another content, an error
	Cannot  string           `json:"cannot,omitempty"`  // why the system does not do this
}

// The files of a prepared directory.
func (s *spec) storeDir() string     { return filepath.Join(s.Dir, "store") }
func (s *spec) manifestFile() string { return filepath.Join(s.Dir, "manifest.json") }
func (s *spec) keysFile() string     { return filepath.Join(s.Dir, "keys") }
func (s *spec) ledgerFile() string   { return filepath.Join(s.Dir, "ledger") }

// A manifest says what a prepared store holds: the events with the numbers below Events, in their order.
type manifest struct {
	Events int `json:"events"`
	Every  int `json:"every"` // the keys file has the key of each so many-th of them, as many as were loaded first
}

func (s *spec) readManifest() (m manifest, err error) {
	b, err := os.ReadFile(s.manifestFile())
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(b, &m)
}

func (s *spec) writeManifest(m manifest) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(s.manifestFile(), b, 0o600)
}
