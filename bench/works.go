package main

import "strings"

// A work is one thing that is measured.
type work struct {
	name  string
	title string
	rows  []row // of its table
	run   func(*child) error
}

// A row is one line of a table: what it shows, and how.
type row struct {
	name  string
	value func(*result) float64
	text  func(float64) string
	best  int // 1 if more is better, -1 if less is: the ratio to P is shown
}

// The rows of tables.
var (
	rateRow    = row{"events/s", func(r *result) float64 { return r.Rate }, count, 1}
	p50Row     = row{"p50 µs", func(r *result) float64 { return r.P50 }, micros, -1}
	p99Row     = row{"p99 µs", func(r *result) float64 { return r.P99 }, micros, -1}
	cpuRow     = row{"CPU ns/event", func(r *result) float64 { return r.CPU }, count, -1}
	diskRow    = row{"disk B/event", func(r *result) float64 { return r.LogBytes + r.IndexBytes }, count, -1}
	indexRow   = row{"of it index", func(r *result) float64 { return r.IndexBytes }, decimal, 0}
	foldedRow  = row{"index B/event", func(r *result) float64 { return r.IndexBytes }, decimal, 0}
	peakRow    = row{"peak MiB", func(r *result) float64 { return r.PeakMiB }, count, -1}
	openRow    = row{"open ms", func(r *result) float64 { return r.OpenMS }, decimal, -1}
	firstRow   = row{"first read ms", func(r *result) float64 { return r.FirstMS }, decimal, 0}
	heapRow    = row{"heap MiB", func(r *result) float64 { return r.HeapMiB }, decimal, -1}
	ownRow     = row{"own MiB", func(r *result) float64 { return r.OwnMiB }, decimal, -1}
	memoryRow  = row{"resident MiB", func(r *result) float64 { return r.OpenMiB }, count, 0}
	ackedRow   = row{"acknowledged", func(r *result) float64 { return float64(r.Acked) }, count, 0}
	besideRow  = row{"beside readers", func(r *result) float64 { return r.Beside }, count, 1}
	readsRow   = row{"events read/s", func(r *result) float64 { return r.Reads }, count, 0}
	longestRow = row{"longest fold ms", func(r *result) float64 { return r.Longest }, count, 0}
)

var (
	appendRows = []row{rateRow, p50Row, p99Row, cpuRow, diskRow, indexRow, peakRow}
	readRows   = []row{rateRow, p50Row, p99Row, cpuRow, ownRow, peakRow}
	openRows   = []row{openRow, firstRow, heapRow, memoryRow}
	killRows   = []row{openRow, heapRow, ackedRow}
)

// works are all that can be measured, in the order of the tables.
var works = []*work{
	{"append-written", "Append, Written, one caller", appendRows, appendWork},
	{"append-durable", "Append, Durable, one caller", appendRows, appendWork},
	{"append-durable-64", "Append, Durable, 64 callers", appendRows, appendWork},
	{"append-durable-256", "Append, Durable, 256 callers", appendRows, appendWork},
	{"batch-written", "Batches of 100, Written", appendRows, appendWork},
	{"batch-durable", "Batches of 100, Durable", appendRows, appendWork},
	{"load", "Bulk load, batches of 1000, Written", appendRows, loadWork},
	{"get", "Point read by key", readRows, getWork},
	{"stream", "One entity's stream", readRows, streamWork},
	{"scope", "Query by scope, up to 1000 events", readRows, scopeWork},
	{"kind", "Query by kind, up to 1000 events", readRows, kindWork},
	{"range", "Time range of 1000 events", readRows, rangeWork},
	{"scan", "Scan in commit order", readRows, scanWork},
	{"open", "Open, clean", openRows, openWork},
	{"grow", "Append onto a store of a size, Written, one caller", appendRows, appendWork},
	{"kill", "Open after kill -9 amid Durable appends of 64 callers", killRows, recoverWork},
	{"kill-written", "Open after kill -9 amid Written appends of one caller", killRows, recoverWork},
	{"meter", "A stream of 100 k typed events, read", readRows, readingsWork(nil, scanReadings)},
	{"project", "A projection of 100 k typed events, from scratch", readRows, readingsWork(nil, foldReadings)},
	{"resume", "A projection, from a snapshot and 10 new events", []row{p50Row, p99Row}, readingsWork(snapshotReadings, resumeReadings)},
	{"follow", "Delay of a follower behind durable appends", []row{rateRow, p50Row, p99Row}, followWork},
	{"beside", "Append, Durable, 64 callers, beside two followers and two loops of queries", []row{rateRow, besideRow, readsRow}, besideWork},
	{"tail", "Append for long, Written, one caller: the second half of the time", []row{rateRow, p50Row, p99Row, peakRow}, tailWork},
	{"fold", "Folding, outside a store", []row{cpuRow, foldedRow, longestRow}, foldWork},
	{"floor", "Writing 480 B into a zero-filled file, with fdatasync", []row{rateRow, p50Row, p99Row}, floorWork},
	{"harness", "Making and checking an event", []row{cpuRow}, harnessWork},
	{"appending until killed", "", nil, killWork},
}

func workNamed(name string) *work {
	for _, w := range works {
		if w.name == name {
			return w
		}
	}
	return nil
}

// titled reports whether the work has a table.
func (w *work) titled() bool { return w.title != "" }

// durable reports whether the store of a work is opened Durable.
func (w *work) durable() bool {
	return strings.Contains(w.name, "durable") || w.name == "kill" || w.name == "follow" || w.name == "beside"
}
