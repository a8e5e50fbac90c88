package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

func refuseTest(ctx *fasthttp.RequestCtx, f *fault.Error) {
	write(ctx, "00000000-0000-0000-0000-000000000000", &instance.Result{Fault: f}, true)
}

// hashes answers POST / with the hash of the body, up to limit bytes; /keep with the hash of a kept body; any other
// path is refused by its header.
func hashes(limit int) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		sum := sha256.New()
		switch path := string(ctx.Path()); {
		case path != "/" && path != "/keep":
			refuseTest(ctx, &fault.Error{Kind: fault.NotFound, Type: fault.TypeNotFound, Message: "no route"})
			return
		case !receive(ctx, limit, sum, refuseTest):
			return
		case path == "/keep":
			body, release := keep(ctx)
			defer release()
			fmt.Fprintf(ctx, "%x", sha256.Sum256(body))
			return
		}
		if got := sha256.Sum256(ctx.Request.Body()); !bytes.Equal(got[:], sum.Sum(nil)) {
			panic("what was hashed is not what was received")
		}
		fmt.Fprintf(ctx, "%x", sum.Sum(nil))
	}
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// noise is a body of n bytes.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func length(path string, n int, more ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n", path, n, strings.Join(more, ""))
}

// settledMemory waits until no body is counted any more.
func settledMemory(t *testing.T, s *Server) {
	t.Helper()
	require.Eventually(t, func() bool { return s.ln.bodies.used.Load() == 0 && s.ln.answers.used.Load() == 0 }, testPatience, time.Millisecond)
}

// TestBodiesOfEverySizeArriveWhole: bodies of every size arrive whole, announced and in chunks, on connections that
// go on.
func TestBodiesOfEverySizeArriveWhole(t *testing.T) {
	s, _ := testServer(t, nil, hashes(MaxEvent))
	serveTest(t, s)
	c := dial(t, s)
	sizes := []int{0, 1, 2, promptBody - 1, promptBody, promptBody + 1, mediumBody - 1, mediumBody, mediumBody + 1, headerLimit, smallBody - 1, smallBody, smallBody + 1, 100_000, 1 << 20, MaxEvent - 1, MaxEvent}
	for _, n := range sizes {
		body := noise(n)
		for _, path := range []string{"/", "/keep"} {
			c.send(length(path, n))
			c.send(string(body))
			c.says(hashOf(body), "announced", n)
			c.send("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
			for rest := body; len(rest) > 0; {
				k := min(len(rest), 1+rand.IntN(n/3+1))
				c.send(fmt.Sprintf("%x\r\n%s\r\n", k, rest[:k]))
				rest = rest[k:]
			}
			c.send("0\r\n\r\n")
			c.says(hashOf(body), "in chunks", n)
		}
	}
	settledMemory(t, s)
}

func (c *client) says(body string, about ...any) {
	c.t.Helper()
	resp := c.answer()
	require.Equal(c.t, http.StatusOK, resp.StatusCode, about)
	require.Equal(c.t, body, resp.Header.Get("Body"), about)
}

// TestWhatFollowsABodyIsTheNextRequest: what follows a body is the next request, however the reads are split; a 100
// is sent only on request.
func TestWhatFollowsABodyIsTheNextRequest(t *testing.T) {
	s, _ := testServer(t, nil, hashes(MaxEvent))
	serveTest(t, s)
	c := dial(t, s)
	var all strings.Builder
	sizes := []int{10, 5000, 3, 20_000, 0, 70_000, 4097, 4096, 200_000, 1}
	for _, n := range sizes {
		all.WriteString(length("/", n))
		all.Write(noise(n))
	}
	go func() { _, _ = io.WriteString(c, all.String()) }()
	for _, n := range sizes {
		c.says(hashOf(noise(n)), n)
	}
	for _, n := range sizes { // by single bytes at every border
		c.send(length("/", n))
		body := string(noise(n))
		for _, cut := range []int{1, 1, 4094, 1} {
			cut = min(cut, len(body))
			c.send(body[:cut])
			body = body[cut:]
		}
		c.send(body)
		c.says(hashOf(noise(n)), n)
	}
	settledMemory(t, s)
}

// TestRequestIsRefusedByItsHeadersBeforeItsBody: a request that its headers rule out is answered without a byte of
// its body, with and without Expect.
func TestRequestIsRefusedByItsHeadersBeforeItsBody(t *testing.T) {
	s, _ := testServer(t, nil, hashes(MaxEvent))
	serveTest(t, s)
	for name, c := range map[string]struct {
		head   string
		status int
	}{
		"route":        {length("/nowhere", MaxEvent), 404},
		"size":         {length("/", MaxEvent+1), 413},
		"size, 99 MB":  {length("/", 99<<20, "Expect: 100-continue\r\n"), 413},
		"expect":       {length("/nowhere", 6000, "Expect: 100-continue\r\n"), 404},
		"small expect": {length("/nowhere", 6, "Expect: 100-continue\r\n"), 404},
		"path":         {length("//", 6000), 400},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, s)
			conn.send(c.head)
			resp := conn.answer()
			require.Equal(t, c.status, resp.StatusCode)
			require.True(t, resp.Close)
		})
	}
}

