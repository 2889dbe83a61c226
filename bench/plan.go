package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// A choice is what the command line asks for.
type choice struct {
	systems []string
	works   []string // nil for all
	sizes   []int
	effort  effort
	seed    uint64
	heap    int    // MiB that each process holds besides
	profile string // directory for CPU profiles; "" for none
}

// An effort says how much a run takes.
type effort struct {
	name      string
	appends   time.Duration // of one append work
	reads     time.Duration // of one read work
	tail      time.Duration
	load      time.Duration // cap of a bulk load
	loadLarge time.Duration // the same at the largest size
	acked     int           // appends before a kill
	payloads  []int         // besides 256 B
	folds     []int
	budget    int           // repeats of batpak and P
	peers     int           // repeats of the others
	build     time.Duration // for the harness of the Rust crate, before the clock runs
	within    time.Duration // what does not begin in this time is left out
	large     int           // size from which only batpak and P are measured
}

var (
	quickEffort = effort{
		name: "quick", appends: 200 * time.Millisecond, reads: 120 * time.Millisecond, tail: time.Second, load: 4 * time.Second, loadLarge: 4 * time.Second,
		acked: 1000, folds: []int{1_000_000}, budget: 1, peers: 1, build: 10 * time.Second, within: 70 * time.Second, large: 1_000_000,
	}
	defaultEffort = effort{
		name: "default", appends: 1200 * time.Millisecond, reads: 700 * time.Millisecond, tail: 12 * time.Second, load: 30 * time.Second, loadLarge: 60 * time.Second,
		acked: 40_000, payloads: []int{64, 1 << 10, 16 << 10}, folds: []int{1_000_000, 5_000_000}, budget: 3, peers: 1, build: 5 * time.Minute, within: 1140 * time.Second, large: 2_000_000,
	}
	fullEffort = effort{
		name: "full", appends: 5 * time.Second, reads: 3 * time.Second, tail: 30 * time.Second, load: 10 * time.Minute, loadLarge: time.Hour,
		acked: 40_000, payloads: []int{64, 1 << 10, 16 << 10}, folds: []int{1_000_000, 5_000_000}, budget: 5, peers: 3, build: time.Hour, within: 24 * time.Hour, large: 1 << 40,
	}
)

// The workload of the budget, and its other dimension.
const (
	usualPayload  = 256
	usualEntities = 10_000
	manyEntities  = 1_000_000
	usualSize     = 1_000_000
)

// A step is one child process.
type step struct {
	spec
	prepared bool // the directory belongs to several steps
	last     bool // and this is the last of them
	killed   bool // the child is killed when it says that it is ready, and what follows opens the store
}

// plan returns the steps in order: what the budget needs first.
func (c *choice) plan(dir string) []step {
	p := planning{choice: c, dir: dir}
	p.appends()
	p.special()
	p.prepared(c.bySize(), usualEntities)
	if slices.Contains(c.sizes, usualSize) {
		p.prepared([]int{usualSize}, manyEntities)
	}
	p.payloads()
	for i := range p.steps {
		s := &p.steps[i]
		s.Parts, s.Heap = dividable(&s.spec), p.heap
		if p.profile != "" && !s.killed {
			s.Profile = filepath.Join(p.profile, fmt.Sprintf("%03d-%s-%s.prof", i, s.Work, filepath.Base(s.System)))
		}
	}
	return p.steps
}

