package e2e

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample is one line of the exposition format.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// exposed is one family of the exposition format, with its samples in order.
type exposed struct {
	name, help, kind string
	samples          []sample
}

var (
	headLine     = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	sampleLine   = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)
	histogramEnd = regexp.MustCompile(`_(count|sum|bucket)$`) // for histograms and summaries
	labelPair    = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:, ?|$)`)
)

// parseExposition reads the text format of Prometheus, version 0.0.4, and takes less than scrapers do: each family
// begins with its HELP and TYPE and is in one piece, and no sample comes twice.
func parseExposition(text string) ([]*exposed, error) {
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line does not end")
	}
	var families []*exposed
	seen := map[string]bool{}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fail := func(why string) error { return fmt.Errorf("line %d: %s: %q", n+1, why, line) }
		if head := headLine.FindStringSubmatch(line); head != nil {
			if head[1] == "HELP" {
				if seen[head[2]] {
					return nil, fail("a family comes twice")
				}
				seen[head[2]] = true
				families = append(families, &exposed{name: head[2], help: head[3]})
				continue
			}
			f := families[len(families)-1]
			if f.name != head[2] || f.kind != "" || len(f.samples) > 0 {
				return nil, fail("TYPE does not follow HELP")
			}
			f.kind = head[3]
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, fail(err.Error())
		}
		if len(families) == 0 || !families[len(families)-1].takes(s.name) {
			return nil, fail("a sample of another family")
		}
		if key := line[:strings.LastIndexByte(line, ' ')]; seen[key] && strings.Contains(key, "{") {
			return nil, fail("a sample comes twice")
		} else {
			seen[key] = true
		}
		f := families[len(families)-1]
		f.samples = append(f.samples, s)
	}
	return families, nil
}

func parseSample(line string) (s sample, err error) {
	m := sampleLine.FindStringSubmatch(line)
	if m == nil {
		return s, fmt.Errorf("neither a comment nor a sample")
	}
	s = sample{name: m[1], labels: map[string]string{}}
	for rest := m[2]; rest != ""; {
		pair := labelPair.FindStringSubmatch(rest)
		if pair == nil {
			return s, fmt.Errorf("wrong labels")
		}
		if _, twice := s.labels[pair[1]]; twice {
			return s, fmt.Errorf("a label comes twice")
		}
		s.labels[pair[1]] = pair[2]
		rest = rest[len(pair[0]):]
	}
	s.value, err = strconv.ParseFloat(m[3], 64)
	return s, err
}

// takes reports whether a sample of that name belongs to the family.
func (f *exposed) takes(name string) bool {
	suffix, found := strings.CutPrefix(name, f.name)
	switch {
	case !found:
		return false
	case f.kind == "histogram":
		return slices.Contains([]string{"_bucket", "_sum", "_count"}, suffix)
	case f.kind == "summary":
		return slices.Contains([]string{"", "_sum", "_count"}, suffix)
	}
	return suffix == ""
}

// check says what linters of the format would say.
func (f *exposed) check() error {
	total := strings.HasSuffix(f.name, "_total")
	switch {
	case len(f.samples) == 0:
		return fmt.Errorf("no samples")
	case !strings.HasSuffix(f.help, "."):
		return fmt.Errorf("the help is no sentence: %q", f.help)
	case f.kind == "counter" && !total, f.kind == "gauge" && (total || histogramEnd.MatchString(f.name)):
		return fmt.Errorf("a %s of that name", f.kind)
	case f.kind == "histogram":
		return f.checkHistogram()
	case f.kind == "untyped" && strings.HasPrefix(f.name, "gantry_"):
		return fmt.Errorf("no type")
	case !slices.Contains([]string{"counter", "gauge", "summary", "untyped"}, f.kind):
		return fmt.Errorf("no such type: %q", f.kind)
	}
	for _, s := range f.samples {
		if f.kind == "counter" && !(s.value >= 0) {
			return fmt.Errorf("a counter is %g", s.value)
		}
	}
	return nil
}

// checkHistogram: limits and numbers of the buckets grow, and the last one has all.
func (f *exposed) checkHistogram() error {
	limit, n := math.Inf(-1), 0.0
	parts := map[string]float64{}
	for _, s := range f.samples {
		if s.name != f.name+"_bucket" {
			parts[s.name[len(f.name):]] = s.value
			continue
		}
		le, err := strconv.ParseFloat(s.labels["le"], 64)
		if err != nil || le <= limit || s.value < n {
			return fmt.Errorf("bucket %v = %g after %g = %g", s.labels, s.value, limit, n)
		}
		limit, n = le, s.value
	}
	_, sum := parts["_sum"]
	count, ok := parts["_count"]
	if !math.IsInf(limit, 1) || strings.HasPrefix(f.name, "gantry_") && (!sum || !ok) || ok && count != n {
		return fmt.Errorf("the last bucket is %g = %g, and besides there are %v", limit, n, parts)
	}
	return nil
}

// TestMetricsAreValidPrometheusTextWithTypes: what a scrape gets is the text format of Prometheus, with type and help
// of every family, and each is in the documentation.
func TestMetricsAreValidPrometheusTextWithTypes(t *testing.T) {
	env, _ := queueSettings(t)
	r := ungated(t, outcomes, env...)
	r.waitStatus(r.enqueue(`{}`), "SUCCESS")
	require.Equal(t, 200, r.call(`{}`).status)
	a := r.request("GET", r.ops+"/metrics", "")
	families, err := parseExposition(a.body)
	require.NoError(t, err)
	kinds := map[string]string{}
	for _, f := range families {
		require.NoError(t, f.check(), f.name)
		kinds[f.name] = f.kind
	}
	for name, kind := range map[string]string{
		"gantry_invocation_duration_seconds": "histogram", "gantry_queue_wait_seconds": "histogram", "gantry_init_duration_seconds": "histogram",
		"gantry_invocations_total": "counter", "gantry_async_accepted_total": "counter", "gantry_log_lines_total": "counter",
		"gantry_instance_state": "gauge", "gantry_queue_length": "gauge", "gantry_build_info": "gauge", "process_resident_memory_bytes": "gauge",
		"process_io_read_bytes_total": "counter", "go_gc_duration_seconds": "summary", "go_sched_latencies_seconds": "histogram",
	} {
		require.Equal(t, kind, kinds[name], name)
	}
	document, err := os.ReadFile("../../docs/CONFIGURATION.md")
	require.NoError(t, err)
	for name, kind := range kinds {
		if strings.HasPrefix(name, "gantry_") {
			require.Contains(t, string(document), "`"+name, "docs/CONFIGURATION.md has no row for it")
		}
		if kind == "untyped" {
			require.Contains(t, []string{"go_cgo_calls_count", "go_cpu_count", "go_gc_forced_count"}, name, "its type is not known: metrics/families.go lacks it")
		}
	}
}

