package api

import (
	"bytes"
	"time"
)

// bareTime is how long a request may go on arriving after a header that ended in a bare line feed. fasthttp waits for
// CRLF then, and the client for an answer.
const bareTime = time.Second

var blankLine = []byte("\r\n\r\n")

// head looks for the end of a header while that arrives.
type head struct {
	done bool // the end was seen
	bare bool // a line was empty, but it or the one before ended in a bare line feed

	begun, cr, bareLine, empty bool
}

// watch looks at what arrived.
func (h *head) watch(p []byte) {
	if h.done || h.bare {
		return
	}
	if !h.begun && bytes.Contains(p, blankLine) {
		h.done = true
		return
	}
	h.begun = true
	for _, b := range p {
		switch b {
		case '\r':
			h.cr = true
		case '\n':
			bare := !h.cr
			if h.empty {
				h.done = !bare && !h.bareLine
				h.bare = !h.done
				return
			}
			h.bareLine, h.empty, h.cr = bare, true, false
		default:
			h.empty, h.cr = false, false
		}
	}
}
