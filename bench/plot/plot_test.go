package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"gantry/bench/results"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// section has rows of every kind, with long names, and ratios near to and far from 1.
func section(name string) *results.Section {
	others := 12.0
	limit := func(kind string, v float64) *results.Target { return &results.Target{Kind: kind, Limit: v} }
	s := &results.Section{Name: name, OthersPercent: &others, Run: results.Run{
		Date: time.Date(2026, 5, 4, 8, 15, 30, 0, time.UTC), Commit: "abcdef012345", Rounds: 3, Scheduling: "normal",
		Machine:  results.Machine{Processor: "A <fast> & \"new\" processor", CPUs: 2, MemoryMB: 24105, Kernel: "6.1"},
		Versions: map[string]string{"node": "20.1.0", "functions-framework": "5.0.5"},
	}}
	s.Rows = []*results.Row{
		results.NewRow("calls/s, 16 connections", "", results.Ratio, []float64{0.97, 1.02, 1.1}, limit("≥", 0.95)),
		results.NewRow("… of it <its> own & more", "calls/s, 16 connections", results.Ratio, []float64{0.61}, nil),
		results.NewRow(strings.Repeat("a rather long name, ", 5)+"to the base", "", results.Ratio, []float64{8, 9, 14.2}, limit("≤", 1.7)),
		results.NewRow("nothing", "", results.Ratio, []float64{0, 0, 0.01}, nil),
		results.NewRow("lines/s", "", results.Value, []float64{412_345.4}, limit("≥", 300_000)),
		results.NewRow("nginx is <not> installed", "", results.Value, nil, nil),
	}
	return s
}

// element is one of a drawing.
type element struct {
	name string
	attr map[string]string
	text string
}

// elements parses XML strictly.
func elements(t *testing.T, text string) []element {
	t.Helper()
	var all []element
	var open []int
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch tok := token.(type) {
		case xml.StartElement:
			e := element{name: tok.Name.Local, attr: map[string]string{}}
			for _, a := range tok.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, len(all))
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, i := range open {
				all[i].text += string(tok)
			}
		}
	}
}

func number(t *testing.T, e element, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attr[name], 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s of %s: %q is no number", name, e.name, e.attr[name])
	}
	return v
}

func TestDrawingIsWellFormedAndHasEveryRatio(t *testing.T) {
	s := section("http")
	all := elements(t, plot(s, true))
	root := all[0]
	if root.name != "svg" || root.attr["role"] != "img" || root.attr["aria-labelledby"] != "http-title http-desc" {
		t.Errorf("got %+v, want an image with a title and a description", root)
	}
	ids, words, medians := map[string]string{}, "", 0
	for _, e := range all {
		if e.attr["id"] != "" {
			ids[e.attr["id"]] = e.text
		}
		if e.name == "text" {
			words += e.text + " "
		}
		if e.name == "circle" {
			medians++
		}
	}
	rows := ratios(s)
	if medians != len(rows)+1 { // and the legend's
		t.Errorf("%d medians for %d rows", medians, len(rows))
	}
	for _, r := range rows {
		if !strings.Contains(words, r.Figure) {
			t.Errorf("%q is not drawn", r.Figure)
		}
		if !strings.Contains(ids["http-desc"], r.Name()+": "+summary(r)) {
			t.Errorf("the description lacks %q", r.Name())
		}
	}
	if !strings.Contains(ids["http-title"], "http") {
		t.Errorf("title %q", ids["http-title"])
	}
	for _, want := range []string{"median 1.02, 0.97 to 1.10; target ≥ 0.95 met", "target ≤ 1.7 missed", "abcdef012345"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not drawn", want)
		}
	}
}

// wide is the width of a letter of the widest usual font, in parts of its size.
const wide = 0.55

func TestNothingOfADrawingOverlapsOrLeavesIt(t *testing.T) {
	drawings := map[string]string{"example": plot(section("http"), true)}
	f, err := results.Read(committed)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Sections {
		drawings[s.Name] = plot(s, true)
	}
	for name, drawn := range drawings {
		t.Run(name, func(t *testing.T) { checkPlaces(t, elements(t, drawn)) })
	}
}

