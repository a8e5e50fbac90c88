package poll

import (
	"bufio"
	"errors"
	"io"
	"net/http"
)

// answer is one answer of the runtime API.
type answer struct {
	status int
	header http.Header
	body   []byte
	// cut says that the body is longer than what was read, last that the connection is of no further use.
	cut, last bool
}

// maxInterim is how many answers of the kind 1xx may come before the real one.
const maxInterim = 10

// readAnswer reads the answer to a request. wait is called before the first byte of each, body before the body.
func readAnswer(r *bufio.Reader, method string, wait func() error, body func()) (*answer, error) {
	for range maxInterim {
		if err := wait(); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			_ = resp.Body.Close() // there is none
			continue
		}
		body()
		return readBody(resp, method == http.MethodGet)
	}
	return nil, errors.New("only interim answers")
}

// readBody reads an event whole. Of other bodies it reads what the connection needs to be used again; that they are
// complete does not matter.
func readBody(resp *http.Response, mayBeEvent bool) (*answer, error) {
	defer func() { _ = resp.Body.Close() }() // a broken connection shows when it is used next
	a := &answer{
		status: resp.StatusCode,
		header: resp.Header,
		last:   resp.Close || resp.StatusCode == http.StatusSwitchingProtocols,
	}
	event := mayBeEvent && a.status == http.StatusOK && a.header.Get("X-Cff-Request-Id") != ""
	limit := int64(maxIgnored)
	if event {
		limit = MaxEvent
	}
	if resp.ContentLength > limit {
		a.cut, a.last = true, true
		return a, nil
	}
	var err error
	if resp.ContentLength >= 0 {
		a.body = make([]byte, resp.ContentLength)
		var n int
		n, err = io.ReadFull(resp.Body, a.body)
		a.body = a.body[:n]
		if err == nil { // lets a body notice its end, without which the next answer cannot be read
			_, err = io.Copy(io.Discard, resp.Body)
		}
	} else {
		a.body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	}
	if int64(len(a.body)) > limit {
		a.body, a.cut, a.last = a.body[:limit], true, true
	}
	if err != nil {
		if event {
			return nil, err
		}
		a.last = true
	}
	return a, nil
}
