package trigger

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lines are the findings of a check as people see them.
func lines(t *testing.T, b []byte) (trigger string, findings []string) {
	t.Helper()
	r, err := Check(b)
	require.NoError(t, err)
	for _, f := range r.Findings {
		verdict := "fail "
		if f.Warning {
			verdict = "warn "
		}
		findings = append(findings, strings.TrimSuffix(verdict+f.Path+": ", ": ")+" | "+f.Text)
	}
	if r.Trigger != nil {
		trigger = r.Trigger.Name
	}
	return trigger, findings
}

// TestSamplesAndNewEventsAreRight: each is recognised, and has no failure.
func TestSamplesAndNewEventsAreRight(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		want := strings.SplitN(strings.TrimSuffix(filepath.Base(file), ".json"), ".", 2)[0]
		for _, b := range [][]byte{b, written(t, want)} {
			r, err := Check(b)
			require.NoError(t, err)
			require.Equal(t, strings.TrimSuffix(want, "-console"), r.Trigger.Name, file)
			require.Zero(t, r.Failures(), "%s: %v", file, r.Findings)
		}
	}
}

// TestEachMissingFieldAndEachWrongTypeIsFound: every field of every event in turn, also of what is encoded.
func TestEachMissingFieldAndEachWrongTypeIsFound(t *testing.T) {
	wrongs := []*node{{kind: number, text: "1"}, {kind: boolean, text: "true"}, {kind: text, text: "\x01"}, {kind: list}, {}}
	found := 0
	for _, trigger := range All() {
		e, err := trigger.New(time.Now())
		require.NoError(t, err)
		name := strings.TrimSuffix(trigger.Name, "-console")
		expect := func(path, text string) {
			b, err := e.JSON()
			require.NoError(t, err)
			got, findings := lines(t, b)
			require.Equal(t, name, got, path)
			require.Contains(t, strings.Join(findings, "\n"), "fail "+path+" | "+text, trigger.Name)
			found++
		}
		var visit func(n *node, path string)
		visit = func(n *node, path string) {
			if n.is(free) {
				return
			}
			for i, v := range n.vals {
				below := join(path, n.key(i))
				if strings.HasSuffix(name, "mq") && below == "trigger_type" { // only this is not as of Kafka
					continue
				}
				if v.absent || len(n.vals) == 1 && path == "" { // without it the event is of no trigger
					visit(v, below)
					continue
				}
				if n.kind == object && !n.is(texts) && !v.is(optional) {
					v.absent = true
					expect(below, "is missing, want ")
					v.absent = false
				}
				for _, wrong := range wrongs {
					if wrong.kind == v.kind || v.allows(wrong.kind) || n.is(texts) && wrong.kind == list || below == "body" {
						continue
					}
					n.vals[i] = wrong
					expect(below, "")
					n.vals[i] = v
				}
				visit(v, below)
			}
		}
		visit(e.root, "")
	}
	require.Greater(t, found, 500)
}

