package main

import (
	"gantry/runtime"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	fncontext "gantry/context"
)

const (
	platformCode = "/opt/function/code"
	// loadTimeout limits the load of user code, which has no setting on the platform; a longer initializer limit raises
	// it.
	loadTimeout = 10 * time.Second
)

// config is everything that was set, checked. It is built by load and not changed afterwards.
type config struct {
	fn      fncontext.Function
	handler string

	language *runtime.Language
	program  string
	// passedOn are variables for a custom runtime that mean nothing to the agent.
	passedOn []string
	// detected says why it is this language; empty when it was set.
	detected string
	// runtimeAPI is where poll takes events from.
	runtimeAPI string

	concurrency, workers, waitingRoom int
	roomWait                          time.Duration
	bodyMemory                        int // in MB; 0 for what the control group allows
	secrets                           fncontext.Secrets
	encrypted                         fncontext.EncryptedData
	// secretNames are the variables that held secrets.
	secretNames []string
	trust       bool

	workerEnv, extensionEnv      []string
	extensionDirs                string
	extensionWait                time.Duration
	extensionStrict              bool
	extensionRequired            []string
	extensionRestart, freeze     bool
	timeline                     bool // what each extension costs is kept
	once                         bool // the instance runs one call
	addr, extensionAddr, opsAddr string
	// addrSet, extensionAddrSet and opsAddrSet are true for addresses that are not the default.
	addrSet, extensionAddrSet, opsAddrSet bool
	api                                   apiConfig
	async                                 asyncConfig
	// dataDirNamed is true if a setting names the data folder.
	dataDirNamed        bool
	shutdownTimeout     time.Duration
	exitOnFailure       bool
	uid, gid            int
	logLevel, logFormat string
	remarks             []string // what a person should know about these settings
	unknown             []string // variables that look like settings and are none
	listenRemarks       []string // remarks about listeners
	nameFrom            string   // where the function's name comes from
	noColor             bool
	environment         []string
}

// defaultSource is the source of a value that was not set.
const defaultSource = "its default"

// maxSecret bounds a file with the value of one setting, in bytes.
const maxSecret = 1 << 20

// facts are what the settings' defaults depend on.
type facts struct {
	pid int
	cwd string
	// init is the name of the program that is PID 1 here, empty if that is this one; direct says that it started this one.
	init   string
	direct bool
	// root: the agent runs as root.
	root bool
	// poll: the agent will be a custom runtime of a platform, not the platform.
	poll bool
}

// variables turns a list of NAME=value into a map.
func variables(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}

// workDir is the folder above the code, as on the platform (docs/COMPATIBILITY.md).
func (c *config) workDir() string { return filepath.Dir(c.fn.CodeRoot) }

func formatSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

// isCustom reports whether the function is a program that asks for its events.
func (c *config) isCustom() bool { return c.language.Polls() }

// reserved names are set by the agent, or hidden by it.
func reserved(name string) bool {
	return strings.HasPrefix(name, "GANTRY_") || strings.HasPrefix(name, "RUNTIME_") || name == "EXTENSION_API_ADDR"
}

type problem string

func (p problem) Error() string { return string(p) }
