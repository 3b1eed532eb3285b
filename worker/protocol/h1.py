"""HTTP/1.0 and 1.1 towards clients (RFC 9112): one `H1Protocol` per connection, one `H1Server` per listener.

A connection answers strictly in order, one request at a time. The whole head is taken as bytes and read
three times in C (our line pattern, `Fields.parse`, llhttp) rather than by callbacks per field; an answer
that a gate gives is written before `data_received` returns, without a task or a future. The connection is
itself the `Exchange` of the request it has in hand.

Nothing here asks a timer: `H1Server.sweep` runs about every second and looks at every connection, so
timeouts are late by up to one sweep.
"""

import asyncio
import socket
import struct
import time
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from typing import Protocol, cast

from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRANSFER_ENCODING,
    FieldError,
    Fields,
    TooManyFields,
)
from worker.message import Pinned, Request, Response, Stream
from worker.pipeline import Exchange, Finish
from worker.protocol.flow import DISCARD_BYTES, HIGH_WATER_BYTES, RequestBody
from worker.protocol.head import (
    REQUEST_LINE,
    SecondReader,
    bad_request,
    line_error,
    may_begin,
    normal_authority,
    split_target,
)
from worker.protocol.request_id import request_ids
from worker.reasons import Fault, Side
from worker.settings import Limits, ListenerSettings, Network

JOIN_BYTES = 32 * 1024  # a body up to this size is copied behind its head: cheaper than a second buffer to write
SLICE_BYTES = 256 * 1024  # of a large stored body, per write
LINGER_S = 2.0  # after a refusal: how long the client may go on sending before it loses the answer
LINGER_BYTES = 1024 * 1024
BURST = 32  # pipelined requests answered in a row before other connections get their turn
SWEEP_SLICE = 1000  # connections looked at before other connections get their turn
AUTHORITIES = 4096  # host spellings remembered per listener

# What a connection does.
IDLE, HEAD, BUSY, DISCARD, LINGER, CLOSED = range(6)

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_KEEP_ALIVE = b"Connection: keep-alive\r\n"
_CLOSE = b"Connection: close\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST
_NO_FIELDS = Fields.trusted(b"")


class Entrance(Protocol):
    """What a protocol needs of `pipeline.Edge`."""

    def handle(self, ctx: Context, exchange: Exchange) -> Task[None] | None: ...

    def reject(self, ctx: Context, error: EdgeError, exchange: Exchange) -> None: ...


