"""The way back: answers written to one HTTP/1 connection (RFC 9112 6 and 7), with back-pressure.

`Answering` is the half of a connection that offers `pipeline.Exchange`; `h1.H1Protocol` is the other half
and tells it what the request allows. The transport is told to hold nothing back silently: "paused" means
exactly that bytes of ours still lie in it, which is what tells when a stored body may be given back.
"""

import asyncio
import socket
import struct
from asyncio import AbstractEventLoop, Future, Task
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import TE, Fields
from worker.message import Pinned, Response, Stream, TunnelEnd
from worker.pipeline import Finish
from worker.protocol.flow import DISCARD_BYTES, RequestBody
from worker.protocol.lending import COPY_BYTES, PATIENCE_NS, Lending
from worker.protocol.tunnel import ClientEnd
from worker.reasons import Fault, Side

if TYPE_CHECKING:
    from worker.protocol.server import ConnectionServer

JOIN_BYTES = 32 * 1024  # up to this size a body is copied behind its head: cheaper than a second buffer

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_KEEP_ALIVE = b"Connection: keep-alive\r\n"
_CLOSE = b"Connection: close\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


def status_line(status: int) -> bytes:
    """b"HTTP/1.1 404 Not Found" and its CRLF; the phrase of an unknown status is empty."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def client_gone(detail: str) -> EdgeError:
    """The error for a client that left before its answer was whole; 499 is only ever logged."""
    return EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE, detail)


class Answering:
    """One connection's writing half: the Exchange of the request in hand."""

    __slots__ = (
        "_bodiless", "_body", "_ctx", "_expecting", "_finish", "_http10", "_keep", "_lending", "_loop",
        "_paused", "_pending", "_responding", "_task", "_transport", "_writable", "server",
    )  # fmt: skip

    def __init__(self, server: "ConnectionServer") -> None:
        self.server = server
        self._loop: AbstractEventLoop = server.loop
        self._transport: asyncio.Transport | None = None
        # the request in hand
        self._ctx: Context | None = None
        self._task: Task[None] | None = None
        self._body: RequestBody | None = None
        self._expecting = False  # the client waits for 100 (Continue) before it sends its body
        self._keep = True  # the connection lives on behind this answer
        self._http10 = False
        self._bodiless = False  # HEAD
        self._responding = False  # the final status is written
        # what goes out
        self._paused = False  # the transport holds bytes that the client has not taken
        self._writable: Future[None] | None = None
        self._pending = b""  # a head waiting for the first piece of its body, to leave in one write
        self._lending: Lending | None = None  # a stored body on its way
        self._finish: Finish | None = None

    # What the reading half does.

    def _become_idle(self) -> None:
        """Ready for the next request, which may have come already."""
        raise NotImplementedError

    def _done(self) -> None:
        """The answer is written, the request may not be read."""
        raise NotImplementedError

    def _leave(self) -> bytes:
        """The transport is somebody else's from now on; what was read ahead on it."""
        raise NotImplementedError

    # pipeline.Exchange

    def send(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Write a whole answer; a large stored body follows slice by slice as the client takes it."""
        transport = self._transport
        body = response.body
        if ctx is not self._ctx or self._responding or transport is None or transport.is_closing():
            self._drop(ctx, response, finish)
            return
        status = response.status
        if (
            type(body) is bytes
            and len(body) <= JOIN_BYTES
            and not self._bodiless
            and self._body is None
            and status != 304
            and status != 204
        ):
            length = len(body)
        elif status == 304 and body is None and response.length is None and self._body is None:
            body, length = b"", -1
        else:
            self._send_carefully(transport, ctx, response, finish)
            return
        server = self.server
        if server.draining:
            self._keep = False
        keep = self._keep
        message = response.fields.assemble(
            STATUS_LINES.get(status) or status_line(status),
            server.date_line,
            length,
            b"" if keep and not self._http10 else self._connection_line(),
            body,
        )
        ctx.status = status
        ctx.bytes_out = len(message)
        transport.write(message)
        self._ctx = None
        if keep:
            self._become_idle()
        else:
            self._done()
        finish(ctx)

    def _drop(self, ctx: Context, response: Response, finish: Finish) -> None:
        """There is nobody to answer any more."""
        if hasattr(response.body, "release"):
            cast(Pinned, response.body).release()
        if ctx is self._ctx and not self._responding:
            self._keep = False
            self._done()
        finish(ctx)

    def _send_carefully(
        self, transport: asyncio.Transport, ctx: Context, response: Response, finish: Finish
    ) -> None:
        """`send` for all but a small body in memory, or a 304, that answers a request without a body."""
        body = response.body
        status = response.status
        pinned = None if body is None or isinstance(body, bytes) else cast(Pinned, body)
        length = len(cast(bytes, body)) if body is not None else 0
        if self._bodiless or status == 304 or status == 204:
            if response.length is not None or body is None:
                length = -1 if response.length is None else response.length
            if pinned is not None:
                pinned.release()
            body = pinned = None
        head = self._head(status, response.fields, -1 if status == 204 else length)
        ctx.status = status
        ctx.bytes_out = len(head)
        if pinned is not None:
            ctx.bytes_out += length
            if length > JOIN_BYTES:
                self._lending = Lending(pinned, self.server.now_ns)
                self._finish = finish
                transport.write(head)
                self._push()
                return
            whole = b"".join((head, *pinned.views()))
            pinned.release()
            transport.write(whole)
        elif body:
            ctx.bytes_out += length
            transport.writelines((head, cast(bytes, body)))
        else:
            transport.write(head)
        self._done()
        finish(ctx)

    def _head(self, status: int, fields: Fields, length: int, framing: bytes = b"") -> bytes:
        """Status line to empty line; no Content-Length where `length` is negative."""
        self._responding = True
        if self.server.draining:
            self._keep = False
        body = self._body
        if body is not None and not body.ended:
            # Keep the connection only if what is still to come of the request can be read away cheaply.
            left = body.left
            if self._expecting or (left is not None and left > DISCARD_BYTES):
                self._keep = False
        return fields.assemble(
            status_line(status), self.server.date_line, length, framing + self._connection_line(), b""
        )

    def _connection_line(self) -> bytes:
        if self._keep:
            return _KEEP_ALIVE if self._http10 else b""
        return _CLOSE

    def _push(self) -> None:
        """Write slices until the transport holds one back; when it holds none, it has taken them all."""
        transport = self._transport
        lending = self._lending
        if transport is None or lending is None:
            return
        while not self._paused:
            if transport.is_closing():
                return  # a write failed: connection_lost comes
            piece = lending.take()
            if piece is None:
                self._end_lending()
                return
            transport.write(piece)

    def _end_lending(self) -> None:
        """The last byte left, or the client did."""
        lending, finish, ctx = self._lending, self._finish, self._ctx
        assert lending is not None and finish is not None and ctx is not None
        self._lending = self._finish = None
        lending.end()
        self._done()
        finish(ctx)

    def _hasten(self, now_ns: int) -> None:
        """A stored body that a slow client holds for too long is copied, or cut off where memory is short."""
        lending, transport = self._lending, self._transport
        if (
            lending is None
            or transport is None
            or not lending.is_lent
            or now_ns - lending.since_ns < PATIENCE_NS
        ):
            return
        if lending.left <= COPY_BYTES:
            lending.break_off()
        elif self.server.lends_too_much:
            transport.abort()

    async def stream(self, ctx: Context, response: Response) -> None:
        """Write an answer piece by piece; cut the connection if either side breaks off."""
        transport = self._transport
        if ctx is not self._ctx or self._responding or transport is None or transport.is_closing():
            raise client_gone("before its answer")
        body = cast(Stream, response.body)
        status = response.status
        bodiless = self._bodiless or status == 304 or status == 204
        length = body.length if response.length is None else response.length
        chunked = length is None and not bodiless and not self._http10
        unframed = length is None and not bodiless and self._http10
        if unframed:
            self._keep = False  # the end of the connection is the end of the body (RFC 9112 6.3)
        head = self._head(
            status,
            response.fields,
            -1 if length is None or status == 204 else length,
            _CHUNKED if chunked else b"",
        )
        ctx.status = status
        ctx.bytes_out = len(head)
        self._pending = head
        if bodiless:
            self._flush()
            self._done()
            return
        # If the first piece is there already it leaves together with the head; else the head leaves alone.
        self._loop.call_soon(self._flush)
        try:
            await self._copy(ctx, body, length, chunked)
        except asyncio.CancelledError:
            if self._transport is None or self._transport.is_closing():
                raise client_gone("before the end of its answer") from None
            self._cut(reset=unframed)
            raise
        except BaseException:
            self._cut(reset=unframed)
            raise
        self._done()

    async def _copy(self, ctx: Context, body: Stream, length: int | None, chunked: bool) -> None:
        """Body to client, waiting while the client is slow."""
        sent = 0
        while piece := await body.read():
            sent += len(piece)
            if length is not None and sent > length:
                raise EdgeError(502, Side.ORIGIN, Fault.PROTOCOL, f"body of more than its {length} bytes")
            ctx.bytes_out += self._write_chunk(piece) if chunked else self._write(piece)
            if self._paused:
                await self._wait_writable()
            if self._transport is None or self._transport.is_closing():
                raise client_gone(f"after {sent} bytes of the body")
        if length is not None and sent != length:
            raise EdgeError(
                502, Side.ORIGIN, Fault.INCOMPLETE, f"body ended after {sent} of the announced {length} bytes"
            )
        if chunked:
            ctx.bytes_out += self._write(b"0\r\n%b\r\n" % _wanted_trailers(ctx, body))
        else:
            self._flush()

    def _write_chunk(self, piece: bytes) -> int:
        size = b"%x\r\n" % len(piece)
        if len(piece) <= JOIN_BYTES:
            return self._write(b"%b%b\r\n" % (size, piece))
        head, self._pending = self._pending + size, b""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines((head, piece, b"\r\n"))
        return len(size) + len(piece) + 2

    def _write(self, piece: bytes) -> int:
        """Write `piece`, together with a head that waits for it."""
        head, self._pending = self._pending, b""
        if self._transport is not None and not self._transport.is_closing():
            if len(piece) <= JOIN_BYTES:
                self._transport.write(head + piece)
            else:
                self._transport.writelines((head, piece))
        return len(piece)

    def _flush(self) -> None:
        if self._pending:
            self._write(b"")

    async def _wait_writable(self) -> None:
        self._writable = self._loop.create_future()
        try:
            await self._writable
        finally:
            self._writable = None

    def tunnel(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Write the 101 and give the connection away: what follows on it is not HTTP (RFC 9110 15.2.2)."""
        origin = cast(TunnelEnd, response.body)
        transport = self._transport
        if ctx is not self._ctx or self._responding or transport is None or transport.is_closing():
            ctx.error = client_gone("before its answer")
            origin.close()
            finish(ctx)
            return
        ctx.status = 101
        is_full = self._paused
        client = ClientEnd(self.server, transport, ctx, finish, held=self._leave(), is_full=is_full)
        client.write(
            response.fields.assemble(
                status_line(101), self.server.date_line, -1, b"Connection: Upgrade\r\n", b""
            )
        )
        client.join(origin)
        origin.join(client)
        client.start()
        origin.start()

    def inform(self, ctx: Context, status: int, fields: Fields) -> None:
        """Send an interim answer; HTTP/1.0 knows none (RFC 9110 15.2), and none follows the final one."""
        if ctx is self._ctx and not self._http10 and not self._responding:
            self._write(b"".join((status_line(status), fields.encode(), b"\r\n")))

    def _continue_request(self) -> None:
        """Ask for the body, if the client waits to be asked (RFC 9110 10.1.1)."""
        if self._expecting and not self._responding:
            self._expecting = False
            self._write(_CONTINUE)

    def _cut(self, *, reset: bool) -> None:
        """End the connection so that nobody can take the part for the whole. `reset`: where the end of the
        connection would mean the end of the body, only RST tells the difference."""
        transport = self._transport
        if self._ctx is not None and self._body is not None:
            self._ctx.bytes_in = self._body.received
        self._pending = b""
        self._ctx = self._task = None
        self._keep = False
        if transport is not None:
            if reset:
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()


def _wanted_trailers(ctx: Context, body: Stream) -> bytes:
    """The trailer section, if there is one and the client asked for it (RFC 9110 6.5.1)."""
    fields = ctx.request.fields
    if body.trailers is None or not fields.mask & TE:
        return b""
    codings = (fields.joined(b"te") or b"").lower().split(b",")
    return body.trailers.encode() if b"trailers" in [coding.strip() for coding in codings] else b""
