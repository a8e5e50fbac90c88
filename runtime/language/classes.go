package language

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// classFile is the file that has the handler's class: a class file, or the first jar with it in the code folder or in
// its lib folder; empty if none has.
func classFile(codeRoot, handler string) string {
	dot := strings.LastIndexByte(handler, '.')
	if dot <= 0 || strings.ContainsAny(handler, "/\\") {
		return ""
	}
	class := strings.ReplaceAll(handler[:dot], ".", "/") + ".class"
	if regular(filepath.Join(codeRoot, class)) {
		return class
	}
	for _, jar := range jars(codeRoot) {
		if hasEntry(filepath.Join(codeRoot, jar), class) {
			return jar
		}
	}
	return ""
}

// jars are the names of the jars that a function in Java is loaded from.
func jars(codeRoot string) (names []string) {
	for _, folder := range []string{"", "lib"} {
		entries, _ := os.ReadDir(filepath.Join(codeRoot, folder)) // what cannot be read has none
		for _, e := range entries {
			if name := filepath.Join(folder, e.Name()); filepath.Ext(name) == ".jar" && regular(filepath.Join(codeRoot, name)) {
				names = append(names, name)
			}
		}
	}
	return names
}

// hasEntry reports whether a jar has a file of that name. The worker says what is wrong with a jar that is none.
func hasEntry(jar, name string) bool {
	r, err := zip.OpenReader(jar)
	if err != nil {
		return false
	}
	found := slices.ContainsFunc(r.File, func(f *zip.File) bool { return f.Name == name })
	return r.Close() == nil && found
}

// method reports whether a handler can only be package.Class.method.
func method(handler string) bool {
	return strings.Count(handler, ".") > 1 && !strings.ContainsAny(handler, "/:")
}

// className reports whether a handler is most likely package.Class.method: classes begin with a capital letter.
func className(handler string) bool {
	if !method(handler) {
		return false
	}
	parts := strings.Split(handler, ".")
	first, _ := utf8.DecodeRuneInString(parts[len(parts)-2])
	return unicode.IsUpper(first)
}

// projects are the files of programs that build jars, what they are, and the command that builds one into the folder.
var projects = []struct{ file, title, command, folder string }{
	{"pom.xml", "Maven", "mvn package", "target"},
	{"build.gradle", "Gradle", "gradle jar", "build/libs"},
	{"build.gradle.kts", "Gradle", "gradle jar", "build/libs"},
}

// checkProject is the error for a code folder that is a project which builds a jar.
func checkProject(codeRoot string) error {
	for _, p := range projects {
		if !regular(filepath.Join(codeRoot, p.file)) {
			continue
		}
		built := filepath.Join(codeRoot, p.folder)
		if len(jars(built)) > 0 {
			return fmt.Errorf("the code folder %s is a %s project, whose jar is in %s: set --code %s", codeRoot, p.title, p.folder, built)
		}
		return fmt.Errorf(
			"the code folder %s is a %s project without a jar: run %s, and set --code %s",
			codeRoot,
			p.title,
			p.command,
			built,
		)
	}
	return nil
}
