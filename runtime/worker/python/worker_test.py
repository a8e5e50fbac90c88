"""Tests of what in the worker needs no agent. Run them with: python3 -m unittest discover -s runtime/worker/python -p '*_test.py'"""
import asyncio
import functools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
from importlib.machinery import SourceFileLoader
from random import Random

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.update(RUNTIME_CODE_ROOT="/code", RUNTIME_USERDATA='{"k":"v"}', RUNTIME_TIMEOUT="2.5", RUNTIME_MAX_RESP_BODY_SIZE="300")

import codecache
import worker


class Pipes(unittest.TestCase):
    """Gives the worker pipes in place of its sockets."""

    def setUp(self):
        worker.EVENTS, self.events = os.pipe()
        self.answers, worker.ANSWERS = os.pipe()
        os.set_blocking(self.answers, False)
        self.addCleanup(self.tidy)

    def tidy(self):
        for fd in (worker.EVENTS, self.events, self.answers, worker.ANSWERS):
            os.close(fd)
        worker.calls.clear()
        worker.current.set(None)
        worker.no_call.held = None
        worker.stub = b""
        del worker.queue[:]

    def sent(self):
        """The frames written since the last time, as (type, id, meta, payload)."""
        data = b""
        try:
            while True:
                data += os.read(self.answers, 1 << 20)
        except BlockingIOError:
            pass
        found = []
        while data:
            length, kind, number, size = worker.HEADER.unpack_from(data)
            body, data = data[13:4 + length], data[4 + length:]
            found.append((kind, number, json.loads(body[:size] or b"{}"), body[size:].decode()))
        return found

    def read_frame(self):
        """One frame, for which it waits, in a list."""
        os.set_blocking(self.answers, True)
        length, kind, number, size = worker.HEADER.unpack(self.read_bytes(13))
        body = self.read_bytes(length - 9)
        return [(kind, number, json.loads(body[:size] or b"{}"), body[size:])]

    def read_bytes(self, size):
        data = b""
        while len(data) < size:
            data += os.read(self.answers, size - len(data))
        return data

    def call(self, number=7, **meta):
        call = worker.Call(number, worker.INVOKE, dict({"requestId": "r%d" % number, "deadline": 4e12}, **meta), b"{}", time.monotonic())
        worker.calls[number] = call
        return call


def frame(kind, number, meta=b"", payload=b""):
    return worker.HEADER.pack(9 + len(meta) + len(payload), kind, number, len(meta)) + meta + payload


