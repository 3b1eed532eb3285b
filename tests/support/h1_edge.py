"""A listener with the real HTTP/1 protocol and the real pipeline around a few scripted stages, and a client.

Everything runs in one loop over real sockets; `H1Edge.server` is at hand so that a test can count and can
sweep with a time of its own choosing.
"""

import asyncio
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

import uvloop

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request, Response
from worker.pipeline import Edge, Pipeline
from worker.protocol.h1 import H1Protocol, H1Server
from worker.protocol.server import ConnectionServer
from worker.protocol.tls import serve
from worker.reasons import Fault, Side, TurnedAway
from worker.settings import Limits, ListenerSettings, Network

WAIT_S = 20.0  # for whatever must happen; reached only by a failure
SECOND = 10**9

Handler = Callable[[Context], Awaitable[Response]]


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run one test's coroutine on the loop the workers use."""

    async def bounded() -> None:
        await asyncio.wait_for(test, WAIT_S * 2)

    uvloop.run(bounded())


class Pieces:
    """A Stream of given pieces; an exception among them is raised in its turn, a future waited for."""

    def __init__(self, *pieces: object, length: int | None = None, trailers: Fields | None = None) -> None:
        self.length = length
        self.trailers = trailers
        self.closed = False
        self.read_bytes = 0
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, asyncio.Future):
                await piece
            elif isinstance(piece, BaseException):
                raise piece
            else:
                assert isinstance(piece, bytes)
                self.read_bytes += len(piece)
                return piece
        return b""

    def close(self) -> None:
        self.closed = True


class Lent:
    """A Pinned over ordinary memory, in two runs, that notices when it is given back."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.released = 0
        self.copied = 0

    def __len__(self) -> int:
        return len(self._data)

    def views(self, start: int = 0, stop: int | None = None) -> list[memoryview]:
        half = len(self._data) // 2
        start, end, _ = slice(start, stop).indices(len(self._data))
        runs = self._data[start : min(end, half)], self._data[max(start, half) : end]
        return [run for run in runs if run]

    def copy_out(self, start: int = 0, stop: int | None = None) -> bytes:
        self.copied += 1
        self.release()
        return bytes(self._data[start:stop])

    def release(self) -> None:
        self.released += 1


def text(ctx: Context, body: bytes = b"hit\n", status: int = 200) -> Response:
    """A small answer that names the request it belongs to."""
    fields = Fields.of([(b"Content-Type", b"text/plain"), (b"X-Path", ctx.request.path)])
    return Response(status, fields, body, len(body))


def error_page(ctx: Context, error: EdgeError) -> Response:
    body = str(error).encode()
    return Response(error.status, Fields.of([(b"X-Fault", error.fault.encode())]), body, len(body))


class Told:
    """A tally that remembers what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def opened(self) -> None:
        self.told.append("opened")

    def closed(self) -> None:
        self.told.append("closed")

    def refused(self) -> None:
        self.told.append("refused")

    def turned_away(self, reason: TurnedAway) -> None:
        self.told.append(reason)

    def handshake(self, succeeded: bool) -> None:
        self.told.append("handshake" if succeeded else "failed handshake")

    def tunnel(self, *, opened: bool) -> None:
        self.told.append("tunnel" if opened else "end of tunnel")


class H1Edge:
    """The listener. `gate` answers at once or returns None; then `fetch` answers."""

    def __init__(
        self,
        gate: Callable[[Context], Response | None] = text,
        fetch: Handler | None = None,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        trusted: tuple[Network, ...] = (),
    ) -> None:
        self.gate = gate
        self.fetch = fetch or self.no_fetch
        self.limits = limits or Limits()
        self.tls = tls
        self.trusted = trusted
        self.tally = Told()
        self.finished: list[Context] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: list[StreamWriter] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self.port: int = sock.getsockname()[1]
        pipeline = Pipeline(
            gates=[lambda ctx: self.gate(ctx)],
            fetch=lambda ctx: self.fetch(ctx),
            send_filters=[],
            observers=[self.finished.append],
            error_page=error_page,
            spawn=self.spawn,
        )
        listener = ListenerSettings("https" if self.tls else "http", "127.0.0.1", self.port)
        edge = Edge(self.normalize, lambda request: (None, pipeline), pipeline)
        self.server = self.make_server(edge, listener)
        self.acceptor = await serve(loop, sock, self.tls, self.server)
        return self

    def make_server(self, edge: Edge, listener: ListenerSettings) -> ConnectionServer:
        return H1Server(edge, self.limits, listener, trusted=self.trusted, tally=self.tally)

    async def __aexit__(self, *failure: object) -> None:
        self.acceptor.close()
        for writer in self.writers:
            writer.close()
        self.server.abort()
        await asyncio.wait_for(self.server.wait_empty(), WAIT_S)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @staticmethod
    async def no_fetch(ctx: Context) -> Response:
        raise EdgeError(500, Side.EDGE, Fault.INTERNAL, "this edge has no fetch")

    @staticmethod
    def normalize(request: Request) -> None:
        pass

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    @property
    def connection(self) -> H1Protocol:
        """The one connection there is."""
        (connection,) = self.server.connections
        assert isinstance(connection, H1Protocol)
        return connection

    async def connect(self, **options: Any) -> tuple[StreamReader, StreamWriter]:
        """A client connection whose end is closed with this edge."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self.writers.append(writer)
        return reader, writer

    async def exchange(self, data: bytes) -> bytes:
        """Send `data` on a new connection; everything that comes until the edge closes it."""
        reader, writer = await self.connect()
        writer.write(data)
        return await asyncio.wait_for(reader.read(), WAIT_S)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that must become true."""

        async def poll() -> None:
            while not condition():  # noqa: ASYNC110 (what is waited for knows nothing of events)
                await asyncio.sleep(0.005)

        await asyncio.wait_for(poll(), WAIT_S)

    def after(self, seconds: float) -> None:
        """Sweep as if so much time had passed."""
        self.server.sweep(self.server.now_ns + int(seconds * SECOND))


async def read_response(reader: StreamReader, *, head_only: bool = False) -> tuple[int, Fields, bytes]:
    """One framed answer: status, fields, body (chunked ones decoded, trailers dropped)."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    line_end = head.find(b"\r\n") + 2
    status = int(head[9:12])
    fields = Fields.parse(head, line_end)
    body = b""
    if head_only or status < 200 or status in (204, 304):
        return status, fields, b""
    if fields.get(b"transfer-encoding") == b"chunked":
        while True:
            size = int(await asyncio.wait_for(reader.readline(), WAIT_S), 16)
            if size == 0:
                break
            body += await asyncio.wait_for(reader.readexactly(size), WAIT_S)
            assert await reader.readexactly(2) == b"\r\n"
        while await asyncio.wait_for(reader.readline(), WAIT_S) != b"\r\n":
            pass
        return status, fields, body
    length = fields.get(b"content-length")
    if length is None:
        return status, fields, await asyncio.wait_for(reader.read(), WAIT_S)
    return status, fields, await asyncio.wait_for(reader.readexactly(int(length)), WAIT_S)
