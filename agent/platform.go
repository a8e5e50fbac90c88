package agent

import (
	"context"
	"fmt"
	"gantry/api"
	"gantry/async/destination"
	"gantry/auth"
	"gantry/settings"
	"sync"

	"go.uber.org/zap"
)

// platform is what the platform API needs before it listens.
type platform struct {
	gate        *auth.Gate
	certificate *api.Certificate

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

// openEndpoints reads the file of the services that outcomes are sent to, if there may be any.
func openEndpoints(c *settings.Config) (*destination.Endpoints, error) {
	if c.Async.EndpointsFile == "" || c.API.Addr == "" && len(c.Timers) == 0 {
		return nil, nil
	}
	e, err := destination.ReadEndpoints(c.Async.EndpointsFile)
	if err != nil {
		return nil, fmt.Errorf("GANTRY_ASYNC_ENDPOINTS_FILE: %w", err)
	}
	return e, nil
}

// openPlatform reads the files of the platform API; nil if there is none.
func openPlatform(c *settings.Config, log *zap.Logger) (*platform, error) {
	a := &c.API
	if a.Addr == "" {
		return nil, nil
	}
	gate, err := auth.Open(&auth.Config{
		UsersFile: a.UsersFile,
		ProjectID: c.Function.Project,
		Project:   c.Function.Region,
		Secure:    a.Cert != "" || a.Local() && !a.BehindProxy,
		Log:       log,
	})
	if err != nil {
		return nil, fmt.Errorf("GANTRY_API_USERS_FILE: %w", err)
	}
	p := &platform{gate: gate}
	if a.Cert != "" {
		if p.certificate, err = api.OpenCertificate(a.Cert, a.Key, log); err != nil {
			return nil, err
		}
	}
	p.follow()
	if a.UsersFile != "" && !a.Local() && c.UID < 0 {
		log.Warn(
			"the function runs as the agent's own user, so it can read the users file: set GANTRY_UID and GANTRY_GID, or trust the function with it",
			zap.String("file", a.UsersFile),
		)
	}
	return p, nil
}