// TestContinueIsSentToClientsThatExpectIt: a client that asks gets its 100 when the body is wanted.
func TestContinueIsSentToClientsThatExpectIt(t *testing.T) {
	s, _ := testServer(t, nil, hashes(MaxEvent))
	serveTest(t, s)
	c := dial(t, s)
	for _, n := range []int{2, 6000, 100_000} {
		c.send(length("/", n, "Expect: 100-continue\r\n"))
		line, err := c.r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
		_, err = c.r.ReadString('\n')
		require.NoError(t, err)
		c.send(string(noise(n)))
		c.says(hashOf(noise(n)), n)
	}
}

// TestUnreadBodyIsNotTakenForTheNextRequest: an unwanted body is never taken for the next request, and a client that
// sends it all sees the answer.
func TestUnreadBodyIsNotTakenForTheNextRequest(t *testing.T) {
	s, _ := testServer(t, nil, hashes(MaxEvent))
	serveTest(t, s)
	c := dial(t, s)
	smuggled := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for range 3 { // small bodies do not cost the connection
		c.send(length("/nowhere", len(smuggled)) + smuggled)
		require.Equal(t, 404, c.answer().StatusCode)
	}
	c.send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	require.Equal(t, 404, c.answer().StatusCode)
	c.send(length("/", 2) + "{}")
	c.says(hashOf([]byte("{}")))
	for _, head := range []string{length("/nowhere", MaxEvent), "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", MaxEvent)} {
		c, body := dial(t, s), string(noise(MaxEvent-1000))
		c.send(head)
		c.send(body)
		require.Equal(t, 404, c.answer().StatusCode, "no reset hides it")
		c.ended()
	}
	c = dial(t, s)
	c.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	c.send(fmt.Sprintf("%x\r\n%s\r\n", MaxEvent+1, noise(MaxEvent+1)))
	require.Equal(t, 413, c.answer().StatusCode)
	c = dial(t, s)
	c.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	require.Equal(t, 400, c.answer().StatusCode)
	c = dial(t, s)
	c.send("POST / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 3*headerLimit) + "\r\n\r\n")
	require.Equal(t, 400, c.answer().StatusCode, "no reset hides it")
	settledMemory(t, s)
}

// tight are limits with memory for two bodies of the largest size.
func tight() *Limits { return NewLimits(LimitsConfig{Body: 1}) }

