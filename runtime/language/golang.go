package language

var golang = &Language{
	Name:      "go",
	Title:     "Go",
	Handler:   "handler",
	Own:       []string{"gantry/function.", "gantry/function/", "huaweicloud.com/go-runtime/", "net/rpc.(*service)."},
	Carrier:   OverFramesOrRPC,
	NoPreStop: "a Go function has no pre-stop hook: TERM asks it to end",
	Ends:      "os.Exit(), log.Fatal(), a panic in a goroutine of its own, or an end of main()",
	Silent:    "the program neither called function.Start nor listened on RUNTIME_API_ADDR, as runtime.Register of the platform's SDK does: look for work or waiting before that in main()",
}
