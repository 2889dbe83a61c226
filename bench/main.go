// Command bench compares batpak with the pure-segment design (P, batpak with its index in memory) and with what else
// one could keep events in. Run it from the root of the repository:
//
//	go run ./bench                                   # under 20 minutes on two cores
//	go run ./bench -quick                            # under 90 seconds
//	go run ./bench -docs docs/performance.md         # and put the tables there
//	go run ./bench -systems batpak,P -work open,kill -sizes 1m
//	go run ./bench -systems pebble -work append-written -profile /tmp    # and look at it with go tool pprof
//
// Each system does each work in a process and a directory of its own. The events are the same for all (workload.go), and
// whatever a system returns is compared with what it was given: one that loses or changes an event is shown as FAILED.
// The exit code is 1 if that is batpak, and 2 if the command line is wrong.
//
// The files of results.go, tables.go, budget.go and plot.go make of the results a JSON file, Markdown and SVG.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// A command is a parsed command line.
type command struct {
	choice
	child string // what to measure, if this process is a child
	dir   string // where the stores are made
	out   string
	docs  string
	again bool // makes the tables of what was measured before
}

func run(args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	switch {
	case c.child != "":
		err = runChild(c.child, stdout)
	case c.again:
		err = c.remake(stdout)
	default:
		err = c.main(stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (c command, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	quick := flags.Bool("quick", false, "a short run, for a first look")
	full := flags.Bool("full", false, "everything, also what takes hours")
	systemList := flags.String("systems", "", "of "+names(systems, func(s *system) string { return s.name })+" (default all)")
	workList := flags.String("work", "", "of "+names(works[:len(works)-1], func(w *work) string { return w.name })+" (default all)")
	sizeList := flags.String("sizes", "", "events in the stores that are read, such as 100k,1m,10m")
	flags.Uint64Var(&c.seed, "seed", 1, "of the workload")
	flags.IntVar(&c.heap, "heap", 64, "MiB of memory that each process holds besides the store, as the program around one does")
	flags.StringVar(&c.dir, "dir", "", "directory for the stores (default a temporary one)")
	flags.StringVar(&c.out, "out", filepath.Join("bench", "results"), "directory for results.json, tables.md and the plots")
	flags.StringVar(&c.profile, "profile", "", "directory for a CPU profile of what each process in Go measures; it must exist")
	flags.StringVar(&c.docs, "docs", "", "Markdown file in which to replace the tables")
	flags.BoolVar(&c.again, "again", false, "measure nothing, and make the tables and plots of the results.json that is there")
	flags.StringVar(&c.child, "child", "", "measure one thing, as the parent process asks")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 || *quick && *full {
		return c, errors.New("no arguments but flags, and not both -quick and -full")
	}
	if c.heap < 0 || c.heap > 4096 {
		return c, fmt.Errorf("-heap %d is not from 0 to 4096", c.heap)
	}
	if c.again && (*quick || *full || *systemList+*workList+*sizeList != "") {
		return c, errors.New("-again measures nothing, so that there is nothing to choose")
	}
	c.effort, c.sizes = defaultEffort, []int{100_000, 1_000_000, 10_000_000}
	if *quick {
		c.effort, c.sizes = quickEffort, []int{50_000}
	}
	if *full {
		c.effort = fullEffort
	}
	return c, c.choose(*systemList, *workList, *sizeList)
}

// choose reads the lists of the command line.
func (c *command) choose(systemList, workList, sizeList string) (err error) {
	for _, s := range systems {
		if systemList == "" {
			c.systems = append(c.systems, s.name)
		}
	}
	for name := range strings.SplitSeq(systemList, ",") {
		if name == "" {
			continue
		}
		s := systemCalled(name)
		if s == nil {
			return fmt.Errorf("no system %q", name)
		}
		c.systems = append(c.systems, s.name)
	}
	for name := range strings.SplitSeq(workList, ",") {
		if name == "" {
			continue
		}
		if w := workNamed(name); w == nil || !w.titled() {
			return fmt.Errorf("no work %q", name)
		}
		c.works = append(c.works, name)
	}
	if sizeList != "" {
		c.sizes, err = parseSizes(sizeList)
	}
	return err
}

// systemCalled finds a system by its name, or by the last part of it, in any case.
func systemCalled(name string) *system {
	for _, s := range systems {
		if strings.EqualFold(s.name, name) || strings.EqualFold(filepath.Base(s.name), name) || s == rustSystem && strings.EqualFold(name, "rust") {
			return s
		}
	}
	return nil
}

func parseSizes(list string) (sizes []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		digits := strings.TrimRight(strings.ToLower(text), "km")
		n, err := strconv.Atoi(digits)
		exponent := map[string]float64{"": 0, "k": 3, "m": 6}
		e, ok := exponent[strings.ToLower(text)[len(digits):]]
		if n *= int(math.Pow(10, e)); err != nil || !ok || n < 1 {
			return nil, fmt.Errorf("size %q is not like 100k or 1m", text)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// names joins the names of things.
func names[T any](list []T, name func(T) string) string {
	var all []string
	for _, v := range list {
		all = append(all, name(v))
	}
	return strings.Join(all, ", ")
}

// main runs the plan and writes what came of it.
func (c *command) main(stdout, stderr io.Writer) error {
	if err := c.canReport(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.dir, "batpak-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := runner{self: self, progress: stderr, within: c.effort.within}
	rustNote := c.findRust(&r, stderr)
	r.run(ctx, c.plan(dir))
	rep := newReport(c, &r, dir)
	if rustNote != "" {
		rep.Notes = append(rep.Notes, rustNote)
	}
	return c.report(rep, stdout)
}

// canReport finds out before anything is measured whether the tables can be put where they are to be.
func (c *command) canReport() error {
	if c.docs != "" {
		if _, _, err := aroundResults(c.docs); err != nil {
			return err
		}
	}
	return os.MkdirAll(c.out, 0o755)
}

// remake is main with what was measured before.
func (c *command) remake(stdout io.Writer) error {
	rep, err := readReport(c.out)
	if err != nil {
		return err
	}
	return c.report(rep, stdout)
}

// report writes the files and says where they are.
func (c *command) report(rep *report, stdout io.Writer) error {
	if err := rep.write(c.out, c.docs); err != nil {
		return err
	}
	fmt.Fprint(stdout, rep.summary())
	fmt.Fprintln(stdout, "\nThe tables are in", filepath.Join(c.out, tablesFile))
	return rep.failure()
}

// findRust builds the harness of the crate if that is among the systems, and returns why it is left out, if it is.
func (c *command) findRust(r *runner, stderr io.Writer) string {
	wanted := false
	for _, name := range c.systems {
		wanted = wanted || name == rustSystem.name
	}
	if !wanted {
		return ""
	}
	const source = "bench/rust"
	fmt.Fprintln(stderr, "building", source)
	path, err := buildRust(source, c.effort.build, stderr)
	if err == nil {
		err = sameWorkload(path)
	}
	if err != nil {
		return "The Rust crate was left out: " + err.Error() + "."
	}
	r.rust = path
	return ""
}
