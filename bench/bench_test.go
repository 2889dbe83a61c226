package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the binary of the tests be the child that the runner starts.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// tinyEffort is small, and ends by counts, so that a slow machine does the same as a fast one.
var tinyEffort = effort{
	name: "tiny", appends: time.Minute, reads: time.Minute, tail: time.Minute, load: time.Minute, loadLarge: time.Minute, acked: 20,
	budget: 1, peers: 1, within: time.Hour, large: 1 << 40,
}

// tiny is a plan of a few events for every system but the crate in Rust.
func tiny(dir string, works []string) []step {
	c := choice{works: works, sizes: []int{2000}, effort: tinyEffort, seed: 7}
	for _, s := range systems {
		if s != rustSystem {
			c.systems = append(c.systems, s.name)
		}
	}
	steps := c.plan(dir)
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Work == "load" || s.Work == killed:
			s.Entities = 50
		case s.prepared:
			s.Entities, s.Most = 50, 3
		default:
			s.Entities, s.Most = 50, 300
		}
	}
	return steps
}

// TestEverySystem runs a small workload over every system, each step in a process of its own, and looks at the counts.
func TestEverySystem(t *testing.T) {
	dir := t.TempDir()
	steps := tiny(dir, []string{"append-written", "append-durable-64", "batch-durable", "load", "get", "stream", "scope", "kind", "range", "scan", "open", "kill"})
	r := runner{self: executable(t), progress: io.Discard, within: time.Hour}
	r.run(context.Background(), steps)
	counted := map[string]int{}
	for i := range r.results {
		res := &r.results[i]
		name := res.System + " " + res.Work
		cannot := res.System == walSystem.name && (res.Work == "stream" || res.Work == "scope" || res.Work == "kind")
		switch {
		case res.Failed != "" && res.System == walSystem.name && res.Work == "kill" && strings.Contains(res.Failed, "log corrupt"):
			t.Logf("seed %d: %s failed: %s", res.Seed, name, res.Failed) // a record that it was writing is in its way now and then
		case res.Failed != "":
			t.Errorf("seed %d: %s failed: %s", res.Seed, name, res.Failed)
		case cannot != (res.Cannot != ""):
			t.Errorf("%s: not done: %q", name, res.Cannot)
		case !cannot && res.N != wantN(res):
			t.Errorf("%s measured %d, want %d", name, res.N, wantN(res))
		}
		counted[res.System]++
	}
	for _, s := range systems {
		want := 12
		if s == batpakSystem {
			want += openRepeats - 1
		}
		if n := counted[s.name]; s != rustSystem && n != want {
			t.Errorf("%s did %d works, want %d", s.name, n, want)
		}
	}
	if len(r.left) > 0 {
		t.Errorf("left out: %v", r.left)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%d directories are left, %v", len(entries), err)
	}
}

// wantN is how much a work of tiny measures: 0 stands for a number that depends on what is drawn.
func wantN(r *result) int {
	switch r.Work {
	case "load":
		return 2000
	case "open", "kill":
		return 1
	case "get":
		return 3
	case "append-written", "append-durable-64", "batch-durable":
		return 300
	}
	return r.N
}

// executable returns this program. It runs as a child of itself.
func executable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// forgetful loses or changes an event of what it was given.
type forgetful struct {
	store
	spoil func(*event) bool // reports whether to leave the event out, and may change it
}

func (f *forgetful) Query(q query, visit func(*event) error) error {
	return f.store.Query(q, func(e *event) error {
		e.Payload = bytes.Clone(e.Payload)
		if f.spoil(e) {
			return nil
		}
		return visit(e)
	})
}

func (f *forgetful) Get(k key, e *event) error {
	err := f.store.Get(k, e)
	f.spoil(e)
	return err
}

