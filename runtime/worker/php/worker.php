<?php
/*
 * The PHP worker: loads the function, speaks frames with the agent (docs/PROTOCOL.md), answers as docs/COMPATIBILITY.md
 * says. One file, embedded into the agent, with nothing but what every build of PHP has. PHP 7.0 can read it, so that an
 * old one gets as far as saying Hello, and the agent says that it is too old.
 */
namespace Gantry\Runtime {

if (!extension_loaded('json')) { // which PHP may lack before 8.0
    fwrite(STDERR, 'this PHP has no extension json, which the worker needs: install it (Debian: php' . PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION . "-json)\n");
    exit(1);
}

const HELLO = 1, INIT = 2, INVOKE = 3, RESULT = 4, FAILURE = 5, LOG = 6, BYE = 8, PRESTOP = 9, USERDATA = 10, LOAD = 12;
const HEADER = 13; // bytes: length, type, id, length of meta
const LOG_PIECE = 49152; // bytes
const LONGEST_TYPE = 1000; // bytes: meta has a limit, classes may have any name
const LONGEST_STACK = 100; // frames
const DEPTH = 4096; // of nested JSON
const PLAIN = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | 2097152; // JSON_INVALID_UTF8_SUBSTITUTE, since PHP 7.2
const TOO_LARGE = 'response body size %d exceeds the limit of %d';
const FATAL = E_ERROR | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_PARSE | E_RECOVERABLE_ERROR;

/** What is wrong with the function itself; kind is the platform's name for it, hint what to do about it. */
final class FunctionError extends \Exception
{
    public $kind, $hint;

    public function __construct($kind, $message, $hint = '')
    {
        parent::__construct($message);
        $this->kind = $kind;
        $this->hint = $hint;
    }
}

/** Both descriptors, and whole frames on them. */
final class Wire
{
    private static $in, $out;
    private static $marked = []; // copies of stdout and stderr

    /** These are copies of the descriptors. They block without a limit: the default is to give up after 60 s. */
    public static function open()
    {
        self::$in = fopen('php://fd/3', 'rb');
        self::$out = fopen('php://fd/4', 'wb');
        if (!self::$in || !self::$out) {
            exit(1); // PHP has said why
        }
        stream_set_timeout(self::$in, -1);
        stream_set_timeout(self::$out, -1);
        stream_set_chunk_size(self::$in, 65536);
    }

    /** Has calls come ahead: the agent takes back what was not read, so that no byte beyond a call is. */
    public static function ahead()
    {
        stream_set_read_buffer(self::$in, 0);
        foreach ([1, 2] as $fd) {
            self::$marked[] = fopen("php://fd/$fd", 'wb'); // user code may close its own
        }
    }

    /** Writes the mark before a call to stdout and stderr, so that the agent knows what belongs to it. */
    public static function mark($text)
    {
        foreach (self::$marked as $stream) {
            while ($stream && !@fwrite($stream, $text) && strpos((string) (error_get_last()['message'] ?? ''), 'errno=4 ') !== false) {
                error_clear_last(); // a signal came
            }
        }
    }

    /** Keeps the descriptors from the programs that user code starts, where PHP has a way to do it. */
    public static function keep()
    {
        if (!extension_loaded('ffi')) {
            return;
        }
        try {
            $c = \FFI::cdef('int fcntl(int, int, ...);');
            for ($fd = 3; $fd < 16; $fd++) { // those of the agent, and the copies; not all are open
                $c->fcntl($fd, 2, 1); // F_SETFD, FD_CLOEXEC
            }
        } catch (\Throwable $e) { // the user's settings forbid it: see docs/COMPATIBILITY.md
        }
    }

    public static function send($type, $id, $meta, $payload)
    {
        $frame = pack('NCNN', 9 + strlen($meta) + strlen($payload), $type, $id, strlen($meta)) . $meta . $payload;
        while ($frame !== '') {
            $n = @fwrite(self::$out, $frame);
            if ($n) {
                $frame = (string) substr($frame, $n);
            } elseif (strpos((string) (error_get_last()['message'] ?? ''), 'errno=4 ') === false) { // not a signal
                Worker::$gone = true;
                exit(1); // the agent is gone
            }
        }
    }

