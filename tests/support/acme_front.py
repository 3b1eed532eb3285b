"""What stands between the edge and a real authority: passes everything on, but for what a test has it refuse.

with acme_front(authority, tmp_path) as front:
    front.refuse("/order-plz", 429, "rateLimited", {"Retry-After": "7200"})
"""

import http.client
import json
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

from tests.support.pebble import Pebble

NEW_ORDER = "/order-plz"  # as pebble calls it
RENEWAL = "/renewal"
HOPS = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Front:
    """An authority's face; `asked` are the paths it was asked for, in order."""

    def __init__(self, authority: Pebble, folder: Path) -> None:
        self.asked: list[str] = []
        self._suggestion: tuple[int, Mapping[str, str], bytes] | None = None
        self._refusals: dict[str, tuple[int, str, Mapping[str, str]]] = {}
        self._trust = ssl.create_default_context(cafile=os.fspath(authority.ca_file))
        self._authority = authority
        own = trustme.CA()
        self.ca_file = folder / "front.pem"
        own.cert_pem.write_to_path(os.fspath(self.ca_file))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.directory = f"https://127.0.0.1:{self._server.server_address[1]}/dir"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def refuse(self, path: str, status: int, code: str, fields: Mapping[str, str]) -> None:
        """Answer requests for `path` with this problem (RFC 8555 6.7) until `relent`."""
        self._refusals[path] = status, code, fields

    def suggest(self, start: str, end: str, fields: Mapping[str, str], status: int = 200) -> None:
        """Have certificates renewed in this window (RFC 9773 4.2); the answer has these fields, too."""
        window = json.dumps({"suggestedWindow": {"start": start, "end": end}}).encode()
        self._suggestion = status, {"Content-Type": "application/json", **fields}, window

    def relent(self) -> None:
        """Pass everything on again."""
        self._refusals.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                front.asked.append(self.path)
                status, fields, body = front._answer(self)
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_args: object) -> None:
                """The test looks at `asked`."""

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        if request.path in self._refusals:
            return self._refuse(*self._refusals[request.path])
        if request.path.startswith(RENEWAL) and self._suggestion is not None:
            return self._suggestion
        status, fields, body = self._pass_on(request)
        if request.path == "/dir":
            directory = json.loads(body)
            directory.pop("renewalInfo", None)
            if self._suggestion is not None:
                directory["renewalInfo"] = self.directory.removesuffix("/dir") + RENEWAL
            body = json.dumps(directory).encode()
        return status, fields, body

    @staticmethod
    def _refuse(status: int, code: str, fields: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        problem = {"type": f"urn:ietf:params:acme:error:{code}", "detail": "scripted", "status": status}
        return status, {"Content-Type": "application/problem+json", **fields}, json.dumps(problem).encode()

    def _pass_on(self, request: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        """Its answer. It names itself as it was called, so that all its URLs lead to us."""
        length = int(request.headers.get("Content-Length", 0))
        connection = http.client.HTTPSConnection("127.0.0.1", self._authority.port, context=self._trust)
        try:
            connection.request(
                request.command, request.path, request.rfile.read(length), dict(request.headers)
            )
            answer = connection.getresponse()
            fields = {name: value for name, value in answer.getheaders() if name.lower() not in HOPS}
            return answer.status, fields, answer.read()
        finally:
            connection.close()


@contextmanager
def acme_front(authority: Pebble, folder: Path) -> Iterator[Front]:
    """A face of `authority` that is reached at `directory`."""
    front = Front(authority, folder)
    try:
        yield front
    finally:
        front.close()
