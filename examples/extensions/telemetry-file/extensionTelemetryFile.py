#!/usr/bin/env python3
"""Writes the telemetry of a function to a file: one JSON object a line (NDJSON), as it came.

A batch is in the file before it is answered, so that nothing that was taken is lost when this process is killed; it is on
the disk (fsync) at the shutdown. When the file is full it is renamed to FILE.1, FILE.1 to FILE.2, and so on; events are
never split. An agent whose answer was lost sends its batch again, so an event may be there twice.

Variables, which reach an extension only if the agent's GANTRY_EXTENSION_ENV names them, as in GANTRY_EXTENSION_ENV='TELEMETRY_FILE*':

TELEMETRY_FILE            the file; default: /tmp/telemetry.ndjson. Its folder has to exist
TELEMETRY_FILE_MAX_BYTES  when it is full; default: 10485760
TELEMETRY_FILE_KEEP       how many full ones are kept; default: 3
TELEMETRY_FILE_ADDR       where this extension listens, 127.0.0.1 and a port from 8081 to 8090; default: 127.0.0.1:8084
"""

import http.client
import http.server
import json
import os
import signal
import sys
import threading

NAME = os.path.basename(sys.argv[0])  # an extension's name is its file name
ADDRESS = os.environ.get("TELEMETRY_FILE_ADDR", "127.0.0.1:8084")
FILE = os.environ.get("TELEMETRY_FILE", "/tmp/telemetry.ndjson")
MAX_BYTES = int(os.environ.get("TELEMETRY_FILE_MAX_BYTES", 10 << 20))
KEEP = int(os.environ.get("TELEMETRY_FILE_KEEP", 3))


class RotatingFile:
    """A file of whole lines. Its methods raise OSError, and then the file is as it was."""

    def __init__(self, path, max_bytes, keep):
        self.path, self.max_bytes, self.keep = path, max_bytes, keep
        self.lock = threading.Lock()
        self.open()

    def open(self):
        self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self.size = os.fstat(self.fd).st_size

    def write(self, lines):
        with self.lock:
            part = bytearray()
            for line in lines:
                if self.size + len(part) + len(line) > self.max_bytes and self.size + len(part) > 0:
                    self.append(part)
                    self.rotate()
                    part = bytearray()
                part += line
            self.append(part)

    def append(self, data):
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest):]
        except OSError:  # the disk is full: half a line would spoil the next one
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(data)

    def rotate(self):
        full = self.fd
        if self.keep == 0:
            os.unlink(self.path)
        for n in range(self.keep, 0, -1):
            newer = f"{self.path}.{n - 1}" if n > 1 else self.path
            if os.path.exists(newer):
                os.replace(newer, f"{self.path}.{n}")
        self.open()
        os.close(full)

    def sync(self):
        with self.lock:
            os.fsync(self.fd)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection: a batch may come every 100 ms

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.path == "/telemetry":
                self.server.file.write(lines(body))
            elif self.path == "/extension/shutdown":  # the telemetry has been delivered by now
                self.server.file.sync()
            else:
                return self.answer(404)
        except ValueError as error:
            return self.answer(400, f"this is no batch of events: {error}")
        except OSError as error:  # the agent sends it again, and counts it as dropped in the end
            return self.answer(500, f"{FILE} cannot be written: {error}")
        self.answer(200)

    def answer(self, status, problem=""):
        if problem:
            complain(problem)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):  # one line for each request would come back as telemetry
        pass


def lines(body):
    """The events of a batch, each as a line of bytes. Raises ValueError."""
    events = json.loads(body)
    if not isinstance(events, list):
        raise ValueError("not an array")
    return [json.dumps(e, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n" for e in events]


complained = set()


def complain(problem):
    """Once for each problem: what an extension prints is telemetry too."""
    if problem not in complained and len(complained) < 100:
        complained.add(problem)
        print(problem, file=sys.stderr, flush=True)


def post(path, headers, body=b""):
    """Asks the agent, past any proxy of the environment; ends this program with the reason if it refuses."""
    connection = http.client.HTTPConnection(os.environ["EXTENSION_API_ADDR"], timeout=5)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        sys.exit(f"{path} answers {response.status}: {text}")


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])  # for sigwait, in all threads
    host, port = ADDRESS.split(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)  # listens from here on; then register
    server.file = RotatingFile(FILE, MAX_BYTES, KEEP)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = {"FunctionGraph-Extension-Name": NAME}
    post("/extension/register", {**name, "FunctionGraph-Extension-Address": ADDRESS, "FunctionGraph-Extension-Events": "SHUTDOWN"})
    wanted = {"subscriber": {"protocol": "POST", "uri": f"http://{ADDRESS}/telemetry"}, "types": ["platform", "function", "extension"]}
    post("/telemetry", name, json.dumps(wanted).encode())
    print("telemetry goes to", FILE, flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    server.shutdown()
    server.file.sync()


try:
    main()
except KeyError as missing:
    sys.exit(f"{missing} is not set: the agent starts extensions and sets it")
except OSError as error:
    sys.exit(f"{NAME}: {error}")
