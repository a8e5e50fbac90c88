package process

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// explain turns the kernel's terse refusal to start a program into what a person has to do. Empty if there is nothing
// to add.
func explain(cmd *Command, err error) string {
	info, statErr := os.Stat(cmd.Path)
	switch {
	case errors.Is(err, unix.E2BIG):
		return tooBig(cmd.Env)
	case statErr != nil:
		return ""
	case cmd.Dir != "" && !isDir(cmd.Dir):
		return "; the working directory " + cmd.Dir + " does not exist"
	case info.IsDir():
		return "; it is a folder"
	case errors.Is(err, unix.EACCES) && info.Mode()&0o111 == 0:
		return "; it lacks the execute bit: chmod +x it"
	}
	head := make([]byte, 256)
	f, openErr := os.Open(cmd.Path)
	if openErr != nil {
		return ""
	}
	defer f.Close()
	n, readErr := io.ReadFull(f, head)
	if readErr != nil && !errors.Is(readErr, io.ErrUnexpectedEOF) {
		return "; it is empty"
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	switch {
	case bytes.HasPrefix(line, []byte("#!")) && bytes.HasSuffix(line, []byte("\r")):
		return "; its first line ends in CR LF, so the interpreter is not found: save it with Unix line endings"
	case bytes.HasPrefix(line, []byte("#!")) && errors.Is(err, unix.ENOENT):
		return "; the interpreter of its first line (" + string(line) + ") does not exist"
	}
	if file, elfErr := elf.NewFile(f); elfErr == nil {
		if want, known := elfMachines[runtime.GOARCH]; known && file.Machine != want {
			return "; it was built for " + file.Machine.String() + ", this machine is " + runtime.GOARCH
		}
		if loader := loaderOf(file); errors.Is(err, unix.ENOENT) && loader != "" {
			if _, statErr := os.Stat(loader); statErr != nil {
				return "; its dynamic loader " + loader + " does not exist here: build it statically (CGO_ENABLED=0)"
			}
		}
	} else if errors.Is(err, unix.ENOEXEC) {
		return "; it is neither a program nor a script with a first line like #!/bin/sh"
	}
	return ""
}

// loaderOf is the dynamic loader that a program names; empty for a static one.
func loaderOf(file *elf.File) string {
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), unix.PathMax))
		if err != nil {
			return ""
		}
		return string(bytes.TrimRight(name, "\x00"))
	}
	return ""
}

// tooBig says what makes an environment too large for the kernel. It shows no values.
func tooBig(env []string) string {
	sum, most, name := 0, 0, ""
	for _, kv := range env {
		sum += len(kv) + 1
		if len(kv) > most {
			most = len(kv)
			name, _, _ = strings.Cut(kv, "=")
		}
	}
	return fmt.Sprintf(
		"; its environment has %d bytes, %d of them in %s: the kernel takes 128 KiB for one variable, and a quarter of the stack's limit for all",
		sum,
		most,
		name,
	)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
