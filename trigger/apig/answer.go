package apig

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Answer is what a function behind the gateway answers. Its slices are parts of the text that was read.
type Answer struct {
	Status int
	// Fields are the header, in order; a name may come several times.
	Fields []Field
	// Body is decoded.
	Body []byte
	// Missing are members that the platform asks for and that were taken for empty; Unknown those that it ignores. Lists
	// are headers whose value is a list, which the platform describes for HTTP functions only.
	Missing, Unknown, Lists []string
}

// The statuses that an answer may have: those below are sent before an answer.
const (
	lowestStatus  = 200
	highestStatus = 999
)

// values are the members' texts, in the order of members; nil for one that is missing.
type values [len(members)][]byte

// Forget makes a empty. It keeps room for the next answer, and nothing of this one.
func (a *Answer) Forget() {
	clear(a.Fields)
	*a = Answer{Fields: a.Fields[:0], Missing: a.Missing[:0], Unknown: a.Unknown[:0], Lists: a.Lists[:0]}
}

// Read reads an answer.
func (a *Answer) Read(text []byte) *Wrong {
	a.Forget()
	s := &scanner{text: text}
	if s.space() != '{' {
		return wrongAnswer(text)
	}
	var found values
	ok := s.object(func(name []byte) bool {
		member := unquote(name)
		raw, ok := s.value(0)
		if i := indexOf(member); i >= 0 {
			found[i] = raw
		} else {
			a.Unknown = append(a.Unknown, cut(string(member), maxQuoted))
		}
		return ok
	})
	if s.space(); !ok || s.at != len(text) {
		return wrongAnswer(text)
	}
	for i, raw := range found {
		if raw == nil {
			a.Missing = append(a.Missing, members[i])
		}
	}
	if found[0] == nil {
		return a.withoutStatus(text)
	}
	return a.take(&found)
}

func indexOf(member []byte) int {
	for i := range members {
		if string(member) == members[i] {
			return i
		}
	}
	return -1
}

// take reads the members.
func (a *Answer) take(found *values) *Wrong {
	if w := a.readStatus(found[0]); w != nil {
		return w
	}
	if w := a.readHeaders(found[1]); w != nil {
		return w
	}
	encoded := false
	switch raw := string(found[3]); raw {
	case "true":
		encoded = true
	case "false", "":
	default:
		return &Wrong{
			memberEncoded, fmt.Sprintf("isBase64Encoded is %s, and has to be true or false", shown(found[3])),
			`"isBase64Encoded": false`,
		}
	}
	return a.readBody(found[2], encoded)
}

func (a *Answer) readStatus(raw []byte) *Wrong {
	status, err := strconv.Atoi(string(raw))
	var problem string
	switch {
	case err != nil:
		problem = "has to be a whole number"
	case status >= 100 && status < lowestStatus:
		problem = "is for what is sent before an answer: it has to be from 200 to 999"
	case status < lowestStatus || status > highestStatus:
		problem = "has to be from 200 to 999"
	default:
		a.Status = status
		return nil
	}
	line := `"statusCode": 200`
	if text := strings.Trim(string(raw), `"`); len(text) == 3 && text != string(raw) && isStatus(text) {
		line = `"statusCode": ` + text
	}
	return &Wrong{memberStatus, fmt.Sprintf("statusCode is %s, and %s", shown(raw), problem), line}
}

func isStatus(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= lowestStatus && n <= highestStatus
}

// withoutStatus is about an object without a status.
func (a *Answer) withoutStatus(text []byte) *Wrong {
	w := &Wrong{Field: memberStatus, Problem: memberStatus + " is missing", Line: `"statusCode": 200`}
	if len(a.Missing) > 1 {
		w.Problem = list(a.Missing, "and") + " are missing"
	}
	for _, name := range a.Unknown {
		if strings.EqualFold(name, memberStatus) {
			w.Problem += fmt.Sprintf(": the answer has %q, and upper and lower case matter", name)
		}
	}
	if len(a.Missing) == len(members) {
		w.Line = `{"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": ` + asText(text) +
			`, "isBase64Encoded": false}`
	}
	return w
}

