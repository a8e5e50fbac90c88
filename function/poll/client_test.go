package poll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"gantry/function/internal/require"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestEventsAndAnswersShareOneConnection: events and answers share one connection, and arrive as they were sent.
func TestEventsAndAnswersShareOneConnection(t *testing.T) {
	type post struct{ path, kind, body string }
	posts := make(chan post, 10)
	s := newServer(t, func(p *peer) {
		for {
			r, body := p.request()
			switch {
			case r == nil:
				return
			case r.Method == http.MethodGet:
				if r.RequestURI != "/v1/runtime/invocation/request" || r.Host == "" || r.ContentLength > 0 {
					p.say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
					return
				}
				p.say(event1)
			default:
				posts <- post{r.RequestURI, r.Header.Get("Content-Type"), string(body)}
				p.say("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	})
	c, remarks := client(t, s.addr)
	ctx := t.Context()
	const jsonType, bytesType = "application/json", "application/octet-stream"
	large := strings.Repeat("x", 1<<20)
	for _, test := range []struct{ id, body, kind string }{
		{"r1", `{"a":1}`, jsonType}, {"r1", " [1]\n", jsonType}, {"r1", "plain", bytesType}, {"r1", "", bytesType}, {"r1", large, bytesType}, {"a b/../%?#\r\nX: y", "{", bytesType},
	} {
		e, err := c.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, "r1", e.RequestID)
		require.Equal(t, `{"a":1}`, string(e.Body))
		require.Equal(t, "ak", e.Header.Get("X-CFF-Access-Key"))
		require.NoError(t, c.Respond(ctx, test.id, []byte(test.body)))
		got := <-posts
		require.Equal(t, test.kind, got.kind, test.body)
		require.True(t, test.body == got.body)
		require.True(t, strings.HasPrefix(got.path, "/v1/runtime/invocation/response/"))
	}
	require.NoError(t, c.Fail(ctx, "a b/é", []byte("x")))
	require.Equal(t, post{"/v1/runtime/invocation/error/a%20b%2F%C3%A9", jsonType, "x"}, <-posts)
	require.Error(t, c.Respond(ctx, "", nil))
	require.Equal(t, 1, s.connections())
	require.Empty(t, *remarks)
}

// TestAnswersWithoutAnEventAreAskedAgain: answers without an event are asked for again, on the same connection.
func TestAnswersWithoutAnEventAreAskedAgain(t *testing.T) {
	answers := []string{
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nX-Cff-Request-Id: \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 503 Service Unavailable\r\nX-Cff-Request-Id: r0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + event1,
	}
	s := newServer(t, func(p *peer) {
		for _, a := range answers {
			if r, _ := p.request(); r == nil {
				return
			}
			p.say(a)
		}
		p.eof()
	})
	c, remarks := client(t, s.addr)
	e, err := c.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, "r1", e.RequestID)
	require.Equal(t, 1, s.connections())
	require.Empty(t, *remarks)
}

// TestEventComesAfterAHostileFirstConnection: whatever the first connection does, the next one brings the event, and
// an outage is reported once.
func TestEventComesAfterAHostileFirstConnection(t *testing.T) {
	tests := map[string]struct {
		does func(p *peer)
		// quiet is set where nothing is wrong, and clean where the connection is good for more.
		quiet, clean bool
	}{
		"closes at once":        {does: func(*peer) {}},
		"closes after the GET":  {does: func(p *peer) { p.request() }},
		"closes in the header":  {does: func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nX-Cff-Re") }},
		"closes in the body":    {does: func(p *peer) { p.request(); p.say(event1[:len(event1)-2]) }},
		"garbage":               {does: func(p *peer) { p.request(); p.say("\x00\x01 SSH-2.0 \r\n\r\n"); p.eof() }},
		"garbage in the header": {does: func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"); p.eof() }},
		"two lengths": {does: func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\nX-Cff-Request-Id: r\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
			p.eof()
		}},
		"negative length": {does: func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\nX-Cff-Request-Id: r\r\nContent-Length: -1\r\n\r\n")
			p.eof()
		}},
		"no end of headers": {does: func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(p, "X-%d: %s\r\n", i, strings.Repeat("y", 1000)); err != nil {
					return
				}
			}
		}},
		"no end of a header": {does: func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nX: "); _, _ = io.Copy(p, zeros{}) }},
		"bad chunks": {does: func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\nX-Cff-Request-Id: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
			p.eof()
		}},
		"half a chunk": {does: func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\nX-Cff-Request-Id: r\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc")
		}},
		"only interim answers": {does: func(p *peer) {
			p.request()
			for range 100 {
				p.say("HTTP/1.1 102 Processing\r\n\r\n")
			}
			p.eof()
		}},
		"no event, HTTP/1.0":     {does: func(p *peer) { p.request(); p.say("HTTP/1.0 200 OK\r\n\r\nhello") }, quiet: true},
		"no event, and closes":   {does: func(p *peer) { p.request(); p.say("HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nab") }, quiet: true},
		"no event, endless body": {does: func(p *peer) { p.request(); p.say("HTTP/1.1 404 Not Found\r\n\r\n"); _, _ = io.Copy(p, zeros{}) }, quiet: true},
		"another protocol":       {does: func(p *peer) { p.request(); p.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"); p.eof() }, quiet: true},
		"speaks unasked": {does: func(p *peer) {
			p.request()
			p.say("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
			p.eof()
		}, quiet: true},
		"closes when idle": {does: func(p *peer) { p.request(); p.say("HTTP/1.1 204 No Content\r\n\r\n"); p.request() }, quiet: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				if p.n == 0 {
					test.does(p)
					return
				}
				p.request()
				p.say(event1)
				p.eof()
			})
			c, remarks := client(t, s.addr)
			e, err := c.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, "r1", e.RequestID)
			require.Equal(t, 2, s.connections())
			if test.quiet {
				require.Empty(t, *remarks)
				return
			}
			require.Len(t, *remarks, 2)
			require.ErrorContains(t, (*remarks)[0], s.addr)
			require.NoError(t, (*remarks)[1])
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestBodiesAreReadInEveryFraming: the ways of HTTP to say how long a body is.
func TestBodiesAreReadInEveryFraming(t *testing.T) {
	const head = "200 OK\r\nX-Cff-Request-Id: r1\r\n"
	largest := strings.Repeat("z", MaxEvent)
	for name, test := range map[string]struct{ answer, body string }{
		"chunks":         {"HTTP/1.1 " + head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n", "abcdefg"},
		"until the end":  {"HTTP/1.1 " + head + "\r\nabc", "abc"},
		"HTTP/1.0":       {"HTTP/1.0 " + head + "\r\nabc", "abc"},
		"empty":          {"HTTP/1.1 " + head + "Content-Length: 0\r\n\r\n", ""},
		"largest":        {fmt.Sprintf("HTTP/1.1 %sContent-Length: %d\r\n\r\n%s", head, len(largest), largest), largest},
		"largest, chunk": {fmt.Sprintf("HTTP/1.1 %sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(largest), largest), largest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				for r, _ := p.request(); r != nil; r, _ = p.request() {
					p.say(test.answer)
					if strings.Contains(name, "1.0") || strings.Contains(name, "end") {
						return
					}
				}
			})
			c, remarks := client(t, s.addr)
			for range 2 {
				e, err := c.Next(t.Context())
				require.NoError(t, err)
				require.True(t, test.body == string(e.Body))
			}
			require.Empty(t, *remarks)
		})
	}
}

// TestTooLargeEventIsSkippedByItsID: an event over the limit is skipped by its id, and the next one comes.
func TestTooLargeEventIsSkippedByItsID(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nX-Cff-Request-Id: big\r\n"
	s := newServer(t, func(p *peer) {
		p.request()
		switch p.n {
		case 0:
			p.say(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, MaxEvent+1))
			_, _ = io.Copy(p, zeros{})
		case 1:
			p.say(fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n", head, MaxEvent*2))
			_, _ = io.Copy(p, zeros{})
		default:
			p.say(event1)
			p.eof()
		}
	})
	c, remarks := client(t, s.addr)
	for range 2 {
		_, err := c.Next(t.Context())
		var tooLarge *TooLargeError
		require.ErrorAs(t, err, &tooLarge)
		require.Equal(t, "big", tooLarge.RequestID)
		require.ErrorContains(t, err, fmt.Sprint(MaxEvent))
	}
	e, err := c.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, "r1", e.RequestID)
	require.Empty(t, *remarks)
}

