package settings

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

func codeFolder(t *testing.T) string {
	t.Helper()
	return codeWith(t, "index.js", "")
}

func loadWith(t *testing.T, env []string, flags map[string]string) (*Config, error) {
	t.Helper()
	return Load(append([]string{"PATH=" + os.Getenv("PATH")}, env...), flags, Facts{PID: 100, CWD: codeFolder(t)})
}

func TestUnsetSettingsHaveTheirDefaultsAlsoAsPID1(t *testing.T) {
	if _, err := os.Stat(platformCode); err == nil {
		t.Skip("LOUD SKIP: " + platformCode + " exists on this machine")
	}
	c, err := loadWith(t, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "index.handler", c.Function.HandlerString())
	require.Equal(t, 3*time.Second, c.Function.Timeout)
	require.Equal(t, 128, c.Function.MemoryMB)
	require.Equal(t, "127.0.0.1:8000", c.Addr)
	require.False(t, c.Trust)
	require.Equal(t, filepath.Base(c.Function.CodeRoot), c.Function.Name)
	require.Equal(t, c.Function.CodeRoot+"/extension:/opt/extension", c.ExtensionDirs)
	require.Equal(t, "nodejs", c.Function.Runtime)
	pid1, err := Load([]string{"PATH=" + os.Getenv("PATH")}, nil, Facts{PID: 1, CWD: codeFolder(t)})
	require.NoError(t, err)
	require.Equal(t, ":8000", pid1.Addr)
	require.True(t, pid1.Trust, "the platform is in front of a container")
}

func TestFlagWinsOverTheEnvironment(t *testing.T) {
	c, err := loadWith(t, []string{"RUNTIME_TIMEOUT=7", "RUNTIME_MEMORY=256"}, map[string]string{"timeout": "1m30s"})
	require.NoError(t, err)
	require.Equal(t, 90*time.Second, c.Function.Timeout, "a flag beats the environment")
	require.Equal(t, 256, c.Function.MemoryMB)
}

