package apig

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAnswersAreRead(t *testing.T) {
	for _, c := range []struct {
		text, header, body string
		status             int
	}{
		{`{"statusCode":200,"headers":{},"body":"x","isBase64Encoded":false}`, "", "x", 200},
		{" {\n\"body\" : null , \"headers\" : null, \"statusCode\" : 404, \"isBase64Encoded\":false } \n", "", "", 404},
		{`{"statusCode":200,"headers":[],"body":"x","isBase64Encoded":false}`, "", "x", 200},
		{`{"statusCode":200,"headers":[ ],"body":"x","isBase64Encoded":false}`, "", "x", 200},
		{`{"statusCode":999,"headers":{"A":"1","B":["2","3"],"C":[]},"body":"aGk=","isBase64Encoded":true}`, "A=1 B=2 B=3", "hi", 999},
		{`{"statusCode":200,"body":"a\"\\\/\b\f\n\r\t\u00fc\ud83d\ude00\ud83d!\ud83dA","headers":{"\u0041":"\u0042"}}`, "A=B", "a\"\\/\b\f\n\r\tü😀\ufffd!\ufffdA", 200},
		{`{"statusCode":201,"statusCode":202,"body":"a","body":"b"}`, "", "b", 202},
		{`{"statusCode":200,"body":{"type":"Buffer","data":[0,255]},"isBase64Encoded":false}`, "", "\x00\xff", 200},
		{`{"statusCode":200,"body":{"type":"Buffer","data":[97,71,107,61]},"isBase64Encoded":true}`, "", "hi", 200},
		{`{"statusCode":200,"x":[{"y":[1,-2.5e+3,true,false,null,"\u1234"]}],"body":""}`, "", "", 200},
		{`{"statusCode":200,"headers":{"A":"tab\tand ü"}}`, "A=tab\tand ü", "", 200},
	} {
		var a Answer
		w := a.Read([]byte(c.text))
		require.Nil(t, w, "%s: %+v", c.text, w)
		var header []string
		for _, f := range a.Fields {
			header = append(header, string(f.Name)+"="+string(f.Value))
		}
		require.Equal(t, c.status, a.Status)
		require.Equal(t, c.header, strings.Join(header, " "), c.text)
		require.Equal(t, c.body, string(a.Body), c.text)
	}
}

func TestAnswersNameWhatIsMissingOrUnknown(t *testing.T) {
	var a Answer
	require.Nil(t, a.Read([]byte(`{"statusCode":200,"multiValueHeaders":{},"cookies":[]}`)))
	require.Equal(t, []string{"headers", "body", "isBase64Encoded"}, a.Missing)
	require.Equal(t, []string{"multiValueHeaders", "cookies"}, a.Unknown)
	require.Nil(t, a.Read([]byte(`{"statusCode":200,"headers":{},"body":"x","isBase64Encoded":false}`)))
	require.Empty(t, a.Missing)
	require.Empty(t, a.Unknown)
	require.Nil(t, a.Read([]byte(`{"statusCode":200,"headers":{"A":["b"],"C":"d"},"body":"x","isBase64Encoded":false}`)))
	require.Equal(t, []string{"A"}, a.Lists)
}

