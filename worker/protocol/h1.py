"""HTTP/1.0 and 1.1 from clients (RFC 9112): one `H1Protocol` per connection, one `H1Server` per listener.

A connection answers strictly in order, one request at a time; further requests wait in a bounded buffer.
A head is read whole, in C (`fields.read_head`), never by callbacks per field, and an answer that a gate
gives is written before `data_received` returns, without a task or a future. Where a body follows, llhttp
reads the head too and must agree. Ambiguous means 400 and close.
"""

import asyncio
from asyncio import Future
from time import monotonic_ns
from typing import Any, cast

from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    TRANSFER_ENCODING,
    UPGRADE,
    FieldError,
    Fields,
    LineError,
    TooManyFields,
    read_head,
)
from worker.message import Request
from worker.protocol.answer import Answering, client_gone
from worker.protocol.flow import DISCARD_BYTES, HIGH_WATER_BYTES, RequestBody
from worker.protocol.head import (
    METHODS,
    REQUEST_LINE,
    bad_request,
    content_length,
    empty_lines,
    is_chunked,
    is_tls,
    line_error,
    may_begin,
    not_a_request,
    split_target,
)
from worker.protocol.pace import Pace, bytes_taken
from worker.protocol.server import ConnectionServer
from worker.protocol.standing import AT_WORK, AWAITED, UNUSED, Standing
from worker.reasons import Fault
from worker.upgrade import offered

LINGER_S = 2.0  # after a refusal: how long the client may go on sending before it may lose the answer
LINGER_BYTES = 64 * 1024 * 1024
BURST = range(32)  # pipelined requests answered in a row before other connections get their turn

# What a connection does: wait for a request, with nothing of it (IDLE) or something of it read (HEAD); have
# one in hand (BUSY); read away the body of one that is answered (DISCARD); read away what a refused client
# still sends (LINGER); nothing more (CLOSED). The order matters.
IDLE, HEAD, BUSY, DISCARD, LINGER, CLOSED = range(6)

_FRAMING = CONNECTION | CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT
_BODY = CONTENT_LENGTH | TRANSFER_ENCODING

# What Connection cannot take from a request: its own options, and what each hop reads and then writes itself.
_KEPT = frozenset(
    b"close keep-alive upgrade te trailer connection proxy-connection http2-settings host content-length "
    b"transfer-encoding expect via cdn-loop forwarded x-forwarded-for x-forwarded-proto x-forwarded-host "
    b"x-real-ip x-request-id early-data".split()
) | {b""}


class H1Server(ConnectionServer):
    """The HTTP/1 connections of one listener."""

    def factory(self, client: Client | None = None, since_ns: int = 0) -> Any:
        """A protocol for a new connection."""
        return H1Protocol(self, client, since_ns)