// TestFindingsNameThePathAndWhatIsRight: for the mistakes that are made most.
func TestFindingsNameThePathAndWhatIsRight(t *testing.T) {
	replaced := func(name, old, new string) string {
		b := string(written(t, name))
		require.Contains(t, b, old)
		return strings.Replace(b, old, new, 1)
	}
	for _, c := range []struct {
		event, trigger string
		findings       []string
	}{
		{replaced("smn", `"record"`, `"Records"`), "smn", []string{`fail Records | "Records" is what obs sends; smn has "record", singular`}},
		{replaced("dds", `"records"`, `"record"`), "dds", []string{`fail record | "record" is what smn sends; dds has "records", plural`}},
		{replaced("obs", `"Records"`, `"records"`), "obs", []string{`fail records | "records" is what dds sends; obs has "Records"`}},
		{replaced("obs", `"PrincipalId"`, `"principalId"`), "obs", []string{`fail Records.0.s3.bucket.ownerIdentity.principalId | is misspelled, want "PrincipalId"`}},
		{replaced("obs", `"size":1024`, `"size":"1024"`), "obs", []string{`fail Records.0.s3.object.size | is the text "1024", want a number`}},
		{replaced("obs", `folder%2Ffile.txt`, `a b.txt`), "obs", []string{`fail Records.0.s3.object.key | is not URL-encoded: "a b.txt", want "a%20b.txt"`}},
		{replaced("obs", `folder%2Ffile.txt`, `100%`), "obs", []string{`fail Records.0.s3.object.key | is not URL-encoded: invalid URL escape "%"`}},
		{replaced("obs", `aws:s3`, `OBS`), "obs", []string{`fail Records.0.eventSource | is the text "OBS", want "aws:s3"`}},
		{replaced("obs", `"size":1024`, `"size":1024,"size":1`), "obs", []string{`fail Records.0.s3.object.size | is there twice`}},
		{replaced("obs", `"size":1024`, `"size":1024,"colour":1`), "obs", []string{`warn Records.0.s3.object.colour | is in no event of obs that is known`}},
		{replaced("dds", `"ns":"{\"db\":\"my-db\",\"coll\":\"my-collection\"}"`, `"ns":{"db":"d","coll":"c"}`), "dds", []string{`warn records.0.dds.ns | is an object; the platform's examples have it as JSON in a text`}},
		{replaced("dds", `\"coll\":`, `\"call\":`), "dds", []string{`fail records.0.dds.ns.call | is misspelled, want "coll"`}},
		{replaced("dds", `"size_bytes":"100"`, `"size_bytes":100`), "dds", []string{`fail records.0.dds.size_bytes | is the number 100, want text`}},
		{replaced("gaussmongo", `"\"insert\""`, `"insert"`), "gaussmongo", []string{`fail records.0.event_name | holds no JSON: line 1, column 1: invalid character 'i' looking for beginning of value; want text, written as JSON in a text`}},
		{replaced("timer", `"trigger_type":"TIMER"`, `"trigger_type":"timer"`), "timer", []string{`fail trigger_type | is the text "timer", want "TIMER"`}},
		{replaced("apig", `"accept"`, `"Accept"`), "apig", []string{`fail headers.Accept | has capitals; API Gateway sends names of headers in lower case: accept`}},
		{replaced("apig", `true`, `false`), "apig", []string{`warn body | is plain text; API Gateway sends true as isBase64Encoded, and Base64`}},
		{`{"lts":{"data":"{}"}}`, "lts", []string{`fail lts.data | is no Base64 ("{}"), want an object, written as Base64 of its JSON`}},
		{`{"lts":{"data":{}}}`, "lts", []string{`fail lts.data | is an object, want an object, written as Base64 of its JSON`}},
		{`{"lts":{"data":"` + "bm8gSlNPTg==" + `"}}`, "lts", []string{`fail lts.data | holds no JSON: line 1, column 2: invalid character 'o' in literal null (expecting 'u'); want an object, written as Base64 of its JSON`}},
		{`{"name":"you"}`, "", []string{`fail  | no trigger sends an event with these keys: name`}},
		{`{"path":"/"}`, "", []string{`fail  | no trigger sends an event with these keys: path`}},
		{`{}`, "", []string{`fail  | no trigger sends an event with these keys: `}},
		{`[]`, "", []string{`fail  | it is a list, and every trigger sends an object`}},
		{"{\n  \"ü\": x}", "", []string{`fail  | no JSON: line 2, column 8: invalid character 'x' looking for beginning of value`}},
		{" \n", "", []string{`fail  | nothing is there, want the JSON of an event`}},
		{string(written(t, "kafka", "event_time", "1576737962000")), "kafka", []string{`fail event_time | is in milliseconds, want seconds since 1970: `}},
		{string(written(t, "lts", "lts.data.logs.0.time", "1576737962")), "lts", []string{`fail lts.data.logs.0.time | is in seconds, want milliseconds since 1970: `}},
		{string(written(t, "cts", "time", "1576737962")), "cts", []string{`warn cts.time | is in seconds, as in the console's template; live events have milliseconds: `}},
		{string(written(t, "timer", "time", "yesterday")), "timer", []string{`fail time | is no time like `}},
		{string(written(t, "timer", "time", "2023-06-01T08:30:00Z")), "timer", nil},
		{string(written(t, "kafka", "messages", "[]")), "kafka", []string{`warn records.0.messages | is empty; an event has one element at least`}},
		{replaced("kafka", "my message", strings.Repeat("x", mostAsync)), "kafka", []string{`fail  | the event has 2623`}},
	} {
		trigger, findings := lines(t, []byte(c.event))
		require.Equal(t, c.trigger, trigger, c.event)
		require.Len(t, findings, len(c.findings), "%.200s: %v", c.event, findings)
		for i, want := range c.findings {
			require.True(t, strings.HasPrefix(findings[i], want), "%s\n%s", want, findings[i])
		}
	}
}

// FuzzCheck: no input makes it fail or run for long; every path that it names is one that can be read.
func FuzzCheck(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Check(b)
		require.NoError(t, err)
		for _, finding := range r.Findings {
			require.NotEmpty(t, finding.Text)
		}
	})
}

// FuzzSet: whatever is set, the event is JSON, or there is an error; a new value is the one that was set.
func FuzzSet(f *testing.F) {
	f.Add(uint8(0), "body", "x")
	f.Add(uint8(3), "Records.1.s3.object.key", "<=name>")
	f.Add(uint8(5), "lts.data", `{"logs":[{}]}`)
	f.Add(uint8(7), `document.a\.b.0`, "1")
	f.Fuzz(func(t *testing.T, i uint8, path, value string) {
		e, err := All()[int(i)%len(table)].New(time.Now())
		require.NoError(t, err)
		if e.Set(path, value) != nil {
			return
		}
		b, err := e.JSON()
		if err == nil {
			require.True(t, json.Valid(b), "%s", b)
		}
	})
}
