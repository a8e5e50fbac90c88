package main

import (
	"gantry/bench/results"
	"math"
	"strconv"
)

// scale is the logarithmic axis of ratios: twice and half are equally far from 1.
type scale struct {
	low, high   float64 // ratios at the ends
	left, right float64 // places of the ends
}

// narrowest is how far the axis goes at least to both sides of 1, so that noise does not look like a difference.
const narrowest = 1.25

// smallest stands for a ratio of zero, which a logarithm cannot show.
const smallest = 0.001

// newScale has room for all ranges and targets of the rows, and for 1.
func newScale(rows []*results.Row, left, right float64) scale {
	s := scale{low: 1 / narrowest, high: narrowest, left: left, right: right}
	for _, r := range rows {
		s.low, s.high = min(s.low, max(r.Min, smallest)), max(s.high, r.Max)
		if r.Target != nil && r.Target.Limit > 0 {
			s.low, s.high = min(s.low, r.Target.Limit), max(s.high, r.Target.Limit)
		}
	}
	margin := math.Pow(s.high/s.low, 0.04)
	s.low, s.high = s.low/margin, s.high*margin
	return s
}

// x is the place of a ratio.
func (s scale) x(ratio float64) float64 {
	part := math.Log(max(ratio, s.low)/s.low) / math.Log(s.high/s.low)
	return s.left + part*(s.right-s.left)
}

// tickGap is the least distance of two ticks, so that their labels keep apart.
const tickGap = 38

// rounded are the ratios that can be ticks, the roundest first.
var rounded = []float64{
	10, 0.1, 100, 0.01, 1000, 0.001, 2, 0.5, 5, 0.2, 20, 0.05, 50, 0.02, 1.5, 0.7, 3, 0.3, 1.2, 0.8, 1.1, 0.9, 4, 7,
}

// ticks are the rounded ratios, each as long as it keeps its distance from those before it.
func (s scale) ticks() []float64 {
	taken := []float64{1}
	for _, v := range rounded {
		if s.fits(v, taken) {
			taken = append(taken, v)
		}
	}
	return taken
}

func (s scale) fits(v float64, taken []float64) bool {
	if v < s.low || v > s.high {
		return false
	}
	for _, t := range taken {
		if math.Abs(s.x(v)-s.x(t)) < tickGap {
			return false
		}
	}
	return true
}

// figure is a number with the digits that a reader can use: two behind the point near 1, three in all above 10.
func figure(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return group(strconv.FormatFloat(v, 'f', 0, 64))
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// group puts commas between thousands.
func group(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// tickLabel is short: 0.5, 1, 20.
func tickLabel(v float64) string { return strconv.FormatFloat(v, 'g', 2, 64) }