// TestAddressWithoutEventsIsReportedOnce: an address that does not serve events is reported, once, and so is the
// first event; a server that takes its time to answer that there is none is not.
func TestAddressWithoutEventsIsReportedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		quick   time.Duration
		remarks []string
	}{
		"at once":       {time.Minute, []string{"answers 404 Not Found to every question for an event", ""}},
		"after a while": {0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			s := newServer(t, func(p *peer) {
				for r, _ := p.request(); r != nil; r, _ = p.request() {
					asked++
					if asked <= strangeFrom+3 {
						p.say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
						continue
					}
					p.say(event1)
				}
			})
			c, remarks := client(t, s.addr)
			c.quick = test.quick
			e, err := c.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, "r1", e.RequestID)
			require.Len(t, *remarks, len(test.remarks))
			for i, text := range test.remarks {
				if text == "" {
					require.NoError(t, (*remarks)[i])
				} else {
					require.ErrorContains(t, (*remarks)[i], text)
				}
			}
		})
	}
}

// TestEventUnderWayIsKeptWhenContextEnds: when ctx ends the other side hears of it, and an event that is on its way
// is not lost.
func TestEventUnderWayIsKeptWhenContextEnds(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		err    error
	}{
		"event":    {answer: event1},
		"no event": {answer: "HTTP/1.1 204 No Content\r\n\r\n", err: context.Canceled},
		"closed":   {err: context.Canceled},
		"silence":  {answer: "-", err: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			end := make(chan struct{})
			s := newServer(t, func(p *peer) {
				p.request()
				if p.n > 0 {
					return
				}
				cancel()
				p.eof() // the client's half
				if test.answer == "-" {
					<-end
				}
				p.say(test.answer)
			})
			c, _ := client(t, s.addr)
			e, err := c.Next(ctx)
			close(end)
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				require.Equal(t, "r1", e.RequestID)
				require.Equal(t, `{"a":1}`, string(e.Body))
			}
			_, err = c.Next(ctx)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, 1, s.connections())
		})
	}
}

