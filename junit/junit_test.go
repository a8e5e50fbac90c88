package junit

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// odd has what XML cannot carry, and what it has to escape.
const odd = "a<b>&\"'\x1b[31m\x00]]>\nü\xff"

func suite() *Suite {
	return &Suite{
		Name: "invoke " + odd, Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), Took: 1500 * time.Millisecond,
		Cases: []Case{
			{Class: "shop", Name: "passed", Took: time.Millisecond, Out: "said"},
			{Class: "shop", Name: "failed", Failure: &Problem{"Error (4002)", "no " + odd, odd}, Err: odd},
			{Class: "shop", Name: "not tried", Error: &Problem{"start", "no node", "no node\n"}},
			{Class: "shop", Name: "skipped", Skipped: &Problem{Message: "no way"}},
		},
	}
}

// TestDocumentIsReadByAnotherParser: Python's parser, which is not Go's, reads counts, order, times and texts.
func TestDocumentIsReadByAnotherParser(t *testing.T) {
	const read = `
import json, sys, xml.etree.ElementTree as tree
root = tree.parse(sys.stdin.buffer).getroot()
show = lambda e: [e.tag, e.attrib, (e.text or "").strip("\n "), [show(c) for c in e]]
json.dump(show(root), sys.stdout)`
	var b bytes.Buffer
	require.NoError(t, Write(&b, suite()))
	cmd := exec.Command("python3", "-c", read)
	cmd.Stdin = &b
	out, err := cmd.Output()
	require.NoError(t, err)
	const text = "a<b>&\"'�[31m�]]>\nü�"
	var got, want any
	require.NoError(t, json.Unmarshal(out, &got))
	quoted, err := json.Marshal(text)
	require.NoError(t, err)
	in := strings.Trim(string(quoted), `"`)
	counts := `"tests":"4","failures":"1","errors":"1","skipped":"1","time":"1.500"`
	require.NoError(t, json.Unmarshal([]byte(`["testsuites",{`+counts+`},"",[["testsuite",
		{"name":"invoke `+in+`",`+counts+`,"timestamp":"2026-01-02T02:04:05"},"",[
		["testcase",{"classname":"shop","name":"passed","time":"0.001"},"",[["system-out",{},"said",[]]]],
		["testcase",{"classname":"shop","name":"failed","time":"0.000"},"",[
			["failure",{"message":"no `+in+`","type":"Error (4002)"},"`+in+`",[]],["system-err",{},"`+in+`",[]]]],
		["testcase",{"classname":"shop","name":"not tried","time":"0.000"},"",[
			["error",{"message":"no node","type":"start"},"no node",[]]]],
		["testcase",{"classname":"shop","name":"skipped","time":"0.000"},"",[["skipped",{"message":"no way"},"",[]]]]]]]]`), &want))
	require.Equal(t, want, got)
}

func TestDocumentIsStrictXML(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Write(&b, suite()))
	require.True(t, strings.HasPrefix(b.String(), xml.Header))
	require.NoError(t, xml.Unmarshal(b.Bytes(), new(xmlSuites)))
	require.NotContains(t, b.String(), "\x1b")
}

// full is a writer that has room for some bytes.
type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestErrorOfTheWriterIsReturned(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Write(&b, suite()))
	for _, room := range []int{0, len(xml.Header), b.Len() - 1} {
		require.ErrorIs(t, Write(&full{room}, suite()), errFull, room)
	}
	require.NoError(t, Write(&full{b.Len()}, suite()))
}