// TestLossIsNoticed plants a defect in a system and expects each work that reads to fail, and without one not to.
func TestLossIsNoticed(t *testing.T) {
	number := func(e *event) byte { return e.Payload[0] }
	plants := map[string]func(*event) bool{
		"nothing":              func(e *event) bool { return false },
		"an event is lost":     func(e *event) bool { return number(e) == 100 },
		"a byte has changed":   func(e *event) bool { e.Payload[len(e.Payload)-1] ^= 1; return false },
		"a random byte":        func(e *event) bool { e.Payload[9] ^= 1; return false },
		"another entity":       func(e *event) bool { e.Entity = "entity:0000050"; return false },
		"another scope":        func(e *event) bool { e.Scope = "scope:100"; return false },
		"another kind":         func(e *event) bool { e.Kind ^= 1; return false },
		"another event's data": func(e *event) bool { e.Payload[0] ^= 1; return false },
	}
	for name, spoil := range plants {
		for _, work := range []string{"append-written", "get", "stream", "scope", "kind", "range", "scan", "kill"} {
			if work == "get" && name == "an event is lost" {
				continue // the system itself says so
			}
			t.Run(work+"/"+name, func(t *testing.T) {
				s := usual(work, bboltSystem.name, 0)
				s.Dir, s.Entities, s.Size, s.Limit, s.Seed = t.TempDir(), 5, 200, time.Minute, 7
				load(t, s)
				if work == "append-written" {
					s.Size, s.Dir = 0, t.TempDir()
				}
				if s.Most = 2000; s.Size == 0 {
					s.Most = 200
				}
				planted := *bboltSystem
				planted.open = func(dir string, c config) (store, error) {
					under, err := bboltSystem.open(dir, c)
					return &forgetful{under, spoil}, err
				}
				c := child{spec: s, sys: &planted, stdout: io.Discard}
				if err := c.run(); (err == nil) != (name == "nothing") {
					t.Errorf("seed %d: failure is %v", s.Seed, err)
				}
			})
		}
	}
}

// load fills the store of a spec.
func load(t *testing.T, s spec) {
	t.Helper()
	s.Work, s.Batch = "load", 100
	c := child{spec: s, sys: bboltSystem, stdout: io.Discard}
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
}

// TestAckedLossIsNoticed expects recovery to fail if an acknowledged event is missing, and not if one is that was not.
func TestAckedLossIsNoticed(t *testing.T) {
	for _, acked := range []bool{true, false} {
		s := usual("kill", bboltSystem.name, 0)
		s.Dir, s.Entities, s.Size, s.Limit, s.Seed = t.TempDir(), 5, 200, time.Minute, 7
		load(t, s)
		l, err := openLedger(s.ledgerFile(), 200)
		if err != nil {
			t.Fatal(err)
		}
		l.reserve(201)
		if acked {
			l.ack(200)
		}
		c := child{spec: s, sys: bboltSystem, stdout: io.Discard}
		if err := c.run(); (err != nil) != acked {
			t.Errorf("acknowledged %v: %v", acked, err)
		}
	}
}

