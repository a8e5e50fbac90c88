"""A misbehaving extension, to test your alarms with. extensionChaos.sh lists the variables that configure it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOW = os.environ.get("CHAOS", "good").split(",")
NAME = os.environ.get("CHAOS_NAME", "extensionChaos.sh")
ADDRESS = os.environ.get("CHAOS_ADDR", "127.0.0.1:8083")
AFTER = os.environ.get("CHAOS_AFTER", "")
SECONDS = float(os.environ.get("CHAOS_SECONDS", "1"))
TELEMETRY = os.environ.get("CHAOS_TELEMETRY", "")
URI = os.environ.get("CHAOS_TELEMETRY_URI", f"http://{ADDRESS}/telemetry")
SLOW = float(os.environ.get("CHAOS_TELEMETRY_SECONDS", "5"))
ECHO = int(os.environ.get("CHAOS_ECHO", "0"))
RECORD = os.environ.get("CHAOS_RECORD", "")
ONE_BY_ONE = threading.Lock()
OCCUPIED = []  # sockets that have to stay


def record(what, **more):
    """One write for each line: nothing is lost when the process is killed."""
    if RECORD:
        with ONE_BY_ONE, open(RECORD, "a") as file:
            file.write(json.dumps({"what": what, "at": time.time(), "pid": os.getpid(), **more}) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if self.path == "/extension/invoke":
            self.invoke(json.loads(self.rfile.read(length)))
        elif self.path == "/extension/shutdown":
            self.shutdown(json.loads(self.rfile.read(length)))
        else:
            self.telemetry(length)

    def invoke(self, notice):
        record("invoke", id=notice["traceId"])
        if "slow" in HOW:
            time.sleep(SECONDS)
        if "never" in HOW:
            time.sleep(3600)
        if "flood" in HOW:
            for i in range(10000):
                print("flood", i)
        self.answer(500 if "error" in HOW else 200)
        if "fragile" in HOW:
            os._exit(4)

    def shutdown(self, notice):
        record("shutdown", **notice)
        if "mute" in HOW:
            time.sleep(3600)
        self.answer(200)

    def telemetry(self, length):
        if TELEMETRY == "hang":
            time.sleep(3600)
        if TELEMETRY == "close":
            self.rfile.read(length // 2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, no farewell
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if TELEMETRY == "slow":
            time.sleep(SLOW)
        if RECORD or ECHO:
            self.take(json.loads(body))
        self.answer(500 if TELEMETRY == "error" else 200, b"x" * (10 << 20) if TELEMETRY == "big" else b"")

    def take(self, events):
        for event in events:
            for i in range(ECHO):
                print("echo", i, event["name"])
        record("telemetry", events=[{k: e[k] for k in e if k not in ("metrics", "startTime", "endTime")} for e in events])

    def answer(self, status, body=b""):
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the agent has closed the connection
            self.close_connection = True

    def log_message(self, *_):
        pass


def post(path, body, **headers):
    """Returns the status. Whatever is refused is not tried again."""
    request = urllib.request.Request(f"http://{os.environ['EXTENSION_API_ADDR']}{path}", body, method="POST", headers=headers)
    try:
        status = urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as refused:
        status = refused.code
    record(path, status=status)
    return status


def register(address):
    headers = {"FunctionGraph-Extension-Name": NAME, "FunctionGraph-Extension-Address": address}
    for header, variable in (("Events", "CHAOS_EVENTS"), ("Mode", "CHAOS_MODE")):
        if os.environ.get(variable):
            headers[f"FunctionGraph-Extension-{header}"] = os.environ[variable]
    post("/extension/register", b"", **headers)


def subscribe():
    wanted = {"subscriber": {"protocol": "POST", "uri": URI}, "types": ["platform", "function", "extension"]}
    headers = {} if "nameless" in HOW else {"FunctionGraph-Extension-Name": NAME}
    post("/telemetry", json.dumps(wanted).encode(), **headers)


def place(uri):
    host, port = uri.split("://")[-1].split("/")[0].split(":")
    return host, int(port)


def ended(*_):
    record("TERM")
    if "stubborn" not in HOW:
        os._exit(0)


def occupy(address):
    """Listens, takes no connections, and fills what the system keeps for it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    for connection in waiting:
        connection.setblocking(False)
        connection.connect_ex(address)
    return listener, waiting


def listen(address):
    server = ThreadingHTTPServer(address, Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    signal.signal(signal.SIGTERM, ended)
    record("start")
    if "crash" in HOW:
        sys.exit(5)
    if "silent" in HOW:
        time.sleep(3600)
    if "deaf" not in HOW:
        listen(place(ADDRESS))
    if TELEMETRY not in ("", "refuse", "full") and place(URI) != place(ADDRESS):
        listen(place(URI))
    if TELEMETRY == "full":
        OCCUPIED.append(occupy(place(URI)))
    while AFTER and not os.path.exists(AFTER):
        time.sleep(0.01)
    if "wrong" in HOW:
        register("127.0.0.1:9999")
    else:
        register(ADDRESS)
    if "twice" in HOW:
        register(f"127.0.0.1:{8081 + (place(ADDRESS)[1] - 8080) % 10}")
    if TELEMETRY:
        subscribe()
    if "dies" in HOW:
        threading.Timer(0.2, os._exit, [3]).start()
    if "daemon" in HOW:  # leaves a grandchild behind that keeps stdout open
        subprocess.Popen(["sleep", "30"], start_new_session=True)
        os._exit(0)
    while True:
        signal.pause()


main()
