package logger

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Sources of lines that are no extension.
const (
	SourceFunction = "function"
	SourcePlatform = "platform"
)

// appendSeconds writes a time with seconds, in UTC, like 2006-01-02T15:04:05Z. Of all layouts, package time has a short
// way only for this one.
func appendSeconds(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, time.RFC3339) }

// appendMillis writes a time with milliseconds, in UTC, like 2006-01-02T15:04:05.000Z.
func appendMillis(dst []byte, t time.Time) []byte {
	dst = appendSeconds(dst, t)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(dst[:len(dst)-1], '.', digit(ms/100), digit(ms/10), digit(ms), 'Z')
}

// digit is the last digit of n.
func digit(n int) byte { return '0' + byte(n%10) }

// Line is one part of one line on its way to stdout. Text is copied before Sink.Write returns.
type Line struct {
	Time      time.Time
	RequestID string
	// Source is SourceFunction, SourcePlatform or the name of an extension.
	Source string
	// Level is the logger's level (DEBUG, INFO, WARN, ERROR); empty for plain output and platform lines.
	Level string
	// Stream is stdout or stderr for plain output, else empty.
	Stream string
	Text   []byte
	Part   int
	More   bool
	// Prefix asks for time and request id before plain output: calls run at the same time.
	Prefix bool
}

// appendText writes the line as people read it (interface: log lines), ending in a line feed. appendTime is
// appendMillis or appendSeconds.
func (l *Line) appendText(dst []byte, appendTime func([]byte, time.Time) []byte) []byte {
	switch {
	case l.Source == SourcePlatform:
		dst = append(appendTime(dst, l.Time), ' ')
	case l.Source != SourceFunction:
		dst = append(append(append(dst, '['), l.Source...), "] "...)
	case l.Level != "":
		dst = append(appendTime(dst, l.Time), ' ')
		if l.RequestID != "" {
			dst = append(append(dst, l.RequestID...), ' ')
		}
		dst = append(append(dst, l.Level...), ' ')
	case l.Prefix && l.RequestID != "":
		dst = append(appendTime(dst, l.Time), ' ')
		dst = append(append(dst, l.RequestID...), ' ')
	}
	if l.Part > 0 || l.More {
		dst = strconv.AppendInt(append(dst, "[part "...), int64(l.Part), 10)
		if !l.More {
			dst = append(dst, " last"...)
		}
		dst = append(dst, "] "...)
	}
	return append(append(dst, l.Text...), '\n')
}

// appendJSON writes the line as one JSON object: time, level, request_id, source, stream, message, part, last.
func (l *Line) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendMillis(dst, l.Time)
	dst = append(dst, `","level":"`...)
	dst = append(dst, l.jsonLevel()...)
	dst = append(dst, '"')
	if l.RequestID != "" {
		dst = AppendJSONString(append(dst, `,"`+KeyRequestID+`":`...), l.RequestID)
	}
	dst = AppendJSONString(append(dst, `,"`+KeySource+`":`...), l.Source)
	if l.Stream != "" {
		dst = append(append(append(dst, `,"stream":"`...), l.Stream...), '"')
	}
	dst = AppendJSONString(append(dst, `,"message":`...), l.Text)
	if l.Part > 0 || l.More {
		dst = strconv.AppendInt(append(dst, `,"part":`...), int64(l.Part), 10)
		dst = strconv.AppendBool(append(dst, `,"last":`...), !l.More)
	}
	return append(dst, "}\n"...)
}

func (l *Line) jsonLevel() string {
	switch {
	case l.Level == "WARN":
		return "warn"
	case l.Level == "ERROR" || (l.Level == "" && l.Stream == "stderr"):
		return "error"
	case l.Level == "DEBUG":
		return "debug"
	}
	return "info"
}

const hexDigits = "0123456789abcdef"

// asItIs are the bytes that need no escape in a JSON string, and are whole characters.
var asItIs = func() (table [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// AppendJSONString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD. It is hand-written because a log
// line must cost no allocation; encoding/json has no append form.
func AppendJSONString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if asItIs[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, `\ufffd`...)
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// Field keys of the agent's log and of wrapped lines: one spelling each.
const (
	KeyRequestID = "request_id"
	KeySource    = "source"
)
