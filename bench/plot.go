package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A plot is lines over a common axis, drawn as SVG.
type plot struct {
	file   string
	title  string
	x, y   axis
	series []series
}

type series struct {
	name   string
	points [][2]float64
}

// An axis is linear from 0, or logarithmic.
type axis struct {
	label string
	log   bool
	lo    float64
	hi    float64
}

// The drawing in pixels.
const (
	plotWidth, plotHeight = 720, 360
	plotLeft, plotRight   = 80, 20
	plotTop, plotBottom   = 40, 55
)

// colors are told apart by those who cannot tell red from green, too.
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// fit makes the axis hold all values.
func (a *axis) fit(values []float64) {
	a.lo, a.hi = 0, 0
	for i, v := range values {
		if i == 0 || v < a.lo && a.log {
			a.lo = v
		}
		a.hi = max(a.hi, v)
	}
	if a.log {
		a.lo, a.hi = math.Pow(10, math.Floor(math.Log10(a.lo))), math.Pow(10, math.Ceil(math.Log10(a.hi)))
		if a.lo == a.hi {
			a.hi *= 10
		}
		return
	}
	a.lo = 0
	a.hi *= 1.05
	if a.hi == 0 {
		a.hi = 1
	}
}

// place returns where v lies, from 0 to 1.
func (a *axis) place(v float64) float64 {
	if a.log {
		return math.Log(v/a.lo) / math.Log(a.hi/a.lo)
	}
	return (v - a.lo) / (a.hi - a.lo)
}

// ticks returns the values at which the axis is marked.
func (a *axis) ticks() (ticks []float64) {
	if a.log {
		for v := a.lo; v <= a.hi*1.001; v *= 10 {
			ticks = append(ticks, v)
		}
		return ticks
	}
	step := math.Pow(10, math.Floor(math.Log10(a.hi)))
	for a.hi/step < 4 {
		step /= 2
	}
	for v := 0.0; v <= a.hi; v += step {
		ticks = append(ticks, v)
	}
	return ticks
}

// svg draws the plot.
func (p *plot) svg() string {
	var xs, ys []float64
	for _, s := range p.series {
		for _, pt := range s.points {
			xs, ys = append(xs, pt[0]), append(ys, pt[1])
		}
	}
	p.x.fit(xs)
	p.y.fit(ys)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	text(&b, plotWidth/2, 22, "middle", p.title)
	text(&b, plotWidth/2, plotHeight-12, "middle", p.x.label)
	for _, v := range p.x.ticks() {
		x, y := p.at(v, p.y.lo)
		line(&b, x, plotTop, x, y)
		text(&b, x, y+18, "middle", count(v))
	}
	for _, v := range p.y.ticks() {
		x, y := p.at(p.x.lo, v)
		line(&b, x, y, plotWidth-plotRight, y)
		text(&b, x-6, y+4, "end", count(v))
	}
	fmt.Fprintf(&b, `<text x="16" y="%d" text-anchor="middle" transform="rotate(-90 16 %d)">%s</text>`+"\n", plotHeight/2, plotHeight/2, escape(p.y.label))
	for i, s := range p.series {
		p.draw(&b, s, colors[i%len(colors)], plotTop+16+18*float64(i))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// at returns the pixel of a point.
func (p *plot) at(x, y float64) (float64, float64) {
	return plotLeft + p.x.place(x)*(plotWidth-plotLeft-plotRight), plotTop + (1-p.y.place(y))*(plotHeight-plotTop-plotBottom)
}

// draw draws a series and its line in the legend.
func (p *plot) draw(b *strings.Builder, s series, color string, legend float64) {
	var points []string
	for _, pt := range s.points {
		x, y := p.at(pt[0], pt[1])
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		if len(s.points) <= 12 {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, color)
		}
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(points, " "), color)
	fmt.Fprintf(b, `<rect x="%d" y="%.0f" width="12" height="4" fill="%s"/>`+"\n", plotLeft+14, legend-6, color)
	text(b, plotLeft+32, legend, "start", s.name)
}

func line(b *strings.Builder, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
}

func text(b *strings.Builder, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, escape(s))
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace

// plots writes those for which there are results, and returns them.
func (rep *report) plots(dir string) (drawn []plot, err error) {
	size := axis{label: "events in the store", log: true}
	seconds := axis{label: "seconds"}
	candidates := []plot{
		{"append.svg", "Append onto a store, Written, one caller", size, axis{label: "events/s"}, rep.overSize("grow", rateRow)},
		{"open.svg", "Opening a closed store", size, axis{label: "ms", log: true}, rep.overSize("open", openRow)},
		{"memory.svg", "Memory that opening adds", size, axis{label: "MiB", log: true}, rep.overSize("open", heapRow)},
		{"tail-rate.svg", "Append for long, Written, one caller", seconds, axis{label: "events/s"}, rep.overTime(1)},
		{"tail-length.svg", "The tail while appending", seconds, axis{label: "events"}, rep.overTime(2)},
		{"tail-memory.svg", "Memory of the process alone while appending", seconds, axis{label: "MiB"}, rep.overTime(3)},
		{"tail-resident.svg", "Resident memory while appending, pages of files included", seconds, axis{label: "MiB"}, rep.overTime(4)},
	}
	for _, p := range candidates {
		if len(p.series) == 0 {
			continue
		}
		drawn = append(drawn, p)
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, p.file), []byte(p.svg()), 0o644))
	}
	return drawn, err
}

// overSize returns a figure of batpak and P against the size of the store.
func (rep *report) overSize(work string, row row) (all []series) {
	for _, system := range []string{batpakSystem.name, pureSystem.name, plainSystem.name} {
		s := series{name: system}
		for _, size := range rep.sizes() {
			if r := rep.find(work, system, size); r != nil && row.value(r) > 0 {
				s.points = append(s.points, [2]float64{float64(r.Events), row.value(r)})
			}
		}
		if len(s.points) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// sizes returns those of the stores that were read, in order.
func (rep *report) sizes() []int {
	seen := map[int]bool{}
	for i := range rep.Results {
		seen[rep.Results[i].Size] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// overTime returns a column of the series of the tail work.
func (rep *report) overTime(column int) (all []series) {
	for _, system := range []string{batpakSystem.name, pureSystem.name} {
		for _, entities := range []int{usualEntities, manyEntities} {
			r := rep.find("tail", system, 0, func(s *spec) { s.Entities = entities })
			if r == nil || len(r.Series) == 0 {
				continue
			}
			s := series{name: fmt.Sprintf("%s, %s entities", system, sizeText(entities))}
			for _, sample := range r.Series {
				s.points = append(s.points, [2]float64{sample[0], sample[column]})
			}
			all = append(all, s)
		}
	}
	return all
}
