"""What stands in for MinIO, Inbucket and the OAuth server: each says that it is there."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

ANSWERS = {
    9090: {"/minio/health/live": b""},
    9001: {"/": b"<!doctype html><title>Inbucket</title><p>No mail.\n"},
    int(os.environ["NEXT_PUBLIC_STACK_PORT_PREFIX"] + "14"): {"/.well-known/openid-configuration": b"{}\n"},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = ANSWERS[self.server.server_port].get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


for port in ANSWERS:
    Thread(target=ThreadingHTTPServer(("", port), Handler).serve_forever).start()
