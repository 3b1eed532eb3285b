"""What tests of the origin client share: requests, their bodies, a fetch that must leave nothing open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from time import monotonic_ns
from typing import Any, TypeVar

import uvloop

from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Body, Request, Stream
from worker.origin.fetch import OriginFetch, open_pool
from worker.origin.resolve import Resolver
from worker.settings import OriginSettings

T = TypeVar("T")
PATIENCE_S = 60.0
Pair = tuple[bytes, bytes]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop the workers use; one that hangs fails instead."""

    async def patiently() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await main

    return uvloop.run(patiently())


def context(
    method: bytes = b"GET",
    path: bytes = b"/",
    fields: Iterable[Pair] = (),
    *,
    query: bytes | None = None,
    body: Stream | None = None,
    host: bytes = b"example.org",
    scheme: bytes = b"http",
    version: bytes = b"1.1",
    address: str = "192.0.2.7",
    trusted: bool = False,
) -> Context:
    """A request as the protocol would hand it over."""
    target = path if query is None else path + b"?" + query
    request = Request(method, scheme, host, target, path, query, version, Fields.of(fields), body)
    client = Client(address, 40000, b"", "http://127.0.0.1:8080")
    client.trusted = trusted
    return Context(request, client, b"0123456789abcdef0123456789abcdef", monotonic_ns(), 0.0)


class Upload:
    """A request body of given pieces that counts what was pulled."""

    def __init__(
        self, pieces: Iterable[bytes], length: int | None = None, trailers: Fields | None = None
    ) -> None:
        self.pieces = iter(pieces)
        self.length = length
        self.trailers: Fields | None = None
        self.later_trailers = trailers
        self.read_bytes = 0
        self.closed = False
        self.error: EdgeError | None = None  # raised instead of the end
        self.gate: asyncio.Event | None = None  # awaited before the end

    async def read(self) -> bytes:
        piece = next(self.pieces, b"")
        if piece:
            self.read_bytes += len(piece)
            return piece
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.trailers = self.later_trailers
        return b""

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def fetching(
    url: str, *, resolver: Resolver | None = None, **options: Any
) -> AsyncIterator[OriginFetch]:
    """An OriginFetch for `url`, swept often; leaving it fails when a connection stays open."""
    scheme, _, address = url.partition("://")
    host, _, port = address.rpartition(":")
    settings = OriginSettings(scheme, host.strip("[]"), int(port), **options)
    fetch = OriginFetch(settings, "edge-test", pool=open_pool(settings, resolver or Resolver()))

    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.05)
            fetch.sweep(monotonic_ns())

    sweeper = asyncio.create_task(sweep())
    try:
        yield fetch
    finally:
        fetch.close()
        async with asyncio.timeout(PATIENCE_S):
            await fetch.wait_closed()
        sweeper.cancel()


async def read_all(body: Body) -> bytes:
    """A whole body, whatever kind it is."""
    if body is None or isinstance(body, bytes):
        return body or b""
    assert not hasattr(body, "views")
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, while the loop runs."""
    while not condition():  # noqa: ASYNC110 - counters have no event to wait for
        await asyncio.sleep(0.005)
