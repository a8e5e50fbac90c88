"""A misbehaving extension, so that you can test your alarms with it. CHAOS says how."""

import os
import signal
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHAOS = os.environ.get("CHAOS", "good")
ADDRESS = os.environ.get("CHAOS_ADDR", "127.0.0.1:8083")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if CHAOS == "slow":
            time.sleep(1)
        if CHAOS == "never":
            time.sleep(3600)
        if CHAOS == "flood":
            for i in range(10000):
                print("flood", i)
        self.send_response(500 if CHAOS == "error" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def register():
    request = urllib.request.Request(
        f"http://{os.environ['EXTENSION_API_ADDR']}/extension/register",
        method="POST",
        headers={"FunctionGraph-Extension-Name": "extensionChaos.sh", "FunctionGraph-Extension-Address": ADDRESS},
    )
    urllib.request.urlopen(request, timeout=5).read()


if CHAOS == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if CHAOS == "silent":
    time.sleep(3600)
host, port = ADDRESS.split(":")
server = ThreadingHTTPServer((host, int(port)), Handler)
register()
if CHAOS == "dies":
    threading.Timer(0.2, os._exit, [3]).start()
if CHAOS == "daemon":  # leaves a grandchild behind that keeps stdout open
    subprocess.Popen(["sleep", "30"], start_new_session=True)
    os._exit(0)
server.serve_forever()
