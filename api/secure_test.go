package api

import (
	"bufio"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestServerTakesBodiesOverTLSAndRefusesPlainHTTP: bodies and refusals over TLS, and plain HTTP to the same port.
func TestServerTakesBodiesOverTLSAndRefusesPlainHTTP(t *testing.T) {
	cert, key := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	writePair(t, cert, key, 1)
	pair, err := OpenCertificate(cert, key, zap.NewNop())
	require.NoError(t, err)
	s, logs := testServer(t, nil, hashes(MaxEvent))
	s.ln.secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	serveTest(t, s)

	secure := func() *client {
		c := dial(t, s)
		c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
		c.r = bufio.NewReader(c.Conn)
		return c
	}
	c := secure()
	for _, n := range []int{0, 10, 5000, 70_000, 1 << 20} {
		c.send(length("/", n))
		c.send(string(noise(n)))
		c.says(hashOf(noise(n)), n)
	}
	c.send(length("/nowhere", MaxEvent))
	require.Equal(t, http.StatusNotFound, c.answer().StatusCode)
	_, err = c.Write(noise(100_000))
	require.NoError(t, err, "what is still sent is read")

	plain := dial(t, s)
	plain.send(plainGet)
	resp := plain.answer()
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Contains(t, resp.Header.Get("Body"), "https://")
	require.Equal(t, 1, logs.FilterMessageSnippet("plain HTTP").Len())
	settledMemory(t, s)
}
