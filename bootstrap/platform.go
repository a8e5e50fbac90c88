package main

import (
	"context"
	"fmt"
	"gantry/api"
	"gantry/async/destination"
	"gantry/auth"
	"sync"

	"go.uber.org/zap"
)

// platform is what the platform API needs before it listens.
type platform struct {
	gate        *auth.Gate
	certificate *api.Certificate
	endpoints   *destination.Endpoints // of destinations; nil for none

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
		UsersFile: a.usersFile,
		ProjectID: c.fn.Project,
		Project:   c.fn.Region,
		Secure:    a.cert != "" || a.local() && !a.behindProxy,
		Log:       log,
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
		if p.endpoints, err = destination.ReadEndpoints(c.async.endpointsFile); err != nil {
			return nil, fmt.Errorf("GANTRY_ASYNC_ENDPOINTS_FILE: %w", err)
		}
	}
	p.follow()
	if a.usersFile != "" && !a.local() && c.uid < 0 {
		log.Warn(
			"the function runs as the agent's own user, so it can read the users file: set GANTRY_UID and GANTRY_GID, or trust the function with it",
			zap.String("file", a.usersFile),
		)
	}
	return p, nil
}
