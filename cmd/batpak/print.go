package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// fields writes a name and a value per line.
type fields struct{ w io.Writer }

func (f fields) add(name string, value any) { fmt.Fprintf(f.w, "%-12s  %v\n", name, value) }

// A table writes rows of cells, each column as wide as the widest cell seen so far.
type table struct {
	w      io.Writer
	right  int      // so many columns, from the first, are aligned to the right
	titles []string // written before the first row; nil: none
	widths []int
}

// fit makes room for a row that will be written later.
func (t *table) fit(cells []string) {
	for len(t.widths) < len(cells) {
		t.widths = append(t.widths, 0)
	}
	for i, cell := range cells {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
	}
}

// rows writes rows that were collected.
func (t *table) rows(rows [][]string) error {
	for _, cells := range rows {
		t.fit(cells)
	}
	for _, cells := range rows {
		if err := t.row(cells); err != nil {
			return err
		}
	}
	return nil
}

// row writes a row, and before the first one the titles.
func (t *table) row(cells []string) error {
	t.fit(t.titles)
	t.fit(cells)
	if titles := t.titles; titles != nil {
		t.titles = nil
		if err := t.row(titles); err != nil {
			return err
		}
	}
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell))
		switch {
		case i < t.right:
			b.WriteString(pad + cell)
		case i == len(cells)-1:
			b.WriteString(cell)
		default:
			b.WriteString(cell + pad)
		}
	}
	_, err := fmt.Fprintln(t.w, b.String())
	return err
}

// writeJSON writes a value on a line.
func writeJSON(w io.Writer, v any) error {
	b, err := marshalJSON(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// buffered calls do with a buffer before w.
func buffered(w io.Writer, do func(w io.Writer) error) error {
	b := bufio.NewWriter(w)
	err := do(b)
	if flushErr := b.Flush(); err == nil {
		err = flushErr
	}
	return err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// grouped writes a number with a comma before every three digits.
func grouped[N ~int | ~int64 | ~uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// perSecond returns a rate.
func perSecond[N ~int | ~int64 | ~uint64](n N, took time.Duration) int64 {
	return int64(float64(n) / max(took.Seconds(), 1e-9))
}

// short rounds a duration to what people read.
func short(d time.Duration) time.Duration {
	for unit := time.Nanosecond; unit <= time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(100 * time.Millisecond)
}

// plural returns "1 event" or "2 events".
func plural[N ~int | ~int64 | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

// A progress is a line on stderr that is written over, if stderr is a terminal.
type progress struct {
	w     io.Writer // nil: nobody looks
	last  time.Time
	shown bool
}

func newProgress(stderr io.Writer) *progress {
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w: f}
	}
	return &progress{}
}

// show replaces the line, at most ten times a second.
func (p *progress) show(format string, args ...any) {
	if p.w == nil || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = time.Now(), true
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

// verified shows how far reading the log has got.
func (p *progress) verified(done, total int64) {
	p.show("verified %s of %s (%d%%)", size(done), size(total), 100*done/max(total, 1))
}

// clear removes the line.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.shown = false
}
