package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/jetstream/child"
	"gantry/jetstream/control"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Connector opens a connection to JetStream, in the child or on a cluster.
type Connector func(ctx context.Context, options ...nats.Option) (*nats.Conn, error)

// Limits of one reconnection attempt; each has twice the time of the one before. nats.go holds the connection's lock
// meanwhile, which blocks every sender. The start of the child goes on, for the next attempt.
const (
	firstRedial = time.Second
	lastRedial  = 4 * time.Second
)

// Local returns the Connector of the child. It, and every reconnection, starts the child if it does not run.
func Local(c *child.Child) Connector {
	return func(ctx context.Context, options ...nats.Option) (*nats.Conn, error) {
		return connectLocal(ctx, c, options)
	}
}

func connectLocal(ctx context.Context, c *child.Child, options []nats.Option) (*nats.Conn, error) {
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
		nats.SetCustomDialer(dialer(dial)), nats.UserInfo(control.User, c.Password())))
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
	// TLSFirst says that the servers want TLS before they say anything (handshake_first).
	TLSFirst bool
}

// schemes of a server's URL; without one it is nats. The client takes any other one for plain NATS.
var schemes = []string{"nats", "tls", "ws", "wss"}

// CheckURL reports what is wrong with the value of Cluster.URL, without any part of it: it may hold a password.
// bootstrap calls it at the start.
func CheckURL(servers string) error {
	seen := 0
	for i, one := range strings.Split(servers, ",") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue // as the client does
		}
		seen++
		if err := checkServer(one); err != nil {
			return fmt.Errorf("server %d of the list: %w", i+1, err)
		}
		if isWebsocket(one) != Websocket(servers) {
			return errors.New(
				"ws:// or wss:// stands beside nats:// or tls://; want servers of one kind, because a client speaks one of the two",
			)
		}
	}
	if seen == 0 {
		return errors.New("names no server; want nats://host:4222")
	}
	return nil
}

func checkServer(text string) error {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil: // it quotes the URL
		return errors.New(
			"the URL cannot be read; want nats://host:4222, and in a password %2F for /, %2C for a comma and %25 for %",
		)
	case !slices.Contains(schemes, u.Scheme):
		return errors.New("want nats://, tls://, ws:// or wss://")
	case u.Host == "":
		return errors.New("a host is missing; want nats://host:4222")
	case u.Port() != "" && !isPort(u.Port()):
		return errors.New("the port must be a number from 1 to 65535")
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 1 && n <= 65535
}

// Websocket reports whether the value of Cluster.URL begins with a server that is reached over WebSocket.
func Websocket(servers string) bool {
	for one := range strings.SplitSeq(servers, ",") {
		if one = strings.TrimSpace(one); one != "" {
			return isWebsocket(one)
		}
	}
	return false
}

func isWebsocket(server string) bool {
	scheme, _, found := strings.Cut(strings.ToLower(server), "://")
	return found && (scheme == "ws" || scheme == "wss")
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
	if c.TLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	conn, err := connect(ctx, c.URL, options)
	if err != nil && !c.TLSFirst && isSilent(err) {
		err = fmt.Errorf("%w; if the servers have handshake_first, set GANTRY_NATS_TLS_FIRST", err)
	}
	return conn, err
}

// isSilent recognises a server that was reached and said nothing before one of the two hung up.
func isSilent(err error) bool {
	var timeout net.Error
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, io.EOF) || errors.As(err, &timeout) && timeout.Timeout()
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
			return nil, errors.New(
				"no connection to the queue: its URL cannot be read; want nats://host:4222, and in a password %2F for /, %2C for a comma and %25 for %",
			)
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
