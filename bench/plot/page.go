package main

import (
	"bytes"
	_ "embed" // the page
	"gantry/bench/results"
	"html/template"
	"reflect"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// The parts of the page.
type (
	pageData struct {
		Style        template.CSS
		Facts        []fact
		Met, Targets int
		Sections     []pageSection
	}
	pageSection struct {
		Name, Compared string
		Cautions       []string
		Plot           template.HTML
		Facts          []fact
		Rows           []pageRow
	}
	pageRow struct {
		Figure, Base, Ours, Min, Median, Max string
		Target, Verdict, Class               string
		Remark                               bool
	}
)

// page is the whole of the results as one file that needs no other.
func page(f *results.File) ([]byte, error) {
	data := pageData{Style: style}
	data.Met, data.Targets = targets(f.Sections)
	one := sameRun(f.Sections)
	if one {
		data.Facts = circumstances(f.Sections[0].Run)
	}
	for _, s := range f.Sections {
		part := pageSection{
			Name: s.Name, Compared: compared[s.Name], Cautions: cautions(s),
			Plot: template.HTML(plot(s, false)), // plot escapes what it is given
		}
		if !one {
			part.Facts = circumstances(s.Run)
		}
		for _, r := range s.Rows {
			part.Rows = append(part.Rows, tableRow(r))
		}
		data.Sections = append(data.Sections, part)
	}
	var out bytes.Buffer
	err := pageTemplate.Execute(&out, data)
	return out.Bytes(), err
}

// sameRun says whether all sections are of one run, whose facts then stand at the top.
func sameRun(sections []*results.Section) bool {
	for _, s := range sections {
		if !reflect.DeepEqual(s.Run, sections[0].Run) {
			return false
		}
	}
	return len(sections) > 0
}

func tableRow(r *results.Row) pageRow {
	row := pageRow{Figure: r.Figure, Remark: r.Kind == results.Remark}
	if row.Remark {
		return row
	}
	row.Min, row.Median, row.Max = figure(r.Min), figure(r.Median), figure(r.Max)
	if r.Base != nil {
		row.Base = figure(*r.Base)
	}
	if r.Ours != nil {
		row.Ours = figure(*r.Ours)
	}
	if r.Target != nil {
		row.Target, row.Verdict, row.Class = r.Target.String(), verdict(r), verdictClass(r)
	}
	return row
}
