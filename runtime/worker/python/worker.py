"""The Python worker: loads the function, speaks frames with the agent (docs/PROTOCOL.md), answers as docs/COMPATIBILITY.md
says. One file, embedded into the agent, standard library only. What not every call needs is imported when it is needed:
each import costs every cold start. Python 3.6 must be able to read it, so that an old Python gets as far as saying that it
is too old."""
import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]  # the working folder, which python -c puts there

import os
import struct

EVENTS = 3  # the agent writes, we read
ANSWERS = 4  # we write, and may block: the agent always reads
SOURCE = 5  # this file
CACHE = 7 if "STACKS" in globals() else 6  # the code cache, behind what the stack of a call that hangs is written to

HELLO, INIT, INVOKE, RESULT, FAILURE, LOG, CANCEL, BYE, PRESTOP, USERDATA = range(1, 11)
LOAD, CODECACHE = 12, 13
HEADER = struct.Struct(">IBII")  # length, type, id, length of meta
LOG_PIECE = 48 * 1024

if __name__ == "__main__":
    hello = b'{"version":1,"runtime":"python","runtimeVersion":"%d.%d.%d","concurrency":true,"prestop":true,"bye":true,"userdata":true}' % sys.version_info[:3]
    os.write(ANSWERS, HEADER.pack(9 + len(hello), HELLO, 0, len(hello)) + hello)
    if sys.version_info < (3, 8):
        sys.exit(1)

cache = None
if __name__ == "__main__":
    cache_source, cache_mode = SECTIONS.pop(), os.environ.pop("GANTRY_CODE_CACHE", None)  # read or write, if there is one
    if cache_mode is not None:
        cache = {"__name__": "gantry", "__builtins__": __builtins__}
        exec(compile(cache_source, "<gantry>", "exec"), cache)
        cache = cache["Cache"](cache_mode, CACHE, os.environ.get("RUNTIME_CODE_ROOT") or "/opt/function/code")

# These come before user code, whose folder may have files of the same names, and which may put others in their places;
# threading also because the thread that imports it first is its main thread for ever. For the same reason functions
# that every call needs are names of their own here.
import atexit
import io
import json
import re
import threading
try:  # what importlib offers, without what else it imports
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder, spec_from_file_location
except ImportError:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec, spec_from_file_location
try:  # what the package signal offers, without its enumerations
    from _signal import SIG_DFL, SIG_IGN, SIGTERM, getsignal, signal
except ImportError:
    from signal import SIG_DFL, SIG_IGN, SIGTERM, getsignal, signal
from _thread import RLock, allocate_lock, get_ident, start_new_thread
from contextvars import ContextVar, copy_context
from os import _exit, close, read, readv, write
from select import POLLIN, poll
from threading import Thread
from time import monotonic, process_time, time

env = os.environ
parked = env.pop("GANTRY_PARKED", None) == "1"
ahead = env.pop("GANTRY_AHEAD", None) == "1"  # whether calls are written ahead; not to functions that are asynchronous
CODE_ROOT = env.get("RUNTIME_CODE_ROOT") or "/opt/function/code"
FOLDER = CODE_ROOT.rstrip("/")  # what the code folder's files begin with, before a slash
ROOTS = sorted({FOLDER, os.path.realpath(CODE_ROOT).rstrip("/")}, key=len, reverse=True)  # this, and without links
FILE, _, SYMBOL = (env.get("RUNTIME_HANDLER") or "index.handler").rpartition(".")
MAX_RESPONSE = int(env.get("RUNTIME_MAX_RESP_BODY_SIZE") or 6291456)

# ---------------------------------------------------------------------------------------------------- JSON

# The C code behind json.loads() and json.dumps(), without what they do around it, which takes half of a short call's
# time. Whatever is out of the ordinary goes to them, and so does everything once user code has put others in their
# places.
LOADS, DUMPS = json.loads, json.dumps


class Ordinary:
    """What json.loads() asks of its scanner."""

    strict, object_hook, object_pairs_hook, parse_float, parse_int, parse_constant = True, None, None, float, int, None


def no_json(*_):
    raise TypeError


def encode(value):
    """What json.dumps() does, for what needs no encoder of its own. The dict is what finds a circle."""
    return "".join(make_encoder({}, no_json, quoted, None, ": ", ", ", False, False, True)(value, 0))


quoted = json.encoder.encode_basestring_ascii
try:
    from _json import make_encoder, make_scanner
    scan = make_scanner(Ordinary)
    if encode(scan('{"a": [1.5, null]}', 0)[0]) != '{"a": [1.5, null]}':
        raise ImportError
except (ImportError, TypeError):  # another Python, or a version to come
    scan = encode = no_json


def loads(data):
    """json.loads() of bytes."""
    try:
        text = data.decode()
        value, end = scan(text, 0)
        if json.loads is LOADS and (end == len(text) or not text[end:].strip(" \t\n\r")):
            return value
    except Exception:
        pass
    return json.loads(data)


def dumps(value):
    """json.dumps()."""
    if json.dumps is DUMPS:
        try:
            return encode(value)
        except Exception:
            pass
    return json.dumps(value)


# ---------------------------------------------------------------------------------------------------- answers

# Whatever is written to the agent, and what decides it, happens under this lock. Re-entrant, because the user's signal
# handlers and finalizers may print in the middle of a write; their frames wait in the queue.
wire = RLock()
queue = []  # what is to be written, each with the sizes of the pieces that have been
writing = False
LARGE = 1 << 16  # bytes that are not worth a copy to spare a write
forked = False  # in a child that user code forked: descriptors 3 and 4 belong to the parent


def send(kind, number, meta, payload):
    """Writes a frame now, behind the answers that wait. Called with wire held."""
    enqueue(kind, number, meta, payload)
    drain()


def enqueue(kind, number, meta, payload):
    head = HEADER.pack(9 + len(meta) + len(payload), kind, number, len(meta)) + meta
    if len(payload) < LARGE:
        queue.append((head + payload, []))
    else:
        queue.extend(((head, []), (payload, [])))


def drain():
    """Writes the queue to descriptor 4, which blocks: what was written before a crash or an endless loop is not lost.
    Called with wire held. A signal handler of the user may raise anywhere in here: what was written is noted in the
    same step as it is written, so that the stream goes on at that byte."""
    global writing
    if writing and interrupted():
        return
    try:
        writing = True
        while queue:
            data, sizes = queue[0]
            done = sum(sizes)
            if done == len(data):
                del queue[0]
                continue
            if done:
                data = memoryview(data)[done:]
            elif len(queue) > 1 and len(data) < LARGE:
                data, sizes = join()
            sizes.extend(map(write, (ANSWERS,), (data,)))
    except ConnectionError as e:
        if e.__traceback__.tb_next is None:  # not one of a signal handler
            _exit(1)  # the agent is gone
        raise
    finally:
        writing = False


