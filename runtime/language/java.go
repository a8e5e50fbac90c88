package language

var java = &Language{
	Name:          "java",
	Title:         "Java",
	Handler:       "com.demo.TriggerTests.apigTest",
	Extensions:    []string{".jar", ".class"},
	Classes:       true,
	Program:       "java",
	Platform:      "/opt/function/runtime/java*/rtsp/jre/bin/java",
	Archive:       "gantry-java.jar",
	MinVersion:    Version{Major: 8},
	Parks:         true,
	CachesCode:    true,
	SharesClasses: true,
	Uncached:      "the Java machine wrote no class archive",
	// Each machine would want the debugger's port.
	DebugVariable: "JAVA_TOOL_OPTIONS",
	DebugOption:   "jdwp",
	Ends:          "System.exit(), Runtime.halt(), a heap that stays full, a failed heartbeat hook",
	Silent:        "loading the class took too long: look for work or waiting in its static initialisers and its constructor",
	Early: []Sign{
		{"Unrecognized VM option", "an option in JAVA_TOOL_OPTIONS is not known to this Java: correct it"},
		{"Invalid maximum heap size", "the heap's limit in JAVA_TOOL_OPTIONS cannot be had: correct it"},
		{"Could not reserve enough space", "there is too little memory for the heap: lower RUNTIME_MEMORY, or raise the container's limit"},
		{"UnsupportedClassVersionError", "this Java is too old: install Java 8 or later, or put it first in PATH"},
	},
}
