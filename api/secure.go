package api

import (
	"bufio"
	"crypto/tls"
	"errors"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// Handshake is called by fasthttp before the first request is read.
func (c *secureConnection) Handshake() error {
	if err := errors.Join(c.applyRead(), c.applyWrite()); err != nil {
		return err
	}
	return c.tls.Handshake()
}

// ConnectionState returns what the handshake agreed on.
func (c *secureConnection) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// answerPlain sends the answer that is in ctx to a client that does not know of TLS.
func (c *connection) answerPlain(ctx *fasthttp.RequestCtx) {
	c.listener.remarkPlain()
	ctx.Response.Header.SetServer(serverName)
	ctx.SetConnectionClose()
	_ = c.tcp.SetWriteDeadline(time.Now().Add(refusalTime))
	w := bufio.NewWriter(c.tcp)
	if ctx.Response.Write(w) == nil {
		_ = w.Flush() // a client that has left needs no answer
	}
}

// remarkPlain logs that a client does not use TLS.
func (l *listener) remarkPlain() {
	if left, ok := l.plain.take(time.Now()); ok {
		l.log.Info(
			"plain HTTP was sent to a port that speaks TLS, and answered with 400",
			zap.String("listener", l.name),
			zap.Int64("not_logged", left),
		)
	}
}