def interrupted():
    """Reports whether drain() is at work below its caller. An exception may have left writing as it was."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code is drain.__code__:
            return True
        frame = frame.f_back
    return False


def join():
    """Makes the small frames at the head of the queue one."""
    small = []
    for data, _ in queue:
        if len(data) >= LARGE:
            break
        small.append(data)
    queue[:len(small)] = [(b"".join(small), [])]
    return queue[0]


def flush_queue():
    with wire:
        drain()


# ---------------------------------------------------------------------------------------------------- calls

calls = {}  # id → Call that has no answer yet
current = ContextVar("call", default=None)
base = copy_context()  # what every call's own context starts from; made anew when the code is loaded


class Call:
    """An Init or Invoke on its way."""

    late = False  # output may come behind the answer
    answered = False
    held = None  # stream → text that waits for the end of its line
    executor = thread = awaitable = None
    hinted = False  # whether the agent knows where it is
    company = False  # whether another call has run beside it
    used = None  # the processor time when it began, of a call that was written ahead

    def __init__(self, number, kind, meta, payload, began):
        self.id, self.kind, self.meta, self.payload, self.began = number, kind, meta, payload, began
        self.request_id = meta["requestId"]

    def hint_at(self):
        """When to report to the agent where the call is: shortly before its deadline."""
        now, left = monotonic(), self.meta["deadline"] / 1000 - time()
        return now + left - min(0.5, (left + now - self.began) / 5)


no_call = Call(0, 0, {"requestId": "", "deadline": 0}, b"", 0)  # owns the output that belongs to no call


def owner():
    """The call that output belongs to which is written here: exact by context. A thread that user code started has
    none, and its output belongs to the call that runs if no other has run beside that one. What outlives its call names
    it; the agent knows whether calls run one by one, so that it must be of the next one."""
    call = current.get()
    if call is None:
        if len(calls) == 1:
            for call in list(calls.values()):
                return no_call if call.company else call
        return no_call
    return call


def settle(call, kind, meta, payload):
    """Answers a call, once."""
    try:
        replaced = shown["stdout"] is not out or shown["stderr"] is not err
    except KeyError:
        replaced = True
    if replaced:
        flush_replaced()
    if forked:
        flush_held(call)
        _exit(kind == FAILURE)  # a child that user code forked, and that came back out of the handler
    if call.used is not None:
        figures = b'"took":%d,"cpu":%d}' % (max(1, (monotonic() - call.began) * 1e6), (process_time() - call.used) * 1e6)
        meta = (meta[:-1] + b"," if meta else b"{") + figures
    executor = call.executor
    if loop is None:
        at_once = executor is not main or not waiting or len(payload) >= LARGE
    else:
        at_once = len(calls) < 2 or len(payload) >= LARGE
    if at_once and executor is not None:
        executor.release(call)  # before the agent can send the next call: that one is to find this thread free
    with wire:
        if call.answered:
            return
        if call.held:
            flush_held(call)
        if not at_once and not queue and loop is not None:
            loop.call_soon(flush_queue)
        call.late = True  # in this order, as a signal handler may print or raise between them
        enqueue(kind, call.id, meta, payload)
        calls.pop(call.id, None)
        call.answered = True
        if at_once:
            drain()


TEXT = b'{"text":true}'
LONGEST_TYPE = 1000  # characters: meta has a limit, classes may have any name


MOST_MEMBERS = 10000  # of a result, that the hint is looked for in
INSTEAD = {
    "bytes": "base64.b64encode(value).decode()", "date": "value.isoformat()", "datetime": "value.isoformat()",
    "Decimal": "str(value) or float(value)", "UUID": "str(value)", "set": "list(value)", "generator": "list(value)",
}


def result_hint(value):
    """Which member of a result JSON cannot hold, and what to write in its place; None if it is not found."""
    try:
        return unfit(value, "result", [], [MOST_MEMBERS])
    except BaseException:  # the members may be anything
        return None


def unfit(value, path, above, left):
    left[0] -= 1
    if left[0] < 0 or isinstance(value, (str, int, float, type(None))):
        return None
    if any(value is one for one in above):
        return "%s is an object that contains itself: JSON has no circles" % path
    if isinstance(value, dict):
        for key in dict.keys(value):
            if not isinstance(key, (str, int, float, type(None))):
                return "%s has a key of the type %s: write a text" % (path, type(key).__name__)
        members = dict.items(value)
    elif isinstance(value, (list, tuple)):
        members = enumerate(value)
    else:
        kind = type(value).__name__
        return "%s is of the type %s: write %s" % (path, kind, INSTEAD.get(kind, "plain data in its place, such as a dict, a list or a text"))
    for key, member in members:
        found = len(path) < 200 and unfit(member, "%s[%.60r]" % (path, key), above + [value], left)
        if found:
            return found
    return None


def answer(call, value):
    meta = b""
    try:
        if value is None:
            body = b""
        elif isinstance(value, str):
            body, meta = value.encode(), TEXT
        else:
            body = dumps(value).encode()
            if isinstance(value, (int, float)):
                meta = TEXT
    except Exception as e:
        body = error_body("function result is invalid, error: ", message_of(e), type(e).__name__)
        fail(call, 4007, type(e).__name__, body, "function result is invalid, error: " + message_of(e), hint=result_hint(value))
        return
    if len(body) > MAX_RESPONSE:
        too_large(call, len(body))
        return
    settle(call, RESULT, meta, body)


class FunctionError(Exception):
    """What is wrong with the function itself; kind is the platform's name for it, hint what to do about it, for the log
    and local callers."""

    def __init__(self, kind, message, hint=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.hint = hint


TOO_LARGE = "response body size %d exceeds the limit of %d"
ENTRY = "function entry exception, error: "

# ---------------------------------------------------------------------------------------------------- logs

DEBUG, INFO, WARN, ERROR = (b'"level":"%s"' % name for name in (b"DEBUG", b"INFO", b"WARN", b"ERROR"))
STREAMS = {"stdout": b'"stream":"stdout"', "stderr": b'"stream":"stderr"'}


def write_log(call, kind, data):
    """Writes at once: what was logged before a crash, an endless loop or os._exit() is not lost. kind is a member of
    meta."""
    if forked:
        write(1 if kind is STREAMS["stdout"] else 2, data if kind in STREAMS.values() else data + b"\n")
        return
    with wire:  # whether the call is answered may not change meanwhile
        meta = b"{" + kind
        if call.late:
            meta += b',"requestId":' + quoted(call.request_id).encode()
        if len(data) <= LOG_PIECE:
            send(LOG, call.id, meta + b"}", data)
            return
        for at in range(0, len(data), LOG_PIECE):
            more = kind[:8] == b'"level":' and at + LOG_PIECE < len(data)
            send(LOG, call.id, meta + (b',"more":true}' if more else b"}"), data[at:at + LOG_PIECE])


def flush_held(call):
    """Writes the beginnings of lines. Called with wire held."""
    held, call.held = call.held, None
    if held:
        for name, text in held.items():
            write_log(call, STREAMS[name], text.encode("utf-8", "backslashreplace"))


class Stream(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr: lines become Log frames of the call that writes them. The beginning of a
    line waits for its end, for flush() or for the end of the call, because print() writes every argument by itself; at
    the end of print(…, end="") it writes nothing, which is the end of the wait too."""

    encoding, errors, newlines, line_buffering, mode = "utf-8", "backslashreplace", None, True, "w"

    def __init__(self, name, number):
        self.name, self.stream, self.number = "<%s>" % name, name, number
        self.buffer = Binary(self)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not " + type(text).__name__)
        size, name = len(text), self.stream
        if not text:
            self.flush()
            return 0
        with wire:
            call = owner()
            if call.held is None:
                call.held = {}
            text = call.held.pop(name, "") + text
            cut = len(text) if len(text) > 4096 else text.rfind("\n") + 1
            if cut < len(text):
                call.held[name] = text[cut:]
                text = text[:cut]
            if text:
                try:
                    data = text.encode()
                except UnicodeEncodeError:
                    data = text.encode("utf-8", "backslashreplace")
                write_log(call, STREAMS[name], data)
        return size

    def flush(self):
        with wire:
            call = owner()
            text = call.held.pop(self.stream, "") if call.held else ""
            if text:
                write_log(call, STREAMS[self.stream], text.encode("utf-8", "backslashreplace"))

    def writable(self):
        return True

    def fileno(self):
        return self.number

    def reconfigure(self, **_):
        pass

    def detach(self):
        """Gives the buffer away, for a stream of the user's own, and goes on all the same: loggers may hold this
        one."""
        self.flush()
        return self.buffer

    def close(self):
        self.flush()  # and stays open, for the next call


