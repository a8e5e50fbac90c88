package expect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lines compares, and returns the differences as they are printed; a result that begins with ! is that of an error.
func lines(t *testing.T, file, result string) string {
	t.Helper()
	e, err := Parse([]byte(file))
	require.NoError(t, err, file)
	body, failed := strings.CutPrefix(result, "!")
	d := e.Compare([]byte(body), failed)
	require.Equal(t, d.String() == "", d.None())
	return d.String()
}

func TestResultsThatMatch(t *testing.T) {
	for file, results := range map[string][]string{
		`5`:           {"5", "5.0", "50e-1", " 5\n"},
		`-0`:          {"0", "-0", "0.0"},
		`1.5`:         {"1.50", "15e-1"},
		`"a"`:         {`"a"`, `a`},
		`""`:          {``, `""`},
		`null`:        {"null"},
		`true`:        {"true"},
		`[]`:          {"[]"},
		`{}`:          {"{}"},
		`"$any"`:      {"null", "1", `"x"`, "plain text", "{}", "[1]", ""},
		`"$string"`:   {`""`, `"5"`, "plain text"},
		`"$number"`:   {"0", "-1.5e3", "1e400"},
		`"$boolean"`:  {"true", "false"},
		`"$array"`:    {"[]", "[1,[2]]"},
		`"$object"`:   {"{}", `{"a":1}`},
		`"$uuid"`:     {`"2f1c0a9e-1f6a-4b1e-8c38-0a4f4a7f8f00"`, `"2F1C0A9E-1F6A-4B1E-8C38-0A4F4A7F8F00"`},
		`"$$any"`:     {`"$any"`},
		`"$$$"`:       {`"$$"`},
		`"a$any"`:     {`"a$any"`},
		`"$match:"`:   {`"x"`, `""`},
		`"$match:b+"`: {`"abbc"`, "abc"},
		`"$match:^ord-[0-9]{3}$"`: {
			`"ord-123"`,
		},
		`"$time"`: {
			`"2026-11-28T15:04:05Z"`, `"2026-11-28T15:04:05.123456789+08:00"`, `"2026-11-28T15:04:05.123456"`, `"2026-11-28 15:04:05"`,
			"1790000000", "1790000000123", "1790000000.25",
		},
		`{"a":1,"b":[2,"$any"]}`:          {`{"b":[2,null],"a":1}`},
		`{"a":1,"$more":true}`:            {`{"a":1}`, `{"a":1,"b":2}`},
		`{"$more":true}`:                  {`{}`, `{"b":2}`},
		`{"$$more":true,"$$$x":1}`:        {`{"$more":true,"$$x":1}`},
		`{"body":{"$json":{"n":1}}}`:      {`{"body":"{\"n\": 1}"}`, `{"body":"{ \"n\": 1.0 }\n"}`},
		`{"$json":"$number"}`:             {`"5"`},
		`{"$error":"$any"}`:               {"!{}", "!text"},
		`{"$error":{"errorType":"E"}}`:    {`!{"errorType":"E"}`},
		`{"$error":{"$json":[1]}}`:        {`!"[1]"`},
		`9007199254740993`:                {"9007199254740993"},
		`{"a":{"$more":true,"b":"$any"}}`: {`{"a":{"b":1,"c":2}}`},
	} {
		for _, result := range results {
			require.Empty(t, lines(t, file, result), "%s and %s", file, result)
		}
	}
}

