"""What a connection with streams does whatever its framing: heads to requests, settling, draining.

A subclass owns the session and the way bytes come and go. Knows no frame and no transport.
"""

from time import monotonic_ns
from typing import cast

from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import CONTENT_LENGTH, EXPECT, Fields
from worker.message import Request
from worker.protocol.exchange import Exchange
from worker.protocol.head import METHODS, bad_request, content_length
from worker.protocol.lending import COPY_BYTES
from worker.protocol.server import ConnectionServer
from worker.protocol.stream import Framing
from worker.protocol.websocket import WEBSOCKET
from worker.reasons import Fault

NOTICE_S = 0.5  # from the GOAWAY that announces the end to the one that means it
WIDE_STREAMS = 4  # at a time that may have a wide window


class StreamConnection:
    """One connection: between its session and its exchanges."""

    __slots__ = (
        "_client", "_flushing", "_framing", "_left", "_noticed", "_receiving", "_requests", "_scheduled",
        "_since_ns", "copied_bytes", "server", "version", "wide_streams",
    )  # fmt: skip

    def __init__(self, server: ConnectionServer, version: bytes, client: Client | None = None) -> None:
        self.server = server
        self.version = version
        self.wide_streams = 0
        self.copied_bytes = 0  # of stored bodies, in memory of our own
        self._client = cast(Client, client)  # may be None until it is open
        self._framing = cast("Framing[Exchange]", None)
        self._since_ns = server.now_ns  # when it last had a stream
        self._requests = 0
        self._receiving = False
        self._flushing = False
        self._scheduled = False  # a flush is
        self._noticed = False  # the client knows that it may open no more streams soon
        self._left = False  # ... and now it may not

    @property
    def is_open(self) -> bool:
        """It may still be spoken to."""
        raise NotImplementedError

    @property
    def is_held_up(self) -> bool:
        return False

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
            self.version,
            fields,
            exchange.body,
        )
        if exchange.protocol is not None and refusal is None:
            exchange.ask_to_switch(request)
        ctx = Context(
            request,
            self._client,
            server.ids.take(),
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
        """The host a request is for (RFC 9113 8.3.1, RFC 9114 4.3.1), whatever the form of its target."""
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
        raise NotImplementedError

    def _settle(self) -> None:
        """Tell the streams what became of them."""
        framing = self._framing
        for exchange in framing.take_drained():
            exchange.drained()
        for exchange in framing.take_closed():
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

    def _give_notice(self) -> None:
        self._noticed = True
        self._framing.give_notice()

    def _go_away(self) -> None:
        if not self._left:
            self._noticed = self._left = True
            self._since_ns = self.server.now_ns
            self._framing.go_away()

    def _leave(self) -> None:
        if self.is_open:
            self._go_away()
            self.flush()

    @property
    def is_busy(self) -> bool:
        return self._framing is not None and bool(self._framing.streams)

    def drain(self) -> None:
        """Two GOAWAYs (RFC 9113 6.8, RFC 9114 5.2): one takes what is on its way, one names the last."""
        if not self.is_open:
            return
        if self._noticed:
            self._leave()
            return
        self._give_notice()
        self.flush()
        self.server.loop.call_later(NOTICE_S, self._leave)
