package main

import (
	"bytes"
	_ "embed" // the sentences
	"fmt"
	"gantry/bench/results"
	"strings"
	"text/template"
)

// The README has its sentences about speed between these two lines.
const (
	speedBegins = "<!-- speed: written by bench/plot from bench/results.json -->\n"
	speedEnds   = "<!-- end of speed -->\n"
)

//go:embed readme.md.tmpl
var speedText string

// docColumns is how long a line of a document is.
const docColumns = 120

// speed makes the sentences: the template has the words, the results have every number.
func speed(f *results.File) (string, error) {
	number := func(of func(*results.Row) string) func(section, name string) (string, error) {
		return func(section, name string) (string, error) {
			r, err := find(f, section, name)
			if err != nil {
				return "", err
			}
			return of(r), nil
		}
	}
	values := template.FuncMap{
		"median":  number(func(r *results.Row) string { return figure(r.Median) }),
		"between": number(func(r *results.Row) string { return figure(r.Min) + " to " + figure(r.Max) }),
		"version": func(section, program string) (string, error) {
			s, err := findSection(f, section)
			if err != nil {
				return "", err
			}
			return s.Run.Versions[program], nil
		},
		"doubts":  func(sections ...string) string { return doubts(f, sections) },
		"met":     func() int { met, _ := targets(f.Sections); return met },
		"targets": func() int { _, all := targets(f.Sections); return all },
	}
	t, err := template.New("README").Funcs(values).Parse(speedText)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, nil); err != nil {
		return "", err
	}
	return points(out.String()), nil
}

// findSection returns a section whose figures mean something.
func findSection(f *results.File, name string) (*results.Section, error) {
	s := f.Section(name)
	if s == nil {
		return nil, fmt.Errorf("the results have no section %q: run make bench", name)
	}
	if s.Run.Quick {
		return nil, fmt.Errorf("section %q was measured on the smallest budget, and its figures mean nothing", name)
	}
	return s, nil
}

func find(f *results.File, section, name string) (*results.Row, error) {
	s, err := findSection(f, section)
	if err != nil {
		return nil, err
	}
	r := s.Row(name)
	if r == nil || r.Kind == results.Remark {
		return nil, fmt.Errorf("section %q of the results has no figure %q: run make bench", section, name)
	}
	return r, nil
}

// doubts is a sentence on the sections that were measured beside other work, or in few rounds.
func doubts(f *results.File, sections []string) string {
	few, others := 0, 0.0
	for _, name := range sections {
		s := f.Section(name)
		if s == nil {
			continue
		}
		if s.Run.Rounds < fewRounds {
			few = s.Run.Rounds
		}
		if s.OthersPercent != nil {
			others = max(others, *s.OthersPercent)
		}
	}
	var reasons []string
	if others >= busy {
		reasons = append(reasons, fmt.Sprintf("others used up to %.0f %% of the machine", others))
	}
	if few > 0 {
		reasons = append(reasons, fmt.Sprintf("there were only %s", rounds(few)))
	}
	if len(reasons) == 0 {
		return ""
	}
	return "The figures are provisional: " + strings.Join(reasons, ", and ") + "."
}

// points breaks the lines of a list anew, as documents have them.
func points(text string) string {
	var out strings.Builder
	for i, point := range strings.Split("\n"+text, "\n- ") {
		if i == 0 {
			continue // nothing stands before the first
		}
		out.WriteString(strings.Join(wrap("- "+point, docColumns-2), "\n  ") + "\n")
	}
	return out.String()
}

// withSpeed puts the sentences into a README.
func withSpeed(readme, sentences string) (string, error) {
	before, rest, begins := strings.Cut(readme, speedBegins)
	_, after, ends := strings.Cut(rest, speedEnds)
	if !begins || !ends || strings.Contains(after, speedBegins) {
		return "", fmt.Errorf("the README needs one line %q, and %q after it",
			strings.TrimSpace(speedBegins), strings.TrimSpace(speedEnds))
	}
	return before + speedBegins + sentences + speedEnds + after, nil
}
