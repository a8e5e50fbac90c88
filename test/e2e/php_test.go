package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// needPHP skips a test where there is no PHP. "make test" installs it.
func needPHP(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("php")
	if err != nil {
		t.Skip("there is no php in PATH: apt-get install php-cli")
	}
	return program
}

// phpFolder is a code folder with this index.php.
func phpFolder(t *testing.T, source string) string {
	t.Helper()
	needPHP(t)
	return writeFiles(t, map[string]string{"index.php": "<?php\n" + source})
}

// TestPHPAnswersWithWhatItsHandlerReturns: null is nothing, strings are as they are, all else is JSON.
func TestPHPAnswersWithWhatItsHandlerReturns(t *testing.T) {
	t.Parallel()
	r := start(t, phpFolder(t, `class Fails implements JsonSerializable {
  #[\ReturnTypeWillChange]
  function jsonSerialize() { throw new LogicException('not today'); }
}
function handler($event, $context) { return eval('return ' . $event->expression . ';'); }`), "RUNTIME_TIMEOUT=20", "RUNTIME_MAX_RESP_BODY_SIZE=1000")
	const text, document = "text/plain; charset=utf-8", "application/json"
	for expression, want := range map[string]struct {
		code       int
		body, kind string
	}{
		`null`:                          {0, "", document},
		`"\xff\0a"`:                     {0, "\xff\x00a", text},
		`5`:                             {0, "5", text},
		`true`:                          {0, "true", text},
		`[1, ['a' => 'ü/']]`:            {0, `[1,{"a":"\u00fc\/"}]`, document},
		`new stdClass`:                  {0, "{}", document},
		`gettype($event)`:               {0, "object", text},
		`$event->list`:                  {0, "[1,2]", document},
		`"\xff" . count([])`:            {0, "\xff0", text},
		`["\xff"]`:                      {4007, "Malformed UTF-8 characters, possibly incorrectly encoded", document},
		`NAN`:                           {4007, "Inf and NaN cannot be JSON encoded", document},
		`STDERR`:                        {4007, "Type is not supported", document},
		`new Fails`:                     {4007, "not today", document},
		`str_repeat('x', 1000)`:         {0, strings.Repeat("x", 1000), text},
		`str_repeat('x', 1001)`:         {4004, "response body size 1001 exceeds the limit of 1000", text},
		`$context->getUserData('none')`: {0, "", document},
		`$context->geteventid() === $context->getRequestID()`: {0, "true", text},
	} {
		event, err := json.Marshal(map[string]any{"expression": expression, "list": []int{1, 2}})
		require.NoError(t, err)
		got := r.invoke(string(event))
		require.Equal(t, itoa(want.code), got.header.Get("X-Func-Err-Code"), "%s: %s", expression, got.body)
		require.Equal(t, want.kind, got.header.Get("Content-Type"), expression)
		if want.code == 0 {
			require.Equal(t, want.body, got.body, expression)
		} else {
			require.Contains(t, got.body, want.body, expression)
		}
	}
	got := r.invoke("{\"a\":\"\xff\"}")
	require.Equal(t, 400, got.status)
	require.Equal(t, "Malformed UTF-8 characters, possibly incorrectly encoded", got.body)
}

