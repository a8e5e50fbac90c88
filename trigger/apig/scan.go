package apig

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON once, from the front, without making values of what is not wanted.
type scanner struct {
	text []byte
	at   int
}

// maxDepth bounds how deep values may lie in each other.
const maxDepth = 1000

// space passes white space and returns the next byte, 0 at the end.
func (s *scanner) space() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// take passes c behind white space; false if something else is there.
func (s *scanner) take(c byte) bool {
	if s.space() != c || s.at == len(s.text) {
		return false
	}
	s.at++
	return true
}

// value passes a value and returns its text.
func (s *scanner) value(depth int) (raw []byte, ok bool) {
	c := s.space()
	begin := s.at
	switch {
	case depth > maxDepth:
		return nil, false
	case c == '"':
		_, ok = s.quoted()
	case c == '{':
		ok = s.object(func([]byte) bool {
			_, ok := s.value(depth + 1)
			return ok
		})
	case c == '[':
		ok = s.list(func() bool {
			_, ok := s.value(depth + 1)
			return ok
		})
	case c == 't':
		ok = s.word("true")
	case c == 'f':
		ok = s.word("false")
	case c == 'n':
		ok = s.word("null")
	default:
		ok = s.number()
	}
	return s.text[begin:s.at], ok
}

// object passes an object; member passes the value of each name, which is quoted text.
func (s *scanner) object(member func(name []byte) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		s.space()
		name, ok := s.quoted()
		if !ok || !s.take(':') || !member(name) {
			return false
		}
		if !s.take(',') {
			return s.take('}')
		}
	}
}

// list passes an array; element passes each of its values.
func (s *scanner) list(element func() bool) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for element() {
		if !s.take(',') {
			return s.take(']')
		}
	}
	return false
}

func (s *scanner) word(word string) bool {
	if !bytes.HasPrefix(s.text[s.at:], []byte(word)) {
		return false
	}
	s.at += len(word)
	return true
}

func (s *scanner) number() bool {
	if s.at < len(s.text) && s.text[s.at] == '-' {
		s.at++
	}
	if s.at < len(s.text) && s.text[s.at] == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if s.at < len(s.text) && s.text[s.at]|0x20 == 'e' {
		s.at++
		if s.at < len(s.text) && (s.text[s.at] == '+' || s.text[s.at] == '-') {
			s.at++
		}
		return s.digits()
	}
	return true
}

// digits passes at least one digit.
func (s *scanner) digits() bool {
	begin := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > begin
}

// quoted passes a string and returns it with its quotation marks.
func (s *scanner) quoted() (raw []byte, ok bool) {
	if s.at == len(s.text) || s.text[s.at] != '"' {
		return nil, false
	}
	begin := s.at
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[begin:s.at], true
		case c < ' ':
			return nil, false
		case c == '\\':
			if !s.escape() {
				return nil, false
			}
		}
	}
	return nil, false
}

// escape passes an escape but for its last byte.
func (s *scanner) escape() bool {
	s.at++
	if s.at >= len(s.text) {
		return false
	}
	if s.text[s.at] != 'u' {
		return bytes.IndexByte([]byte(`"\/bfnrt`), s.text[s.at]) >= 0
	}
	for range 4 {
		s.at++
		if s.at >= len(s.text) || unhex(s.text[s.at]) < 0 {
			return false
		}
	}
	return true
}

// unquote returns the value of a string that quoted has passed: a part of it where nothing is escaped.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	first := bytes.IndexByte(inner, '\\')
	if first < 0 {
		return inner
	}
	out := append(make([]byte, 0, len(inner)), inner[:first]...)
	for i := first; i < len(inner); {
		c := inner[i]
		if c != '\\' {
			next := bytes.IndexByte(inner[i:], '\\')
			if next < 0 {
				return append(out, inner[i:]...)
			}
			out, i = append(out, inner[i:i+next]...), i+next
			continue
		}
		i += 2
		if c = inner[i-1]; c != 'u' {
			if at := bytes.IndexByte([]byte("bfnrt"), c); at >= 0 {
				c = "\b\f\n\r\t"[at]
			}
			out = append(out, c)
			continue
		}
		r := codeUnit(inner[i:])
		i += 4
		if utf16.IsSurrogate(r) {
			second := utf8.RuneError
			if len(inner) >= i+6 && inner[i] == '\\' && inner[i+1] == 'u' {
				second = utf16.DecodeRune(r, codeUnit(inner[i+2:]))
			}
			if r = second; r != utf8.RuneError {
				i += 6
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

// codeUnit reads the four digits of an escape.
func codeUnit(digits []byte) rune {
	n, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil { // quoted has looked at them
		return utf8.RuneError
	}
	return rune(n)
}
