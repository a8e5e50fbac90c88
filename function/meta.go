package function

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// callMeta is the meta of an Init or Invoke frame (docs/PROTOCOL.md); what is not named here is left out.
type callMeta struct {
	RequestID       string  `json:"requestId"`
	Deadline        float64 `json:"deadline"`
	Alias           string  `json:"alias"`
	WorkflowID      string  `json:"workflowId"`
	WorkflowRunID   string  `json:"workflowRunId"`
	WorkflowStateID string  `json:"workflowStateId"`
	Credentials     secrets `json:"credentials"`
}

// read fills a Context from the meta of its frame.
func (c *Context) read(meta []byte) error {
	var m callMeta
	if !m.scan(meta) {
		slow := new(callMeta) // not m: that would put it on the heap for every call
		if err := json.Unmarshal(meta, slow); err != nil {
			return fmt.Errorf("meta of a call: %w", err)
		}
		m = *slow
	}
	c.requestID, c.alias = m.RequestID, m.Alias
	c.workflow = workflow{m.WorkflowID, m.WorkflowRunID, m.WorkflowStateID}
	c.deadline = time.UnixMicro(int64(max(0, min(m.Deadline, math.MaxInt64/4e3)) * 1000))
	c.keep(m.Credentials)
	return nil
}

// scan reads meta as the agent writes it, without escapes or blanks, several times as fast as the standard library.
// False means that it is something else, which may be right as well.
func (m *callMeta) scan(meta []byte) bool {
	s := scanner{rest: meta, ok: true}
	s.object(func(name []byte) {
		switch string(name) {
		case "requestId":
			m.RequestID = s.text()
		case "deadline":
			m.Deadline = s.number()
		case "alias":
			m.Alias = s.text()
		case "workflowId":
			m.WorkflowID = s.text()
		case "workflowRunId":
			m.WorkflowRunID = s.text()
		case "workflowStateId":
			m.WorkflowStateID = s.text()
		case "traceparent", "tracestate":
			s.bytes()
		case "credentials":
			m.Credentials.scan(&s)
		default:
			s.ok = false
		}
	})
	return s.ok && len(s.rest) == 0
}

func (m *secrets) scan(s *scanner) {
	s.object(func(name []byte) {
		switch string(name) {
		case "v":
			s.number()
		case "accessKey":
			m.AccessKey = s.text()
		case "secretKey":
			m.SecretKey = s.text()
		case "securityAccessKey":
			m.SecurityAccessKey = s.text()
		case "securitySecretKey":
			m.SecuritySecretKey = s.text()
		case "securityToken":
			m.SecurityToken = s.text()
		case "authToken":
			m.AuthToken = s.text()
		default:
			s.ok = false
		}
	})
}

// scanner reads the plainest JSON. Once it is not ok it stays so.
type scanner struct {
	rest []byte
	ok   bool
}

// take moves over c if it comes next.
func (s *scanner) take(c byte) bool {
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) must(c byte) { s.ok = s.take(c) && s.ok }

// object calls member at the value of each member, which has to move over it.
func (s *scanner) object(member func(name []byte)) {
	s.must('{')
	if s.take('}') {
		return
	}
	for s.ok {
		name := s.bytes()
		s.must(':')
		if s.ok {
			member(name)
		}
		if !s.take(',') {
			s.must('}')
			return
		}
	}
}

// bytes reads a string of printable ASCII.
func (s *scanner) bytes() []byte {
	s.must('"')
	end := bytes.IndexByte(s.rest, '"')
	if !s.ok || end < 0 {
		s.ok = false
		return nil
	}
	b := s.rest[:end]
	for _, c := range b {
		if c < ' ' || c > '~' || c == '\\' {
			s.ok = false
			return nil
		}
	}
	s.rest = s.rest[end+1:]
	return b
}

func (s *scanner) text() string { return string(s.bytes()) }

// number reads digits, with a fraction or without.
func (s *scanner) number() float64 {
	n := 0
	for n < len(s.rest) && (s.rest[n] >= '0' && s.rest[n] <= '9' || s.rest[n] == '.') {
		n++
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil || b[n-1] == '.' || b[0] == '.' || b[0] == '0' && n > 1 && b[1] != '.' {
		s.ok = false
	}
	return v
}

// meta is that of a Failure frame.
func (x *failure) meta() []byte {
	b := strconv.AppendInt([]byte(`{"code":`), int64(x.code), 10)
	b = appendString(append(b, `,"type":`...), x.kind)
	if x.event {
		b = append(b, `,"event":true`...)
	}
	if x.kind == kindConfig { // the program itself is wrong: another attempt meets the same
		b = append(b, `,"final":true`...)
	}
	return append(b, '}')
}

// appendString appends text as a JSON string.
func appendString(dst []byte, text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can always be marshalled
	}
	return append(dst, b...)
}
