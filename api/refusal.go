package api

import (
	"bufio"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// refusingLimit is how many connections may wait for the end of their refusal at once.
	refusingLimit = 16
	refusalTime   = time.Second
)

// turnAway answers 503 in the listener's own form. A client of TLS would have to shake hands for it, and is cut off.
func (l *listener) turnAway(c *connection) {
	if l.secure != nil || l.refusing.Add(1) > refusingLimit {
		if l.secure == nil {
			l.refusing.Add(-1)
		}
		_ = c.Close()
		return
	}
	go func() { // it ends within refusalTime
		defer l.refusing.Add(-1)
		defer func() { _ = c.Close() }() // the client has left
		_ = c.tcp.SetDeadline(time.Now().Add(refusalTime))
		c.linger.Store(l.writeRefusal(c) == nil)
	}()
}

// writeRefusal answers without a request.
func (l *listener) writeRefusal(c *connection) error {
	var ctx fasthttp.RequestCtx
	ctx.Init2(c, quiet{l.log}, true)
	l.refuse(&ctx, noRoom())
	ctx.Response.Header.SetServer(serverName)
	ctx.SetConnectionClose()
	w := bufio.NewWriter(c)
	if err := ctx.Response.Write(w); err != nil {
		return err
	}
	return w.Flush()
}