class Frames(Pipes):
    def test_vectors(self):
        """The frames of docs/PROTOCOL.md."""
        with worker.wire:
            worker.send(worker.RESULT, 0, b"", b"")
            worker.send(worker.LOG, 2, b'{"level":"INFO"}', b"hello")
        self.assertEqual(os.read(self.answers, 1000).hex(), "0000000904000000000000000" + "0" + "0000001e06000000020000001" + "0" + b'{"level":"INFO"}hello'.hex())

    def test_user_data(self):
        """Encrypted user variables are in the context alone."""
        os.write(self.events, frame(worker.USERDATA, 0, payload=b'{"KEY":"v"}') + frame(worker.INVOKE, 1, b'{"requestId":"x","deadline":1}', b"{}"))
        call, = worker.receive()
        context = worker.Context(call)
        self.addCleanup(worker.encrypted.clear)
        self.assertEqual([context.getUserData("KEY"), context.getUserData("KEY", "other"), "KEY" in worker.env], ["v", "v", False])
        self.assertNotIn("KEY", str(vars(context)) + str(context.user_data))

    def test_any_pieces(self):
        meta = b'{"requestId":"x","deadline":1}'
        stream = frame(worker.INVOKE, 1, meta, b"{}") + frame(worker.CANCEL, 1) + frame(worker.INVOKE, 2, meta, b"1" * 500) + frame(worker.BYE, 0) + frame(worker.INIT, 3, meta)
        for size in (1, 2, 5, 12, 13, 14, 50, 64, 1000):
            with self.subTest(size=size):
                worker.calls.clear()
                feeder = threading.Thread(target=lambda: [os.write(self.events, stream[i:i + size]) for i in range(0, len(stream), size)])
                feeder.start()
                found = []
                while len(found) < 3:
                    found += worker.receive()
                feeder.join()
                self.assertEqual([(c.id, c.kind, len(c.payload), c.answered) for c in found], [(1, 3, 2, True), (2, 3, 500, False), (3, 2, 0, False)])
                self.assertEqual(sorted(worker.calls), [2, 3])

    def test_a_call_that_is_written_ahead_begins_when_it_is_read(self):
        def frame(number, event, **meta):
            meta = json.dumps(dict({"requestId": "r%d" % number}, **meta)).encode()
            return worker.HEADER.pack(9 + len(meta) + len(event), worker.INVOKE, number, len(meta)) + meta + event

        printed, out = os.pipe()
        self.addCleanup(os.close, printed)
        self.addCleanup(os.close, out)
        large = b'"%s"' % (b"x" * 40000)
        second = frame(2, large, timeout=3000, mark="{m:2}")
        third = frame(3, b"{}", timeout=3000, mark="{m:3}")
        with unittest.mock.patch.multiple(worker, ahead=True, marked=[out, out]):
            os.write(self.events, frame(1, b"{}", deadline=4e12) + second[:5])
            self.assertEqual([call.id for call in worker.receive()], [1])
            os.write(self.events, second[5:] + third)
            call, = worker.receive()
            self.assertEqual((call.id, call.payload), (2, large))
            self.assertEqual(os.read(printed, 100), b"{m:2}{m:2}")
            self.assertNotIn("mark", call.meta)
            self.assertAlmostEqual(call.meta["deadline"] / 1000, time.time() + 3, delta=1)
            self.assertEqual(os.read(worker.EVENTS, 1000), third, "no byte beyond a call is read")
            call.began -= 1
            worker.settle(call, worker.RESULT, b"", b"1")
            worker.settle(call, worker.RESULT, b"", b"2")
        (kind, number, meta, payload), = self.sent()
        self.assertEqual((kind, number, payload), (worker.RESULT, 2, "1"))
        self.assertGreater(meta["took"], 1e6)
        self.assertLess(meta["cpu"], 1e6)

    def test_nested_writes_wait(self):
        """A signal handler prints in the middle of a write."""
        nested = []

        def interrupted(fd, data):
            if not nested:
                nested.append(1)
                worker.write_log(worker.no_call, worker.INFO, b"nested")
            return os.write(fd, data)

        with unittest.mock.patch.object(worker, "write", interrupted):
            worker.write_log(worker.no_call, worker.INFO, b"outer")
        self.assertEqual([f[3] for f in self.sent()], ["outer", "nested"])

    def test_parts(self):
        """The socket takes what it has room for."""
        with unittest.mock.patch.object(worker, "write", lambda fd, data: os.write(fd, data[:5])):
            worker.write_log(worker.no_call, worker.INFO, b"in parts")
            worker.write_log(worker.no_call, worker.INFO, b"and another")
        self.assertEqual([f[3] for f in self.sent()], ["in parts", "and another"])

    def test_signal_handler_raises(self):
        """What a signal handler raises in the middle of a write neither cuts the stream nor loses an answer."""
        class Tick(Exception):
            pass

        def tick(*_):
            raise Tick

        def interrupt():
            room = select.poll()
            room.register(worker.ANSWERS, select.POLLOUT)
            while room.poll(0):  # until the pipe is full, and the write waits
                pass
            os.kill(os.getpid(), signal.SIGUSR1)
            while len(found) < 3:
                found.extend(self.read_frame())

        found = []
        before = signal.signal(signal.SIGUSR1, tick)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        with unittest.mock.patch.object(worker, "MAX_RESPONSE", 1 << 20):
            for size in (1 << 16, 1 << 18, 70000):
                call = self.call()
                del found[:]
                other = threading.Thread(target=interrupt)
                other.start()
                with self.assertRaises(Tick):
                    worker.answer(call, "x" * size)
                    while True:  # it comes at once, though not before the write if that has ended
                        pass
                worker.write_log(call, worker.INFO, b"late")
                worker.write_log(worker.no_call, worker.INFO, b"next")
                other.join()
                self.assertEqual([(f[0], len(f[3])) for f in found], [(worker.RESULT, size), (worker.LOG, 4), (worker.LOG, 4)])
                self.assertEqual((found[1][2], worker.queue, worker.calls), ({"level": "INFO", "requestId": "r7"}, [], {}))

    def test_a_flag_left_behind(self):
        worker.writing = True
        worker.write_log(worker.no_call, worker.INFO, b"written")
        self.assertEqual([f[3] for f in self.sent()], ["written"])

    def test_users_errors_are_not_the_agents_end(self):
        def broken(fd, data):
            raise BrokenPipeError("of a signal handler")

        with unittest.mock.patch.object(worker, "write", broken), self.assertRaises(BrokenPipeError):
            worker.write_log(worker.no_call, worker.INFO, b"kept")
        worker.write_log(worker.no_call, worker.INFO, b"next")
        self.assertEqual([f[3] for f in self.sent()], ["kept", "next"])


