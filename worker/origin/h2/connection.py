"""One HTTP/2 connection to an origin (RFC 9113), and the requests under way on it.

Everything happens in the protocol's callbacks. What an origin may make it hold: a window of 256 KiB of each
answer that its client does not take, and one piece of each request's body. It decides nothing about retries.
"""

import asyncio
from asyncio import Future
from time import monotonic_ns
from typing import Protocol, cast

from worker.errors import EdgeError
from worker.origin.h2.exchange import Exchange, code_name
from worker.origin.h2.session import Session
from worker.origin.response_head import MAX_FIELDS
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

WINDOW_BYTES = 256 * 1024  # of an answer, on its way or unread
HIGH_WATER_BYTES = 64 * 1024  # in the transport; above, streams wait
BURST = range(16)  # writes of about 64 KiB in a row before other connections get their turn

# A connection from which nothing came for so long, while answers are awaited, is asked for a sign of life.
# Many servers, those of gRPC first, take more than a few PINGs in five minutes of silence for an attack.
PING_AFTER_S = 10.0
PING_WAIT_S = 10.0
PING_AGAIN_S = 310.0


class Keeper(Protocol):
    """The pool, as a connection sees it."""

    settings: OriginSettings

    def has_room(self, connection: "H2Connection") -> None:
        """It may carry one more request than before, or none any more."""
        ...

    def forget(self, connection: "H2Connection") -> None:
        """The socket is gone."""
        ...


class H2Connection:
    """asyncio.Protocol of one socket."""

    __slots__ = (
        "address", "broken", "exchanges", "heard_ns", "idle_ns", "keeper", "loop", "paused", "pinged_ns",
        "ready", "receiving", "retired", "scheduled", "scheme", "session", "settings", "taken", "transport",
    )  # fmt: skip

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self.keeper = keeper
        self.settings = keeper.settings
        self.scheme = self.settings.scheme.encode("ascii")
        self.loop = loop
        self.address: str | None = None  # numeric, of the other end; None until connected
        self.transport: asyncio.Transport | None = None
        self.session = cast("Session[Exchange]", None)  # until connected
        self.ready: Future[None] = loop.create_future()  # the origin's SETTINGS have come, or never will
        self.broken: EdgeError | None = None  # why it ended
        self.exchanges = 0  # places taken
        self.taken = False  # some place ever was
        self.retired = False  # no new requests
        self.heard_ns = 0  # when anything came
        self.idle_ns = 0  # since when it has no exchange
        self.pinged_ns = 0  # when the last PING left
        self.paused = False  # the transport holds as much as it may
        self.receiving = False
        self.scheduled = False  # a flush is

    # exchanges

    @property
    def room(self) -> int:
        """How many more requests it takes now."""
        if self.transport is None or self.retired or not self.session.may_ask or self.transport.is_closing():
            return 0
        return min(self.settings.streams, self.session.streams_max) - self.exchanges

    def exchange(self) -> Exchange:
        """A place for a request, which has to `ask` or be given back by `leave`."""
        self.exchanges += 1
        made = Exchange(self, reused=self.taken)
        self.taken = True
        return made

    def leave(self, exchange: Exchange) -> None:
        self.exchanges -= 1
        if not self.exchanges:
            self.idle_ns = self.heard_ns
        self.keeper.has_room(self)

    def suspect(self) -> None:
        self.retired = True
        self.keeper.has_room(self)

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.session = Session(
            header_bytes=self.settings.header_bytes, header_count=MAX_FIELDS, window=WINDOW_BYTES
        )
        self.heard_ns = self.idle_ns = monotonic_ns()
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            return
        session = self.session
        self.heard_ns = monotonic_ns()
        self.receiving = True
        try:
            session.receive(data)
        finally:
            self.receiving = False
        if session.agreed and not self.ready.done():
            self.ready.set_result(None)
        self.flush()
        if session.failed or session.is_over:
            self._fail()
        elif session.is_leaving and not self.retired:
            self.retired = True
            self.keeper.has_room(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        how = "lost the connection" if error is None else f"lost the connection: {error}"
        if error is None and self.session is not None and self.session.is_leaving:
            how = f"closed the connection (GOAWAY): {self.session.said or code_name(self.session.fault)}"
        self._end(how, Fault.TERMINATED)
        self.keeper.forget(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.flush_soon()

    # what goes out

    def flush_soon(self) -> None:
        """Send what there is, together with what else comes up in this turn of the loop."""
        if not self.scheduled and not self.receiving:
            self.scheduled = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self.scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what there is, as far as the origin takes it."""
        transport, session = self.transport, self.session
        if transport is None:
            return
        for _ in BURST:
            if self.paused or transport.is_closing():
                break
            data = session.take()
            if not data:
                break
            transport.write(data)
            self._settle()
        else:
            self.flush_soon()
        self._settle()

    def _settle(self) -> None:
        """Tell the exchanges what became of them."""
        session = self.session
        for exchange in session.take_drained():
            exchange.drained()
        for exchange in session.take_closed():
            exchange.settle()

    # the end

    def close(self) -> None:
        """Close an idle connection in order."""
        self.retired = True
        if self.transport is not None:
            self.session.terminate()
            self.flush()
            self._shut(self.transport)

    def abandon(self) -> None:
        """Nobody wants it any more."""
        if self.transport is not None:
            self.transport.abort()

    def overdue(self, now_ns: int) -> None:
        """Fail the exchanges, or all of it, that the origin keeps waiting. Called about once a second."""
        if self.transport is None:
            return
        session = self.session
        session.forgive()
        for exchange in tuple(session.streams.values()):
            exchange.overdue(now_ns)
        self.flush()
        if session.streams:
            self._watch(now_ns)

    def _watch(self, now_ns: int) -> None:
        """Is the other end alive?"""
        session = self.session
        if self.pinged_ns > self.heard_ns:
            if now_ns - self.pinged_ns > PING_WAIT_S * 1e9:
                self._end(f"answers no PING for {PING_WAIT_S:g} s", Fault.TERMINATED)
        elif now_ns - self.heard_ns > PING_AFTER_S * 1e9:
            if session.has_news or now_ns - self.pinged_ns > PING_AGAIN_S * 1e9:
                session.has_news = False
                self.pinged_ns = now_ns
                session.ping()
                self.flush()

    def _fail(self) -> None:
        """What came is no HTTP/2, or a GOAWAY with nothing left to do."""
        session = self.session
        said = session.said or code_name(session.fault)
        if session.is_leaving:
            self._end(f"closes the connection (GOAWAY): {said}", Fault.TERMINATED)
        else:
            self._end(f"does not keep to the rules of HTTP/2: {said}", Fault.PROTOCOL)

    def _end(self, how: str, fault: Fault) -> None:
        """Fail what is under way, and close."""
        transport, self.transport = self.transport, None
        self.retired = True
        if self.broken is None:
            self.broken = EdgeError(502, Side.ORIGIN, fault, f"{self.settings.url}: {how}")
        if not self.ready.done():
            self.ready.set_result(None)
        if transport is None or self.session is None:
            return
        self._settle()
        for exchange in self.session.close():
            exchange.lost(how, fault)
            self.leave(exchange)
        self._shut(transport)

    def _shut(self, transport: asyncio.Transport) -> None:
        """Close behind what was written, unless the origin takes nothing: it would keep the socket."""
        if self.paused:
            transport.abort()
        else:
            transport.close()