// TestPHPErrorsNameWhatIsWrongAndWhere: in the load, the initializer and the handler; with what to do where that is
// known.
func TestPHPErrorsNameWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	needPHP(t)
	for name, c := range map[string]struct {
		files map[string]string
		code  string
		says  []string // in the answer
		hints []string // on stderr
	}{
		"no file":      {map[string]string{"other.php": "<?php"}, "4001", []string{"not found module './index.php'", `"FunctionLoadError"`}, []string{"if that has the handler, set --handler other.handler"}},
		"no function":  {map[string]string{"index.php": "<?php\nfunction Run() {}"}, "4001", []string{"handler 'handler' not found in module './index.php'", `"FunctionConfigError"`}, []string{"the file defines: Run; set RUNTIME_HANDLER (--handler) to index.Run"}},
		"not even one": {map[string]string{"index.php": "no code"}, "4001", []string{"handler 'handler' not found"}, []string{"the file defines no function: write function handler($event, $context)"}},
		"a variable":   {map[string]string{"index.php": "<?php\n$handler = function ($event, $context) {};"}, "4001", []string{"handler 'handler' not found"}, []string{"$handler is a variable: it has to be a function, function handler($event, $context)"}},
		"parameters":   {map[string]string{"index.php": "<?php\nfunction handler($event, $context, $more) {}"}, "4002", []string{"Too few arguments to function handler()"}, []string{"write two parameters, ($event, $context)"}},
		"built in":     {map[string]string{"index.php": "<?php"}, "4001", []string{"handler 'strlen' not found"}, nil},
		"syntax":       {map[string]string{"index.php": "<?php\n\nfunction handler( {}"}, "4001", []string{"function entry exception, error: syntax error, unexpected ", " (./index.php:3)", `"ParseError"`}, nil},
		"load":         {map[string]string{"index.php": "<?php\nthrow new Exception('not yet');"}, "4001", []string{"function entry exception, error: not yet", "at {main} (./index.php:2)"}, nil},
		"redeclared":   {map[string]string{"index.php": "<?php\nfunction handler() {}\nfunction handler() {}"}, "4001", []string{"Cannot redeclare ", "(./index.php:3)", `"FatalError"`}, []string{"PHP Fatal error:  Cannot redeclare "}},
		"no vendor":    {map[string]string{"index.php": "<?php\nrequire __DIR__ . '/vendor/autoload.php';", "composer.json": "{}"}, "4001", []string{"/vendor/autoload.php"}, []string{"run composer install in it"}},
		"not loaded":   {map[string]string{"index.php": "<?php\nfunction handler() { return new App\\Job(); }", "vendor/autoload.php": "<?php"}, "4002", []string{"not found", "at handler (./index.php:2)"}, []string{"write require_once __DIR__ . '/vendor/autoload.php';"}},
		"initializer":  {map[string]string{"index.php": "<?php\nfunction init($context) { throw new Exception('no database'); }\nfunction handler() {}"}, "4009", []string{"function initialization exception, error: no database", "at init (./index.php:2)"}, nil},
		"no such hook": {map[string]string{"index.php": "<?php\nfunction handler() {}"}, "4009", []string{"initializer 'init' not found in module './index.php'"}, nil},
		"thrown":       {map[string]string{"index.php": "<?php\nfunction handler() { a(); }\nfunction a() { throw new App\\Odd('no', 5, new Exception('first')); }\nrequire 'odd.php';", "odd.php": "<?php\nnamespace App;\nclass Odd extends \\Exception {}"}, "4002", []string{"function invocation exception, error: no", `"App\\Odd"`, "at a (./index.php:3)", "at handler (./index.php:2)"}, []string{"App\\Odd: no", "Caused by: Exception: first", "  >    3 │ function a()"}},
		"array":        {map[string]string{"index.php": "<?php\nfunction handler(array $event) {}"}, "4002", []string{"must be of "}, []string{"json_decode(json_encode($event), true)"}},
		"fatal":        {map[string]string{"index.php": "<?php\nfunction handler() {\neval('class A { function f() {} function f() {} }'); }"}, "4002", []string{"Cannot redeclare A::f()", "./index.php(3) : eval()'d code:1"}, []string{"PHP Fatal error:  Cannot redeclare A::f()"}},
		"in buffer":    {map[string]string{"index.php": "<?php\nfunction handler() { ob_start(); echo 'kept back'; throw new Exception('x'); }"}, "4002", []string{"error: x"}, []string{"kept back"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--event", "{}"}
			if name == "initializer" || name == "no such hook" {
				args = append(args, "--initializer", "index.init")
			}
			if name == "built in" {
				args = append(args, "--handler", "index.strlen")
			}
			got := runInvoke(t, writeFiles(t, c.files), args, "RUNTIME_TIMEOUT=20")
			require.Equal(t, 1, got.code, got.stderr)
			require.Contains(t, got.stderr, "✗ "+c.code+" ")
			for _, text := range c.says {
				require.Contains(t, got.stdout, text)
			}
			for _, text := range c.hints {
				require.Contains(t, got.stdout+got.stderr, text)
			}
			require.NotContains(t, got.stdout, "gantry-php", "the worker is in no stack")
		})
	}
}

