"""The rival: Python's own http.server around the handler of python/index.py, as one would write it by hand."""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def handler(event, context):
    return {"statusCode": 200, "body": event["name"]}


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one write for an answer: two would wait for each other

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(handler(event, None)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