class Binary(io.BufferedIOBase):
    """The buffer of a Stream."""

    def __init__(self, text):
        self.text, self.name, self.mode, self.raw = text, text.number, "wb", self

    def write(self, data):
        data = bytes(memoryview(data))
        with wire:
            self.text.flush()
            if data:
                write_log(owner(), STREAMS[self.text.stream], data)
        return len(data)

    def flush(self):
        self.text.flush()

    def writable(self):
        return True

    def fileno(self):
        return self.text.number

    def detach(self):
        return self

    def close(self):
        self.flush()


out, err = Stream("stdout", 1), Stream("stderr", 2)
shown = vars(sys)  # has what is in the places of stdout and stderr: user code may put others there, or delete them
noticed = [out, err]  # the streams in those places when they were looked at last


def flush_replaced():
    """Flushes streams that user code has put in the place of ours, at the end of a call. What they hold is of the one
    call that runs; it is of no known call if there are several."""
    token = current.set(no_call) if len(calls) > 1 else None
    try:
        for i, name in enumerate(("stdout", "stderr")):
            stream = shown.get(name)
            if stream is noticed[i] is (out, err)[i]:
                continue
            try:
                if stream is not noticed[i]:
                    noticed[i] = stream
                    if isinstance(stream, io.TextIOWrapper) and stream.fileno() in (1, 2):
                        stream.reconfigure(line_buffering=True, write_through=True)  # lines now come with their calls
                stream.flush()
            except Exception:  # it is closed, or no stream at all: there is nothing to be had from it
                pass
    finally:
        if token is not None:
            current.reset(token)


logger_class = None
LEVELS = {"level": 20}  # what setLevel() set, for all contexts: INFO


# ---------------------------------------------------------------------------------------------------- context


def parse_user_data():
    try:
        parsed = loads((env.get("RUNTIME_USERDATA") or "{}").encode("utf-8", "surrogatepass"))
        return parsed if isinstance(parsed, dict) else {}
    except ValueError:
        return {}  # as on the platform: no user data


encrypted = {}  # user variables that are not in the environment: only getUserData has them


class Secrets:
    """The credentials of a call; print(vars(context)) must not put them into the log."""

    __slots__ = ("values",)

    def __init__(self, values):
        self.values = values

    def __repr__(self):
        return "[redacted]"


def secret(name):
    return property(lambda self: self._secrets.values.get(name, ""))


class Context:
    """What the handler gets beside the event."""

    function_name = env.get("RUNTIME_FUNC_NAME") or ""
    package = env.get("RUNTIME_PACKAGE") or ""
    project_id = env.get("RUNTIME_PROJECT_ID") or ""
    function_version = env.get("RUNTIME_FUNC_VERSION") or ""
    memory = env.get("RUNTIME_MEMORY") or "0"
    cpu = env.get("RUNTIME_CPU") or "0"
    timeout = int(float(env.get("RUNTIME_TIMEOUT") or 3) * 1000)
    user_data = parse_user_data()
    invoke_id, invoke_property, instance_id, from_task, state = "", "", "", False, None
    alias, workflow_id, workflow_run_id, workflow_state_id = "", "", "", ""
    _logger, _secrets = None, Secrets({})

    access_key, secret_key = secret("accessKey"), secret("secretKey")
    security_access_key, security_secret_key = secret("securityAccessKey"), secret("securitySecretKey")
    security_token, auth_token = secret("securityToken"), secret("authToken")

    def __init__(self, call):
        meta = call.meta
        self._call, self._deadline = call, meta["deadline"]
        self.request_id = self.trace_id = call.request_id
        self.start_time = int(time() * 1000)
        if len(meta) > 2:
            self._secrets = Secrets(meta.get("credentials") or {})
            self.alias = meta.get("alias", "")
            self.workflow_id = meta.get("workflowId", "")
            self.workflow_run_id = meta.get("workflowRunId", "")
            self.workflow_state_id = meta.get("workflowStateId", "")

    @property
    def logger(self):
        if self._logger is None:
            self._logger = context_logger(self._call)
        return self._logger

    def getRequestID(self): return self.request_id
    def getRemainingTimeInMilliSeconds(self): return int(self._deadline - time() * 1000)
    def getAccessKey(self): return self.access_key
    def getSecretKey(self): return self.secret_key
    def getSecurityAccessKey(self): return self.security_access_key
    def getSecuritySecretKey(self): return self.security_secret_key
    def getSecurityToken(self): return self.security_token
    def getToken(self): return self.auth_token
    def getUserData(self, key, default=None): return encrypted[key] if key in encrypted else self.user_data.get(key, default)
    def getFunctionName(self): return self.function_name
    def getRunningTimeInSeconds(self): return self.timeout / 1000 if self.timeout % 1000 else self.timeout // 1000
    def getVersion(self): return self.function_version
    def getMemorySize(self): return self.memory
    def getCPUNumber(self): return self.cpu
    def getProjectID(self): return self.project_id
    def getPackage(self): return self.package
    def getLogger(self): return self.logger
    def getAlias(self): return self.alias
    def getWorkflowID(self): return self.workflow_id
    def getWorkflowRunID(self): return self.workflow_run_id
    def getWorkflowStateID(self): return self.workflow_state_id
    def get_state(self): return self.state
    def set_state(self, state): self.state = state
    def get_instance_id(self): return self.instance_id
    def set_instance_id(self, instance_id): self.instance_id = instance_id
    def get_invoke_id(self): return self.invoke_id
    def get_trace_id(self): return self.trace_id
    def get_invoke_property(self): return self.invoke_property


# ---------------------------------------------------------------------------------------------------- the function

module = None


def module_name(folder, stem):
    """The name under which the handler's module can be imported again: with its packages if the folders are some."""
    if folder and all(part.isidentifier() for part in FILE.split("/")) and leads_here(FILE.partition("/")[0]):
        package = FILE.rpartition("/")[0].replace("/", ".")
        __import__(package)
        if folder in list(getattr(sys.modules[package], "__path__", ())):
            return package + "." + stem
    return stem if stem not in sys.modules else "function:" + stem


