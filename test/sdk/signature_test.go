package sdk

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/stretchr/testify/require"
)

// signed is one request with the headers of the SDK's signer.
type signed struct {
	method, path string
	query        [][2]string
	header       map[string]string
	body         []byte
}

// words are the parts of random names and values: text that is hard to encode.
var words = []string{"a", "Z", "0", "-", "_", ".", "~", " ", "+", "%", "&", "=", "/", "?", "#", "!", "'", "(", ")", "*", ":", ",", ";", "ü", "中", "🙂", "name", "%41", "%2F"}

func word(r *mrand.Rand, most int) string {
	var b strings.Builder
	for range 1 + r.IntN(most) {
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}

// random makes a request for a route that ignores most of it, and signs it with the SDK.
func random(t *testing.T, r *mrand.Rand) *signed {
	s := &signed{method: "GET", path: "/v3/projects", header: map[string]string{"Content-Type": "application/json"}}
	b := request.NewHttpRequestBuilder().WithEndpoint("http://ignored").WithMethod(s.method).WithPath(s.path)
	for i := range r.IntN(6) {
		name, value := fmt.Sprintf("%s%d", word(r, 3), i), word(r, 5)
		if r.IntN(4) == 0 {
			value = ""
		}
		b.AddQueryParam(name, reflect.ValueOf(value))
		s.query = append(s.query, [2]string{name, value})
	}
	if r.IntN(2) == 0 {
		several := []string{word(r, 3), word(r, 3), word(r, 3)}
		b.AddQueryParam("several", reflect.ValueOf(several))
		for _, v := range several {
			s.query = append(s.query, [2]string{"several", v})
		}
	}
	for i := range r.IntN(4) {
		s.header[fmt.Sprintf("X-Custom-%d", i)] = strings.Repeat("v ", 1+r.IntN(3)) + "end"
	}
	for name, value := range s.header {
		b.AddHeaderParam(name, value)
	}
	req := b.Build()
	added, err := signer.Signer{}.Sign(req, access, secret)
	require.NoError(t, err)
	for name, value := range added {
		s.header[name] = value
	}
	return s
}

// target is the request target on the wire: the pairs shuffled, in one of the encodings that clients use.
func (s *signed) target(r *mrand.Rand) string {
	var pairs []string
	for _, i := range r.Perm(len(s.query)) {
		name, value := s.query[i][0], s.query[i][1]
		pair := url.QueryEscape(name) + "=" + url.QueryEscape(value)
		if value == "" && r.IntN(2) == 0 {
			pair = url.QueryEscape(name)
		}
		pairs = append(pairs, strings.ReplaceAll(pair, "+", "%20"))
	}
	if len(pairs) == 0 {
		return s.path
	}
	return s.path + "?" + strings.Join(pairs, "&")
}

func send(t *testing.T, client *http.Client, base string, s *signed, target string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(s.method, base+target, bytes.NewReader(s.body))
	require.NoError(t, err)
	for name, value := range s.header {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// TestSignerOracle: a request signed by the SDK is accepted, and refused once any signed part was changed.
func TestSignerOracle(t *testing.T) {
	a := startAgent(t)
	const seed1, seed2 = 20260, 1123
	r := mrand.New(mrand.NewPCG(seed1, seed2))
	for n := range 300 {
		s := random(t, r)
		target := s.target(r)
		status, body := send(t, http.DefaultClient, a.url, s, target)
		require.Equal(t, 200, status, "request %d: %s %v: %s", n, target, s.header, body)
		bad := *s
		bad.header = map[string]string{}
		for name, value := range s.header {
			bad.header[name] = value
		}
		changed := target
		switch kind := r.IntN(3); {
		case kind == 0:
			bad.body = []byte("{}")
		case kind == 1 && len(s.query) > 0:
			changed += "&more=1"
		default:
			bad.header["X-Sdk-Date"] = time.Now().UTC().Add(-time.Minute).Format("20060102T150405Z")
		}
		status, body = send(t, http.DefaultClient, a.url, &bad, changed)
		require.Equal(t, 401, status, body)
		// The good one again, so that the failures in a row stay below the limit.
		status, _ = send(t, http.DefaultClient, a.url, s, target)
		require.Equal(t, 200, status)
	}
}

// TestUnsignedPayload: the SDK does not sign bodies that are not JSON.
func TestUnsignedPayload(t *testing.T) {
	a := startAgent(t)
	post := func(base string, client *http.Client) (int, string) {
		s := &signed{method: "POST", path: "/v2/" + project + "/fgs/functions/hello/invocations", header: map[string]string{"Content-Type": "text/plain"}, body: []byte(`{"k":1}`)}
		req := request.NewHttpRequestBuilder().WithEndpoint("http://ignored").WithMethod(s.method).WithPath(s.path).AddHeaderParam("Content-Type", "text/plain").Build()
		added, err := signer.Signer{}.Sign(req, access, secret)
		require.NoError(t, err)
		for name, value := range req.GetHeaderParams() {
			s.header[name] = value
		}
		for name, value := range added {
			s.header[name] = value
		}
		require.Equal(t, "UNSIGNED-PAYLOAD", s.header["X-Sdk-Content-Sha256"])
		return send(t, client, base, s, s.path)
	}
	status, body := post(a.url, http.DefaultClient)
	require.Equal(t, 200, status, "on loopback: %s", body)

	behind := startAgent(t, "GANTRY_API_BEHIND_PROXY=true")
	status, body = post(behind.url, http.DefaultClient)
	require.Equal(t, 401, status, "the way from the caller to the proxy is not known")
	require.Contains(t, body, "UNSIGNED-PAYLOAD")

	cert, key, pool := selfSigned(t)
	secure := startAgent(t, "GANTRY_API_ADDR=0.0.0.0:0", "GANTRY_API_TLS_CERT="+cert, "GANTRY_API_TLS_KEY="+key)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(secure.url, "http://"))
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	status, body = post("https://127.0.0.1:"+port, client)
	require.Equal(t, 200, status, "over TLS: %s", body)
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(cert, text, 0o644))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	return cert, key, pool
}
