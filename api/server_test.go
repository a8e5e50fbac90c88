package api

import (
	"bufio"
	"gantry/fault"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

func TestEveryKindHasAStatus(t *testing.T) {
	for _, k := range fault.Kinds() {
		require.NotZero(t, functionStatus[k], k)
	}
	require.Len(t, functionStatus, len(fault.Kinds()))
}

func TestCleanAcceptsOnlyUnambiguousPaths(t *testing.T) {
	for _, good := range []string{"/", "/invoke", "/a/b.c", "/a..b", "/...", "/%20", "/a/"} {
		require.True(t, clean([]byte(good)), good)
	}
	for _, bad := range []string{"", "invoke", "//", "/a//b", "/.", "/..", "/a/../b", "/a/.", "/%2f", "/%2E%2e", "/a%5Cb", `/a\b`, "/a\x00", "/%00"} {
		require.False(t, clean([]byte(bad)), bad)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("/invoke")
	f.Add("/a/../b")
	f.Add("/%2e%2E/")
	f.Fuzz(func(t *testing.T, path string) {
		if !clean([]byte(path)) {
			return
		}
		uri := fasthttp.AcquireURI()
		defer fasthttp.ReleaseURI(uri)
		uri.DisablePathNormalizing = true
		uri.SetPath(path)
		for part := range strings.SplitSeq(path[1:], "/") {
			if part == ".." || part == "." {
				t.Fatalf("%q passed", path)
			}
		}
		if strings.Contains(path, "//") || path[0] != '/' {
			t.Fatalf("%q passed", path)
		}
	})
}

func TestLoopbackNameAcceptsOnlyNamesOfLoopback(t *testing.T) {
	for _, good := range []string{"", "localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:80", "::1"} {
		require.True(t, loopbackName(good), good)
	}
	for _, bad := range []string{"example.com", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", "[::]:80", "localhosts", "127.0.0.1@evil", "a b"} {
		require.False(t, loopbackName(bad), bad)
	}
}

func FuzzFraming(f *testing.F) {
	f.Add("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n")
	f.Fuzz(func(t *testing.T, headers string) {
		var h fasthttp.RequestHeader
		_ = h.Read(newReader("POST / HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n"))
		framing(&h) // must not panic, whatever comes
	})
}

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

func FuzzLoopbackName(f *testing.F) {
	for _, s := range []string{"localhost:80", "127.0.0.1", "[::1]:1", "evil.example", "127.0.0.1.evil.example:80", "[::ffff:127.0.0.1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !loopbackName(host) || host == "" {
			return
		}
		name := host
		if h, _, err := net.SplitHostPort(host); err == nil {
			name = h
		}
		name = strings.ToLower(strings.Trim(name, "[]."))
		if ip := net.ParseIP(name); name != "localhost" && name != "" && (ip == nil || !ip.IsLoopback()) && !strings.Contains(name, "%") {
			t.Fatalf("%q passed", host)
		}
	})
}

// TestMomentReadsTimesWithAnUnencodedPlus: a zone's + that a client did not encode is what it is without.
func TestMomentReadsTimesWithAnUnencodedPlus(t *testing.T) {
	for query, want := range map[string]string{
		"t=2026-01-31T23:59:59": "2026-01-31T23:59:59Z", "t=2026-01-31T23:59:59Z": "2026-01-31T23:59:59Z",
		"t=2026-01-31T23:59:59%2B08:00": "2026-01-31T15:59:59Z", "t=2026-01-31T23:59:59+08:00": "2026-01-31T15:59:59Z", "": "0001-01-01T00:00:00Z",
	} {
		var args fasthttp.Args
		args.Parse(query)
		at, err := moment(&args, "t")
		require.NoError(t, err, query)
		require.Equal(t, want, at.UTC().Format(time.RFC3339), query)
	}
	for _, query := range []string{"t=soon", "t=2026-01-31+23:59:59", "t=2026-01-31T23:59:59++08:00"} {
		var args fasthttp.Args
		args.Parse(query)
		_, err := moment(&args, "t")
		require.ErrorContains(t, err, "want a time in UTC like", query)
	}
}