// TestPHPOutputBelongsToItsCall: what is printed in every way, warnings, and what children print.
func TestPHPOutputBelongsToItsCall(t *testing.T) {
	t.Parallel()
	r := start(t, phpFolder(t, `function handler($event, $context) {
  echo "by echo\n";
  error_log('by error_log');
  fwrite(STDERR, "to stderr\n");
  file_put_contents('php://stdout', "to stdout\n");
  trigger_error('of a warning', E_USER_WARNING);
  @file_get_contents('/nonexistent');
  trigger_error('by trigger_error', E_USER_DEPRECATED);
  $context->getLogger()->info('%s and %d of %j', 'logged', 2, [1], 'rest');
  $context->getLogger()->setLevel('ERROR');
  $context->getLogger()->warn('left out');
  $context->getLogger()->setLevel('INFO');
  system('echo of a child; echo err of a child >&2');
  ob_start();
  echo "left in a buffer\n";
  print 'without an end';
  return error_get_last()['message'];
}`), "RUNTIME_TIMEOUT=20", "GANTRY_LOG_FORMAT=json")
	for range 3 {
		before := r.stdout.Size()
		got := r.invoke("{}", "X-Cff-Log-Type: tail")
		require.Equal(t, "by trigger_error", got.body)
		id := got.header.Get("X-Cff-Request-Id")
		tail, err := base64.StdEncoding.DecodeString(got.header.Get("X-Cff-Function-Log"))
		require.NoError(t, err)
		owners := map[string]string{}
		require.Eventually(t, func() bool { return strings.Contains(r.stdout.From(before), "Finish invoke") }, patience, time.Millisecond)
		for line := range strings.Lines(r.stdout.From(before)) {
			var l struct {
				Message   string `json:"message"`
				RequestID string `json:"request_id"`
			}
			require.NoError(t, json.Unmarshal([]byte(line), &l), line)
			owners[l.Message] = l.RequestID
		}
		for _, text := range []string{
			"by echo", "without an end", "by error_log", "to stderr", "to stdout", "logged and 2 of [1] rest", "of a child", "err of a child", "left in a buffer",
			"PHP Warning:  of a warning in " + r.dir + "/index.php on line 7", "PHP Deprecated:  by trigger_error in " + r.dir + "/index.php on line 9",
		} {
			require.Equal(t, id, owners[text], "%s of %v", text, owners)
			require.Contains(t, string(tail), text)
		}
		require.NotContains(t, string(tail), "left out")
		require.NotContains(t, string(tail), "nonexistent")
	}
}

// TestPHPProcessMayEndInACall: the caller gets why, and the next call a new process.
func TestPHPProcessMayEndInACall(t *testing.T) {
	t.Parallel()
	r := start(t, phpFolder(t, `function handler($event, $context) {
  switch ($event->do ?? '') {
    case 'exit': exit(7);
    case 'die': die("last words\n");
    case 'memory': for ($all = [];;) { $all[] = str_repeat('x', 10000000); }
    case 'fatal': trigger_error('it is over', E_USER_ERROR);
    case 'signal': posix_kill(getmypid(), SIGSEGV); sleep(60);
    case 'child': exec('sleep 60 >/dev/null 2>&1 & echo $!', $lines); file_put_contents($event->file, $lines[0]); exit(3);
  }
  return getmypid();
}`), "RUNTIME_TIMEOUT=20", "RUNTIME_MEMORY=64", "GANTRY_EXPOSE_ERRORS=true")
	child := filepath.Join(t.TempDir(), "pid")
	for do, want := range map[string]struct {
		status     int
		code, says string
	}{
		"exit":   {502, "4204", "runtime process is exited: exit code 7"},
		"die":    {502, "4204", "runtime process is exited: exit code 0"},
		"memory": {502, "4205", "runtime memory limit exceeded: "},
		"fatal":  {500, "4002", "it is over (./index.php:7)"},
		"signal": {502, "4204", "signal 11"},
		"child":  {502, "4204", "exit code 3"},
	} {
		got := r.invoke(`{"do":"` + do + `","file":"` + child + `"}`)
		require.Equal(t, want.status, got.status, "%s: %s", do, got.body)
		require.Equal(t, want.code, got.header.Get("X-Func-Err-Code"), do)
		require.Contains(t, got.body, want.says, do)
		require.Equal(t, 200, r.invoke("{}").status, do)
	}
	require.Contains(t, r.stdout.String(), "last words")
}

// TestPHPMemoryLimitIsTheFunctions: it holds where no control group can be made, too.
func TestPHPMemoryLimitIsTheFunctions(t *testing.T) {
	t.Parallel()
	got := runInvoke(t, phpFolder(t, `function handler() { return strlen(str_repeat('x', 200000000)); }`), []string{"--memory", "150"}, "RUNTIME_TIMEOUT=20")
	require.Contains(t, got.stdout, "runtime memory limit exceeded: Allowed memory size of 157286400 bytes exhausted (tried to allocate 2")
	require.Contains(t, got.stdout, " (./index.php:2)")
	require.Contains(t, got.stderr, "✗ 4205 Runtime.OutOfMemory")
	require.Contains(t, got.stderr, "raise RUNTIME_MEMORY, or use less memory")
}