func TestWorkload(t *testing.T) {
	const seed, events = 3, 10_000
	w := newWorkload(seed, usualPayload, usualEntities)
	entities := map[string]int{}
	var e event
	for n := range uint64(events) {
		w.fill(&e, n)
		entities[strings.Clone(e.Entity)]++
		got := e
		got.Number = 0
		if err := w.check(&got); err != nil || got.Number != n {
			t.Fatalf("seed %d: event %d: number %d, %v", seed, n, got.Number, err)
		}
	}
	most := 0
	for _, n := range entities {
		most = max(most, n)
	}
	if len(entities) < 3500 || len(entities) > 4300 || most < events/15 || most > events/8 {
		t.Errorf("seed %d: %d entities, the first with %d events", seed, len(entities), most)
	}
	if d := w.digest(1000); d == newWorkload(seed+1, usualPayload, usualEntities).digest(1000) {
		t.Errorf("digest %s for two seeds", d)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 100_000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.01, 0.5, 0.99} {
		if got, want := h.quantile(q), q*100_000; got < want || got > want*1.04 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	for v := uint64(1); v < 1<<40; v = v*9/8 + 1 {
		if c := class(v); lowest(c) > v || lowest(c+1) <= v {
			t.Fatalf("%d is in class %d, which begins at %d and ends before %d", v, c, lowest(c), lowest(c+1))
		}
	}
}

// TestReport writes a report of made-up results, and again into a document.
// Processor time belongs to who caused it: to the innermost function that is not a helper of the language.
func TestPartOf(t *testing.T) {
	const seal, compress = "github.com/batpak/batpak.(*Store).seal", "github.com/zeebo/blake3/internal/alg/compress/compress_sse41.Compress"
	for _, tt := range []struct {
		part  string
		stack []string
	}{
		{partBlake3, []string{compress, "github.com/zeebo/blake3.(*Hasher).Sum", "github.com/batpak/batpak/chain.Event", seal}},
		{partStore, []string{"runtime.memmove", seal}},
		{partLog, []string{"runtime.memmove", "bytes.Equal", "github.com/batpak/batpak/log.(*Log).Append", seal}},
		{partMemory, []string{"runtime.nextFreeFast", "runtime.mallocgc", "runtime.newobject", seal}},
		{partScheduling, []string{"runtime.procyield", "runtime.lock2", "runtime.schedule", "runtime.mcall"}},
		{partScheduling, []string{"sync.(*Mutex).Lock", seal}},
		{partSystem, []string{"internal/runtime/syscall/linux.Syscall6", "syscall.Pwrite", "os.(*File).WriteAt", seal}},
		{partPeer, []string{"bytes.Compare", "go.etcd.io/bbolt.(*Cursor).seek", "github.com/batpak/batpak/bench.(*bboltStore).Get"}},
		{partBench, []string{"runtime.memequal", "main.(*workload).check"}},
		{partOther, []string{"runtime.rt0_go"}},
	} {
		if got := partOf(tt.stack); got != tt.part {
			t.Errorf("%v is of %q, not %q", tt.stack, got, tt.part)
		}
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	doc := filepath.Join(dir, "doc.md")
	if err := os.WriteFile(doc, []byte("before\n"+resultsBegin+"\nearlier tables\n"+resultsEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command{choice: choice{systems: []string{batpakSystem.name, pureSystem.name}, effort: tinyEffort}}
	r := runner{started: time.Now()}
	for _, system := range c.systems {
		for _, rate := range []float64{50, 300, 200} {
			res := result{spec: usual("append-written", system, 0), Rate: rate, CPU: 4e6, Samples: map[string]int64{partIndex: 50, partMemory: 10, partBlake3: 40}}
			if system == batpakSystem.name {
				res.Rate, res.CPU = 2*res.Rate, 2e6
			}
			r.results = append(r.results, res)
		}
		for _, size := range []int{1000, 1_000_000} {
			s := usual("open", system, 0)
			s.Size = size
			r.results = append(r.results, result{spec: s, OpenMS: 7, HeapMiB: 3, Events: size})
		}
	}
	lost := usual("scan", batpakSystem.name, 0)
	lost.Size = 1000
	r.results = append(r.results, result{spec: lost, Failed: "3 events are lost"})
	rep := newReport(&c, &r, dir)
	if err := rep.write(dir, doc); err != nil {
		t.Fatal(err)
	}
	if err := rep.failure(); err == nil || !strings.Contains(err.Error(), "3 events are lost") {
		t.Errorf("failure is %v", err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	// Of the 5 ms that an event takes P, 2 are its index, and 0.2 what it needs for memory and batpak does not.
	for _, want := range []string{
		"before\n", "\nafter\n", "| events/s | 400 (2.00) | 200 |", "| append, Written, one caller | ≥ 2.00 × P | 550 000/s | 400/s | P: 200/s | 2.00 | yes | 1.79 |",
		"| FAILED |", "open.svg",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in the document:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "earlier tables") {
		t.Error("the old tables are still there")
	}
	if err := os.WriteFile(doc, []byte(resultsBegin+resultsEnd), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	if code := run([]string{"-again", "-out", dir, "-docs", doc}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "3 events are lost") {
		t.Errorf("making the tables again: %d, %s", code, &stderr)
	}
	again, err := os.ReadFile(doc)
	if err != nil || "before\n"+string(again)+"\nafter\n" != string(b) {
		t.Errorf("made again they are %v\n%s", err, again)
	}
}

// TestNowhereToReport finds out before measuring that the tables have no place.
func TestNowhereToReport(t *testing.T) {
	dir := t.TempDir()
	doc, missing := filepath.Join(dir, "a.md"), filepath.Join(dir, "missing.md")
	if err := os.WriteFile(doc, []byte(resultsBegin+" without the other mark"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		missing: {"-docs", missing},
		doc:     {"-docs", doc},
		"a.md":  {"-out", filepath.Join(doc, "out")},
	} {
		var stderr strings.Builder
		args = append([]string{"-out", filepath.Join(dir, "out"), "-systems", "batpak", "-work", "scan", "-sizes", "1k"}, args...)
		if code := run(args, io.Discard, &stderr); code != 1 || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), name) {
			t.Errorf("%q: %d, %s", args, code, &stderr)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 12.34: "12.3", 123.4: "123", 1234: "1 230", 999_900: "1 000 000", 1_234_567: "1 230 000"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) is %q, want %q", v, got, want)
		}
	}
	for text, want := range map[string]int{"100k": 100_000, "1M": 1_000_000, "7": 7} {
		if got, err := parseSizes(text); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("size %q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "k", "1g", "-1", "1kk"} {
		if got, err := parseSizes(text); err == nil {
			t.Errorf("size %q is %v", text, got)
		}
	}
}