// TestStalledBodiesAreCutOffWhenMemoryIsNeeded: bodies that do not arrive are cut off when others need their memory,
// and only then.
func TestStalledBodiesAreCutOffWhenMemoryIsNeeded(t *testing.T) {
	s, _ := testServer(t, tight(), hashes(MaxEvent))
	serveTest(t, s)
	var stalled []*client
	for range 40 { // 40 times 512 KiB are more than there is
		c := dial(t, s)
		c.send(length("/", MaxEvent))
		stalled = append(stalled, c)
		go func() { _, _ = c.Write(noise(512 << 10)) }()
	}
	require.Eventually(t, func() bool { return s.ln.bodies.used.Load() > 3<<20 }, testPatience, time.Millisecond)
	prompt := dial(t, s)
	prompt.send(length("/", smallBody))
	prompt.send(string(noise(smallBody)))
	prompt.says(hashOf(noise(smallBody)))
	whole := dial(t, s)
	whole.send(length("/", MaxEvent))
	whole.send(string(noise(MaxEvent)))
	whole.says(hashOf(noise(MaxEvent)))
	refused := 0
	for _, c := range stalled {
		select {
		case status := <-c.status():
			require.Equal(t, http.StatusTooManyRequests, status)
			refused++
		case <-time.After(time.Second / 10):
		}
	}
	require.Positive(t, refused)
	require.LessOrEqual(t, s.ln.bodies.used.Load(), s.ln.bodies.limit)
	for _, c := range stalled {
		_ = c.Close()
	}
	settledMemory(t, s)
}

// status reads an answer in the background.
func (c *client) status() <-chan int {
	got := make(chan int, 1)
	go func() {
		if resp, err := http.ReadResponse(c.r, nil); err == nil {
			got <- resp.StatusCode
		}
	}()
	return got
}

