package api

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// Write sends an answer. A large one is counted as long as it takes.
func (c *connection) Write(p []byte) (int, error) {
	if c.muted {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	if len(p) <= smallBody {
		return c.write(p)
	}
	s := c.listener.answers.open(c, c.abort)
	s.count(int64(len(p)))
	defer s.give(-1)
	sent := 0
	for sent < len(p) {
		n, err := c.write(p[sent:min(len(p), sent+commonBody)])
		sent += n
		s.progress(n)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// unmute writes what was held, without the 100 at its end. What stands before are answers to earlier requests.
func (c *connection) unmute() error {
	if !c.muted {
		return nil
	}
	held := bytes.TrimSuffix(c.held, continueLine)
	c.muted, c.held = false, nil
	if len(held) == 0 {
		return nil
	}
	_, err := c.write(held)
	return err
}

var (
	expectHeader   = []byte(fasthttp.HeaderExpect)
	expectContinue = []byte("100-continue")
	continueLine   = []byte("HTTP/1.1 100 Continue\r\n\r\n")
)
