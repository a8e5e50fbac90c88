package poll

import (
	"bufio"
	"errors"
	"strings"
	"testing"
)

// FuzzReadAnswer: whatever a server says, reading it ends, within its bounds and without a panic.
func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{
		event1, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 200 OK\r\nX-Cff-Request-Id: r\r\n\r\nrest", "HTTP/1.1 100 Continue\r\n\r\n" + event1,
		"HTTP/1.1 200 OK\r\nX-Cff-Request-Id: r\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n", "HTTP/1.1 101 X\r\nUpgrade: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Cff-Request-Id: r\r\nContent-Length: 999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, get bool) {
		method := "POST"
		if get {
			method = "GET"
		}
		bodies := 0
		a, err := readAnswer(bufio.NewReader(strings.NewReader(text)), method, func() error { return nil }, func() { bodies++ })
		switch {
		case err != nil:
			if a != nil {
				t.Fatal("an answer and an error")
			}
		case bodies != 1:
			t.Fatal("a body without a sign of it, or two")
		case a.status >= 100 && a.status < 200 && a.status != 101:
			t.Fatal("an interim answer")
		case len(a.body) > MaxEvent, a.cut && !a.last:
			t.Fatal("too much was read")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			t.Fatal(err)
		}
	})
}

func TestLooksLikeJSONAcceptsObjectsAndArraysOnly(t *testing.T) {
	for text, want := range map[string]bool{"": false, "{": false, "{}": true, " [ ] \n": true, "{]": false, "x{}": false, `"x"`: false, "1": false} {
		if looksLikeJSON([]byte(text)) != want {
			t.Errorf("%q: not %v", text, want)
		}
	}
}
