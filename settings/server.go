package settings

import (
	"fmt"
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

// placeServer decides where the function listener goes beside a server of the user's, and gives the server the hooks
// that every one has.
func (c *Config) placeServer() error {
	if c.Streams() && !c.Language.Proxies() {
		return fmt.Errorf("GANTRY_HTTP_LIMITS=none is for HTTP functions (GANTRY_RUNTIME=http), and this is a function of %s",
			c.Language.Title)
	}
	if !c.Language.Listens() {
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
	own, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return err
	}
	if !c.IsSet("GANTRY_ADDR") && port == serverPort {
		c.Addr = net.JoinHostPort(own, functionPort)
	}
	if _, ours, err := net.SplitHostPort(c.Addr); err == nil && ours == port {
		return fmt.Errorf("the function listener (GANTRY_ADDR=%s) and the function's server (GANTRY_UPSTREAM=%s) cannot both "+
			"have port %s: set one of them; as the entrypoint of an image on the platform, which calls 8000: "+
			"GANTRY_ADDR=:8000 GANTRY_UPSTREAM=127.0.0.1:8001", c.Addr, c.Upstream, port)
	}
	if c.Workers > 1 {
		return fmt.Errorf("GANTRY_WORKERS is %d, and a server has one port, so one worker: raise GANTRY_CONCURRENCY", c.Workers)
	}
	c.Function.PreStop = "GET /shutdown"
	c.Function.Initializer = ""
	if !c.Language.Proxies() {
		c.Function.Initializer = "POST /init"
	}
	return nil
}