    /** Waits for the next frame so that handlers of signals run meanwhile, if user code has asked for that. */
    public static function await()
    {
        while (function_exists('pcntl_async_signals') && pcntl_async_signals()) {
            $read = [self::$in];
            $none = null;
            if (@stream_select($read, $none, $none, null) !== false) {
                return;
            }
            error_clear_last(); // a signal came
        }
    }

    /** Reads so many bytes; empty when the agent is gone. */
    public static function read($size)
    {
        $data = '';
        while (($missing = $size - strlen($data)) > 0) {
            $piece = (string) fread(self::$in, $missing);
            if ($piece === '' && feof(self::$in)) {
                return '';
            }
            $data .= $piece;
        }
        return $data;
    }
}

/** The context's logger. */
final class Logger
{
    private static $ranks = ['DEBUG' => 0, 'INFO' => 1, 'WARN' => 2, 'ERROR' => 3];
    private static $least = 1; // what setLevel() set, for all contexts

    public function debug(...$arguments) { self::write('DEBUG', $arguments); }
    public function info(...$arguments) { self::write('INFO', $arguments); }
    public function log(...$arguments) { self::write('INFO', $arguments); }
    public function warn(...$arguments) { self::write('WARN', $arguments); }
    public function warning(...$arguments) { self::write('WARN', $arguments); }
    public function error(...$arguments) { self::write('ERROR', $arguments); }

    /** Takes DEBUG, INFO, WARN and ERROR; ignores all else. */
    public function setLevel($level)
    {
        self::$least = self::$ranks[$level] ?? self::$least;
    }

    private static function write($level, $arguments)
    {
        if (self::$ranks[$level] >= self::$least) {
            Worker::log($level, self::format($arguments));
        }
    }

    /** As util.format() of Node.js, whose logger this one is modelled on: what is left over follows, with blanks. */
    private static function format($arguments)
    {
        $text = array_shift($arguments);
        if ($arguments && is_string($text)) {
            $text = preg_replace_callback('/%([sdifjoO%])/', function ($found) use (&$arguments) {
                if ($found[1] === '%') {
                    return '%';
                }
                if (!$arguments) {
                    return $found[0];
                }
                $value = array_shift($arguments);
                switch ($found[1]) {
                    case 'd':
                        return is_numeric($value) ? (string) ($value + 0) : 'NaN';
                    case 'i':
                        return is_numeric($value) ? (string) (int) $value : 'NaN';
                    case 'f':
                        return is_numeric($value) ? (string) (float) $value : 'NaN';
                    case 's':
                        return self::text($value);
                }
                return (string) json_encode($value, PLAIN | JSON_PARTIAL_OUTPUT_ON_ERROR);
            }, $text);
        }
        return implode(' ', array_map([self::class, 'text'], array_merge([$text], $arguments)));
    }

    private static function text($value)
    {
        if (is_string($value)) {
            return $value;
        }
        if ($value instanceof \Throwable) {
            return Worker::described($value);
        }
        if (is_object($value) && method_exists($value, '__toString')) {
            return (string) $value;
        }
        return (string) json_encode($value, PLAIN | JSON_PARTIAL_OUTPUT_ON_ERROR);
    }
}

/** What the handler gets beside the event. */
final class Context
{
    private static $credentials = []; // by call: in a context var_export() and its like would show them
    private $call;

    public function __construct($call)
    {
        $this->call = $call;
        if (isset($call->credentials)) {
            self::$credentials[$call->requestId] = $call->credentials;
            $call->credentials = '[redacted]';
        }
    }

    public function __destruct()
    {
        unset(self::$credentials[$this->call->requestId]);
    }

    private function __clone()
    {
    }

    private function credential($name)
    {
        return self::$credentials[$this->call->requestId]->$name ?? '';
    }

    private static function variable($name, $default = '')
    {
        $value = Worker::$variables[$name] ?? '';
        return $value === '' ? $default : $value;
    }