// readHeaders takes an object of strings, or of lists of strings, which the platform makes for HTTP functions.
func (a *Answer) readHeaders(raw []byte) *Wrong {
	if raw == nil || string(raw) == "null" || raw[0] == '[' && len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0 {
		return nil // the list is what PHP makes of an array without members
	}
	if raw[0] != '{' {
		return &Wrong{
			memberHeaders, fmt.Sprintf("headers is %s, and has to be an object of strings", shown(raw)),
			`"headers": {"Content-Type": "text/plain"}`,
		}
	}
	s := &scanner{text: raw}
	var wrong *Wrong
	s.object(func(quoted []byte) bool {
		name := unquote(quoted)
		if s.space() != '[' {
			wrong = a.addField(s, name, "")
			return wrong == nil
		}
		a.Lists = append(a.Lists, cut(string(name), maxQuoted))
		return s.list(func() bool {
			wrong = a.addField(s, name, " a list that has")
			return wrong == nil
		})
	})
	return wrong
}

// addField takes one value of a header; in says where it is, if that is not the header itself.
func (a *Answer) addField(s *scanner, name []byte, in string) *Wrong {
	raw, _ := s.value(0) // which was passed before
	header := cut(string(name), maxQuoted)
	if !isToken(name) {
		return &Wrong{
			memberHeaders, fmt.Sprintf("headers has the name %q, which no header can have", header),
			`"headers": {"X-Name": "value"}`,
		}
	}
	if raw[0] != '"' {
		return &Wrong{
			memberHeaders, fmt.Sprintf("headers: %s is%s %s, and has to be a string", header, in, shown(raw)),
			fmt.Sprintf(`"headers": {%q: %s}`, header, quote(cut(string(raw), maxQuoted))),
		}
	}
	value := unquote(raw)
	if at := bytes.IndexFunc(value, isControl); at >= 0 {
		what := "a control character"
		if value[at] == '\r' || value[at] == '\n' {
			what = "a line end"
		}
		clean := strings.Join(strings.FieldsFunc(string(value), isControl), " ")
		return &Wrong{
			memberHeaders, fmt.Sprintf("headers: %s has %s in its value, %s", header, what, shown(raw)),
			fmt.Sprintf(`"headers": {%q: %s}`, header, quote(cut(clean, maxQuoted))),
		}
	}
	a.Fields = append(a.Fields, Field{name, value})
	return nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// isToken reports whether a name can be one of a header (RFC 9110, section 5.1).
func isToken(name []byte) bool {
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(name) > 0
}

// readBody takes a string, null, or the form that JSON gives a Node.js Buffer.
func (a *Answer) readBody(raw []byte, encoded bool) *Wrong {
	switch {
	case raw == nil || string(raw) == "null":
		return nil
	case raw[0] == '"':
		a.Body = unquote(raw)
	default:
		body, ok := bufferOf(raw)
		if !ok {
			return &Wrong{memberBody, fmt.Sprintf("body is %s, and has to be a string", shown(raw)), `"body": ` + asText(raw)}
		}
		a.Body = body
	}
	if !encoded {
		return nil
	}
	body := make([]byte, base64.StdEncoding.DecodedLen(len(a.Body)))
	n, err := base64.StdEncoding.Decode(body, a.Body)
	if err != nil {
		return &Wrong{
			memberBody, fmt.Sprintf("isBase64Encoded is true, and body is no Base64: %s", shown(quoteBytes(a.Body))),
			`"isBase64Encoded": false`,
		}
	}
	a.Body = body[:n]
	return nil
}

// bufferOf returns the bytes of {"type":"Buffer","data":[…]}.
func bufferOf(raw []byte) (body []byte, ok bool) {
	if raw[0] != '{' {
		return nil, false
	}
	s := &scanner{text: raw}
	isBuffer, hasData := false, false
	ok = s.object(func(name []byte) bool {
		switch string(name) {
		case `"type"`:
			value, ok := s.value(0)
			isBuffer = string(value) == `"Buffer"`
			return ok
		case `"data"`:
			hasData = s.list(func() bool {
				value, _ := s.value(0)
				n, err := strconv.ParseUint(string(value), 10, 8)
				body = append(body, byte(n))
				return err == nil
			})
			return hasData
		}
		return false
	})
	return body, ok && isBuffer && hasData
}
