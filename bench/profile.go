package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// The parts that processor time is divided into. A sample belongs to the innermost function that says what the time was for:
// copying, comparing and hashing for a map belong to who asked for them, allocating and collecting are a part by themselves.
const (
	partBlake3     = "Blake3"
	partHeader     = "events: headers, payloads, ids"
	partLog        = "log"
	partIndex      = "index"
	partStore      = "deciding, opening"
	partPeer       = "the system's own code"
	partSystem     = "calls of the system, and C"
	partMemory     = "memory"
	partScheduling = "scheduling, locks"
	partOther      = "other"
	partBench      = "the benchmark"
)

var parts = []string{partBlake3, partHeader, partLog, partIndex, partStore, partPeer, partSystem, partMemory, partScheduling, partBench, partOther}

// partPrefixes are of the names of functions, the first that fits counts.
var partPrefixes = []struct{ prefix, part string }{
	{"github.com/zeebo/blake3", partBlake3},
	{"github.com/batpak/batpak/bench.", partBench},
	{"main.(*plain", partPeer},
	{"main.plain", partPeer},
	{"main.openPlain", partPeer},
	{"main.appendRecord", partPeer},
	{"main.parseRecord", partPeer},
	{"main.", partBench},
	{"github.com/batpak/batpak/event.", partHeader},
	{"github.com/batpak/batpak/log.", partLog},
	{"github.com/batpak/batpak/index.", partIndex},
	{"github.com/batpak/batpak/kv.", partIndex},
	{"github.com/batpak/batpak", partStore},
	{"syscall.", partSystem},
	{"internal/runtime/syscall", partSystem},
	{"golang.org/x/sys/unix.", partSystem},
	{"runtime.cgocall", partSystem},
	{"runtime.asmcgocall", partSystem},
	{"sync.", partScheduling},
	{"internal/sync.", partScheduling},
	{"github.com/", partPeer},
	{"go.etcd.io/", partPeer},
}

// runtimeParts are words in the names of the runtime's functions. Of others it is asked who called them.
var runtimeParts = []struct{ word, part string }{
	{"malloc", partMemory}, {"gc", partMemory}, {"GC", partMemory}, {"sweep", partMemory}, {"scan", partMemory}, {"mark", partMemory}, {"wbBuf", partMemory},
	{"greyobject", partMemory}, {"Barrier", partMemory}, {"memclr", partMemory}, {"(*mcache)", partMemory}, {"(*mspan)", partMemory}, {"(*mheap)", partMemory},
	{"(*mcentral)", partMemory}, {"newobject", partMemory}, {"makeslice", partMemory}, {"growslice", partMemory}, {"spanOf", partMemory}, {"Span", partMemory},
	{"futex", partScheduling}, {"schedule", partScheduling}, {"findRunnable", partScheduling}, {"lock", partScheduling}, {"park", partScheduling}, {"ready", partScheduling},
	{"netpoll", partScheduling}, {"usleep", partScheduling}, {"yield", partScheduling}, {"steal", partScheduling}, {"runq", partScheduling}, {"chan", partScheduling},
	{"sema", partScheduling}, {"casgstatus", partScheduling}, {"execute", partScheduling}, {"stack", partScheduling}, {"wake", partScheduling}, {"mcall", partScheduling},
}

// partOf returns the part of a stack of function names, the innermost first.
func partOf(stack []string) string {
	for i, name := range stack {
		for _, p := range partPrefixes {
			if !strings.HasPrefix(name, p.prefix) {
				continue
			}
			if p.part == partPeer && slices.ContainsFunc(stack[i:], isKV) {
				return partIndex // bbolt is a system, and what keeps batpak's index
			}
			return p.part
		}
		if !strings.HasPrefix(name, "runtime.") {
			continue
		}
		for _, p := range runtimeParts {
			if strings.Contains(name, p.word) {
				return p.part
			}
		}
	}
	return partOther
}

func isKV(name string) bool { return strings.HasPrefix(name, "github.com/batpak/batpak/kv.") }

// profiled runs f with the CPU profiler, if that is asked for, and adds what it saw to the result. The profile of the last
// call goes to c.Profile.
func (c *child) profiled(f func() error) error {
	if !c.Parts && c.Profile == "" {
		return f()
	}
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return err
	}
	err := f()
	pprof.StopCPUProfile()
	if c.Profile != "" {
		err = errors.Join(err, os.WriteFile(c.Profile, b.Bytes(), 0o644))
	}
	return errors.Join(err, c.divide(b.Bytes()))
}