func TestBadSettingsAreRefusedWithoutShowingSecrets(t *testing.T) {
	cases := []struct{ env, says string }{
		{"RUNTIME_TIMEOUT=soon", `RUNTIME_TIMEOUT: "soon", from the environment: want seconds`},
		{"RUNTIME_TIMEOUT=0", "want between 1ms and 259200s"},
		{"RUNTIME_TIMEOUT=NaN", "want seconds"},
		{"RUNTIME_MEMORY=lots", "want a whole number"},
		{"RUNTIME_USERDATA=[1]", "want a JSON object"},
		{"GANTRY_CONCURRENCY=1001", "from 1 to 1000"},
		{"GANTRY_ADDR=8000", "want host:port"},
		{"GANTRY_ADDR=:http", "port must be a number"},
		{"GANTRY_LOG_LEVEL=loud", "want one of debug, info, warn, error"},
		{"GANTRY_TRUST_PLATFORM_HEADERS=perhaps", "want true or false"},
		{"RUNTIME_FUNC_NAME=a:b", "may not contain"},
		{"RUNTIME_ALIAS=a,!b", "an alias may not contain"},
		{"RUNTIME_HANDLER=../x.handler", "RUNTIME_HANDLER: handler"},
		{"RUNTIME_HANDLER=/x.handler", "absolute"},
		{"RUNTIME_HANDLER=nodot", "no dot"},
		{"RUNTIME_CODE_ROOT=/no/such/folder", "the code folder cannot be read"},
		{"RUNTIME_CODE_ROOT=/etc/passwd", "/etc/passwd is a file; set the folder that has the function's code, unpacked: --code /etc"},
		{"GANTRY_RUNTIME=cobol", `runtime "cobol" is not one of: nodejs`},
		{"GANTRY_SECURITY_TOKEN_FILE=/no/such/file", "GANTRY_SECURITY_TOKEN_FILE"},
		{"GANTRY_SECURITY_TOKEN_FILE=/dev/zero", "GANTRY_SECURITY_TOKEN_FILE: /dev/zero has more than 1048576 bytes"},
		{"GANTRY_NATS_URL=http://u:s3cret@host", "GANTRY_NATS_URL: (not shown), from the environment: server 1 of the list: want nats://"},
		{"GANTRY_NATS_URL=nats://u:s3cret@[::1", "the URL cannot be read"},
		{"GANTRY_NATS_URL=nats://u:s3cret@a,wss://b", "servers of one kind"},
		{"GANTRY_NATS_DOMAIN=a.b", "may not contain dots"},
		{"GANTRY_NATS_DOMAIN=hub", "set GANTRY_NATS_URL"},
		{"GANTRY_NATS_TLS_FIRST=true", "set GANTRY_NATS_URL"},
		{"GANTRY_NATS_CREDENTIALS=/file", "GANTRY_NATS_CREDENTIALS is for a cluster: set GANTRY_NATS_URL"},
		{"GANTRY_NATS_CA=/file", "GANTRY_NATS_CA is for a cluster: set GANTRY_NATS_URL"},
		{"GANTRY_NATS_CERT=/file", "GANTRY_NATS_CERT is for a cluster: set GANTRY_NATS_URL"},
		{"GANTRY_NATS_KEY=/file", "GANTRY_NATS_KEY is for a cluster: set GANTRY_NATS_URL"},
		{"GANTRY_ASYNC_MAX_RECORD_BYTES=1", "want a whole number from 1048576"},
	}
	for _, c := range cases {
		_, err := loadWith(t, []string{c.env}, nil)
		require.ErrorContains(t, err, c.says, c.env)
		require.NotContains(t, err.Error(), "s3cret", "a secret is not shown")
	}
	archive := filepath.Join(t.TempDir(), "my code.zip")
	require.NoError(t, os.WriteFile(archive, nil, 0o600))
	_, err := loadWith(t, []string{"RUNTIME_CODE_ROOT=" + archive}, nil)
	folder := strings.TrimSuffix(archive, ".zip")
	require.ErrorContains(t, err, `is an archive; unpack it, and set the folder: unzip "`+archive+`" -d "`+folder+`"; --code "`+folder+`"`)
	_, err = loadWith(t, []string{"GANTRY_NATS_URL=wss://host", "GANTRY_NATS_TLS_FIRST=true"}, nil)
	require.ErrorContains(t, err, "with wss:// TLS always comes first")
	c, err := loadWith(t, []string{"GANTRY_NATS_URL=tls://host", "GANTRY_NATS_TLS_FIRST=true", "GANTRY_NATS_DOMAIN=hub", "GANTRY_ASYNC_MAX_RECORD_BYTES=2097152"}, nil)
	require.NoError(t, err)
	require.True(t, c.Async.NATSTLSFirst)
	require.Equal(t, "hub", c.Async.NATSDomain)
	require.Equal(t, 2<<20, c.Async.MaxRecordBytes)
	_, err = loadWith(t, []string{"GANTRY_SECURITY_TOKEN=a\x00b"}, nil)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "a\\x00b", "a secret is not shown")
}

func TestInitializerOfAnotherFormMeansNone(t *testing.T) {
	for value, want := range map[string]string{"index.init": "index.init", "index": "", "a.b.c": "", "index.": "", "src/index.init": "src/index.init"} {
		c, err := loadWith(t, []string{"RUNTIME_INITIALIZER_HANDLER=" + value}, nil)
		require.NoError(t, err)
		require.Equal(t, want, c.Function.Initializer, value)
	}
}

