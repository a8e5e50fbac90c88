package language

import (
	"fmt"
	"gantry/process"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// archiveFolder has the archives where the agent was installed by a package, relative to the agent's folder.
const archiveFolder = "../lib/gantry"

// archiveFile is the path of a worker that lies beside the agent's program, or where packages have it.
func (l *Language) archiveFile() (string, error) {
	agent, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("%s: the worker lies beside the agent's program: %w", l.Title, err)
	}
	return l.archiveNear(filepath.Dir(strings.TrimSuffix(agent, " (deleted)")))
}

func (l *Language) archiveNear(folder string) (string, error) {
	file := filepath.Join(folder, l.Archive)
	if regular(file) {
		return file, nil
	}
	if packed := filepath.Join(folder, archiveFolder, l.Archive); regular(packed) {
		return packed, nil
	}
	return "", fmt.Errorf(
		"%s: the worker %s is not there: take it from Gantry's archive or build it (make %s), and put it beside bootstrap",
		l.Title,
		file,
		l.Name,
	)
}

// completeArchive starts the archive in a Java machine. Options of the command line beat those of JAVA_TOOL_OPTIONS, so
// what the user has set there is left out.
func (l *Language) completeArchive(cmd *process.Command) error {
	file, err := l.archiveFile()
	if err != nil {
		return err
	}
	given := userOptions(cmd.Env)
	for _, o := range javaOptions(cmd.Env) {
		if !o.beaten(given) {
			cmd.Args = append(cmd.Args, o.text)
		}
	}
	cmd.Args = append(cmd.Args, "-jar", file)
	parked := func(kv string) bool { return kv == parkedVariable }
	if slices.ContainsFunc(cmd.Env, parked) { // a Java program cannot take a variable out of its environment
		cmd.Env = slices.DeleteFunc(slices.Clone(cmd.Env), parked)
		cmd.Args = append(cmd.Args, "parked")
	}
	return nil
}

// parkedVariable is runtime's.
const parkedVariable = "GANTRY_PARKED=1"

// userOptions are the variables in which a Java machine takes options.
func userOptions(env []string) string {
	var given []string
	for _, kv := range env {
		switch name, value, _ := strings.Cut(kv, "="); name {
		case "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS":
			given = append(given, value)
		}
	}
	return strings.Join(given, " ")
}

// javaOption is an option of ours, and what in the user's stands in its place.
type javaOption struct {
	text     string
	beatenBy []string
}

// beaten reports whether the user's options have one of its kind.
func (o *javaOption) beaten(given string) bool {
	return slices.ContainsFunc(o.beatenBy, func(text string) bool { return strings.Contains(given, text) })
}

// javaOptions bound the heap, take the collector that starts fastest in little memory, and make the encoding that of
// the log.
func javaOptions(env []string) []javaOption {
	options := []javaOption{
		{"-XX:+UseSerialGC", []string{"GC"}},
		{"-Dfile.encoding=UTF-8", []string{"-Dfile.encoding="}},
	}
	for _, kv := range env {
		if text, ok := strings.CutPrefix(kv, "RUNTIME_MEMORY="); ok {
			if mb, err := strconv.Atoi(text); err == nil {
				heap := fmt.Sprintf("-Xmx%dm", heapSize(mb))
				options = append(options, javaOption{heap, []string{"-Xmx", "MaxHeapSize", "MaxRAM"}})
			}
		}
	}
	return options
}

// leastBeside is what a Java machine needs beside its heap, in MB: classes, compiled code, stacks.
const leastBeside = 64

// heapSize is the largest heap for a function with that memory limit, both in MB: three quarters of it, and less where
// that would leave too little for the machine itself.
func heapSize(memory int) int {
	return max(memory-max(memory/4, leastBeside), memory/4, 8)
}
