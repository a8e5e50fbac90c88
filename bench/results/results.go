// Package results is the file that the benchmark writes: what was measured, of which commit, when, and on which
// machine. The pages and the sentences about speed are made of this file.
package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Format is the version of the file; a file of another one is refused.
const Format = 1

// File is what has been measured. Each section has the facts of its own run, as sections can be run alone.
type File struct {
	Format   int        `json:"format"`
	Sections []*Section `json:"sections"`
}

// Section is one part of the benchmark.
type Section struct {
	Name string `json:"name"`
	Run  Run    `json:"run"`
	// OthersPercent is what other programs and virtual machines used of the machine meanwhile; absent if not known.
	OthersPercent *float64 `json:"others_percent,omitempty"`
	Rows          []*Row   `json:"rows"`
}

// Run is what the figures of a section depend on.
type Run struct {
	Date time.Time `json:"date"`
	// Commit is what was measured; Modified says that the files were not all those of the commit.
	Commit   string `json:"commit"`
	Modified bool   `json:"modified,omitempty"`
	// Bootstrap is what another build of the agent said of its version, if one was measured.
	Bootstrap string `json:"bootstrap,omitempty"`
	Rounds    int    `json:"rounds"`
	// Quick is the smallest budget: the figures mean nothing.
	Quick      bool              `json:"quick,omitempty"`
	Scheduling string            `json:"scheduling"`
	Load       []float64         `json:"load,omitempty"` // averages of 1, 5 and 15 minutes, before the run
	Machine    Machine           `json:"machine"`
	Versions   map[string]string `json:"versions"`
}

// Machine is where it ran.
type Machine struct {
	Processor string `json:"processor"`
	CPUs      int    `json:"cpus"`
	MemoryMB  int    `json:"memory_mb"`
	Virtual   bool   `json:"virtual"` // below a hypervisor
	System    string `json:"system"`
	Kernel    string `json:"kernel"`
	Arch      string `json:"arch"`
}

// The kinds of a row.
const (
	Ratio  = "ratio"  // of ours to the base, one for each round
	Value  = "value"  // in the unit that the figure names
	Remark = "remark" // a sentence in place of a figure
)

// Row is one figure.
type Row struct {
	Figure string `json:"figure"`
	// Under is the figure that this one explains; it makes the name unique in its section.
	Under  string    `json:"under,omitempty"`
	Kind   string    `json:"kind"`
	Base   *float64  `json:"base,omitempty"` // the median of the absolute samples
	Ours   *float64  `json:"ours,omitempty"`
	Values []float64 `json:"values,omitempty"` // of the rounds
	Min    float64   `json:"min"`
	Median float64   `json:"median"`
	Max    float64   `json:"max"`
	Target *Target   `json:"target,omitempty"`
	Met    *bool     `json:"met,omitempty"` // absent without a target
}

// Target is a limit of the median.
type Target struct {
	Kind  string  `json:"kind"`
	Limit float64 `json:"limit"`
}

// The kinds of a target.
const (
	AtLeast = "≥"
	AtMost  = "≤"
)

// Met says whether a median reaches the target.
func (t Target) Met(median float64) bool {
	return t.Kind == AtLeast && median >= t.Limit || t.Kind == AtMost && median <= t.Limit
}

// String is the target as tables show it.
func (t Target) String() string { return t.Kind + " " + strconv.FormatFloat(t.Limit, 'g', 3, 64) }

// Name is unique in the section.
func (r *Row) Name() string {
	if r.Under == "" {
		return r.Figure
	}
	return r.Under + " " + r.Figure
}

// Median of samples, at least one.
func Median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// NewRow sums up the values. A value that is no number, as a quotient by zero is, makes the row a remark that says so:
// JSON has no such numbers.
func NewRow(figure, under, kind string, values []float64, t *Target) *Row {
	r := &Row{Figure: figure, Under: under, Kind: kind}
	if len(values) == 0 {
		r.Kind = Remark
		return r
	}
	if slices.ContainsFunc(values, infinite) {
		r.Kind, r.Figure = Remark, figure+": too little was measured for a figure"
		return r
	}
	r.Values, r.Min, r.Median, r.Max = values, slices.Min(values), Median(values), slices.Max(values)
	if t != nil {
		met := t.Met(r.Median)
		r.Target, r.Met = t, &met
	}
	return r
}

func infinite(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

// Section returns a section by its name, or nil.
func (f *File) Section(name string) *Section {
	if i := slices.IndexFunc(f.Sections, func(s *Section) bool { return s.Name == name }); i >= 0 {
		return f.Sections[i]
	}
	return nil
}

// Row returns a figure of the section, or nil; name is that of Row.Name.
func (s *Section) Row(name string) *Row {
	if i := slices.IndexFunc(s.Rows, func(r *Row) bool { return r.Name() == name }); i >= 0 {
		return s.Rows[i]
	}
	return nil
}

// Merge replaces sections of the same name and adds the others; order has the names in the order of the benchmark.
func (f *File) Merge(sections []*Section, order []string) {
	for _, s := range sections {
		if i := slices.IndexFunc(f.Sections, func(old *Section) bool { return old.Name == s.Name }); i >= 0 {
			f.Sections[i] = s
			continue
		}
		f.Sections = append(f.Sections, s)
	}
	place := func(s *Section) int {
		if i := slices.Index(order, s.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(f.Sections, func(a, b *Section) int { return place(a) - place(b) })
}

// Read reads and checks a file.
func Read(name string) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f := &File{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(f); err != nil {
		return nil, fmt.Errorf("%s: not a file of results: %w", name, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the results", name)
	}
	if err := f.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// Write replaces a file in one step: one that cannot be finished leaves the earlier one.
func (f *File) Write(name string) error {
	f.Format = Format
	if err := f.Check(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text, err := f.encode()
	if err != nil {
		return err
	}
	return Replace(name, text)
}

// encode has characters such as "<" as they are, for readers.
func (f *File) encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(f)
	return text.Bytes(), err
}

// Replace writes a file beside the earlier one, and then puts it in its place.
func Replace(name string, text []byte) error {
	part, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	_, err = part.Write(text)
	err = errors.Join(err, part.Chmod(0o644), part.Close())
	if err == nil {
		err = os.Rename(part.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	return nil
}
