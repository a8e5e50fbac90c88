package language

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"gantry/process"
	"os"
	"path/filepath"
	"strings"
)

// oldestSharing is the first Java that writes an archive of classes at its end.
var oldestSharing = Version{Major: 13}

// ClassArchive is what an archive of classes has to fit: a Java machine and a worker.
type ClassArchive struct {
	Version string // of Java, with its build, without spaces
	Worker  string // hash of the worker's archive
}

// ClassArchive returns what an archive has to fit to serve a command of this language. The error says why it can have
// none.
func (l *Language) ClassArchive(cmd *process.Command) (*ClassArchive, error) {
	for _, own := range []string{"-Xshare", "SharedArchiveFile", "ArchiveClassesAtExit", "AutoCreateSharedArchive"} {
		if strings.Contains(userOptions(cmd.Env), own) {
			return nil, fmt.Errorf("%s in JAVA_TOOL_OPTIONS stands in its place", own)
		}
	}
	version, err := javaVersion(cmd.Path)
	if err != nil {
		return nil, err
	}
	file, err := l.archiveFile()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return &ClassArchive{Version: version, Worker: hex.EncodeToString(sum[:])}, nil
}

// QuietSharing are the options that keep a Java machine from writing a line about an archive that it does not take: the
// worker says so. There are none where the user has chosen what is logged.
func (l *Language) QuietSharing(cmd *process.Command) []string {
	if strings.Contains(userOptions(cmd.Env), "-Xlog") {
		return nil
	}
	return []string{"-Xlog:cds*=off"}
}

// javaVersion reads the version of a Java machine out of the file that describes it: to run the machine would take
// longer than an archive saves.
func javaVersion(program string) (string, error) {
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		return "", err
	}
	home := filepath.Dir(filepath.Dir(program))
	text, err := os.ReadFile(filepath.Join(home, "release"))
	if errors.Is(err, os.ErrNotExist) && filepath.Base(home) == "jre" { // Java 8
		text, err = os.ReadFile(filepath.Join(filepath.Dir(home), "release"))
	}
	if err != nil {
		return "", fmt.Errorf("the version of %s is not known: %w", program, err)
	}
	short := releaseValue(text, "JAVA_VERSION")
	var major int
	if _, err = fmt.Sscanf(short, "%d", &major); err != nil {
		return "", fmt.Errorf(
			"the version of %s is not known: the file release in %s has no JAVA_VERSION", program, home)
	}
	if major < oldestSharing.Major {
		return "", fmt.Errorf("this is Java %s, and it takes Java %d or later", short, oldestSharing.Major)
	}
	if full := releaseValue(text, "JAVA_RUNTIME_VERSION"); full != "" {
		return strings.ReplaceAll(full, " ", "_"), nil
	}
	return short, nil
}

// releaseValue is a value in a file release, lines of NAME="value".
func releaseValue(text []byte, name string) string {
	for line := range strings.Lines(string(text)) {
		if quoted, ok := strings.CutPrefix(line, name+`="`); ok {
			if value, _, ok := strings.Cut(quoted, `"`); ok {
				return value
			}
		}
	}
	return ""
}
