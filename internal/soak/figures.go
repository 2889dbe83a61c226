package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// figures are what a soak counts. The package comment says what they mean.
type figures struct {
	length                        time.Duration
	stores, rounds, kills, closes int
	checks, read, verified        int
	damages                       map[string]int
	refused                       int
	acknowledged, lost, repeated  int
	torn, tornByKill              int
	rebuilt, warned               int
	followed                      map[string]int
	readerStarts, readerKills     int
	openings                      map[string][]time.Duration
	writer, reader                []sample
}

func newFigures() figures {
	return figures{damages: map[string]int{}, followed: map[string]int{}, openings: map[string][]time.Duration{}}
}

// line says in short how far the soak has got.
func (f *figures) line(after time.Duration) string {
	s := fmt.Sprintf("%6s  store %d, %d kills, %d closes, %d checks, %d damages, %d events acknowledged, %d verified",
		after.Round(time.Second), f.stores, f.kills, f.closes, f.checks, f.damaged(), f.acknowledged, f.verified)
	if n := len(f.writer); n > 0 {
		s += ", writer " + mebibytes(f.writer[n-1].RSS)
	}
	if n := len(f.reader); n > 0 {
		s += ", reader " + mebibytes(f.reader[n-1].RSS)
	}
	return s
}

func (f *figures) damaged() (n int) {
	for _, times := range f.damages {
		n += times
	}
	return n
}

// print writes the summary.
func (f *figures) print(w io.Writer, seed uint64, found error) {
	row := func(name, format string, values ...any) {
		fmt.Fprintf(w, "%-28s "+format+"\n", append([]any{name}, values...)...)
	}
	row("seed", "%d", seed)
	row("duration", "%s", f.length.Round(time.Millisecond))
	row("stores", "%d", f.stores)
	row("rounds", "%d", f.rounds)
	row("kills", "%d", f.kills)
	row("clean closes", "%d", f.closes)
	row("damages", "%d", f.damaged())
	for _, kind := range slices.Sorted(maps.Keys(f.damages)) {
		row("  "+kind, "%d", f.damages[kind])
	}
	row("refused, then undone", "%d", f.refused)
	row("torn tails reported", "%d, of them %d without damage", f.torn, f.tornByKill)
	row("index rebuilds reported", "%d", f.rebuilt)
	row("warnings logged", "%d", f.warned)
	row("events acknowledged", "%d", f.acknowledged)
	row("  verified at last", "%d", f.verified)
	row("  lost, only written", "%d", f.lost)
	row("keyed commits repeated", "%d", f.repeated)
	row("full checks", "%d, of %d events in all", f.checks, f.read)
	for _, name := range slices.Sorted(maps.Keys(f.followed)) {
		row("events by follower", "%d, %s", f.followed[name], name)
	}
	row("reader processes", "%d, of them %d killed", f.readerStarts, f.readerKills)
	for _, kind := range slices.Sorted(maps.Keys(f.openings)) {
		middle, _ := median(f.openings[kind])
		longest := slices.Max(f.openings[kind])
		row("opening "+kind, "%d times, median %s, longest %s", len(f.openings[kind]), short(middle), short(longest))
	}
	f.printProcess(row, "writer", f.writer)
	f.printProcess(row, "reader", f.reader)
	f.printReader(row)
	if found == nil {
		row("findings", "none")
		return
	}
	row("finding", "%v", found)
}

func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// parts of the run for which medians are printed: around 10 %, around 50 % and up to 100 % of its time.
var parts = []struct{ from, to float64 }{{0, 0.15}, {0.4, 0.6}, {0.85, 1}}

// printProcess prints what the processes of one role used.
func (f *figures) printProcess(row func(name, format string, values ...any), role string, samples []sample) {
	if len(samples) == 0 {
		row(role, "never measured")
		return
	}
	print := func(name string, figure, peak func(*sample) int64, text func(int64) string) {
		most := int64(0)
		for i := range samples {
			most = max(most, peak(&samples[i]))
		}
		row(role+" "+name, "%s, most %s", f.medians(samples, figure, text), text(most))
	}
	goroutines := func(s *sample) int64 { return int64(s.Goroutines) }
	print("goroutines", goroutines, goroutines, number)
	if samples[0].RSS == 0 {
		row(role+" memory and files", "not available on this system")
		return
	}
	files := func(s *sample) int64 { return int64(s.Files) }
	print("open files", files, files, number)
	print("RSS", func(s *sample) int64 { return s.RSS }, func(s *sample) int64 { return s.Peak }, mebibytes)
	print("RSS without files", anonymous, anonymous, mebibytes)
}

func number(n int64) string { return fmt.Sprint(n) }

func anonymous(s *sample) int64 { return s.Anonymous }

// medians returns the medians of a figure in the parts of the run.
func (f *figures) medians(samples []sample, figure func(*sample) int64, text func(int64) string) string {
	var s []string
	for _, p := range parts {
		if m, ok := median(window(samples, f.length, p.from, p.to, figure)); ok {
			s = append(s, text(m))
		} else {
			s = append(s, "–")
		}
	}
	return "medians " + strings.Join(s, ", ")
}

// growth reports memory of the writer that grows with time: in the last part of a run it is more than twice, and by 64 MiB,
// what it was in the first.
func (f *figures) growth() error {
	if f.length < time.Minute {
		return nil // no part has enough samples
	}
	var of [3]int64
	for i, p := range parts {
		var ok bool
		if of[i], ok = median(window(f.writer, f.length, p.from, p.to, anonymous)); !ok {
			return nil
		}
	}
	if of[2] > 2*of[0]+64<<20 {
		return fmt.Errorf("the memory of the writer grows: %s", f.medians(f.writer, anonymous, mebibytes))
	}
	return nil
}

// printReader prints what the index of a reader takes.
func (f *figures) printReader(row func(name, format string, values ...any)) {
	var largest sample
	for _, s := range f.reader {
		if s.Visible > largest.Visible {
			largest = s
		}
	}
	if largest.Anonymous > 0 {
		each := largest.Anonymous / int64(largest.Visible)
		row("reader memory per event", "%d bytes without files, with %d events", each, largest.Visible)
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
