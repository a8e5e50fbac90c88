package settings

import (
	"fmt"
	"net"
)

// Ports of HTTP functions: public ones are written for the first one, so the agent listens on the second.
const (
	serverPort   = "8000"
	functionPort = "8080"
)

// placeServer decides where the function listener goes beside a server of the user's, and gives the server the hooks
// that every one has.
func (c *Config) placeServer() error {
	if !c.Language.Listens() {
		return nil
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