    public function getRequestID() { return $this->call->requestId; }
    public function getEventID() { return $this->call->requestId; } // of older templates
    public function getTraceID() { return $this->call->requestId; }
    public function getRemainingTimeInMilliSeconds()
    {
        return (int) ($this->call->deadline - microtime(true) * 1000);
    }
    public function getAccessKey() { return $this->credential('accessKey'); }
    public function getSecretKey() { return $this->credential('secretKey'); }
    public function getSecurityAccessKey() { return $this->credential('securityAccessKey'); }
    public function getSecuritySecretKey() { return $this->credential('securitySecretKey'); }
    public function getSecurityToken() { return $this->credential('securityToken'); }
    public function getToken() { return $this->credential('authToken'); }
    public function getUserData($key, $default = null) { return Worker::$userData[$key] ?? $default; }
    public function getFunctionName() { return self::variable('RUNTIME_FUNC_NAME'); }
    public function getRunningTimeInSeconds() { return self::variable('RUNTIME_TIMEOUT', '3') + 0; }
    public function getVersion() { return self::variable('RUNTIME_FUNC_VERSION'); }
    public function getMemorySize() { return self::variable('RUNTIME_MEMORY', '0'); }
    public function getCPUNumber() { return self::variable('RUNTIME_CPU', '0'); }
    public function getProjectID() { return self::variable('RUNTIME_PROJECT_ID'); }
    public function getPackage() { return self::variable('RUNTIME_PACKAGE'); }
    public function getLogger() { return new Logger(); }
    public function getAlias() { return $this->call->alias ?? ''; }
    public function getWorkflowID() { return $this->call->workflowId ?? ''; }
    public function getWorkflowRunID() { return $this->call->workflowRunId ?? ''; }
    public function getWorkflowStateID() { return $this->call->workflowStateId ?? ''; }
}

/** The function and its calls, one at a time. */
final class Worker
{
    /** What the environment says, as it was at the start: putenv() of user code must not change the context. */
    public static $variables, $userData = [];
    /** Set when the agent is gone. */
    public static $gone = false;

    private static $process; // the id of this process: children that user code forks are no workers
    private static $root, $roots, $file, $symbol, $most;
    private static $id = 0; // of the call that runs
    private static $kind = 0; // what runs: LOAD, INIT, INVOKE, PRESTOP; 0 between calls
    private static $began = 0; // when that call began, in seconds, if it was written ahead
    private static $used; // the processor time until then

    // Of each kind: code and words of its errors.
    private static $phases = [
        LOAD => [4001, 'function entry exception, error: '],
        INIT => [4009, 'function initialization exception, error: '],
        INVOKE => [4002, 'function invocation exception, error: '],
        PRESTOP => [4001, 'function prestop exception, error: '],
    ];
    // Of each hook: what it is called, its variable, and its flag.
    private static $hooks = [
        INIT => ['initializer', 'RUNTIME_INITIALIZER_HANDLER', '--initializer'],
        PRESTOP => ['prestop handler', 'RUNTIME_PRESTOP_HANDLER', '--prestop'],
    ];

    public static function start()
    {
        Wire::open();
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION . '.' . PHP_RELEASE_VERSION;
        Wire::send(HELLO, 0, '{"version":1,"runtime":"php","runtimeVersion":"' . $version
            . '","concurrency":false,"prestop":true,"bye":true,"userdata":true}', '');
        if (PHP_VERSION_ID < 70300) {
            exit(1);
        }
        if (($_SERVER['argv'][1] ?? '') === 'stacks') {
            self::offerStacks();
        }
        Wire::keep();
        self::$process = getmypid();
        self::$variables = getenv();
        self::forget('GANTRY_PARKED');
        self::forget('GANTRY_AHEAD');
        self::$root = rtrim(self::variable('RUNTIME_CODE_ROOT', '/opt/function/code'), '/');
        self::$roots = array_filter(array_unique([self::$root, (string) realpath(self::$root)])); // this, and without links
        usort(self::$roots, function ($a, $b) { return strlen($b) - strlen($a); });
        $handler = self::variable('RUNTIME_HANDLER', 'index.handler');
        $dot = strrpos($handler, '.');
        self::$file = substr($handler, 0, (int) $dot);
        self::$symbol = substr($handler, $dot + 1);
        self::$most = (int) self::variable('RUNTIME_MAX_RESP_BODY_SIZE', '6291456');
        $data = json_decode(self::variable('RUNTIME_USERDATA', '{}'), true);
        self::$userData = is_array($data) ? $data : []; // else none, as on the platform
        register_shutdown_function([self::class, 'ended']); // before any of user code
        if ((self::$variables['GANTRY_PARKED'] ?? '') === '1') {
            self::park();
        }
        self::$kind = LOAD;
        ob_start([self::class, 'output'], 1);
        $memory = (int) self::variable('RUNTIME_MEMORY', '0');
        ini_set('memory_limit', $memory > 0 ? $memory . 'M' : '-1');
        set_include_path(get_include_path() . PATH_SEPARATOR . self::$root);
        self::present(self::path());
    }

