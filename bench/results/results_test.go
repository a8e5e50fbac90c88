package results

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// measured is a section with every kind of row.
func measured(name, commit string) *Section {
	others, base, ours := 1.5, 100.0, 120.0
	rate := NewRow("calls/s, <fast> & \"good\"", "", Ratio, []float64{1.3, 1.1, 1.2}, &Target{AtLeast, 1.2})
	rate.Base, rate.Ours = &base, &ours
	return &Section{
		Name: name, OthersPercent: &others,
		Run: Run{
			Date: time.Date(2026, 5, 4, 8, 15, 30, 0, time.UTC), Commit: commit, Rounds: 3, Scheduling: "normal",
			Load: []float64{0.1, 0.2, 0.3}, Versions: map[string]string{"node": "20.1.0"},
			Machine: Machine{Processor: "P", CPUs: 2, MemoryMB: 1024, Virtual: true, System: "S", Kernel: "6.1", Arch: "amd64"},
		},
		Rows: []*Row{
			rate,
			NewRow("… of it its own", rate.Figure, Ratio, []float64{0.5}, nil),
			NewRow("MB resident", "", Value, []float64{18.5, 19.5}, &Target{AtMost, 10}),
			NewRow("nginx is not installed", "", Value, nil, nil),
		},
	}
}

func TestResultsComeBackAsTheyWereWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.json")
	want := &File{Sections: []*Section{measured("http", "abc"), measured("start", "def")}}
	if err := want.Write(name); err != nil {
		t.Fatal(err)
	}
	got, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got.Sections[0], want.Sections[0])
	}
	r := got.Section("http").Row("calls/s, <fast> & \"good\"")
	if r == nil || r.Min != 1.1 || r.Median != 1.2 || r.Max != 1.3 || !*r.Met {
		t.Errorf("got %+v, want 1.1, 1.2, 1.3, met", r)
	}
	if r := got.Section("start").Row("MB resident"); r == nil || r.Median != 19 || *r.Met {
		t.Errorf("got %+v, want a median of 19, not met", r)
	}
	if got.Section("http").Row("nginx is not installed").Kind != Remark {
		t.Error("a row without values is no remark")
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(name), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSectionsOfALaterRunReplaceThoseOfTheSameName(t *testing.T) {
	f := &File{Sections: []*Section{measured("old", "1"), measured("start", "1"), measured("http", "1")}}
	f.Merge([]*Section{measured("start", "2"), measured("throughput", "2")}, []string{"throughput", "http", "start"})
	var got []string
	for _, s := range f.Sections {
		got = append(got, s.Name+" "+s.Run.Commit)
	}
	if want := []string{"throughput 2", "http 1", "start 2", "old 1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRowOfWhatIsNoNumberIsARemark(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		r := NewRow("CPU", "", Ratio, []float64{1, v}, &Target{AtMost, 1})
		if r.Kind != Remark || r.Met != nil || !strings.HasPrefix(r.Figure, "CPU: ") {
			t.Errorf("%g: got %+v, want a remark on CPU", v, r)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	}
}

func TestResultsThatWereChangedByHandAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*File)
		want   string
	}{
		"another median":   {func(f *File) { f.Sections[0].Rows[0].Median = 1.25 }, "are not those of its values"},
		"a better min":     {func(f *File) { f.Sections[0].Rows[0].Min = 1.15 }, "are not those of its values"},
		"another value":    {func(f *File) { f.Sections[0].Rows[0].Values[0] = 9 }, "are not those of its values"},
		"met":              {func(f *File) { *f.Sections[0].Rows[2].Met = true }, "met is true"},
		"an easier target": {func(f *File) { f.Sections[0].Rows[0].Target.Limit = 2 }, "says otherwise"},
		"no verdict":       {func(f *File) { f.Sections[0].Rows[0].Met = nil }, "come together"},
		"a kind":           {func(f *File) { f.Sections[0].Rows[0].Kind = "guess" }, `kind "guess", want ratio, value or remark`},
		"a row twice":      {func(f *File) { f.Sections[0].Rows[2] = f.Sections[0].Rows[0] }, "there twice"},
		"a section twice":  {func(f *File) { f.Sections = append(f.Sections, f.Sections[0]) }, "there twice"},
		"no rows":          {func(f *File) { f.Sections[0].Rows = nil }, "no rows"},
		"no commit":        {func(f *File) { f.Sections[0].Run.Commit = "" }, "the commit"},
		"a remark's value": {func(f *File) { f.Sections[0].Rows[3].Values = []float64{1} }, "a remark has no values"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &File{Format: Format, Sections: []*Section{measured("http", "abc")}}
			if err := f.Check(); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			c.change(f)
			if err := f.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			name := filepath.Join(t.TempDir(), "results.json")
			if err := f.Write(name); err == nil {
				t.Error("it was written")
			}
			text, err := f.encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(name); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read: got %v, want %q", err, c.want)
			}
		})
	}
}

func TestFilesThatAreNoResultsAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "not a file of results",
		`{"format":1,"sections":[`:     "not a file of results",
		`{"format":1,"wrong":1}`:       `unknown field "wrong"`,
		`{"format":2}`:                 "format 2, want 1",
		`{"format":1} {"format":1}`:    "something follows",
		`{"format":1,"sections":[{}]}`: "has no name",
	} {
		name := filepath.Join(t.TempDir(), "results.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: got %v, want %q and the name of the file", text, err, want)
		}
	}
}
