package e2e

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRequestsThatTwoReadersReadDifferentlyAreRefused: with 400, at the agent, on a connection that ends; what could be
// a second request in the body of the first is none.
func TestRequestsThatTwoReadersReadDifferentlyAreRefused(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles)
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	const post, chunks = "POST / HTTP/1.1\r\nHost: localhost\r\n", "0\r\n\r\n" + smuggled
	for name, text := range map[string]string{
		"both lengths":                 post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunks,
		"the same length twice":        post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a list of lengths":            post + "Content-Length: 3, 3\r\n\r\nabc" + smuggled,
		"a length with a sign":         post + "Content-Length: +3\r\n\r\nabc" + smuggled,
		"a negative length":            post + "Content-Length: -3\r\n\r\nabc" + smuggled,
		"a hexadecimal length":         post + "Content-Length: 0x3\r\n\r\nabc" + smuggled,
		"an empty length":              post + "Content-Length:\r\n\r\nabc" + smuggled,
		"a length beyond all":          post + "Content-Length: 99999999999999999999\r\n\r\nabc",
		"chunked twice in a line":      post + "Transfer-Encoding: chunked, chunked\r\n\r\n" + chunks,
		"chunked twice in two":         post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
		"chunked, and something":       post + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunks,
		"something, and chunked":       post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks,
		"nearly chunked":               post + "Transfer-Encoding: xchunked\r\n\r\n" + chunks,
		"chunked in quotes":            post + "Transfer-Encoding: \"chunked\"\r\n\r\n" + chunks,
		"chunked behind a tab":         post + "Transfer-Encoding: \vchunked\r\n\r\n" + chunks,
		"identity":                     post + "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"an empty coding":              post + "Transfer-Encoding:\r\n\r\n" + chunks,
		"chunked in HTTP/1.0":          "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
		"a blank before the colon":     post + "Content-Length : 3\r\n\r\nabc" + smuggled,
		"a tab before the colon":       post + "Transfer-Encoding\t: chunked\r\n\r\n" + chunks,
		"a folded header":              post + "X-A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a folded coding":              post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunks,
		"a folded first header":        "POST / HTTP/1.1\r\n Content-Length: 3\r\nHost: localhost\r\n\r\nabc" + smuggled,
		"a header in a bare line":      post + "X-A: b\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"bare lines":                   strings.ReplaceAll(post, "\r", "") + "Content-Length: 3\n\nabc",
		"a bare carriage return":       post + "X-A: b\rContent-Length: 3\r\n\r\n" + smuggled,
		"a NUL in a value":             post + "X-A: b\x00c\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a NUL in a name":              post + "X\x00A: b\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a header without a name":      post + ": b\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a header without a colon":     post + "X-A\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a name in brackets":           post + "X(A): b\r\nContent-Length: 3\r\n\r\nabc" + smuggled,
		"a size that is none":          post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + chunks,
		"a size with a prefix":         post + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n" + chunks,
		"a size with a sign":           post + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n" + chunks,
		"a size beyond all":            post + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n" + chunks,
		"a size in a bare line":        post + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n" + chunks,
		"a chunk that does not end":    post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n" + chunks,
		"two hosts":                    "GET / HTTP/1.1\r\nHost: localhost\r\nHost: 127.0.0.1\r\n\r\n" + smuggled,
		"no host":                      "GET / HTTP/1.1\r\n\r\n" + smuggled,
		"two blanks before the target": "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled,
		"a blank in the target":        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled,
		"a blank behind the version":   "GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n" + smuggled,
		"no version":                   "GET /\r\nHost: localhost\r\n\r\n" + smuggled,
		"a strange version":            "GET / HTTP/1.1.1\r\nHost: localhost\r\n\r\n" + smuggled,
		"a strange method":             "GE(T / HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled,
	} {
		all := r.rawAll(text)
		require.True(t, strings.HasPrefix(all, "HTTP/1.1 400 "), "%s: %s", name, all)
		require.Equal(t, 1, strings.Count(all, "HTTP/1.1 "), "%s: %s", name, all)
	}
	require.NotContains(t, r.stdout.String(), "got ", "nothing reached the server")
	require.Equal(t, 200, r.request("GET", r.url+"/", "").status)
}

// rawAll sends bytes to the function listener and reads to the end of the connection.
func (r *running) rawAll(text string) string {
	r.t.Helper()
	conn := connect(r.t, r)
	defer conn.Close()
	_, err := io.WriteString(conn, text)
	require.NoError(r.t, err)
	all, err := io.ReadAll(conn)
	require.NoError(r.t, err, "%q", text)
	return string(all)
}

// TestHeadersReachTheServerAsTheyCame: cookies byte for byte, also those that are against the book; nothing that the
// caller did not send; neither what concerns one connection, however often it says so, nor the platform's names.
func TestHeadersReachTheServerAsTheyCame(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles, "RUNTIME_FUNC_NAME=web")
	for _, cookie := range []string{
		"a=1; b=2", "a=1;b=2", `a="x y"; b=2`, "a", "a=", "=b", "a=1;; b=2", `a=b"c; d=e`, `a=x\y`, "a=1, b=2", `{"a":1}; b=2`, "a=1; a=2",
	} {
		s := see(t, r.raw("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: "+cookie+"\r\n\r\n"))
		require.Equal(t, cookie, s.Headers["cookie"])
	}
	s := see(t, r.raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"))
	require.NotContains(t, s.Headers, "content-type")
	for _, hops := range []string{"X-A\r\nConnection: X-B", "X-A, x-b\r\nConnection: close", "close\r\nConnection: x-b ,\tX-A"} {
		for _, version := range []string{"1.0", "1.1"} {
			s = see(t, r.raw("GET / HTTP/"+version+"\r\nHost: localhost\r\nConnection: "+hops+"\r\nX-A: 1\r\nX-B: 1\r\nX-C: 1\r\n\r\n"))
			require.NotContains(t, s.Headers, "x-a", hops)
			require.NotContains(t, s.Headers, "x-b", hops)
			require.Equal(t, "1", s.Headers["x-c"])
			require.Equal(t, "1.1", s.Version)
		}
	}
	s = see(t, r.raw("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nCookie: a=\"b\"\r\n\r\n"+
		"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Cff-Evil: 1\r\nX-Other: 1\r\n\r\n"))
	require.Equal(t, `abc a="b"`, s.Body+" "+s.Headers["cookie"])
	for _, trailer := range []string{"x-sum", "x-cff-evil", "x-other", "trailer", "transfer-encoding"} {
		require.NotContains(t, s.Headers, trailer)
	}
	s = see(t, r.raw("GET / HTTP/1.1\r\nHost: localhost\r\nX_CFF_Func_Name: evil\r\nx_cff-Auth_Token: evil\r\nX-Cff-: fine\r\nX_C: fine\r\n\r\n"))
	require.NotContains(t, strings.Join(s.Raw, " "), "evil")
	require.Equal(t, "fine", s.Headers["x_c"])
	require.Equal(t, "web", s.Headers["x-cff-func-name"])
}