def leads_here(package):
    """Reports whether a package of this name is the user's folder. An installed package would come first."""
    where = sys.modules.get(package) or PathFinder.find_spec(package)
    return os.path.join(CODE_ROOT, package) in list(getattr(where, "__path__", None) or getattr(where, "submodule_search_locations", None) or ())


def load():
    """Imports the handler's module from exactly its file."""
    global module, base
    path = "%s/%s.py" % (FOLDER, FILE)
    if not os.path.isfile(path):
        raise FunctionError("FunctionLoadError", "not found module './%s.py'" % FILE)
    sys.argv = [path]
    sys.path.insert(0, CODE_ROOT)
    folder, _, stem = path[:-3].rpartition("/")
    if folder != FOLDER:
        sys.path.insert(1, folder)
    name = module_name(folder if folder != FOLDER else "", stem)
    spec = spec_from_file_location(name, path)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    module = sys.modules.get(name, module)
    package = name.rpartition(".")[0]
    if package in sys.modules:  # as an import does
        setattr(sys.modules[package], stem, module)
    if not callable(getattr(module, SYMBOL, None)):
        raise FunctionError("FunctionConfigError", "handler '%s' not found in module './%s.py'" % (SYMBOL, FILE), contents(SYMBOL, "RUNTIME_HANDLER (--handler)"))
    base = copy_context()


def is_coroutine_function(f):
    """Looks at types only: attributes may be anything's. A handler that turns out to be asynchronous later works
    too."""
    while True:
        kind = type(f)
        if kind is type(is_coroutine_function):
            return bool(f.__code__.co_flags & 0x180)  # CO_COROUTINE, CO_ITERABLE_COROUTINE
        if kind is type(main.take) or kind is staticmethod:
            f = f.__func__
        elif any((k.__module__, k.__name__) == ("functools", "partial") for k in kind.__mro__):
            f = f.func
        elif type(getattr(kind, "__call__", None)) is type(is_coroutine_function):
            f = kind.__call__
        else:
            return False


# What a hook is called, its variable, and its flag.
HOOKS = {INIT: ("initializer", "RUNTIME_INITIALIZER_HANDLER", "--initializer"), PRESTOP: ("prestop handler", "RUNTIME_PRESTOP_HANDLER", "--prestop")}


def begin(call):
    """Calls handler or hook. Returns what it returned, or NOTHING when the call is answered already."""
    current.set(call)
    call.thread = get_ident()
    if call.kind != INVOKE:
        what, variable, flag = HOOKS[call.kind]
        symbol = (env.get(variable) or ".").split(".")[1]
        hook = getattr(module, symbol, None)
        if not callable(hook):
            raise FunctionError("FunctionConfigError", "%s '%s' not found in module './%s.py'" % (what, symbol, FILE), contents(symbol, "%s (%s)" % (variable, flag)))
        return hook(Context(call))
    try:
        event = loads(call.payload) if call.payload else {}
    except (ValueError, RecursionError) as e:
        fail(call, 4002, type(e).__name__, message_of(e), message_of(e), event=True)
        return NOTHING
    call.payload = None
    return getattr(module, SYMBOL)(event, Context(call))


NOTHING = object()


def finish(call, value):
    if value is not NOTHING:
        answer(call, value if call.kind == INVOKE else None)


def perform(call):
    """Runs a call from beginning to end, on this thread."""
    try:
        value = begin(call)
        if hasattr(type(value), "__await__"):
            call.awaitable = value
            value = call.executor.run_until_complete(settled(value))
        finish(call, value)
    except BaseException as e:  # SystemExit and KeyboardInterrupt end the call, not the worker
        if call.answered and not isinstance(e, Exception):
            raise  # a signal handler that came too late for the call
        raised(call, e)


async def settled(awaitable):
    return await awaitable


# ---------------------------------------------------------------------------------------------------- threads

# Plain functions run on threads. The main thread comes first: with one call at a time it runs them all, so that what
# belongs to a thread (signal handlers, connections of sqlite3, event loops) keeps working. As long as calls are short
# the main thread also reads the events, runs what comes at once one after another, and answers it in one write: no
# other way is as fast. A call that takes longer is watched: the watch reads then, hands those that wait and further
# calls to other threads, and says at the deadline where a call is stuck.

MAIN, WATCH, LOOP = "the main thread", "the watch", "the event loop"
PATIENCE = 0.005  # seconds until a call counts as long

mutex = allocate_lock()  # guards what follows
reader = MAIN
turns = 0  # how often the main thread has read a call
waiting = []  # calls that the main thread has read and not begun
threads_until = 0.0  # until then calls that come at once do not wait for each other: a long one has made some wait
penance = 0.1  # seconds that this lasts the next time
idle = []  # executors without a call, the one used last at the end
planned = -1.0  # when the watch will look by itself; -1 while it is awake
alarm = allocate_lock()
alarm.acquire()


class Executor:
    """A thread that runs calls."""

    def __init__(self):
        self.call, self.loop = None, None
        self.bell = allocate_lock()
        self.bell.acquire()

    def take(self):
        self.bell.acquire()
        return self.call

    def release(self, call):
        with mutex:
            if self.call is call:
                self.call = None
                if self is not main:
                    idle.append(self)

    def run(self, call):
        base.copy().run(perform, call)

    def serve(self):
        call_threads.add(get_ident())
        while True:
            try:
                call = self.take()
                self.run(call)
                if self.call is call:  # it was not answered, because it was cancelled
                    self.release(call)
            except BaseException as e:  # user code threw it into this thread from another one, where it fits no call
                call = self.call
                if call is None:
                    write_log(no_call, STREAMS["stderr"], (describe(e) + "\n").encode("utf-8", "backslashreplace"))
                else:
                    raised(call, e)

    def run_until_complete(self, coroutine):
        """For handlers that only turn out to be asynchronous when they are called."""
        if self.loop is None or self.loop.is_closed():
            self.loop = event_loop()
        return self.loop.run_until_complete(coroutine)


main = Executor()
call_threads = {get_ident()}


def dispatch(call):
    """Finds a thread for a call."""
    with mutex:
        executor = main if main.call is None else idle.pop() if idle else None
        fresh = executor is None
        if fresh:
            executor = Executor()
        executor.call, call.executor = call, executor
    if fresh:
        try:
            Thread(target=executor.serve, name="call", daemon=True).start()
        except Exception as e:  # no more threads
            call.executor = None
            raised(call, e)
            return
    executor.bell.release()


def ring(at):
    """Makes the watch look at the time at, if it would not anyway. Called with the mutex held."""
    global planned
    if planned > at:
        planned = -1.0
        alarm.release()


def wait(until):
    """Lets the watch sleep until then, or for ever; called with the mutex held, which is let go."""
    global planned
    alarm.acquire(False)
    planned = until
    mutex.release()
    left = until - monotonic()
    if left > 0:
        alarm.acquire(True, min(left, 1e6) if until < 1e18 else -1)
    mutex.acquire()
    planned = -1.0


