package language

import (
	"gantry/runtime/worker"
	"os"

	"golang.org/x/sys/unix"
)

var php = &Language{
	Name:       "php",
	Title:      "PHP",
	Handler:    "index.handler",
	Extensions: []string{".php"},
	Program:    "php",
	Platform:   "/opt/function/runtime/php*/rtsp/php/bin/php",
	Source:     worker.PHP,
	Arguments:  []string{"/proc/self/fd/5"},
	Local:      phpSettings,
	Stacks:     ByTraceback,
	Examined:   []string{"/proc/self/fd/5", "stacks"},
	Libraries:  []string{"vendor"},
	Own:        []string{"/memfd:gantry-php (deleted)"},
	MinVersion: Version{7, 3},
	OneByOne:   "a worker in PHP runs one call at a time: GANTRY_WORKERS is the number of calls at once",
	Parks:      true,
	Ahead:      true,
	Ends:       "exit(), die(), or a signal of user code to its own process",
	Silent:     "loading the code took too long: look for work or waiting at the top level of the file",
	Unanswered: "the handler had not returned: limit what it waits for, such as requests to others, or raise RUNTIME_TIMEOUT",
}

// phpSettings are what a worker needs whatever php.ini says: errors go to stderr, as lines of the function's log, and
// not into what the function prints; without arguments, which may be secrets. Code is optimized, as behind a web
// server: opcache makes loops twice as fast.
func phpSettings() []string {
	settings := []string{
		"-d", "display_errors=0", "-d", "log_errors=1", "-d", "error_log=", "-d", "log_errors_max_len=0",
		"-d", "html_errors=0", "-d", "zend.exception_ignore_args=1", "-d", "output_buffering=0",
		"-d", "variables_order=EGPCS", "-d", "max_execution_time=0",
	}
	for _, folder := range []string{"/tmp", "/dev/shm", "/var/tmp"} {
		if writableForAll(folder) {
			return append(settings, "-d", "opcache.enable_cli=1", "-d", "opcache.lockfile_path="+folder)
		}
	}
	return append(settings, "-d", "opcache.enable_cli=0")
}

// writableForAll reports whether the worker, whose user may be another one, can make files in a folder. Before PHP 8.3
// opcache ends the process where it cannot make its lock file.
func writableForAll(folder string) bool {
	info, err := os.Stat(folder)
	return err == nil && info.Mode().Perm()&0o003 == 0o003 && unix.Access(folder, unix.W_OK) == nil
}
