"""HTTP/2 from clients (RFC 9113): one `H2Protocol` per connection, which every version's server may make.

All answers that what was read allows to give at once leave in one write, before `data_received` returns,
without a task or a future. What a client may make this connection hold: `Limits.streams` request bodies of
64 KiB each, four of them up to 1 MiB, one piece of each answer, and about 200 KiB on their way out.
"""

import asyncio
import logging
from time import monotonic_ns
from typing import cast

from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import CONTENT_LENGTH, EXPECT, Fields
from worker.message import Request
from worker.protocol.h2.exchange import Exchange
from worker.protocol.h2.session import NO_ERROR, PROTOCOL_ERROR, Session
from worker.protocol.head import METHODS, bad_request, content_length
from worker.protocol.lending import COPY_BYTES
from worker.protocol.server import ConnectionServer
from worker.protocol.websocket import WEBSOCKET
from worker.reasons import Fault

LINGER_S = 2.0  # behind the last GOAWAY: how long the client may go on sending before it may lose it
NOTICE_S = 0.5  # from the GOAWAY that announces the end to the one that means it
WIDE_STREAMS = 4  # at a time that may have a wide window
BURST = range(16)  # writes of about 64 KiB in a row before other connections get their turn
HIGH_WATER_BYTES = 64 * 1024  # in the transport; above, streams wait

log = logging.getLogger("edgecluster.protocol")


