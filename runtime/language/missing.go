package language

import "strings"

// other is a language that the platform has and this version has not.
type other struct {
	name string
	// platform is how the platform's names of its runtimes begin, in lower case.
	platform, title string
	// extension is that of the files in its code folders, instead what to do.
	extension, instead string
	// handler recognises its handlers; nil if they look like those of another language.
	handler func(string) bool
}

// hasHandler reports whether a handler can only be one of this language.
func (o *other) hasHandler(handler string) bool { return o.handler != nil && o.handler(handler) }

// missing are these languages.
var missing = []*other{
	{
		"csharp",
		"c#(.net core ",
		"C#",
		".dll",
		"publish it as a program of its own, which polls the runtime API, and put it into the code folder as bootstrap (GANTRY_RUNTIME=custom)",
		func(handler string) bool { return strings.Contains(handler, "::") },
	},
}

// sourceKinds are texts that have to be compiled before a function can run.
var sourceKinds = []struct{ title, instead string }{
	{"Go", "build the program and put it into the code folder: CGO_ENABLED=0 go build -o handler"},
	{"TypeScript", "compile it to JavaScript (tsc, esbuild) and set --code to the folder with the result"},
	{"Java", "build a jar (mvn package, gradle jar), and set --code to the folder with it"},
	{"C#", "C# functions are not supported in this version: " + missing[0].instead},
}

// sourceOf is the index in sourceKinds by file extension.
var sourceOf = map[string]int{".go": 0, ".ts": 1, ".mts": 1, ".cts": 1, ".tsx": 1, ".java": 2, ".cs": 3}
