package settings

import (
	"fmt"
	"gantry/async"
	"gantry/runtime/language"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Setting is one row of the table of settings: one environment variable, one flag, one meaning. docs/CONFIGURATION.md
// and --help are held against this table by a test.
type Setting struct {
	Env, flag, fallback, help string
	// Secret values have no flag (a command line is public) and may be given as a file instead, with NAME_FILE.
	Secret bool
	// values are all that it takes; empty for one that takes more. suggested are some of these, for completion.
	values, suggested []string
	path              Path
	// toggle is set for a boolean, whose flag needs no value.
	toggle bool
	apply  func(c *Config, value string) error
}

// Path is what kind of path a setting's value is.
type Path int

// The kinds: no path at all, a file, a folder.
const (
	NoPath Path = iota
	File
	Folder
)

// Table is the table, in the order of the documentation.
func Table() []Setting {
	return []Setting{
		{Env: "RUNTIME_HANDLER", flag: "handler", help: "handler: [path/]file.function, Java: package.Class.method, Go: the program's name; default: index.handler, Go: handler", apply: text(func(c *Config) *string { return &c.Handler })},
		{Env: "RUNTIME_INITIALIZER_HANDLER", flag: "initializer", help: "initializer, file.function in the handler's file", apply: text(func(c *Config) *string { return &c.Function.Initializer })},
		{Env: "RUNTIME_INITIALIZER_TIMEOUT", flag: "init-timeout", fallback: "3", help: "initializer deadline, seconds or a duration like 1m30s", apply: seconds(func(c *Config) *time.Duration { return &c.Function.InitTimeout })},
		{Env: "RUNTIME_PRESTOP_HANDLER", flag: "prestop", help: "pre-stop hook, file.function in the handler's file", apply: text(func(c *Config) *string { return &c.Function.PreStop })},
		{Env: "RUNTIME_PRESTOP_TIMEOUT", flag: "prestop-timeout", fallback: "1", help: "pre-stop hook's deadline, seconds or a duration", apply: seconds(func(c *Config) *time.Duration { return &c.Function.PreStopTimeout })},
		{Env: "RUNTIME_HEARTBEAT_HANDLER", flag: "heartbeat", help: "heartbeat hook of a Java function, package.Class.method", apply: text(func(c *Config) *string { return &c.Function.Heartbeat })},
		{Env: "RUNTIME_TIMEOUT", flag: "timeout", fallback: "3", help: "handler deadline, seconds or a duration; runs from the moment the call has a slot", apply: seconds(func(c *Config) *time.Duration { return &c.Function.Timeout })},
		{Env: "RUNTIME_MEMORY", flag: "memory", fallback: "128", help: "memory limit in MB", apply: number(16, 1<<20, func(c *Config) *int { return &c.Function.MemoryMB })},
		{Env: "RUNTIME_CPU", flag: "cpu", fallback: "300", help: "CPU share in millicores, for the context", apply: number(1, 1<<20, func(c *Config) *int { return &c.Function.CPUMillis })},
		{Env: "RUNTIME_PROJECT_ID", flag: "project", fallback: "00000000000000000000000000000000", help: "project id", apply: word(func(c *Config) *string { return &c.Function.Project })},
		{Env: "RUNTIME_FUNC_NAME", flag: "name", help: "function name; default: the code folder's name", apply: word(func(c *Config) *string { return &c.Function.Name })},
		{Env: "RUNTIME_FUNC_VERSION", flag: "function-version", fallback: "latest", help: "function version", apply: word(func(c *Config) *string { return &c.Function.Version })},
		{Env: "RUNTIME_PACKAGE", flag: "package", fallback: "default", help: "application the function belongs to", apply: word(func(c *Config) *string { return &c.Function.Package })},
		{Env: "RUNTIME_ALIAS", flag: "alias", help: "aliases of the version, separated by commas", apply: aliases},
		{Env: "GANTRY_REGION", flag: "region", fallback: "local-1", help: "region, for the function's URN", apply: word(func(c *Config) *string { return &c.Function.Region })},
		{Env: "RUNTIME_USERDATA", flag: "userdata", fallback: "{}", help: "user variables, a JSON object", apply: userData},
		{Env: "GANTRY_ENCRYPTED_USERDATA", Secret: true, help: "encrypted user variables, a JSON object; functions read them by the context's getUserData only", apply: encryptedUserData},
		{Env: "RUNTIME_CODE_ROOT", flag: "code", help: "code folder; default: /opt/function/code if it exists, else the working directory", path: Folder, apply: text(func(c *Config) *string { return &c.Function.CodeRoot })},
		{Env: "RUNTIME_MAX_RESP_BODY_SIZE", flag: "max-response", fallback: "6291456", help: "largest result in bytes", apply: number(1, 1<<30, func(c *Config) *int { return &c.Function.MaxResponse })},
		{Env: "GANTRY_RUNTIME", flag: "runtime", help: "nodejs, python, java, php, go, custom, http, container, or the platform's name; default: by the code folder", suggested: language.PlatformNames(), apply: text(func(c *Config) *string { return &c.Function.Runtime })},
		{Env: "GANTRY_CONCURRENCY", flag: "concurrency", fallback: "1", help: "calls at once per worker, 1 to 1000", apply: number(1, 1000, func(c *Config) *int { return &c.Concurrency })},
		{Env: "GANTRY_SPARE", flag: "spare", fallback: "0", help: "interpreters that run in advance, to replace workers", apply: number(0, 16, func(c *Config) *int { return &c.Spares })},
		{Env: "GANTRY_WORKERS", flag: "workers", fallback: "1", help: "worker processes", apply: number(1, 64, func(c *Config) *int { return &c.Workers })},
		{Env: "GANTRY_CODE_CACHE", flag: "code-cache", help: "file of the code cache that bootstrap warm writes and workers in Node.js, Python and Java use, or off; default: .gantry/code-cache in the code folder", path: File, apply: text(func(c *Config) *string { return &c.CodeCache })},
		{Env: "GANTRY_QUEUE", flag: "queue", fallback: "100", help: "size of the waiting room in calls", apply: number(0, 1<<20, func(c *Config) *int { return &c.WaitingRoom })},
		{Env: "GANTRY_QUEUE_WAIT", flag: "queue-wait", help: "longest wait in the room; default: the handler deadline, and while the worker starts what the start may take as well", apply: seconds(func(c *Config) *time.Duration { return &c.RoomWait })},
		{Env: "GANTRY_ACCESS_KEY", Secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY; the context's getAccessKey()", apply: text(func(c *Config) *string { return &c.Secrets.AccessKey })},
		{Env: "GANTRY_SECRET_KEY", Secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY; the context's getSecretKey()", apply: text(func(c *Config) *string { return &c.Secrets.SecretKey })},
		{Env: "GANTRY_BODY_MEMORY", flag: "body-memory", help: "memory of one listener for bodies of requests above 64 KiB, and as much for answers, in MB; default: a tenth of the control group's memory limit, at most 256, without a limit 256", apply: number(12, 1<<20, func(c *Config) *int { return &c.BodyMemory })},
		{Env: "GANTRY_SECURITY_ACCESS_KEY", Secret: true, help: "what the context hands out when the platform is not in front", apply: text(func(c *Config) *string { return &c.Secrets.SecurityAccessKey })},
		{Env: "GANTRY_SECURITY_SECRET_KEY", Secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY", apply: text(func(c *Config) *string { return &c.Secrets.SecuritySecretKey })},
		{Env: "GANTRY_SECURITY_TOKEN", Secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY", apply: text(func(c *Config) *string { return &c.Secrets.SecurityToken })},
		{Env: "GANTRY_AUTH_TOKEN", Secret: true, help: "see GANTRY_SECURITY_ACCESS_KEY; the context's getToken()", apply: text(func(c *Config) *string { return &c.Secrets.AuthToken })},
		{Env: "GANTRY_TRUST_PLATFORM_HEADERS", flag: "trust-platform-headers", help: "believe X-CFF-* headers on the function listener; default: true as PID 1, else false", toggle: true, apply: truth(func(c *Config) *bool { return &c.Trust })},
		{Env: "GANTRY_WORKER_ENV", flag: "worker-env", fallback: "*", help: "variables the worker inherits: names separated by commas, * at the end of a name matches any rest; never GANTRY_*", apply: list(func(c *Config) *[]string { return &c.workerEnv })},
		{Env: "GANTRY_EXTENSION_ENV", flag: "extension-env", help: "variables the extensions inherit beside the fixed list and the user variables, written likewise", apply: list(func(c *Config) *[]string { return &c.extensionEnv })},
		{Env: "GANTRY_EXTENSION_DIRS", flag: "extension-dirs", help: "folders searched for extensions, separated by colons; default: $RUNTIME_CODE_ROOT/extension:/opt/extension", apply: text(func(c *Config) *string { return &c.ExtensionDirs })},
		{Env: "GANTRY_EXTENSION_WAIT", flag: "extension-wait", fallback: "5", help: "how long initializer and first call wait for the extensions started here", apply: seconds(func(c *Config) *time.Duration { return &c.ExtensionWait })},
		{Env: "GANTRY_EXTENSION_STRICT", flag: "extension-strict", fallback: "false", help: "refuse registrations under names not started here", toggle: true, apply: truth(func(c *Config) *bool { return &c.ExtensionStrict })},
		{Env: "GANTRY_EXTENSION_REQUIRED", flag: "extension-required", help: "extensions without which the function does not start and takes no calls: names separated by commas", apply: list(func(c *Config) *[]string { return &c.ExtensionRequired })},
		{Env: "GANTRY_EXTENSION_RESTART", flag: "extension-restart", fallback: "false", help: "restart extensions that end, after 0.5, 1, 2, 4 and 8 seconds; required ones always are", toggle: true, apply: truth(func(c *Config) *bool { return &c.ExtensionRestart })},
		{Env: "GANTRY_FREEZE", flag: "freeze", fallback: "false", help: "stop worker and extensions between calls, as a cloud does, to rehearse it", toggle: true, apply: truth(func(c *Config) *bool { return &c.Freeze })},
		{Env: "GANTRY_ADDR", flag: "addr", help: "function listener; default: 127.0.0.1:8000, as PID 1 :8000; port 8080 for HTTP functions", apply: address(func(c *Config) *string { return &c.Addr })},
		{Env: "GANTRY_UPSTREAM", flag: "upstream", fallback: "127.0.0.1:8000", help: "where the server of an HTTP function or of an image listens, on loopback; its port is PORT for the server", apply: address(func(c *Config) *string { return &c.Upstream })},
		{Env: "GANTRY_HTTP_LIMITS", flag: "http-limits", fallback: "cloud", help: "cloud: bodies of 6 MB, whole answers within the timeout; none: streams, WebSocket, any size", values: []string{"cloud", "none"}, apply: text(func(c *Config) *string { return &c.HTTPLimits })},
		{Env: "GANTRY_HTTP_IDLE_TIMEOUT", flag: "http-idle-timeout", fallback: "300", help: "with GANTRY_HTTP_LIMITS=none: how long nothing may pass after the first byte of an answer", apply: seconds(func(c *Config) *time.Duration { return &c.HTTPIdle })},
		{Env: "GANTRY_INCLUDE_KEYS", flag: "include-keys", fallback: "false", help: "hand the credentials to such a server, as X-CFF-* headers", toggle: true, apply: truth(func(c *Config) *bool { return &c.IncludeKeys })},
		{Env: "RUNTIME_API_ADDR", flag: "runtime-api", help: "runtime API that poll takes events from; when it is set, bootstrap without a command is bootstrap poll", apply: address(func(c *Config) *string { return &c.RuntimeAPI })},
		{Env: "EXTENSION_API_ADDR", flag: "extension-addr", fallback: "127.0.0.1:8091", help: "extension API, loopback only", apply: address(func(c *Config) *string { return &c.ExtensionAddr })},
		{Env: "GANTRY_OPS_ADDR", flag: "ops-addr", fallback: "127.0.0.1:8092", help: "ops listener: /healthz, /readyz, /metrics", apply: address(func(c *Config) *string { return &c.OpsAddr })},
		{Env: "GANTRY_APIG_ADDR", flag: "apig-addr", help: "front in the place of API Gateway, plain HTTP: host:port, on for 127.0.0.1:8093, or off; default: off", suggested: []string{"on", "off"}, apply: apigAddress},
		{Env: "GANTRY_APIG_ROUTES", flag: "apig-routes", help: "JSON file of the paths and methods that the front has; default: everything goes to the function", path: File, apply: text(func(c *Config) *string { return &c.APIG.RoutesFile })},
		{Env: "GANTRY_APIG_CORS", flag: "apig-cors", help: "origins whose pages may call the front, like http://localhost:3000, separated by commas", apply: apigOrigins},
		{Env: "GANTRY_API_ADDR", flag: "api-addr", help: "platform API: host:port, on for 127.0.0.1:8079, or off; default: off, but on when GANTRY_API_USERS_FILE or GANTRY_API_AUTH=none asks for it", suggested: []string{"on", "off"}, apply: apiAddress},
		{Env: "GANTRY_API_AUTH", flag: "api-auth", fallback: "required", help: "required, or none: calls need no credentials, which is for loopback only", values: []string{"required", "none"}, apply: text(func(c *Config) *string { return &c.API.auth })},
		{Env: "GANTRY_API_USERS_FILE", flag: "api-users-file", help: "JSON file of the users of the platform API", path: File, apply: text(func(c *Config) *string { return &c.API.UsersFile })},
		{Env: "GANTRY_API_TLS_CERT", flag: "api-tls-cert", help: "file with the certificate chain of the platform API, PEM", path: File, apply: text(func(c *Config) *string { return &c.API.Cert })},
		{Env: "GANTRY_API_TLS_KEY", flag: "api-tls-key", help: "file with its private key, PEM", path: File, apply: text(func(c *Config) *string { return &c.API.Key })},
		{Env: "GANTRY_API_BEHIND_PROXY", flag: "api-behind-proxy", fallback: "false", help: "a proxy in front of the platform API ends TLS; its X-Forwarded-For is believed", toggle: true, apply: truth(func(c *Config) *bool { return &c.API.BehindProxy })},
		{Env: "GANTRY_API_GATEWAY_TIMEOUT", flag: "api-gateway-timeout", help: "answer 504 after this time while the function continues, as the platform's gateway does after 90; default: never", apply: seconds(func(c *Config) *time.Duration { return &c.API.GatewayTimeout })},
		{Env: "GANTRY_DATA_DIR", flag: "data-dir", help: "folder of the queue; default: gantry/<project>/<package>/<name> below $XDG_STATE_HOME, ~/.local/state, or as root /var/lib", path: Folder, apply: text(func(c *Config) *string { return &c.Async.DataDir })},
		{Env: "GANTRY_NATS_URL", Secret: true, help: "NATS servers with JetStream in place of the queue's child process, separated by commas; may hold user and password", apply: natsURL},
		{Env: "GANTRY_NATS_CREDENTIALS", flag: "nats-credentials", help: "file with NATS credentials", path: File, apply: text(func(c *Config) *string { return &c.Async.NATSCredentials })},
		{Env: "GANTRY_NATS_CA", flag: "nats-ca", help: "file with the certificates that sign the servers', PEM", path: File, apply: text(func(c *Config) *string { return &c.Async.NATSCA })},
		{Env: "GANTRY_NATS_CERT", flag: "nats-cert", help: "file with the client's certificate, PEM", path: File, apply: text(func(c *Config) *string { return &c.Async.NATSCertificate })},
		{Env: "GANTRY_NATS_KEY", flag: "nats-key", help: "file with its private key, PEM", path: File, apply: text(func(c *Config) *string { return &c.Async.NATSKey })},
		{Env: "GANTRY_NATS_TLS_FIRST", flag: "nats-tls-first", fallback: "false", help: "begin TLS before the NATS servers say anything, for servers with handshake_first", toggle: true, apply: truth(func(c *Config) *bool { return &c.Async.NATSTLSFirst })},
		{Env: "GANTRY_NATS_DOMAIN", flag: "nats-domain", help: "JetStream domain of the queue, for agents at a leaf node without JetStream", apply: natsDomain},
		{Env: "GANTRY_ASYNC_REPLICAS", flag: "async-replicas", fallback: "1", help: "copies of everything on a NATS cluster, 1 to 5", apply: number(1, 5, func(c *Config) *int { return &c.Async.Replicas })},
		{Env: "GANTRY_ASYNC_SHARDS", flag: "async-shards", fallback: "1", help: "streams that hold the events of all functions of a NATS cluster, 1 to 64; the first agent decides", apply: number(1, async.MaxShards, func(c *Config) *int { return &c.Async.Shards })},
		{Env: "GANTRY_ASYNC_SHARD_BYTES", flag: "async-shard-bytes", help: "most bytes of each of them; default: GANTRY_ASYNC_MAX_BYTES", apply: number(1<<20, 1<<44, func(c *Config) *int { return &c.Async.ShardBytes })},
		{Env: "GANTRY_ASYNC_MAX_EVENTS", flag: "async-max-events", fallback: "1000000", help: "most events of the function in the queue", apply: number(1, 1<<31-1, func(c *Config) *int { return &c.Async.MaxEvents })},
		{Env: "GANTRY_ASYNC_MAX_BYTES", flag: "async-max-bytes", fallback: "1073741824", help: "most bytes of the function in the queue", apply: number(1<<20, 1<<40, func(c *Config) *int { return &c.Async.MaxBytes })},
		{Env: "GANTRY_ASYNC_MAX_RECORD_BYTES", flag: "async-max-record-bytes", help: "most bytes of records; default: no limit, on a NATS cluster three times GANTRY_ASYNC_MAX_BYTES", apply: number(1<<20, 1<<40, func(c *Config) *int { return &c.Async.MaxRecordBytes })},
		{Env: "GANTRY_ASYNC_RETENTION", flag: "async-retention", fallback: "86400", help: "how long records of ended requests are kept", apply: seconds(func(c *Config) *time.Duration { return &c.Async.Retention })},
		{Env: "GANTRY_ASYNC_RETRY_DELAY", flag: "async-retry-delay", fallback: "60", help: "delay before the second attempt after an error of the function; twice that before further ones", apply: seconds(func(c *Config) *time.Duration { return &c.Async.RetryDelay })},
		{Env: "GANTRY_ASYNC_ENDPOINTS_FILE", flag: "async-endpoints-file", help: "JSON file of the services that destinations are sent to; without one their outcome messages are files in the data folder", path: File, apply: text(func(c *Config) *string { return &c.Async.EndpointsFile })},
		{Env: "GANTRY_ASYNC_PROGRAM", flag: "async-program", help: "file of the queue's child process; default: gantry-jetstream beside bootstrap", path: File, apply: text(func(c *Config) *string { return &c.Async.Program })},
		{Env: "GANTRY_TIMER", flag: "timer", help: "timers that call the function, like '@every 1m' or '0 30 8 * * 1-5'; several: one a line, NAME=SCHEDULE;USER EVENT, or a JSON array", apply: timers},
		{Env: "GANTRY_TIMER_FILE", flag: "timer-file", help: "file with more timers, written likewise", path: File, apply: text(func(c *Config) *string { return &c.TimerFile })},
		{Env: "GANTRY_SHUTDOWN_TIMEOUT", flag: "shutdown-timeout", fallback: "8", help: "one deadline for the whole stop", apply: seconds(func(c *Config) *time.Duration { return &c.ShutdownTimeout })},
		{Env: "GANTRY_EXIT_ON_FAILURE", flag: "exit-on-failure", fallback: "false", help: "exit instead of answering with the reason when the function cannot be loaded or initialised", toggle: true, apply: truth(func(c *Config) *bool { return &c.ExitOnFailure })},
		{Env: "GANTRY_UID", flag: "uid", fallback: "-1", help: "user id of workers and extensions when started as root, -1 for unchanged", apply: number(-1, 1<<31-2, func(c *Config) *int { return &c.UID })},
		{Env: "GANTRY_GID", flag: "gid", fallback: "-1", help: "group id, likewise", apply: number(-1, 1<<31-2, func(c *Config) *int { return &c.GID })},
		{Env: "GANTRY_LOG_LEVEL", flag: "log-level", fallback: "info", help: "the agent's log on stderr: debug, info, warn, error", values: []string{"debug", "info", "warn", "error"}, apply: text(func(c *Config) *string { return &c.LogLevel })},
		{Env: "GANTRY_LOG_FORMAT", flag: "log-format", fallback: "auto", help: "text, json, or auto: json when stderr is no terminal; with json the function's and extensions' lines are wrapped too", values: []string{"auto", "text", "json"}, apply: text(func(c *Config) *string { return &c.LogFormat })},
		{Env: "NO_COLOR", flag: "no-color", help: "any value: no colours on a terminal", toggle: true, apply: func(c *Config, v string) error { c.NoColor = v != "" && v != "false"; return nil }},
	}
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if strings.IndexByte(v, 0) >= 0 {
			return problem("contains a NUL byte")
		}
		*field(c) = v
		return nil
	}
}

// word is text that becomes a part of the URN.
func word(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
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
func seconds(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := ParseDuration(v)
		if err == nil {
			*field(c) = d
		}
		return err
	}
}

// ParseDuration reads seconds, or a duration like 1m30s.
func ParseDuration(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if f, ferr := strconv.ParseFloat(v, 64); ferr == nil && f == f && f < maxDuration.Seconds()*2 && f > -1 {
		d, err = time.Duration(f*float64(time.Second)), nil
	}
	if err != nil {
		return 0, problem("want seconds, or a duration like 1m30s")
	}
	if d < time.Millisecond || d > maxDuration {
		return 0, problem(fmt.Sprintf("want between 1ms and %gs", maxDuration.Seconds()))
	}
	return d, nil
}

func number(low, high int, field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return problem(fmt.Sprintf("want a whole number from %d to %d", low, high))
		}
		*field(c) = n
		return nil
	}
}

func truth(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return problem("want true or false")
		}
		*field(c) = b
		return nil
	}
}

