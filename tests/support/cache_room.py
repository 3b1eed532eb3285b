"""A cached route in one process: the real segment, the real gate and fill, an origin that is a function.

    with CacheRoom(handler) as room:
        answered = room.ask("/a")

`room.clock` only moves when a test moves it; the wall clock follows it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from shmcache.core import MEMBERS, Segment
from worker.cache.fill import Fill
from worker.cache.key import key_maker
from worker.cache.lookup import Lookup
from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request, Response, Stream
from worker.pipeline import Filter
from worker.reasons import Fault, Side
from worker.settings import CacheSettings

PATIENCE_S = 60.0
SEGMENT_BYTES = 64 * 1024**2
CODINGS = ("zstd", "br", "gzip")
SECOND_NS = 1_000_000_000

T = TypeVar("T")
Pairs = Iterable[tuple[bytes, bytes]]


class Clock:
    """Monotonic nanoseconds that stand still until they are told to go."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns

    def wall(self) -> float:
        return 800_000_000 + self.now_ns / SECOND_NS

    def go(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)


@dataclass(slots=True)
class Asked:
    """One request as the origin got it."""

    method: bytes
    path: bytes
    fields: Fields


Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(slots=True)
class Answered:
    """What a client got, and what the request learned on the way."""

    status: int
    fields: Fields
    body: bytes
    length: int | None
    ctx: Context


class Pieces:
    """A Stream of given pieces; an exception among them is raised in its place, an event is waited for."""

    def __init__(self, *pieces: bytes | Exception | asyncio.Event, length: int | None = None) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self.closed = False
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, asyncio.Event):
                await asyncio.wait_for(piece.wait(), PATIENCE_S)
                continue
            if isinstance(piece, Exception):
                raise piece
            return piece
        return b""

    def close(self) -> None:
        self.closed = True


def broken_off() -> EdgeError:
    return EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, "cut")


def make_segment(size_bytes: int = SEGMENT_BYTES, doorbells: Sequence[int] = ()) -> Segment:
    """A segment without a name, inherited by forked children; nobody has joined it."""
    fd = os.memfd_create("segment")
    try:
        os.ftruncate(fd, size_bytes)
        return Segment(fd, size_bytes, create=True, boot_id=b"0" * 16, doorbells=doorbells)
    finally:
        os.close(fd)


def make_request(
    path: str = "/",
    fields: Pairs = (),
    method: bytes = b"GET",
    scheme: bytes = b"http",
    host: bytes = b"a.example",
) -> Request:
    raw, mark, query = path.encode().partition(b"?")
    return Request(
        method, scheme, host, path.encode(), raw, query if mark else None, b"1.1", Fields.of(fields)
    )


CLIENT = Client("192.0.2.1", 1234, b"\xc0\x00\x02\x01", "http://127.0.0.1:8080")


@dataclass
class CacheRoom:
    """One worker's cached route."""

    handler: Handler
    settings: CacheSettings = field(default_factory=CacheSettings)
    store_filters: Sequence[Filter] = ()

    def __enter__(self) -> Self:
        self.clock = Clock()
        self.asked: list[Asked] = []
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(MEMBERS)]
        self.segment = make_segment(doorbells=self.bells)
        self.segment.join(0, self.clock())
        self.loop = asyncio.new_event_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.lookup = Lookup(self.segment.cache, self.settings, CODINGS, key_maker(self.settings.key))
        self.fill = Fill(
            self.fetch, self.segment.cache, self.segment.leases, self.settings, CODINGS, self.spawn,
            store_filters=self.store_filters, clock=self.clock, wall=self.clock.wall,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.settle())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        for bell in self.bells:
            os.close(bell)
        faults = self.segment.audit()
        self.segment.close()
        if error is None:
            assert faults == []

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait for everything in the background."""
        while self.tasks:
            await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), PATIENCE_S)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))

    async def fetch(
        self,
        ctx: Context,
        extra: Fields | None = None,
        drop: tuple[bytes, ...] = (),
        method: bytes | None = None,
        with_body: bool = True,
    ) -> Response:
        """The origin: asks the handler with the fields a real one would get."""
        fields = ctx.request.fields.copy()
        fields.remove(*drop)
        for name, value in () if extra is None else extra.items():
            fields.append(name, value)
        asked = Asked(method or ctx.request.method, ctx.request.path, fields)
        self.asked.append(asked)
        response = await self.handler(asked)
        ctx.forwarded_status = response.status
        return response

    def context(self, request: Request) -> Context:
        return Context(request, CLIENT, b"0" * 32, self.clock(), self.clock.wall())

    async def answer(self, request: Request) -> Answered:
        """The way of one request: gate, fill, body, and the refresh after a stale answer."""
        ctx = self.context(request)
        response = self.lookup(ctx)
        if response is None:
            response = await self.fill(ctx)
        body = await read_body(response)
        if ctx.refresh:
            self.spawn(self.fill.refresh(ctx))
        return Answered(response.status, response.fields, body, response.length, ctx)

    def ask(self, path: str = "/", fields: Pairs = (), method: bytes = b"GET") -> Answered:
        """One request, and all it leaves to do in the background."""

        async def whole() -> Answered:
            answered = await self.answer(make_request(path, fields, method))
            await self.settle()
            return answered

        return self.run(whole())

    def outcome(self, path: str = "/", fields: Pairs = ()) -> str:
        return self.ask(path, fields).ctx.outcome.value


async def read_body(response: Response) -> bytes:
    """The whole body, given back as its sender would."""
    body = response.body
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if not hasattr(body, "read"):
        copied = b"".join(bytes(view) for view in body.views())
        body.release()
        return copied
    stream = cast(Stream, body)
    try:
        pieces = []
        while piece := await stream.read():
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        stream.close()


def ok(body: bytes | Pieces = b"hello", status: int = 200, /, **fields: str) -> Response:
    """An answer of the origin; `max_age` etc. become fields: cache_control="max-age=60"."""
    lines = [(name.replace("_", "-").title().encode(), value.encode()) for name, value in fields.items()]
    length = len(body) if isinstance(body, bytes) else body.length
    return Response(status, Fields.of(lines), body, length)


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)