// bySize returns the sizes, that of the budget first and then the larger before the smaller.
func (c *choice) bySize() []int {
	sizes := slices.Clone(c.sizes)
	slices.SortFunc(sizes, func(a, b int) int {
		if a == usualSize || b == usualSize {
			return b2i(b == usualSize) - b2i(a == usualSize)
		}
		return b - a
	})
	return sizes
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

type planning struct {
	*choice
	dir   string
	steps []step
}

func (c *choice) wants(work string) bool { return c.works == nil || slices.Contains(c.works, work) }

// ours reports whether a system is batpak in one of its two forms.
func ours(system string) bool { return system == batpakSystem.name || system == pureSystem.name }

// compared reports whether a system is in the budget: batpak, and the pure-segment design in two forms.
func compared(system string) bool { return ours(system) || system == plainSystem.name }

func (c *choice) repeats(system string) int {
	if compared(system) {
		return c.effort.budget
	}
	return c.effort.peers
}

// add appends a step if its work is wanted.
func (p *planning) add(s step) {
	if !p.wants(s.Work) {
		return
	}
	w := workNamed(s.Work)
	s.Durable, s.Seed = w.durable(), p.seed
	if s.Limit == 0 {
		s.Limit = p.effort.appends
	}
	if s.Dir == "" {
		s.Dir = filepath.Join(p.dir, fmt.Sprintf("run-%d", len(p.steps)))
	}
	p.steps = append(p.steps, s)
}

// each calls f for every repeat of every system that is chosen, the systems in turn.
func (p *planning) each(f func(system string, repeat int)) {
	for repeat := range max(p.effort.budget, p.effort.peers) {
		for _, name := range p.systems {
			if repeat < p.repeats(name) {
				f(name, repeat)
			}
		}
	}
}

// usual is a spec of the usual workload.
func usual(work, system string, repeat int) spec {
	return spec{Work: work, System: system, Payload: usualPayload, Entities: usualEntities, Callers: 1, Batch: 1, Repeat: repeat}
}

// appends plans the works that begin with an empty store.
func (p *planning) appends() {
	for _, a := range []struct {
		work           string
		callers, batch int
	}{
		{"append-written", 1, 1}, {"append-durable", 1, 1}, {"append-durable-64", 64, 1}, {"append-durable-256", 256, 1},
		{"batch-written", 1, 100}, {"batch-durable", 1, 100},
	} {
		p.each(func(system string, repeat int) {
			if p.effort.name == quickEffort.name && !ours(system) && (a.callers == 256 || a.work == "batch-written") {
				return
			}
			s := usual(a.work, system, repeat)
			s.Callers, s.Batch = a.callers, a.batch
			if a.work == "append-durable" && system == batpakSystem.name {
				p.add(step{spec: usual("floor", diskName, repeat)})
			}
			p.add(step{spec: s})
		})
	}
	p.add(step{spec: usual("harness", diskName, 0)})
}

// diskName stands for a system where none is measured.
const diskName = "–"

// prepared plans bulk loads of each system and the works that read what they stored: a work on all sizes, and then again, so
// that what is compared is measured within seconds.
func (p *planning) prepared(sizes []int, entities int) {
	from := len(p.steps)
	at := func(s spec, size int) spec {
		s.Size, s.Entities = size, entities
		of := s.System
		if p.borrows(of, size) {
			of = batpakSystem.name
		}
		s.Dir = filepath.Join(p.dir, fmt.Sprintf("%d-%d-%s", size, entities, filepath.Base(of)))
		return s
	}
	for _, size := range sizes {
		for _, name := range p.loaded(size, entities) {
			if p.borrows(name, size) {
				continue
			}
			s := at(usual("load", name, 0), size)
			s.Batch, s.Limit, s.Seed = loadBatch, p.effort.load, p.seed
			if size > usualSize {
				s.Limit = p.effort.loadLarge
			}
			p.steps = append(p.steps, step{spec: s, prepared: true})
		}
	}
	loads := len(p.steps)
	for _, work := range readWorks {
		for repeat := range openRepeats * max(p.effort.budget, p.effort.peers) {
			for _, size := range sizes {
				for _, name := range p.loaded(size, entities) {
					if repeat < p.readRepeats(name, work, size, entities) && p.worth(name, work, size, repeat) {
						p.readStep(at(usual(work, name, repeat), size))
					}
				}
			}
		}
	}
	if len(p.steps) == loads && !p.wants("load") {
		p.steps = p.steps[:from] // nothing reads what would be loaded
	}
	p.markLast(from)
}

// loaded are the systems of which there is a store of a size.
func (p *planning) loaded(size, entities int) (names []string) {
	for _, name := range p.systems {
		if ours(name) || size < p.effort.large && entities == usualEntities && (name != rustSystem.name || size < usualSize || p.effort.name == fullEffort.name) {
			names = append(names, name)
		}
	}
	return names
}

// openRepeats is how much more often batpak is opened than other works are repeated, since it takes a millisecond, of which
// the system takes a fifth more or less each time.
const openRepeats = 3

// readRepeats is how often a work on a store of a size is repeated at most: once unless it is in the budget, since opening
// P takes seconds each time, and not at all if it says nothing there that it does not say of other stores.
func (p *planning) readRepeats(system, work string, size, entities int) int {
	n := min(p.repeats(system), p.sizeRepeats(work, size, entities))
	if work == "open" && system == batpakSystem.name {
		n *= openRepeats
	}
	return n
}

func (p *planning) sizeRepeats(work string, size, entities int) int {
	only := []string{"get", "stream", "open", "grow", "kill"}
	budgeted := []string{"get", "stream", "scan", "open", "grow", "kill"}
	switch {
	case entities != usualEntities && (p.effort.name != fullEffort.name || !slices.Contains(only, work)):
		return b2i(slices.Contains(only, work))
	case p.effort.name == fullEffort.name, size == usualSize && slices.Contains(budgeted, work):
		return max(p.effort.budget, p.effort.peers)
	case size > usualSize && slices.Contains([]string{"get", "open", "grow"}, work):
		return max(p.effort.budget, p.effort.peers)
	}
	return b2i(size <= usualSize || slices.Contains(budgeted, work))
}

// worth reports whether a system is asked for a work on a store of a size: of P, which takes half a minute to open 10 M
// events, only what shows that, and once; and once what takes long and is far from any bound.
func (p *planning) worth(system, work string, size, repeat int) bool {
	if system != pureSystem.name || p.effort.name == fullEffort.name {
		return true
	}
	return size <= usualSize && (repeat == 0 || work != "grow" && work != "kill") || repeat == 0 && work == "open"
}

// borrows reports whether a system works on batpak's store: P, which has the same log, where it is only opened.
func (p *planning) borrows(system string, size int) bool {
	return system == pureSystem.name && size > usualSize && p.effort.name != fullEffort.name && slices.Contains(p.systems, batpakSystem.name)
}

// readWorks are the works on a prepared store, those that change it last and that which changes it most after all.
var readWorks = []string{"get", "stream", "scope", "kind", "range", "scan", "open", "kill", "kill-written", "grow"}

func (p *planning) readStep(s spec) {
	s.Limit, s.Warm = p.effort.reads, p.effort.reads/10
	if s.Work == "get" && s.Size >= usualSize {
		s.Limit, s.Warm = 2*p.effort.reads, p.effort.reads // it takes longer until every page has been touched
	}
	switch s.Work {
	case "grow":
		if !ours(s.System) {
			return
		}
		s.Limit = 3 * p.effort.appends // so that merging runs of the index has its share
	case "kill", "kill-written":
		if s.Repeat > 0 && s.Work == "kill-written" || !p.wants(s.Work) {
			return
		}
		p.killStep(s)
	}
	p.add(step{spec: s, prepared: true})
}

// killStep plans the child that is killed.
func (p *planning) killStep(s spec) {
	if s.Work == "kill" {
		s.Callers = 64
	}
	s.Durable = workNamed(s.Work).durable()
	s.Work, s.Most, s.Limit, s.Seed = killed, p.effort.acked, 4*p.effort.reads, p.seed
	p.steps = append(p.steps, step{spec: s, prepared: true, killed: true})
}

// killed is the work of a child that is killed.
const killed = "appending until killed"

// markLast finds the last step on each directory prepared since a step.
func (p *planning) markLast(from int) {
	seen := map[string]bool{}
	for i := len(p.steps) - 1; i >= from; i-- {
		if s := &p.steps[i]; s.prepared && !seen[s.Dir] {
			s.last = true
			seen[s.Dir] = true
		}
	}
}

// special plans what concerns batpak and P alone.
func (p *planning) special() {
	p.each(func(system string, repeat int) {
		if !ours(system) || system == pureSystem.name && repeat > 0 { // the budget asks for batpak alone
			return
		}
		for _, callers := range []int{1, 64} {
			s := usual("follow", system, repeat)
			s.Callers = callers
			p.add(step{spec: s})
		}
		for _, pace := range []int{0, 100} {
			s := usual("beside", system, repeat)
			s.Callers, s.Pace, s.Limit = 64, pace, 3*p.effort.appends
			p.add(step{spec: s})
		}
	})
	p.each(func(system string, repeat int) {
		for _, work := range []string{"meter", "project", "resume"} {
			if system == batpakSystem.name {
				p.add(step{spec: usual(work, system, repeat)})
			}
		}
	})
	for repeat := range p.effort.budget {
		for _, size := range p.effort.folds {
			s := usual("fold", diskName, repeat)
			s.Size, s.Limit = size, time.Minute
			p.add(step{spec: s})
		}
		for _, entities := range []int{usualEntities, manyEntities} {
			if slices.Contains(p.systems, batpakSystem.name) {
				s := usual("tail", batpakSystem.name, repeat)
				s.Entities, s.Limit = entities, p.effort.tail
				p.add(step{spec: s})
			}
		}
	}
}

// payloads plans appends and point reads with other payloads.
func (p *planning) payloads() {
	for _, payload := range p.effort.payloads {
		for _, name := range p.systems {
			if name == jetstreamSystem.name || name == rustSystem.name {
				continue
			}
			for _, a := range []struct {
				work    string
				callers int
			}{{"append-written", 1}, {"append-durable", 1}, {"append-durable-64", 64}} {
				s := usual(a.work, name, 0)
				s.Callers, s.Payload, s.Limit = a.callers, payload, p.effort.appends/2
				p.add(step{spec: s})
			}
			p.payloadRead(name, payload)
		}
	}
}

// payloadRead plans point reads in a store of a payload.
func (p *planning) payloadRead(name string, payload int) {
	if !p.wants("get") {
		return
	}
	from := len(p.steps)
	s := usual("load", name, 0)
	s.Size, s.Payload, s.Limit, s.Seed = 10_000, payload, p.effort.load, p.seed
	s.Batch = min(loadBatch, loadBatch*usualPayload/payload)
	s.Dir = filepath.Join(p.dir, fmt.Sprintf("payload-%d-%s", payload, filepath.Base(name)))
	p.steps = append(p.steps, step{spec: s, prepared: true})
	s.Work, s.Batch, s.Limit, s.Warm = "get", 1, p.effort.reads, p.effort.reads/10
	p.add(step{spec: s, prepared: true})
	p.markLast(from)
}
