package main

import (
	"encoding/xml"
	"fmt"
	"gantry/bench/results"
	"slices"
	"strings"
	"unicode/utf8"
)

// The measures of a plot. It is as narrow as a phone, so that its letters stay as large as those around it.
const (
	width     = 360
	margin    = 20
	textLeft  = 12
	lineHigh  = 16 // of a line of text
	trackHigh = 20 // of the range below it
	rowGap    = 12
	axisHigh  = 22
	// columns is how many letters fit into a line, at a width that the usual fonts do not exceed.
	columns = 48
)

// style is that of both ways of the plots: in a page and alone. The colours have a contrast of 4.5 to their ground.
const style = `
.ground{fill:#fff}
.plot text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1f2328}
.plot .small{font-size:12px;fill:#59636e}
.plot .axis{font-size:12px;fill:#59636e;text-anchor:middle}
.plot .head{font-size:15px;font-weight:600}
.plot .grid{stroke:#d1d9e0;stroke-width:1}
.plot .base{stroke:#59636e;stroke-width:1.5}
.plot .range{stroke:#6ea8f0;stroke-width:6;stroke-linecap:round}
.plot .median{fill:#0550ae;stroke:#fff;stroke-width:1.5}
.plot .target{stroke:#1a7f37;stroke-width:2}
.plot .towards{fill:#1a7f37}
.plot .pass{fill:#1a7f37;font-weight:600}
.plot .miss{fill:#bc4c00;font-weight:600}
@media (prefers-color-scheme:dark){
.ground{fill:#0d1117}
.plot text{fill:#e6edf3}
.plot .small,.plot .axis{fill:#9198a1}
.plot .grid{stroke:#3d444d}
.plot .base{stroke:#9198a1}
.plot .range{stroke:#2f5f9e}
.plot .median{fill:#79c0ff;stroke:#0d1117}
.plot .target{stroke:#3fb950}
.plot .towards,.plot .pass{fill:#3fb950}
.plot .miss{fill:#f0883e}
}
`

// ratios are the rows that can be drawn.
func ratios(s *results.Section) []*results.Row {
	var rows []*results.Row
	for _, r := range s.Rows {
		if r.Kind == results.Ratio {
			rows = append(rows, r)
		}
	}
	return rows
}

// drawing is a plot that grows downwards.
type drawing struct {
	strings.Builder
	scale scale
	ticks []float64
	y     float64
}

// plot draws the ratios of a section; alone it has its style and its facts with it. It is empty for a section without
// ratios.
func plot(s *results.Section, alone bool) string {
	rows := ratios(s)
	if len(rows) == 0 {
		return ""
	}
	d := &drawing{scale: newScale(rows, margin, width-margin)}
	d.ticks = d.scale.ticks()
	if alone {
		d.head(s)
	}
	d.axis()
	for _, r := range rows {
		d.row(r)
	}
	d.axis()
	d.legend(rows)
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 %d %.0f" width="%d" height="%.0f" `+
		`role="img" aria-labelledby="%s-title %[5]s-desc">`+"\n", width, d.y, width, d.y, escape(s.Name))
	fmt.Fprintf(&out, "<title id=\"%s-title\">Section %[1]s: ratios of Gantry to the base</title>\n", escape(s.Name))
	fmt.Fprintf(&out, "<desc id=\"%s-desc\">%s</desc>\n", escape(s.Name), escape(description(rows)))
	if alone {
		out.WriteString("<style>" + style + "</style>\n")
		fmt.Fprintf(&out, "<rect class=\"ground\" width=\"%d\" height=\"%.0f\"/>\n", width, d.y)
	}
	return out.String() + d.String() + "</svg>\n"
}

// description says in words what the plot shows.
func description(rows []*results.Row) string {
	var parts []string
	for _, r := range rows {
		parts = append(parts, r.Name()+": "+summary(r))
	}
	return strings.Join(parts, "; ") + "."
}

// summary is the row's figures in words.
func summary(r *results.Row) string {
	text := "median " + figure(r.Median)
	if len(r.Values) > 1 {
		text += ", " + figure(r.Min) + " to " + figure(r.Max)
	}
	if r.Target != nil {
		text += ", target " + r.Target.String() + " " + verdict(r)
	}
	return text
}

