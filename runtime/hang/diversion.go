package hang

import (
	"bytes"
	"regexp"
	"sync"
)

// Diversion keeps out of the function's log what the examination makes a process write to its stderr. It does nothing
// before the examination asks it to. Safe for concurrent use.
type Diversion struct {
	mu   sync.Mutex
	mode mode
	url  chan string
	dump bytes.Buffer
}

type mode uint8

const (
	idle       mode = iota
	inspecting      // what Node.js writes when its inspector is opened
	quitting        // a dump of goroutines will begin
	dumping         // it has begun, and goes on to the end of the process
)

// dumpLimit bounds how much of a dump is kept, in bytes.
const dumpLimit = 1 << 20

// NewDiversion returns one that does nothing yet.
func NewDiversion() *Diversion { return &Diversion{url: make(chan string, 1)} }

func (d *Diversion) begin(m mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode = m
}

// inspector matches what Node.js says about its inspector. Expressions are compiled when they are used first: the start
// of the agent is part of every cold start.
var inspector = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(Debugger listening on (ws://\S+)|For help, see: https://nodejs\.org/\S+|Debugger attached\.|` +
		`Waiting for the debugger to disconnect\.\.\.|Debugger ending on ws://\S+)$`)
})

const (
	listening = "Debugger listening on ws://"
	quitMark  = "SIGQUIT: quit"
)

// Take is given each line of stderr, or a part of one. It returns what of it belongs to the function's log; ok is false
// if that is nothing.
func (d *Diversion) Take(text []byte) (rest []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.mode {
	case inspecting:
		at := max(bytes.Index(text, []byte(listening)), 0) // behind a line that the function has not ended
		found := inspector().FindSubmatch(text[at:])
		if found == nil {
			return text, true
		}
		if len(found[2]) > 0 {
			select {
			case d.url <- string(found[2]):
			default: // it listens once
			}
		}
		return text[:at], at > 0
	case quitting:
		at := bytes.Index(text, []byte(quitMark))
		if at < 0 {
			return text, true
		}
		d.mode = dumping
		return text[:at], at > 0
	case dumping:
		if d.dump.Len() < dumpLimit {
			d.dump.Write(text)
			d.dump.WriteByte('\n')
		}
		return nil, false
	default:
		return text, true
	}
}

func (d *Diversion) dumped() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dump.String()
}
