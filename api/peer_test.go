package api

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestParsePeerAcceptsOnlyAddressesWithOptionalPort(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.9": "203.0.113.9", "203.0.113.9:5555": "203.0.113.9", `"203.0.113.9:5555"`: "203.0.113.9",
		"2001:db8::1": "2001:db8::1", "[2001:db8::1]": "2001:db8::1", "[2001:db8::1]:4711": "2001:db8::1", `"[2001:db8::1]:4711"`: "2001:db8::1",
		"::ffff:203.0.113.9": "::ffff:203.0.113.9",
		"unknown":            "", "_hidden": "", "": "", `"`: "", `""`: "", "[": "", "[]": "", "[203.0.113.9]": "", "[2001:db8::1": "", "203.0.113.9:": "", "203.0.113.9:port": "",
		"203.0.113.9:99999": "", `"203.0.113.9`: "", "proxy.example": "", "203.0.113.9 203.0.113.8": "",
	} {
		addr, ok := parsePeer(text)
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, netip.MustParseAddr(want), addr, text)
		}
	}
}

func FuzzParsePeer(f *testing.F) {
	for _, s := range []string{"203.0.113.9:5555", `"[2001:db8::1]:4711"`, "unknown", "fe80::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if addr, ok := parsePeer(text); ok != addr.IsValid() {
			t.Fatalf("%q: %v, %t", text, addr, ok)
		}
	})
}

// TestForwardedForProblemsAreLoggedOnce: each thing that makes callers one peer is said once.
func TestForwardedForProblemsAreLoggedOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	f := &forwarded{log: zap.New(core)}
	peer := func(headers string) (netip.Addr, bool) {
		var h fasthttp.RequestHeader
		require.NoError(t, h.Read(newReader("POST / HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n")))
		return f.peer(&h)
	}
	addr, ok := peer("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2, 192.0.2.3:80\r\n")
	require.True(t, ok)
	require.Equal(t, "192.0.2.3", addr.String())
	require.Zero(t, logs.Len())
	for range 3 {
		_, ok = peer("")
		require.False(t, ok)
		_, ok = peer("X-Forwarded-For: 192.0.2.1, unknown\r\n")
		require.False(t, ok)
	}
	require.Equal(t, 1, logs.FilterMessageSnippet("without X-Forwarded-For").Len())
	require.Equal(t, "unknown", logs.FilterMessageSnippet("is no address").All()[0].ContextMap()["value"])
	require.Equal(t, 2, logs.Len())
}