    /** Lets user code see its own file as the program that runs. */
    private static function present($path)
    {
        foreach (['PHP_SELF', 'SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_TRANSLATED'] as $name) {
            $_SERVER[$name] = $path;
        }
        $GLOBALS['argv'] = $_SERVER['argv'] = [$path];
    }

    private static function variable($name, $default)
    {
        $value = self::$variables[$name] ?? '';
        return $value === '' ? $default : $value;
    }

    /** Takes a variable that is none of the user's out of the environment. */
    private static function forget($name)
    {
        putenv($name);
        unset($_SERVER[$name], $_ENV[$name]);
    }

    /** Waits until the agent needs this worker: for Load, the first frame of all. */
    private static function park()
    {
        $head = Wire::read(HEADER);
        if ($head === '' || ord($head[4]) !== LOAD) {
            exit(0); // it does not
        }
    }

    // ------------------------------------------------------------------------------------------------ the load

    private static function path()
    {
        return self::$root . '/' . self::$file . '.php';
    }

    /** The handler's file, which has to be there. */
    public static function file()
    {
        if (!is_file(self::path())) {
            throw new FunctionError('FunctionLoadError', "not found module './" . self::$file . ".php'");
        }
        return self::path();
    }

    /** Ends the load; error is what user code threw. */
    public static function loaded($error)
    {
        try {
            if ($error) {
                throw $error;
            }
            self::named(self::$symbol, 'handler', 'RUNTIME_HANDLER (--handler)');
            $ahead = (self::$variables['GANTRY_AHEAD'] ?? '') === '1';
            if ($ahead) {
                Wire::ahead();
            }
            self::settle(RESULT, $ahead ? '{"ahead":true}' : '', '');
        } catch (\Throwable $e) {
            self::raised($e);
        }
    }

    /** The function of user code with that name, in whatever namespace the handler's file has. */
    private static function named($symbol, $what, $setting)
    {
        $defined = get_defined_functions()['user'];
        $wanted = strtolower($symbol);
        if (in_array($wanted, $defined, true)) {
            return $symbol;
        }
        $own = array_filter($defined, function ($name) {
            return (new \ReflectionFunction($name))->getFileName() === realpath(self::path());
        });
        foreach ($own as $name) {
            if (substr(strrchr($name, '\\'), 1) === $wanted) {
                return $name;
            }
        }
        throw new FunctionError(
            'FunctionConfigError',
            "$what '$symbol' not found in module './" . self::$file . ".php'",
            self::contents($own, $symbol, $setting)
        );
    }

    /** A hint at the functions that the handler's file has in place of symbol, which a setting names. */
    private static function contents($own, $symbol, $setting)
    {
        if (isset($GLOBALS[$symbol])) {
            return "\$$symbol is a variable: it has to be a function, function $symbol(" . '$event, $context) { ... }';
        }
        if (!$own) {
            return "the file defines no function: write function $symbol(" . '$event, $context)';
        }
        $names = array_map(function ($name) { return (new \ReflectionFunction($name))->getName(); }, array_values($own));
        $text = 'the file defines: ' . implode(', ', array_slice($names, 0, 10))
            . (count($names) > 10 ? ' and ' . (count($names) - 10) . ' more' : '');
        return count($names) === 1 ? "$text; set $setting to " . self::$file . '.' . $names[0] : $text;
    }

