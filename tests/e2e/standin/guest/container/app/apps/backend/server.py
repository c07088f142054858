"""Stands in for the backend: its health, whose a key is, projects of config files, and the cron worker's call."""

import hmac
import json
import os
import signal
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread, Timer
from urllib.parse import urlsplit

import psycopg2

KEYS = {
    "client": ("x-stack-publishable-client-key", "publishableClientKey"),
    "server": ("x-stack-secret-server-key", "secretServerKey"),
    "admin": ("x-stack-super-secret-admin-key", "superSecretAdminKey"),
}
EMPTY_CONFIG = "export const config = {};\n"
# Seconds that its process lives on after SIGTERM, like a server with requests in progress.
LINGER = 3

if not os.environ.get("STACK_SERVER_SECRET"):
    sys.exit("backend: STACK_SERVER_SECRET is missing")
IS_EMULATOR = os.environ.get("NEXT_PUBLIC_STACK_IS_LOCAL_EMULATOR") == "true"
# The process keeps the value that it started with.
CRON_SECRET = os.environ["CRON_SECRET"]
HOST = os.environ["STACK_LOCAL_EMULATOR_HOST_MOUNT_ROOT"]


class Refusal(Exception):
    """A status, and why."""


def rows(statement, *values):
    connection = psycopg2.connect(os.environ["STACK_DATABASE_CONNECTION_STRING"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def same(one, other):
    return hmac.compare_digest(one.encode(), other.encode())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({
            "/health": self.health,
            "/api/v1/projects/current": self.project,
            "/api/latest/internal/email-queue-step": self.email_queue_step,
        })

    def do_POST(self):
        self.answer({"/api/v1/internal/local-emulator/project": self.local_project})

    def answer(self, routes):
        try:
            route = routes.get(urlsplit(self.path).path)
            if route is None:
                raise Refusal(404, "there is nothing here")
            status, content = 200, route()
        except Refusal as refusal:
            status, content = refusal.args
        except (OSError, psycopg2.Error) as error:
            status, content = 500, str(error)
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def health(self):
        if urlsplit(self.path).query == "db=1":
            rows("SELECT 1")
        return {"status": "ok"}

    def project(self):
        """The project that the request's key belongs to, of the type of access that it asks for."""
        access, project = (self.headers.get(f"x-stack-{name}") for name in ("access-type", "project-id"))
        if access not in KEYS or project is None:
            raise Refusal(400, "x-stack-access-type and x-stack-project-id must be given")
        header, column = KEYS[access]
        keys = rows(f'SELECT "{column}" FROM "ApiKeySet" WHERE "projectId" = %s', project)
        if not any(same(self.headers.get(header) or "", key) for (key,) in keys):
            raise Refusal(401, f"{header} is not valid for the project")
        return {"id": project}

    def local_project(self):
        """The keys of a config file's project, made when it is asked for the first time; a file without a config gets one."""
        if not IS_EMULATOR:
            raise Refusal(400, "this is no local emulator")
        if self.project()["id"] != "internal":
            raise Refusal(401, "only for the internal project")
        path = json.loads(self.rfile.read(int(self.headers["content-length"])))["absolute_file_path"]
        if not os.path.isabs(path):
            raise Refusal(400, "absolute_file_path must be an absolute path")
        try:
            with open(HOST + path) as file:
                is_empty = file.read().strip() == ""
        except FileNotFoundError:
            is_empty = True
        if is_empty:
            with open(HOST + path, "w") as file:
                file.write(EMPTY_CONFIG)
        made = (str(uuid.uuid4()), str(uuid.uuid4()), *(f"{kind}_{os.urandom(16).hex()}" for kind in ("pck", "ssk", "sak")))
        rows(
            'WITH new AS (INSERT INTO "LocalEmulatorProject" VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING "projectId")'
            ' INSERT INTO "ApiKeySet" SELECT "projectId", %s, %s, %s, %s FROM new',
            path, *made,
        )
        ((project, publishable, secret),) = rows(
            'SELECT "projectId", "publishableClientKey", "secretServerKey" FROM "LocalEmulatorProject"'
            ' JOIN "ApiKeySet" USING ("projectId") WHERE "absoluteFilePath" = %s',
            path,
        )
        return {"project_id": project, "publishable_client_key": publishable, "secret_server_key": secret}

    def email_queue_step(self):
        if not same(self.headers.get("authorization") or "", f"Bearer {CRON_SECRET}"):
            raise Refusal(401, "the cron secret is not valid")
        return {"ok": True}

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("", int(os.environ["BACKEND_PORT"])), Handler)


def end():
    """Makes room for the next one at its port, as Next.js does, and ends some time later."""
    server.shutdown()
    server.server_close()
    Timer(LINGER, os._exit, [0]).start()


signal.signal(signal.SIGTERM, lambda *_: Thread(target=end).start())
server.serve_forever()
