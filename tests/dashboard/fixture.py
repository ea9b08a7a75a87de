"""A stand-in server for the dashboard: the static files and a fake API, on the loopback interface only.

It exists so that the dashboard can be built and tested without the real server. Numbers are a fixed function of time, tenant
and dimensions, so a test can ask the same question and expect the same answer. It must never be mistaken for the
real thing: it knows a handful of keys, keeps nothing, and answers only what the dashboard asks. The real server orders and
pages a breakdown, and the tests check that there; here rows come largest first, on one page.

Keys: mg_operator (3 tenants), mg_many (200 tenants), mg_tenant (tenant acme), mg_empty (no events), mg_quiet (events, but
not in the last 30 days), mg_silent (no event for 14 minutes), mg_few (one bounce among eleven mails), mg_error (queries fail),
mg_partial (two queries fail), mg_slow (each query takes 2.5 s), mg_hostile (names made to break a page).

    python3 tests/dashboard/fixture.py [--port 8089]    # then open http://127.0.0.1:8089/#key=mg_operator
"""

import argparse
import json
import sys
import time
from http.cookies import Morsel, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from traffic import alerts, answer, catalogue, tenants_of

FILES = Path(__file__).resolve().parents[2] / "shared/web/src/dashboard"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# As strict as the real server, and additionally forbids turning text into markup.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


class Handler(BaseHTTPRequestHandler):
    """Serves one request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Logs nothing."""

    def reply(self, status, body, kind="application/json"):
        """Sends a body with the headers of the real server."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def problem(self, status, detail):
        """Sends problem details."""
        self.reply(
            status,
            {"type": "about:blank", "title": "Refused", "status": status, "detail": detail},
            "application/problem+json",
        )

    def key(self):
        """The caller's key, if the server knows it."""
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not key and self.headers.get("X-Requested-With") == "mailgauge":
            key = SimpleCookie(self.headers.get("Cookie", "")).get("mailgauge", Morsel()).value or ""
        known = (
            "mg_operator",
            "mg_many",
            "mg_tenant",
            "mg_empty",
            "mg_quiet",
            "mg_silent",
            "mg_few",
            "mg_error",
            "mg_partial",
            "mg_slow",
            "mg_hostile",
        )
        return key if key in known else None

    def do_GET(self):
        """Serves static files, the caller's identity and the tenants."""
        path = self.path.split("?")[0]
        if path == "/session":
            return self.reply(200, {"signed_in": self.key() is not None, "provider": None})
        if path.startswith("/v1/"):
            key = self.key()
            if not key:
                return self.problem(401, "the key is not known here; use a key made by mailgauge keys add")
            if path == "/v1/whoami":
                operator = key in ("mg_operator", "mg_many", "mg_hostile")
                return self.reply(
                    200,
                    {
                        "name": "test",
                        "scope": "operator" if operator else "tenant",
                        "tenant": None if operator else "acme",
                    },
                )
            if path == "/v1/tenants" and key in ("mg_operator", "mg_many", "mg_hostile"):
                return self.reply(200, {"tenants": [{"id": name, "name": name} for name in tenants_of(key)]})
            if path == "/v1/metrics/catalogue":
                return self.reply(200, catalogue(self.headers.get("X-Mailgauge-Tenant")))
            if path == "/v1/alerts":
                return self.reply(200, {"alerts": alerts(time.time()) if key == "mg_operator" else []})
            return self.problem(404, "there is nothing here")
        name = "index.html" if path == "/" else path.removeprefix("/assets/")
        file = FILES / name
        if "/" in name or file.suffix not in TYPES or not file.is_file():
            return self.problem(404, "there is nothing here")
        self.reply(200, file.read_bytes(), TYPES[file.suffix])

    def do_POST(self):
        """Answers a query."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 262144))
        key = self.key()
        if not key:
            return self.problem(401, "the key is not known here; use a key made by mailgauge keys add")
        if self.path == "/session":
            return self.session(key)
        if self.path != "/v1/query":
            return self.problem(404, "there is nothing here")
        query = json.loads(body)
        if key == "mg_slow":
            time.sleep(2.5)
        failing = key == "mg_error" or (
            key == "mg_partial" and (query.get("group_by") or "bounces_expired" in query["metrics"])
        )
        if failing:
            return self.problem(503, "granularity: the history before 2026-10-01 is kept by the hour; ask for 1h or 1d")
        tenant = (
            "acme" if key not in ("mg_operator", "mg_many", "mg_hostile") else self.headers.get("X-Mailgauge-Tenant")
        )
        now = time.time()
        self.reply(200, answer(query, key, tenant, now))


    def do_DELETE(self):
        """Signs the caller out."""
        self.session("")

    def session(self, key):
        """Sets the cookie."""
        self.send_response(204)
        self.send_header("Set-Cookie", f"mailgauge={key}; Path=/; HttpOnly; SameSite=Strict")
        self.end_headers()


class Server(ThreadingHTTPServer):
    """Ignores clients that disconnected before their reply."""

    daemon_threads = True

    def handle_error(self, *_):
        """Reports every error except an aborted request."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


def serve(port):
    """Starts a server on the loopback interface. Port 0 means any free port."""
    return Server(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    server = serve(parser.parse_args().port)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