// TestSettingsAgreeWithDocumentationAndHelp compares the code, docs/CONFIGURATION.md and --help.
func TestSettingsAgreeWithDocumentationAndHelp(t *testing.T) {
	doc, err := os.ReadFile("../docs/CONFIGURATION.md")
	require.NoError(t, err)
	rows := map[string]string{}
	for line := range strings.Lines(string(doc)) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "`"); ok && strings.HasPrefix(line, "| `") && rows[name] == "" {
			rows[name] = line
		}
	}
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddSettings(flags)
	seen := map[string]bool{}
	for _, s := range Table() {
		row := rows[s.Env]
		require.NotEmpty(t, row, "docs/CONFIGURATION.md has no row for %s", s.Env)
		delete(rows, s.Env)
		require.False(t, seen[s.Env] || s.flag != "" && seen[s.flag], s.Env)
		seen[s.Env], seen[s.flag] = true, true
		require.Equal(t, s.Secret, s.flag == "", "%s: only secrets have no flag", s.Env)
		if s.Secret {
			continue
		}
		require.Contains(t, row, "`--"+s.flag+"`", s.Env)
		if s.fallback != "" {
			require.Contains(t, row, "`"+s.fallback+"`", "%s: the default", s.Env)
		}
		flag := flags.Lookup(s.flag)
		require.NotNil(t, flag, s.Env)
		require.Contains(t, flag.Usage, "$"+s.Env)
		require.NotEmpty(t, s.help)
	}
	for name := range rows {
		require.False(t, strings.HasPrefix(name, "GANTRY_") || strings.HasPrefix(name, "RUNTIME_"), "docs/CONFIGURATION.md explains %s, which does not exist", name)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("1m", "{}")
	f.Add("-1", "{\"a\":1}")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range Table() {
			c := &Config{}
			for _, v := range []string{a, b} {
				_ = s.take(c, v) // must not panic, and what is accepted must be in range
			}
			if c.Function.Timeout < 0 || c.Function.Timeout > maxDuration || c.Concurrency < 0 || c.Concurrency > 1000 {
				t.Fatalf("%s accepted %q or %q", s.Env, a, b)
			}
		}
	})
}

func TestSecretsLeaveTheEnvironmentOfChildren(t *testing.T) {
	c, err := loadWith(t, []string{"GANTRY_SECURITY_TOKEN=x", "GANTRY_ADDR=:1", "FOO=bar", "EXTENSION_API_ADDR=127.0.0.1:1", "RUNTIME_API_ADDR=127.0.0.1:9", `RUNTIME_USERDATA={"COLOR":"blue","GANTRY_X":"1","RUNTIME_X":"2","A=B":"3"}`}, nil)
	require.NoError(t, err)
	for _, env := range [][]string{c.WorkerEnvironment(), c.ExtensionEnvironment()} {
		all := strings.Join(env, "\n")
		require.NotContains(t, all, "GANTRY_X=")
		require.NotContains(t, all, "GANTRY_SECURITY")
		require.NotContains(t, all, "RUNTIME_API_ADDR")
		require.NotContains(t, all, "EXTENSION_API_ADDR")
		require.Contains(t, all, "RUNTIME_HANDLER=index.handler")
	}
	require.Contains(t, c.WorkerEnvironment(), "FOO=bar")
	require.NotContains(t, c.ExtensionEnvironment(), "FOO=bar")
	require.Contains(t, c.ExtensionEnvironment(), "COLOR=blue")
}

// TestSecretComesWithoutLineEndsAlsoFromPipes: line ends and a byte order mark around a value are no part of it, and
// a pipe is as good as a file.
func TestSecretComesWithoutLineEndsAlsoFromPipes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"abc": "abc", "abc\r\n": "abc", "\ufeffabc\n": "abc", " abc ": " abc "} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		c, err := loadWith(t, []string{"GANTRY_AUTH_TOKEN_FILE=" + name}, nil)
		require.NoError(t, err)
		require.Equal(t, want, c.Secrets.AuthToken)
	}
	require.NoError(t, os.Remove(name))
	require.NoError(t, unix.Mkfifo(name, 0o600))
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString("late\n")
			_ = f.Close()
		}
	})
	c, err := loadWith(t, []string{"GANTRY_AUTH_TOKEN_FILE=" + name}, nil)
	require.NoError(t, err)
	require.Equal(t, "late", c.Secrets.AuthToken)
}

