"""Stands in for the dashboard: a page, and a script that was built for it."""

import os
import signal
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

HERE = os.path.dirname(os.path.abspath(__file__))


class Handler(SimpleHTTPRequestHandler):
    def translate_path(self, path):
        path = path.split("?")[0]
        return HERE + {"/handler/sign-in": "/sign-in.html"}.get(path, os.path.normpath("/static/" + path.rpartition("/")[2]))

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", int(os.environ["DASHBOARD_PORT"])), Handler).serve_forever()
