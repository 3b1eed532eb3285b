"""One stream of HTTP/2 or HTTP/3: a request, and the way back for its answer (`pipeline.Exchange`).

Ends with its stream: when the client resets it or leaves, the task at work on it is cancelled, and no other.
"""

import asyncio
from asyncio import Future, Task
from typing import Protocol, cast

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import CONTENT_LENGTH, TE, Fields
from worker.message import Pinned, Request, Response, TunnelEnd
from worker.message import Stream as Body
from worker.pipeline import Finish
from worker.protocol.answer import JOIN_BYTES, client_gone
from worker.protocol.head import bad_request
from worker.protocol.lending import COPY_BYTES, PATIENCE_NS, Lending
from worker.protocol.pace import Pace
from worker.protocol.server import ConnectionServer
from worker.protocol.stream import CANCEL, INTERNAL_ERROR, NO_ERROR, Stream
from worker.protocol.stream_body import StreamBody
from worker.protocol.stream_end import StreamEnd
from worker.protocol.websocket import WEBSOCKET, is_accepted, new_key
from worker.reasons import Fault, Side
from worker.settings import Limits
from worker.upgrade import let_through

LONG_BYTES = 32 * 1024  # a body that is longer, and waited for, may get a wide window
WIDE_WINDOW = 1024 * 1024

_NO_FIELDS = Fields.trusted(b"")


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    server: ConnectionServer
    wide_streams: int
    copied_bytes: int

    @property
    def is_held_up(self) -> bool:
        """The client takes nothing more at the moment, whatever stream it is of."""
        ...

    def flush(self) -> None:
        """Send the frames that wait, as far as the client takes them."""
        ...

    def flush_soon(self) -> None:
        """Frames wait to be sent."""
        ...

    def may_widen(self) -> bool:
        """May one more stream have a wide window? Counts it, if so."""
        ...

    def may_copy(self, size: int) -> bool:
        """May so much more of stored bodies be copied for this client? Counts it, if so."""
        ...


