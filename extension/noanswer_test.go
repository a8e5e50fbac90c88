package extension

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// TestNoAnswerNamesTheCauseInPlainWords: what a person reads is not what the library says.
func TestNoAnswerNamesTheCauseInPlainWords(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close() // as a TLS server does with plain HTTP
		}
	}()
	for addr, want := range map[string]string{
		"127.0.0.1:1": "no process listens there", ln.Addr().String(): "it closed the connection without an answer, as one that wants https does",
	} {
		err := (&fasthttp.Client{}).Do(request(t, "http://"+addr+"/"), fasthttp.AcquireResponse())
		require.Error(t, err)
		require.Equal(t, want, NoAnswer(err))
	}
}

func request(t *testing.T, uri string) *fasthttp.Request {
	t.Helper()
	req := fasthttp.AcquireRequest()
	t.Cleanup(func() { fasthttp.ReleaseRequest(req) })
	req.SetRequestURI(uri)
	return req
}