def watch():
    global reader, handed
    socket = poll()
    socket.register(EVENTS, POLLIN)
    seen = 0  # turns
    mutex.acquire()
    while True:
        if leaving:  # there is nothing left to read, but there may be calls
            if reader is WATCH:
                reader = MAIN
                if main.call is None:
                    main.bell.release()
            wait(give_hints())
            continue
        if reader is MAIN:
            call = main.call
            if call is None and turns == seen:
                wait(1e18)
            elif call is None:  # while calls come fast, looking now and then is cheaper than being woken for each
                seen = turns
                wait(monotonic() + PATIENCE)
            elif monotonic() < call.began + PATIENCE:
                seen = turns
                wait(call.began + PATIENCE)
            else:
                reader = WATCH
                take_over()
            continue
        if reader is LOOP:
            wait(give_hints())
            continue
        mutex.release()
        left = give_hints() - monotonic()
        ready = socket.poll(max(1, int(left * 1000) + 1) if left < 1e6 else None)
        if ready and ahead and call_is_next():
            mutex.acquire()
            if main.call is not None:
                wait(monotonic() + TICK)
                continue
            reader = MAIN  # only the main thread reads calls, behind its answer
            if main.bell.locked():
                main.bell.release()
            continue
        batch = receive() if ready else ()
        if asynchronous and batch and batch[0].kind == INVOKE:  # the initializer was slow
            with mutex:
                reader, handed = LOOP, batch
            main.bell.release()
            batch = ()
        if batch and main.call is None and len(calls) <= len(batch) and (len(batch) == 1 or monotonic() > threads_until):
            with mutex:  # short calls may be back: the main thread reads again
                waiting.extend(batch)
                reader, main.call = MAIN, waiting.pop(0)
                main.call.executor = main
            main.bell.release()
        else:
            for call in batch:
                dispatch(call)
        mutex.acquire()


def take_over():
    """Hands calls that wait for a long one to other threads; called with the mutex held. What the main thread has
    answered meanwhile may still have to be written."""
    global threads_until, penance
    taken = waiting[:]
    del waiting[:]
    if taken:
        now = monotonic()
        penance = min(2 * penance, 10.0) if now < threads_until + 10 else 0.1
        threads_until = now + penance
    mutex.release()
    flush_queue()
    for call in taken:
        dispatch(call)
    mutex.acquire()


def guarded_watch():
    try:
        watch()
    except BaseException as e:  # without a watch calls would not be read: better a new worker
        write_log(no_call, STREAMS["stderr"], ("the worker ends: %s\n" % describe(e)).encode("utf-8", "backslashreplace"))
        _exit(1)


def serve():
    """The main thread."""
    global reader, turns
    while True:
        with mutex:  # the watch may have given a call already, with the reading
            read = reader is MAIN and main.call is None
        if read:
            if leaving and not asynchronous:
                leave()
                return
            if leaving:
                serve_loop([])
                return
            batch = receive()
            if not batch:
                continue
            if asynchronous and batch[0].kind == INVOKE:
                serve_loop(batch)
                return
            with mutex:
                waiting.extend(batch)
                call = waiting.pop(0)
                main.call, call.executor, turns = call, main, turns + 1
                if waiting and call.began < threads_until:
                    reader = WATCH
                    ring(0.0)
                else:
                    ring(call.began + PATIENCE)
            if reader is WATCH and waiting:
                spread()
        else:
            call = main.take()
            if reader is LOOP:
                serve_loop(handed)
                return
            if call is None:  # the watch has read Bye
                continue
        while call is not None:
            done = call
            main.run(done)
            call = next_waiting(done)
        if queue:
            flush_queue()


def spread():
    """Gives the calls that wait to other threads."""
    with mutex:
        taken = waiting[:]
        del waiting[:]
    for call in taken:
        dispatch(call)


def next_waiting(done):
    """The next call for the main thread to run, or None, after another one."""
    global turns
    with mutex:
        while waiting and reader is MAIN and main.call in (None, done):  # the watch may have assigned another one
            call = waiting.pop(0)
            if not call.answered:  # it may be cancelled
                call.began = monotonic()
                main.call, call.executor, turns = call, main, turns + 1
                return call
        if main.call is done:
            main.call = None
    return None


# ---------------------------------------------------------------------------------------------------- event loop

asynchronous = False
loop = None
ended = False  # the loop has nothing more to do
handed = None  # the first calls, if the watch has read them
tasks = set()


# ---------------------------------------------------------------------------------------------------- hints


def give_hints():
    """Reports to the agent where calls near their deadline are. Returns when the next report is due."""
    now, soonest = monotonic(), 1e18
    for call in list(calls.values()):
        if call.hinted:
            continue
        at = call.hint_at()
        if at > now:
            soonest = min(soonest, at)
        else:
            call.hinted = True
            try:
                hint = whereabouts(call)
            except Exception:
                hint = None
            if hint and "STACKS" in globals():  # the agent looks where the call hangs
                hint += reported(call)
            with wire:
                if not call.answered:
                    flush_held(call)
                    if hint:
                        send(LOG, call.id, ('{"hint":%s}' % hint).encode(), b"")
    return soonest


# ---------------------------------------------------------------------------------------------------- frames in

stub = b""  # less than a header
leaving = False  # Bye came
TICK = 0.02  # seconds
term_ran = False  # TERM has been handled, or is not waited for


def receive():
    """Waits for frames and returns the calls they bring. Only one thread at a time is the reader."""
    global stub, leaving
    if ahead:
        data = one_frame()
    else:
        data = read(EVENTS, 1 << 16)  # a larger buffer would be mapped and unmapped each time
        if not data:
            _exit(0)  # the agent is gone
        if stub:
            data, stub = stub + data, b""
    found, at, end, now = [], 0, len(data), monotonic()
    while at < end:
        if end - at < HEADER.size:
            stub = data[at:]
            break
        length, kind, number, size = HEADER.unpack_from(data, at)
        if end - at < 4 + length:
            data = complete(data[at:], 4 + length)
            at, end = 0, 4 + length
        payload = at + HEADER.size + size
        if kind == INVOKE or kind == INIT or kind == PRESTOP:
            call = Call(number, kind, loads(data[at + HEADER.size:payload]), data[payload:at + 4 + length], now)
            calls[number] = call
            if "mark" in call.meta:
                begin_ahead(call)
            if len(calls) > 1:
                call.company = True
                if len(calls) == 2:
                    for other in list(calls.values()):
                        other.company = True
            found.append(call)
        elif kind == CANCEL:
            cancel(calls.get(number))
        elif kind == USERDATA:
            encrypted.update(loads(data[payload:at + 4 + length]))
        elif kind == CODECACHE:
            write_cache()
        elif kind == BYE:
            leaving = True
        at += 4 + length
    return found


def one_frame():
    """Reads a frame and no byte beyond it: the agent takes back what was not read. A signal handler of the user may
    raise in here."""
    global stub
    while True:
        have = len(stub)
        size = HEADER.size if have < HEADER.size else 4 + HEADER.unpack_from(stub)[0]
        if have >= HEADER.size and (have == size or size > LARGE):
            data, stub = stub, b""
            return data if have == size else complete(data, size)
        piece = read(EVENTS, size - have)
        if not piece:
            _exit(0)  # the agent is gone
        stub += piece


def call_is_next():
    """Reports whether the next frame is a call."""
    global peeker
    if peeker is None:
        import _socket
        peeker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, os.dup(EVENTS))
    try:
        head = peeker.recv(HEADER.size, 0x42)  # MSG_PEEK, MSG_DONTWAIT
    except BlockingIOError:  # the agent has taken it back
        return True
    return len(head) == HEADER.size and HEADER.unpack(head)[1] == INVOKE


