package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files that a run writes.
const (
	resultsFile = "results.json"
	tablesFile  = "tables.md"
)

// A report is all that came of a run: what results.json has.
type report struct {
	Machine machine   `json:"machine"`
	Effort  string    `json:"effort"`
	Seed    uint64    `json:"seed"`
	Began   time.Time `json:"began"`
	Took    float64   `json:"took_seconds"`
	Systems []string  `json:"systems"`
	Left    []string  `json:"left_out,omitempty"`
	Notes   []string  `json:"notes,omitempty"`
	Results []result  `json:"results"`

	median map[cell]*result
}

// A cell is a place in the tables: what the repeats of a spec have in common.
type cell struct {
	work, system, variant string
}

func newReport(c *command, r *runner, dir string) *report {
	rep := &report{
		Machine: readMachine(dir), Effort: c.effort.name, Seed: c.seed, Began: r.started.UTC().Truncate(time.Second),
		Took: time.Since(r.started).Seconds(), Systems: c.systems, Left: r.left, Results: r.results,
	}
	for i := range rep.Results {
		rep.Results[i].Dir, rep.Results[i].Profile = "", "" // of this run, and gone
	}
	rep.medians()
	return rep
}

// readReport returns the report of an earlier run.
func readReport(dir string) (*report, error) {
	name := filepath.Join(dir, resultsFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	rep := &report{}
	if err := json.Unmarshal(b, rep); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	rep.medians()
	return rep, nil
}

// medians picks of the repeats of each spec the one whose main figure is the median. A failure counts more than any figure.
func (rep *report) medians() {
	repeats := map[cell][]*result{}
	for i := range rep.Results {
		r := &rep.Results[i]
		k := cell{r.Work, r.System, r.variant()}
		repeats[k] = append(repeats[k], r)
	}
	rep.median = map[cell]*result{}
	for k, list := range repeats {
		slices.SortStableFunc(list, func(a, b *result) int { return cmp.Compare(a.main(), b.main()) })
		rep.median[k] = list[(len(list)-1)/2]
		if i := slices.IndexFunc(list, func(r *result) bool { return r.Failed != "" }); i >= 0 {
			rep.median[k] = list[i]
		}
	}
}

// main is the figure by which repeats are ordered.
func (r *result) main() float64 {
	switch r.Work {
	case "follow":
		return r.P99
	case "beside":
		return r.Beside / max(r.Rate, 1)
	case "open", "kill", "kill-written":
		return r.OpenMS
	case "fold":
		return r.CPU
	}
	return r.Rate
}

// find returns the median of a usual work, or nil. A size of 0 means a store that was empty.
func (rep *report) find(work, system string, size int, change ...func(*spec)) *result {
	s := usual(work, system, 0)
	s.Size = size
	for _, f := range change {
		f(&s)
	}
	r := rep.median[cell{work, system, s.variant()}]
	if r == nil || r.Failed != "" || r.Cannot != "" {
		return nil
	}
	return r
}

// write writes the files, and the tables into docs if that is a name.
func (rep *report) write(dir, docs string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(rep, "", " ")
	if err != nil {
		return err
	}
	plots, plotErr := rep.plots(dir)
	tables := rep.markdown(plots)
	errs := []error{
		plotErr, os.WriteFile(filepath.Join(dir, resultsFile), append(b, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, tablesFile), []byte(tables), 0o644),
	}
	if docs != "" {
		link, err := filepath.Rel(filepath.Dir(docs), dir)
		errs = append(errs, err, replaceResults(docs, strings.ReplaceAll(tables, "](", "]("+filepath.ToSlash(link)+"/")))
	}
	return errors.Join(errs...)
}

// The markers between which the tables are in a document.
const (
	resultsBegin = "<!-- results -->"
	resultsEnd   = "<!-- /results -->"
)

// aroundResults returns what a file has before and after the tables.
func aroundResults(name string) (before, after string, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", "", err
	}
	before, rest, ok := strings.Cut(string(b), resultsBegin)
	_, after, ok2 := strings.Cut(rest, resultsEnd)
	if !ok || !ok2 {
		err = fmt.Errorf("%s: no lines %s and %s", name, resultsBegin, resultsEnd)
	}
	return before, after, err
}

func replaceResults(name, tables string) error {
	before, after, err := aroundResults(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, []byte(before+resultsBegin+"\n\n"+tables+"\n"+resultsEnd+after), 0o644)
}

// failure returns an error if batpak, in either form, lost or changed an event, or did not do something.
func (rep *report) failure() error {
	var errs []error
	for i := range rep.Results {
		if r := &rep.Results[i]; r.Failed != "" && (ours(r.System) || r.System == diskName) {
			errs = append(errs, fmt.Errorf("%s, %s%s: %s", r.System, r.Work, r.variant(), r.Failed))
		}
	}
	return errors.Join(errs...)
}