// TestDashMeansDefaultHandlerInEveryLanguage: the platform's "-" means the default handler, and no initializer or
// hook, in every language.
func TestDashMeansDefaultHandlerInEveryLanguage(t *testing.T) {
	goFolder := t.TempDir()
	require.NoError(t, os.Symlink("/bin/true", filepath.Join(goFolder, "handler")))
	for dir, want := range map[string]string{
		codeWith(t, "index.js", ""): "index.handler", codeWith(t, "index.py", ""): "index.handler",
		codeWith(t, "bootstrap", "#!/bin/sh\n# RUNTIME_API_ADDR"): "bootstrap", goFolder: "handler",
	} {
		c, err := Load([]string{"PATH=" + os.Getenv("PATH"), "RUNTIME_HANDLER=-", "RUNTIME_INITIALIZER_HANDLER=-", "RUNTIME_PRESTOP_HANDLER=-"}, nil, Facts{PID: 100, CWD: dir})
		require.NoError(t, err)
		require.Equal(t, want, c.Function.HandlerString())
		require.Empty(t, c.Function.Initializer+c.Function.PreStop)
		require.Empty(t, c.passedOn)
		require.Empty(t, c.Remarks)
	}
}

// TestFolderNameBecomesAValidFunctionName: what a URN cannot hold does not get into the function's name.
func TestFolderNameBecomesAValidFunctionName(t *testing.T) {
	for folder, want := range map[string]string{"hello": "hello", "my function": "my-function", " a:b!c ": "a-b-c", "naïve": "naïve", "!": "function", "x\xff": "x"} {
		dir := filepath.Join(t.TempDir(), folder)
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), nil, 0o644))
		c, err := Load([]string{"PATH=" + os.Getenv("PATH")}, nil, Facts{PID: 100, CWD: dir})
		require.NoError(t, err)
		require.Equal(t, want, c.Function.Name)
		_, err = fncontext.ParseURN(c.Function.URN())
		require.NoError(t, err)
		require.Equal(t, folder != want, len(c.Remarks) == 1, c.Remarks)
	}
	for _, name := range []string{"a!b", "a b", "a:b", "a\xff"} {
		_, err := loadWith(t, []string{"RUNTIME_FUNC_NAME=" + name}, nil)
		require.ErrorContains(t, err, "RUNTIME_FUNC_NAME")
	}
}

// TestHooksWithoutEffectAreNamedInRemarks: a hook that will not run is said.
func TestHooksWithoutEffectAreNamedInRemarks(t *testing.T) {
	custom := codeWith(t, "bootstrap", "#!/bin/sh\n# RUNTIME_API_ADDR")
	c, err := Load([]string{"PATH=" + os.Getenv("PATH"), "RUNTIME_INITIALIZER_HANDLER=a.b", "RUNTIME_PRESTOP_HANDLER=c.d"}, nil, Facts{PID: 100, CWD: custom})
	require.NoError(t, err)
	require.Subset(t, c.WorkerEnvironment(), []string{"RUNTIME_INITIALIZER_HANDLER=a.b", "RUNTIME_PRESTOP_HANDLER=c.d"})
	require.Equal(t, []string{
		"RUNTIME_INITIALIZER_HANDLER=a.b is handed on as a variable and has no other effect: a custom runtime has no initializer: what stands before its loop is one",
		"RUNTIME_PRESTOP_HANDLER=c.d is handed on as a variable and has no other effect: a custom runtime has no pre-stop hook: TERM asks it to end",
	}, c.Remarks)
	goFolder := t.TempDir()
	require.NoError(t, os.Symlink("/bin/true", filepath.Join(goFolder, "handler")))
	c, err = Load([]string{"PATH=" + os.Getenv("PATH"), "RUNTIME_INITIALIZER_HANDLER=a.b", "RUNTIME_PRESTOP_HANDLER=c.d"}, nil, Facts{PID: 100, CWD: goFolder})
	require.NoError(t, err)
	require.Equal(t, "a.b", c.Function.Initializer)
	require.Equal(t, []string{"RUNTIME_PRESTOP_HANDLER=c.d has no effect: a Go function has no pre-stop hook: TERM asks it to end"}, c.Remarks)
}