    // ------------------------------------------------------------------------------------------------ calls

    /** Runs the calls, one after the other, until the agent says Bye or is gone. */
    public static function serve()
    {
        while (true) {
            Wire::await();
            $head = Wire::read(HEADER);
            if ($head === '') {
                return;
            }
            $head = unpack('Nlength/Ctype/Nid/Nmeta', $head);
            $body = Wire::read($head['length'] - 9);
            if ($body === '' && $head['length'] > 9) {
                return;
            }
            $meta = substr($body, 0, $head['meta']);
            $payload = (string) substr($body, $head['meta']);
            $body = ''; // large events need not be there twice
            switch ($head['type']) {
                case USERDATA:
                    self::$userData = json_decode($payload, true) + self::$userData;
                    break;
                case INIT:
                case INVOKE:
                case PRESTOP:
                    self::$id = $head['id'];
                    self::$kind = $head['type'];
                    $call = json_decode($meta);
                    self::$began = 0;
                    if (isset($call->mark)) {
                        self::begin($call);
                    }
                    self::perform($call, $payload);
                    $call = null; // the context ends with the call
                    break;
                case BYE:
                    self::leave();
                    return;
            }
        }
    }

    /** Begins a call that the agent has written ahead: its time starts now, and only this process can measure it. */
    private static function begin($call)
    {
        Wire::mark($call->mark);
        self::$began = microtime(true);
        self::$used = self::$used ?? self::used();
        $call->deadline = self::$began * 1000 + $call->timeout;
        unset($call->timeout, $call->mark);
    }

    /** The processor time of this process, in microseconds. */
    private static function used()
    {
        $u = getrusage();
        return 1000000 * ($u['ru_utime.tv_sec'] + $u['ru_stime.tv_sec']) + $u['ru_utime.tv_usec'] + $u['ru_stime.tv_usec'];
    }

    private static function perform($call, &$payload)
    {
        try {
            if (self::$kind !== INVOKE) {
                list($what, $variable, $flag) = self::$hooks[self::$kind];
                $symbol = explode('.', self::variable($variable, '.'))[1];
                $hook = self::named($symbol, $what, "$variable ($flag)");
                $hook(new Context($call));
                self::settle(RESULT, '', '');
                return;
            }
            $event = json_decode($payload === '' ? '{}' : $payload, false, DEPTH);
            if ($event === null && json_last_error() !== JSON_ERROR_NONE) {
                $text = json_last_error_msg();
                self::fail(4002, 'JsonException', $text, $text, ['event' => true]);
                return;
            }
            $payload = '';
            static $handler;
            if ($handler === null) {
                $handler = self::named(self::$symbol, 'handler', 'RUNTIME_HANDLER (--handler)');
            }
            self::answer($handler($event, new Context($call)));
        } catch (\Throwable $e) {
            self::raised($e);
        }
    }

    private static function answer($value)
    {
        if ($value === null || is_string($value)) {
            $body = (string) $value;
        } else {
            try {
                $body = json_encode($value, 0, DEPTH);
                if ($body === false) {
                    throw new \RuntimeException(json_last_error_msg());
                }
            } catch (\Throwable $e) {
                $type = $e instanceof \RuntimeException && get_class($e) === 'RuntimeException' ? 'JsonException' : self::type($e);
                $said = 'function result is invalid, error: ' . $e->getMessage();
                $left = 10000;
                self::fail(4007, $type, self::body($said, $type), $said, ['hint' => self::unfit($value, 'result', $left)]);
                return;
            }
        }
        if (strlen($body) > self::$most) {
            self::tooLarge(strlen($body));
            return;
        }
        self::settle(RESULT, $value !== null && is_scalar($value) ? '{"text":true}' : '', $body);
    }

    private static function tooLarge($size)
    {
        $text = sprintf(TOO_LARGE, $size, self::$most);
        self::fail(4004, 'ResponseTooLarge', $text, $text);
    }

