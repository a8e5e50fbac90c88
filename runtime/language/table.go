package language

// All is the table: a row for each language that an agent can run.
var All = []*Language{nodejs, python, java, php, golang, custom, httpServer, eventServer}

// Default is the language of a code folder that names none.
func Default() *Language { return All[0] }
