package poll

import (
	"bufio"
	"gantry/function/internal/require"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

func TestMain(m *testing.M) { require.NoLeaks(m) }

// server is the other side: it does with each connection what its script says.
type server struct {
	t    *testing.T
	ln   net.Listener
	wg   sync.WaitGroup
	addr string

	mu    sync.Mutex
	count int
	open  []net.Conn
}

// peer is the server's end of one connection.
type peer struct {
	net.Conn
	r *bufio.Reader
	// n counts connections from 0.
	n int
}

func newServer(t *testing.T, script func(p *peer)) *server {
	t.Helper()
	s := &server{t: t}
	s.listen("127.0.0.1:0", script)
	t.Cleanup(s.stop)
	return s
}

func (s *server) listen(addr string, script func(p *peer)) {
	ln, err := net.Listen("tcp", addr)
	require.NoError(s.t, err)
	s.ln, s.addr = ln, ln.Addr().String()
	s.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			p := &peer{Conn: conn, r: bufio.NewReader(conn), n: s.count}
			s.count++
			s.open = append(s.open, conn)
			s.mu.Unlock()
			s.wg.Go(func() {
				defer conn.Close()
				script(p)
			})
		}
	})
}

func (s *server) stop() {
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.open {
		c.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// request reads one; nil at the end of the connection.
func (p *peer) request() (*http.Request, []byte) {
	r, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil
	}
	return r, body
}

func (p *peer) say(text string) { _, _ = io.WriteString(p, text) }

// eof waits for the end of what the client sends.
func (p *peer) eof() { _, _ = io.Copy(io.Discard, p.r) }

const event1 = "HTTP/1.1 200 OK\r\nX-CFF-Request-Id: r1\r\nX-CFF-Access-Key: ak\r\nContent-Length: 7\r\n\r\n{\"a\":1}"

// client returns one that is closed with the test, and what it remarks.
func client(t *testing.T, addr string) (*Client, *[]error) {
	c := New(addr)
	remarks := &[]error{}
	c.Remark = func(err error) { *remarks = append(*remarks, err) }
	t.Cleanup(func() { _ = c.Close() })
	return c, remarks
}