class H1Protocol(Answering):
    """One connection: its reading half, and what leads from one request to the next."""

    __slots__ = (
        "_buffer", "_client", "_dirty", "_eof", "_mark", "_pace", "_phase", "_reading", "_requests",
        "_scanned", "_since_ns", "_taking",
    )  # fmt: skip

    def __init__(self, server: H1Server, client: Client | None = None, since_ns: int = 0) -> None:
        """`since_ns`: when the client connected; 0: now."""
        super().__init__(server)
        self._client = cast(Client, client)  # may be None until connection_made
        self._phase = IDLE
        # When the phase began, or last made progress; until there is a request, when the client connected.
        self._since_ns = since_ns or server.now_ns
        self._requests = 0
        self._buffer = b""  # read ahead, or the beginning of a head
        self._scanned = 0  # bytes of a head's beginning that were looked at already
        self._reading = True
        self._taking = False  # the loop over pipelined requests is running
        self._dirty = False  # the client may send what nobody will read
        self._eof = False  # the client sends nothing more
        self._mark = 0  # bytes in the transport when last looked at
        self._pace: Pace | None = None  # of what the client takes, while it takes less than there is

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        client = self.server.client(transport, self._client)
        if client is None or not self.server.admit(self, client):
            self._phase = CLOSED
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)
        self._client = client
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._phase = CLOSED
        self._keep = False
        self._buffer = self._pending = b""
        if self._body is not None:
            self._body.fail(client_gone("while its body was awaited"))
        if self._lending is not None:
            self._end_lending()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._cancel_task()
        if self._ctx is not None and self._body is not None:
            self._ctx.bytes_in = self._body.received
        self._ctx = self._body = None  # they refer to this connection, and would keep it until a collection
        self.server.discard(self, self._client)

    def _cancel_task(self) -> None:
        """Not at once: a task cancelled before its first step would never tell the observers."""
        task, self._task = self._task, None
        if task is not None:
            self._loop.call_soon(task.cancel)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == IDLE and not self._paused:
            self._take(data)
        elif phase == HEAD and not self._paused:
            data = self._buffer + data
            self._buffer = b""
            self._take(data)
        elif phase == LINGER:
            self._mark += len(data)
            if self._mark > LINGER_BYTES:
                self.abort()
        elif phase != CLOSED:
            if self._body is not None and not self._body.ended:
                data = self._feed(self._body, data)
            if data:
                self._buffer += data
                self._continue()
            self._control_reading()

    def eof_received(self) -> bool:
        # A client that ends its side is taken to be gone, as nginx does: one that only half-closes cannot be
        # told from one that left, and work for the latter is what an overloaded edge can least afford. A
        # stored body costs no work: it is sent to its end, where the transport can do that.
        self._eof = True
        if self._body is not None:
            self._body.fail(client_gone("before the end of its body"))
        if self._lending is not None:
            self._keep = False
            return not self._client.tls_version
        self._cancel_task()
        return False

    def pause_writing(self) -> None:
        self._paused = True
        self._pace = None
        self._since_ns = self.server.now_ns
        self._mark = 0

    def resume_writing(self) -> None:
        self._paused = False
        if self._lending is not None:
            self._push()
        elif self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        elif self._buffer:
            self._loop.call_soon(self._continue)

    # From bytes to requests.

    def _take(self, data: bytes) -> None:
        """Handle the requests in `data`, until one cannot be answered at once."""
        server = self.server
        at = 0
        self._taking = True
        try:
            for _ in BURST:
                if data[at] == 13:  # up to two empty lines before a request are forgiven (RFC 9112 2.2)
                    at += empty_lines(data, at)
                head = read_head(
                    data, at, self._scanned, server.max_line, server.max_header, server.max_fields
                )
                if head is None:
                    self._keep_beginning(data[at:] if at else data)
                    return
                self._scanned = 0
                end, method, target, path, query, minor, fields = head
                if not self._request(data, at, end, method, target, path, query, minor, fields):
                    return
                at = end
                if at == len(data):
                    return
                if self._paused:
                    break
            self._buffer = data[at:]
            self._phase = HEAD
            if not self._paused:
                self._loop.call_soon(self._continue)
        except (LineError, FieldError, OverflowError) as error:
            self._refuse(self._head_error(error, data[at:]), data[at:])
        finally:
            self._taking = False

    def _continue(self) -> None:
        """Go on with what was read ahead, unless a request is in hand or its answers are not taken."""
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
            self._phase = IDLE
            return
        if self._phase != HEAD:
            self._phase = HEAD
            if self._requests:
                self._since_ns = self.server.now_ns
        seen = self._scanned
        line_end = data.find(b"\n")
        if not may_begin(data):
            self._refuse(self._no_request(data), data)
        elif data.count(b"\n", seen) != data.count(b"\r\n", max(0, seen - 1)):
            self._refuse(bad_request("line ended by a bare LF"), data)
        elif line_end >= seen and REQUEST_LINE.match(data) is None:
            self._refuse(line_error(data[: line_end - 1]), data)
        elif (len(data) if line_end < 0 else line_end) > self.server.max_line:
            self._refuse(self._head_error(OverflowError("line"), data), data)
        elif line_end >= 0 and len(data) - line_end > self.server.max_header:
            self._refuse(self._head_error(OverflowError("header"), data), data)
        else:
            self._buffer = data
            self._scanned = len(data)

    def _head_error(self, error: Exception, data: bytes) -> EdgeError:
        """What to answer to a head that `read_head` refuses."""
        limits = self.server.limits
        if isinstance(error, LineError):
            return self._no_request(data) if is_tls(data) else line_error(data[: data.find(b"\r\n")])
        if isinstance(error, FieldError) and not isinstance(error, TooManyFields):
            return bad_request(error.args[0])
        if error.args[0] == "line":
            return bad_request(
                f"request line of more than {limits.request_line_bytes} bytes", 414, Fault.URI_TOO_LONG
            )
        return bad_request(
            f"header section of more than {limits.header_bytes} bytes or {limits.header_count} fields",
            431,
            Fault.HEADER_TOO_LARGE,
        )

    def _no_request(self, data: bytes) -> EdgeError:
        """What to answer to bytes that begin no request, and maybe a TLS handshake."""
        if is_tls(data):
            self.server.tally.handshake(False)
        return not_a_request(data)

    def _request(
        self,
        data: bytes,
        start: int,
        end: int,
        method: bytes,
        target: bytes,
        path: bytes,
        query: bytes | None,
        minor: int,
        fields: Fields,
    ) -> bool:
        """Handle the request whose head is data[start:end]; its body or the next request follows.

        True if the connection is ready for the latter; else it has kept what it needs of `data`.
        """
        server = self.server
        self._requests = requests = self._requests + 1
        self._keep = requests < server.max_requests
        self._http10 = not minor
        self._bodiless = method == b"HEAD"
        self._responding = False
        rest: bytes | None = None
        try:
            host = server.authorities.get(fields.get(b"host"))
            if host is None or not path or path[0] != 47:  # not "/"
                path, query, host = self._read_target(method, target, path, query, minor, fields)
            mask = fields.mask
            if mask & _FRAMING or not minor or method not in METHODS:
                rest = self._read_framing(data, start, end, method, minor, fields)
        except EdgeError as error:
            self._refuse(error, data[start:end])
            return False
        now_ns = monotonic_ns()
        version = b"1.1" if minor else b"1.0"
        request = Request(method, server.scheme, host, target, path, query, version, fields, self._body)
        # Not from HTTP/1.0 (RFC 9110 7.8). With a body it was refused: the two readers do not agree about it.
        if mask & UPGRADE and minor and self._body is None:
            request.upgrade = offered(fields)
        self._ctx = ctx = Context(
            request,
            self._client,
            server.ids.take(),
            now_ns,
            now_ns * 1e-9 + server.wall_offset_s,
        )
        self._phase = BUSY
        task = server.edge.handle(ctx, self)
        if self._ctx is ctx:  # not answered yet
            self._task = task
        elif rest is None and self._phase == IDLE:
            return True
        elif self._phase > DISCARD:
            return False
        if rest is None and end < len(data):
            rest = data[end:]
        if rest:
            self._buffer = rest
            if self._phase == IDLE:
                self._phase = HEAD
                self._loop.call_soon(self._continue)
        if rest or self._body is not None:
            self._control_reading()
        return False

    def _read_target(
        self, method: bytes, target: bytes, path: bytes, query: bytes | None, minor: int, fields: Fields
    ) -> tuple[bytes, bytes | None, bytes]:
        """(path, query, host) of a target in any form, with whatever Host. RFC 9112 3.2."""
        server = self.server
        authority = None
        if method == b"CONNECT":
            raise bad_request("CONNECT is not offered", 501)
        if not path.startswith(b"/"):
            path, query, authority = split_target(method, target, server.scheme)
        value = fields.get(b"host")
        if value is None and minor:
            raise bad_request("Host is missing")
        if value is None:
            return path, query, server.own_authority if authority is None else server.authority(authority)
        host = server.authority(value)
        if authority is not None and server.authority(authority) != host:
            raise bad_request("Host differs from the target's authority")
        return path, query, host

    def _read_framing(
        self, data: bytes, start: int, end: int, method: bytes, minor: int, fields: Fields
    ) -> bytes | None:
        """What the head says of connection and body. The body is begun with what there is of it in `data`;
        returns what lies behind that, None if no body follows. RFC 9112 6 and 9, RFC 9110 10.1.1."""
        if method not in METHODS:
            raise bad_request("unknown method", 501)
        mask = fields.mask
        keep = minor == 1
        if mask & CONNECTION:
            options = fields.joined(b"connection")
            if options != b"keep-alive" or not keep:
                tokens = [token.strip() for token in (options or b"").lower().split(b",")]
                keep = b"close" not in tokens and (keep or b"keep-alive" in tokens)
                if not _KEPT.issuperset(tokens):
                    # At once: what the origin never sees must not choose a variant of its answer.
                    fields.remove(*set(tokens).difference(_KEPT))
        self._keep = self._keep and keep
        expecting = bool(mask & EXPECT) and minor == 1
        if expecting and (fields.joined(b"expect") or b"").lower() != b"100-continue":
            raise bad_request("unknown expectation", 417, Fault.EXPECTATION)
        if not mask & _BODY:
            return None
        server = self.server
        limits = server.limits
        length = None if is_chunked(fields, minor) else content_length(fields, limits.body_bytes)
        server.second_reader.check(data[start:end], length != 0)
        if length == 0:
            return None
        body = RequestBody(self, length, limits.body_bytes, limits.header_bytes)
        rest = body.feed(data[end:]) if end < len(data) else b""
        self._expecting = expecting and end == len(data)
        self._since_ns = server.now_ns
        self._body = body
        return rest

    def _refuse(self, error: EdgeError, head: bytes) -> None:
        """Answer a request that is none, then close."""
        server = self.server
        words = head.lstrip(b"\r\n")[:256].partition(b"\r\n")[0].split(b" ")
        method = words[0] if words[0].isalpha() else b""
        target = words[1] if method and len(words) > 1 else b""
        self._keep = self._expecting = self._responding = self._http10 = False
        self._bodiless = method == b"HEAD"
        self._dirty = True
        self._body = None
        self._buffer = b""
        self._phase = BUSY
        now_ns = monotonic_ns()
        self._ctx = ctx = Context(
            Request(method, server.scheme, b"", target, b"/", None, b"1.1", Fields.trusted(b"")),
            self._client,
            server.ids.take(),
            now_ns,
            now_ns * 1e-9 + server.wall_offset_s,
        )
        server.edge.reject(ctx, error, self)

    # The request's body, whose flow.Source this is.

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
        self._since_ns = self.server.now_ns
        self._continue_request()
        self._control_reading()

    def body_closed(self) -> None:
        self._control_reading()

    def new_future(self) -> Future[None]:
        return self._loop.create_future()

    def _control_reading(self) -> None:
        """Read on exactly while there is room for what would come."""
        transport = self._transport
        if transport is None or self._phase > DISCARD:
            return
        body = self._body
        room = body is None or (body.held <= HIGH_WATER_BYTES and body.discarded <= DISCARD_BYTES)
        if self._buffer and (self._phase != HEAD or self._paused):
            limits = self.server.limits
            ahead = self._buffer
            room = room and len(ahead) <= limits.header_bytes and ahead.count(b"\r\n\r\n") < limits.pipelined
        if room is not self._reading:
            self._reading = room
            if room:
                transport.resume_reading()
            else:
                transport.pause_reading()

    # From one request to the next, and the end.

    def _done(self) -> None:
        ctx, self._ctx = self._ctx, None
        self._task = None
        body = self._body
        if body is None:
            if self._keep:
                self._become_idle()
            else:
                self._end_connection()
            return
        if ctx is not None:
            ctx.bytes_in = body.received
        if not body.ended:
            self._dirty = True
            body.close()
        if not self._keep or body.discarded > DISCARD_BYTES:
            self._end_connection()
        elif body.ended:
            self._body = None
            self._become_idle()
        else:
            self._phase = DISCARD
            self._since_ns = self.server.now_ns
            self._control_reading()

    def _leave(self) -> bytes:
        ahead, self._buffer = self._buffer, b""
        self.server.connections.remove(self)
        self._transport = self._ctx = self._task = None
        self._phase = CLOSED
        return ahead

    def _become_idle(self) -> None:
        if self.server.draining:
            self._end_connection()
            return
        self._phase = HEAD if self._buffer else IDLE
        self._task = None
        self._since_ns = self.server.now_ns
        if not self._taking and (self._buffer or not self._reading):
            self._loop.call_soon(self._continue)

    def _end_connection(self) -> None:
        """Close behind the answer. A client that may still be sending gets time to read it: closing a socket
        with unread bytes resets the connection, and the answer could be lost (RFC 9112 9.6)."""
        transport = self._transport
        self._phase = CLOSED
        if transport is None or transport.is_closing():
            return
        if self._eof or not (self._dirty or self._buffer):
            transport.close()
            return
        self._phase = LINGER
        self._buffer = b""
        self._mark = 0
        self._since_ns = self.server.now_ns
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()

    @property
    def is_busy(self) -> bool:
        return self._phase in (HEAD, BUSY, DISCARD)

    def standing(self) -> Standing:
        phase, body = self._phase, self._body
        if phase == IDLE:
            need = UNUSED
        elif phase == BUSY and not self._paused and (body is None or not body.is_waited_for):
            need = AT_WORK
        else:
            need = AWAITED
        return need, self._since_ns, self._client

    def drain(self) -> None:
        if self._phase == IDLE and self._transport is not None:
            self._phase = CLOSED
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now_ns: int) -> None:
        transport = self._transport
        if transport is None:
            return
        limits = self.server.limits
        phase = self._phase
        if self._paused and phase != LINGER:
            left = transport.get_write_buffer_size()
            if left != self._mark:
                self._mark = left
                self._since_ns = now_ns
            elif now_ns - self._since_ns > limits.send_timeout_s * 1e9:
                transport.abort()
            self._keep_pace(transport, now_ns)
            self._hasten(now_ns)
            return
        waited_s = (now_ns - self._since_ns) * 1e-9
        if phase == IDLE:
            if waited_s > (limits.idle_timeout_s if self._requests else limits.header_timeout_s):
                self.drain()
        elif phase == HEAD:
            if waited_s > limits.header_timeout_s:
                late = bad_request("header section took too long", 408, Fault.REQUEST_TIMEOUT)
                self._refuse(late, self._buffer)
        elif phase == LINGER:
            if waited_s > LINGER_S:
                transport.abort()
        elif self._body is not None:
            is_fast = self._body.keeps_pace(limits, now_ns)
            if is_fast and waited_s <= limits.body_timeout_s:
                return
            if phase == DISCARD:
                transport.abort()
            elif self._body.is_waited_for:
                self._keep = False
                self._body.fail(bad_request("body took too long", 408, Fault.REQUEST_TIMEOUT))

    def _keep_pace(self, transport: asyncio.Transport, now_ns: int) -> None:
        """Cut off who takes an answer so slowly that it would never end."""
        limits = self.server.limits
        if not limits.send_rate or transport.is_closing():
            return
        taken = bytes_taken(transport)
        if self._pace is None:
            self._pace = Pace(limits.send_rate, limits.send_timeout_s, taken, now_ns)
        elif not self._pace.keeps(taken, now_ns):
            transport.abort()