    /** Answers the call, or the load. What it still holds back of its output is written first. */
    private static function settle($type, $meta, $payload)
    {
        if (getmypid() !== self::$process) {
            exit($type === FAILURE ? 1 : 0); // a child that user code forked, and that came back out of the handler
        }
        self::flush();
        if (ini_get('max_execution_time') !== '0') {
            set_time_limit(0); // that of user code was for this call
        }
        if (self::$began) {
            $used = self::used();
            $took = max(1, (int) (1000000 * (microtime(true) - self::$began)));
            $meta = ($meta === '' ? '{' : substr($meta, 0, -1) . ',') . "\"took\":$took,\"cpu\":" . ($used - self::$used) . '}';
            self::$used = $used; // of the next one, if it is there already
        } else {
            self::$used = null;
        }
        $id = self::$id;
        self::$id = self::$kind = 0;
        Wire::send($type, $id, $meta, $payload);
    }

    // ------------------------------------------------------------------------------------------------ output

    /** Takes what user code prints, at once: what was printed before an endless loop is not lost. */
    public static function output($text)
    {
        if (self::$gone || getmypid() !== self::$process) {
            return $text;
        }
        for ($at = 0, $size = strlen($text); $at < $size; $at += LOG_PIECE) {
            Wire::send(LOG, self::$id, '{"stream":"stdout"}', substr($text, $at, LOG_PIECE));
        }
        return '';
    }

    /** Ends the output buffers that user code has left open, and sees to it that ours is there for the next call. */
    private static function flush()
    {
        $ours = self::class . '::output';
        for ($buffers = ob_list_handlers(); $buffers && end($buffers) !== $ours; $buffers = ob_list_handlers()) {
            if (!ob_end_flush()) {
                return; // one that cannot be ended
            }
        }
        if (!$buffers) {
            ob_start([self::class, 'output'], 1);
        }
    }

    /** Writes a message to the log. */
    public static function log($level, $text)
    {
        if (getmypid() !== self::$process) {
            fwrite(STDERR, "$text\n");
            return;
        }
        $size = strlen($text);
        for ($at = 0; $at === 0 || $at < $size; $at += LOG_PIECE) {
            $more = $at + LOG_PIECE < $size ? ',"more":true' : '';
            Wire::send(LOG, self::$id, "{\"level\":\"$level\"$more}", (string) substr($text, $at, LOG_PIECE));
        }
    }

    // ------------------------------------------------------------------------------------------------ errors

    /** Writes the error to the log, then answers with an error body. */
    private static function fail($code, $type, $body, $said, $more = [])
    {
        if ($said !== '' && getmypid() === self::$process) {
            self::log('ERROR', $said);
        }
        if (strlen($body) > self::$most && $code !== 4004) {
            self::tooLarge(strlen($body));
            return;
        }
        $meta = ['code' => $code, 'type' => substr($type, 0, LONGEST_TYPE)] + array_filter($more);
        self::settle(FAILURE, json_encode($meta, PLAIN), $body);
    }

    /** Which member of a result JSON cannot hold; empty if none is found among as many members as are left. */
    private static function unfit($value, $path, &$left)
    {
        if (is_float($value) && !is_finite($value)) {
            return "$path is " . json_encode((string) $value) . ': JSON has no such number';
        }
        if (is_string($value) && !preg_match('//u', $value)) {
            return "$path is not UTF-8: write base64_encode() of it";
        }
        if (is_resource($value)) {
            return "$path is a resource: write plain data in its place";
        }
        if (strlen($path) > 200 || $value instanceof \JsonSerializable || !is_array($value) && !is_object($value)) {
            return '';
        }
        foreach (is_array($value) ? $value : get_object_vars($value) as $key => $member) {
            if (--$left < 0) {
                break;
            }
            $found = self::unfit($member, $path . '[' . (is_int($key) ? $key : json_encode(substr($key, 0, 60))) . ']', $left);
            if ($found !== '') {
                return $found;
            }
        }
        return '';
    }