class JSON(unittest.TestCase):
    """What stands in for the package json is the same."""

    def same(self, ours, theirs, *arguments):
        def result(function):
            try:
                return repr(function(*arguments))
            except Exception as e:
                return "%s: %s" % (type(e).__name__, e)
        self.assertEqual(result(ours), result(theirs), arguments)

    def test_read(self):
        self.assertIsNot(worker.scan, worker.no_json)
        for text in ('{"a":[1,2.5,-0.0,1e400,"\\u00e9\\ud800",null,true]}', "[]", " [1]", "[1] \n", '"x"', "0", "NaN", "[-Infinity]", '{"a":1,"a":2}', "[" * 50 + "]" * 50,
                     "", "x", "[1", "[1]]", '{"a"}', '"\t"', "1 2", "123456789012345678901234567890", "[" * 100000, '{"\u00e9":"\U0001f600"}', "\ufeff{}"):
            self.same(worker.loads, json.loads, text.encode())
            self.same(worker.loads, json.loads, text.encode("utf-16"))
        self.same(worker.loads, json.loads, b'"\xff"')
        self.same(worker.loads, json.loads, bytearray(b'{"a":1}'))

    def test_write(self):
        import collections
        import enum
        circle = []
        circle.append(circle)

        class Number(enum.IntEnum):
            ONE = 1

        for value in ({"a": [1, 2.5, -0.0, None, True], "\u00e9\ud800": "\n\U0001f600"}, [], {}, (), 1, 1.0, True, {1: 2, None: 3, 1.5: 4, True: 5}, {(1,): 2}, float("nan"), [float("-inf")],
                      Number.ONE, {Number.ONE: Number.ONE}, collections.OrderedDict(b=1, a=2), circle, object, {1}, [b"x"], 10 ** 400, collections.namedtuple("P", "x")(1)):
            self.same(worker.dumps, json.dumps, value)

    def test_circle_without_a_limit(self):
        circle = []
        circle.append(circle)
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10 ** 7)
        try:
            with self.assertRaisesRegex(ValueError, "Circular reference detected"):
                worker.dumps(circle)
        finally:
            sys.setrecursionlimit(limit)

    def test_error_body(self):
        for stack in (None, [], ['a "quoted" frame'], ["two", "frames \u00fc\n\ud800"]):
            body = {"errorMessage": "\u00fcber \"alles\"\n", "errorType": "T\u00e4"}
            if stack is not None:
                body["stackTrace"] = stack
            self.assertEqual(worker.error_body("\u00fcber ", '"alles"\n', "T\u00e4", stack), json.dumps(body, indent=4))
        self.assertEqual(json.loads(worker.failure_meta(4002, 'T"', True)), {"code": 4002, "type": 'T"', "event": True})
        self.assertEqual(json.loads(worker.failure_meta(4001, "T")), {"code": 4001, "type": "T"})

    def test_users_own_default(self):
        """Functions teach json about other types this way."""
        with unittest.mock.patch.object(json.JSONEncoder, "default", lambda self, o: sorted(o)):
            self.assertEqual(worker.dumps({"a": {2, 1}}), '{"a": [1, 2]}')


