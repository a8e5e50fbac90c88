package instance

// syncPerAsync is how many synchronous calls start for one asynchronous call while both kinds wait. Callers wait for
// the synchronous ones; the asynchronous ones must still make progress.
const syncPerAsync = 4

// turns says which kind of call a free slot goes to. The zero value is ready for use.
type turns struct {
	row int // synchronous calls started in a row while an asynchronous one waited; syncPerAsync at most
}

// async reports whether the next slot is an asynchronous call's, given which kinds want one.
func (t turns) async(syncWaits, asyncWaits bool) bool {
	return asyncWaits && (!syncWaits || t.row >= syncPerAsync)
}

// started records a start; asyncWaits reports whether asynchronous calls wait after it. Synchronous starts count only
// while an asynchronous call waits.
func (t *turns) started(async, asyncWaits bool) {
	if async || !asyncWaits {
		t.row = 0
		return
	}
	t.row++
}