    /** Answers with an error that user code threw. */
    private static function raised($e)
    {
        list($code, $prefix) = self::$phases[self::$kind];
        if ($e instanceof FunctionError) {
            $said = $prefix . $e->getMessage();
            self::fail($code, $e->kind, self::body($said, $e->kind), $said, ['final' => self::$kind !== INVOKE, 'hint' => $e->hint]);
            return;
        }
        $type = self::type($e);
        $message = self::message($e);
        $more = ['final' => self::$kind === LOAD && self::isFinal($e, $message), 'hint' => self::hint($e, $message)];
        $stack = $e instanceof \ParseError ? null : self::stack($e);
        self::fail($code, $type, self::body($prefix . $message, $type, $stack), self::described($e), $more);
    }

    /** Whether an error of the load is one of the code itself, which another attempt meets again. */
    private static function isFinal($e, $message)
    {
        return $e instanceof \ParseError || $e instanceof \CompileError
            || $e instanceof \Error && preg_match('/not found$|^Call to undefined /', $message);
    }

    private static function message($e)
    {
        $caller = '~(?:, called)? in ' . preg_quote(__FILE__, '~') . ' on line \d+~'; // of the handler: this file
        $message = self::shorten(preg_replace($caller, '', $e->getMessage()));
        return $e instanceof \ParseError ? $message . ' (' . self::shorten($e->getFile()) . ':' . $e->getLine() . ')' : $message;
    }

    /** The name of an error's class; anonymous ones have a path behind a NUL. */
    private static function type($e)
    {
        return strtok(get_class($e), "\0");
    }

    /** Where an error was thrown, without the frames of the worker. */
    private static function stack($e)
    {
        $frames = [];
        $file = $e->getFile();
        $line = $e->getLine();
        foreach ($e->getTrace() as $frame) {
            if ($file !== __FILE__) {
                $loads = !isset($frame['class']) && preg_match('/^(?:require|include)(?:_once)?$/', $frame['function']);
                $name = $loads ? '{main}' : ($frame['class'] ?? '') . ($frame['type'] ?? '') . $frame['function'];
                $frames[] = "at $name ($file:$line)";
            }
            $file = $frame['file'] ?? '[internal function]';
            $line = $frame['line'] ?? 0;
        }
        if ($file !== __FILE__) {
            $frames[] = "at {main} ($file:$line)";
        }
        if (count($frames) > LONGEST_STACK) { // a recursion that had no end
            $left = count($frames) - LONGEST_STACK;
            array_splice($frames, LONGEST_STACK / 2, $left, ["... $left more"]);
        }
        return array_map([self::class, 'shorten'], $frames);
    }

    /** An error for the log, with those that it was thrown for. */
    public static function described($e)
    {
        $text = '';
        for (; $e; $e = $e->getPrevious()) {
            $text .= ($text === '' ? '' : "\nCaused by: ") . self::type($e) . ': ' . self::message($e);
            foreach (self::stack($e) as $frame) {
                $text .= "\n    $frame";
            }
        }
        return $text;
    }

    private static function body($message, $type, $stack = null)
    {
        $body = ['errorMessage' => self::shorten($message), 'errorType' => $type];
        if ($stack !== null) {
            $body['stackTrace'] = $stack;
        }
        return json_encode($body, PLAIN | JSON_PRETTY_PRINT);
    }

    /** Puts "." in the place of the code folder's path, but not in longer names that only begin or end like it. */
    private static function shorten($text)
    {
        foreach (self::$roots as $root) {
            if (strpos($text, $root) !== false) {
                $text = preg_replace('~(?<![\w.\~+@%-])' . preg_quote($root, '~') . '(?!\.?[\w\~+@%-])~', '.', $text);
            }
        }
        return $text;
    }

    /** What to do about an error; usually empty. */
    private static function hint($e, $message)
    {
        if (preg_match('/^(?:Class|Interface|Trait) (?:"|\').+(?:"|\') not found$|Failed opening required .*autoload\.php/', $message)) {
            return self::autoloadHint();
        }
        if ($e instanceof \TypeError && preg_match('/must be of (?:the )?type array, .*(?:stdClass|object) given/', $message)) {
            return 'JSON objects in the event are of the class stdClass, as on the platform: json_decode(json_encode($event), true) makes arrays of them';
        }
        if ($e instanceof \ArgumentCountError && ($e->getTrace()[0]['file'] ?? '') === __FILE__) { // the worker's own call
            return self::$kind === INVOKE ? 'the handler gets the event and the context: write two parameters, ($event, $context)'
                : 'it gets the context: write one parameter, ($context)';
        }
        return '';
    }

