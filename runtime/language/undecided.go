package language

// undecided is a bootstrap of which the files do not say what it is: a custom runtime or the server of an HTTP
// function. It is offered both until it shows which, so it answers yes to Polls and to Listens. It is no value of
// GANTRY_RUNTIME.
var undecided = &Language{
	Name:          "custom",
	Title:         "custom runtime or HTTP function",
	Handler:       customProgram,
	File:          customProgram,
	Own:           custom.Own,
	Carrier:       OverRuntimeAPIOrHTTP,
	NoInitializer: "neither a custom runtime nor an HTTP function has an initializer: what stands before the loop, or before the server listens, is one",
	NoPreStop:     "neither a custom runtime nor an HTTP function has a pre-stop hook: TERM asks the program to end",
	Ends:          "it has to ask for events in an endless loop, or to serve until TERM",
	Silent:        neverAsked + ", and no process of it listens on GANTRY_UPSTREAM, whose port is PORT, as the server of an HTTP function does",
	Poller:        custom,
	Server:        httpServer,
}

const neverAsked = "bootstrap did not ask for an event, as a custom runtime does (GET http://$RUNTIME_API_ADDR/v1/runtime/invocation/request)"

// SilentFor is Silent where it was seen what stands in the way of the load; obstacle is nil if it was not.
func (l *Language) SilentFor(obstacle error) string {
	switch {
	case obstacle == nil:
		return l.Silent
	case l.Undecided(): // it was a server's
		return neverAsked + "; " + obstacle.Error()
	}
	return obstacle.Error()
}