def status_line(status: int) -> bytes:
    """b"HTTP/1.1 404 Not Found" and its CRLF; the phrase of an unknown status is empty."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def client_gone(detail: str) -> EdgeError:
    """The error for a client that left before its answer was whole; 499 is only ever logged."""
    return EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE, detail)


class H1Server:
    """What the connections of one listener share; `worker.run` sweeps, drains and counts by it."""

    def __init__(
        self,
        edge: Entrance,
        limits: Limits,
        listener: ListenerSettings,
        name: str = "edgecluster",
        *,
        trusted: Sequence[Network] = (),
        loop: AbstractEventLoop | None = None,
    ) -> None:
        self.edge = edge
        self.limits = limits
        self.listener = listener.url
        self.scheme = listener.scheme.encode()
        self.name = name
        self.trusted = tuple(trusted)
        self.loop = loop or asyncio.get_running_loop()
        self.connections: set[H1Protocol] = set()
        self.refused = 0  # connections above limits.connections
        self.draining = False
        self.new_id = request_ids().__next__
        self.second_reader = SecondReader()
        self.own_authority = normal_authority(listener.url.partition("://")[2].encode(), self.scheme)
        self._authorities: dict[bytes, bytes] = {}
        self._emptied: list[Future[None]] = []
        self.tick(time.monotonic_ns())

    def factory(self) -> "H1Protocol":
        """A protocol for a new connection."""
        return H1Protocol(self)

    @property
    def active(self) -> int:
        """Connections with a request in hand."""
        return sum(connection.is_busy for connection in self.connections)

    def authority(self, value: bytes) -> bytes:
        """`normal_authority`, remembered: a server is asked for few hosts, and may be asked for any."""
        known = self._authorities.get(value)
        if known is None:
            known = normal_authority(value, self.scheme)
            if len(self._authorities) >= AUTHORITIES:
                self._authorities.clear()
            self._authorities[value] = known
        return known

    def tick(self, now_ns: int) -> None:
        """Read the clocks: the coarse time for timeouts, the Date line, how far wall clock and `now_ns` are apart."""
        wall_s = time.time()
        self.now_ns = now_ns
        self.wall_offset_s = wall_s - now_ns * 1e-9
        self.date_line = b"Date: %b\r\n" % formatdate(wall_s, usegmt=True).encode()

    def sweep(self, now_ns: int) -> None:
        """Enforce every timeout; call it about once a second. `now_ns` is monotonic."""
        self.tick(now_ns)
        self._sweep_slice(iter(tuple(self.connections)), now_ns)

    def _sweep_slice(self, connections: "Iterator[H1Protocol]", now_ns: int) -> None:
        for seen, connection in enumerate(connections, 1):
            connection.sweep(now_ns)
            if seen == SWEEP_SLICE:
                self.loop.call_soon(self._sweep_slice, connections, now_ns)
                return

    def drain(self) -> None:
        """Close idle connections now, the others behind the answer they are at."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Cut every connection: the drain took too long."""
        for connection in tuple(self.connections):
            connection.abort()

    def discard(self, connection: "H1Protocol") -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            for waiter in self._emptied:
                if not waiter.done():
                    waiter.set_result(None)
            self._emptied.clear()

    async def wait_empty(self) -> None:
        """Return once there is no connection."""
        while self.connections:
            waiter = self.loop.create_future()
            self._emptied.append(waiter)
            await waiter


