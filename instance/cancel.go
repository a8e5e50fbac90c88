package instance

// Cancel ends the call with this request id by force: out of the waiting room, or with its worker, which is killed and
// replaced at once. The call, and every other call on that worker, is answered with fault.Canceled, unless its answer
// came before; for the call itself, a failure that came before becomes a cancel too. Cancel returns true if such a call
// waits or runs here, even if it is canceled already. It may be called at any time, and does not wait for the answers.
func (a *Instance) Cancel(requestID string) bool {
	a.mu.Lock()
	l := a.calls[requestID]
	if l == nil || l.ended {
		a.mu.Unlock()
		return false
	}
	l.canceled = true // all there is to do for a call between two workers
	switch {
	case l.place != nil:
		a.takeOut(l)
	case l.unbegun: // if it begins before it is taken back, it ends by that
		w := l.worker
		a.mu.Unlock()
		a.handOver()
		w.TakeBack()
		return true
	case l.worker != nil:
		l.worker.Cancel()
	}
	a.mu.Unlock()
	return true
}
