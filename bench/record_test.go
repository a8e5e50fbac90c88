package main

import (
	"context"
	"gantry/bench/results"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func someTable() table {
	return table{
		compare("http", "calls/s", []float64{100, 200, 400}, []float64{150, 240, 400}, atLeast(1.1)),
		compare("http", "… CPU µs per call", []float64{10}, []float64{5}, target{}),
		compare("http", "… CPU of nothing", []float64{0}, []float64{5}, target{}),
		&row{section: "http", figure: "MB resident", values: []float64{12}, target: atMost(10)},
		&row{section: "http", figure: "nginx is not installed: NOT compared with it"},
	}
}

func someRun() results.Run {
	return results.Run{Date: time.Now().UTC().Truncate(time.Second), Commit: "abc", Rounds: 3, Scheduling: "normal"}
}

func TestTableAsJSONHasEveryRowWithItsVerdict(t *testing.T) {
	s := someTable().record("http", someRun(), 2.5)
	name := filepath.Join(t.TempDir(), "results.json")
	if err := (&results.File{Sections: []*results.Section{s}}).Write(name); err != nil {
		t.Fatal(err)
	}
	f, err := results.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	got := f.Section("http")
	if got.OthersPercent == nil || *got.OthersPercent != 2.5 {
		t.Errorf("others: %v, want 2.5", got.OthersPercent)
	}
	r := got.Row("calls/s")
	if r == nil || r.Kind != results.Ratio || *r.Base != 200 || *r.Ours != 240 || r.Min != 1 || r.Median != 1.2 || r.Max != 1.5 || !*r.Met {
		t.Errorf("got %+v, want 200 and 240, 1, 1.2 and 1.5, met", r)
	}
	if r := got.Row("calls/s … CPU µs per call"); r == nil || r.Target != nil || r.Median != 0.5 {
		t.Errorf("got %+v, want 0.5 without a target", r)
	}
	if r := got.Row("MB resident"); r == nil || r.Kind != results.Value || r.Base != nil || *r.Met {
		t.Errorf("got %+v, want a value that misses", r)
	}
	var remarks []string
	for _, r := range got.Rows {
		if r.Kind == results.Remark {
			remarks = append(remarks, r.Name())
		}
	}
	want := []string{
		"calls/s … CPU of nothing: too little was measured for a figure", "nginx is not installed: NOT compared with it",
	}
	if !reflect.DeepEqual(remarks, want) {
		t.Errorf("remarks %q, want %q", remarks, want)
	}
}

func TestUnknownUseByOthersIsLeftOut(t *testing.T) {
	if s := someTable().record("http", someRun(), math.NaN()); s.OthersPercent != nil {
		t.Errorf("got %v, want none", *s.OthersPercent)
	}
}

func TestSectionRunAloneKeepsTheOthersOfTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.json")
	for _, section := range []string{"start", "http", "start"} {
		b := &bench{}
		b.measured = []*results.Section{someTable().record(section, someRun(), 0)}
		earlier, err := readEarlier(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.write(name, earlier); err != nil {
			t.Fatal(err)
		}
	}
	f, err := results.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sections) != 2 || f.Sections[0].Name != "http" || f.Sections[1].Name != "start" {
		t.Errorf("got %d sections, want http and start", len(f.Sections))
	}
}

func TestFileThatCannotBeReadIsNamedBeforeTheRun(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.json")
	if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for file, want := range map[string]string{name: name, filepath.Join(missing, "results.json"): missing} {
		if _, err := readEarlier(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %s", err, want)
		}
	}
}