// TestEventInPiecesIsReadAfterContextEnds: an event whose body is still coming when ctx ends is read to its end.
func TestEventInPiecesIsReadAfterContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newServer(t, func(p *peer) {
		p.request()
		p.say(event1[:len(event1)-3])
		cancel()
		p.eof()
		for _, b := range event1[len(event1)-3:] {
			p.say(string(b))
		}
	})
	c, _ := client(t, s.addr)
	e, err := c.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, string(e.Body))
}

// TestPostIsRetriedOnlyIfBrokenOffOrBusy: what counts as accepted, and what is tried again.
func TestPostIsRetriedOnlyIfBrokenOffOrBusy(t *testing.T) {
	const ok, notFound, busy = "200 OK", "404 Not Found", "503 Service Unavailable"
	for name, test := range map[string]struct {
		answers []string // "" breaks the connection off
		status  int      // of the error; 0 is none
	}{
		"accepted":                   {answers: []string{ok}},
		"refused":                    {answers: []string{notFound}, status: 404},
		"refused as a duplicate":     {answers: []string{"409 Conflict"}, status: 409},
		"redirected":                 {answers: []string{"302 Found"}, status: 302},
		"broken off":                 {answers: []string{"", ok}},
		"broken off, but got there":  {answers: []string{"", notFound}},
		"broken off, but was first":  {answers: []string{"", "409 Conflict"}},
		"broken off, but is gone":    {answers: []string{"", "", "410 Gone"}},
		"broken off, then too large": {answers: []string{"", "413 Too Large"}, status: 413},
		"busy":                       {answers: []string{busy, "429 Too Many Requests", ok}},
		"always busy":                {answers: []string{busy, busy, busy, busy, busy, busy, busy, busy}, status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := make(chan string, len(test.answers))
			for _, a := range test.answers {
				left <- a
			}
			s := newServer(t, func(p *peer) {
				for {
					r, _ := p.request()
					if r == nil {
						return
					}
					a := <-left
					if a == "" {
						return
					}
					p.say("HTTP/1.1 " + a + "\r\nContent-Length: 3\r\n\r\nwhy")
				}
			})
			c, _ := client(t, s.addr)
			err := c.Respond(t.Context(), "r1", []byte("x"))
			if test.status == 0 {
				require.NoError(t, err)
				return
			}
			var refused *StatusError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, test.status, refused.Status)
			require.Equal(t, "why", refused.Body)
		})
	}
}

