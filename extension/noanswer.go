package extension

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/valyala/fasthttp"
)

// NoAnswer says why a request got no answer, without the words of the library, for logs and messages.
func NoAnswer(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "no process listens there"
	case errors.Is(err, fasthttp.ErrTimeout),
		errors.Is(err, fasthttp.ErrDialTimeout),
		errors.Is(err, os.ErrDeadlineExceeded):
		return "its time was over"
	case errors.Is(err, fasthttp.ErrConnectionClosed),
		errors.Is(err, io.EOF),
		errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		return "it closed the connection without an answer, as one that wants https does"
	case errors.As(err, &dns):
		return "no host is called " + dns.Name
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"), errors.As(err, new(tls.RecordHeaderError)):
		return "it speaks plain HTTP, and was asked by https"
	}
	return err.Error()
}