// TestConcurrencyIsOneWhereCallsRunOneByOne: and a remark says what stands for it.
func TestConcurrencyIsOneWhereCallsRunOneByOne(t *testing.T) {
	facts := Facts{PID: 100, CWD: codeWith(t, "index.php", "<?php")}
	programs := codeWith(t, "php", "#!/bin/sh")
	require.NoError(t, os.Chmod(filepath.Join(programs, "php"), 0o700))
	c, err := Load([]string{"PATH=" + programs, "GANTRY_CONCURRENCY=16"}, nil, facts)
	require.NoError(t, err)
	require.Equal(t, 1, c.Concurrency)
	require.Equal(t, []string{
		"GANTRY_CONCURRENCY=16 has no effect: a worker in PHP runs one call at a time: GANTRY_WORKERS is the number of calls at once",
	}, c.Remarks)
	c, err = Load([]string{"PATH=" + programs, "GANTRY_WORKERS=16"}, nil, facts)
	require.NoError(t, err)
	require.Empty(t, c.Remarks)
}

// TestSparesAreNoneWhereTheyCannotBe: and a remark says why.
func TestSparesAreNoneWhereTheyCannotBe(t *testing.T) {
	node := codeWith(t, "index.js", "")
	custom := codeWith(t, "bootstrap", "#!/bin/sh\n# RUNTIME_API_ADDR")
	for _, c := range []struct {
		folder, options string
		spares          int
		remark          string
	}{
		{node, "", 2, ""},
		{node, "--enable-source-maps", 2, ""},
		{node, "--inspect=0.0.0.0:9229", 0, "GANTRY_SPARE=2 has no effect: NODE_OPTIONS has --inspect, and each interpreter would want the debugger's port"},
		{custom, "", 0, "GANTRY_SPARE=2 has no effect: only Node.js, Python, Java and PHP have interpreters that can run in advance"},
	} {
		got, err := Load([]string{"PATH=" + os.Getenv("PATH"), "GANTRY_SPARE=2", "NODE_OPTIONS=" + c.options}, nil, Facts{PID: 100, CWD: c.folder})
		require.NoError(t, err)
		require.Equal(t, c.spares, got.Spares, "%+v", c)
		require.Equal(t, c.remark, strings.Join(got.Remarks, "\n"), "%+v", c)
	}
	_, err := loadWith(t, []string{"GANTRY_SPARE=17"}, nil)
	require.ErrorContains(t, err, "GANTRY_SPARE")
}

// TestAgentWarnsIfNotPID1OfItsContainer: an agent that is not PID 1 of its container says that nothing outside
// reaches it.
func TestAgentWarnsIfNotPID1OfItsContainer(t *testing.T) {
	for _, c := range []struct {
		init   string
		direct bool
		env    string
		warns  bool
	}{
		{"tini", false, "", true},
		{"docker-init", true, "", true},
		{"pause", false, "", true},
		{"sh", true, "", true},
		{"tini", true, "GANTRY_ADDR=:8000", false},
		{"systemd", true, "", false},
		{"sh", false, "", false},
		{"", false, "", false},
	} {
		got, err := Load([]string{"PATH=" + os.Getenv("PATH"), c.env}, nil, Facts{PID: 7, CWD: codeFolder(t), Init: c.init, Direct: c.direct})
		require.NoError(t, err)
		require.Equal(t, c.warns, len(got.ListenRemarks) == 1, "%v", c)
		if c.warns {
			require.Equal(t, "PID 1 of this container is "+c.init+", not this agent, so the function listener is on 127.0.0.1:8000 and nothing outside the container reaches it: set GANTRY_ADDR=:8000, and GANTRY_TRUST_PLATFORM_HEADERS=true if only the platform reaches it", got.ListenRemarks[0])
		}
	}
}

// codeWith returns a new code folder with one file.
func codeWith(t *testing.T, file, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755))
	return dir
}
