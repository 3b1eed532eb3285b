"""A whole HTTP/1 connection: any bytes, cut anywhere, from a client that may be slow to take answers. Each
request is answered or refused, in order, and what goes out is nothing but answers. However the bytes were
cut, the same requests are understood, and a client that falls silent is sent away.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, cast

from tests.fuzz.take import Take, cut
from tests.support.h1_edge import Pieces, error_page, text
from worker.context import Context
from worker.fields import Fields
from worker.message import Request, Response, Stream
from worker.pipeline import Edge, Pipeline
from worker.protocol.h1 import H1Protocol, H1Server
from worker.settings import Limits, ListenerSettings

HOST = b"Host: a\r\n"
SEEDS = (
    b"\0\0GET /g HTTP/1.1\r\n" + HOST + b"\r\nGET /s HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\7\1POST /b HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabcHEAD /s HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\1\0POST /b HTTP/1.1\r\n" + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx: y\r\n\r\n"
    + b"GET /g HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\5\1POST /n HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhelloGET /",
    b"\0\0GET /s HTTP/1.0\r\n\r\n",
    b"\3\0GET http://a/g?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\nOPTIONS * HTTP/1.1\r\n" + HOST
    + b"Connection: close, x\r\nX: y\r\n\r\n",
    b"\0\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\x16\3\1\2\0\1\0\1\xfc\3\3",
)  # fmt: skip
WORDS = (
    b"\r\n", b"\n", b"\r\n\r\n", b"GET /g HTTP/1.1\r\n" + HOST + b"\r\n", b"POST /n HTTP/1.1\r\n" + HOST,
    b"Content-Length: 5\r\n", b"Content-Length: 99999999\r\n", b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n", b"HTTP/1.0", b" ", b":", HOST, b"HEAD /s", b"/b", b"x" * 600,
)  # fmt: skip

LIMITS = Limits(header_bytes=2048, header_count=16, request_line_bytes=512, body_bytes=4096, pipelined=4)
LONG_NS = 3600 * 10**9
TURNS = 6  # of the loop: what an answer of the stages below takes at most
PEER = ("192.0.2.1", 4711)

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n\0]*\r\n((?:[!#-'*+.0-9A-Z^-z|~-]+: [^\r\n\0]*\r\n)*)\r\n")

loop = asyncio.new_event_loop()


class Wire(asyncio.Transport):
    """A transport whose client is this target; holds what is written until `drain` where that is slow."""

    def __init__(self, is_slow: bool) -> None:
        super().__init__()
        self.taken = b""
        self.ended = self.is_reading_paused = False
        self.protocol: Any = None
        self._is_slow = is_slow
        self._held = b""
        self._is_lost = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return PEER if name == "peername" else default

    def write(self, data: Any) -> None:
        if self.ended or not data:
            return
        if not self._is_slow:
            self.taken += bytes(data)
            return
        had = bool(self._held)
        self._held += bytes(data)
        if not had:
            self.protocol.pause_writing()

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(bytes(piece) for piece in pieces))

    def drain(self) -> None:
        """The client takes what there is."""
        if self._held and not self._is_lost:
            self.taken += self._held
            self._held = b""
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return len(self._held)

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self._is_lost

    def close(self) -> None:
        self.taken += self._held
        self._held = b""
        self.abort()

    def abort(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            loop.call_soon(self.protocol.connection_lost, None)


class Edges:
    """The stages behind the connection: an answer at once, by and by, after the body, or without it."""

    def __init__(self) -> None:
        self.read: list[tuple[bytes, bytes, bytes | None]] = []  # method, target, body where it was read
        self.finished: list[Context] = []
        pipeline = Pipeline(
            gates=[self.gate], fetch=self.fetch, send_filters=[], observers=[self.finished.append],
            error_page=error_page, spawn=self.spawn,
        )  # fmt: skip
        edge = Edge(self.note, lambda request: (None, pipeline), pipeline)
        self.server = H1Server(edge, LIMITS, ListenerSettings("http", "127.0.0.1", 80), loop=loop)

    def note(self, request: Request) -> None:
        if request.body is None:
            self.read.append((request.method, request.target, None))

    def gate(self, ctx: Context) -> Response | None:
        return text(ctx) if ctx.request.path == b"/g" else None

    async def fetch(self, ctx: Context) -> Response:
        request = ctx.request
        if request.body is not None and request.path != b"/n":
            body = b""
            while piece := await request.body.read():
                body += piece
            self.read.append((request.method, request.target, body))
        if request.path == b"/s":
            await asyncio.sleep(0)
            return Response(200, Fields.of([(b"X-Path", b"/s")]), cast(Stream, Pieces(b"one", b"two")), None)
        return text(ctx)

    @staticmethod
    def spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return loop.create_task(work)


def check(data: bytes) -> None:
    take = Take(data)
    step, is_slow = take.below(64), take.below(2)
    came = take.rest()
    whole, _ = _talk([came] if came else [], False)
    pieces = [*cut(came[: 64 * step], step or 1), came[64 * step :]]
    edges, closed_early = _talk([piece for piece in pieces if piece], bool(is_slow))
    # Which request of a pipeline had a body that was good as far as it came depends on how far it came.
    if not closed_early:
        assert edges.read == whole.read, "cut otherwise, other requests are read"


def _talk(pieces: list[bytes], is_slow: bool) -> tuple[Edges, bool]:
    """What the edge made of a connection on which these came; whether it was closed before all had come."""
    edges, wire = Edges(), Wire(is_slow)
    protocol: H1Protocol = edges.server.factory()
    wire.protocol = protocol
    protocol.connection_made(wire)
    left = list(pieces)
    turns = 0
    while left and not wire.is_closing():
        if not wire.is_reading_paused:
            protocol.data_received(left.pop(0))
            turns = 0
        _turn(wire)
        turns += 1
        assert turns < 100, "it reads no more, and does nothing"
    for _ in range(TURNS * (len(edges.finished) + 8)):
        _turn(wire)
    closed_early = bool(left) or wire.ended
    _sent_away(edges, wire)
    _are_answers(wire.taken, edges.finished)
    return edges, closed_early


def _turn(wire: Wire) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()
    wire.drain()


def _sent_away(edges: Edges, wire: Wire) -> None:
    """Whatever it waits for, it does not wait for ever; then nothing of it is left."""
    server = edges.server
    for hours in (1, 2, 3, 4):
        server.sweep(server.now_ns + hours * LONG_NS)
        for _ in range(TURNS):
            _turn(wire)
    assert wire.is_closing() and not server.connections
    assert not asyncio.all_tasks(loop)


def _are_answers(out: bytes, finished: list[Context]) -> None:
    """Nothing but answers, one for each request that was taken in, in their order."""
    at = 0
    for number, ctx in enumerate(finished, 1):
        while True:
            match = _HEAD.match(out, at)
            if match is None:
                # The client fell silent in the middle of a request, or was cut off.
                assert at == len(out) and number == len(finished), out[at:]
                return
            at = match.end()
            if match[1][0] != ord("1"):
                break
        assert int(match[1]) == ctx.status
        at = _behind_body(out, at, match, ctx)
    assert at == len(out), "more than was asked for"


def _behind_body(out: bytes, at: int, head: "re.Match[bytes]", ctx: Context) -> int:
    lines = head[2].lower().split(b"\r\n")
    values = dict(line.split(b": ", 1) for line in lines if line)
    assert len(values) == len(lines) - 1
    path = values.get(b"x-path")
    assert path is None or path == ctx.request.path.lower()
    if ctx.request.method == b"HEAD" or head[1] in (b"204", b"304"):
        return at
    if b"content-length" in values:
        end = at + int(values[b"content-length"])
        assert end <= len(out)
        return end
    if values.get(b"transfer-encoding") == b"chunked":
        end = out.index(b"0\r\n\r\n", at) + 5
        assert out[at:end] == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        return end
    assert values[b"connection"] == b"close"
    return len(out)