peeker = None
marked = []  # copies of stdout and stderr


def begin_ahead(call):
    """Begins a call that was written ahead: its time starts now, and what stdout and stderr get belongs to it."""
    meta = call.meta
    mark = meta.pop("mark").encode()
    for fd in marked:
        write(fd, mark)
    meta["deadline"] = time() * 1000 + meta.pop("timeout")
    call.began, call.used = monotonic(), process_time()


def complete(data, size):
    """Reads the rest of a frame that did not come in one piece."""
    whole = bytearray(size)
    have = len(data)
    whole[:have] = data
    with memoryview(whole) as view:
        while have < size:
            n = readv(EVENTS, [view[have:]])
            if n == 0:
                _exit(0)
            have += n
    return whole


def cancel(call):
    """The agent no longer waits for the answer."""
    if call is not None:
        with wire:
            if not call.answered:
                flush_held(call)
                call.late = call.answered = True
                calls.pop(call.id, None)


# ---------------------------------------------------------------------------------------------------- start


def after_fork():
    """In a child that user code forked: what it prints leaves by the pipes, and the sockets are its parent's."""
    global forked, wire
    forked, wire = True, RLock()
    del queue[:]
    for call in list(calls.values()) + [no_call, current.get() or no_call]:
        call.held = None
    for fd in [EVENTS, ANSWERS] + marked + ([peeker.detach()] if peeker else []):
        try:
            close(fd)
        except OSError:
            pass


def at_exit():
    """Keeps wire, as the last of the main thread's exit: a thread that is left behind and ends with it would block the
    main thread's last flush."""
    wire.acquire()
    flush_held(no_call)
    if getsignal(SIGTERM) not in (SIG_DFL, SIG_IGN):
        signal(SIGTERM, SIG_IGN)  # else the end of the interpreter makes it deadly in the middle
    if not forked:
        drain()


class Imports:
    """In sys.meta_path: does what is due when user code has imported a module, so that it need not be imported in
    vain."""

    def __init__(self, due):
        self.due = due

    def find_spec(self, name, path=None, target=None):
        do = self.due.pop(name, None)
        if do is None:
            return None
        if not self.due and self in sys.meta_path:
            sys.meta_path.remove(self)
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module") and not isinstance(spec.loader, type):  # for this module alone
                    self.follow(spec.loader, do)
                return spec
        return None

    @staticmethod
    def follow(loader, do):
        """Makes a loader do that behind the module, which it loads once."""
        load = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            load(module)
            do(module)

        loader.exec_module = exec_module


def attend(due):
    """Has each function called with the module of its name, now or when it is imported."""
    for name in list(due):
        if name in sys.modules:
            due.pop(name)(sys.modules[name])
    if due:
        sys.meta_path.insert(0, Imports(due))


def park():
    """Waits until the agent needs this worker: for Load, the first frame of all. Anything else means that it does
    not."""
    frame = b""
    while len(frame) < HEADER.size:
        piece = os.read(EVENTS, HEADER.size - len(frame))
        if not piece:
            _exit(0)  # the agent is gone
        frame += piece
    if HEADER.unpack(frame)[1] != LOAD:
        _exit(0)


def report_cache():
    """Says how much of the load came out of the code cache."""
    if cache is not None and cache_mode == "read":
        with wire:
            send(LOG, 0, ('{"codeCache":%s}' % DUMPS(cache.report())).encode(), b"")


def start():
    global asynchronous, ahead
    close(SOURCE)
    for fd in (EVENTS, ANSWERS):
        os.set_inheritable(fd, False)
    if sys.pycache_prefix is not None:
        sys.dont_write_bytecode = False  # -B spares the code folder; that is another one
    import faulthandler
    if not faulthandler.is_enabled():
        faulthandler.enable(2, all_threads=False)  # the last lines before a crash say where it was
    os.register_at_fork(after_in_child=after_fork)
    atexit.register(at_exit)
    sys.stdout, sys.stderr = out, err
    attend({"logging": serve_root, "asyncio.events": serve_loops})
    sys.modules["__main__"] = type(sys)("__main__")  # user code may look, and multiprocessing would start its file
    if parked:
        park()
    try:
        load()
        asynchronous = is_coroutine_function(getattr(module, SYMBOL))
        if asynchronous:
            main.loop = event_loop()
        ahead = ahead and not asynchronous
        if ahead:
            marked.extend((os.dup(1), os.dup(2)))  # user code may put others in their places
        flush_replaced()
        report_cache()
    except BaseException as e:
        flush_replaced()
        report_cache()
        kind = e.kind if isinstance(e, FunctionError) else type(e).__name__
        said = ENTRY + str(e) if isinstance(e, FunctionError) else describe(e)
        write_log(no_call, ERROR, said.encode("utf-8", "backslashreplace"))
        with wire:
            flush_held(no_call)
            body = error_body(ENTRY, message_of(e), kind).encode()
            code = 4001
            if len(body) > MAX_RESPONSE:
                code, body = 4004, (TOO_LARGE % (len(body), MAX_RESPONSE)).encode()
            final = isinstance(e, (FunctionError, SyntaxError, ImportError))
            send(FAILURE, 0, failure_meta(code, kind, final=final, hint=hint_of(e)), body)
    else:
        with wire:
            flush_held(no_call)
            send(RESULT, 0, b'{"ahead":true}' if ahead else b"", b"")
    start_new_thread(guarded_watch, ())
    serve()


def postpone(sections):
    """Has functions that not every process needs compiled when one of their section is called first: that is the larger
    part of what a cold start costs. Sections hold nothing but functions and constants, as it may happen twice."""
    line = 0
    for section in sections:
        if line:
            for name in re.findall(r"(?m)^(?:async )?def (\w+)", section):
                globals()[name] = stand_in(name, section, line)
        line += section.count("\n")


def stand_in(name, section, line):
    def call(*arguments, **named):
        exec(compile("\n" * line + section, "<gantry>", "exec"), globals())
        return globals()[name](*arguments, **named)

    return call


if __name__ == "__main__":
    postpone(SECTIONS)
    start()


# ---------------------------------------------------------------------------------------------------- errors

USERS = tuple(root + "/" for root in ROOTS)  # what the names of user code's files begin with
SHORTENED = None if "" in ROOTS else re.compile(r"(?<![\w.~+@%-])(?:" + "|".join(map(re.escape, ROOTS)) + r")(?!\.?[\w~+@%-])")


def too_large(call, size):
    text = TOO_LARGE % (size, MAX_RESPONSE)
    fail(call, 4004, "ResponseTooLarge", text, text)


def fail(call, code, kind, body, said, event=False, final=False, hint=None):
    """Writes the error to the log, then answers with an error body."""
    write_log(call, ERROR, said.encode("utf-8", "backslashreplace"))
    body = body.encode("utf-8", "backslashreplace")
    if len(body) > MAX_RESPONSE and code != 4004 and not call.answered:
        too_large(call, len(body))
        return
    settle(call, FAILURE, failure_meta(code, kind, event, final, hint), body)