class H2Protocol:
    """One connection: between its transport, its session and its exchanges."""

    __slots__ = (
        "_client", "_flushing", "_left", "_lingering", "_mark", "_noticed", "_paused", "_receiving",
        "_requests", "_scheduled", "_session", "_since_ns", "_transport", "copied_bytes", "server",
        "wide_streams",
    )  # fmt: skip

    def __init__(self, server: ConnectionServer) -> None:
        self.server = server
        self.wide_streams = 0
        self.copied_bytes = 0
        self._client = cast(Client, None)  # until connection_made
        self._transport: asyncio.Transport | None = None
        self._session = cast("Session[Exchange]", None)
        self._since_ns = server.now_ns  # when it last had a stream; when it lingers or is paused, since when
        self._requests = 0
        self._receiving = False
        self._flushing = False
        self._scheduled = False  # a flush is
        self._paused = False  # the transport holds as much as it may
        self._mark = 0  # bytes in the transport when last looked at
        self._noticed = False  # the client knows that it may open no more streams soon
        self._left = False  # ... and now it may not
        self._lingering = False  # all is said; reading on only so that the client gets to read it

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        server = self.server
        client = server.client(transport)
        if client is None or not server.admit(self):
            transport.abort()
            return
        self.open(transport, client)

    def open(self, transport: asyncio.Transport, client: Client) -> None:
        """Begin to speak on a connection that the server has taken in."""
        limits = self.server.limits
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._client = client
        self._transport = transport
        self._session = Session(
            self,
            Exchange,
            streams=limits.streams,
            header_bytes=limits.header_bytes,
            header_count=limits.header_count,
            resets=limits.resets,
            empty_frames=limits.empty_frames,
        )
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._session is not None:
            for exchange in self._session.take_closed():
                exchange.settle()
            for exchange in self._session.close():
                exchange.settle()
        self.server.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._transport is None:
            return
        self._receiving = True
        try:
            for exchange in self._session.receive(data):
                if not exchange.closed:
                    self._request(exchange)
        finally:
            self._receiving = False
        if self.server.draining and not self._noticed:
            self._give_notice()
        self.flush()

    def eof_received(self) -> bool:
        # As in HTTP/1: who ends its side is taken to be gone.
        return False

    def pause_writing(self) -> None:
        self._paused = True
        self._since_ns = self.server.now_ns
        self._mark = 0

    def resume_writing(self) -> None:
        self._paused = False
        self._since_ns = self.server.now_ns
        self.flush_soon()

    # From frames to requests.

    def _request(self, exchange: Exchange) -> None:
        """Hand the request of one stream to the pipeline."""
        server = self.server
        fields = exchange.fields
        assert fields is not None
        host = b""
        refusal: EdgeError | None = None
        try:
            known = server.authorities.get(exchange.authority)
            if known is None or exchange.host is not None or exchange.path[:1] != b"/":
                known = self._read_target(exchange)
            host = known
            self._check(exchange, fields)
        except EdgeError as error:
            refusal = error
        if not exchange.ended and exchange.body is None and exchange.protocol is None:
            exchange.expect_body()
        now_ns = monotonic_ns()
        request = Request(
            exchange.method,
            server.scheme,
            host,
            exchange.target,
            exchange.path,
            exchange.query,
            b"2",
            fields,
            exchange.body,
        )
        if exchange.protocol is not None and refusal is None:
            exchange.ask_to_switch(request)
        ctx = Context(
            request,
            self._client,
            server.new_id(),
            now_ns,
            now_ns * 1e-9 + server.wall_offset_s,
        )
        self._requests += 1
        if self._requests == server.max_requests:
            self._go_away()
        if refusal is None:
            exchange.begin(ctx)
        else:
            exchange.refuse(ctx, refusal)

    def _read_target(self, exchange: Exchange) -> bytes:
        """The host a request is for (RFC 9113 8.3.1), whatever the form of its target."""
        server = self.server
        authority, field = exchange.authority, exchange.host
        if exchange.method == b"CONNECT" and exchange.protocol is None:
            raise bad_request("CONNECT without :protocol is not offered", 501)
        if authority is None and field is None:
            raise bad_request(":authority is missing")
        host = server.authority(cast(bytes, authority if authority is not None else field))
        if authority is not None and field is not None and server.authority(field) != host:
            raise bad_request("Host differs from :authority")
        if exchange.path[:1] != b"/" and not (exchange.method == b"OPTIONS" and exchange.target == b"*"):
            raise bad_request(":path does not begin with a slash")
        return host

    def _check(self, exchange: Exchange, fields: Fields) -> None:
        """What the head must hold besides, as in HTTP/1."""
        server = self.server
        limits = server.limits
        if exchange.too_large:
            raise bad_request(
                f"header section of more than {limits.header_bytes} bytes or {limits.header_count} fields",
                431,
                Fault.HEADER_TOO_LARGE,
            )
        if len(exchange.target) > limits.request_line_bytes:
            raise bad_request(
                f":path of more than {limits.request_line_bytes} bytes", 414, Fault.URI_TOO_LONG
            )
        if exchange.scheme != server.scheme:
            raise bad_request(":scheme is not the connection's", 421)
        mask = fields.mask
        if exchange.protocol is not None:
            if exchange.protocol.lower() != WEBSOCKET:
                raise bad_request(":protocol is not one that is offered", 501)
            if mask & CONTENT_LENGTH:
                raise bad_request("CONNECT with Content-Length")
            return
        if exchange.method not in METHODS:
            raise bad_request("unknown method", 501)
        if mask & CONTENT_LENGTH and content_length(fields, limits.body_bytes) and exchange.ended:
            if exchange.body is None:
                raise bad_request("Content-Length without a body")
        if mask & EXPECT:
            if (fields.joined(b"expect") or b"").lower() != b"100-continue":
                raise bad_request("unknown expectation", 417, Fault.EXPECTATION)
            exchange.expecting = not exchange.ended and exchange.body is None

    # What goes out.

    def flush_soon(self) -> None:
        """Send what there is, together with what else comes up in this turn of the loop."""
        if not self._scheduled and not self._receiving and not self._flushing:
            self._scheduled = True
            self.server.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what there is, as far as the client takes it."""
        transport, session = self._transport, self._session
        if transport is None or self._lingering:
            return
        self._flushing = True
        more = False
        try:
            for _ in BURST:
                if self._paused or transport.is_closing():
                    break
                data = session.take()
                if not data:
                    break
                transport.write(data)
                self._settle()
            else:
                more = True
            self._settle()
        finally:
            self._flushing = False
        if more:
            self.flush_soon()
            return
        if not self._paused and session.is_over:
            self._end(transport)

    def _settle(self) -> None:
        """Tell the streams what became of them."""
        session = self._session
        for exchange in session.take_drained():
            exchange.drained()
        for exchange in session.take_closed():
            exchange.settle()
            self._since_ns = self.server.now_ns

    def may_widen(self) -> bool:
        """May one more stream have a wide window?"""
        if self.wide_streams >= WIDE_STREAMS:
            return False
        self.wide_streams += 1
        return True

    def may_copy(self, size: int) -> bool:
        """May so much more of stored bodies be copied for this client?"""
        if self.copied_bytes + size > COPY_BYTES:
            return False
        self.copied_bytes += size
        return True

    # The end.

    def _end(self, transport: asyncio.Transport) -> None:
        """Close behind the last frame. A client that may still be sending gets time to read it: closing a
        socket with unread bytes resets the connection."""
        for exchange in self._session.close():
            exchange.settle()
        if transport.is_closing():
            return
        self._lingering = True
        self._since_ns = self.server.now_ns
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _give_notice(self) -> None:
        self._noticed = True
        self._session.give_notice()

    def _go_away(self) -> None:
        if not self._left:
            self._noticed = self._left = True
            self._session.go_away()

    def _leave(self) -> None:
        if self._transport is not None:
            self._go_away()
            self.flush()

    @property
    def is_busy(self) -> bool:
        return self._session is not None and bool(self._session.streams)

    def drain(self) -> None:
        """Two GOAWAYs (RFC 9113 6.8): one still takes what is on its way, one names the last stream."""
        if self._transport is None or self._lingering:
            return
        if self._noticed:
            self._leave()
            return
        self._give_notice()
        self.flush()
        self.server.loop.call_later(NOTICE_S, self._leave)

    def abort(self) -> None:
        if self._transport is not None:
            for exchange in self._session.streams.values():
                exchange.cut_off()
            self._transport.abort()

    def sweep(self, now_ns: int) -> None:
        transport, session = self._transport, self._session
        if transport is None:
            return
        limits = self.server.limits
        waited_s = (now_ns - self._since_ns) * 1e-9
        if self._lingering:
            if waited_s > LINGER_S:
                transport.abort()
            return
        session.forgive()
        if self._paused:
            left = transport.get_write_buffer_size()
            if left != self._mark:
                self._mark = left
                self._since_ns = now_ns
            elif waited_s > limits.send_timeout_s:
                transport.abort()
                return
        elif session.streams:
            self._since_ns = now_ns
        elif waited_s > limits.idle_timeout_s:
            session.terminate(NO_ERROR)
        for exchange in tuple(session.streams.values()):
            if not exchange.sweep(now_ns):
                log.debug("half a header section from %s", self._client.address)
                session.terminate(PROTOCOL_ERROR)
                break
        self.flush()