func TestWrongAnswersSayWhatAndWhatToWrite(t *testing.T) {
	const all = ", and has to be an object with statusCode, headers, body and isBase64Encoded"
	for _, c := range []struct{ text, field, problem, line string }{
		{`"Hello"`, "", `the answer is "Hello"` + all, complete(`"Hello"`)},
		{`Hello "you"`, "", `the answer is text, "Hello \"you\""` + all, complete(`"Hello \"you\""`)},
		{`"`, "", `the answer is text, "\""` + all, complete(`"\""`)},
		{`{"a":"`, "", `the answer is no valid JSON: "{\"a\":\""` + all, complete(`"{\"a\":\""`)},
		{``, "", "the answer is empty" + all, complete(`""`)},
		{`null`, "", "the answer is null" + all, complete(`"null"`)},
		{`true`, "", "the answer is true" + all, complete(`"true"`)},
		{`42`, "", "the answer is the number 42" + all, complete(`"42"`)},
		{`-1.5`, "", "the answer is the number -1.5" + all, complete(`"-1.5"`)},
		{`[1]`, "", "the answer is the list [1]" + all, complete(`"[1]"`)},
		{`{"statusCode":200`, "", `the answer is no valid JSON: "{\"statusCode\":200"` + all, complete(`"{\"statusCode\":200"`)},
		{`{"statusCode":200} x`, "", `the answer is no valid JSON: "{\"statusCode\":200} x"` + all, complete(`"{\"statusCode\":200} x"`)},
		{
			`{"a":1}`, "statusCode", "statusCode, headers, body and isBase64Encoded are missing",
			`{"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": "{\"a\":1}", "isBase64Encoded": false}`,
		},
		{`{"body":"x","headers":{},"isBase64Encoded":false}`, "statusCode", "statusCode is missing", `"statusCode": 200`},
		{
			`{"statuscode":200,"body":""}`, "statusCode",
			`statusCode, headers and isBase64Encoded are missing: the answer has "statuscode", and upper and lower case matter`, `"statusCode": 200`,
		},
		{`{"statusCode":null}`, "statusCode", "statusCode is null, and has to be a whole number", `"statusCode": 200`},
		{`{"statusCode":"404"}`, "statusCode", `statusCode is "404", and has to be a whole number`, `"statusCode": 404`},
		{`{"statusCode":200.0}`, "statusCode", `statusCode is the number 200.0, and has to be a whole number`, `"statusCode": 200`},
		{`{"statusCode":99}`, "statusCode", "statusCode is the number 99, and has to be from 200 to 999", `"statusCode": 200`},
		{`{"statusCode":1000}`, "statusCode", "statusCode is the number 1000, and has to be from 200 to 999", `"statusCode": 200`},
		{
			`{"statusCode":101}`, "statusCode",
			"statusCode is the number 101, and is for what is sent before an answer: it has to be from 200 to 999", `"statusCode": 200`,
		},
		{`{"statusCode":200,"headers":"x"}`, "headers", `headers is "x", and has to be an object of strings`, `"headers": {"Content-Type": "text/plain"}`},
		{`{"statusCode":200,"headers":["x"]}`, "headers", `headers is the list ["x"], and has to be an object of strings`, `"headers": {"Content-Type": "text/plain"}`},
		{`{"statusCode":200,"headers":{"A":5}}`, "headers", "headers: A is the number 5, and has to be a string", `"headers": {"A": "5"}`},
		{`{"statusCode":200,"headers":{"A":["b",true]}}`, "headers", "headers: A is a list that has true, and has to be a string", `"headers": {"A": "true"}`},
		{`{"statusCode":200,"headers":{"A":"b\r\nC: d"}}`, "headers", `headers: A has a line end in its value, "b\r\nC: d"`, `"headers": {"A": "b C: d"}`},
		{`{"statusCode":200,"headers":{"A":"b\u0000"}}`, "headers", `headers: A has a control character in its value, "b\u0000"`, `"headers": {"A": "b"}`},
		{`{"statusCode":200,"headers":{"A B":"c"}}`, "headers", `headers has the name "A B", which no header can have`, `"headers": {"X-Name": "value"}`},
		{`{"statusCode":200,"headers":{"":"c"}}`, "headers", `headers has the name "", which no header can have`, `"headers": {"X-Name": "value"}`},
		{`{"statusCode":200,"body":5}`, "body", "body is the number 5, and has to be a string", `"body": "5"`},
		{`{"statusCode":200,"body":{"a":1}}`, "body", `body is the object {"a":1}, and has to be a string`, `"body": "{\"a\":1}"`},
		{`{"statusCode":200,"body":{"type":"Buffer","data":[256]}}`, "body", `body is the object {"type":"Buffer","data":[256]}, and has to be a string`, `"body": "{\"type\":\"Buffer\",\"data\":[256]}"`},
		{`{"statusCode":200,"body":"***","isBase64Encoded":true}`, "body", `isBase64Encoded is true, and body is no Base64: "***"`, `"isBase64Encoded": false`},
		{`{"statusCode":200,"body":"YQ","isBase64Encoded":true}`, "body", `isBase64Encoded is true, and body is no Base64: "YQ"`, `"isBase64Encoded": false`},
		{`{"statusCode":200,"isBase64Encoded":"true"}`, "isBase64Encoded", `isBase64Encoded is "true", and has to be true or false`, `"isBase64Encoded": false`},
		{`{"statusCode":200,"isBase64Encoded":null}`, "isBase64Encoded", `isBase64Encoded is null, and has to be true or false`, `"isBase64Encoded": false`},
	} {
		var a Answer
		w := a.Read([]byte(c.text))
		require.NotNil(t, w, c.text)
		require.Equal(t, Wrong{c.field, c.problem, c.line}, *w, c.text)
		line := w.Line
		if line[0] != '{' {
			line = "{" + line + "}"
		}
		require.True(t, json.Valid([]byte(line)), line)
	}
}