// checkPlaces looks at the boxes of all texts, and at the marks, which must be outside of them.
func checkPlaces(t *testing.T, all []element) {
	high := number(t, all[0], "height")
	type box struct {
		left, top, right, bottom float64
		text                     string
	}
	var boxes []box
	for _, e := range all {
		if e.name != "text" {
			continue
		}
		x, y, size := number(t, e, "x"), number(t, e, "y"), 12.0
		if e.attr["class"] == "label" || e.attr["class"] == "head" {
			size = 13
		}
		length := float64(utf8.RuneCountInString(e.text)) * size * wide
		if e.attr["class"] == "axis" {
			x -= length / 2
		}
		b := box{x, y - size*0.8, x + length, y + size*0.2, e.text}
		if b.left < 0 || b.right > width || b.top < 0 || b.bottom > high {
			t.Errorf("%q leaves the drawing: %+v", e.text, b)
		}
		for _, o := range boxes {
			if b.left < o.right && o.left < b.right && b.top < o.bottom && o.top < b.bottom {
				t.Errorf("%q and %q overlap", b.text, o.text)
			}
		}
		boxes = append(boxes, b)
	}
	mark := func(what string, left, top, right, bottom float64) {
		if left < 0 || right > width || top < 0 || bottom > high {
			t.Errorf("%s leaves the drawing", what)
		}
		for _, b := range boxes {
			if left < b.right && b.left < right && top < b.bottom && b.top < bottom {
				t.Errorf("%s runs through %q", what, b.text)
			}
		}
	}
	for _, e := range all {
		switch e.name {
		case "line":
			x1, x2 := number(t, e, "x1"), number(t, e, "x2")
			mark(e.attr["class"], min(x1, x2)-1, number(t, e, "y1"), max(x1, x2)+1, number(t, e, "y2"))
		case "circle":
			x, y, r := number(t, e, "cx"), number(t, e, "cy"), number(t, e, "r")
			mark("median", x-r, y-r, x+r, y+r)
		}
	}
}

func TestMarksLieWhereTheirRatiosAre(t *testing.T) {
	s := scale{low: 0.25, high: 4, left: 20, right: 340}
	for ratio, want := range map[float64]float64{0.25: 20, 0.5: 100, 1: 180, 2: 260, 4: 340, 0: 20} {
		if got := s.x(ratio); math.Abs(got-want) > 1e-6 {
			t.Errorf("%g: got %g, want %g", ratio, got, want)
		}
	}
	for _, span := range []float64{1.01, 1.5, 3, 10, 100, 5000} {
		row := results.NewRow("", "", results.Ratio, []float64{1 / span, span}, nil)
		s := newScale([]*results.Row{row}, margin, width-margin)
		ticks := s.ticks()
		if len(ticks) < 3 {
			t.Errorf("1/%g to %[1]g has the ticks %v only", span, ticks)
		}
		if s.x(row.Min) < margin || s.x(row.Max) > width-margin {
			t.Errorf("%g leaves the axis", span)
		}
	}
}

func TestPageHasEveryRowAndNeedsNothingElse(t *testing.T) {
	f := &results.File{Format: results.Format, Sections: []*results.Section{section("http"), section("start")}}
	text, err := page(f)
	if err != nil {
		t.Fatal(err)
	}
	html := string(text)
	for _, foreign := range []string{"<script", "<link", "src=", "@import", "url(", "javascript:", "<not>", "<its>", "<fast>"} {
		if strings.Contains(html, foreign) {
			t.Errorf("the page has %q", foreign)
		}
	}
	for _, want := range []string{"prefers-color-scheme:dark", "width=device-width", "<html lang=\"en\">", "412,345"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, s := range f.Sections {
		_, part, _ := strings.Cut(html, `<section id="`+s.Name+`">`)
		part, _, _ = strings.Cut(part, "</section>")
		// HTML that is also XML: every element is closed, every character escaped.
		words := elements(t, "<section>"+part+"</section>")[0].text
		for _, r := range s.Rows {
			if !strings.Contains(words, r.Figure) {
				t.Errorf("%s lacks %q", s.Name, r.Figure)
			}
		}
		if n := strings.Count(part, "<tr>"); n != len(s.Rows)+1 {
			t.Errorf("%s has %d rows, want %d and the head", s.Name, n, len(s.Rows))
		}
		for _, want := range []string{"Only 3 rounds", "used 12 % of the machine"} {
			if !strings.Contains(words, want) {
				t.Errorf("%s lacks the caution %q", s.Name, want)
			}
		}
	}
	if n := strings.Count(html, "abcdef012345"); n != 1 {
		t.Errorf("the facts of one run are there %d times, want once", n)
	}
	f.Sections[1].Run.Commit = "fedcba543210"
	if text, err = page(f); err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Sections {
		if !strings.Contains(string(text), s.Run.Commit) {
			t.Errorf("the page of two runs lacks %s", s.Run.Commit)
		}
	}
}

func TestWriteRemovesOnlyItsOwnOldDrawings(t *testing.T) {
	folder := t.TempDir()
	in, out := filepath.Join(folder, "results.json"), filepath.Join(folder, "out")
	if err := (&results.File{Sections: []*results.Section{section("http")}}).Write(in); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"gone.svg": made + "<svg/>", "logo.svg": "<svg/>"} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(in, out, ""); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range found {
		names = append(names, filepath.Base(name))
	}
	if got := fmt.Sprint(names); got != "[http.svg index.html logo.svg]" {
		t.Errorf("got %s", got)
	}
}

func TestNamesThatAreNoFilesAreRefused(t *testing.T) {
	for _, name := range []string{"../http", "a b", `x"y`, "Http"} {
		if _, err := render(&results.File{Sections: []*results.Section{section(name)}}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if _, err := render(&results.File{}); err == nil || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("no sections: %v", err)
	}
}
