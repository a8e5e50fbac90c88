package explain

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Place is a line of the function's own code.
type Place struct {
	// File is relative to the code folder, like src/index.js; Line counts from 1. Function may be empty.
	File     string `json:"file"`
	Line     int    `json:"line"`
	Function string `json:"function,omitempty"`
	// source are the lines around Line, at most five. They are read for each text: a file with the failure has no code.
	source []sourceLine
}

type sourceLine struct {
	number int
	text   string
}

// The forms in which frames and messages name a line of code: of Node.js, of Python, of Go, of PHP, and of errors of
// syntax, whose message ends with the place. The paths begin with "./", which stands for the code folder in all
// answers.
var frameForms = sync.OnceValue(func() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`^at (?:(?:async )?(.*) \()?\./([^():]+):(\d+):\d+\)?$`),
		regexp.MustCompile(`^File "\./([^"]+)", line (\d+)(?:, in (.*))?$`),
		regexp.MustCompile(`^(?:(.*) )?\(?\./([^():\s]+\.go):(\d+)\)?$`),
		regexp.MustCompile(`^at (.*) \(\./([^():]+\.php):(\d+)\)$`),
	}
})

var inMessage = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\(\./([^():]+):(\d+)\)$`)
})

// Locate finds the line of the function's own code that an error answer names; nil if it names none. Python's frames
// are in the order of the calls, so there it is the last line.
func Locate(body []byte) *Place {
	var answer struct {
		Message string   `json:"errorMessage"`
		Stack   []string `json:"stackTrace"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	var found *Place
	for _, frame := range answer.Stack {
		place, python := placeOf(frame)
		if place == nil || strings.Contains("/"+place.File, "/node_modules/") || strings.HasPrefix(place.File, "vendor/") {
			continue
		}
		found = place
		if !python {
			break
		}
	}
	if found == nil {
		m := inMessage().FindStringSubmatch(answer.Message)
		if m == nil {
			return nil
		}
		found = &Place{File: m[1], Line: number(m[2])}
	}
	return found
}

func placeOf(frame string) (place *Place, python bool) {
	for i, form := range frameForms() {
		m := form.FindStringSubmatch(frame)
		switch {
		case m == nil:
		case i == 1:
			return &Place{Function: m[3], File: m[1], Line: number(m[2])}, true
		default:
			return &Place{Function: m[1], File: m[2], Line: number(m[3])}, false
		}
	}
	return nil, false
}

// number reads digits; what is too large is no line.
func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

const (
	maxSource  = 4 << 20 // bytes of a file that are read at most
	maxColumns = 160     // bytes of a line that are shown
	around     = 2       // lines before and after
)

// read fills source from the file, which must lie in the code folder and be a regular one; what cannot be read, or has
// no such line, is not shown.
func (p *Place) read(codeRoot string) {
	p.source = nil
	file, err := os.OpenInRoot(codeRoot, p.File)
	if err != nil {
		return
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSource))
	if err != nil || bytes.IndexByte(text, 0) >= 0 {
		return
	}
	lines := strings.Split(strings.TrimRight(string(text), "\r\n"), "\n")
	if p.Line < 1 || p.Line > len(lines) {
		return
	}
	for n := max(1, p.Line-around); n <= min(len(lines), p.Line+around); n++ {
		line := strings.TrimRight(lines[n-1], "\r")
		if len(line) > maxColumns {
			line = strings.ToValidUTF8(line[:maxColumns], "") + " …"
		}
		p.source = append(p.source, sourceLine{n, strings.ReplaceAll(line, "\t", "  ")})
	}
}
