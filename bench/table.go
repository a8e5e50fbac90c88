package main

import (
	"fmt"
	"gantry/bench/results"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// row is one figure: samples of both servers, one each per round.
type row struct {
	section, figure string
	base, ours      []float64
	// values are compared with the target: the rounds' ratios, unless a section sets others.
	values []float64
	target target
	format string // of values; default %.2f
	ratio  bool   // values are ours to base
}

// target is a limit for the median; the zero value only reports.
type target struct {
	limit float64
	kind  string
}

func atLeast(limit float64) target { return target{limit, results.AtLeast} }
func atMost(limit float64) target  { return target{limit, results.AtMost} }

func (t target) verdict(v float64) string {
	switch {
	case t.kind == "":
		return ""
	case results.Target{Kind: t.kind, Limit: t.limit}.Met(v):
		return "PASS"
	}
	return "MISS"
}

func (t target) String() string {
	if t.kind == "" {
		return "report"
	}
	return results.Target{Kind: t.kind, Limit: t.limit}.String()
}

// compare makes a row of two servers' samples of the same rounds.
func compare(section, figure string, base, ours []float64, t target) *row {
	r := &row{section: section, figure: figure, base: base, ours: ours, target: t, ratio: true}
	for i := range base {
		r.values = append(r.values, ours[i]/base[i])
	}
	return r
}

type table []*row

func (t *table) add(r ...*row) { *t = append(*t, r...) }

func (t table) print(w io.Writer) {
	if len(t) == 0 {
		return
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "section\tfigure\tbase\tgantry\tmin\tmedian\tmax\ttarget\t")
	for _, r := range t {
		if len(r.values) == 0 { // a remark
			fmt.Fprintf(out, "%s\t%s\t\t\t\t\t\t\t\n", r.section, r.figure)
			continue
		}
		format := r.format
		if format == "" {
			format = "%.2f"
		}
		m := median(r.values)
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t"+format+"\t"+format+"\t"+format+"\t%s\t%s\n", r.section, r.figure,
			absolute(r.base), absolute(r.ours), slices.Min(r.values), m, slices.Max(r.values), r.target, r.target.verdict(m))
	}
	if err := out.Flush(); err != nil {
		progress("the table: %v", err)
	}
}

// absolute shows the median of samples with three digits or more.
func absolute(samples []float64) string {
	if len(samples) == 0 {
		return ""
	}
	m := median(samples)
	if m >= 100 {
		return strconv.FormatFloat(m, 'f', 0, 64)
	}
	return strconv.FormatFloat(m, 'f', 1, 64)
}

func median(samples []float64) float64 { return results.Median(samples) }

// percentile wants sorted samples, at least one.
func percentile[T any](sorted []T, p int) T { return sorted[min(len(sorted)*p/100, len(sorted)-1)] }