// TestParserRefusesMalformedMetricsText: the parser refuses what it should.
func TestParserRefusesMalformedMetricsText(t *testing.T) {
	head := func(name, kind string) string { return "# HELP " + name + " A.\n# TYPE " + name + " " + kind + "\n" }
	for name, text := range map[string]string{
		"no type":         "a 1\n",
		"no end":          head("a", "gauge") + "a 1",
		"no help":         "# HELP a \n# TYPE a gauge\na 1\n",
		"twice":           head("a", "gauge") + "a 1\n" + head("b", "gauge") + "b 1\n" + head("a", "gauge") + "a 2\n",
		"same sample":     head("a", "gauge") + "a{x=\"1\"} 1\na{x=\"1\"} 2\n",
		"other family":    head("a", "gauge") + "b 1\n",
		"wrong label":     head("a", "gauge") + "a{x=1} 1\n",
		"label twice":     head("a", "gauge") + "a{x=\"1\",x=\"2\"} 1\n",
		"no value":        head("a", "gauge") + "a\n",
		"bucket of gauge": head("a", "gauge") + "a_bucket{le=\"1\"} 1\n",
	} {
		_, err := parseExposition(text)
		require.Error(t, err, name)
	}
	for name, text := range map[string]string{
		"counter without _total": head("a", "counter") + "a 1\n",
		"gauge with _total":      head("a_total", "gauge") + "a_total 1\n",
		"gauge with _count":      head("a_count", "gauge") + "a_count 1\n",
		"negative counter":       head("a_total", "counter") + "a_total -1\n",
		"no such type":           head("a", "histogramm") + "a 1\n",
		"no samples":             head("a", "gauge"),
		"no +Inf":                head("a", "histogram") + "a_bucket{le=\"1\"} 1\na_count 1\na_sum 1\n",
		"buckets shrink":         head("a", "histogram") + "a_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n",
		"count differs":          head("a", "histogram") + "a_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1\n",
	} {
		families, err := parseExposition(text)
		require.NoError(t, err, name)
		require.Error(t, families[0].check(), name)
	}
}
