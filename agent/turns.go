package agent

// syncPerAsync is how many synchronous calls start for one asynchronous call while both kinds wait. Somebody sits waiting
// for the former; the latter must still come to an end.
const syncPerAsync = 4

// turns says which kind of call a free slot goes to. The zero value is ready for use.
type turns struct {
	row int // synchronous calls started in a row while an asynchronous one waited; syncPerAsync at most
}

// async reports whether the next slot is an asynchronous call's, given which kinds want one.
func (t turns) async(syncWaits, asyncWaits bool) bool {
	return asyncWaits && (!syncWaits || t.row >= syncPerAsync)
}

// started takes note of a start; asyncWaits tells whether asynchronous calls wait after it. A row that nobody had to wait
// for does not count.
func (t *turns) started(async, asyncWaits bool) {
	if async || !asyncWaits {
		t.row = 0
		return
	}
	t.row++
}
