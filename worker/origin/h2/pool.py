"""The HTTP/2 connections of one worker to one origin: whose turn it is on which of them.

Requests share one connection; another is opened when all there are carry as many as they may. An origin that
turns out to speak HTTP/1.1 only, where either is welcome, is handed to the pool for that.
"""

import asyncio
from asyncio import CancelledError, Future, Task
from collections import deque
from time import monotonic_ns
from typing import cast

from worker.errors import EdgeError
from worker.origin.connection import Connection
from worker.origin.dial import Dialer
from worker.origin.h2.connection import H2Connection
from worker.origin.h2.exchange import Exchange
from worker.origin.pool import Pool
from worker.origin.resolve import Resolver
from worker.origin.tls import ALPN
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

LEARN_AGAIN_S = 600.0  # an origin that chose HTTP/1.1 is offered HTTP/2 again after this time


class H2Pool:
    """What `Pool` is for HTTP/1.1. `take` and `connect` give a place on a connection, not a connection."""

    def __init__(self, settings: OriginSettings, resolver: Resolver) -> None:
        self.settings = settings
        self.may_fall_back = settings.protocol == "auto"
        self.dialer = Dialer(settings, resolver, ALPN[settings.protocol][0])
        self.plain = Pool(settings, resolver)
        self.plain_until_ns = 0  # the origin speaks HTTP/1.1
        self.connections: list[H2Connection] = []  # those that are open, oldest first
        self.dialing: set[Task[None]] = set()
        self.waiting: deque[Future[Exchange | None]] = deque()  # first come, first served; None: ask anew
        self.streams = settings.streams  # requests that a new connection will take
        self.closing = False
        self.keepalive_ns = int(settings.keepalive_s * 1e9)
        self._emptied: Future[None] | None = None

    def for_upgrade(self) -> Pool:
        """Where a connection comes from that is to be switched to another protocol. Raises EdgeError."""
        if self.may_fall_back:
            return self.plain
        detail = "an upgrade (WebSocket) needs HTTP/1.1: `protocol: auto` lets the origin have both"
        raise EdgeError(501, Side.EDGE, Fault.BAD_REQUEST, f"{self.settings.url}: {detail}")

    def take(self, now_ns: int) -> Exchange | Connection | None:
        """A place on a connection there is, or None."""
        if self.plain_until_ns > now_ns:
            return self.plain.take(now_ns)
        if not self.waiting:
            for connection in self.connections:
                if connection.room > 0:
                    return connection.exchange()
        return None

    async def connect(self, deadline_ns: int = 0) -> Exchange | Connection:
        """A place for one exchange, on a new connection or after a wait. As `Pool.connect`."""
        while True:
            place = self.take(monotonic_ns())
            if place is not None:
                return place
            if self.plain_until_ns > monotonic_ns():
                return await self.plain.connect(deadline_ns)
            place = await self._wait(deadline_ns)
            if place is not None:
                return place

    def in_flight(self) -> int:
        """Requests under way or waiting."""
        own = sum(connection.exchanges for connection in self.connections)
        return own + len(self.waiting) + self.plain.in_flight()

    def sweep(self, now_ns: int) -> None:
        """Close idle connections whose time is over, fail what the origin has stalled."""
        self._follow_name(now_ns)
        for connection in tuple(self.connections):
            connection.overdue(now_ns)
        for connection in tuple(self.connections):
            if not connection.exchanges:
                if connection.retired or now_ns - connection.idle_ns > self.keepalive_ns:
                    connection.close()
        self.plain.sweep(now_ns)

    def close(self) -> None:
        """Keep no connection any more; those in use end with their last exchange."""
        self.closing = True
        for connection in tuple(self.connections):
            if not connection.exchanges:
                connection.close()
        self.plain.close()

    def abort(self) -> None:
        """End every connection at once, and what is under way with it."""
        self.closing = True
        for task in self.dialing:
            task.cancel()
        for connection in self.connections:
            connection.abandon()

    async def wait_closed(self) -> None:
        """Wait until the last connection is gone."""
        while self.connections or self.dialing:
            if self._emptied is None or self._emptied.done():
                self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)  # others may wait for the same
        await self.plain.wait_closed()

    # what a connection calls

    def has_room(self, connection: H2Connection) -> None:
        if self.waiting:
            self._serve()
        if not connection.exchanges and not connection.retired:
            idle = sum(not other.exchanges for other in self.connections)
            if self.closing or idle > self.settings.keepalive_connections:
                connection.retired = True
        if not connection.exchanges and connection.retired and connection in self.connections:
            asyncio.get_running_loop().call_soon(connection.close)

    def forget(self, connection: H2Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        self._serve()
        self._tell_if_empty()

    # the queue

    async def _wait(self, deadline_ns: int) -> Exchange | None:
        """The place whose turn it is; None: there may be one now. Raises EdgeError."""
        settings = self.settings
        in_use = (
            f"all {settings.connections} connections a worker may have are in use (`connections`, `streams`)"
        )
        to_come = self.streams * (settings.connections - len(self.connections))  # places, when all are open
        if len(self.waiting) >= settings.queue + to_come:
            raise self._no_room(f"{in_use}, and {len(self.waiting)} requests wait for one (`queue`)")
        limit_s = settings.queue_timeout_s + (settings.connect_timeout_s if to_come else 0)
        patience_s = self.plain.patience_s(limit_s, deadline_ns)
        turn: Future[Exchange | None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        self._dial()
        try:
            async with asyncio.timeout(patience_s):
                return await turn
        except BaseException as error:
            self._leave(turn)
            if not isinstance(error, TimeoutError):
                raise
            if patience_s < limit_s:
                raise self.plain.too_late() from None
            limit = f"none became free within {settings.queue_timeout_s:g} s (`queue_timeout`)"
            raise self._no_room(f"{in_use}; {limit}") from None

    def _leave(self, turn: Future[Exchange | None]) -> None:
        """Whoever waited is gone: what it got goes to the next."""
        if turn in self.waiting:
            self.waiting.remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            place = turn.result()
            if place is not None:
                place.connection.leave(place)

    def _serve(self) -> None:
        """Give the places there are to those who wait, and open a connection where that is not enough."""
        for connection in tuple(self.connections):
            while self.waiting and connection.room > 0:
                turn = self.waiting.popleft()
                if not turn.done():  # else cancelled, and about to leave
                    turn.set_result(connection.exchange())
        self._dial()

    def _ask_anew(self) -> None:
        """Those who wait are to look for themselves."""
        waiting, self.waiting = self.waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def _refuse(self, error: BaseException) -> None:
        """All who wait learn why no connection comes."""
        waiting, self.waiting = self.waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(_as_edge_error(error))

    # connections

    def _dial(self) -> None:
        """Open as many connections as those who wait can use, and may have."""
        while (
            len(self.waiting) > self.streams * len(self.dialing)
            and len(self.connections) + len(self.dialing) < self.settings.connections
        ):
            task = asyncio.get_running_loop().create_task(self._open())
            self.dialing.add(task)
            task.add_done_callback(self._dialed)

    def _dialed(self, task: Task[None]) -> None:
        self.dialing.discard(task)
        error = CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._serve()
        elif not self.dialing:
            self._refuse(error)
        self._tell_if_empty()

    async def _open(self) -> None:
        """One more connection. Raises a retryable EdgeError: nothing of any request was sent."""
        loop = asyncio.get_running_loop()
        limit_s = self.settings.connect_timeout_s
        until_s = loop.time() + limit_s
        agreed = Agreed(self, loop)
        try:
            await self.dialer.open(agreed, limit_s)
            if isinstance(agreed.protocol, H2Connection):
                async with asyncio.timeout_at(until_s):
                    await agreed.protocol.ready
        except TimeoutError:
            agreed.abandon()
            detail = f"no HTTP/2 within {limit_s:g} s (`connect_timeout`): its SETTINGS did not come"
            raise self._error(504, Fault.CONNECT_TIMEOUT, detail) from None
        except BaseException:
            agreed.abandon()
            raise
        if agreed.protocol is not None:
            agreed.protocol.address = agreed.address
        if isinstance(agreed.protocol, H2Connection):
            self._begin(agreed.protocol)
        elif isinstance(agreed.protocol, Connection):
            self._begin_plain(agreed.protocol)
        else:
            detail = "does not offer HTTP/2 in the TLS handshake (ALPN), and `protocol` says h2"
            raise self._error(502, Fault.TLS, detail)

    def _begin(self, connection: H2Connection) -> None:
        if connection.broken is not None:
            raise self._error(502, connection.broken.fault, f"no HTTP/2 there: {connection.broken.detail}")
        if connection.room <= 0:
            connection.close()
            raise self._error(503, Fault.CONNECTION_LIMIT, "takes no requests on a new connection")
        self.plain_until_ns = 0
        self.streams = connection.room
        self.connections.append(connection)
        if self.closing and not self.waiting:
            connection.close()

    def _begin_plain(self, connection: Connection) -> None:
        """The origin has chosen HTTP/1.1."""
        self.plain_until_ns = monotonic_ns() + int(LEARN_AGAIN_S * 1e9)
        self.plain.adopt(connection)
        self._ask_anew()

    def _follow_name(self, now_ns: int) -> None:
        """Use no connection any more whose address the origin's name has lost."""
        addresses = self.dialer.addresses(now_ns) if self.connections else ()
        if addresses:
            for connection in self.connections:
                connection.retired = connection.retired or connection.address not in addresses

    def _tell_if_empty(self) -> None:
        emptied = self._emptied
        if emptied is not None and not emptied.done() and not self.connections and not self.dialing:
            emptied.set_result(None)

    def _no_room(self, detail: str) -> EdgeError:
        return self._error(503, Fault.CONNECTION_LIMIT, detail)

    def _error(self, status: int, fault: Fault, detail: str) -> EdgeError:
        return EdgeError(status, Side.ORIGIN, fault, f"{self.settings.url}: {detail}", retryable=True)


class Agreed(asyncio.Protocol):
    """Gives way to the protocol that both ends agreed on in the TLS handshake; without TLS, to HTTP/2."""

    def __init__(self, pool: H2Pool, loop: asyncio.AbstractEventLoop) -> None:
        self.address: str | None = None  # numeric, of the other end, set by the dialer
        self.protocol: H2Connection | Connection | None = None  # None: not what is wanted
        self._pool = pool
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() == "h2":
            self.protocol = H2Connection(self._pool, self._loop)
        elif self._pool.may_fall_back:
            self.protocol = Connection(self._pool.plain, self._loop)
        else:
            cast(asyncio.Transport, transport).abort()
            return
        transport.set_protocol(cast(asyncio.BaseProtocol, self.protocol))  # compiled, all but the name
        self.protocol.connection_made(transport)

    def abandon(self) -> None:
        if self.protocol is not None:
            self.protocol.abandon()


def _as_edge_error(error: BaseException) -> EdgeError:
    """One of its own for everybody who waited; each is raised once."""
    if isinstance(error, EdgeError):
        return EdgeError(error.status, error.side, error.fault, error.detail, retryable=error.retryable)
    return EdgeError(500, Side.EDGE, Fault.INTERNAL, f"opening a connection: {error!r}")