func verdict(r *results.Row) string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	}
	return "missed"
}

func verdictClass(r *results.Row) string {
	if *r.Met {
		return "pass"
	}
	return "miss"
}

func (d *drawing) text(class string, x float64, text string) {
	fmt.Fprintf(d, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, d.y, escape(text))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

// head names the section and where its figures are from.
func (d *drawing) head(s *results.Section) {
	d.y += lineHigh + 6
	d.text("head", textLeft, s.Name)
	for _, line := range wrap(origin(s), columns) {
		d.y += lineHigh
		d.text("small", textLeft, line)
	}
	d.y += 6
}

// axis has the numbers of the ticks.
func (d *drawing) axis() {
	d.y += axisHigh - 7
	for _, t := range d.ticks {
		d.text("axis", d.scale.x(t), tickLabel(t))
	}
	d.y += 7
}

// row has the figure in words, and below it the range. Nothing but the range crosses its band, so that no line runs
// through letters.
func (d *drawing) row(r *results.Row) {
	for _, line := range wrap(r.Figure, columns) {
		d.y += lineHigh
		d.text("label", textLeft, line)
	}
	d.y += lineHigh
	class, words := "small", "median "+figure(r.Median)
	if len(r.Values) > 1 {
		words += ", " + figure(r.Min) + " to " + figure(r.Max)
	}
	if r.Target != nil {
		words += "; target " + r.Target.String() + " "
	}
	mark := ""
	if r.Target != nil {
		mark = fmt.Sprintf("<tspan class=\"%s\">%s</tspan>", verdictClass(r), verdict(r))
	}
	fmt.Fprintf(d, "<text class=\"%s\" x=\"%d\" y=\"%.1f\">%s%s</text>\n", class, textLeft, d.y, escape(words), mark)
	top, middle := d.y+5, d.y+5+trackHigh/2
	d.y += 5 + trackHigh
	for _, t := range d.ticks {
		if t != 1 {
			d.line("grid", d.scale.x(t), top, d.scale.x(t), d.y)
		}
	}
	d.line("base", d.scale.x(1), top, d.scale.x(1), d.y)
	d.line("grid", margin, middle, width-margin, middle)
	if r.Target != nil && r.Target.Limit > 0 {
		d.target(d.scale.x(r.Target.Limit), top, r.Target.Kind == results.AtLeast)
	}
	d.line("range", d.scale.x(r.Min), middle, d.scale.x(r.Max), middle)
	fmt.Fprintf(d, "<circle class=\"median\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>\n", d.scale.x(r.Median), middle)
	d.y += rowGap
}

// target is a line at the limit, with an arrow to the side where the target is met.
func (d *drawing) target(x, top float64, right bool) {
	side := -7.0
	if right {
		side = 7
	}
	d.line("target", x, top, x, top+trackHigh)
	fmt.Fprintf(d, "<path class=\"towards\" d=\"M%.1f %.1fl%.1f 3.5l%.1f 3.5z\"/>\n", x, top-1, side, -side)
}

// legend explains the marks that the plot has, each in a line of its own.
func (d *drawing) legend(rows []*results.Row) {
	const mark, words = textLeft + 17, textLeft + 42
	d.y += 14
	d.line("range", mark-13, d.y-4, mark+13, d.y-4)
	fmt.Fprintf(d, "<circle class=\"median\" cx=\"%d\" cy=\"%.1f\" r=\"5\"/>\n", mark, d.y-4)
	d.text("small", words, "median; min to max")
	d.y += trackHigh
	d.line("base", mark, d.y-12, mark, d.y+4)
	d.text("small", words, "1: the same as the base")
	if slices.ContainsFunc(rows, func(r *results.Row) bool { return r.Target != nil }) {
		d.y += trackHigh + 2
		d.target(mark, d.y-14, true)
		d.text("small", words, "target; the arrow points to where it is met")
	}
	d.y += 14
}

// wrap breaks text at blanks.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func escape(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a Builder takes everything
	return out.String()
}
