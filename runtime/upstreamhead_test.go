package runtime

import (
	"bufio"
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// headCase is a call whose head is written.
func headCase(t testing.TB, text string) (*head, *Buffered, *fncontext.Invocation) {
	t.Helper()
	fn := &fncontext.Function{Name: "web\nx", Version: "latest", MemoryMB: 512}
	x := newExchange()
	t.Cleanup(x.release)
	require.NoError(t, x.Request.Read(bufio.NewReader(strings.NewReader(text))))
	x.Peer = netip.MustParseAddr("192.0.2.9")
	return &head{addr: "127.0.0.1:8000", facts: functionHeaders(fn)}, x, &fncontext.Invocation{Function: fn, RequestID: "the-id"}
}

// sentFields are the fields that the server gets of a request, but for those that say what the function is.
func sentFields(t *testing.T, text string) []string {
	t.Helper()
	h, x, inv := headCase(t, text)
	text = string(h.append(nil, outgoingOf(x), inv))
	require.Equal(t, 1, strings.Count(text, string(h.facts)), text)
	text, ended := strings.CutSuffix(strings.Replace(text, string(h.facts), "", 1), "\r\n\r\n")
	require.True(t, ended)
	return strings.Split(text, "\r\n")
}

// TestHeadHasWhatTheCallerSent: names, values and their order as they came; what concerns the connection, what the
// platform sets and what it says of the caller come from the agent.
func TestHeadHasWhatTheCallerSent(t *testing.T) {
	const end = "X-Cff-Request-Id: the-id"
	const forwarded = "X-Forwarded-For: 192.0.2.9|X-Forwarded-Host: h|X-Forwarded-Proto: http|"
	for came, want := range map[string]string{
		"GET /a?b HTTP/1.1|Host: h": "GET /a?b HTTP/1.1|Host: h|" + forwarded + end,
		"POST / HTTP/1.1|host: h|x-lower: 1|Cookie: a=1;b|Cookie: c|Content-Length: 0": "POST / HTTP/1.1|host: h|x-lower: 1|" +
			"Cookie: a=1;b|Cookie: c|" + forwarded + "Content-Length: 0|" + end,
		"GET / HTTP/1.1|Host: h|X-Mine: 1|connection: x-mine, close, host|X-Mine: 2|TE: x|Trailer: y|X-Other: 3": "GET / HTTP/1.1|" +
			"Host: h|X-Other: 3|" + forwarded + end,
		"GET / HTTP/1.1|Host: h|Connection: close|Connection: A|A: 1|x-cff-NEW: 1|X-Cff-: 2|Expect: 3": "GET / HTTP/1.1|Host: h|" +
			"X-Cff-: 2|" + forwarded + end,
		"GET / HTTP/1.1|X-Forwarded-For: 1|Host: h|x-forwarded-for:  2 |X-Forwarded-Host: f|X-Forwarded-Proto: https": "GET / HTTP/1.1|" +
			"Host: h|X-Forwarded-Host: f|X-Forwarded-Proto: https|X-Forwarded-For: 1, 2, 192.0.2.9|" + end,
		"GET / HTTP/1.1|Host: h|X-Forwarded-Host:|X-Forwarded-Proto: ": "GET / HTTP/1.1|Host: h|" + forwarded + end,
		"POST / HTTP/1.1|Host: h|Transfer-Encoding: chunked||3|abc|0|X-Late: 1": "POST / HTTP/1.1|Host: h|" + forwarded +
			"Content-Length: 3|" + end,
	} {
		require.Equal(t, strings.Split(want, "|"), sentFields(t, strings.ReplaceAll(came, "|", "\r\n")+"\r\n\r\n"), came)
	}
}

// TestHeadOfARequestMadeHere: an event's request has no header that came; without a caller none is named.
func TestHeadOfARequestMadeHere(t *testing.T) {
	h, x, inv := headCase(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	x.Request.Reset()
	x.Peer = netip.Addr{}
	(&upstream{links: links{addr: h.addr}}).post(x.Request, "/invoke", []byte("{}"))
	text := string(bytes.Replace(h.append(nil, outgoingOf(x), inv), h.facts, nil, 1))
	require.Equal(t, "POST /invoke HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\n"+
		"Content-Length: 2\r\nX-Cff-Request-Id: the-id\r\n\r\n", text)
	require.Contains(t, string(h.facts), "X-Cff-Func-Name: web x\r\n")
}

// TestAnswerKeepsWhatIsNotOfTheConnection: the headers that Connection names go with it.
func TestAnswerKeepsWhatIsNotOfTheConnection(t *testing.T) {
	var resp fasthttp.Response
	require.NoError(t, resp.Read(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\n"+
		"Keep-Alive: timeout=5\r\nX-Hop: 1\r\nUpgrade: h2c\r\nX-Stays: 1\r\nContent-Length: 1\r\n\r\nx"))))
	stripConnection(&resp.Header)
	for name := range resp.Header.All() {
		require.Contains(t, []string{"Content-Length", "Content-Type", "X-Stays"}, string(name))
	}
	require.Equal(t, "1", string(resp.Header.Peek("X-Stays")))
}

func BenchmarkHead(b *testing.B) {
	h, x, inv := headCase(b, "POST /invoke HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"+
		"Accept: */*\r\nContent-Length: 12\r\n\r\n{\"name\":\"x\"}")
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = h.append(dst[:0], outgoingOf(x), inv)
	}
}

func BenchmarkStripAnswer(b *testing.B) {
	text := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\nDate: x\r\nConnection: keep-alive\r\n" +
		"Keep-Alive: timeout=5\r\n\r\n"
	var resp fasthttp.Response
	in := bufio.NewReader(strings.NewReader(""))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(strings.NewReader(text))
		_ = resp.Header.Read(in)
		stripConnection(&resp.Header)
	}
}