// TestResultsThatCannotBeWrittenFailTheRun: the run measures nothing, so that only the way of its results counts.
func TestResultsThatCannotBeWrittenFailTheRun(t *testing.T) {
	for _, tool := range []string{"node", "python3", "wrk", "taskset", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	folder := filepath.Join(t.TempDir(), "results")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{rounds: 1, json: filepath.Join(folder, "results.json"), bootstrap: "/bin/true", given: true}
	gone := section{"start", func(b *bench, _ context.Context) error {
		b.table.add(&row{section: "start", figure: "MB", values: []float64{1}})
		return os.Remove(folder)
	}}
	if err := b.run(context.Background(), []section{gone}, true); err == nil || !strings.Contains(err.Error(), b.json) &&
		!strings.Contains(err.Error(), folder) {
		t.Errorf("got %v, want an error with %s", err, b.json)
	}
}

// TestInstallThatFailsLeavesNothingBehind has an npm that writes and fails.
func TestInstallThatFailsLeavesNothingBehind(t *testing.T) {
	bin, temp := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\ntouch half\necho no registry >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", temp)
	t.Setenv(frameworkFolder, "")
	if _, err := installFramework(context.Background()); err == nil || !strings.Contains(err.Error(), "no registry") {
		t.Errorf("got %v, want what npm says", err)
	}
	if err := provideFramework(context.Background(), sections()); err != nil {
		t.Error(err)
	}
	if f, err := installed(); err != nil || f.folder != "" {
		t.Errorf("got %+v, %v, want none", f, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	t.Setenv(frameworkFolder, "")
	if err := provideFramework(ended, sections()); err == nil || err.Error() != "interrupted" {
		t.Errorf("interrupted: got %v", err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOnlyFiguresOfThisTreeGoToTheFileOfTheModule(t *testing.T) {
	for _, c := range []struct {
		b     bench
		quick bool
		want  string
	}{
		{bench{root: "/r"}, false, "/r/bench/results.json"},
		{bench{root: "/r"}, true, ""},
		{bench{root: "/r", given: true}, false, ""},
		{bench{root: "/r", against: "/other"}, false, ""},
		{bench{root: "/r", json: "none"}, false, ""},
		{bench{root: "/r", json: "/tmp/x"}, true, "/tmp/x"},
		{bench{root: "/r", json: "x", against: "/other"}, false, "x"},
	} {
		if got := c.b.resultsFile(c.quick); got != c.want {
			t.Errorf("%+v, quick %t: got %q, want %q", c.b, c.quick, got, c.want)
		}
	}
}

func TestFactsNameTheMachineAndThePrograms(t *testing.T) {
	b := &bench{rounds: 3, node: "/nonexistent", python: "/nonexistent", root: t.TempDir()}
	r := b.facts(context.Background(), true)
	m := r.Machine
	if m.CPUs < 1 || m.MemoryMB < 1 || m.Kernel == unknown || m.Arch == "" {
		t.Errorf("got %+v, want CPUs, memory and kernel", m)
	}
	if r.Versions["go"] == "" || r.Versions["node"] != unknown || r.Rounds != 3 || !r.Quick {
		t.Errorf("got %+v, want a version of go, none of node, 3 rounds, quick", r)
	}
	if r.Commit != unknown || r.Modified {
		t.Errorf("commit %q, modified %t of a folder without a repository", r.Commit, r.Modified)
	}
	if r.Scheduling == unknown || len(r.Load) != 3 {
		t.Errorf("scheduling %q, load %v", r.Scheduling, r.Load)
	}
}

// TestFrameworkIsPinned: package.json and its lock name one version, so that two runs compare with the same program.
func TestFrameworkIsPinned(t *testing.T) {
	text, err := frameworkFiles.ReadFile("testdata/framework/package.json")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := frameworkFiles.ReadFile("testdata/framework/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(text), `"@google-cloud/functions-framework": "`)
	version, _, _ = strings.Cut(version, `"`)
	if strings.Trim(version, "0123456789.") != "" || strings.Count(version, ".") != 2 {
		t.Fatalf("package.json asks for %q, want one version", version)
	}
	if _, entry, ok := strings.Cut(string(lock), `"`+frameworkModule+`": {`); !ok || !strings.Contains(entry[:60], `"`+version+`"`) {
		t.Errorf("the lock has another version than %s", version)
	}
}