class Exchange(Stream):
    """One request of a connection with streams."""

    __slots__ = (
        "_bodiless", "_copied", "_ctx", "_finish", "_lending", "_pace", "_responding", "_since_ns", "_task",
        "_tunnel", "_waiter", "_websocket_key", "_wide", "body", "connection", "expecting", "server",
    )  # fmt: skip

    def __init__(self, connection: Carrier) -> None:
        self.connection = connection
        self.server = connection.server
        self.body: StreamBody | None = None
        self.expecting = False  # the client waits for 100 (Continue) before it sends its body
        self._ctx: Context | None = None
        self._task: Task[None] | None = None
        self._bodiless = False  # HEAD
        self._responding = False  # the final status is written
        self._finish: Finish | None = None
        self._lending: Lending | None = None
        self._copied = 0  # bytes of it that are in memory of our own
        self._waiter: Future[None] | None = None
        self._wide = False
        self._tunnel: StreamEnd | None = None  # of an extended CONNECT, once it has data or an answer
        self._websocket_key = b""  # that the origin gets in place of the client's
        self._since_ns = connection.server.now_ns  # when it began, or last made progress
        self._pace: Pace | None = None  # of what the client takes

    # The connection's side.

    def begin(self, ctx: Context) -> None:
        """Hand the request to the pipeline."""
        self._ctx = ctx
        self._bodiless = ctx.request.method == b"HEAD"
        task = self.server.edge.handle(ctx, self)
        if task is not None and self._ctx is ctx and self._finish is None:
            self._task = task

    def ask_to_switch(self, request: Request) -> None:
        """Make of an extended CONNECT what the stages know: a GET that offers an upgrade (RFC 8441 5)."""
        self._websocket_key = new_key()
        request.method = b"GET"
        request.upgrade = WEBSOCKET
        request.fields.set(b"Sec-WebSocket-Key", self._websocket_key)

    def refuse(self, ctx: Context, error: EdgeError) -> None:
        """Answer a request that is none."""
        self._ctx = ctx
        self._bodiless = ctx.request.method == b"HEAD"
        if self.body is not None:
            self.body.close()
        self.server.edge.reject(ctx, error, self)

    def settle(self) -> None:
        """The stream has ended: let go of all that was at work for it."""
        ctx, self._ctx = self._ctx, None
        body, lending, waiter, finish, task = self.body, self._lending, self._waiter, self._finish, self._task
        tunnel = self._tunnel
        self._lending = self._finish = self._task = self._tunnel = None
        if self._wide:
            self.connection.wide_streams -= 1
        if body is not None:
            body.fail(client_gone("while its body was awaited"))
        if lending is not None:
            lending.end()
            self.connection.copied_bytes -= self._copied
        if ctx is None:
            return
        ctx.bytes_out = self.bytes_sent
        if body is not None:
            ctx.bytes_in = body.received
        if tunnel is not None and tunnel.is_open:
            tunnel.lost(self.code)
        elif finish is not None:
            finish(ctx)
        elif waiter is not None:
            if not waiter.done():
                waiter.set_result(None)
        elif task is not None:
            # Not at once: a task cancelled before its first step would never tell the observers.
            self.server.loop.call_soon(task.cancel)

    def drained(self) -> None:
        """The last piece has left."""
        if self._tunnel is not None:
            self._tunnel.drained()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def sweep(self, now_ns: int) -> bool:
        """End what has lasted too long; False if it is the whole connection's fault: half a head."""
        limits = self.server.limits
        lending = self._lending
        if lending is not None and lending.is_lent and now_ns - lending.since_ns >= PATIENCE_NS:
            self._hasten(lending)
        if self.fields is None:
            return (now_ns - self._since_ns) * 1e-9 <= limits.header_timeout_s
        if self.moved:
            self.moved = False
            self._since_ns = now_ns
        waited_s = (now_ns - self._since_ns) * 1e-9
        if self._tunnel is not None and self._tunnel.is_open and not self._tunnel.is_closing:
            return True  # the origin's end looks after it
        if self.has_output:
            if waited_s > limits.send_timeout_s or not self._keeps_pace(limits, now_ns):
                self.reset(CANCEL)
        elif self._responding:
            pass  # whoever is silent in an exchange of both sides: the origin's end looks after it
        elif self.body is not None:
            is_fast = self.body.keeps_pace(limits, now_ns)
            if self.body.is_waited_for and (waited_s > limits.body_timeout_s or not is_fast):
                self.body.fail(bad_request("body took too long", 408, Fault.REQUEST_TIMEOUT))
        return True

    def _keeps_pace(self, limits: Limits, now_ns: int) -> bool:
        """Does the client take enough that its answer will end?"""
        if not limits.send_rate or self.connection.is_held_up:
            return True  # what holds all streams up is not this one's fault
        if self._pace is None:
            self._pace = Pace(limits.send_rate, limits.send_timeout_s, self.bytes_sent, now_ns)
        return self._pace.keeps(self.bytes_sent, now_ns)

    def _hasten(self, lending: Lending) -> None:
        """A stored body that a slow client holds for too long is copied, or cut off where memory is short."""
        size = lending.left
        if size <= COPY_BYTES and self.connection.may_copy(size):
            self._copied = size
            lending.break_off()
        elif self.server.lends_too_much:
            self.reset(CANCEL)

    def cut_off(self) -> None:
        """The connection is about to be cut."""
        if self._tunnel is not None and self._tunnel.is_open:
            self._tunnel.cut_off(draining=self.server.draining)

    # Stream's, and what the request's body asks for.

    def receive(self, data: bytes) -> None:
        self.moved = True
        if self.protocol is not None:
            self._take_tunnel().receive(data)
            return
        self.expecting = False
        body = self.body
        if body is None:
            body = self.expect_body()
        body.feed(data)

    def receive_end(self, trailers: Fields | None) -> None:
        if self.protocol is not None:
            self._take_tunnel().receive_end()
            return
        body = self.body
        if body is None:
            body = self.expect_body()
        body.end(trailers)

    def _take_tunnel(self) -> StreamEnd:
        tunnel = self._tunnel
        if tunnel is None:
            tunnel = self._tunnel = StreamEnd(self)
        return tunnel

    def expect_body(self) -> StreamBody:
        """Get ready for the request's body."""
        fields = self.fields
        assert fields is not None
        length = int(fields.get(b"content-length") or b"0") if fields.mask & CONTENT_LENGTH else None
        self.body = StreamBody(self, length, self.server.limits.body_bytes)
        return self.body

    def body_read(self, size: int) -> None:
        self.consumed(size)
        self.connection.flush_soon()

    def body_wanted(self) -> None:
        connection = self.connection
        self.moved = True
        if self.expecting and not self._responding:
            self.expecting = False
            self.interim(100, _NO_FIELDS)
            connection.flush_soon()
        body = self.body
        if not self._wide and body is not None and body.received > LONG_BYTES and connection.may_widen():
            self._wide = True
            self.widen(WIDE_WINDOW)
            connection.flush_soon()

    def new_future(self) -> Future[None]:
        return self.server.loop.create_future()

    # pipeline.Exchange

    def send(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Give the stream a whole answer; a large stored body follows slice by slice."""
        body = response.body
        if ctx is not self._ctx or self._responding or self.closed:
            if hasattr(body, "release"):
                cast(Pinned, body).release()
            finish(ctx)
            return
        if self.protocol is not None and response.status < 300:
            if hasattr(body, "release"):
                cast(Pinned, body).release()
            self.server.edge.reject(ctx, _not_switched(ctx, response.status), self)
            return
        self._responding = True
        self._finish = finish
        status = response.status
        ctx.status = status
        connection = self.connection
        if type(body) is not bytes or self._bodiless or status == 304 or status == 204:
            self._send_carefully(response)
        else:
            self.respond(status, response.fields, self.server.date_line, len(body), body, False)
        connection.flush_soon()

    def _send_carefully(self, response: Response) -> None:
        """`send` for everything but a body in memory."""
        server = self.server
        body = response.body
        status = response.status
        pinned = None if body is None or isinstance(body, bytes) else cast(Pinned, body)
        length = len(cast(bytes, body)) if body is not None else 0
        whole: bytes | Lending | None = None
        if self._bodiless or status == 304 or status == 204:
            if response.length is not None or body is None:
                length = -1 if response.length is None else response.length
            if pinned is not None:
                pinned.release()
        elif pinned is None:
            whole = cast(bytes | None, body)
        elif length <= JOIN_BYTES:
            whole = pinned.copy_out()
        else:
            whole = self._lending = Lending(pinned, server.now_ns)
        self.respond(status, response.fields, server.date_line, -1 if status == 204 else length, whole, False)

    async def stream(self, ctx: Context, response: Response) -> None:
        """Give the stream an answer piece by piece; reset it if the origin breaks off."""
        if ctx is not self._ctx or self._responding or self.closed:
            raise client_gone("before its answer")
        body = cast(Body, response.body)
        status = response.status
        bodiless = self._bodiless or status == 304 or status == 204
        length = body.length if response.length is None else response.length
        self._responding = True
        ctx.status = status
        announced = -1 if length is None or status == 204 else length
        if self.protocol is not None and status < 300:
            await self._refuse_stream(ctx, _not_switched(ctx, status))
            return
        self.respond(status, response.fields, self.server.date_line, announced, None, not bodiless)
        self.connection.flush_soon()
        try:
            if not bodiless:
                await self._copy(ctx, body, length)
            await self._wait_closed()
        except asyncio.CancelledError:
            if self.closed:
                raise client_gone("before the end of its answer") from None
            self._cut(ctx)
            raise
        except BaseException:
            self._cut(ctx)
            raise
        if self.code != NO_ERROR:
            raise client_gone("before the end of its answer")

    async def _refuse_stream(self, ctx: Context, error: EdgeError) -> None:
        """Answer by a status alone in place of a Stream, whose reader ends the request."""
        ctx.error = error
        ctx.status = error.status
        self.respond(error.status, _NO_FIELDS, self.server.date_line, 0, b"", False)
        self.connection.flush_soon()
        await self._wait_closed()

    async def _copy(self, ctx: Context, body: Body, length: int | None) -> None:
        """Body to client, waiting while the client is slow."""
        sent = 0
        while piece := await body.read():
            sent += len(piece)
            if length is not None and sent > length:
                raise EdgeError(502, Side.ORIGIN, Fault.PROTOCOL, f"body of more than its {length} bytes")
            while not self.offer(piece):
                await self._wait()
            if self.closed:
                raise client_gone(f"after {sent} bytes of the body")
            self.connection.flush_soon()
        if length is not None and sent != length:
            raise EdgeError(
                502, Side.ORIGIN, Fault.INCOMPLETE, f"body ended after {sent} of the announced {length} bytes"
            )
        self.finish(body.trailers if _wants_trailers(ctx.request.fields) else None)
        self.connection.flush_soon()

    async def _wait_closed(self) -> None:
        while not self.closed:
            await self._wait()

    async def _wait(self) -> None:
        """Until the piece at hand has left, or the stream has ended."""
        self._waiter = self.new_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _cut(self, ctx: Context) -> None:
        """Reset the stream, so that nobody can take the part for the whole."""
        self._ctx = self._task = None
        self.connection.flush()  # a reset overtakes what waits, be it the head
        ctx.bytes_out = self.bytes_sent
        if self.body is not None:
            ctx.bytes_in = self.body.received
        self.reset(INTERNAL_ERROR)
        self.connection.flush_soon()

    def tunnel(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Answer 200 and join the stream with the origin (RFC 8441 5)."""
        origin = cast(TunnelEnd, response.body)
        fields = response.fields
        if ctx is not self._ctx or self._responding or self.closed:
            ctx.error = client_gone("before its answer")
            origin.close()
            finish(ctx)
            return
        if not is_accepted(self._websocket_key, fields.joined(b"sec-websocket-accept")):
            origin.close()
            error = EdgeError(502, Side.ORIGIN, Fault.PROTOCOL, "Sec-WebSocket-Accept is not that of our key")
            self.server.edge.reject(ctx, error, self)
            return
        fields.remove(b"sec-websocket-accept")
        self._responding = True
        self._task = None
        ctx.status = 101
        self.switch(fields, self.server.date_line)
        client = self._take_tunnel()
        client.open(ctx, finish)
        client.join(origin)
        origin.join(client)
        client.start()
        origin.start()
        self.connection.flush_soon()

    def inform(self, ctx: Context, status: int, fields: Fields) -> None:
        """Send an interim answer; none follows the final one."""
        if ctx is self._ctx and not self._responding and not self.closed:
            self.interim(status, fields)
            self.connection.flush_soon()


def _wants_trailers(fields: Fields) -> bool:
    """Did the client ask for the trailer section (RFC 9110 6.5.1)? On streams TE has no other value."""
    return bool(fields.mask & TE)


def _not_switched(ctx: Context, status: int) -> EdgeError:
    """Why an extended CONNECT must not get that 2xx: it would mean a tunnel (RFC 9110 9.3.6)."""
    if let_through(ctx):
        detail = f"answered {status} where 101 or a refusal was awaited"
        return EdgeError(502, Side.ORIGIN, Fault.PROTOCOL, detail)
    return bad_request("the route lets no WebSocket through (`upgrade`)", 501)
