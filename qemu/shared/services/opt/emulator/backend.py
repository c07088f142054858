"""The API: health, the keys' owner, projects of configuration files, notes, and the cron worker's calls."""

import hmac
import json
import os
import signal
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import psycopg2

from settings import config, port, secrets

LONGEST_BODY = 64 * 1024
KEY_HEADERS = {
    "x-stack-publishable-client-key": "publishableClientKey",
    "x-stack-secret-server-key": "secretServerKey",
    "x-stack-super-secret-admin-key": "superSecretAdminKey",
}


class Database:
    """One connection for all requests, made again when the server has gone away."""

    def __init__(self):
        self.lock = threading.Lock()
        self.connection = None

    def rows(self, statement, *values):
        with self.lock:
            try:
                return self.run(statement, values)
            except psycopg2.OperationalError:
                self.connection = None
                return self.run(statement, values)

    def run(self, statement, values):
        if self.connection is None:
            self.connection = psycopg2.connect(dbname="stack")
            self.connection.autocommit = True
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


class CronSecret:
    """What the cron worker must show, and whether it has shown the one of now."""

    def __init__(self):
        self.reload()

    def reload(self, *_):
        self.value = secrets()["CRON_SECRET"]
        self.is_used = False

    def accepts(self, authorization):
        is_right = same(authorization or "", f"Bearer {self.value}")
        self.is_used |= is_right
        return is_right


DATABASE = Database()


def same(one, other):
    """Equality in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


CRON_SECRET = CronSecret()
signal.signal(signal.SIGHUP, CRON_SECRET.reload)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet per answer: the second of two would wait for the first one's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        self.route({
            "/health": lambda: self.health(parse_qs(url.query)),
            "/api/v1/projects/current": self.project,
            "/api/v1/notes": self.notes,
            "/api/v1/cron/last": self.last_cron,
            "/api/v1/config": self.config,
        }, url.path)

    def do_POST(self):
        self.route({
            "/api/v1/internal/local-emulator/project": self.local_project,
            "/api/v1/notes": self.add_note,
            "/api/v1/cron": self.cron,
        }, urlsplit(self.path).path)

    def route(self, routes, path):
        try:
            length = int(self.headers.get("content-length") or 0)
            if length > LONGEST_BODY:
                self.close_connection = True
                return self.answer(413, {"error": f"a body has at most {LONGEST_BODY} bytes"})
            self.body = self.rfile.read(length).decode()
            if path not in routes:
                return self.answer(404, {"error": f"there is no {path}"})
            routes[path]()
        except ValueError as error:
            self.answer(400, {"error": str(error)})
        except psycopg2.Error as error:
            self.answer(503, {"error": str(error).strip()})

    def health(self, query):
        if "db" in query:
            DATABASE.rows("SELECT 1")
        self.answer(200, {"status": "ok"})

    def project(self):
        """Whose the keys in the request's headers are, and which of them are right."""
        sets = DATABASE.rows(
            'SELECT "id", "displayName", "publishableClientKey", "secretServerKey", "superSecretAdminKey"'
            ' FROM "Project" JOIN "ApiKeySet" ON "projectId" = "id"'
        )
        for identifier, name, *keys in sets:
            pairs = zip(KEY_HEADERS.items(), keys)
            right = [column for (header, column), key in pairs if same(self.headers.get(header) or "", key)]
            if right:
                return self.answer(200, {"id": identifier, "display_name": name, "keys": right})
        self.answer(401, {"error": "no valid key: send one as " + ", ".join(KEY_HEADERS)})

    def local_project(self):
        """The project of a configuration file on the host, made when it is asked for the first time."""
        ((internal_key,),) = DATABASE.rows(
            'SELECT "publishableClientKey" FROM "ApiKeySet" WHERE "projectId" = %s', "internal"
        )
        needed = {
            "x-stack-project-id": "internal",
            "x-stack-access-type": "client",
            "x-stack-publishable-client-key": internal_key,
        }
        if not all(same(self.headers.get(header) or "", value) for header, value in needed.items()):
            return self.answer(401, {"error": "needs the internal project's key: send " + ", ".join(needed)})
        body = json.loads(self.body)
        path = body.get("absolute_file_path") if isinstance(body, dict) else None
        if not isinstance(path, str) or not path.startswith("/"):
            return self.answer(400, {"error": "absolute_file_path must be an absolute path"})
        DATABASE.rows(
            'WITH made AS (INSERT INTO "Project" VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING "id")'
            ' INSERT INTO "ApiKeySet" SELECT "id", %s, %s, %s FROM made',
            str(uuid.UUID(bytes=os.urandom(16), version=4)), path, path, *(os.urandom(32).hex() for _ in range(3)),
        )
        ((identifier, publishable, secret),) = DATABASE.rows(
            'SELECT "id", "publishableClientKey", "secretServerKey"'
            ' FROM "Project" JOIN "ApiKeySet" ON "projectId" = "id" WHERE "configFile" = %s',
            path,
        )
        self.answer(200, {
            "project_id": identifier,
            "publishable_client_key": publishable,
            "secret_server_key": secret,
        })

    def notes(self):
        self.answer(200, [text for (text,) in DATABASE.rows('SELECT "text" FROM "Note" ORDER BY "id"')])

    def add_note(self):
        DATABASE.rows('INSERT INTO "Note" ("text") VALUES (%s)', self.body)
        self.answer(201, {"text": self.body})

    def config(self):
        """Where the services are as the host sees them."""
        self.answer(200, config())

    def cron(self):
        if not CRON_SECRET.accepts(self.headers.get("authorization")):
            return self.answer(401, {"error": "the cron secret is wrong"})
        DATABASE.rows('UPDATE "CronRun" SET "count" = "count" + 1, "last" = now()')
        self.answer(200, {"status": "ok"})

    def last_cron(self):
        ((count, last),) = DATABASE.rows('SELECT "count", "last" FROM "CronRun"')
        last = last and last.isoformat()
        self.answer(200, {"count": count, "last": last, "presentSecretUsed": CRON_SECRET.is_used})

    def answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_):
        """Requests are not logged: their headers hold keys."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of five fills up soon, and further clients wait a second


Server(("", port("02")), Handler).serve_forever()
