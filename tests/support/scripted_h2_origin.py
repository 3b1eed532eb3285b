"""A scripted HTTP/2 origin on a free loopback port, on the `h2` package with its checks turned off.

    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.answer(request, b"hello", [("cache-control", "max-age=60")])

    with H2Origin(script) as origin:
        ...  # ask origin.url

A script runs for each request once its head is there. It may do what no decent server would; for what `h2`
cannot be made to say there are `wire.raw` and the frames of `hyperframe`. It runs in a thread of its own.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame

PATIENCE_S = 60.0
Pairs = Sequence[tuple[str, str]]


class H2Request:
    """One request as it comes."""

    def __init__(self, stream: int, fields: Pairs, connection: int) -> None:
        self.stream = stream
        self.pairs = list(fields)
        self.fields = dict(fields)
        self.connection = connection  # 1 for the origin's first connection, 2 for the second...
        self.body = bytearray()
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None  # code of its RST_STREAM

    @property
    def path(self) -> str:
        return self.fields[":path"]


class H2Wire:
    """An open connection, for scripts."""

    def __init__(
        self, origin: "H2Origin", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.origin = origin
        self.reader = reader
        self.writer = writer
        self.requests: dict[int, H2Request] = {}
        self.goaways: list[int] = []  # the codes that came
        self.news = asyncio.Event()
        self.reading = asyncio.Event()  # cleared by a script that wants nothing read any more
        self.reading.set()
        self.h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.local_settings = Settings(client=False, initial_values=dict(origin.settings))

    async def flush(self) -> None:
        """Send what `h2` has to say."""
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def raw(self, *frames: Frame | bytes) -> None:
        """Send these frames or bytes, whatever `h2` thinks of them."""
        await self.flush()
        self.writer.write(b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames))
        await self.writer.drain()

    async def head(
        self, request: H2Request, fields: Pairs = (), status: str = "200", end: bool = False
    ) -> None:
        """Head of an answer, final or interim."""
        self.h2.send_headers(request.stream, [(":status", status), *fields], end_stream=end)
        await self.flush()

    async def data(self, request: H2Request, piece: bytes, end: bool = False) -> None:
        """Some of the body, as the windows allow; gives up when the stream is reset."""
        at = 0
        while at < len(piece) and request.reset is None:
            window = min(self.h2.local_flow_control_window(request.stream), 16384)
            if window <= 0:
                await self.until(
                    lambda: request.reset is not None or self.h2.local_flow_control_window(request.stream) > 0
                )
                continue
            part = piece[at : at + window]
            at += len(part)
            self.h2.send_data(request.stream, part, end_stream=end and at == len(piece))
            with self.origin.changed:
                self.origin.sent_bytes += len(part)
                self.origin.changed.notify_all()
            await self.flush()
        if not piece and end:
            self.h2.end_stream(request.stream)
            await self.flush()

    async def trailers(self, request: H2Request, fields: Pairs) -> None:
        self.h2.send_headers(request.stream, list(fields), end_stream=True)
        await self.flush()

    async def answer(
        self, request: H2Request, body: bytes = b"", fields: Pairs = (), status: str = "200"
    ) -> None:
        """A whole answer with Content-Length."""
        await self.head(request, [*fields, ("content-length", str(len(body)))], status, end=not body)
        if body:
            await self.data(request, body, end=True)

    async def reset(self, request: H2Request, code: int) -> None:
        request.reset = code
        frame = RstStreamFrame(request.stream)
        frame.error_code = code
        await self.raw(frame)

    async def goaway(self, last: int, code: int = 0, words: bytes = b"") -> None:
        frame = GoAwayFrame(0)
        frame.last_stream_id, frame.error_code, frame.additional_data = last, code, words
        await self.raw(frame)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that news from the edge make true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def whole(self, request: H2Request) -> bytes:
        """The request's body, once it has ended."""
        await self.until(lambda: request.ended or request.reset is not None)
        return bytes(request.body)

    async def stall(self) -> None:
        """Wait until the test calls `origin.release()` or leaves the origin."""
        with self.origin.changed:
            self.origin.stalled += 1
            self.origin.changed.notify_all()
        await asyncio.wait_for(self.origin.gate.wait(), PATIENCE_S)

    def cut(self) -> None:
        """End the connection at once."""
        self.writer.transport.abort()

    # what comes

    def take(self, event: Event) -> None:
        stream = getattr(event, "stream_id", 0) or 0
        if isinstance(event, RequestReceived):
            request = H2Request(stream, [tuple(pair) for pair in event.headers], self.origin.connections)  # type: ignore[misc]
            self.requests[stream] = request
            self.origin.note(request)
            self.origin.spawn(self.origin.script(self, request))
        elif isinstance(event, ConnectionTerminated):
            self.goaways.append(int(event.error_code))
        elif isinstance(event, PingAckReceived):
            pass
        elif (known := self.requests.get(stream)) is not None:
            self._take(event, known)

    def _take(self, event: Event, request: H2Request) -> None:
        if isinstance(event, DataReceived):
            request.body += event.data
            with self.origin.changed:
                self.origin.read_bytes += len(event.data)
            if self.origin.gives_windows and event.flow_controlled_length:
                with contextlib.suppress(ProtocolError):  # of a stream that has ended
                    self.h2.acknowledge_received_data(event.flow_controlled_length, request.stream)
        elif isinstance(event, TrailersReceived):
            request.trailers = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, StreamEnded):
            request.ended = True
        elif isinstance(event, StreamReset):
            request.reset = int(event.error_code)
        with self.origin.changed:
            self.origin.changed.notify_all()


