package language

var custom = &Language{
	Name:          "custom",
	Title:         "custom runtime",
	Handler:       customProgram,
	File:          customProgram,
	Own:           []string{"gantry/function.", "gantry/function/"},
	Carrier:       OverRuntimeAPI,
	NoInitializer: "a custom runtime has no initializer: what stands before its loop is one",
	NoPreStop:     "a custom runtime has no pre-stop hook: TERM asks it to end",
	Ends:          "it has to ask for events in an endless loop",
	Silent:        "bootstrap did not ask for an event: it has to GET http://$RUNTIME_API_ADDR/v1/runtime/invocation/request; if it starts a web server, this is an HTTP function: set GANTRY_RUNTIME=http",
}

// customProgram is the file that the platform starts as a custom runtime (page functiongraph_01_0406).
const customProgram = "bootstrap"
