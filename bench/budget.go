package main

import (
	"fmt"
	"strings"
)

// A demand is a row of the budget: what was required, measured, and whether that is met.
type demand struct {
	work     string
	required string
	measured string
	against  string  // what the ratio is to
	ratio    float64 // 0 if the requirement is not one
	most     float64 // what ratio would be without an index; 0 if that is not known
	plain    float64 // the same to plain; 0 if that was not measured
	about    string  // the figure when the peers were measured
	met      bool
	missing  bool
}

// budgetTable is the budget of the design, and what else has a bound.
func (rep *report) budgetTable() string {
	var b strings.Builder
	b.WriteString("### Budget\n\n| work | required | about | batpak | measured against | ratio | met | without index | ratio to plain |\n|---|---|---:|---:|---:|---:|---|---:|---:|\n")
	for _, d := range rep.demands() {
		ratio, plain, most, met := "", "", "", "no"
		if d.met {
			met = "yes"
		}
		if d.ratio != 0 {
			ratio = ratioText(d.ratio)
		}
		if d.most != 0 {
			most = ratioText(d.most)
		}
		if d.plain != 0 {
			plain = ratioText(d.plain)
		}
		if d.missing {
			d.measured, met = "", "not measured"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", d.work, d.required, d.about, d.measured, d.against, ratio, met, most, plain)
	}
	b.WriteString("\n")
	return b.String()
}

// demands compares the results with the budget, row by row.
func (rep *report) demands() []demand {
	size := rep.readSize()
	at := " at " + sizeText(size)
	our := func(work string, size int, change ...func(*spec)) *result {
		return rep.find(work, batpakSystem.name, size, change...)
	}
	p := func(work string, size int, change ...func(*spec)) *result {
		return rep.find(work, pureSystem.name, size, change...)
	}
	plain := func(work string, size int) *result { return rep.find(work, plainSystem.name, size) }
	overP := func(name, work string, size int, least, about float64) demand {
		return faster(name, our(work, size), p(work, size), "P", least, about, plain(work, size)).upTo(rep.unindexed(work, size), p(work, size))
	}
	many := func(s *spec) { s.Entities = manyEntities }
	callers := func(n int) func(*spec) { return func(s *spec) { s.Callers = n } }
	large := rep.largest()
	demands := []demand{
		overP("append, Written, one caller", "append-written", 0, 2, 550_000),
		faster("append, Durable, one caller", our("append-durable", 0), rep.find("floor", diskName, 0), "fdatasync", 0.95, 6500, plain("append-durable", 0)),
		overP("append, Durable, 64 callers", "append-durable-64", 0, 2.5, 225_000),
		faster("append, Durable, 256 callers", our("append-durable-256", 0), p("append-durable-64", 0), "P with 64", 4, 360_000, plain("append-durable-256", 0)).
			upTo(rep.unindexed("append-durable-256", 0), p("append-durable-64", 0)),
		overP("batches of 100, Durable", "batch-durable", 0, 1.5, 250_000),
		overP("read by id"+at, "get", size, 1.2, 430_000),
		overP("one entity's stream"+at, "stream", size, 1.2, 480_000),
		overP("scan in commit order"+at, "scan", size, 1.4, 1_500_000),
		opening("open, clean,"+at, our("open", size), p("open", size), at, 80, 10, plain("open", size)),
		bounded("heap after opening at "+sizeText(large), "≤ 12 MiB", our("open", large), func(r *result) float64 { return r.HeapMiB }, "MiB", 12),
		opening("open after kill -9"+at, our("kill", size), p("kill", size), at, 9, 100, plain("kill", size)),
		bounded("index", "≤ 48 bytes per event", rep.largestFold(), func(r *result) float64 { return r.IndexBytes }, "B", 48),
		bounded("folding", "≤ 500 ns of CPU per event", rep.largestFold(), func(r *result) float64 { return r.CPU }, "ns", 500),
		bounded("a follower's delay, 1 caller", "p99 ≤ 5 ms", our("follow", 0), func(r *result) float64 { return r.P99 / 1000 }, "ms", 5),
		bounded("a follower's delay, 64 callers", "p99 ≤ 5 ms", our("follow", 0, callers(64)), func(r *result) float64 { return r.P99 / 1000 }, "ms", 5),
		within("a projection from scratch to reading its events", our("project", 0), our("meter", 0), rateRow, 0.5),
		bounded("a projection from a snapshot and 10 events", "p99 ≤ 2 ms", our("resume", 0), func(r *result) float64 { return r.P99 / 1000 }, "ms", 2),
		within("append, 1 M entities to 10 k, the tail full", our("tail", 0, many), our("tail", 0), rateRow, 0.5),
		beside("append beside readers that never rest", our("beside", 0), 0.7),
		beside("append beside readers, 100 queries/s each", our("beside", 0, func(s *spec) { s.Pace = 100 }), 0.7),
	}
	if large == size {
		return demands
	}
	return append(demands, []demand{
		opening("open, clean, at "+sizeText(large), our("open", large), p("open", size), at, 80, 10, plain("open", size)),
		within("open at "+sizeText(large)+" to"+at, our("open", large), our("open", size), openRow, 1.2),
		within("resident after opening at "+sizeText(large)+" to"+at, our("open", large), our("open", size), memoryRow, 1.2),
		within("index bytes per event at "+sizeText(large)+" to"+at, our("load", large), our("load", size), foldedRow, 1),
		within("memory of its own, reading by id at "+sizeText(large)+" to"+at, our("get", large), our("get", size), ownRow, 1.2),
		within("append onto "+sizeText(large)+" to"+at, our("grow", large), our("grow", size), rateRow, 0.8),
		within("read by id at "+sizeText(large)+" to"+at, our("get", large), our("get", size), rateRow, 0.8),
	}...)
}

// readSize is the size at which reads are judged: that of the budget, if it was measured.
func (rep *report) readSize() int {
	if rep.find("get", batpakSystem.name, usualSize) != nil {
		return usualSize
	}
	return rep.largest()
}

// largest is the greatest size of a store of ours that was read.
func (rep *report) largest() int {
	largest := 0
	for i := range rep.Results {
		if r := &rep.Results[i]; r.System == batpakSystem.name && r.Work == "open" && r.Failed == "" && r.Entities == usualEntities {
			largest = max(largest, r.Size)
		}
	}
	if largest == 0 {
		return usualSize
	}
	return largest
}

// largestFold is the fold of the most events.
func (rep *report) largestFold() *result {
	size := 0
	for i := range rep.Results {
		if r := &rep.Results[i]; r.Work == "fold" {
			size = max(size, r.Size)
		}
	}
	return rep.find("fold", diskName, size)
}

// faster demands a rate of at least so many times another.
func faster(work string, r, base *result, against string, least, about float64, plain *result) demand {
	d := demand{work: work, required: "≥ " + ratioText(least) + " × " + against, about: count(about) + "/s", missing: r == nil || base == nil}
	if d.missing {
		return d
	}
	d.measured, d.against = count(r.Rate)+"/s", against+": "+count(base.Rate)+"/s"
	d.ratio = r.Rate / base.Rate
	d.met = d.ratio >= least
	if plain != nil && plain.Rate > 0 {
		d.plain = r.Rate / plain.Rate
	}
	return d
}

// upTo adds what the ratio would be at this rate, if both are known.
func (d demand) upTo(rate float64, base *result) demand {
	if rate > 0 && base != nil {
		d.most = rate / base.Rate
	}
	return d
}

// unindexed returns about what P would come to if its index took no processor time, and no more than ours of that for memory, all of
// which is waited for; 0 if too little was measured to say. Everything else is the same code for both.
func (rep *report) unindexed(work string, size int) float64 {
	p, our := rep.find(work, pureSystem.name, size), rep.find(work, batpakSystem.name, size)
	if p == nil || our == nil || !rep.sampled(p) || !rep.sampled(our) {
		return 0
	}
	saved := rep.spent(p, partIndex) + max(0, rep.spent(p, partMemory)-rep.spent(our, partMemory)) // ns an event
	if left := 1/p.Rate - saved/1e9; left > 0 {
		return 1 / left
	}
	return 0
}

// opening demands an opening in a fraction of P's time.
func opening(work string, r, base *result, at string, fraction, aboutMS float64, plain *result) demand {
	d := demand{work: work, required: fmt.Sprintf("≤ 1/%.0f of P%s", fraction, at), about: decimal(aboutMS) + " ms", missing: r == nil || base == nil}
	if d.missing {
		return d
	}
	d.measured, d.against = decimal(r.OpenMS)+" ms", "P: "+decimal(base.OpenMS)+" ms"
	d.ratio = r.OpenMS / base.OpenMS
	d.met = d.ratio <= 1/fraction
	if plain != nil && plain.OpenMS > 0 {
		d.plain = r.OpenMS / plain.OpenMS
	}
	return d
}

// bounded demands a figure of at most so much.
func bounded(work, required string, r *result, value func(*result) float64, unit string, most float64) demand {
	d := demand{work: work, required: required, missing: r == nil}
	if d.missing {
		return d
	}
	if r.Work == "fold" {
		d.work += " at " + sizeText(r.Size)
	}
	d.measured = decimal(value(r)) + " " + unit
	d.met = value(r) <= most
	return d
}

// within demands that a figure has at most, or at least, a ratio to another of ours.
func within(work string, r, base *result, row row, bound float64) demand {
	sign := "≥ "
	if bound >= 1 {
		sign = "≤ "
	}
	d := demand{work: work, required: sign + ratioText(bound), missing: r == nil || base == nil || r == base}
	if d.missing {
		return d
	}
	d.measured, d.against = row.text(row.value(r))+" "+row.name, row.text(row.value(base))
	d.ratio = row.value(r) / row.value(base)
	d.met = d.ratio >= bound
	if bound >= 1 {
		d.met = d.ratio <= bound
	}
	return d
}

// beside demands a rate beside readers of at least a part of that alone.
func beside(work string, r *result, least float64) demand {
	d := demand{work: work, required: "≥ " + ratioText(least) + " × alone", missing: r == nil}
	if d.missing {
		return d
	}
	d.measured, d.against = count(r.Beside)+"/s", "alone: "+count(r.Rate)+"/s"
	d.ratio = r.Beside / r.Rate
	d.met = d.ratio >= least
	return d
}
