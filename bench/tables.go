package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// count is a number of three digits that count, grouped by thousands.
func count(v float64) string {
	if v > 0 && v < 100 {
		return decimal(v)
	}
	if v >= 1000 {
		unit := math.Pow(10, math.Floor(math.Log10(v))-2)
		v = math.Round(v/unit) * unit
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}

// decimal is a small number with as many places as count.
func decimal(v float64) string {
	switch {
	case v >= 100:
		return count(v)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func micros(v float64) string { return decimal(v) }

// markdown returns all the tables, and links to the plots, which are beside them.
func (rep *report) markdown(plots []plot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run of %s, `%s`, seed %d, %.0f s; load averages at its end %s.\n\n", rep.Began.Format("2006-01-02 15:04 MST"),
		rep.command(), rep.Seed, rep.Took, rep.Machine.Load)
	fmt.Fprintf(&b, "Machine: %v.\n\n", rep.Machine)
	for _, n := range rep.Notes {
		fmt.Fprintf(&b, "%s\n\n", n)
	}
	b.WriteString(rep.budgetTable())
	for _, w := range works {
		b.WriteString(rep.table(w))
	}
	b.WriteString(rep.partsTables())
	for _, p := range plots {
		fmt.Fprintf(&b, "![%s](%s)\n\n", p.title, p.file)
	}
	b.WriteString(rep.remarks())
	return strings.TrimSpace(b.String()) + "\n"
}

func (rep *report) command() string {
	if rep.Effort == defaultEffort.name {
		return "go run ./bench"
	}
	return "go run ./bench -" + rep.Effort
}

// table returns the table of a work, or nothing if it was not measured. Systems are the columns.
func (rep *report) table(w *work) string {
	var columns []string
	var variants []string // in the order of the plan
	for i := range rep.Results {
		r := &rep.Results[i]
		if r.Work != w.name || r.Work == "load" && r.Payload != usualPayload {
			continue
		}
		if v := r.variant(); !slices.Contains(variants, v) {
			variants = append(variants, v)
		}
		if !slices.Contains(columns, r.System) {
			columns = append(columns, r.System)
		}
	}
	if len(columns) == 0 || !w.titled() {
		return ""
	}
	slices.SortFunc(columns, func(a, b string) int { return systemIndex(a) - systemIndex(b) })
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| | %s |\n|---|%s\n", w.title, strings.Join(marked(w, columns), " | "), strings.Repeat("---:|", len(columns)))
	for _, v := range variants {
		for _, row := range w.rows {
			b.WriteString(rep.line(w, v, row, columns))
		}
	}
	b.WriteString("\n")
	return b.String()
}

func systemIndex(name string) int {
	return slices.IndexFunc(systems, func(s *system) bool { return s.name == name })
}

// marked adds marks to the names of systems: ¹ reads are not checked, ² group commit is ours, ³ written is in the process.
func marked(w *work, columns []string) []string {
	names := slices.Clone(columns)
	for i, name := range columns {
		s := systemNamed(name)
		if s == nil {
			continue
		}
		reads := slices.Contains([]string{"get", "stream", "scope", "kind", "range", "scan"}, w.name)
		if reads && !s.verifies {
			names[i] += " ¹"
		}
		if s.grouped && strings.HasPrefix(w.name, "append-durable-") {
			names[i] += " ²"
		}
		if !s.survives && (strings.Contains(w.name, "written") || w.name == "load" || w.name == "grow") {
			names[i] += " ³"
		}
	}
	return names
}

// line is one row of a table, or nothing if no system has a figure.
func (rep *report) line(w *work, variant string, row row, columns []string) string {
	cells := make([]string, len(columns))
	figures := false
	p := rep.median[cell{w.name, pureSystem.name, variant}]
	for i, name := range columns {
		r := rep.median[cell{w.name, name, variant}]
		cells[i] = rep.cellText(r, p, row, row.name == w.rows[0].name)
		figures = figures || r != nil && r.Failed == "" && row.value(r) != 0
	}
	if !figures && row.name != w.rows[0].name {
		return ""
	}
	label := strings.TrimSpace(variant)
	if label != "" {
		label += ": "
	}
	return fmt.Sprintf("| %s%s | %s |\n", label, row.name, strings.Join(cells, " | "))
}

// cellText is a figure and its ratio to that of P; in the first row of a work also how large the store was, if that is not
// what was wanted.
func (rep *report) cellText(r, p *result, row row, first bool) string {
	switch {
	case r == nil:
		return ""
	case r.Failed != "":
		return "FAILED"
	case r.Cannot != "" || row.value(r) == 0:
		return "–"
	}
	text := row.text(row.value(r))
	if p != nil && p != r && row.best != 0 && p.Failed == "" && row.value(p) > 0 {
		text += fmt.Sprintf(" (%s)", ratioText(row.value(r)/row.value(p)))
	}
	if first && r.Size > 0 && r.Events > 0 && r.Events != r.Size {
		text += " at " + count(float64(r.Events))
	}
	return text
}

func ratioText(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 0.01:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

// remarks are what the marks mean, what went wrong, and what was left out.
func (rep *report) remarks() string {
	var b strings.Builder
	b.WriteString("In brackets: the ratio to P. ¹ Nothing that is read is checked. ² Group commit is added around it. " +
		"³ What was written is still in the process, and lost with it. An empty cell was not measured, – does not apply.\n\n")
	b.WriteString("| system | Durable | Written | settings |\n|---|---|---|---|\n")
	for _, name := range rep.Systems {
		s := systemNamed(name)
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.name, s.durable, s.written, s.settings)
	}
	b.WriteString("\n")
	lines := rep.failures()
	if len(lines) > 0 {
		b.WriteString("Failed, or not done:\n\n- " + strings.Join(lines, "\n- ") + "\n\n")
	}
	if len(rep.Left) > 0 {
		b.WriteString("Left out:\n\n- " + strings.Join(rep.Left, "\n- ") + "\n")
	}
	return b.String()
}

// failures are the results without figures, each once, and the notes of others.
func (rep *report) failures() (lines []string) {
	for i := range rep.Results {
		r := &rep.Results[i]
		text := r.Note
		if r.Failed != "" {
			text = "**failed**: " + r.Failed
		} else if r.Cannot != "" {
			text = r.Cannot
		}
		line := fmt.Sprintf("%s, %s%s: %s", r.System, r.Work, r.variant(), text)
		if text != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// summary is the budget, for the terminal.
func (rep *report) summary() string {
	return rep.budgetTable() + strings.Join(rep.failures(), "\n")
}
