package apig

import (
	"bytes"
	"gantry/fault"
	"gantry/logger"
	"strings"
)

// The members of an answer.
const (
	memberStatus  = "statusCode"
	memberHeaders = "headers"
	memberBody    = "body"
	memberEncoded = "isBase64Encoded"
)

var members = [...]string{memberStatus, memberHeaders, memberBody, memberEncoded}

// Wrong says what is wrong with an answer. The platform's gateway then answers 500 with Code.
type Wrong struct {
	// Field is the member that is wrong, empty for the answer as a whole.
	Field string
	// Problem says what was seen and what it has to be, Line what to write, as JSON.
	Problem, Line string
}

// Code is the platform's code for an answer that its gateway cannot use.
const Code = fault.GatewayAnswer

// maxQuoted bounds what is shown of an answer, in bytes.
const maxQuoted = 120

// In is the line as a language writes it that has another word for false than JSON.
func (w *Wrong) In(falsehood string) string {
	if line, ok := strings.CutSuffix(w.Line, `"isBase64Encoded": false}`); ok && falsehood != "" {
		return line + `"isBase64Encoded": ` + falsehood + "}"
	}
	if w.Line == `"isBase64Encoded": false` && falsehood != "" {
		return `"isBase64Encoded": ` + falsehood
	}
	return w.Line
}

// wrongAnswer is about a text that is no JSON object.
func wrongAnswer(text []byte) *Wrong {
	what := bytes.TrimSpace(text)
	s := &scanner{text: what}
	_, isJSON := s.value(0)
	var seen string
	switch isJSON = isJSON && s.at == len(what); {
	case len(what) == 0:
		seen = "empty"
	case isJSON:
		seen = shown(what)
	case what[0] == '{':
		seen = "no valid JSON: " + shown(quoteBytes(what))
	default:
		seen = "text, " + shown(quoteBytes(what))
	}
	if !isJSON {
		what = quoteBytes(what)
	}
	return &Wrong{
		Problem: "the answer is " + seen + ", and has to be an object with " + list(members[:], "and"),
		Line:    complete(asText(what)),
	}
}

// complete is an answer with that body, which is quoted.
func complete(body string) string {
	return `{"statusCode": 200, "headers": {}, "body": ` + body + `, "isBase64Encoded": false}`
}

// asText is a JSON value as a quoted string: what the body would be.
func asText(raw []byte) string {
	if len(raw) > 0 && raw[0] == '"' {
		raw = unquote(raw)
	}
	return quote(cut(string(raw), maxQuoted))
}

// shown names a JSON value by its kind.
func shown(raw []byte) string {
	if len(raw) == 0 {
		return "empty"
	}
	text := cut(string(raw), maxQuoted)
	switch c := raw[0]; {
	case c == '"':
		return asText(raw)
	case c == '{':
		return "the object " + text
	case c == '[':
		return "the list " + text
	case c == '-' || c >= '0' && c <= '9':
		return "the number " + text
	}
	return text
}

func quote(text string) string { return string(logger.AppendJSONString(nil, text)) }

// quoteBytes quotes the beginning of a text: only that is shown.
func quoteBytes(text []byte) []byte {
	return logger.AppendJSONString(nil, text[:min(len(text), 2*maxQuoted)])
}

// cut shortens text to about limit bytes, and marks that.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// list writes names as in a sentence.
func list(names []string, last string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " " + last + " " + names[len(names)-1]
}
