package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// writePair writes a certificate with this serial number, and its key, dated by it.
func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
		require.NoError(t, os.Chtimes(name, time.Time{}, time.Unix(1e9+serial, 0)))
	}
}

// TestRenewedCertificateReplacesTheOldIfItFits: new files are taken within the interval; files that do not fit leave
// the old pair in use.
func TestRenewedCertificateReplacesTheOldIfItFits(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	core, logs := observer.New(zap.InfoLevel)
	_, err := OpenCertificate(cert, key, zap.New(core))
	require.ErrorContains(t, err, "GANTRY_API_TLS_CERT")
	writePair(t, cert, key, 1)
	c, err := OpenCertificate(cert, key, zap.New(core))
	require.NoError(t, err)
	serial := func() int64 {
		pair, err := c.get(nil)
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		require.NoError(t, err)
		return leaf.SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	writePair(t, cert, key, 2)
	require.EqualValues(t, 1, serial(), "handshakes do not wait for files")
	c.look()
	require.EqualValues(t, 2, serial())
	require.NoError(t, os.WriteFile(key, []byte("no key"), 0o600))
	for range 3 {
		c.look()
		require.EqualValues(t, 2, serial())
	}
	require.Equal(t, 1, logs.FilterMessageSnippet("cannot be used").Len(), "once for each change")
	require.NoError(t, os.Remove(key))
	c.look()
	c.look()
	require.Equal(t, 2, logs.FilterMessageSnippet("cannot be used").Len())
	writePair(t, cert, key, 3)
	c.look()
	require.EqualValues(t, 3, serial())
}