func TestLongAnswersAreShownInPart(t *testing.T) {
	var a Answer
	for _, text := range []string{
		strings.Repeat("ü", 1<<20), `"` + strings.Repeat("x", 1<<20) + `"`, `{"statusCode":` + strings.Repeat("9", 1<<20) + "}",
		`{"statusCode":200,"headers":{"` + strings.Repeat("h", 1<<20) + `":5}}`, strings.Repeat("[", 1<<20), `{"a":` + strings.Repeat("[", 1<<20),
	} {
		w := a.Read([]byte(text))
		require.NotNil(t, w)
		require.Less(t, len(w.Problem)+len(w.Line), 2000)
		require.True(t, utf8.ValidString(w.Problem+w.Line))
	}
}

func TestLineIsInTheLanguageOfTheFunction(t *testing.T) {
	var a Answer
	w := a.Read([]byte(`"isBase64Encoded\": false}"`))
	require.True(t, strings.HasSuffix(w.In("False"), `"isBase64Encoded": False}`), w.In("False"))
	require.Equal(t, w.Line, w.In(""))
	w = a.Read([]byte(`{"statusCode":200,"isBase64Encoded":1}`))
	require.Equal(t, `"isBase64Encoded": False`, w.In("False"))
}

func TestPageEscapesWhatTheFunctionAnswered(t *testing.T) {
	var a Answer
	w := a.Read([]byte(`<script>alert("x")</script>`))
	page := string(w.Page("<id>", w.Line))
	require.NotContains(t, page, "<script>")
	require.NotContains(t, page, "<id>")
	require.Contains(t, page, "&lt;script&gt;alert")
	require.Contains(t, page, "FSS.1202")
	w = a.Read([]byte(`{"statusCode":1}`))
	require.Contains(t, string(w.Page("id", w.Line)), `<b id="field">statusCode</b>`)
}

// FuzzAnswersAreReadAsByTheStandardLibrary: what is JSON, and what a string means.
func FuzzAnswersAreReadAsByTheStandardLibrary(f *testing.F) {
	for _, text := range []string{
		`{"statusCode":200,"headers":{"A":"1","B":["2"]},"body":"\ud83d\ude00\u12","isBase64Encoded":false}`,
		`{"statusCode":200,"body":"\ud83d\ud83d\ude00x","x":[1e5,-0,0.5,[]]}`, `{"statusCode":2e2}`, `[`, `"a`, `{"statusCode":200,"body":"a",}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a Answer
		w := a.Read([]byte(text))
		if !utf8.ValidString(text) {
			return
		}
		var want struct {
			Body any `json:"body"`
		}
		var members map[string]json.RawMessage
		err := json.Unmarshal([]byte(text), &members)
		if w == nil {
			require.NoError(t, err, text)
			if body, ok := members["body"]; ok {
				require.NoError(t, json.Unmarshal(body, &want.Body))
			}
			if body, ok := want.Body.(string); ok && string(members["isBase64Encoded"]) != "true" {
				require.Equal(t, body, string(a.Body))
			}
			require.Equal(t, string(members["statusCode"]), fmt.Sprint(a.Status))
			return
		}
		if err == nil && len(members) > 0 {
			require.NotContains(t, w.Problem, "no valid JSON", text)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	text := []byte(`{"statusCode":200,"headers":{"Content-Type":"application/json"},"body":"{\"name\":\"x\"}","isBase64Encoded":false}`)
	var a Answer
	for b.Loop() {
		if w := a.Read(text); w != nil {
			b.Fatal(w)
		}
	}
}
