"""HTTP/2 from clients (RFC 9113): one `H2Protocol` per connection, which every version's server may make.

All answers that what was read allows to give at once leave in one write, before `data_received` returns,
without a task or a future. What a client may make this connection hold: `Limits.streams` request bodies of
64 KiB each, four of them up to 1 MiB, one piece of each answer, and about 200 KiB on their way out.
"""

import asyncio
import logging
from typing import cast

from worker.context import Client
from worker.protocol.exchange import Exchange
from worker.protocol.h2.session import NO_ERROR, PROTOCOL_ERROR, Session
from worker.protocol.pace import Pace, bytes_taken
from worker.protocol.server import ConnectionServer
from worker.protocol.standing import AT_WORK, AWAITED, UNUSED, Standing
from worker.protocol.stream_connection import StreamConnection

LINGER_S = 2.0  # behind the last GOAWAY: how long the client may go on sending before it may lose it
BURST = range(16)  # writes of about 64 KiB in a row before other connections get their turn
HIGH_WATER_BYTES = 64 * 1024  # in the transport; above, streams wait

log = logging.getLogger("edgecluster.protocol")


class H2Protocol(StreamConnection):
    """One connection: between its transport, its session and its exchanges."""

    __slots__ = ("_lingering", "_mark", "_pace", "_paused", "_session", "_transport")

    def __init__(self, server: ConnectionServer, client: Client | None = None, since_ns: int = 0) -> None:
        """`since_ns`: when the client connected; 0: now."""
        super().__init__(server, b"2", client)
        self._since_ns = since_ns or server.now_ns
        self._transport: asyncio.Transport | None = None
        self._session = cast("Session[Exchange]", None)  # until connection_made
        self._paused = False  # the transport holds as much as it may; if so, `_since_ns` tells since when
        self._mark = 0  # bytes in the transport when last looked at
        self._pace: Pace | None = None  # of what the client takes, while it takes less than there is
        self._lingering = False  # all is said; reading on only so that the client gets to read it

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        server = self.server
        client = server.client(transport, self._client)
        if client is None or not server.admit(self, client):
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
        self._framing = self._session
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._session is not None:
            for exchange in self._session.take_closed():
                exchange.settle()
            for exchange in self._session.close():
                exchange.settle()
        self.server.discard(self, self._client)

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
        self._pace = None
        self._since_ns = self.server.now_ns
        self._mark = 0

    def resume_writing(self) -> None:
        self._paused = False
        self._since_ns = self.server.now_ns
        self.flush_soon()

    # What goes out.

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

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._lingering

    @property
    def is_held_up(self) -> bool:
        return self._paused

    def abort(self) -> None:
        if self._transport is not None:
            for exchange in self._session.streams.values():
                exchange.cut_off()
            self._transport.abort()

    def standing(self) -> Standing:
        if self._paused or self._lingering:
            need = AWAITED
        else:
            need = AT_WORK if self.is_busy else UNUSED
        return need, self._since_ns, self._client

    def _keeps_pace(self, transport: asyncio.Transport, now_ns: int) -> bool:
        """Does the client take enough that what there is will end?"""
        limits = self.server.limits
        if not limits.send_rate or transport.is_closing():
            return True
        taken = bytes_taken(transport)
        if self._pace is None:
            self._pace = Pace(limits.send_rate, limits.send_timeout_s, taken, now_ns)
        return self._pace.keeps(taken, now_ns)

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
            if not self._keeps_pace(transport, now_ns):
                transport.abort()
                return
        elif session.streams:
            self._since_ns = now_ns
        elif waited_s > (limits.idle_timeout_s if session.has_begun else limits.header_timeout_s):
            session.terminate(NO_ERROR)
        for exchange in tuple(session.streams.values()):
            if not exchange.sweep(now_ns):
                log.debug("half a header section from %s", self._client.address)
                session.terminate(PROTOCOL_ERROR)
                break
        self.flush()
