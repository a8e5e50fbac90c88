package async

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"gantry/fault"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// TestCheckURLNamesTheFaultButNotThePassword: what the client would not connect to is an error that shows nothing of
// the URL.
func TestCheckURLNamesTheFaultButNotThePassword(t *testing.T) {
	for _, url := range []string{
		"nats://u:s3cret@host:4222", "host", "host:4222", " nats://a , tls://b ,", "[::1]:4222", "nats://:4222", "tls://[::1]", "ws://a,wss://b:443", "WSS://a", "nats://u:p%2Fq@h",
	} {
		require.NoError(t, CheckURL(url), url)
	}
	for url, says := range map[string]string{
		"http://u:s3cret@host:4222":      "server 1 of the list: want nats://, tls://, ws:// or wss://",
		"nats://a,https://u:s3cret@b":    "server 2 of the list: want nats://",
		"nats://u:s3cret@[::1":           "server 1 of the list: the URL cannot be read",
		"nats://u:s3cret%zz@host":        "the URL cannot be read",
		"nats://u:s3cret/x@host":         "the URL cannot be read",
		"nats://u:s3cret@":               "a host is missing",
		"nats://u:s3cret@host:99999":     "the port must be a number from 1 to 65535",
		"ws://u:s3cret@a,nats://b":       "servers of one kind",
		"a:4222,wss://u:s3cret@b":        "servers of one kind",
		" , ":                            "names no server",
		"nats://u:s3cret\x01@host":       "the URL cannot be read",
		"u:s3cret@host:4222://elsewhere": "want nats://",
	} {
		err := CheckURL(url)
		require.ErrorContains(t, err, says, url)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// certificate writes one for 127.0.0.1, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// TestServersWithTLSFirstAreReachedWithTheSetting: servers that want TLS before anything else are reached with the
// setting, and without it the error names it.
func TestServersWithTLSFirstAreReachedWithTheSetting(t *testing.T) {
	cert, key := certificate(t)
	s, _ := startConfigured(t, fmt.Sprintf(`tls {cert_file: %q, key_file: %q, handshake_first: true}`, cert, key))
	cluster := &Cluster{URL: strings.Replace(s.ClientURL(), "nats://", "tls://", 1), CA: cert}
	q := open(t, s, &testFunction{}, func(c *Config) { c.Connect = cluster.Connect }, quiet)
	_, err := q.Accept(t.Context(), &Event{Body: []byte("{}")})
	requireFault(t, err, fault.Unavailable, "the queue cannot be opened")
	require.ErrorContains(t, err, "GANTRY_NATS_TLS_FIRST")
	cluster.TLSFirst = true
	waitStatus(t, q, accept(t, q, "{}"), Success)
}

// quiet is for a queue that has an error, as it should.
func quiet(c *Config) {
	_, log := observed()
	log(c)
}

// TestLeafNodeReachesTheQueueOfItsHub: the agent is at a leaf node without JetStream, and the queue lies at its hub.
func TestLeafNodeReachesTheQueueOfItsHub(t *testing.T) {
	hub, _ := startConfigured(t, `server_name: hub, jetstream: {domain: hub}, leafnodes {listen: "127.0.0.1:-1"}`)
	info, err := hub.Varz(nil)
	require.NoError(t, err)
	leaf := startLeaf(t, fmt.Sprint("127.0.0.1:", info.LeafNode.Port))
	f := &testFunction{}
	q := open(t, leaf, f, quiet)
	_, err = q.Accept(t.Context(), &Event{Body: []byte("{}")})
	require.ErrorContains(t, err, "GANTRY_NATS_DOMAIN")

	q = open(t, leaf, f, func(c *Config) { c.Domain = "hub" })
	var id string
	require.Eventually(t, func() bool { // the leaf node may still be connecting
		id, err = q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
		return err == nil
	}, patience, 10*time.Millisecond)
	waitStatus(t, q, id, Success)
	putConfiguration(t, q, `{}`)
	atHub := open(t, hub, &testFunction{})
	_, err = atHub.Configuration(t.Context(), "latest", "")
	require.NoError(t, err, "it is one queue")
	require.NoError(t, q.DeleteConfiguration(t.Context(), "latest", ""))
	require.Eventually(t, func() bool {
		_, err := atHub.Configuration(t.Context(), "latest", "")
		return err != nil
	}, patience, time.Millisecond)
	all, err := q.Records(t.Context(), &Filter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, all.Records, 1)

	nowhere := open(t, leaf, f, quiet, func(c *Config) { c.Domain = "elsewhere" })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorContains(t, nowhere.Start(ctx), `no JetStream of the domain "elsewhere"`)
}

// startLeaf runs a server without JetStream that is a leaf node of another one.
func startLeaf(t *testing.T, hub string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "leaf.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `server_name: leaf, leafnodes {remotes: [{url: "nats://%s"}]}`, hub), 0o600))
	options, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	return startServer(t, t.TempDir(), func(o *server.Options) {
		*o = *options
		o.NoSigs, o.NoLog, o.Host, o.Port = true, true, "127.0.0.1", -1
	})
}

// TestServersThatCannotKeepTheStreamsAreNamedWithARemedy: too few for the copies, and an account without JetStream.
func TestServersThatCannotKeepTheStreamsAreNamedWithARemedy(t *testing.T) {
	copies := func(n int) func(*Config) { return func(c *Config) { c.Replicas = n } }
	for name, test := range map[string]struct {
		server func() *server.Server
		change func(*Config)
		want   string
	}{
		"fewer servers than copies": {
			func() *server.Server { return startCluster(t)[0] },
			copies(5),
			"each of the 5 copies (GANTRY_ASYNC_REPLICAS) needs a server of its own",
		},
		"one server": {
			func() *server.Server { return startServer(t, t.TempDir()) },
			copies(3),
			"each of the 3 copies (GANTRY_ASYNC_REPLICAS) needs a server of its own",
		},
		"an account without JetStream": {
			func() *server.Server {
				s, _ := startConfigured(t, `accounts {A: {users: [{user: u, password: p}]}}`)
				return s
			},
			nil,
			"enable JetStream there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, change := test.server(), test.change
			if change == nil {
				change = as(s)
			}
			err := open(t, s, &testFunction{}, change, quiet).Start(t.Context())
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestStartWithoutRoomForStreamsNamesTheSetting: an account without room for the streams is named, with what to do.
func TestStartWithoutRoomForStreamsNamesTheSetting(t *testing.T) {
	for name, config := range map[string]string{
		"in all":     `accounts {A: {users: [{user: u, password: p}], jetstream {max_file: 64M}}}`,
		"per stream": `accounts {A: {users: [{user: u, password: p}], jetstream {max_file: 1G, store_max_stream_bytes: 1M}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := startConfigured(t, config)
			err := open(t, s, &testFunction{}, as(s), quiet).Start(t.Context())
			require.ErrorContains(t, err, "GANTRY_ASYNC_MAX_BYTES")
		})
	}
}