def failure_meta(code, kind, event=False, final=False, hint=None):
    """final marks errors of the code itself, which another attempt to load or initialise meets again."""
    more = (',"event":true' if event else "") + (',"final":true' if final else "") + (',"hint":' + quoted(hint) if hint else "")
    return ('{"code":%d,"type":%s%s}' % (code, quoted(kind[:LONGEST_TYPE]), more)).encode()


def write_cache():
    """Answers with what was written, for bootstrap warm."""
    try:
        written = cache.write()
    except Exception as e:  # user code may have closed the descriptor
        written = {"refused": message_of(e)}
    with wire:
        send(CODECACHE, 0, DUMPS(written).encode(), b"")


def shorten(text):
    """Puts "." in the place of the code folder's path, but not in longer names that only begin or end like it. Below
    the root folder every path would be shortened: there none is."""
    return text if SHORTENED is None else SHORTENED.sub(".", text)


def message_of(e):
    try:
        if isinstance(e, SystemExit):
            return "sys.exit(%s) was called" % ("" if e.code is None else repr(e.code))
        if isinstance(e, SyntaxError) and e.filename and e.lineno:
            return "%s (%s:%d)" % (e.msg, e.filename, e.lineno)
        return str(e)
    except BaseException:
        return "an error that cannot be shown"


def user_part(tb):
    """A traceback without the frames before the first one of user code."""
    while tb is not None and not tb.tb_frame.f_code.co_filename.startswith(USERS):
        tb = tb.tb_next
    return tb


def frames(e):
    found, tb = [], user_part(e.__traceback__)
    while tb is not None:
        code = tb.tb_frame.f_code
        found.append(shorten('File "%s", line %d, in %s' % (code.co_filename, tb.tb_lineno, code.co_name)))
        tb = tb.tb_next
    if len(found) > 100:  # a recursion that had no end
        found[50:-50] = ["... %d more" % (len(found) - 100)]
    return found


def describe(e):
    """An error for the log, as Python prints it, without the frames that are not the user's."""
    try:
        import traceback
        return shorten("".join(traceback.format_exception(type(e), e, user_part(e.__traceback__))).rstrip("\n"))
    except BaseException:
        return "%s: %s" % (type(e).__name__, message_of(e))


def error_body(prefix, message, kind, stack=None):
    """What json.dumps() would make of it with four blanks of indentation. By hand: after an error an import may fail
    too."""
    body = '{\n    "errorMessage": %s,\n    "errorType": %s' % (quoted(prefix + shorten(message)), quoted(kind))
    if stack:
        body += ',\n    "stackTrace": [\n        %s\n    ]' % ",\n        ".join(map(quoted, stack))
    elif stack is not None:
        body += ',\n    "stackTrace": []'
    return body + "\n}"


INVOCATION = "function invocation exception, error: "
INITIALIZATION = "function initialization exception, error: "


PRESTOPPING = "function prestop exception, error: "


def raised(call, e):
    """Builds the answer for an error of the handler or of a hook."""
    if forked and isinstance(e, SystemExit) and (e.code is None or isinstance(e.code, int)):
        flush_held(call)
        _exit((e.code or 0) & 0xff)  # a child that user code forked ends as it wants to
    code, prefix = (4002, INVOCATION) if call.kind == INVOKE else (4009, INITIALIZATION) if call.kind == INIT else (4001, PRESTOPPING)
    if isinstance(e, FunctionError):
        fail(call, code, e.kind, error_body(prefix, str(e), e.kind), prefix + str(e), final=call.kind == INIT, hint=e.hint)
        return
    kind = type(e).__name__
    hint = hint_of(e) or parameters_hint(call.kind, e)
    fail(call, code, kind, error_body(prefix, message_of(e), kind, frames(e)), describe(e), hint=hint)


def parameters_hint(kind, e):
    """What to write where the worker's own call of a handler or a hook has another number of arguments than it takes;
    None for other errors."""
    if type(e) is not TypeError or user_part(e.__traceback__) is not None or "argument" not in message_of(e):
        return None
    if kind == INVOKE:
        return "the handler gets the event and the context: write def %s(event, context)" % SYMBOL
    return "it gets the context: write one parameter, (context)"


def contents(symbol, setting):
    """A hint at the functions that the handler's module has in place of symbol, which a setting names."""
    try:
        if symbol in vars(module):
            return "%s is of the type %s: it has to be a function" % (symbol, type(vars(module)[symbol]).__name__)
        names = [name for name, value in vars(module).items() if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__]
        if not names:
            return "the module defines no function: write def %s(...)" % symbol
        others = [name for name in names if name != SYMBOL]
        near = [name for name in others if name.lower() == symbol.lower()] or others
        text = "the module defines: " + ", ".join(names[:10]) + (" and %d more" % (len(names) - 10) if len(names) > 10 else "")
        return text + ("; set %s to %s.%s" % (setting, FILE, near[0]) if len(near) == 1 else "")
    except BaseException:  # the module may be anything
        return None


def hint_of(e):
    """What to do about an error, or None."""
    if isinstance(e, FunctionError):
        return e.hint
    try:
        name = (e.name or "").partition(".")[0] if type(e) is ModuleNotFoundError else ""
        if not name or name in sys.modules:
            return None
        version = "Python %d.%d" % sys.version_info[:2]
        if os.path.isfile(CODE_ROOT + "/requirements.txt"):
            return "%s is not there for %s: run pip install -r requirements.txt -t . in the code folder, with %s in that file" % (name, version, name)
        return "%s is not there for %s: run pip install -t . %s in the code folder (the package may have another name than its module)" % (name, version, name)
    except BaseException:
        return None


def stack_of(call):
    """Where a call is: file, line and name of each frame, the most recent last. The worker's frames are left out."""
    stack, awaiting = [], call.awaitable
    if awaiting is not None and not getattr(awaiting, "cr_running", False):
        while getattr(awaiting, "cr_frame", None) is not None:
            stack.append(awaiting.cr_frame)
            awaiting = awaiting.cr_await
    else:
        frame = sys._current_frames().get(call.thread)
        while frame is not None and frame.f_code is not begin.__code__:
            stack.insert(0, frame)
            frame = frame.f_back
    return [(f.f_code.co_filename, f.f_lineno, f.f_code.co_name) for f in stack]


def reported(call):
    """The most recent frames, as a member of meta behind the hint. Meta has a limit, and paths may be long."""
    found, size = [], 0
    for path, line, name in reversed(stack_of(call)):
        frame = '{"file":%s,"line":%d,"function":%s}' % (quoted(path), line or 0, quoted(name))
        size += len(frame)
        if size > 32768:
            break
        found.append(frame)
    return ',"stack":[%s]' % ",".join(found)


def whereabouts(call):
    """One sentence on where a call is, as JSON, or None."""
    places = stack_of(call)
    users = [p for p in places if p[0].startswith(USERS)]
    if not users:
        return None
    what = "handler" if call.kind == INVOKE else "initializer" if call.kind == INIT else "pre-stop hook"
    text = "shortly before the deadline the %s was at %s:%d, in %s" % ((what,) + users[-1])
    if places[-1] != users[-1]:
        text += " (and below that at %s:%d, in %s)" % places[-1]
    return quoted(shorten(text) + ": limit that wait, or raise the %s's timeout" % what)


# ---------------------------------------------------------------------------------------------------- logging