class Answers(Pipes):
    def test_values(self):
        for value, body, text in (
            (None, "", False), ("x", "x", True), (1, "1", True), (1.5, "1.5", True), (True, "true", True),
            ({"a": [1, None]}, '{"a": [1, null]}', False), ("x" * 300, "x" * 300, True),
        ):
            worker.answer(self.call(), value)
            self.assertEqual(self.sent(), [(worker.RESULT, 7, {"text": True} if text else {}, body)])

    def test_refused(self):
        for value, code in ((b"x", 4007), (object(), 4007), ({1, 2}, 4007), ("x" * 301, 4004), ("ü" * 151, 4004), ("\ud800", 4007)):
            worker.answer(self.call(), value)
            log, failure = self.sent()
            self.assertEqual((log[0], failure[0], failure[2]["code"]), (worker.LOG, worker.FAILURE, code))

    def test_too_large_an_error(self):
        worker.raised(self.call(), ValueError("x" * 300))
        raised, large, failure = self.sent()
        self.assertEqual((failure[2], failure[3]), ({"code": 4004, "type": "ResponseTooLarge"}, large[3]))
        self.assertRegex(failure[3], "^response body size 4[0-9]{2} exceeds the limit of 300$")
        self.assertEqual(raised[3], "ValueError: " + "x" * 300)

    def test_names_have_a_limit(self):
        with unittest.mock.patch.object(worker, "MAX_RESPONSE", 1 << 20):
            worker.raised(self.call(), type("E" * 5000, (Exception,), {})())
        self.assertEqual(self.sent()[-1][2], {"code": 4002, "type": "E" * 1000})

    def test_collected_in_a_loop(self):
        """Answers of one turn leave in one write, but a lone one and a log line do not wait."""
        loop = unittest.mock.Mock()
        with unittest.mock.patch.object(worker, "loop", loop):
            calls = [self.call(n) for n in range(1, 5)]
            worker.answer(calls[0], 1)
            worker.answer(calls[1], 2)
            self.assertEqual(self.sent(), [])
            loop.call_soon.assert_called_once_with(worker.flush_queue)
            worker.write_log(calls[2], worker.INFO, b"x")
            self.assertEqual([(f[0], f[1]) for f in self.sent()], [(worker.RESULT, 1), (worker.RESULT, 2), (worker.LOG, 3)])
            worker.answer(calls[2], 3)
            self.assertEqual(self.sent(), [])
            worker.answer(calls[3], 4)
            self.assertEqual([(f[0], f[1]) for f in self.sent()], [(worker.RESULT, 3), (worker.RESULT, 4)], "the last one waits for nothing")

    def test_once(self):
        call = self.call()
        worker.answer(call, 1)
        worker.answer(call, 2)
        worker.raised(call, ValueError("late"))
        sent = self.sent()
        self.assertEqual([f[0] for f in sent], [worker.RESULT, worker.LOG])
        self.assertEqual(sent[1][2], {"level": "ERROR", "requestId": "r7"})

    def test_error_body(self):
        self.assertEqual(worker.error_body("p: ", "in /code/x", "E"), '{\n    "errorMessage": "p: in ./x",\n    "errorType": "E"\n}')
        self.assertEqual(json.loads(worker.error_body("", "", "E", []))["stackTrace"], [])

    def test_frames(self):
        namespace = {}
        exec(compile("def f(n):\n    if n: f(n - 1)\n    raise ValueError\n", "/code/a.py", "exec"), namespace)
        try:
            namespace["f"](200)
        except ValueError as e:
            found = worker.frames(e)
        self.assertEqual(found[0], 'File "./a.py", line 2, in f')
        self.assertEqual(found[-1], 'File "./a.py", line 3, in f')
        self.assertEqual(found[50], "... 101 more")

    def test_messages(self):
        self.assertEqual(worker.message_of(SystemExit()), "sys.exit() was called")
        self.assertEqual(worker.message_of(SystemExit("bye")), "sys.exit('bye') was called")
        self.assertEqual(worker.message_of(SyntaxError("bad", ("/code/x.py", 3, 1, ""))), "bad (/code/x.py:3)")
        self.assertEqual(worker.message_of(SyntaxError("bad")), "bad")