Script = Callable[[H2Wire, H2Request], Awaitable[None]]


class H2Origin:
    """Use as a context manager. Everything public may be read from any thread while it runs.

    `settings`: those of HTTP/2 it starts with. `gives_windows=False`: never gives a window back. `on_connect`
    is played in place of HTTP/2 on every new connection.
    """

    def __init__(
        self,
        script: Script,
        *,
        settings: dict[int, int] | None = None,
        gives_windows: bool = True,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        on_connect: Callable[[H2Wire], Awaitable[None]] | None = None,
    ) -> None:
        self.script = script
        self.settings = {SettingCodes(code): value for code, value in (settings or {}).items()}
        self.gives_windows = gives_windows
        self.tls = tls
        self.on_connect = on_connect
        self.host = host
        self.port = port
        self.requests: list[H2Request] = []
        self.wires: list[H2Wire] = []
        self.connections = 0  # accepted so far
        self.open_connections = 0
        self.stalled = 0  # scripts that have reached a stall
        self.sent_bytes = 0  # of bodies
        self.read_bytes = 0
        self.errors: list[BaseException] = []  # broken scripts; raised on leaving
        self.changed = threading.Condition()
        self.gate: asyncio.Event
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="scripted-h2-origin", daemon=True)
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(PATIENCE_S):
            raise TimeoutError("the scripted origin did not start")
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        if self.errors and value is None:
            raise self.errors[0]

    def release(self) -> None:
        """Let every stalled script go on, and those that come later pass."""
        self._loop.call_soon_threadsafe(self.gate.set)

    def wait_for(self, condition: Callable[[Self], object]) -> None:
        """Block until `condition(origin)` holds; looked at whenever something changes."""
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self), PATIENCE_S):
                raise TimeoutError(f"the origin at {self.url} did not come to the expected state")

    def note(self, request: H2Request) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def spawn(self, script: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._play(script))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, script: Awaitable[None]) -> None:
        try:
            await script
        except (OSError, ProtocolError):
            pass  # the edge may leave at any time
        except Exception as error:
            self.errors.append(error)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.gate, self._stop = asyncio.Event(), asyncio.Event()
        sock = socket.create_server((self.host, self.port), backlog=1024)
        self.port = sock.getsockname()[1]
        server = await asyncio.start_server(self._accept, sock=sock, ssl=self.tls)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for wire in self.wires:
            wire.cut()
        await asyncio.sleep(0.01)  # lets the last tasks begin, so that they can clean up
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # aborted transports let go of their sockets a turn later

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        wire = H2Wire(self, reader, writer)
        with self.changed:
            self.connections += 1
            self.open_connections += 1
            self.wires.append(wire)
            self.changed.notify_all()
        try:
            if self.on_connect is not None:
                await self._play(self.on_connect(wire))
            else:
                await self._read(wire)
        except (OSError, ProtocolError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            with self.changed:
                self.open_connections -= 1
                self.changed.notify_all()

    async def _read(self, wire: H2Wire) -> None:
        wire.h2.initiate_connection()
        await wire.flush()
        while data := await wire.reader.read(65536):
            for event in wire.h2.receive_data(data):
                wire.take(event)
            wire.news.set()
            if wire.reading.is_set():
                await wire.flush()
            await wire.reading.wait()
        wire.news.set()
