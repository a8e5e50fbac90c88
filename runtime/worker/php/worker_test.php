<?php
/*
 * Tests of the worker that need no agent: php worker_test.php. They speak the frame protocol with a real worker, over
 * sockets that take and give bytes in the most inconvenient pieces.
 */
const HELLO = 1, INIT = 2, INVOKE = 3, RESULT = 4, FAILURE = 5, LOG = 6, CANCEL = 7, BYE = 8, PRESTOP = 9, USERDATA = 10;
const LOAD = 12;

set_error_handler(function ($level, $text, $file, $line) {
    throw new ErrorException($text, 0, $level, $file, $line);
});

/** A worker with a function of its own. */
final class Worker
{
    public $folder, $events, $answers;
    private $process;

    public function __construct($source, $environment = [])
    {
        $this->folder = sys_get_temp_dir() . '/gantry-worker-test-' . bin2hex(random_bytes(6));
        mkdir($this->folder);
        file_put_contents("$this->folder/index.php", "<?php\n$source");
        list($this->events, $itsEvents) = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        list($this->answers, $itsAnswers) = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $source = fopen(__DIR__ . '/worker.php', 'r');
        $command = 'exec ' . escapeshellarg(PHP_BINARY) . ' -d display_errors=0 -d log_errors=1 /proc/self/fd/5'
            . ' 6>&- 7>&- 8>&- 9>&-'; // the agent's ends, which must not be open in the worker
        $descriptors = [0 => ['file', '/dev/null', 'r'], 1 => ['pipe', 'w'], 2 => ['pipe', 'w'], 3 => $itsEvents, 4 => $itsAnswers, 5 => $source];
        $environment += ['RUNTIME_CODE_ROOT' => $this->folder, 'RUNTIME_HANDLER' => 'index.handler', 'PATH' => getenv('PATH')];
        $this->process = proc_open($command, $descriptors, $this->pipes, sys_get_temp_dir(), $environment);
        foreach ([$this->events, $this->answers] as $stream) {
            stream_set_timeout($stream, 30);
        }
    }

    public $pipes;

    public function __destruct()
    {
        if ($this->process) {
            proc_terminate($this->process, 9);
            $this->end();
        }
        unlink("$this->folder/index.php");
        rmdir($this->folder);
    }

    /** The exit code of the worker, when it has ended. */
    public function end()
    {
        for ($limit = microtime(true) + 30; ($status = proc_get_status($this->process))['running']; usleep(1000)) {
            check(microtime(true) < $limit, 'the worker ends');
        }
        proc_close($this->process);
        $this->process = null;
        return $status['exitcode'];
    }

    public static function frame($type, $id, $meta = [], $payload = '')
    {
        $meta = $meta ? json_encode($meta) : '';
        return pack('NCNN', 9 + strlen($meta) + strlen($payload), $type, $id, strlen($meta)) . $meta . $payload;
    }

    public static function invocation($id, $payload)
    {
        return self::frame(INVOKE, $id, ['requestId' => "r$id", 'deadline' => 1e15], $payload);
    }

    public function write($bytes)
    {
        for (; $bytes !== ''; $bytes = (string) substr($bytes, $n)) {
            $n = fwrite($this->events, $bytes);
        }
    }

    /** The next frame: type, id, meta, payload. */
    public function next()
    {
        $head = unpack('Nlength/Ctype/Nid/Nmeta', $this->bytes(13));
        $meta = $head['meta'] ? json_decode($this->bytes($head['meta']), true) : [];
        return [$head['type'], $head['id'], $meta, $this->bytes($head['length'] - 9 - $head['meta'])];
    }

    private function bytes($n)
    {
        for ($bytes = ''; strlen($bytes) < $n; $bytes .= $piece) {
            $piece = fread($this->answers, $n - strlen($bytes));
            check((string) $piece !== '', 'the worker answers');
        }
        return $bytes;
    }

    /** Reads Hello and the end of the load. */
    public function ready()
    {
        check($this->next()[0] === HELLO, 'Hello comes first');
        same([RESULT, 0, [], ''], $this->next());
        return $this;
    }
}

function check($true, $what)
{
    if (!$true) {
        throw new LogicException("not so: $what");
    }
}

function same($want, $got)
{
    if ($want !== $got) {
        throw new LogicException('want ' . var_export($want, true) . ', got ' . var_export($got, true));
    }
}

