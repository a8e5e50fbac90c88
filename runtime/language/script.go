package language

import (
	"bytes"
	"errors"
	"fmt"
	"gantry/process"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

const shell = "/bin/sh"

// shellNames are what the first line of a script for a shell names.
var shellNames = []string{shell, "/usr/bin/sh"}

// bashNames are where bash is, and what the first line of a script for it names.
var bashNames = []string{"/bin/bash", "/usr/bin/bash"}

// platformShell is the program that stands for the platform's /bin/sh, which is bash: bash where there is one, else
// /bin/sh.
func platformShell() string {
	for _, bash := range bashNames {
		if executable(bash) {
			return bash
		}
	}
	return shell
}

// asScript has a script without a first line like #!/bin/sh run by a shell, as a shell itself would do, and has one for
// /bin/sh run by bash under that name, where sh is bash. The guide's own bootstrap says set -o pipefail, which other
// shells refuse.
func asScript(cmd *process.Command, sh string) error {
	line, ok, err := scriptLine(cmd.Path)
	switch {
	case err != nil:
		return fmt.Errorf("start worker: %w", err)
	case !ok || !executable(cmd.Path): // the kernel may still run it; it says what is wrong
		return nil
	case line == "":
		cmd.Path, cmd.Args = sh, []string{shell, cmd.Args[0]}
		return nil
	}
	words := wordsOf(line)
	if !slices.Contains(shellNames, words[0]) {
		return nil
	}
	cmd.Path, cmd.Args = sh, append(words, cmd.Args[0])
	return nil
}

// wordsOf takes a first line apart as the kernel does: the interpreter, and the rest, if any, as one argument.
func wordsOf(line string) []string {
	interpreter, argument, _ := strings.Cut(line, " ")
	if argument = strings.TrimSpace(argument); argument != "" {
		return []string{interpreter, argument}
	}
	return []string{interpreter}
}

// scriptLine returns the first line of a script without its #!, empty if it has none. ok is false for a program, and
// for what cannot be read.
func scriptLine(path string) (line string, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", false, nil
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", false, nil
	}
	head = head[:n]
	first, _, _ := bytes.Cut(head, []byte("\n"))
	rest, marked := bytes.CutPrefix(first, []byte("#!"))
	switch {
	case marked && bytes.HasSuffix(first, []byte("\r")):
		// #!/usr/bin/env python3 starts, and then looks for a program whose name ends in CR.
		return "", false, fmt.Errorf(
			"%s: its first line ends in CR LF, so the interpreter is not found: save it with Unix line endings",
			path,
		)
	case marked:
		return strings.TrimSpace(string(rest)), true, nil
	case bytes.IndexByte(head, 0) >= 0 || !utf8.Valid(head[:n/2]):
		return "", false, nil
	}
	return "", true, nil
}

// shellRemark says of a script that ended where sh is another shell than on the platform, that this may be why; sh is
// what ran it.
func shellRemark(path, sh string) string {
	line, ok, err := scriptLine(path)
	if err != nil || !ok {
		return ""
	}
	if interpreter, _, _ := strings.Cut(line, " "); line != "" && !slices.Contains(shellNames, interpreter) {
		return ""
	}
	real, err := filepath.EvalSymlinks(sh)
	if err != nil || filepath.Base(real) == "bash" {
		return ""
	}
	return fmt.Sprintf(
		"; it is a script for %s, which is %s here and bash on the platform, whose set -o pipefail and [[ are not known here: install bash, or write it for any shell",
		shell,
		filepath.Base(real),
	)
}
