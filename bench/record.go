package main

import (
	"errors"
	"gantry/bench/results"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// record turns rows into a section of the file of results. A figure that begins with "…" explains the one above it.
func (t table) record(name string, run results.Run, others float64) *results.Section {
	s := &results.Section{Name: name, Run: run}
	if !math.IsNaN(others) { // which says that the machine does not know
		s.OthersPercent = &others
	}
	above := ""
	for _, r := range t {
		kind, under, figure := results.Value, "", r.figure
		if r.ratio {
			kind = results.Ratio
		}
		if strings.HasPrefix(figure, "…") {
			under = above
		} else {
			above = figure
		}
		var limit *results.Target
		if r.target.kind != "" {
			limit = &results.Target{Kind: r.target.kind, Limit: r.target.limit}
		}
		row := results.NewRow(figure, under, kind, r.values, limit)
		row.Base, row.Ours = middle(r.base), middle(r.ours)
		s.Rows = append(s.Rows, row)
	}
	return s
}

// middle is the median of samples, nil if there are none.
func middle(samples []float64) *float64 {
	if len(samples) == 0 {
		return nil
	}
	m := median(samples)
	return &m
}

// readEarlier reads the file that the results will be merged into, before anything is measured: a run must not end with
// nothing because the file cannot be read, or its folder is missing.
func readEarlier(name string) (*results.File, error) {
	f, err := results.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		_, missing := os.Stat(filepath.Dir(name))
		return &results.File{}, missing
	}
	return f, err
}

// write merges the sections that were measured, also when a later one failed.
func (b *bench) write(name string, f *results.File) error {
	if len(b.measured) == 0 {
		return nil
	}
	f.Merge(b.measured, sectionNames())
	if err := f.Write(name); err != nil {
		return err
	}
	var names []string
	for _, s := range b.measured {
		names = append(names, s.Name)
	}
	progress("%s has of this run: %s; make bench-plot makes the pages of bench/results.json", name, strings.Join(names, ", "))
	return nil
}
