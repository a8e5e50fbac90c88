"""An extension in Python: counts the calls of the function and prints the number of each."""

import json
import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "extensionCounter.sh"
ADDRESS = os.environ.get("COUNTER_ADDR", "127.0.0.1:8082")
count = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep the connection: one notification per call arrives

    def do_POST(self):
        global count
        call = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        with lock:
            count += 1
            print(f"call number {count}: {call.get('traceId')}")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
host, port = ADDRESS.split(":")
ThreadingHTTPServer.request_queue_size = 128  # connections that may wait: 5 by default, too few for bursts
server = ThreadingHTTPServer((host, int(port)), Handler)  # listens from here on
request = urllib.request.Request(
    f"http://{os.environ['EXTENSION_API_ADDR']}/extension/register",
    method="POST",
    headers={"FunctionGraph-Extension-Name": NAME, "FunctionGraph-Extension-Address": ADDRESS},
)
agent = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # past any proxy of the environment
with agent.open(request, timeout=5) as answer:
    print("registered with", json.load(answer)["functionName"])
server.serve_forever()