func list(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = nil
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				*field(c) = append(*field(c), name)
			}
		}
		return nil
	}
}

func aliases(c *Config, v string) error {
	if err := list(func(c *Config) *[]string { return &c.Function.Aliases })(c, v); err != nil {
		return err
	}
	for _, alias := range c.Function.Aliases {
		if strings.ContainsAny(alias, ":/! ") {
			return problem("an alias may not contain blanks, colons, slashes or !")
		}
	}
	return nil
}

// natsURL takes what the NATS client could connect to.
func natsURL(c *Config, v string) error {
	if err := async.CheckURL(v); err != nil {
		return err
	}
	c.Async.NATSURL = v
	return nil
}

// natsDomain takes one token of a subject.
func natsDomain(c *Config, v string) error {
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(".*>", r) }) {
		return problem("may not contain dots, *, >, blanks or control characters")
	}
	c.Async.NATSDomain = v
	return nil
}

func address(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
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
func apiAddress(c *Config, v string) error {
	switch v {
	case "on":
		c.API.Addr = DefaultAPIAddr
		return nil
	case "off":
		c.API.off = true
		return nil
	}
	if err := address(func(c *Config) *string { return &c.API.Addr })(c, v); err != nil {
		return problem(err.Error() + ", or on, or off")
	}
	return nil
}

// apigAddress is address, or the words on and off.
func apigAddress(c *Config, v string) error {
	switch v {
	case "on":
		c.APIG.Addr = DefaultAPIGAddr
		return nil
	case "off":
		c.APIG.Addr = ""
		return nil
	}
	if err := address(func(c *Config) *string { return &c.APIG.Addr })(c, v); err != nil {
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

// take checks a value and stores it in c.
func (s *Setting) take(c *Config, value string) error {
	if s.values != nil && !slices.Contains(s.values, value) {
		return problem("want one of " + strings.Join(s.values, ", "))
	}
	return s.apply(c, value)
}

func (s *Setting) usage() string { return fmt.Sprintf("%s [$%s]", s.help, s.Env) }