$tests = [
    'Hello says what the worker can do' => function () {
        $worker = new Worker('function handler() {}');
        $hello = ['version' => 1, 'runtime' => 'php', 'runtimeVersion' => implode('.', array_slice(explode('.', strtok(PHP_VERSION, '-')), 0, 3)),
            'concurrency' => false, 'prestop' => true, 'bye' => true, 'userdata' => true];
        same([HELLO, 0, $hello, ''], $worker->next());
    },
    'a frame may come byte by byte' => function () {
        $worker = (new Worker('function handler($e) { return $e->a; }'))->ready();
        foreach (str_split(Worker::invocation(1, '{"a":"x"}')) as $byte) {
            $worker->write($byte);
            usleep(200);
        }
        same([RESULT, 1, ['text' => true], 'x'], $worker->next());
    },
    'several frames may come at once' => function () {
        $worker = (new Worker('function handler($e) { return $e; }'))->ready();
        $worker->write(Worker::invocation(1, '1') . Worker::frame(CANCEL, 1) . Worker::invocation(2, '[2]') . substr(Worker::invocation(3, '"3"'), 0, 20));
        same([RESULT, 1, ['text' => true], '1'], $worker->next());
        same([RESULT, 2, [], '[2]'], $worker->next());
        $worker->write(substr(Worker::invocation(3, '"3"'), 20));
        same([RESULT, 3, ['text' => true], '3'], $worker->next());
    },
    'events and results of 6 MiB pass, also when they are read slowly' => function () {
        $worker = (new Worker('function handler($e) { return $e; }'))->ready();
        $text = str_repeat("0123456789abcdef\u{fc}", 349525);
        $worker->write(Worker::invocation(1, json_encode($text, JSON_UNESCAPED_UNICODE)));
        usleep(100000); // so that its write blocks
        same([RESULT, 1, ['text' => true], $text], $worker->next());
    },
    'output comes before the answer, in order and in pieces' => function () {
        $worker = (new Worker('function handler($e, $c) { echo "a"; $c->getLogger()->warn("b"); echo str_repeat("c", 100000); return 1; }'))->ready();
        $worker->write(Worker::invocation(7, ''));
        same([LOG, 7, ['stream' => 'stdout'], 'a'], $worker->next());
        same([LOG, 7, ['level' => 'WARN'], 'b'], $worker->next());
        for ($text = ''; strlen($text) < 100000; $text .= $frame[3]) {
            $frame = $worker->next();
            same([LOG, 7, ['stream' => 'stdout']], array_slice($frame, 0, 3));
            check(strlen($frame[3]) <= 49152, 'pieces have at most 48 KiB');
        }
        same(str_repeat('c', 100000), $text);
        same([RESULT, 7, ['text' => true], '1'], $worker->next());
    },
    'a long message says that more of it follows' => function () {
        $worker = (new Worker('function handler($e, $c) { $c->getLogger()->error(str_repeat("x", 49153)); $c->getLogger()->info(""); }'))->ready();
        $worker->write(Worker::invocation(1, '{}'));
        same([LOG, 1, ['level' => 'ERROR', 'more' => true], str_repeat('x', 49152)], $worker->next());
        same([LOG, 1, ['level' => 'ERROR'], 'x'], $worker->next());
        same([LOG, 1, ['level' => 'INFO'], ''], $worker->next());
        same([RESULT, 1, [], ''], $worker->next());
    },
    'user code may end all output buffers' => function () {
        $worker = (new Worker('function handler() { while (ob_get_level()) ob_end_clean(); echo "past the worker\n"; }'))->ready();
        $worker->write(Worker::invocation(1, '{}') . Worker::frame(BYE, 0));
        same([RESULT, 1, [], ''], $worker->next());
        same("past the worker\n", fgets($worker->pipes[1]));
        same(0, $worker->end());
    },
    'encrypted user variables come before others' => function () {
        $worker = (new Worker('function handler($e, $c) { return [$c->getUserData("a"), $c->getUserData("b"), $c->getUserData("c", 3)]; }', ['RUNTIME_USERDATA' => '{"a":"1","b":"1"}']))->ready();
        $worker->write(Worker::frame(USERDATA, 0, [], '{"b":"2"}') . Worker::invocation(1, '{}'));
        same([RESULT, 1, [], '["1","2",3]'], $worker->next());
    },
    'credentials are in the context, and nothing prints them' => function () {
        $worker = (new Worker('function handler($e, $c) { var_dump($c); var_export($c); print_r((array) $c); return $c->getSecurityToken() . json_encode($c); }'))->ready();
        $worker->write(Worker::frame(INVOKE, 1, ['requestId' => 'r1', 'deadline' => 1, 'credentials' => ['securityToken' => 's3cr3t']], '{}'));
        while (($frame = $worker->next())[0] === LOG) {
            check(strpos($frame[3], 's3cr3t') === false, 'no secret is printed');
        }
        same([RESULT, 1, ['text' => true], 's3cr3t{}'], $frame);
    },
    'a time limit of user code is for its call' => function () {
        $worker = (new Worker('function handler($e) { if ($e->limit) set_time_limit(1); for ($end = microtime(true) + $e->for; microtime(true) < $end;); return 1; }'))->ready();
        $worker->write(Worker::invocation(1, '{"limit":true,"for":0}') . Worker::invocation(2, '{"limit":false,"for":1.5}'));
        same([RESULT, 1, ['text' => true], '1'], $worker->next());
        same([RESULT, 2, ['text' => true], '1'], $worker->next());
        $worker->write(Worker::invocation(3, '{"limit":true,"for":60}'));
        list($type, $id, $meta, $body) = $worker->next();
        same([FAILURE, 3, 'FatalError', true], [$type, $id, $meta['type'], $meta['last']]);
        check(strpos($body, 'Maximum execution time of 1 second exceeded') !== false, $body);
        same(255, $worker->end());
    },
    'it ends when the agent is gone' => function () {
        $worker = (new Worker('function handler() {}'))->ready();
        fclose($worker->events);
        same(0, $worker->end());
    },
    'it ends when the agent is gone in the middle of a frame' => function () {
        $worker = (new Worker('function handler() { echo "called"; }'))->ready();
        $worker->write(substr(Worker::invocation(1, '{}'), 0, 15));
        fclose($worker->events);
        same(0, $worker->end());
        same('', fread($worker->answers, 1));
    },
    'it ends when nothing reads its answers' => function () {
        $worker = (new Worker('function handler() { for (;;) echo "x"; }'))->ready();
        fclose($worker->answers);
        $worker->write(Worker::invocation(1, '{}'));
        same(1, $worker->end());
    },
    'a call that is written ahead is not read before the answer to the one before' => function () {
        $worker = new Worker('function handler($e, $c) { if (isset($e->slow)) { usleep(100000); } return $c->getRemainingTimeInMilliSeconds(); }',
            ['GANTRY_AHEAD' => '1']);
        same(HELLO, $worker->next()[0]);
        same([RESULT, 0, ['ahead' => true], ''], $worker->next());
        $next = Worker::frame(INVOKE, 2, ['requestId' => 'r2', 'timeout' => 3000, 'mark' => '{m:2}'], '{}');
        $worker->write(Worker::invocation(1, '{"slow":1}') . $next);
        $first = $worker->next();
        same([RESULT, 1, ['text' => true]], array_slice($first, 0, 3));
        list($type, $id, $meta, $left) = $worker->next();
        same([RESULT, 2], [$type, $id]);
        check($meta['text'] && $meta['took'] > 0 && $meta['took'] < 100000 && $meta['cpu'] >= 0, 'the figures are of this call alone');
        check($left > 2900 && $left <= 3000, 'its time begins with the call');
    },
    'one that is parked waits for Load' => function () {
        $worker = new Worker('echo getenv("GANTRY_PARKED") === false ? "loaded" : "seen"; function handler() {}', ['GANTRY_PARKED' => '1']);
        same(HELLO, $worker->next()[0]);
        $read = [$worker->answers];
        $none = null;
        same(0, stream_select($read, $none, $none, 0, 100000));
        $worker->write(Worker::frame(LOAD, 0));
        same([LOG, 0, ['stream' => 'stdout'], 'loaded'], $worker->next());
        same([RESULT, 0, [], ''], $worker->next());
    },
    'one that is parked ends after any other frame' => function () {
        $worker = new Worker('echo "loaded"; function handler() {}', ['GANTRY_PARKED' => '1']);
        same(HELLO, $worker->next()[0]);
        $worker->write(Worker::frame(BYE, 0));
        same(0, $worker->end());
    },
];
$failed = 0;
foreach ($tests as $name => $test) {
    try {
        $test();
        echo "ok - $name\n";
    } catch (Throwable $e) {
        $failed++;
        echo "FAILED - $name: {$e->getMessage()} (line {$e->getLine()})\n";
    }
}
exit($failed ? 1 : 0);