class Logs(Pipes):
    def setUp(self):
        super().setUp()
        self.out = worker.Stream("stdout", 1)

    def texts(self):
        return [(f[1], f[3]) for f in self.sent()]

    def test_lines(self):
        call = self.call()
        print("a", 1, file=self.out)
        self.assertEqual(self.texts(), [(7, "a 1\n")], "print() is one frame; the only call is the owner")
        self.out.write("one\ntwo\nthr")
        self.assertEqual(self.texts(), [(7, "one\ntwo\n")])
        self.out.flush()
        self.assertEqual(self.texts(), [(7, "thr")])
        self.out.write("x" * 5000)
        self.assertEqual(self.texts(), [(7, "x" * 5000)])
        self.out.write("held")
        self.out.buffer.write(bytearray(b" bytes"))
        self.assertEqual(self.texts(), [(7, "held"), (7, " bytes")])
        self.out.write("rest")
        worker.answer(call, None)
        self.assertEqual(self.texts(), [(7, "rest"), (7, "")])
        self.out.close()
        print("nobody's", file=self.out)
        self.assertEqual(self.texts(), [(0, "nobody's\n")])

    def test_owner(self):
        self.call(1), self.call(2)
        self.assertIs(worker.owner(), worker.no_call, "either could be meant")
        token = worker.current.set(worker.calls[2])
        self.assertIs(worker.owner(), worker.calls[2])
        worker.current.reset(token)

    def test_pieces(self):
        text = b"x" * (2 * worker.LOG_PIECE + 1)
        worker.write_log(self.call(), worker.INFO, text[:worker.LOG_PIECE])
        self.assertEqual([f[2] for f in self.sent()], [{"level": "INFO"}])
        reader = threading.Thread(target=lambda: worker.write_log(worker.calls[7], worker.INFO, text))
        reader.start()
        found = []
        while len(found) < 3:
            found += self.read_frame()
        reader.join()
        self.assertEqual([(len(f[3]), f[2].get("more", False)) for f in found], [(worker.LOG_PIECE, True), (worker.LOG_PIECE, True), (1, False)])

    def test_logger(self):
        import logging
        context = worker.Context(self.call())
        log = context.getLogger()
        for level in (1, 10, 15, 20, 25, 30, 40, 50):
            log.log(level, "at %d", level)
        self.assertEqual([f[2]["level"] for f in self.sent()], ["INFO", "INFO", "WARN", "ERROR", "ERROR"])
        log.setLevel(logging.DEBUG)
        self.assertTrue(worker.Context(self.call()).getLogger().isEnabledFor(logging.DEBUG))
        log.setLevel(logging.INFO)
        self.assertEqual(logging.getLogger().handlers, [])


class Hooks(Pipes):
    def hook(self, kind, f):
        worker.module = type(sys)("index")
        if f is not None:
            worker.module.hook = f
        self.addCleanup(setattr, worker, "module", None)
        call = self.call()
        call.kind, call.executor = kind, worker.main
        with unittest.mock.patch.dict(os.environ, {worker.HOOKS[kind][1]: "index.hook"}):
            worker.perform(call)
        return self.sent()

    def test_hooks(self):
        async def later(context):
            await asyncio.sleep(0)
            return context

        async def broken(context):
            raise ValueError("no db")

        for kind, code, prefix, what in ((worker.INIT, 4009, worker.INITIALIZATION, "initializer"), (worker.PRESTOP, 4001, "function prestop exception, error: ", "prestop handler")):
            for f in (lambda context: 5, later):
                self.assertEqual(self.hook(kind, f), [(worker.RESULT, 7, {}, "")])
            log, failure = self.hook(kind, broken)
            self.assertEqual((log[2], failure[2]), ({"level": "ERROR"}, {"code": code, "type": "ValueError"}))
            self.assertEqual(failure[3], json.dumps({"errorMessage": prefix + "no db", "errorType": "ValueError", "stackTrace": []}, indent=4))
            log, failure = self.hook(kind, None)
            final = {"final": True} if kind == worker.INIT else {}  # the code itself is wrong: no further attempt
            self.assertTrue(failure[2].pop("hint").startswith("the module defines"))
            self.assertEqual(failure[2], dict(final, code=code, type="FunctionConfigError"))
            self.assertEqual(failure[3], json.dumps({"errorMessage": prefix + what + " 'hook' not found in module './%s.py'" % worker.FILE, "errorType": "FunctionConfigError"}, indent=4))
        worker.main.loop.close()
        worker.main.loop = None
        asyncio.set_event_loop(None)


def loader():
    """The code with which the agent makes the interpreter run the source."""
    with open(os.path.join(os.path.dirname(worker.__file__), "../../language/python.go")) as f:
        return re.search("const pythonLoader = `(.*)`", f.read()).group(1)


