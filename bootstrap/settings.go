package main

import (
	"fmt"
	"gantry/async"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// setting is one row of the table of settings: one environment variable, one flag, one meaning. docs/CONFIGURATION.md
// and --help are held against this table by a test.
type setting struct {
	env, flag, fallback, help string
	// secret values have no flag (a command line is public) and may be given as a file instead, with NAME_FILE.
	secret bool
	apply  func(c *config, value string) error
}

// settings is the table, in the order of the documentation.
func settings() []setting {
	return []setting{
		{env: "RUNTIME_HANDLER", flag: "handler", help: "handler: [path/]file.function, or for Go the program's name; default: index.handler, for Go handler", apply: text(func(c *config) *string { return &c.handler })},
		{env: "RUNTIME_INITIALIZER_HANDLER", flag: "initializer", help: "initializer, file.function in the handler's file", apply: text(func(c *config) *string { return &c.fn.Initializer })},
		{env: "RUNTIME_INITIALIZER_TIMEOUT", flag: "init-timeout", fallback: "3", help: "initializer deadline, seconds or a duration like 1m30s", apply: seconds(func(c *config) *time.Duration { return &c.fn.InitTimeout })},
		{env: "RUNTIME_PRESTOP_HANDLER", flag: "prestop", help: "pre-stop hook, file.function in the handler's file", apply: text(func(c *config) *string { return &c.fn.PreStop })},
		{env: "RUNTIME_PRESTOP_TIMEOUT", flag: "prestop-timeout", fallback: "1", help: "pre-stop hook's deadline, seconds or a duration", apply: seconds(func(c *config) *time.Duration { return &c.fn.PreStopTimeout })},
		{env: "RUNTIME_TIMEOUT", flag: "timeout", fallback: "3", help: "handler deadline, seconds or a duration; runs from the moment the call has a slot", apply: seconds(func(c *config) *time.Duration { return &c.fn.Timeout })},
		{env: "RUNTIME_MEMORY", flag: "memory", fallback: "128", help: "memory limit in MB", apply: number(16, 1<<20, func(c *config) *int { return &c.fn.MemoryMB })},
		{env: "RUNTIME_CPU", flag: "cpu", fallback: "300", help: "CPU share in millicores, for the context", apply: number(1, 1<<20, func(c *config) *int { return &c.fn.CPUMillis })},
		{env: "RUNTIME_PROJECT_ID", flag: "project", fallback: "00000000000000000000000000000000", help: "project id", apply: word(func(c *config) *string { return &c.fn.Project })},
		{env: "RUNTIME_FUNC_NAME", flag: "name", help: "function name; default: the code folder's name", apply: word(func(c *config) *string { return &c.fn.Name })},
		{env: "RUNTIME_FUNC_VERSION", flag: "function-version", fallback: "latest", help: "function version", apply: word(func(c *config) *string { return &c.fn.Version })},
		{env: "RUNTIME_PACKAGE", flag: "package", fallback: "default", help: "application the function belongs to", apply: word(func(c *config) *string { return &c.fn.Package })},
		{env: "RUNTIME_ALIAS", flag: "alias", help: "aliases of the version, separated by commas", apply: aliases},
		{env: "GANTRY_REGION", flag: "region", fallback: "local-1", help: "region, for the function's URN", apply: word(func(c *config) *string { return &c.fn.Region })},
		{env: "RUNTIME_USERDATA", flag: "userdata", fallback: "{}", help: "user variables, a JSON object", apply: userData},
		{env: "GANTRY_ENCRYPTED_USERDATA", secret: true, help: "encrypted user variables, a JSON object; functions read them by the context's getUserData only", apply: encryptedUserData},
		{env: "RUNTIME_CODE_ROOT", flag: "code", help: "code folder; default: /opt/function/code if it exists, else the working directory", apply: text(func(c *config) *string { return &c.fn.CodeRoot })},
		{env: "RUNTIME_MAX_RESP_BODY_SIZE", flag: "max-response", fallback: "6291456", help: "largest result in bytes", apply: number(1, 1<<30, func(c *config) *int { return &c.fn.MaxResponse })},
		{env: "GANTRY_RUNTIME", flag: "runtime", help: "nodejs, python, go or custom, or the platform's name of it, like Node.js20.15; default: by what lies in the code folder", apply: text(func(c *config) *string { return &c.fn.Runtime })},
		{env: "GANTRY_CONCURRENCY", flag: "concurrency", fallback: "1", help: "calls at once per worker, 1 to 1000", apply: number(1, 1000, func(c *config) *int { return &c.concurrency })},
		{env: "GANTRY_WORKERS", flag: "workers", fallback: "1", help: "worker processes", apply: number(1, 64, func(c *config) *int { return &c.workers })},
		{env: "GANTRY_QUEUE", flag: "queue", fallback: "100", help: "size of the waiting room in calls", apply: number(0, 1<<20, func(c *config) *int { return &c.waitingRoom })},
		{env: "GANTRY_QUEUE_WAIT", flag: "queue-wait", help: "longest wait in the room; default: the handler deadline, and while the worker starts what the start may take as well", apply: seconds(func(c *config) *time.Duration { return &c.roomWait })},
		{env: "GANTRY_ACCESS_KEY", secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY; the context's getAccessKey()", apply: text(func(c *config) *string { return &c.secrets.AccessKey })},
		{env: "GANTRY_SECRET_KEY", secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY; the context's getSecretKey()", apply: text(func(c *config) *string { return &c.secrets.SecretKey })},
		{env: "GANTRY_BODY_MEMORY", flag: "body-memory", help: "memory of one listener for bodies of requests above 64 KiB, and as much for answers, in MB; default: a tenth of the control group's memory limit, at most 256, without a limit 256", apply: number(12, 1<<20, func(c *config) *int { return &c.bodyMemory })},
		{env: "GANTRY_SECURITY_ACCESS_KEY", secret: true, help: "what the context hands out when the platform is not in front", apply: text(func(c *config) *string { return &c.secrets.SecurityAccessKey })},
		{env: "GANTRY_SECURITY_SECRET_KEY", secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY", apply: text(func(c *config) *string { return &c.secrets.SecuritySecretKey })},
		{env: "GANTRY_SECURITY_TOKEN", secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY", apply: text(func(c *config) *string { return &c.secrets.SecurityToken })},
		{env: "GANTRY_AUTH_TOKEN", secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY; the context's getToken()", apply: text(func(c *config) *string { return &c.secrets.AuthToken })},
		{env: "GANTRY_TRUST_PLATFORM_HEADERS", flag: "trust-platform-headers", help: "believe X-CFF-* headers on the function listener; default: true as PID 1, else false", apply: truth(func(c *config) *bool { return &c.trust })},
		{env: "GANTRY_WORKER_ENV", flag: "worker-env", fallback: "*", help: "variables the worker inherits: names separated by commas, * at the end of a name matches any rest; never GANTRY_*", apply: list(func(c *config) *[]string { return &c.workerEnv })},
		{env: "GANTRY_EXTENSION_ENV", flag: "extension-env", help: "variables the extensions inherit beside the fixed list and the user variables, written likewise", apply: list(func(c *config) *[]string { return &c.extensionEnv })},
		{env: "GANTRY_EXTENSION_DIRS", flag: "extension-dirs", help: "folders searched for extensions, separated by colons; default: $RUNTIME_CODE_ROOT/extension:/opt/extension", apply: text(func(c *config) *string { return &c.extensionDirs })},
		{env: "GANTRY_EXTENSION_WAIT", flag: "extension-wait", fallback: "5", help: "how long initializer and first call wait for the extensions started here", apply: seconds(func(c *config) *time.Duration { return &c.extensionWait })},
		{env: "GANTRY_EXTENSION_STRICT", flag: "extension-strict", fallback: "false", help: "refuse registrations under names not started here", apply: truth(func(c *config) *bool { return &c.extensionStrict })},
		{env: "GANTRY_EXTENSION_REQUIRED", flag: "extension-required", help: "extensions without which the function does not start and takes no calls: names separated by commas", apply: list(func(c *config) *[]string { return &c.extensionRequired })},
		{env: "GANTRY_EXTENSION_RESTART", flag: "extension-restart", fallback: "false", help: "start extensions that end anew, after 0.5, 1, 2, 4 and 8 seconds; required ones always are", apply: truth(func(c *config) *bool { return &c.extensionRestart })},
		{env: "GANTRY_FREEZE", flag: "freeze", fallback: "false", help: "stop worker and extensions between calls, as a cloud does, to rehearse it", apply: truth(func(c *config) *bool { return &c.freeze })},
		{env: "GANTRY_ADDR", flag: "addr", help: "function listener; default: 127.0.0.1:8000, as PID 1 :8000", apply: address(func(c *config) *string { return &c.addr })},
		{env: "RUNTIME_API_ADDR", flag: "runtime-api", help: "runtime API that poll takes events from; when it is set, bootstrap without a command is bootstrap poll", apply: address(func(c *config) *string { return &c.runtimeAPI })},
		{env: "EXTENSION_API_ADDR", flag: "extension-addr", fallback: "127.0.0.1:8091", help: "extension API, loopback only", apply: address(func(c *config) *string { return &c.extensionAddr })},
		{env: "GANTRY_OPS_ADDR", flag: "ops-addr", fallback: "127.0.0.1:8092", help: "ops listener: /healthz, /readyz, /metrics", apply: address(func(c *config) *string { return &c.opsAddr })},
		{env: "GANTRY_API_ADDR", flag: "api-addr", help: "platform API: host:port, on for 127.0.0.1:8079, or off; default: off, but on when GANTRY_API_USERS_FILE or GANTRY_API_AUTH=none asks for it", apply: apiAddress},
		{env: "GANTRY_API_AUTH", flag: "api-auth", fallback: "required", help: "required, or none: calls need no credentials, which is for loopback only", apply: oneOf(func(c *config) *string { return &c.api.auth }, "required", "none")},
		{env: "GANTRY_API_USERS_FILE", flag: "api-users-file", help: "JSON file of the users of the platform API", apply: text(func(c *config) *string { return &c.api.usersFile })},
		{env: "GANTRY_API_TLS_CERT", flag: "api-tls-cert", help: "file with the certificate chain of the platform API, PEM", apply: text(func(c *config) *string { return &c.api.cert })},
		{env: "GANTRY_API_TLS_KEY", flag: "api-tls-key", help: "file with its private key, PEM", apply: text(func(c *config) *string { return &c.api.key })},
		{env: "GANTRY_API_BEHIND_PROXY", flag: "api-behind-proxy", fallback: "false", help: "a proxy in front of the platform API ends TLS; its X-Forwarded-For is believed", apply: truth(func(c *config) *bool { return &c.api.behindProxy })},
		{env: "GANTRY_API_GATEWAY_TIMEOUT", flag: "api-gateway-timeout", help: "answer 504 after this time while the function goes on, as the platform's gateway does after 90; default: never", apply: seconds(func(c *config) *time.Duration { return &c.api.gatewayTimeout })},
		{env: "GANTRY_DATA_DIR", flag: "data-dir", help: "folder of the queue; default: gantry/<project>/<package>/<name> below $XDG_STATE_HOME, ~/.local/state, or as root /var/lib", apply: text(func(c *config) *string { return &c.async.dataDir })},
		{env: "GANTRY_NATS_URL", secret: true, help: "NATS servers with JetStream in place of the queue's child process, separated by commas; may hold user and password", apply: natsURL},
		{env: "GANTRY_NATS_CREDENTIALS", flag: "nats-credentials", help: "file with NATS credentials", apply: text(func(c *config) *string { return &c.async.natsCredentials })},
		{env: "GANTRY_NATS_CA", flag: "nats-ca", help: "file with the certificates that sign the servers', PEM", apply: text(func(c *config) *string { return &c.async.natsCA })},
		{env: "GANTRY_NATS_CERT", flag: "nats-cert", help: "file with the client's certificate, PEM", apply: text(func(c *config) *string { return &c.async.natsCertificate })},
		{env: "GANTRY_NATS_KEY", flag: "nats-key", help: "file with its private key, PEM", apply: text(func(c *config) *string { return &c.async.natsKey })},
		{env: "GANTRY_NATS_TLS_FIRST", flag: "nats-tls-first", fallback: "false", help: "begin TLS before the NATS servers say anything, for servers with handshake_first", apply: truth(func(c *config) *bool { return &c.async.natsTLSFirst })},
		{env: "GANTRY_NATS_DOMAIN", flag: "nats-domain", help: "JetStream domain of the queue, for agents at a leaf node without JetStream", apply: natsDomain},
		{env: "GANTRY_ASYNC_REPLICAS", flag: "async-replicas", fallback: "1", help: "copies of everything on a NATS cluster, 1 to 5", apply: number(1, 5, func(c *config) *int { return &c.async.replicas })},
		{env: "GANTRY_ASYNC_MAX_EVENTS", flag: "async-max-events", fallback: "1000000", help: "most events in the queue", apply: number(1, 1<<31-1, func(c *config) *int { return &c.async.maxEvents })},
		{env: "GANTRY_ASYNC_MAX_BYTES", flag: "async-max-bytes", fallback: "1073741824", help: "most bytes in the queue", apply: number(1<<20, 1<<40, func(c *config) *int { return &c.async.maxBytes })},
		{env: "GANTRY_ASYNC_MAX_RECORD_BYTES", flag: "async-max-record-bytes", help: "most bytes of records; default: no limit, or GANTRY_ASYNC_MAX_BYTES where the NATS account requires one", apply: number(1<<20, 1<<40, func(c *config) *int { return &c.async.maxRecordBytes })},
		{env: "GANTRY_ASYNC_RETENTION", flag: "async-retention", fallback: "86400", help: "how long records of ended requests are kept", apply: seconds(func(c *config) *time.Duration { return &c.async.retention })},
		{env: "GANTRY_ASYNC_RETRY_DELAY", flag: "async-retry-delay", fallback: "60", help: "delay before the second attempt after an error of the function; twice that before further ones", apply: seconds(func(c *config) *time.Duration { return &c.async.retryDelay })},
		{env: "GANTRY_ASYNC_ENDPOINTS_FILE", flag: "async-endpoints-file", help: "JSON file of the services that destinations are sent to; without one their outcome messages are files in the data folder", apply: text(func(c *config) *string { return &c.async.endpointsFile })},
		{env: "GANTRY_ASYNC_PROGRAM", flag: "async-program", help: "file of the queue's child process; default: gantry-jetstream beside bootstrap", apply: text(func(c *config) *string { return &c.async.program })},
		{env: "GANTRY_SHUTDOWN_TIMEOUT", flag: "shutdown-timeout", fallback: "8", help: "one deadline for the whole stop", apply: seconds(func(c *config) *time.Duration { return &c.shutdownTimeout })},
		{env: "GANTRY_EXIT_ON_FAILURE", flag: "exit-on-failure", fallback: "false", help: "exit instead of answering with the reason when the function cannot be loaded or initialised", apply: truth(func(c *config) *bool { return &c.exitOnFailure })},
		{env: "GANTRY_UID", flag: "uid", fallback: "-1", help: "user id of workers and extensions when started as root, -1 for unchanged", apply: number(-1, 1<<31-2, func(c *config) *int { return &c.uid })},
		{env: "GANTRY_GID", flag: "gid", fallback: "-1", help: "group id, likewise", apply: number(-1, 1<<31-2, func(c *config) *int { return &c.gid })},
		{env: "GANTRY_LOG_LEVEL", flag: "log-level", fallback: "info", help: "the agent's log on stderr: debug, info, warn, error", apply: oneOf(func(c *config) *string { return &c.logLevel }, "debug", "info", "warn", "error")},
		{env: "GANTRY_LOG_FORMAT", flag: "log-format", fallback: "auto", help: "text, json, or auto: json when stderr is no terminal; with json the function's and extensions' lines are wrapped too", apply: oneOf(func(c *config) *string { return &c.logFormat }, "auto", "text", "json")},
		{env: "NO_COLOR", flag: "no-color", help: "any value: no colours on a terminal", apply: func(c *config, v string) error { c.noColor = v != "" && v != "false"; return nil }},
	}
}

func text(field func(*config) *string) func(*config, string) error {
	return func(c *config, v string) error {
		if strings.IndexByte(v, 0) >= 0 {
			return problem("contains a NUL byte")
		}
		*field(c) = v
		return nil
	}
}

// word is text that becomes a part of the URN.
func word(field func(*config) *string) func(*config, string) error {
	return func(c *config, v string) error {
		if strings.ContainsFunc(v, notInName) {
			return problem("may not contain blanks, colons, slashes, exclamation marks or control characters, and has to be UTF-8")
		}
		*field(c) = v
		return nil
	}
}

// notInName reports whether no part of a URN can have the character.
func notInName(r rune) bool {
	return r <= ' ' || r == ':' || r == '/' || r == '!' || r == 0x7f || r == utf8.RuneError
}

const maxDuration = 259200 * time.Second // docs/COMPATIBILITY.md

// seconds takes a number of seconds, as the platform writes it, or a Go duration.
func seconds(field func(*config) *time.Duration) func(*config, string) error {
	return func(c *config, v string) error {
		d, err := time.ParseDuration(v)
		if f, ferr := strconv.ParseFloat(v, 64); ferr == nil && f == f && f < maxDuration.Seconds()*2 && f > -1 {
			d, err = time.Duration(f*float64(time.Second)), nil
		}
		if err != nil {
			return problem("want seconds, or a duration like 1m30s")
		}
		if d < time.Millisecond || d > maxDuration {
			return problem(fmt.Sprintf("want between 1ms and %gs", maxDuration.Seconds()))
		}
		*field(c) = d
		return nil
	}
}

func number(low, high int, field func(*config) *int) func(*config, string) error {
	return func(c *config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return problem(fmt.Sprintf("want a whole number from %d to %d", low, high))
		}
		*field(c) = n
		return nil
	}
}

func truth(field func(*config) *bool) func(*config, string) error {
	return func(c *config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return problem("want true or false")
		}
		*field(c) = b
		return nil
	}
}

func oneOf(field func(*config) *string, values ...string) func(*config, string) error {
	return func(c *config, v string) error {
		for _, ok := range values {
			if v == ok {
				*field(c) = v
				return nil
			}
		}
		return problem("want one of " + strings.Join(values, ", "))
	}
}

func list(field func(*config) *[]string) func(*config, string) error {
	return func(c *config, v string) error {
		*field(c) = nil
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				*field(c) = append(*field(c), name)
			}
		}
		return nil
	}
}

func aliases(c *config, v string) error {
	if err := list(func(c *config) *[]string { return &c.fn.Aliases })(c, v); err != nil {
		return err
	}
	for _, alias := range c.fn.Aliases {
		if strings.ContainsAny(alias, ":/! ") {
			return problem("an alias may not contain blanks, colons, slashes or !")
		}
	}
	return nil
}

// natsURL takes what the NATS client could connect to.
func natsURL(c *config, v string) error {
	if err := async.CheckURL(v); err != nil {
		return err
	}
	c.async.natsURL = v
	return nil
}

// natsDomain takes one token of a subject.
func natsDomain(c *config, v string) error {
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(".*>", r) }) {
		return problem("may not contain dots, *, >, blanks or control characters")
	}
	c.async.natsDomain = v
	return nil
}

func address(field func(*config) *string) func(*config, string) error {
	return func(c *config, v string) error {
		if _, port, err := net.SplitHostPort(v); err != nil || port == "" {
			return problem("want host:port or :port")
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return problem("the port must be a number from 0 to 65535")
		}
		*field(c) = v
		return nil
	}
}

// apiAddress is address, or the words on and off.
func apiAddress(c *config, v string) error {
	switch v {
	case "on":
		c.api.addr = defaultAPIAddr
		return nil
	case "off":
		c.api.off = true
		return nil
	}
	if err := address(func(c *config) *string { return &c.api.addr })(c, v); err != nil {
		return problem(err.Error() + ", or on, or off")
	}
	return nil
}

// defaultCodeRoot is where the platform puts code, else where the user stands.
func defaultCodeRoot(cwd string) string {
	if info, err := os.Stat(platformCode); err == nil && info.IsDir() {
		return platformCode
	}
	return filepath.Clean(cwd)
}
