package async

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
)

// Connector opens a connection to JetStream, in the child or on a cluster.
type Connector func(ctx context.Context, options ...nats.Option) (*nats.Conn, error)

// childUser is the one user of the child's server.
const childUser = "gantry"

// Limits of one try to connect again; each has twice the time of the one before. nats.go holds the connection's lock meanwhile,
// and with it everybody who sends; the start of the child goes on, for the next try.
const (
	firstRedial = time.Second
	lastRedial  = 4 * time.Second
)

// Connect is the Connector of the child. It, and every reconnection, starts the child if it does not run.
func (c *Child) Connect(ctx context.Context, options ...nats.Option) (*nats.Conn, error) {
	var limit time.Duration // nats.go dials one at a time
	dial := func() (net.Conn, error) {
		if limit == 0 {
			limit = firstRedial
			return c.Dial(ctx)
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		conn, err := c.Dial(ctx)
		if limit = min(2*limit, lastRedial); err == nil {
			limit = firstRedial
		}
		return conn, err
	}
	return connect(ctx, "nats://127.0.0.1", append(options, // the dialer knows better; a name would be looked up
		nats.SetCustomDialer(dialer(dial)), nats.UserInfo(childUser, c.Password())))
}

// dialer is what nats.go wants; the address means nothing.
type dialer func() (net.Conn, error)

func (d dialer) Dial(string, string) (net.Conn, error) { return d() }

// SkipTLSHandshake is asked by nats.go: a Unix socket needs no TLS.
func (d dialer) SkipTLSHandshake() bool { return true }

// Cluster is how an external cluster is reached. Files are in the forms of NATS and PEM; empty for none.
type Cluster struct {
	// URL may name several servers, separated by commas, and hold a user and a password.
	URL                               string
	Credentials, CA, Certificate, Key string
}

// Connect is the Connector of the cluster.
func (c *Cluster) Connect(ctx context.Context, options ...nats.Option) (*nats.Conn, error) {
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	if c.Certificate != "" {
		options = append(options, nats.ClientCert(c.Certificate, c.Key))
	}
	return connect(ctx, c.URL, options)
}

// connect gives up with ctx; nats.go has only a time limit for each server.
func connect(ctx context.Context, servers string, options []nats.Option) (*nats.Conn, error) {
	type result struct {
		conn *nats.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := nats.Connect(servers, options...)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		var unread *url.Error
		if errors.As(r.err, &unread) { // it quotes the URL, and with it the password
			return nil, errors.New("no connection to the queue: its URL cannot be read; want nats://host:4222, and in a password %2F for / and %25 for %")
		}
		if r.err != nil {
			return nil, fmt.Errorf("no connection to the queue: %w", r.err)
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.conn.Close() // too late
			}
		}()
		return nil, fmt.Errorf("no connection to the queue in time: %w", ctx.Err())
	}
}