def level_of(record):
    n = record.levelno
    return ERROR if n >= 40 else WARN if n >= 30 else INFO if n >= 20 else DEBUG


def serve_root(logging):
    """Gives the root logger a handler and the level INFO, as it has on the platform. User code that configures logging
    takes the handler away (basicConfig, dictConfig), or adds handlers that write to stdout or stderr themselves; what
    these write is not written twice."""
    root = getattr(logging, "root", None)
    if not isinstance(root, getattr(logging, "RootLogger", ())) or root.handlers:  # the user's module, or configured
        return

    def prints(handler, record):
        """Reports whether a handler writes a record to stdout or stderr."""
        try:
            return handler is not own and record.levelno >= handler.level and handler.stream.fileno() in (1, 2)
        except Exception:  # it has no stream, or one without a descriptor
            return False

    class RootHandler(logging.Handler):
        def emit(self, record):
            try:
                logger = root.manager.loggerDict.get(record.name, root)
                while logger is not None:
                    if any(prints(handler, record) for handler in logger.handlers):
                        return
                    logger = logger.parent
                write_log(owner(), level_of(record), self.format(record).encode("utf-8", "backslashreplace"))
            except Exception:
                self.handleError(record)

    def basicConfig(**settings):
        alone = root.handlers == [own]
        if alone:  # as if it had none
            root.removeHandler(own)
        try:
            configure(**settings)
        finally:
            if alone and not root.handlers:
                root.addHandler(own)

    own, configure = RootHandler(), logging.basicConfig
    basicConfig.__doc__, basicConfig.__wrapped__ = configure.__doc__, configure
    logging.basicConfig = basicConfig
    root.addHandler(own)
    root.setLevel(20)


def context_logger(call):
    """A logging.Logger of its own for each context, so that threads that user code starts name the right call. It
    stands outside of the hierarchy: the root logger stays the user's, and nothing is written twice."""
    global logger_class, log_handler
    if logger_class is None:
        import logging

        class Handler(logging.Handler):
            def emit(self, record):
                try:
                    write_log(current.get() or record.call, level_of(record), self.format(record).encode("utf-8", "backslashreplace"))
                except Exception:
                    self.handleError(record)

        class Logger(logging.Logger):
            def makeRecord(self, *args, **kwargs):
                record = logging.Logger.makeRecord(self, *args, **kwargs)
                record.call = self.call
                return record

            def setLevel(self, level):
                logging.Logger.setLevel(self, level)
                if self.parent is None:
                    LEVELS["level"] = self.level

            def isEnabledFor(self, level):  # without the cache, which is never cleared outside of the hierarchy
                return not self.disabled and level > self.manager.disable and level >= self.getEffectiveLevel()

            def getChild(self, suffix):
                child = logger_class("%s.%s" % (self.name, suffix))
                child.call, child.parent = self.call, self
                return child

        log_handler, logger_class = Handler(), Logger
    logger = logger_class("FunctionLogger", LEVELS["level"])
    logger.call, logger.propagate = call, False
    logger.addHandler(log_handler)
    return logger


# ---------------------------------------------------------------------------------------------------- event loop

# async functions run in one event loop on the main thread, as many at once as there are, so that what belongs to a loop
# (sessions, pools) can be shared by calls. The loop reads the events itself.


def event_loop():
    """The event loop of this thread: the one user code has made, or a new one."""
    import asyncio
    import warnings
    found = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = asyncio.get_event_loop()
    except RuntimeError:
        pass
    if found is None or found.is_closed():
        found = asyncio.new_event_loop()
        asyncio.set_event_loop(found)
    return found


def serve_loops(events):
    """Gives each thread that runs calls an event loop of its own as soon as asyncio.get_event_loop() asks for one, as
    the main thread has it. All policies that follow asyncio's own inherit that."""
    policy = getattr(events, "BaseDefaultEventLoopPolicy", None) or getattr(events, "_BaseDefaultEventLoopPolicy", None)
    if policy is None:  # a module of the user's
        return
    found = policy.get_event_loop

    def get_event_loop(self):
        try:
            return found(self)
        except RuntimeError:
            if get_ident() not in call_threads:
                raise
        fresh = self.new_event_loop()
        self.set_event_loop(fresh)
        return fresh

    get_event_loop.__doc__, get_event_loop.__wrapped__ = found.__doc__, found
    policy.get_event_loop = get_event_loop


async def follow(call):
    try:
        value = await call.awaitable
    except BaseException as e:
        raised(call, e)
    else:
        finish(call, value)


def begin_in_loop(call):
    try:
        value = begin(call)
        if hasattr(type(value), "__await__"):
            call.awaitable = value
            task = loop.create_task(follow(call))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        else:
            finish(call, value)
    except BaseException as e:
        raised(call, e)


def take_calls(batch):
    with mutex:
        ring(min(call.hint_at() for call in batch))
    for call in batch:
        base.copy().run(begin_in_loop, call)


def readable():
    batch = receive()
    if batch:
        take_calls(batch)
    if leaving:
        leave_loop()


TURNS = 10  # of a loop, until it has heard of a signal and run what was registered for it


def leave_loop():
    """What leave() is for the event loop: ends it after the calls, the user's handler of TERM, and the tasks which that
    began."""
    if calls:
        loop.call_later(TICK, leave_loop)
        return
    from asyncio import all_tasks
    before = all_tasks(loop)
    expect_term()

    def look(turns):
        global ended
        if term_ran and turns:
            loop.call_soon(look, turns - 1)
        elif not term_ran or all_tasks(loop) - before:
            loop.call_later(TICK, look, turns)
        else:
            ended = True
            loop.stop()

    look(TURNS)


def end_tasks():
    """Cancels the tasks that are left, as asyncio.run() does. The loop stays open for exit hooks that want it."""
    from asyncio import all_tasks, gather
    left = all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def serve_loop(batch):
    global loop, reader
    if main.loop is None:
        main.loop = event_loop()
    with mutex:
        reader = LOOP
        ring(0.0)
    loop = main.loop
    loop.add_reader(EVENTS, readable)
    os.set_blocking(EVENTS, True)  # not every loop leaves it so, and half a frame is read to its end
    if batch:
        loop.call_soon(take_calls, batch)
    if leaving:
        loop.call_soon(leave_loop)
    while not ended:
        loop.run_forever()  # user code may stop it
        if leaving and loop.is_closed():
            return
    end_tasks()


# ---------------------------------------------------------------------------------------------------- end

def leave():
    """Lets the main thread end, and with it the process, as any program in Python: threads, exit hooks, streams. TERM
    comes only if that takes long, or for the user's own handler."""
    pause = allocate_lock()
    pause.acquire()
    while calls:  # on other threads
        pause.acquire(True, TICK)
    expect_term()
    while not term_ran:
        pause.acquire(True, TICK)


def expect_term():
    """Asks the agent for TERM if user code has a handler for it."""
    global term_ran
    handler = getsignal(SIGTERM)
    if handler in (SIG_DFL, SIG_IGN):
        term_ran = True
        return

    def handle(number, frame):
        global term_ran
        try:
            handler(number, frame)
        finally:
            term_ran = True

    if callable(handler):  # else it is one of a native library, which decides when the process ends
        signal(SIGTERM, handle)
    with wire:
        send(BYE, 0, b"", b"")
