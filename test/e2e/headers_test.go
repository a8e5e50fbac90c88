package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRequestIsRefusedByHeadersBeforeItsBodyComes: the platform API answers a request that its headers rule out
// before any of its body has come, also to clients that ask whether to send it.
func TestRequestIsRefusedByHeadersBeforeItsBodyComes(t *testing.T) {
	t.Parallel()
	r, _ := guarded(t, `exports.handler = async (event, context) => 'fine';`)
	login, token := r.login("correct horse")
	require.Equal(t, 201, login.status, login.body)
	signed := func(access, secret string, at time.Time) string {
		headers := signature(access, secret, "POST", invocations, "")
		if !at.IsZero() {
			headers[0] = "X-Sdk-Date: " + at.UTC().Format("20060102T150405Z")
		}
		return strings.Join(headers, "\r\n") + "\r\n"
	}
	const largest = 6 << 20
	for name, c := range map[string]struct {
		path, header string
		size, status int
	}{
		"unknown route":       {"/nonsense", "", largest, 404},
		"unclean path":        {invocations + "/../x", "", largest, 400},
		"no credentials":      {invocations, "", largest, 401},
		"unknown token":       {invocations, "X-Auth-Token: gantry1.e30.AAAA\r\n", largest, 401},
		"malformed signature": {invocations, "Authorization: SDK-HMAC-SHA256 Access=x\r\n", largest, 401},
		"unknown key":         {invocations, signed("AKUNKNOWN", apiSecret, time.Time{}), largest, 401},
		"stale signature":     {invocations, signed(apiAccess, apiSecret, time.Now().Add(-time.Hour)), largest, 401},
		"unknown function":    {strings.Replace(invocations, "hello", "other", 1), "X-Auth-Token: " + token + "\r\n", largest, 404},
		"action not allowed":  {invocations + "-async", "X-Auth-Token: " + token + "\r\n", 200 << 10, 403},
		"too large":           {invocations, "X-Auth-Token: " + token + "\r\n", largest + 1, 413},
		"large login":         {"/v3/auth/tokens", "", 64<<10 + 1, 413},
	} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			t.Run(name+" "+expect, func(t *testing.T) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(r.api, "http://"))
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience/2)))
				_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s%sContent-Length: %d\r\n\r\n", c.path, c.header, expect, c.size)
				require.NoError(t, err)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, c.status, resp.StatusCode, string(body))
				require.True(t, resp.Close)
			})
		}
	}
	// A signature over a large body is checked while that arrives.
	event := `"` + strings.Repeat("x", 1<<20) + `"`
	require.Equal(t, 200, r.call(event, signature(apiAccess, apiSecret, "POST", invocations, event)...).status)
	require.Equal(t, 401, r.call(event[1:]+" ", signature(apiAccess, apiSecret, "POST", invocations, event)...).status)
}
