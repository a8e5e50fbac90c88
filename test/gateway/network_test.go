package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// line is a network in front of a gateway that gets slow, or breaks.
type line struct {
	listener net.Listener
	to       string
	// taken counts connections. The next cuts of them carry at most that many bytes to the gateway.
	taken, cuts, most atomic.Int64
	done              sync.WaitGroup

	mu   sync.Mutex
	gate chan struct{} // of new connections; nil while they are not held
	ends []net.Conn
}

// newLine listens until the end of the test.
func newLine(t *testing.T, to string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &line{listener: listener, to: to}
	l.done.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
		l.release()
		l.mu.Lock()
		for _, c := range l.ends {
			c.Close()
		}
		l.mu.Unlock()
		l.done.Wait()
	})
	return l
}

func (l *line) url() string { return "http://" + l.listener.Addr().String() }

// hold accepts new connections and forwards nothing until release.
func (l *line) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gate = make(chan struct{})
}

func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate != nil {
		close(l.gate)
		l.gate = nil
	}
}

func (l *line) accept() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.taken.Add(1)
		l.done.Go(func() { l.pass(from) })
	}
}

// pass forwards one connection. If it is cut, the gateway gets the first bytes and then the end; its response is
// forwarded.
func (l *line) pass(from net.Conn) {
	defer from.Close()
	l.mu.Lock()
	gate := l.gate
	l.ends = append(l.ends, from)
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	to, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer to.Close()
	l.mu.Lock()
	l.ends = append(l.ends, to)
	l.mu.Unlock()
	up := io.Reader(from)
	if l.cuts.Add(-1) >= 0 {
		up = io.LimitReader(from, l.most.Load())
	}
	l.done.Go(func() {
		_, _ = io.Copy(to, up) // it ends with either side
		_ = to.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(from, to)
}

// hasty is a proxy that sets Retry-After of every refusal to a second, so that all attempts fit into a test. It counts
// them.
func hasty(t *testing.T, g *gateway) (address string, refusals *atomic.Int64) {
	t.Helper()
	to, err := url.Parse(g.url())
	require.NoError(t, err)
	refusals = &atomic.Int64{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode >= 400 {
				refusals.Add(1)
				r.Header.Set("Retry-After", "1")
			}
			return nil
		},
	})
	t.Cleanup(server.Close)
	return server.URL, refusals
}

// secure gives the gateway a certificate for "localhost" that signs itself.
func (g *gateway) secure() {
	g.t.Helper()
	g.host, g.certificate, g.private = "localhost", filepath.Join(g.folder, "cert.pem"), filepath.Join(g.folder, "key.pem")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(g.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(g.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(g.t, err)
	require.NoError(g.t, os.WriteFile(g.certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	require.NoError(g.t, os.WriteFile(g.private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// transport trusts the certificate, if there is one. Its connections end with the test.
func transport(t *testing.T, certificate string) *http.Transport {
	t.Helper()
	r := &http.Transport{}
	t.Cleanup(r.CloseIdleConnections)
	if certificate != "" {
		text, err := os.ReadFile(certificate)
		require.NoError(t, err)
		r.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		require.True(t, r.TLSClientConfig.RootCAs.AppendCertsFromPEM(text))
	}
	return r
}
