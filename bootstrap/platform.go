package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/api"
	"gantry/async"
	"gantry/auth"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// defaultAPIAddr is where the platform API listens when it is asked for without an address.
const defaultAPIAddr = "127.0.0.1:8079"

// apiConfig holds the settings of the platform API.
type apiConfig struct {
	off            bool
	addr           string // empty: no platform API
	auth           string
	usersFile      string
	cert, key      string
	behindProxy    bool
	gatewayTimeout time.Duration
}

// resolve decides whether there is a platform API, and refuses what would leave it open.
func (a *apiConfig) resolve() error {
	open := a.auth == "none"
	if a.addr == "" && (a.usersFile != "" || open) {
		a.addr = defaultAPIAddr
	}
	if a.off {
		a.addr = ""
	}
	switch {
	case a.addr == "":
		return nil
	case (a.cert == "") != (a.key == ""):
		return errors.New("GANTRY_API_TLS_CERT and GANTRY_API_TLS_KEY belong together: set both or none")
	case open && a.usersFile != "":
		return errors.New("GANTRY_API_AUTH=none and GANTRY_API_USERS_FILE contradict each other: remove one of them")
	case open && a.behindProxy:
		return errors.New("GANTRY_API_AUTH=none accepts calls without credentials, so it cannot stand behind a proxy: set GANTRY_API_USERS_FILE instead, or remove GANTRY_API_BEHIND_PROXY")
	case open && !a.local():
		return errors.New("GANTRY_API_ADDR=" + a.addr + " is not on loopback, where GANTRY_API_AUTH=none would accept calls of other hosts without credentials: set GANTRY_API_USERS_FILE, or listen on 127.0.0.1")
	case !open && a.usersFile == "":
		return errors.New("the platform API needs GANTRY_API_USERS_FILE with those who may call; on loopback GANTRY_API_AUTH=none does without")
	case !a.local() && a.cert == "" && !a.behindProxy:
		return errors.New("GANTRY_API_ADDR=" + a.addr + " is not on loopback, so tokens and events would travel in the clear: set GANTRY_API_TLS_CERT and GANTRY_API_TLS_KEY, or GANTRY_API_BEHIND_PROXY=true if a proxy in front ends TLS, or listen on 127.0.0.1")
	}
	return nil
}

// local reports whether the address is one of loopback by its name; the listener checks what it was bound to.
func (a *apiConfig) local() bool {
	host, _, err := net.SplitHostPort(a.addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// platform is what the platform API needs before it listens.
type platform struct {
	gate        *auth.Gate
	certificate *api.Certificate
	endpoints   *async.Endpoints // of destinations; nil for none

	stop      context.CancelFunc
	following sync.WaitGroup
}

// follow takes changes of the files over until close.
func (p *platform) follow() {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.following.Go(func() { p.gate.Follow(ctx) })
	if p.certificate != nil {
		p.following.Go(func() { p.certificate.Follow(ctx) })
	}
}

// close ends what follow began. It does not wait for storage.
func (p *platform) close() {
	if p == nil {
		return
	}
	p.stop()
	p.following.Wait()
}

// openPlatform reads the files of the platform API; nil if there is none. It comes before the worker's start, so that a
// wrong file is the first thing that is said.
func openPlatform(c *config, log *zap.Logger) (*platform, error) {
	a := &c.api
	if a.addr == "" {
		return nil, nil
	}
	gate, err := auth.Open(&auth.Config{
		UsersFile: a.usersFile, ProjectID: c.fn.Project, Project: c.fn.Region, Secure: a.cert != "" || a.local() && !a.behindProxy, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("GANTRY_API_USERS_FILE: %w", err)
	}
	p := &platform{gate: gate}
	if a.cert != "" {
		if p.certificate, err = api.OpenCertificate(a.cert, a.key, log); err != nil {
			return nil, err
		}
	}
	if c.async.endpointsFile != "" {
		if p.endpoints, err = async.ReadEndpoints(c.async.endpointsFile); err != nil {
			return nil, fmt.Errorf("GANTRY_ASYNC_ENDPOINTS_FILE: %w", err)
		}
	}
	p.follow()
	if a.usersFile != "" && !a.local() && c.uid < 0 {
		log.Warn("the function runs as the agent's own user, so it can read the users file: set GANTRY_UID and GANTRY_GID, or trust the function with it", zap.String("file", a.usersFile))
	}
	return p, nil
}

// listenPlatform binds the platform API.
func (in *instance) listenPlatform() (*api.Server, error) {
	c := &in.cfg.api
	in.queue = in.openQueue()
	return api.ListenPlatform(&api.PlatformConfig{
		Addr: c.addr, Agent: in.agent, Function: &in.cfg.fn, Credentials: fncontext.NewCredentials(in.cfg.secrets), Gate: in.platform.gate,
		Local: c.local(), Certificate: in.platform.certificate, BehindProxy: c.behindProxy, GatewayTimeout: c.gatewayTimeout,
		Queue: in.queue.Queue, NoQueue: in.queue.why, Metrics: in.metrics, Limits: in.limits, Log: in.log,
	})
}
