"""A scripted HTTP/1.1 origin on a free loopback port: expect this, answer that, byte for byte.

It speaks raw sockets on purpose, so that a test can send what no decent server would: garbage, half a
head, a reset in the middle of a body, nothing at all. It runs in a thread with its own loop, so the code
under test may be a coroutine, another thread or another process.

    with ScriptedOrigin(lambda request: answer(b"hello", headers="Cache-Control: max-age=60")) as origin:
        ...  # ask origin.url
    assert origin.requests[0].target == "/a"

A handler gets each recorded request and returns what to do: bytes to send, or a script, an async function
of the open `Wire`. A list of those is also a handler: one step per request, the last one for all others.
"""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

Script = Callable[["Wire"], Awaitable[None]]
Step = bytes | Script
Handler = Callable[["Recorded"], Step]

PATIENCE_S = 60.0  # how long a script waits for the test before it gives up
PIECE_BYTES = 64 * 1024


class Reset(Exception):
    """Ends a script by a TCP reset of the connection."""


class Hangup(Exception):
    """Ends a script by an orderly close of the connection."""


@dataclass(slots=True)
class Recorded:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]  # names in lower case; repeated lines joined with ", "
    body: bytes  # decoded; empty when the origin was started with read_body=False or keep_bodies=False
    head: bytes  # the raw head with its empty line
    connection: int  # 1 for the origin's first connection, 2 for the second...
    body_bytes: int = 0  # size of the body, also when it is not kept
    trailers: dict[str, str] = field(default_factory=dict)


