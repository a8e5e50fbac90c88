package async

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// begun marks, among the requests under way, those whose attempt has a slot.
const begun = "begun"

// runsElsewhere asks the other agents of the function whether one of them runs this request.
func (r *run) runsElsewhere() bool {
	ctx, cancel := context.WithTimeout(r.ctx, runningAnswer)
	defer cancel()
	_, err := r.conn.RequestWithContext(ctx, r.prefix+".running", []byte(r.id))
	return err == nil
}

// runningAnswer is how long other agents have to say that they run a request.
const runningAnswer = 500 * time.Millisecond

// listenForRunning answers the other agents that ask whether this one runs a request.
func (e *engine) listenForRunning() error {
	return e.listen("running", "", func(msg *nats.Msg) {
		if attempt, _ := e.underWay.Load(string(msg.Data)); attempt == begun {
			if err := msg.Respond(nil); err != nil {
				e.q.cfg.Log.Debug("another agent does not learn that a request runs here", zap.Error(err))
			}
		}
	})
}
