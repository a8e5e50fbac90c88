package async

import (
	"context"
	"errors"
)

// errCut says that the connection was lost before an answer came: the server has forgotten the request.
var errCut = errors.New("the connection to the queue was lost before the answer came")

// whileConnected returns a context that also ends, with errCut, when the connection is lost. If it is lost already, the
// next connection counts: messages sent meanwhile wait for it.
func (e *engine) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	e.mu.Lock()
	link := e.link
	e.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(link, func() { cancel(errCut) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