// divide adds the samples of a profile to the parts of the result.
func (c *child) divide(data []byte) error {
	p, err := profile.ParseData(data)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if c.r.Samples == nil {
		c.r.Samples = map[string]int64{}
	}
	for _, s := range p.Sample {
		var stack []string
		for _, l := range s.Location {
			for _, line := range l.Line {
				stack = append(stack, line.Function.Name)
			}
		}
		c.r.Samples[partOf(stack)] += s.Value[0]
	}
	return nil
}

// profiledWorks are those whose processor time is divided, in the usual workload.
var profiledWorks = []string{"append-written", "append-durable-64", "append-durable-256", "batch-durable", "get", "stream", "scan", "project", "beside", "tail"}

// dividable reports whether the processor time of a spec is to be divided.
func dividable(s *spec) bool {
	return slices.Contains(profiledWorks, s.Work) && s.System != rustSystem.name && s.Payload == usualPayload && (s.Size == 0 || s.Size == usualSize) &&
		(s.Entities == usualEntities || s.Work == "tail")
}

// samples are those of all repeats of a work.
func (rep *report) samples(k cell) (all map[string]int64, total int64) {
	all = map[string]int64{}
	for i := range rep.Results {
		r := &rep.Results[i]
		if (cell{r.Work, r.System, r.variant()}) != k {
			continue
		}
		for part, n := range r.Samples {
			all[part] += n
			total += n
		}
	}
	return all, total
}

// Below fewSamples, of 10 ms each, nothing can be said, and with manySamples a part is known to some per cent of the whole.
const (
	fewSamples  = 20
	manySamples = 100
)

// sampled reports whether there are enough samples of a result to know a part to a few per cent of the whole.
func (rep *report) sampled(r *result) bool {
	_, total := rep.samples(cell{r.Work, r.System, r.variant()})
	return total >= manySamples
}

// spent returns the nanoseconds of processor time that a part takes of an event.
func (rep *report) spent(r *result, part string) float64 {
	all, total := rep.samples(cell{r.Work, r.System, r.variant()})
	return r.CPU * float64(all[part]) / float64(total)
}

// partsTables say where the processor time of batpak and P goes, and the most of that of each system.
func (rep *report) partsTables() string {
	var ks []cell
	for i := range rep.Results {
		r := &rep.Results[i]
		k := cell{r.Work, r.System, r.variant()}
		if _, total := rep.samples(k); total >= fewSamples && !slices.Contains(ks, k) {
			ks = append(ks, k)
		}
	}
	slices.SortStableFunc(ks, func(a, b cell) int {
		return slices.Index(profiledWorks, a.work) - slices.Index(profiledWorks, b.work)
	})
	if len(ks) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("### Where the processor time goes\n\n")
	fmt.Fprintf(&b, "Of batpak and P, in per cent of the samples of a profile of what is measured, all repeats together:\n\n| | | %s | samples |\n|---|---|%s\n", strings.Join(ownParts(), " | "), strings.Repeat("---:|", len(ownParts())+1))
	for _, k := range ks {
		if ours(k.system) {
			rep.partsLine(&b, k)
		}
	}
	b.WriteString("\nOf each system, what takes most:\n\n| | | |\n|---|---|---|\n")
	for _, k := range ks {
		if k.work != "tail" && k.work != "beside" && k.work != "project" {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", k.title(), k.system, rep.mostly(k))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// ownParts are the parts that batpak can have.
func ownParts() []string {
	return slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return p == partPeer })
}

// title is the name of a work and what is not usual about it.
func (k *cell) title() string {
	if v := strings.TrimSpace(k.variant); v != "" {
		return workNamed(k.work).title + ", " + v
	}
	return workNamed(k.work).title
}

func (rep *report) partsLine(b *strings.Builder, k cell) {
	all, total := rep.samples(k)
	fmt.Fprintf(b, "| %s | %s |", k.title(), k.system)
	for _, part := range ownParts() {
		fmt.Fprintf(b, " %.0f |", 100*float64(all[part])/float64(total))
	}
	fmt.Fprintf(b, " %d |\n", total)
}

// mostly is the parts that have a twentieth or more, the largest first.
func (rep *report) mostly(k cell) string {
	all, total := rep.samples(k)
	var most []string
	for _, part := range slices.SortedFunc(maps.Keys(all), func(x, y string) int { return cmp.Or(cmp.Compare(all[y], all[x]), cmp.Compare(x, y)) }) {
		if share := float64(all[part]) / float64(total); share >= 0.05 {
			most = append(most, fmt.Sprintf("%s %.0f %%", part, 100*share))
		}
	}
	return strings.Join(most, ", ")
}