// TestEarlyRefusalOfALargeBodyIsUnderstood: a server that refuses a large body without reading it is understood.
func TestEarlyRefusalOfALargeBodyIsUnderstood(t *testing.T) {
	s := newServer(t, func(p *peer) {
		if _, err := http.ReadRequest(p.r); err != nil {
			return
		}
		p.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		p.eof() // what has come must be taken, or the kernel withdraws the answer
	})
	c, remarks := client(t, s.addr)
	err := c.Respond(t.Context(), "r1", bytes.Repeat([]byte("x"), 6<<20))
	var refused *StatusError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 413, refused.Status)
	require.Empty(t, *remarks)
}

// TestPostEndsWithItsContext: the end of ctx ends the tries, whatever the other side does.
func TestPostEndsWithItsContext(t *testing.T) {
	for name, does := range map[string]func(p *peer){
		"silence": func(p *peer) { p.eof() },
		"closes":  func(*peer) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, does)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			c, _ := client(t, s.addr)
			err := c.Fail(ctx, "r1", bytes.Repeat([]byte("x"), 1<<20))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "r1")
		})
	}
}

// TestClientResumesAfterAnOutageAndReportsIt: the client goes on when the other side comes back, and says so.
func TestClientResumesAfterAnOutageAndReportsIt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	c, _ := client(t, addr)
	begun, over := make(chan error, 10), make(chan struct{}, 10)
	c.Remark = func(err error) {
		if err != nil {
			begun <- err
		} else {
			over <- struct{}{}
		}
	}
	got := make(chan error, 1)
	go func() {
		_, err := c.Next(t.Context())
		got <- err
	}()
	require.ErrorContains(t, <-begun, "refused")
	s := &server{t: t}
	s.listen(addr, func(p *peer) {
		p.request()
		p.say(event1)
		p.eof()
	})
	t.Cleanup(s.stop)
	require.NoError(t, <-got)
	<-over
	require.Empty(t, begun)
	require.Empty(t, over)
}

// TestContextEndsTheTriesDuringAnOutage: ctx ends the tries for an event.
func TestContextEndsTheTriesDuringAnOutage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := client(t, "127.0.0.1:1")
	c.Remark = func(error) { cancel() }
	_, err := c.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, errors.Is(err, errNotSent))
}

func TestBackoffGrowsAndSuccessResetsIt(t *testing.T) {
	c := New("x")
	var pauses []time.Duration
	for range 9 {
		pauses = append(pauses, c.failed(t.Context(), errNotSent))
	}
	require.Equal(t, 50*time.Millisecond, pauses[0])
	require.Equal(t, 100*time.Millisecond, pauses[1])
	require.Equal(t, 5*time.Second, pauses[8])
	require.Zero(t, c.failed(t.Context(), errStale))
	c.worked()
	require.Equal(t, 50*time.Millisecond, c.failed(t.Context(), errNotSent))
}

// TestSilentConnectionEndsAnOutage: that a connection is silent without an end is the end of an outage; that it ends
// then is nothing bad.
func TestSilentConnectionEndsAnOutage(t *testing.T) {
	over := make(chan struct{})
	s := newServer(t, func(p *peer) {
		p.request()
		switch p.n {
		case 0: // the outage
		case 1:
			<-over
		default:
			p.say(event1)
			p.eof()
		}
	})
	c, _ := client(t, s.addr)
	c.held = 20 * time.Millisecond
	begun := 0
	c.Remark = func(err error) {
		if err == nil {
			close(over)
		} else {
			begun++
		}
	}
	_, err := c.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, begun)
	require.Equal(t, 3, s.connections())
}

// TestStalledConnectionIsGivenUp: a connection on which an answer stops coming, or does not begin to a POST, is given
// up.
func TestStalledConnectionIsGivenUp(t *testing.T) {
	s := newServer(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			switch {
			case p.n == 0:
				p.say(event1[:len(event1)-1])
			case r.Method == http.MethodGet:
				p.say(event1)
			case p.n > 1: // the first POST had no answer
				p.say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
			}
		}
	})
	c, remarks := client(t, s.addr)
	c.stall = 50 * time.Millisecond
	_, err := c.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, *remarks, 2)
	require.NoError(t, c.Respond(t.Context(), "r1", nil))
}