// TestLargeBodiesTogetherStayWithinTheMemoryLimit: bodies that together need more memory than there is come through
// one after the other.
func TestLargeBodiesTogetherStayWithinTheMemoryLimit(t *testing.T) {
	s, _ := testServer(t, tight(), hashes(MaxEvent))
	serveTest(t, s)
	body := noise(MaxEvent)
	var all sync.WaitGroup
	var most int64
	var refused atomic.Int32
	for range 12 {
		all.Go(func() {
			for send(s, body) == http.StatusTooManyRequests { // this machine may stall a client for long enough
				refused.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
			most = max(most, s.ln.bodies.used.Load())
		}
	}
	t.Logf("12 bodies of 6 MiB, memory for %d KiB: at most %d KiB at once, %d times 429", s.ln.bodies.limit>>10, most>>10, refused.Load())
	require.LessOrEqual(t, most, s.ln.bodies.limit+MaxEvent, "but for the buffer that grows")
	settledMemory(t, s)
}

// send makes one request and returns the status of its answer; 0 if there was none.
func send(s *Server, body []byte) int {
	client := http.Client{Timeout: testPatience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+s.Addr().String()+"/", "", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestUnreadAnswersAreCutOffWhenMemoryIsShort: answers that are not read are cut off when there is no memory for
// others.
func TestUnreadAnswersAreCutOffWhenMemoryIsShort(t *testing.T) {
	answer := make([]byte, 4<<20)
	s, _ := testServer(t, tight(), func(ctx *fasthttp.RequestCtx) {
		if !answerable(ctx) {
			refuseTest(ctx, noAnswerMemory())
			return
		}
		ctx.Response.SetBodyRaw(answer)
	})
	serveTest(t, s)
	for range 12 {
		dial(t, s).send(plainGet)
	}
	require.Eventually(t, func() bool { return s.ln.answers.used.Load() > s.ln.answers.limit }, testPatience, time.Millisecond)
	// Callers that found room at the same moment may be over the limit together; those that come later find less held.
	for end := time.Now().Add(testPatience); ; {
		c := dial(t, s)
		c.send(plainGet)
		require.Equal(t, http.StatusOK, c.answer().StatusCode)
		if s.ln.answers.used.Load() <= s.ln.answers.limit+int64(len(answer)) {
			return
		}
		require.True(t, time.Now().Before(end), "answers that are not read stay over the limit")
	}
}

// TestUnfinishedLongHeadersShareTheMemoryOfBodies: unfinished long headers share the memory of bodies.
func TestUnfinishedLongHeadersShareTheMemoryOfBodies(t *testing.T) {
	s, _ := testServer(t, tight(), hashes(MaxEvent))
	serveTest(t, s)
	for range 50 {
		dial(t, s).send("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 30_000))
	}
	require.Eventually(t, func() bool { return s.ln.bodies.used.Load() == 50*headerLimit }, testPatience, time.Millisecond)
	c := dial(t, s)
	c.send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 30_000) + "\r\n\r\n")
	require.Equal(t, 404, c.answer().StatusCode)
}

// TestHeaderWithBareLineFeedsIsRefusedSoon: a header whose lines end in bare line feeds is answered soon.
func TestHeaderWithBareLineFeedsIsRefusedSoon(t *testing.T) {
	s, _ := testServer(t, nil, hashes(MaxEvent))
	serveTest(t, s)
	for _, request := range []string{"GET / HTTP/1.1\nHost: localhost\n\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\n\r\n{}"} {
		c := dial(t, s)
		began := time.Now()
		c.send(request)
		resp := c.answer()
		require.Equal(t, 400, resp.StatusCode)
		require.Contains(t, resp.Header.Get("Body"), "CRLF")
		require.Less(t, time.Since(began), readTimeout/2)
	}
}

func TestHeaderEndIsFoundHoweverTheBytesArrive(t *testing.T) {
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\nA: b\r\n\r\n":     "done",
		"GET / HTTP/1.1\r\nA: b\r\n\r\n\n\n": "done",
		"GET / HTTP/1.1\r\nA: b\r\n":         "",
		"GET / HTTP/1.1\nA: b\n\n":           "bare",
		"GET / HTTP/1.1\r\nA: b\n\r\n":       "bare",
		"GET / HTTP/1.1\r\nA: b\r\n\n":       "bare",
		"GET / HTTP/1.1\nA: b\n":             "",
	} {
		for cut := range len(text) { // however it arrives
			var h head
			h.watch([]byte(text[:cut]))
			h.watch([]byte(text[cut:]))
			require.Equal(t, want == "done", h.done, "%q cut at %d", text, cut)
			require.Equal(t, want == "bare", h.bare, "%q cut at %d", text, cut)
		}
	}
}

// TestMemoryIsFreedOnlyAfterABurstEnds: memory is handed back when a burst is over, and not before.
func TestMemoryIsFreedOnlyAfterABurstEnds(t *testing.T) {
	freed := make(chan time.Time, 10)
	b := newBurst(func() {})
	b.free = func() { freed <- time.Now() }
	b.note(burstBytes - 1)
	require.False(t, b.pending.Load())
	b.note(1)
	b.sign()
	last := time.Now()
	select {
	case at := <-freed:
		require.GreaterOrEqual(t, at.Sub(last), burstQuiet-time.Millisecond)
	case <-time.After(testPatience):
		t.Fatal("no memory was handed back")
	}
}

// TestUnsupportedAmbiguousOrForeignRequestsAreRefused: what is no HTTP/1.1, or could be read in two ways, is refused.
func TestUnsupportedAmbiguousOrForeignRequestsAreRefused(t *testing.T) {
	s, _ := testServer(t, nil, checkOrigin(refuseTest, hashes(MaxEvent)))
	serveTest(t, s)
	ask := func(line, header string) int {
		c := dial(t, s)
		c.send("POST / " + line + "\r\nHost: localhost\r\n" + header + "\r\n")
		return c.answer().StatusCode
	}
	for _, c := range []struct {
		line, header string
		status       int
	}{
		{"HTTP/1.1", "Content-Length: 0\r\n", 200},
		{"HTTP/1.0", "Content-Length: 0\r\n", 200},
		{"HTTP/1.2", "Content-Length: 0\r\n", 200}, // RFC 9110, 6.2: as the highest minor version that is known
		{"HTTP/2.0", "Content-Length: 0\r\n", 505},
		{"HTTP/3.0", "Content-Length: 0\r\n", 505},
		{"HTTP/1.1", "Transfer-Encoding: identity\r\n", 400},
		{"HTTP/1.1", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400},
		{"HTTP/1.1", "Content-Length: 0\r\nOrigin: http://localhost\r\n", 200},
		{"HTTP/1.1", "Content-Length: 0\r\nOrigin: http://evil.example\r\n", 403},
		{"HTTP/1.1", "Content-Length: 0\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n", 403},
		{"HTTP/1.1", "Content-Length: 0\r\nOrigin:\r\nOrigin: http://evil.example\r\n", 403},
		{"HTTP/1.1", "Content-Length: 0\r\nOrigin:\r\n", 403},
	} {
		require.Equal(t, c.status, ask(c.line, c.header), "%s %q", c.line, c.header)
	}
}
