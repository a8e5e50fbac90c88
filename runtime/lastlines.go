package runtime

import (
	"bytes"
	"strings"
	"sync"
)

// A line is kept up to maxLastLine bytes, and the newest maxLastLines lines.
const (
	maxLastLine  = 1 << 10
	maxLastLines = 12
)

// isNoise reports whether a line is of Node.js's own part of a stack, like " 4: 0xc70e4f [node]" and "    at load
// (node:internal/modules/…)": there are many of them, and the useful lines stand above.
func isNoise(line []byte) bool {
	line = bytes.TrimLeft(line, " ")
	if bytes.HasPrefix(line, []byte("at ")) {
		return bytes.Contains(line, []byte("node:internal/")) || bytes.Contains(line, []byte("(internal/"))
	}
	rest := bytes.TrimLeft(line, "0123456789")
	return len(rest) < len(line) && bytes.HasPrefix(rest, []byte(": 0x"))
}

// lastLines keeps the newest lines.
type lastLines struct {
	mu   sync.Mutex
	text []string
}

func (l *lastLines) add(s string) {
	if strings.TrimSpace(s) == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.text) == maxLastLines {
		l.text = append(l.text[:0], l.text[1:]...)
	}
	l.text = append(l.text, strings.ToValidUTF8(s, "\uFFFD"))
}

func (l *lastLines) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.text...)
}