// TestPHPFindsItsSurroundings: variables, folders, settings of PHP, and what Composer has installed.
func TestPHPFindsItsSurroundings(t *testing.T) {
	t.Parallel()
	needPHP(t)
	dir := writeFiles(t, map[string]string{
		"src/main.php": `<?php
namespace App;
require_once __DIR__ . '/../vendor/autoload.php';
require 'lib/helper.php';
$made = 'at the top level';
function run($event, $context)
{
    global $made;
    return [
        getenv('K'), $_SERVER['K'], $_ENV['K'], $_SERVER['RUNTIME_LOG_PATH'], $context->getUserData('K'), $made, helped(), Job::class, (new Job())->name,
        getcwd(), __DIR__, $_SERVER['SCRIPT_FILENAME'], $GLOBALS['argv'], ini_get('memory_limit'), ini_get('max_execution_time'),
        ini_get('opcache.enable_cli'), getenv('GANTRY_PARKED'), count(ob_list_handlers()),
    ];
}
`,
		"lib/helper.php": "<?php\nnamespace App;\nfunction helped() { return 'helped'; }",
		"vendor/autoload.php": `<?php
spl_autoload_register(function ($class) { require __DIR__ . '/../lib/' . strtr(strtolower($class), '\\', '_') . '.php'; });
`,
		"lib/app_job.php": "<?php\nnamespace App;\nclass Job { public $name = 'job'; }",
	})
	link := filepath.Join(t.TempDir(), "code")
	require.NoError(t, os.Symlink(dir, link))
	got := runInvoke(t, link, []string{"--handler", "src/main.run"}, `RUNTIME_USERDATA={"K":"v"}`, "RUNTIME_TIMEOUT=20")
	require.Equal(t, 0, got.code, got.stderr)
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	want, err := json.Marshal([]any{
		"v", "v", "v", "/home/snuser/log", "v", "at the top level", "helped", `App\Job`, "job", filepath.Dir(link), real + "/src", link + "/src/main.php",
		[]string{link + "/src/main.php"},
		"512M", "0", "1", false, 1,
	})
	require.NoError(t, err)
	require.JSONEq(t, string(want), got.stdout)
}

// TestPHPChildrenDoNotGetTheAgentsDescriptors: nor is one that they inherit, of a PHP without FFI, any harm.
func TestPHPChildrenDoNotGetTheAgentsDescriptors(t *testing.T) {
	t.Parallel()
	php := needPHP(t)
	dir := phpFolder(t, `function handler() { return [extension_loaded('ffi'), shell_exec('ls /proc/self/fd | tr "\n" " "')]; }`)
	bare := writeFiles(t, map[string]string{"php": "#!/bin/sh\nexec " + php + ` -n "$@"` + "\n"})
	json := exec.Command(php, "-n", "-r", "exit(extension_loaded('json') ? 0 : 1);").Run() == nil
	for name, path := range map[string]string{"as it is": "", "without extensions": bare + ":"} {
		got := runInvoke(t, dir, nil, "PATH="+path+os.Getenv("PATH"), "RUNTIME_TIMEOUT=20")
		if path != "" && !json {
			require.NotEqual(t, 0, got.code)
			require.Contains(t, got.stderr, "this PHP has no extension json, which the worker needs: install it (Debian: php")
			continue
		}
		require.Equal(t, 0, got.code, got.stderr)
		if strings.HasPrefix(got.stdout, "[true") {
			require.Equal(t, `[true,"0 1 2 3 "]`, got.stdout, "3 is the folder that ls reads")
		} else {
			require.Contains(t, got.stdout, "[false,", name)
		}
	}
}

