package main

import (
	"bytes"
	"gantry/bench/results"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The files of the module that the results and the pages are.
const (
	committed  = "../results.json"
	readmeFile = "../../README.md"
	docsFolder = "../../docs/bench"
)

const again = "run make bench-plot"

// readCommitted reads the results and the README as they are in the tree.
func readCommitted(t *testing.T) (f *results.File, readme string) {
	t.Helper()
	f, err := results.Read(committed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	return f, string(text)
}

// TestEveryNumberAboutSpeedInTheReadmeIsOfTheResults: the sentences are those that the results make, and there are no
// others.
func TestEveryNumberAboutSpeedInTheReadmeIsOfTheResults(t *testing.T) {
	f, text := readCommitted(t)
	for _, problem := range problems(t, f, text) {
		t.Error(problem)
	}
}

// problems are what the test above would say of a README.
func problems(t *testing.T, f *results.File, readme string) []string {
	t.Helper()
	sentences, err := speed(f)
	if err != nil {
		return []string{err.Error()}
	}
	want, err := withSpeed(readme, sentences)
	if err != nil {
		return []string{err.Error()}
	}
	var all []string
	if want != readme {
		all = append(all, "the README's sentences about speed are not those of the results: "+again)
	}
	without, err := withSpeed(readme, "")
	if err != nil {
		return []string{err.Error()}
	}
	for _, claim := range claims(without) {
		all = append(all, "the README says "+claim+" outside of the sentences that the results make")
	}
	return all
}

// claim is a statement about speed or size, with or without a number; limits and settings, as "over 6 MB", are none.
var claim = regexp.MustCompile(`(?i)[^.|]*(` +
	`\b(calls|requests|answers|invocations|events|lines)( (a|per) |/)s(ec(ond)?)?\b` +
	`|\b(faster|slower|quicker|fastest|half as|twice as|as fast|times (as|the))\b` +
	`|\d ?(µs|us|ms|milliseconds|microseconds)\b` +
	`|\d ?(%|per cent|percent)` +
	`|\d ?MB of memory|binary of \d)[^.|]*`)

// claims finds them in sentences; examples, which are indented, show settings.
func claims(readme string) []string {
	var prose []string
	for line := range strings.Lines(readme) {
		if !strings.HasPrefix(line, "    ") {
			prose = append(prose, strings.TrimSpace(line))
		}
	}
	var all []string
	for _, found := range claim.FindAllString(strings.Join(prose, " "), -1) {
		all = append(all, "“"+strings.TrimSpace(found)+"”")
	}
	return all
}

func TestReadmeTestNoticesOtherNumbers(t *testing.T) {
	f, readme := readCommitted(t)
	median := figure(f.Section("throughput").Row("calls/s, 16 connections").Median)
	for name, changed := range map[string]string{
		"a better figure":  strings.Replace(readme, median+" times", "9.99 times", 1),
		"a word less":      strings.Replace(readme, "the least and the greatest", "the", 1),
		"a new claim":      readme + "\nIt serves 20,000 requests per second.\n",
		"a claim in words": readme + "\nIt is twice as fast as others.\n",
		"a percentage":     readme + "\nIt costs 3 % of a processor.\n",
		"a time":           readme + "\nThe first answer comes after 40 ms.\n",
		"a size":           readme + "\nIt needs 7 MB of memory.\n",
		"no place":         strings.Replace(readme, speedBegins, "", 1),
		"two places":       readme + speedBegins + speedEnds,
	} {
		if changed == readme {
			t.Errorf("%s: nothing was changed", name)
		}
		if len(problems(t, f, changed)) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestFiguresThatAreMissingOrMeanNothingAreNotWritten(t *testing.T) {
	for want, change := range map[string]func(*results.File){
		`no section "throughput"`: func(f *results.File) { f.Sections = f.Sections[1:] },
		"smallest budget":         func(f *results.File) { f.Section("start").Run.Quick = true },
		`no figure "calls/s, 16`:  func(f *results.File) { f.Section("throughput").Rows[0].Figure = "other" },
	} {
		f, err := results.Read(committed)
		if err != nil {
			t.Fatal(err)
		}
		change(f)
		if text, err := speed(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, %v, want %q", text, err, want)
		}
	}
}

// TestPagesOfTheDocumentsAreThoseOfTheResults: the committed drawings show the committed figures.
func TestPagesOfTheDocumentsAreThoseOfTheResults(t *testing.T) {
	f, err := results.Read(committed)
	if err != nil {
		t.Fatal(err)
	}
	files, err := render(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(docsFolder, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/bench/%s is not that of the results (%v): %s", name, err, again)
		}
	}
	entries, err := os.ReadDir(docsFolder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, known := files[e.Name()]; !known {
			t.Errorf("docs/bench/%s is of no section: %s", e.Name(), again)
		}
	}
}

func TestFiguresOfABusyMachineOrFewRoundsAreCalledProvisional(t *testing.T) {
	quiet := 1.0
	f := &results.File{Sections: []*results.Section{section("throughput"), section("start")}}
	got := doubts(f, []string{"throughput", "start"})
	if want := "The figures are provisional: others used up to 12 % of the machine, and there were only 3 rounds."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, s := range f.Sections {
		s.OthersPercent, s.Run.Rounds = &quiet, 7
	}
	if got := doubts(f, []string{"throughput", "start"}); got != "" {
		t.Errorf("a quiet machine: %q", got)
	}
}
