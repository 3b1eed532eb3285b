"""A reload that has a listener expect the PROXY protocol, and one that has it expect none any more, while
connections of before are open: each goes on as it began.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.scripted_origin import ScriptedOrigin, answer

PATIENCE_S = 30.0
HEAD = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
GET = b"GET /%b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhe"


@pytest.fixture
def origin() -> Iterator[ScriptedOrigin]:
    with ScriptedOrigin(lambda request: answer(b"page")) as origin:
        yield origin


def connect(url: str, head: bytes) -> socket.socket:
    """A connection that begins with `head`, then speaks TLS if the URL says so. Raises OSError."""
    parts = urlsplit(url)
    plain = socket.create_connection((parts.hostname, parts.port), PATIENCE_S)
    if head:
        plain.sendall(head)
    if parts.scheme == "http":
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.ExitStack() as undo:
        undo.callback(plain.close)
        speaking = context.wrap_socket(plain, server_hostname="localhost")
        undo.pop_all()
    return speaking


def status(client: socket.socket) -> int:
    """Of the answer that comes; 0 if none does."""
    came = b""
    with contextlib.suppress(ConnectionResetError), client:
        while not came.endswith(b"page") and (piece := client.recv(65536)):
            came += piece
    return int(came[9:12]) if came else 0


def ask(url: str, head: bytes, name: bytes) -> int:
    """The status of a request on a connection of its own; 0 if the connection is refused, or its bytes."""
    try:
        client = connect(url, head)
        client.sendall(GET % name)
    except OSError:
        return 0
    return status(client)


def tried(url: str, head: bytes, name: str, *statuses: int) -> str:
    """The name under which a request was answered so: for a moment after a reload the generation before,
    which expects other things, takes connections as well."""
    names = map(f"{name}-{{}}".format, count())

    def one_try() -> str | None:
        name = next(names)
        return name if ask(url, head, name.encode()) in statuses else None

    return str(wait_until(one_try))


def asked_by(origin: ScriptedOrigin, name: str) -> str:
    """Whom the edge took for the client of that request."""
    (request,) = [one for one in origin.requests if one.target == f"/{name}"]
    return request.headers["x-forwarded-for"]


def test_listeners_learn_and_forget_to_expect_it_while_requests_are_under_way(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    first = settings(tmp_path / "state", origin=origin.url, schemes=("http", "https"))
    first = with_worker(first, trusted_proxies=(ip_network("127.0.0.0/8"),))
    proxied = with_worker(
        first, listeners=tuple(replace(one, proxy_protocol=True) for one in first.worker.listeners)
    )
    refused: list[str] = []
    with Cluster(first) as edge:
        urls = edge.urls
        before = edge.status["http3"]
        under_way = [connect(url, b"") for url in urls]
        for client in under_way:
            client.sendall(POST % b"plain")

        assert edge.reload(proxied)["ok"]
        assert (edge.urls, edge.status["http3"]) == (urls, [])
        for url, client in zip(urls, under_way, strict=True):
            scheme = urlsplit(url).scheme
            refused.append(tried(url, b"", f"bare-{scheme}", 0))
            assert asked_by(origin, tried(url, HEAD, f"spoken-for-{scheme}", 200)) == "192.0.2.7"
            client.sendall(b"llo")
            assert status(client) == 200

        wait_until(lambda: all(worker["state"] == "ready" for worker in edge.workers))
        under_way = [connect(url, HEAD) for url in urls]
        for url, client in zip(urls, under_way, strict=True):
            client.sendall(POST % f"proxied-{urlsplit(url).scheme}".encode())
        assert edge.reload(first)["ok"]
        assert (edge.urls, edge.status["http3"]) == (urls, before)
        for url, client in zip(urls, under_way, strict=True):
            scheme = urlsplit(url).scheme
            refused.append(tried(url, HEAD, f"uncalled-for-{scheme}", 0, 400))
            assert asked_by(origin, tried(url, b"", f"direct-{scheme}", 200)) == "127.0.0.1"
            client.sendall(b"llo")
            assert status(client) == 200
            assert asked_by(origin, f"proxied-{scheme}") == "192.0.2.7"
        assert not {f"/{name}" for name in refused} & {request.target for request in origin.requests}