// TestPHPForkedChildrenAreNoWorkers: one that comes back out of the handler ends, and answers nothing.
func TestPHPForkedChildrenAreNoWorkers(t *testing.T) {
	t.Parallel()
	needPHP(t)
	if err := exec.Command("php", "-r", "exit(extension_loaded('pcntl') ? 0 : 1);").Run(); err != nil {
		t.Skip("this php has no pcntl")
	}
	r := start(t, phpFolder(t, `function handler($event, $context) {
  $child = pcntl_fork();
  echo $child ? "by the parent\n" : "by the child\n";
  if (!$child) {
    $context->getLogger()->info('logged by the child');
    if ($event->throw) throw new Exception('in the child');
    return 'child';
  }
  pcntl_waitpid($child, $status);
  return pcntl_wexitstatus($status);
}`), "RUNTIME_TIMEOUT=20")
	for event, want := range map[string]string{`{"throw":false}`: "0", `{"throw":true}`: "1"} {
		for range 5 {
			got := r.invoke(event, "X-Cff-Log-Type: tail")
			require.Equal(t, want, got.body)
			tail, err := base64.StdEncoding.DecodeString(got.header.Get("X-Cff-Function-Log"))
			require.NoError(t, err)
			for _, text := range []string{"by the parent", "by the child", "logged by the child"} {
				require.Contains(t, string(tail), text)
			}
		}
	}
}

// TestPHPCallsRunSideBySideInSeveralWorkers: one in each.
func TestPHPCallsRunSideBySideInSeveralWorkers(t *testing.T) {
	t.Parallel()
	gate := t.TempDir()
	r := start(t, phpFolder(t, `function handler($event, $context) {
  touch("$event->gate/$event->n");
  while (count(glob("$event->gate/*")) < 4) { usleep(1000); }
  return $event->n;
}`), "GANTRY_WORKERS=4", "RUNTIME_TIMEOUT=30", "GANTRY_CONCURRENCY=8")
	require.Contains(t, r.stderr.String(), "GANTRY_CONCURRENCY=8 has no effect: a worker in PHP runs one call at a time")
	var calls sync.WaitGroup
	for i := range 4 {
		calls.Go(func() {
			got := r.try(`{"gate":"` + gate + `","n":` + itoa(i) + `}`)
			if got.status != 200 || got.body != itoa(i) {
				t.Errorf("call %d: %d %s", i, got.status, got.body)
			}
		})
	}
	calls.Wait()
}

// TestPHPEndsAsAProgramDoes: after the hook the user's handler of TERM, shutdown functions and destructors run.
func TestPHPEndsAsAProgramDoes(t *testing.T) {
	t.Parallel()
	r := start(t, phpFolder(t, `class Pool { function __destruct() { echo "destroyed\n"; } }
$pool = new Pool();
register_shutdown_function(function () { echo "shut down\n"; });
if (extension_loaded('pcntl')) {
  pcntl_async_signals(true);
  pcntl_signal(SIGTERM, function () { echo "terminated\n"; });
  pcntl_signal(SIGUSR2, function () { echo "signalled\n"; });
} else {
  echo "terminated\nsignalled\n";
}
function stop($context) { $context->getLogger()->info('stopping'); }
function handler() { return getmypid(); }`), "RUNTIME_PRESTOP_HANDLER=index.stop", "GANTRY_SHUTDOWN_TIMEOUT=30", "RUNTIME_TIMEOUT=20")
	require.Equal(t, 200, r.invoke("{}").status)
	r.signal(syscall.SIGUSR2)
	r.stdout.WaitFor(t, "signalled")
	require.Equal(t, 200, r.invoke("{}").status)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait())
	last := -1
	for _, text := range []string{"INFO stopping", "terminated", "shut down", "destroyed"} {
		at := strings.Index(r.stdout.String(), text)
		require.Greater(t, at, last, "%s, in this order: %s", text, r.stdout)
		last = at
	}
}

// TestPHPThatIsTooOldIsRefused: by what it says of itself, as it cannot read the worker.
func TestPHPThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()
	old := writeFiles(t, map[string]string{
		"php": "#!/bin/sh\n[ \"$1\" = --version ] && echo 'PHP 7.2.34 (cli) (built: Jul  4 2023 16:35:35) ( NTS )' && exit\necho 'PHP Parse error:  syntax error' >&2\nexit 255\n",
	})
	dir := writeFiles(t, map[string]string{"index.php": "<?php\nfunction handler() {}"})
	got := runInvoke(t, dir, nil, "PATH="+old+":"+os.Getenv("PATH"))
	require.NotEqual(t, 0, got.code)
	require.Contains(t, got.stderr, old+"/php is PHP 7.2.34 (cli) (built: Jul  4 2023 16:35:35) ( NTS ); PHP 7.3 or later is needed: install it, or put it first in PATH")
}
