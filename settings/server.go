package settings

import (
	"fmt"
	"gantry/runtime/language"
	"net"
	"time"
)

// Ports of HTTP functions: public ones are written for the first one, so the agent listens on the second.
const (
	serverPort   = "8000"
	functionPort = "8080"
)

// streamConcurrency is how many requests an HTTP function without the platform's limits takes at once: streams and
// WebSockets last.
const streamConcurrency = 1000

// Streams reports whether bodies of an HTTP function pass as they come.
func (c *Config) Streams() bool { return c.HTTPLimits == "none" }

// StreamIdle is how long nothing may pass on a stream; 0 if nothing streams.
func (c *Config) StreamIdle() time.Duration {
	if !c.Streams() {
		return 0
	}
	return c.HTTPIdle
}

// placeServer checks where a server of the user's listens, decides where the function listener goes beside it, and
// gives the server the hooks that every one has. While it is not known whether there is a server, the listener stays
// where it is.
func (c *Config) placeServer() (err error) {
	if c.Streams() && !c.Language.Proxies() {
		return fmt.Errorf("GANTRY_HTTP_LIMITS=none is for HTTP functions (GANTRY_RUNTIME=http), and this is a function of %s",
			c.Language.Title)
	}
	l := c.Language
	if !l.Listens() {
		return nil
	}
	if c.Streams() && !c.IsSet("GANTRY_CONCURRENCY") {
		c.Concurrency = streamConcurrency
	}
	host, port, err := net.SplitHostPort(c.Upstream)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) || port == "0" {
		return fmt.Errorf("GANTRY_UPSTREAM is %s, want a port on loopback, like 127.0.0.1:8000", c.Upstream)
	}
	if !l.Undecided() {
		if c.Addr, err = c.AddrFor(l); err != nil {
			return err
		}
	}
	if c.Workers > 1 {
		return fmt.Errorf("GANTRY_WORKERS is %d, and a server has one port, so one worker: raise GANTRY_CONCURRENCY", c.Workers)
	}
	c.Function.PreStop = "GET /shutdown"
	c.Function.Initializer = ""
	if !l.Proxies() {
		c.Function.Initializer = "POST /init"
	}
	return nil
}

// AddrFor is where the function listener goes, host:port, for a language that the program has turned out to be: it
// makes room for a server. The error says that there is none.
func (c *Config) AddrFor(l *language.Language) (string, error) {
	if !l.Listens() {
		return c.Addr, nil
	}
	_, port, err := net.SplitHostPort(c.Upstream)
	if err != nil {
		return "", err
	}
	host, own, err := net.SplitHostPort(c.Addr)
	switch {
	case err != nil:
		return "", err
	case own != port:
		return c.Addr, nil
	case port == serverPort && !c.IsSet("GANTRY_ADDR"):
		return net.JoinHostPort(host, functionPort), nil
	}
	return "", fmt.Errorf("the function listener (GANTRY_ADDR=%s) and the function's server (GANTRY_UPSTREAM=%s) cannot both "+
		"have port %s: set one of them; as the entrypoint of an image on the platform, which calls 8000: "+
		"GANTRY_ADDR=:8000 GANTRY_UPSTREAM=127.0.0.1:8001", c.Addr, c.Upstream, port)
}