class Wire:
    """The open connection, for scripts."""

    def __init__(self, origin: "ScriptedOrigin", reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.origin = origin
        self.reader = reader
        self.writer = writer
        self.sent_bytes = 0
        self.read_bytes = 0

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer's window is full."""
        self.writer.write(data)
        await self.writer.drain()
        self.sent_bytes += len(data)
        with self.origin.changed:
            self.origin.sent_bytes += len(data)
            self.origin.changed.notify_all()

    async def read(self, limit: int = PIECE_BYTES) -> bytes:
        """Some raw bytes of what the peer sends; b"" at its end."""
        data = await self.reader.read(limit)
        self.read_bytes += len(data)
        with self.origin.changed:
            self.origin.read_bytes += len(data)
            self.origin.changed.notify_all()
        return data

    async def stall(self) -> None:
        """Wait until the test calls `origin.release()` or leaves the origin."""
        with self.origin.changed:
            self.origin.stalled += 1
            self.origin.changed.notify_all()
        await asyncio.wait_for(self.origin.gate.wait(), PATIENCE_S)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        raise Reset

    def close(self) -> None:
        """Close the connection in order, after what was written."""
        raise Hangup


def answer(body: bytes = b"", status: str = "200 OK", headers: str | Sequence[str] = ()) -> bytes:
    """A whole answer with Content-Length. `headers`: one line or several, without CRLF."""
    lines = [headers] if isinstance(headers, str) else headers
    extra = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def chunked(*pieces: bytes, trailers: Sequence[str] = (), headers: Sequence[str] = ()) -> bytes:
    """A whole answer in the chunked transfer coding, a chunk per piece."""
    head = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked", ""))
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    tail = "".join(f"{line}\r\n" for line in trailers)
    return head.encode("latin-1") + body + b"0\r\n" + tail.encode("latin-1") + b"\r\n"


def script(*steps: bytes | float | str) -> Script:
    """A script from plain steps: bytes are sent, numbers are pauses in seconds, and the words
    "stall" (until `release`), "reset" and "close" do what they say."""

    async def play(wire: Wire) -> None:
        for step in steps:
            if isinstance(step, bytes):
                await wire.write(step)
            elif isinstance(step, str):
                if step == "stall":
                    await wire.stall()
                elif step == "reset":
                    wire.reset()
                elif step == "close":
                    wire.close()
                else:
                    raise ValueError(f"no step is called {step!r}; there are stall, reset, close")
            else:
                await wire.pause(step)

    return play


class ScriptedOrigin:
    """Use as a context manager. Everything public may be read from any thread while it runs.

    `read_body=False` hands over as soon as the head is there: the script reads the body itself, or not.
    `keep_bodies=False` counts request bodies without keeping them. `tls`: a server-side context.
    `on_connect`: a script for every new connection, played before anything is read from it.
    """

    def __init__(
        self,
        handler: Handler | Sequence[Step],
        *,
        read_body: bool = True,
        keep_bodies: bool = True,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        on_connect: Script | None = None,
    ) -> None:
        self.handler = handler
        self.on_connect = on_connect
        self.read_body = read_body
        self.keep_bodies = keep_bodies
        self.tls = tls
        self.host = host
        self.port = port
        self.requests: list[Recorded] = []
        self.connections = 0  # accepted so far
        self.open_connections = 0
        self.stalled = 0  # scripts that have reached a stall
        self.sent_bytes = 0
        self.read_bytes = 0  # raw bytes read by scripts, and body bytes read before them
        self.errors: list[BaseException] = []  # broken scripts; raised on leaving
        self.changed = threading.Condition()
        self.gate: asyncio.Event
        self.loop: asyncio.AbstractEventLoop
        self.stop: asyncio.Event
        self.thread = threading.Thread(target=self._run, name="scripted-origin", daemon=True)
        self.ready = threading.Event()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self.thread.start()
        if not self.ready.wait(PATIENCE_S):
            raise TimeoutError("the scripted origin did not start")
        if self.errors:
            raise self.errors[0]
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(PATIENCE_S)
        if self.errors and value is None:
            raise self.errors[0]

    def release(self) -> None:
        """Let every stalled script go on, and those that come later pass."""
        self.loop.call_soon_threadsafe(self.gate.set)

    def wait_for(self, condition: Callable[[Self], bool], timeout_s: float = 30.0) -> None:
        """Block until `condition(origin)` holds; looked at whenever a counter changes."""
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError(f"the origin at {self.url} did not come to the expected state")

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.gate, self.stop = asyncio.Event(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.create_server((self.host, self.port), family=family, backlog=1024) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            self.ready.set()  # the kernel accepts from here on
            self.loop.add_reader(listener, self._accept, listener, tasks)
            await self.stop.wait()
            self.loop.remove_reader(listener)
            await asyncio.sleep(0.01)  # lets the last tasks begin, so that they can clean up
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # aborted transports let go of their sockets a turn later

    def _accept(self, listener: socket.socket, tasks: set[asyncio.Task[None]]) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:  # gone again
            return
        accepted.setblocking(False)
        task = self.loop.create_task(self._serve_socket(accepted))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _serve_socket(self, accepted: socket.socket) -> None:
        reader = asyncio.StreamReader(loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        try:
            transport, _ = await self.loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self.tls)
        except OSError:  # a failed TLS handshake
            return
        await self._connection(reader, asyncio.StreamWriter(transport, protocol, reader, self.loop))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self.changed:
            self.connections += 1
            self.open_connections += 1
            number = self.connections
            self.changed.notify_all()
        wire = Wire(self, reader, writer)
        try:
            if self.on_connect is not None:
                await self.on_connect(wire)
            while request := await self._read_request(wire, number):
                step = self._next_step(request)
                if isinstance(step, bytes):
                    await wire.write(step)
                else:
                    await step(wire)
        except Reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        except (Hangup, OSError, EOFError, asyncio.IncompleteReadError):
            pass  # the peer may leave at any time
        except Exception as error:
            self.errors.append(error)
        finally:
            await self._close(writer)
            with self.changed:
                self.open_connections -= 1
                self.changed.notify_all()

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        try:
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), 5)
        except (OSError, TimeoutError):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
            raise

    def _next_step(self, request: Recorded) -> Step:
        with self.changed:
            self.requests.append(request)
            count = len(self.requests)
            self.changed.notify_all()
        if callable(self.handler):
            return self.handler(request)
        return self.handler[min(count, len(self.handler)) - 1]

    async def _read_request(self, wire: Wire, number: int) -> Recorded | None:
        try:
            head = await wire.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        request_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = request_line.split(" ")
        request = Recorded(method, target, _dictionary(lines), b"", head, number)
        if self.read_body:
            await self._read_body(wire, request)
        return request

    async def _read_body(self, wire: Wire, request: Recorded) -> None:
        if request.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await wire.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await self._read_exactly(wire, request, size)
                await wire.reader.readexactly(2)
            lines = []
            while (line := await wire.reader.readuntil(b"\r\n")) != b"\r\n":
                lines.append(line.decode("latin-1").removesuffix("\r\n"))
            request.trailers = _dictionary(lines)
        else:
            await self._read_exactly(wire, request, int(request.headers.get("content-length", "0")))

    async def _read_exactly(self, wire: Wire, request: Recorded, size: int) -> None:
        pieces = [request.body]
        while size:
            piece = await wire.read(min(size, PIECE_BYTES))
            if not piece:
                raise EOFError
            size -= len(piece)
            request.body_bytes += len(piece)
            if self.keep_bodies:
                pieces.append(piece)
        request.body = b"".join(pieces)


def _dictionary(lines: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