class CodeCache(unittest.TestCase):
    """What the e2e tests cannot do to a cache."""

    def test_what_is_no_cache_is_refused(self):
        """Whatever is in the file: it is refused, and the import system stays as it is."""
        random = Random(1)
        before = SourceFileLoader.path_stats
        for length in list(range(40)) + [random.randrange(5000) for _ in range(200)]:
            noise = bytes(random.randrange(256) for _ in range(length))
            for data in (noise, codecache.MAGIC + noise, codecache.MAGIC + worker.struct.pack("<II", length, 0) + noise):
                with tempfile.TemporaryFile() as file:
                    file.write(data)
                    file.flush()
                    cache = codecache.Cache("read", file.fileno(), "/code")
                self.assertRegex(cache.refused, "^it is (not complete|no code cache of this version for Python); run bootstrap warm again$")
                self.assertEqual(cache.report(), {"refused": cache.refused})
        self.assertIs(SourceFileLoader.path_stats, before)


def source_of_worker():
    """The worker as the agent hands it over: the code cache is its last section."""
    parts = []
    for name in (worker.__file__, os.path.join(os.path.dirname(worker.__file__), "codecache.py")):
        with open(name, "rb") as f:
            parts.append(f.read())
    return b"\f".join(parts)


class Agent:
    """Starts the worker as the agent does, and speaks frames with it."""

    def __init__(self, test, source, **env):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        with open(folder.name + "/index.py", "w") as f:
            f.write(source)
        self.events, theirs3 = socket.socketpair()
        self.answers, theirs4 = socket.socketpair()
        with theirs3, theirs4, tempfile.TemporaryFile() as own:
            own.write(source_of_worker())
            own.flush()
            ends = [theirs3.fileno(), theirs4.fileno(), own.fileno()]

            def arrange():
                spare = max(ends + [5]) + 1  # ends may have the numbers that they are to get
                for i, fd in enumerate(ends):
                    os.dup2(fd, spare + i)
                for i in range(3):
                    os.dup2(spare + i, 3 + i)
                    os.close(spare + i)

            environment = dict({"PATH": os.environ["PATH"], "RUNTIME_CODE_ROOT": folder.name}, **env)
            self.process = subprocess.Popen([sys.executable, "-u", "-B", "-c", loader()], env=environment, preexec_fn=arrange, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        test.addCleanup(self.end)
        self.answers.settimeout(60)
        self.input = self.answers.makefile("rb")
        self.number, self.test = 0, test
        hello = self.read()
        test.assertEqual((hello[0], hello[2]["version"], hello[2]["concurrency"], hello[2]["prestop"]), (worker.HELLO, 1, True, True))

    def end(self):
        if self.input.closed:
            return
        self.process.kill()
        self.process.communicate()
        for file in (self.input, self.events, self.answers):
            file.close()

    def read(self):
        head = self.input.read(13)
        if not head:
            raise EOFError
        length, kind, number, size = worker.HEADER.unpack(head)
        body = self.input.read(length - 9)
        return kind, number, json.loads(body[:size] or b"{}"), body[size:].decode()

    def answer(self):
        while True:
            found = self.read()
            if found[0] in (worker.RESULT, worker.FAILURE):
                return found

    def send(self, *calls):
        """Each a kind and a payload; in one write."""
        data = b""
        for kind, payload in calls:
            self.number += 1
            data += frame(kind, self.number, json.dumps({"requestId": "r%d" % self.number, "deadline": time.time() * 1000 + 60000}).encode(), payload)
        self.events.sendall(data)

    def stop(self, gap=0.0):
        """Bye, and TERM in the time of a few steps of the worker: gap is what the test is about."""
        self.events.sendall(frame(worker.BYE, 0))
        until = time.perf_counter() + gap
        while time.perf_counter() < until:
            pass
        self.process.terminate()

    def ready(self):
        self.test.assertEqual(self.answer(), (worker.RESULT, 0, {}, ""))
        return self


class Processes(unittest.TestCase):
    def test_slow_initializer(self):
        """An asynchronous function's calls all run in the one loop of the main thread, also when the watch has read the
        first of them because the initializer was slow."""
        source = """import asyncio, threading
state = {}
async def init(c):
    state["loop"] = asyncio.get_event_loop()
    await asyncio.sleep(0.1)
async def handler(e, c):
    await asyncio.sleep(e)
    return asyncio.get_event_loop() is state["loop"] and threading.current_thread() is threading.main_thread()
async def stop(c):
    if asyncio.get_event_loop() is not state["loop"]: raise ValueError("another loop")
"""
        for first in (1, 3):
            agent = Agent(self, source, RUNTIME_INITIALIZER_HANDLER="index.init", RUNTIME_PRESTOP_HANDLER="index.stop").ready()
            agent.send((worker.INIT, b""))
            self.assertEqual(agent.answer()[0], worker.RESULT)
            for count in (first, 2, 1):
                agent.send(*[(worker.INVOKE, b"0.02")] * count)
                self.assertEqual([agent.answer()[3] for _ in range(count)], ["true"] * count)
            agent.send((worker.PRESTOP, b""))
            self.assertEqual(agent.answer()[2:], ({}, ""))

    def test_slow_initializer_and_the_hook(self):
        """With no call between them."""
        for word in ("", "async "):
            source = "import time\nsaid = []\n%sdef init(c):\n  time.sleep(0.1)\n  said.append(1)\n%sdef stop(c):\n  print(len(said), c.getRequestID())\n%sdef handler(e, c): return e\n" % (word, word, word)
            agent = Agent(self, source, RUNTIME_INITIALIZER_HANDLER="index.init", RUNTIME_PRESTOP_HANDLER="index.stop").ready()
            agent.send((worker.INIT, b""))
            self.assertEqual(agent.answer()[0], worker.RESULT)
            agent.send((worker.PRESTOP, b""))
            self.assertEqual(agent.read(), (worker.LOG, 2, {"stream": "stdout"}, "1 r2\n"))
            self.assertEqual(agent.read(), (worker.RESULT, 2, {}, ""))

    def test_talkative_thread(self):
        """A thread that writes all the time does not keep the process from ending."""
        source = """import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
def talk():
    while True: print("x" * 20000)
threading.Thread(target=talk, daemon=True).start()
def handler(e, c): return e
"""
        for _ in range(5):
            agent = Agent(self, source).ready()
            agent.stop()
            with self.assertRaises(EOFError):
                while True:
                    agent.read()
            self.assertEqual(agent.process.wait(60), 3)

    def test_no_signal_is_lost(self):
        """TERM comes right behind Bye, whichever thread reads then."""
        start = "import signal, sys, time, asyncio\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        plain, loop = start + "def handler(e, c): time.sleep(e)\n", start + "async def handler(e, c): await asyncio.sleep(e)\n"
        for name, source, events in (("main", plain, [b"0"]), ("watch", plain, [b"0.02"]), ("many", plain, [b"0.02"] * 3), ("loop", loop, [b"0"]), ("none", loop, [])):
            for i in range(6):
                agent = Agent(self, source).ready()
                agent.send(*[(worker.INVOKE, event) for event in events])
                for _ in events:
                    agent.answer()
                agent.stop(i * 5e-6)
                self.assertEqual(agent.process.wait(60), 3, name)
                agent.end()

    def test_large_load_error(self):
        agent = Agent(self, "raise ValueError('x' * 70000)", RUNTIME_MAX_RESP_BODY_SIZE="65536")
        _, number, meta, body = agent.answer()
        self.assertEqual((number, meta["code"]), (0, 4004))
        self.assertRegex(body, "^response body size 70[0-9]{3} exceeds the limit of 65536$")

    def test_forked_children_end_as_they_want(self):
        source = """import os, sys
def handler(e, c):
    pid = os.fork()
    if pid == 0:
        if e == "return": return 1
        if e == "raise": raise ValueError
        sys.exit(e)
    return os.waitpid(pid, 0)[1] >> 8
"""
        agent = Agent(self, source).ready()
        for event, code in ((b"7", "7"), (b"0", "0"), (b"null", "0"), (b'"return"', "0"), (b'"raise"', "1"), (b'"words"', "1")):
            agent.send((worker.INVOKE, event))
            self.assertEqual(agent.answer()[3], code, event)

    def test_thrown_into_a_thread(self):
        """What user code throws into another call's thread too late does not lose that thread."""
        source = """import ctypes, threading
threads, met = set(), threading.Barrier(3)
def handler(e, c):
    global met
    if e == "meet":
        threads.add(threading.get_ident())
        met.wait(2)
        return e
    met = threading.Barrier(3)
    if e == "throw":
        others = threads - {threading.get_ident(), threading.main_thread().ident}
        for t in others: ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(t), ctypes.py_object(SystemExit))
    return e
"""
        agent = Agent(self, source).ready()
        for how in ("throw", "wait", "throw", "wait"):
            agent.send((worker.INVOKE, b'"%s"' % how.encode()))
            self.assertEqual(agent.answer()[0], worker.RESULT)
            agent.send(*[(worker.INVOKE, b'"meet"')] * 3)
            kinds = {agent.answer()[0] for _ in range(3)}  # the one hit and those that wait for it fail; all answer
            if how == "wait":
                self.assertEqual(kinds, {worker.RESULT})

    def test_around_patience(self):
        """Calls of about the length at which another thread starts to read; each is answered once, and its line is its
        own."""
        source = """import time
def handler(e, c):
    until = time.monotonic() + e
    while time.monotonic() < until: time.sleep(0)
    print(c.getRequestID())
    return c.getRequestID()
"""
        for at_once in (1, 3):
            agent = Agent(self, source).ready()
            open_calls, lines = set(), 0
            for i in range(300):
                agent.send((worker.INVOKE, b"%f" % (0.0046 + i % 9 * 0.0001)))
                open_calls.add(agent.number)
                while len(open_calls) >= at_once or i == 299 and open_calls:
                    kind, number, _, body = agent.read()
                    self.assertIn(number, open_calls)
                    self.assertEqual(body.strip(), "r%d" % number)
                    if kind == worker.LOG:
                        lines += 1
                    else:
                        open_calls.remove(number)
            self.assertEqual(lines, 300)


class Contexts(Pipes):
    def test_values(self):
        context = worker.Context(self.call(credentials={"v": 1, "securityToken": "s3cr3t"}, alias="prod"))
        self.assertEqual((context.getSecurityToken(), context.getToken(), context.getAlias()), ("s3cr3t", "", "prod"))
        self.assertEqual((context.getUserData("k"), context.getUserData("x"), context.getUserData("x", 1)), ("v", None, 1))
        self.assertEqual((context.getRunningTimeInSeconds(), context.timeout), (2.5, 2500))
        self.assertNotIn("s3cr3t", repr(vars(context)))

    def test_remaining(self):
        self.assertLess(worker.Context(self.call(deadline=1000)).getRemainingTimeInMilliSeconds(), 0)


class Functions(unittest.TestCase):
    def test_coroutine_functions(self):
        async def asynchronous(e, c): pass

        def plain(e, c): pass

        class Both:
            async def __call__(self, e, c): pass
            async def method(self, e, c): pass

        class Plain:
            def __call__(self, e, c): pass

        for f in (asynchronous, functools.partial(asynchronous, 1), functools.partial(functools.partial(asynchronous)), Both(), Both().method):
            self.assertTrue(worker.is_coroutine_function(f), f)
        class Wrapper:  # as decorators are written
            def __init__(self, func): self.func = func
            def __call__(self, e, c): pass
            def __getattr__(self, name): return getattr(self.func, name)

        for f in (plain, functools.partial(plain), Plain(), dict, len, "".join, Both, print, Wrapper(asynchronous), unittest.mock.MagicMock()):
            self.assertFalse(worker.is_coroutine_function(f), f)

    def test_event_loop(self):
        loop = worker.event_loop()
        self.assertIs(worker.event_loop(), loop)
        loop.close()
        again = worker.event_loop()
        self.assertFalse(again.is_closed())
        again.close()
        asyncio.set_event_loop(None)

    def test_module_names(self):
        with tempfile.TemporaryDirectory() as root:
            os.mkdir(root + "/gantry_src")
            sys.path.insert(0, root)
            self.addCleanup(sys.path.remove, root)
            os.makedirs(root + "/email/send")
            patch = unittest.mock.patch.object(worker, "CODE_ROOT", root)
            patch.start()
            self.addCleanup(patch.stop)
            for file, folder, name in (
                ("gantry_index", "", "gantry_index"), ("json", "", "function:json"), ("gantry_src/index", root + "/gantry_src", "gantry_src.index"),
                ("gantry_src/my.mod", root + "/gantry_src", "my.mod"), ("gantry-src/index", root + "/gantry-src", "index"), ("json/index", root + "/json", "index"),
                ("email/index", root + "/email", "index"), ("email/send/index", root + "/email/send", "index"),
            ):
                worker.FILE = file
                self.assertEqual(worker.module_name(folder, file.rpartition("/")[2]), name)


if __name__ == "__main__":
    unittest.main()
