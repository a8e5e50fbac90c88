package agent

// Cancel ends the call with this request id by force: out of the waiting room, or with its worker, which is killed and
// replaced at once. The call, and every other one that the worker has, is answered with fault.Canceled, unless its answer
// came before; a failure that came before becomes a cancel, for the call itself. False when no such call waits or runs here;
// true as long as it does, so also for a call that is canceled already. Anyone may call it, at any time; it does not wait for
// the answers.
func (a *Agent) Cancel(requestID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.calls[requestID]
	if l == nil {
		return false
	}
	l.canceled = true // all there is to do for a call between two workers
	switch {
	case l.place != nil:
		a.takeOut(l)
	case l.worker != nil:
		l.worker.Cancel()
	}
	return true
}