    private static function autoloadHint()
    {
        $root = self::$root;
        if (is_file("$root/vendor/autoload.php")) {
            return in_array(realpath("$root/vendor/autoload.php"), get_included_files(), true) ? ''
                : "vendor/autoload.php is there and was not loaded: write require_once __DIR__ . '/vendor/autoload.php';";
        }
        return is_file("$root/composer.json") ? 'the code folder has composer.json and no vendor/autoload.php: run composer install in it' : '';
    }

    /** Has the agent's signal write the stack to descriptor 6, as Python's module faulthandler does. */
    private static function offerStacks()
    {
        if (!function_exists('pcntl_signal') || !($dump = fopen('php://fd/6', 'wb'))) {
            return;
        }
        pcntl_async_signals(true);
        pcntl_signal(64, function () use ($dump) { // TracebackSignal
            $text = '';
            $frames = debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS);
            foreach ($frames as $i => $frame) {
                $name = $frames[$i + 1]['function'] ?? '{main}';
                if (isset($frame['file']) && $frame['file'] !== __FILE__) {
                    $text .= "  File \"$frame[file]\", line $frame[line] in $name\n";
                }
            }
            fwrite($dump, "$text  File \"<string>\", line 1 in <module>\n");
        }, false);
    }

    // ------------------------------------------------------------------------------------------------ the end

    /** Lets user code handle TERM, if it does: asks the agent for it, and waits. */
    private static function leave()
    {
        if (!function_exists('pcntl_signal_get_handler') || !is_callable($handler = pcntl_signal_get_handler(SIGTERM))) {
            return;
        }
        $ran = false;
        pcntl_signal(SIGTERM, function (...$arguments) use ($handler, &$ran) {
            try {
                $handler(...$arguments);
            } finally {
                $ran = true;
            }
        });
        Wire::send(BYE, 0, '', '');
        while (!$ran) {
            usleep(10000); // a signal ends it
            pcntl_signal_dispatch();
        }
    }

    /** Runs when the process is about to end by itself: by exit(), or by an error that cannot be caught. */
    public static function ended()
    {
        $error = error_get_last();
        if (self::$kind === 0 || self::$gone || getmypid() !== self::$process || !$error || !($error['type'] & FATAL)) {
            return; // without an answer of ours the agent says that the process has ended, and how
        }
        ini_set('memory_limit', '-1'); // there may be none left
        $message = self::shorten(strtok($error['message'], "\n"));
        $place = self::shorten($error['file']) . ':' . $error['line'];
        if (self::$kind === INVOKE && strpos($message, 'Allowed memory size of ') === 0) {
            $said = "runtime memory limit exceeded: $message ($place)";
            $hint = 'raise RUNTIME_MEMORY, or use less memory';
            self::fail(4205, 'Runtime.OutOfMemory', $said, '', ['last' => true, 'hint' => $hint]);
            return;
        }
        list($code, $prefix) = self::$phases[self::$kind];
        $more = ['last' => self::$kind === INVOKE, 'final' => self::$kind === LOAD && $error['type'] === E_COMPILE_ERROR];
        if (strpos($message, 'autoload.php') !== false) {
            $more['hint'] = self::autoloadHint();
        }
        self::fail($code, 'FatalError', self::body("$prefix$message ($place)", 'FatalError'), '', $more);
    }
}

Worker::start();
}

namespace {
    // User code is loaded here, outside of all functions, so that its variables are global ones.
    try {
        require \Gantry\Runtime\Worker::file();
        $gantry = null;
    } catch (\Throwable $gantry) {
    }
    \Gantry\Runtime\Worker::loaded($gantry);
    unset($gantry);
    \Gantry\Runtime\Worker::serve();
}
