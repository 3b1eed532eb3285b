"""Requests and contexts as the stages see them, for tests of one stage alone."""

import time

from worker.context import Client, Context
from worker.fields import Fields
from worker.message import Request
from worker.settings import OriginSettings, RouteSettings

REQUEST_ID = b"0123456789abcdef0123456789abcdef"
NOW_S = 1763885585.25  # Sun, 23 Nov 2025 08:13:05 GMT

ROUTE = RouteSettings("site", b"/", OriginSettings("http", "127.0.0.1", 8081))


def make_context(
    *lines: tuple[bytes, bytes],
    method: bytes = b"GET",
    path: bytes = b"/page",
    query: bytes | None = None,
    version: bytes = b"1.1",
    address: str = "192.0.2.1",
) -> Context:
    """A fresh context for a request with these field lines, begun now and at wall time NOW_S."""
    target = path if query is None else path + b"?" + query
    fields = Fields.of(lines)
    request = Request(method, b"http", b"example.org", target, path, query, version, fields)
    client = Client(address, 50000, b"\xc0\x00\x02\x01", "http://127.0.0.1:8080")
    ctx = Context(request, client, REQUEST_ID, time.monotonic_ns(), NOW_S)
    ctx.route = ROUTE
    return ctx