class H1Protocol(asyncio.Protocol):
    """One connection; also the Exchange of the request it has in hand."""

    __slots__ = (
        "_bodiless", "_body", "_buffer", "_client", "_ctx", "_dirty", "_eof", "_expecting", "_finish", "_http10",
        "_keep", "_mark", "_paused", "_pending", "_phase", "_pieces", "_pinned", "_reading", "_requests", "_responding", "_scanned",
        "_since_ns", "_taking", "_task", "_transport", "_writable", "server",
    )  # fmt: skip

    def __init__(self, server: H1Server) -> None:
        self.server = server
        self._transport: asyncio.Transport | None = None
        self._client: Client | None = None
        self._phase = IDLE
        self._since_ns = server.now_ns  # when the phase began, or last made progress
        self._requests = 0
        # what came in
        self._buffer = b""  # not yet looked at, or the beginning of a head
        self._scanned = 0  # bytes of a head's beginning that were looked at already
        self._reading = True
        self._dirty = False  # the client may send what nobody will read
        self._eof = False  # the client sends nothing more
        self._taking = False  # the loop over pipelined requests is running
        self._body: RequestBody | None = None
        self._expecting = False  # the client waits for 100 (Continue) before it sends its body
        # the request in hand
        self._ctx: Context | None = None
        self._task: Task[None] | None = None
        self._keep = True  # the connection lives on behind this answer
        self._http10 = False
        self._bodiless = False  # HEAD
        self._responding = False  # the final status is written
        # what goes out
        self._paused = False  # the transport holds bytes that the client has not taken
        self._mark = 0  # how many, when last looked at
        self._writable: Future[None] | None = None
        self._pending = b""  # a head waiting for the first piece of its body, to leave in one write
        self._pinned: Pinned | None = None
        self._pieces: Iterator[memoryview] | None = None
        self._finish: Finish | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        server = self.server
        peer = transport.get_extra_info("peername")
        if len(server.connections) >= server.limits.connections or not peer:
            server.refused += 1
            self._phase = CLOSED
            transport.abort()
            return
        # No slack: "paused" then means exactly that bytes of ours still lie in the transport.
        transport.set_write_buffer_limits(high=0)
        self._transport = transport
        self._client = self._describe(peer, transport.get_extra_info("ssl_object"))
        server.connections.add(self)
        if server.draining:
            transport.close()

    def _describe(self, peer: tuple[str, int], tls: object) -> Client:
        """The client at the other end."""
        address = ip_address(peer[0].partition("%")[0])
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        packed = address.packed
        client = Client(
            str(address), peer[1], packed if len(packed) == 4 else packed[:8], self.server.listener
        )
        if tls is not None:
            client.tls_version = tls.version() or ""  # type: ignore[attr-defined]
            cipher = tls.cipher()  # type: ignore[attr-defined]
            client.tls_cipher = cipher[0] if cipher else ""
        client.trusted = any(address in network for network in self.server.trusted)
        return client

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._phase = CLOSED
        self._keep = False
        self._buffer = self._pending = b""
        if self._body is not None:
            self._body.fail(client_gone("while its body was awaited"))
        if self._pinned is not None:
            self._end_pinned()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.server.discard(self)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == IDLE and not self._paused:
            self._take(data)
        elif phase == HEAD and not self._paused:
            data = self._buffer + data
            self._buffer = b""
            self._take(data)
        elif phase == LINGER:
            self._requests += len(data)  # no more requests are counted: the slot counts discarded bytes
            if self._requests > LINGER_BYTES:
                self.abort()
        elif phase != CLOSED:
            body = self._body
            if body is not None and not body.ended:
                data = self._feed(body, data)
            if data:
                self._buffer += data
                self._continue()
            self._control_reading()

    def eof_received(self) -> bool:
        # A client that ends its side before its answer began is taken to be gone, as nginx does: one that only
        # half-closes cannot be told from one that left, and work for the latter is what an overloaded edge can
        # least afford. An answer that has begun is finished, where the transport can do that.
        self._eof = True
        if self._body is not None:
            self._body.fail(client_gone("before the end of its body"))
        if self._responding and self._ctx is not None:
            self._keep = False
            return self._client is not None and not self._client.tls_version
        if self._task is not None:
            self._task.cancel()
            self._task = None
        return False

    def pause_writing(self) -> None:
        self._paused = True
        self._since_ns = self.server.now_ns
        self._mark = 0

    def resume_writing(self) -> None:
        self._paused = False
        if self._pinned is not None:
            self._push()
        elif self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        elif self._buffer:
            self.server.loop.call_soon(self._continue)

    # Requests: bytes in, contexts out.

    def _take(self, data: bytes) -> None:
        """Handle the requests in `data`, until one cannot be answered at once."""
        at = 0
        self._taking = True
        try:
            for _ in range(BURST):
                if data[at] == 13:  # up to two empty lines before a request are forgiven (RFC 9112 2.2)
                    at += 4 if data.startswith(b"\r\n\r\n", at) else 2 if data.startswith(b"\r\n", at) else 0
                end = data.find(b"\r\n\r\n", max(at, self._scanned - 3))
                if end < 0:
                    self._keep_beginning(data[at:] if at else data)
                    return
                end += 4
                self._scanned = 0
                head = data if at == 0 and end == len(data) else data[at:end]
                if not self._request(head, data, end) or end == len(data):
                    return
                at = end
                if self._paused:
                    break
            self._buffer = data[at:]
            if not self._paused:
                self.server.loop.call_soon(self._continue)
        finally:
            self._taking = False

    def _continue(self) -> None:
        """Go on with what was read ahead, unless a request is in hand or the client does not take its answers."""
        if self._phase > HEAD or self._paused or self._taking:
            return
        data = self._buffer
        if data:
            self._buffer = b""
            self._scanned = 0
            self._take(data)
        self._control_reading()

    def _keep_beginning(self, data: bytes) -> None:
        """The head is not complete: keep what there is, unless it is already wrong or too much."""
        if not data:
            return
        if self._phase != HEAD:
            self._phase = HEAD
            self._since_ns = self.server.now_ns
        limits = self.server.limits
        seen = self._scanned
        line_end = data.find(b"\n")
        if not may_begin(data):
            self._refuse(bad_request("not a request"), data)
        elif data.count(b"\n", seen) != data.count(b"\r\n", max(0, seen - 1)):
            self._refuse(bad_request("line ended by a bare LF"), data)
        elif line_end >= seen and REQUEST_LINE.match(data) is None:
            self._refuse(line_error(data[: line_end - 1]), data)
        elif (len(data) if line_end < 0 else line_end) > limits.request_line_bytes:
            self._refuse(self._line_too_long(), data)
        elif line_end >= 0 and len(data) - line_end > limits.header_bytes:
            self._refuse(self._header_too_large(), data)
        else:
            self._buffer = data
            self._scanned = len(data)

    def _line_too_long(self) -> EdgeError:
        limit = self.server.limits.request_line_bytes
        return bad_request(f"request line of more than {limit} bytes", 414, Fault.URI_TOO_LONG)

    def _header_too_large(self) -> EdgeError:
        limits = self.server.limits
        return bad_request(
            f"header section of more than {limits.header_bytes} bytes or {limits.header_count} fields",
            431,
            Fault.HEADER_TOO_LARGE,
        )

    def _request(self, head: bytes, data: bytes, end: int) -> bool:
        """Handle one request, whose `head` ends at data[end]; what follows is its body or the next request.

        True if the connection is ready for the latter; else it has kept what it needs of `data`.
        """
        server = self.server
        rest: bytes | None = None
        try:
            ctx = self._read_head(head)
            request = ctx.request
            length = self._body_length(request)
            if length:
                self._since_ns = server.now_ns
                request.body = self._body = body = RequestBody(
                    self, None if length < 0 else length, server.limits.body_bytes, server.limits.header_bytes
                )
                rest = b""
                if end < len(data):
                    self._expecting = False
                    rest = body.feed(data[end:])
        except EdgeError as error:
            self._refuse(error, head)
            return False
        self._phase = BUSY
        self._ctx = ctx
        task = server.edge.handle(ctx, self)
        if self._ctx is ctx:  # not answered yet
            self._task = task
        elif self._phase == IDLE and rest is None:
            return True
        elif self._phase > DISCARD:
            return False
        self._buffer = data[end:] if rest is None else rest
        if self._phase == IDLE and self._buffer:
            server.loop.call_soon(self._continue)
        else:
            self._control_reading()
        return False

    def _read_head(self, head: bytes) -> Context:
        """Make the request and its context. Raises EdgeError for whatever is wrong, ambiguous or too much."""
        server = self.server
        limits = server.limits
        match = REQUEST_LINE.match(head)
        if match is None:
            raise line_error(head[: head.find(b"\r\n")])
        method, target, minor = match.groups()
        line_end = match.end()
        if line_end > limits.request_line_bytes:
            raise self._line_too_long()
        if len(head) - line_end > limits.header_bytes:
            raise self._header_too_large()
        try:
            fields = Fields.parse(head, line_end, max_fields=limits.header_count)
        except TooManyFields:
            raise self._header_too_large() from None
        except FieldError as error:
            raise bad_request(error.args[0]) from None
        mask = fields.mask
        now_ns = time.monotonic_ns()

        if target.startswith(b"/"):
            path, mark, tail = target.partition(b"?")
            query = tail if mark else None
            authority = None
        elif method == b"CONNECT":
            raise bad_request("CONNECT is not offered", 501)
        else:
            path, query, authority = split_target(method, target, server.scheme)

        self._http10 = http10 = minor == b"0"
        if mask & HOST:
            host = server.authority(fields.get(b"host") or b"")
            if authority is not None and server.authority(authority) != host:
                raise bad_request("Host differs from the target's authority")
        elif not http10:
            raise bad_request("Host is missing")
        else:
            host = server.own_authority if authority is None else server.authority(authority)

        self._requests += 1
        keep = not http10
        if mask & CONNECTION:
            options = [option.strip() for option in (fields.joined(b"connection") or b"").lower().split(b",")]
            keep = b"close" not in options and (keep or b"keep-alive" in options)
        self._keep = keep and self._requests < limits.requests_per_connection and not server.draining
        self._bodiless = method == b"HEAD"
        self._responding = False

        body_follows = False
        if mask & (TRANSFER_ENCODING | CONTENT_LENGTH):
            body_follows = self._has_body(fields, http10)
        server.second_reader.check(head, body_follows, not keep)
        self._expecting = bool(mask & EXPECT) and not http10
        if self._expecting and (fields.joined(b"expect") or b"").lower() != b"100-continue":
            self._expecting = False
            raise bad_request("unknown expectation", 417, Fault.EXPECTATION)
        assert self._client is not None
        return Context(
            Request(method, server.scheme, host, target, path, query, b"1.0" if http10 else b"1.1", fields),
            self._client,
            server.new_id(),
            now_ns,
            now_ns * 1e-9 + server.wall_offset_s,
        )

    @staticmethod
    def _has_body(fields: Fields, http10: bool) -> bool:
        """Does a body follow? Fields.parse has refused Content-Length with Transfer-Encoding already."""
        if not fields.mask & TRANSFER_ENCODING:
            return int(fields.get(b"content-length") or b"0") > 0
        if http10:
            raise bad_request("Transfer-Encoding in HTTP/1.0")
        codings = (fields.joined(b"transfer-encoding") or b"").lower()
        if codings == b"chunked":
            return True
        if codings.startswith(b"chunked") or not codings:
            raise bad_request("chunked is not the only and last transfer coding")
        raise bad_request("unknown transfer coding", 501)

    def _body_length(self, request: Request) -> int:
        """Bytes of the body; -1 if it is chunked."""
        mask = request.fields.mask
        if not mask & (CONTENT_LENGTH | TRANSFER_ENCODING):
            return 0
        if mask & TRANSFER_ENCODING:
            return -1
        length = int(request.fields.get(b"content-length") or b"0")
        limit = self.server.limits.body_bytes
        if length > limit:
            raise bad_request(f"body of more than {limit} bytes", 413, Fault.BODY_TOO_LARGE)
        return length

    def _refuse(self, error: EdgeError, head: bytes) -> None:
        """Answer a request that is none, then close."""
        server = self.server
        self._keep = self._expecting = self._responding = False
        self._dirty = True
        self._body = None
        self._buffer = b""
        words = head.lstrip(b"\r\n")[:256].partition(b"\r\n")[0].split(b" ")
        method = words[0] if words[0].isalpha() else b""
        target = words[1] if method and len(words) > 1 else b""
        self._bodiless = method == b"HEAD"
        self._http10 = False
        assert self._client is not None
        now_ns = time.monotonic_ns()
        request = Request(method, server.scheme, b"", target, b"/", None, b"1.1", _NO_FIELDS.copy())
        self._ctx = ctx = Context(
            request, self._client, server.new_id(), now_ns, now_ns * 1e-9 + server.wall_offset_s
        )
        self._phase = BUSY
        server.edge.reject(ctx, error, self)

    # The request's body: this connection is its Source.

    def _feed(self, body: RequestBody, data: bytes) -> bytes:
        """Give the body its share; what lies behind it. A bad body fails, and nothing behind it counts."""
        self._since_ns = self.server.now_ns
        self._expecting = False
        try:
            rest = body.feed(data)
        except EdgeError as error:
            self._keep = False
            self._dirty = True
            body.fail(error)
            rest = b""
        if self._phase == DISCARD:
            if not self._keep or body.discarded > DISCARD_BYTES:
                self._end_connection()
            elif body.ended:
                self._body = None
                self._become_idle()
        return rest

    def body_wanted(self) -> None:
        if self._expecting and not self._responding and self._transport is not None:
            self._expecting = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._since_ns = self.server.now_ns
        self._control_reading()

    def body_closed(self) -> None:
        self._control_reading()

    def new_future(self) -> Future[None]:
        return self.server.loop.create_future()

    def _control_reading(self) -> None:
        """Read on exactly while there is room for what would come."""
        transport = self._transport
        if transport is None or self._phase > DISCARD:
            return
        body = self._body
        limits = self.server.limits
        room = body is None or (body.held <= HIGH_WATER_BYTES and body.discarded <= DISCARD_BYTES)
        if self._buffer and self._phase != HEAD:
            ahead = self._buffer
            room = room and len(ahead) <= limits.header_bytes and ahead.count(b"\r\n\r\n") < limits.pipelined
        if room is not self._reading:
            self._reading = room
            if room:
                transport.resume_reading()
            else:
                transport.pause_reading()

    # The Exchange.

    def send(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Write a whole answer; a large stored body follows slice by slice as the client takes it."""
        transport = self._transport
        body = response.body
        if transport is None or ctx is not self._ctx or self._responding or transport.is_closing():
            if body is not None and not isinstance(body, bytes):
                cast(Pinned, body).release()
            if ctx is self._ctx and not self._responding:
                self._keep = False
                self._done()
            finish(ctx)
            return
        status = response.status
        bodiless = self._bodiless or status == 304 or status == 204
        if body is None:
            length = response.length if bodiless else 0
        else:
            length = len(cast(bytes, body))
            if bodiless:
                if response.length is not None:
                    length = response.length
                if not isinstance(body, bytes):
                    cast(Pinned, body).release()
                body = None
        if length is None or status == 204:
            head = self._head(status, response.fields, b"")
        else:
            head = self._head(status, response.fields, b"Content-Length: %d\r\n" % length)
        ctx.status = status
        if body is None:
            ctx.bytes_out = len(head)
            transport.write(head)
        elif isinstance(body, bytes):
            ctx.bytes_out = len(head) + len(body)
            if len(body) <= JOIN_BYTES:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
        else:
            pinned = cast(Pinned, body)
            ctx.bytes_out = len(head) + len(pinned)
            if len(pinned) > JOIN_BYTES:
                self._start_pinned(head, pinned, finish)
                return
            whole = b"".join((head, *pinned.views()))
            pinned.release()
            transport.write(whole)
        self._done()
        finish(ctx)

    def _head(self, status: int, fields: Fields, framing: bytes) -> bytes:
        """Status line to empty line."""
        self._responding = True
        if self._body is not None and not self._may_keep(self._body):
            self._keep = False
        lines = fields.encode()
        # A stored Date is never replaced (RFC 9110 6.6.1). The first test spares the second its scan.
        date = b"" if b"\nDate: " in lines or b"date" in fields else self.server.date_line
        if self._keep:
            connection = _KEEP_ALIVE if self._http10 else b""
        else:
            connection = _CLOSE
        return b"".join((status_line(status), lines, date, framing, connection, b"\r\n"))

    def _may_keep(self, body: RequestBody) -> bool:
        """Can what is still to come of the request be read away cheaply?"""
        if body.ended:
            return True
        left = body.left
        return not self._expecting and (left is None or left <= DISCARD_BYTES)

    def _start_pinned(self, head: bytes, pinned: Pinned, finish: Finish) -> None:
        self._pinned = pinned
        self._finish = finish
        self._pieces = _slices(head, pinned.views())
        self._push()

    def _push(self) -> None:
        """Write slices until the transport holds one back; it has taken them all once nothing is held."""
        transport = self._transport
        pieces = self._pieces
        if transport is None or pieces is None:
            return
        while not self._paused:
            if transport.is_closing():
                return  # a write failed; connection_lost comes
            piece = next(pieces, None)
            if piece is None:
                self._end_pinned()
                return
            transport.write(piece)

    def _end_pinned(self) -> None:
        """The last byte left, or the client did."""
        pinned, finish, ctx = self._pinned, self._finish, self._ctx
        assert pinned is not None and finish is not None and ctx is not None
        self._pinned = self._finish = self._pieces = None
        pinned.release()
        self._done()
        finish(ctx)

    async def stream(self, ctx: Context, response: Response) -> None:
        """Write an answer piece by piece; cut the connection if either side breaks off."""
        body = cast(Stream, response.body)
        transport = self._transport
        if transport is None or ctx is not self._ctx or self._responding or transport.is_closing():
            raise client_gone("before its answer")
        status = response.status
        bodiless = self._bodiless or status == 304 or status == 204
        length = body.length if response.length is None else response.length
        chunked = length is None and not bodiless and not self._http10
        if length is None and not bodiless and self._http10:
            self._keep = False  # the end of the connection is the end of the body
        if chunked:
            framing = _CHUNKED
        else:
            framing = b"" if length is None or status == 204 else b"Content-Length: %d\r\n" % length
        head = self._head(status, response.fields, framing)
        ctx.status = status
        ctx.bytes_out = len(head)
        self._pending = head
        if bodiless:
            self._flush()
            self._done()
            return
        # If the first piece is there already it leaves together with the head; else the head leaves alone.
        self.server.loop.call_soon(self._flush)
        try:
            await self._copy(ctx, body, length, chunked)
        except asyncio.CancelledError:
            if self._transport is None:
                raise client_gone("before the end of its answer") from None
            self._cut(length is None and not chunked)
            raise
        except BaseException:
            self._cut(length is None and not chunked)
            raise
        self._done()

    async def _copy(self, ctx: Context, body: Stream, length: int | None, chunked: bool) -> None:
        """Body to client, waiting while the client is slow."""
        sent = 0
        while True:
            piece = await body.read()
            if not piece:
                break
            sent += len(piece)
            if length is not None and sent > length:
                raise EdgeError(502, Side.ORIGIN, Fault.PROTOCOL, f"body longer than the announced {length} bytes")
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
            ctx.bytes_out += self._write(b"0\r\n%b\r\n" % self._wanted_trailers(ctx, body))
        else:
            self._flush()

    @staticmethod
    def _wanted_trailers(ctx: Context, body: Stream) -> bytes:
        """The trailer section, if there is one and the client asked for it (RFC 9110 6.5.1)."""
        fields = ctx.request.fields
        if body.trailers is None or not fields.mask & TE:
            return b""
        options = (fields.joined(b"te") or b"").lower().split(b",")
        return body.trailers.encode() if b"trailers" in [option.strip() for option in options] else b""

    def _write_chunk(self, piece: bytes) -> int:
        size = b"%x\r\n" % len(piece)
        if len(piece) <= JOIN_BYTES:
            return self._write(b"%b%b\r\n" % (size, piece))
        head = self._pending + size
        self._pending = b""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines((head, piece, b"\r\n"))
        return len(size) + len(piece) + 2

    def _write(self, piece: bytes) -> int:
        """Write `piece`, together with a head that waits for it."""
        head, self._pending = self._pending, b""
        if self._transport is not None and not self._transport.is_closing():
            if not head:
                self._transport.write(piece)
            elif len(piece) <= JOIN_BYTES:
                self._transport.write(head + piece)
            else:
                self._transport.writelines((head, piece))
        return len(piece)

    def _flush(self) -> None:
        if self._pending:
            self._write(b"")

    async def _wait_writable(self) -> None:
        self._writable = self.server.loop.create_future()
        try:
            await self._writable
        finally:
            self._writable = None

    def inform(self, status: int, fields: Fields) -> None:
        """Send an interim answer; HTTP/1.0 knows none (RFC 9110 15.2), and none follows the final one."""
        if self._transport is None or self._http10 or self._responding or self._ctx is None:
            return
        if not self._transport.is_closing():
            self._transport.write(b"".join((status_line(status), fields.encode(), b"\r\n")))

    # From one request to the next, and the end.

    def _done(self) -> None:
        """The answer is written."""
        ctx, self._ctx = self._ctx, None
        self._task = None
        body = self._body
        if body is None and self._keep:
            self._become_idle()
            return
        if body is not None:
            if ctx is not None:
                ctx.bytes_in = body.received
            if not body.ended:
                self._dirty = True
                body.close()
        if not self._keep or body is None or body.discarded > DISCARD_BYTES:
            self._end_connection()
        elif body.ended:
            self._body = None
            self._become_idle()
        else:
            self._phase = DISCARD
            self._since_ns = self.server.now_ns
            self._control_reading()

    def _become_idle(self) -> None:
        """Ready for the next request, which may have come already."""
        if self.server.draining:
            self._end_connection()
            return
        self._phase = IDLE
        self._dirty = False
        self._since_ns = self.server.now_ns
        if not self._taking and (self._buffer or not self._reading):
            self.server.loop.call_soon(self._continue)

    def _end_connection(self) -> None:
        """Close behind the answer. A client that may still be sending gets time to read it: closing a socket
        with unread bytes resets the connection, and the client could lose the answer (RFC 9112 9.6)."""
        transport = self._transport
        self._phase = CLOSED
        if transport is None or transport.is_closing():
            return
        if self._eof or not (self._dirty or self._buffer):
            transport.close()
            return
        self._phase = LINGER
        self._buffer = b""
        self._requests = 0
        self._since_ns = self.server.now_ns
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()

    def _cut(self, reset: bool) -> None:
        """End the connection so that nobody can take the part for the whole. `reset`: where the end of the
        connection would mean the end of the body, only RST tells the difference."""
        transport = self._transport
        self._pending = b""
        if self._ctx is not None and self._body is not None:
            self._ctx.bytes_in = self._body.received
        self._ctx = self._task = None
        self._keep = False
        if transport is not None:
            if reset:
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()

    @property
    def is_busy(self) -> bool:
        """A request is in hand."""
        return self._phase in (HEAD, BUSY, DISCARD)

    def drain(self) -> None:
        """Close now if idle, else behind the current answer."""
        if self._phase == IDLE and self._transport is not None:
            self._phase = CLOSED
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now_ns: int) -> None:
        """End what has lasted too long."""
        transport = self._transport
        if transport is None:
            return
        limits = self.server.limits
        if self._paused:
            left = transport.get_write_buffer_size()
            if left != self._mark:
                self._mark = left
                self._since_ns = now_ns
            elif now_ns - self._since_ns > limits.send_timeout_s * 1e9:
                transport.abort()
            return
        phase = self._phase
        waited_s = (now_ns - self._since_ns) * 1e-9
        if phase == IDLE:
            if waited_s > limits.idle_timeout_s:
                self._phase = CLOSED
                transport.close()
        elif phase == HEAD:
            if waited_s > limits.header_timeout_s:
                self._refuse(
                    bad_request("header section took too long", 408, Fault.REQUEST_TIMEOUT), self._buffer
                )
        elif phase == LINGER:
            if waited_s > LINGER_S:
                transport.abort()
        elif self._body is not None and waited_s > limits.body_timeout_s:
            if phase == DISCARD:
                transport.abort()
            elif self._body.is_waited_for:
                self._keep = False
                self._body.fail(bad_request("body took too long", 408, Fault.REQUEST_TIMEOUT))


def _slices(head: bytes, views: Sequence[memoryview]) -> Iterator[memoryview]:
    """The head, then the body in slices."""
    yield memoryview(head)
    for view in views:
        for at in range(0, len(view), SLICE_BYTES):
            yield view[at : at + SLICE_BYTES]