func TestDifferencesHavePathAndBothValues(t *testing.T) {
	for _, c := range [][3]string{
		{`5`, `6`, "$: expected 5, got 6"},
		{`5`, `"5"`, `$: expected 5, got "5"`},
		{`"5"`, `5`, `$: expected "5", got 5`},
		{`5`, `five`, `$: expected 5, got "five"`},
		{`9007199254740993`, `9007199254740992`, "$: expected 9007199254740993, got 9007199254740992"},
		{`1`, `[1]`, "$: expected 1, got [1]"},
		{`null`, `{}`, "$: expected null, got {}"},
		{`null`, ``, `$: expected null, got ""`},
		{`{"a":1}`, `[1]`, `$: expected {"a":1}, got [1]`},
		{`[1]`, `{"a":1}`, `$: expected [1], got {"a":1}`},
		{`{"a":null}`, `{}`, "$.a: expected null, got nothing"},
		{`{"a":"$any"}`, `{}`, `$.a: expected "$any", got nothing`},
		{`{}`, `{"b":1,"a":2}`, "$.a: expected nothing, got 2\n  $.b: expected nothing, got 1"},
		{`{"z":1,"a":1}`, `{"z":2,"a":2}`, "$.z: expected 1, got 2\n  $.a: expected 1, got 2"},
		{`{"a b":{"ü":1}}`, `{"a b":{"ü":2}}`, `$["a b"]["ü"]: expected 1, got 2`},
		{`[1,[2,3]]`, `[1,[2],4]`, "$[1][1]: expected 3, got nothing\n  $[2]: expected nothing, got 4"},
		{`"$uuid"`, `"2f1c0a9e"`, `$: expected "$uuid", got "2f1c0a9e"`},
		{`"$uuid"`, `"{2f1c0a9e-1f6a-4b1e-8c38-0a4f4a7f8f00}"`, `$: expected "$uuid", got "{2f1c0a9e-1f6a-4b1e-8c38-0a4f4a7f8f00}"`},
		{`"$time"`, `"yesterday"`, `$: expected "$time", got "yesterday"`},
		{`"$time"`, `12`, `$: expected "$time", got 12`},
		{`"$time"`, `1e400`, `$: expected "$time", got 1e400`},
		{`"$match:^b$"`, `"abc"`, `$: expected "$match:^b$", got "abc"`},
		{`"$match:5"`, `5`, `$: expected "$match:5", got 5`},
		{`"$number"`, `"5"`, `$: expected "$number", got "5"`},
		{`"$$any"`, `5`, `$: expected "$any", got 5`},
		{`{"body":{"$json":{"n":[1]}}}`, `{"body":"{\"n\":[2]}"}`, "$.body.$json.n[0]: expected 1, got 2"},
		{`{"body":{"$json":{"n":1}}}`, `{"body":"{\"n\":"}`, `$.body: expected a string with JSON, got "{\"n\":"`},
		{`{"body":{"$json":1}}`, `{"body":"1 2"}`, `$.body: expected a string with JSON, got "1 2"`},
		{`{"body":{"$json":1}}`, `{"body":1}`, `$.body: expected a string with JSON, got 1`},
		{`{"body":{"$json":1,"$$x":1}}`, ``, "error"},
		{`{"a":1}`, `!{"errorType":"E"}`, `$: expected a result, got the error {"errorType":"E"}`},
		{`{"$error":"$any"}`, `{"a": "<"}`, `$: expected an error, got the result {"a":"<"}`},
		{`{"$error":{"errorType":"A"}}`, `!{"errorType":"E"}`, `$.errorType: expected "A", got "E"`},
		{`{"a":{"b":[1,{"$more":true}]}}`, `{"a":1}`, `$.a: expected {"b":[1,{"$more":true}]}, got 1`},
	} {
		if c[2] == "error" {
			_, err := Parse([]byte(c[0]))
			require.Error(t, err)
			continue
		}
		require.Equal(t, "  "+c[2], lines(t, c[0], c[1]), "%s and %s", c[0], c[1])
	}
}

// TestDifferencesAreLimited: 20 are kept, each in a line that is not too long, and the others are counted.
func TestDifferencesAreLimited(t *testing.T) {
	var values []string
	for i := range 50 {
		values = append(values, fmt.Sprintf("%q", strings.Repeat("ü", 1000)+fmt.Sprint(i)))
	}
	got := strings.Split(lines(t, "[]", "["+strings.Join(values, ",")+"]"), "\n")
	require.Len(t, got, MaxDifferences+1)
	require.Equal(t, "  and 30 more", got[MaxDifferences])
	for _, line := range got {
		require.Less(t, len(line), 2*maxShown)
	}
	require.Contains(t, got[0], "ü…")
}

func TestWrongFilesAreRefusedWithWhatIsRight(t *testing.T) {
	for file, want := range map[string]string{
		"":                           "line 1: unexpected end of JSON input; want JSON",
		"{\n\"a\":1,\n}":             "line 3: invalid character '}' looking for beginning of object key string; want JSON",
		"1 2":                        "line 1: invalid character '2' after top-level value; want JSON",
		`{"a":["x","$uid"]}`:         `$.a[1]: "$uid" is no matcher, want $any, $string, $number, $boolean, $array, $object, $uuid, $time or $match:REGEXP; a string that begins with $ is written with $$`,
		`"$"`:                        `$: "$" is no matcher`,
		`"$match:("`:                 "$: error parsing regexp: missing closing ): `(`",
		`{"a":1,"b":2,"a":3}`:        `$: member "a" is there twice`,
		`{"x":{"$more":1}}`:          "$.x: $more has the value true, or is left out",
		`{"x":{"$more":{}}}`:         "$.x: $more has the value true",
		`{"x":{"$any":1}}`:           `$.x: "$any" is none of $more, $json and $error; a name that begins with $ is written with $$`,
		`{"x":{"$error":1}}`:         "$.x: $error is for the whole result: it stands at the top",
		`{"$error":{"$error":1}}`:    "$: $error is for the whole result",
		`{"$error":1,"a":2}`:         "$: $json and $error have no other members beside them",
		`{"$json":1,"$more":true}`:   "$: $json and $error have no other members beside them",
		`{"$json":{"a":"$x"}}`:       `$.$json.a: "$x" is no matcher`,
		strings.Repeat("[", 100_000): "exceeded max depth",
	} {
		_, err := Parse([]byte(file))
		require.ErrorContains(t, err, want, "%.100s", file)
	}
}

// FuzzParseAndCompare: whatever the file and the result are, nothing panics, and a result without matchers that was
// read as a file matches itself.
func FuzzParseAndCompare(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":"$any","$more":true}`, `{"a":1,"b":2}`}, {`{"$error":{"$json":[1]}}`, `"[1]"`}, {`[1e9,-0,"$time"]`, `[1,2,3]`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, file, result string) {
		e, err := Parse([]byte(file))
		if err != nil {
			return
		}
		e.Compare([]byte(result), false)
		e.Compare([]byte(result), true)
		if d := e.Compare([]byte(file), false); !strings.Contains(file, "$") && !strings.Contains(file, `\`) && !d.None() {
			t.Errorf("%q does not match itself:\n%s", file, d)
		}
	})
}
