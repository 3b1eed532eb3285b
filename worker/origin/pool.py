"""The connections of one worker to one origin: who is idle, how many there may be, who waits for one."""

import asyncio
from asyncio import Future
from collections import deque
from time import monotonic_ns

from worker.errors import EdgeError
from worker.origin.connection import Connection, State
from worker.origin.dial import Dialer
from worker.origin.resolve import Resolver
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

_TIMEOUTS = frozenset((Fault.CONNECT_TIMEOUT, Fault.DNS_TIMEOUT))

_IDLE = State.IDLE  # looking a member up in its enum takes longer than all other tests on the way


class Pool:
    """Idle connections are taken last in, first out: the warmest is used, the others can expire.

    When all that may be are in use, requests wait in turn for one that is given back, or for the place of one
    that is closed.
    """

    def __init__(self, settings: OriginSettings, resolver: Resolver | None = None) -> None:
        self.settings = settings
        self.dialer = Dialer(settings, resolver or Resolver())
        self.idle: list[Connection] = []  # oldest first
        self.connections: set[Connection] = set()  # all that have a socket, or are getting one
        self.waiting: deque[Future[Connection]] = deque()  # first come, first served
        self.closing = False
        self.keepalive_ns = int(settings.keepalive_s * 1e9)
        self._emptied: Future[None] | None = None

    def take(self, now_ns: int) -> Connection | None:
        """An idle connection that looks alive, or None."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.state is not _IDLE or connection.transport.is_closing():
                continue
            if now_ns - connection.active_ns <= (connection.idle_limit_ns or self.keepalive_ns):
                return connection
            connection.close()
        return None

    async def connect(self, deadline_ns: int = 0) -> Connection:
        """A connection for one exchange: a new one, or after a wait maybe one that was given back.

        `deadline_ns`: when the request's own time is over, 0 for never. Raises EdgeError; a retryable one
        says that nothing of any request was sent.
        """
        while True:
            connection = self._place() or await self._wait(deadline_ns)
            if connection.address is None:
                await self._open(connection, deadline_ns)
                return connection
            if connection.state is _IDLE and not connection.transport.is_closing():
                return connection

    async def _open(self, connection: Connection, deadline_ns: int) -> None:
        limit_s = self.settings.connect_timeout_s
        patience_s = 0.0
        try:
            patience_s = self.patience_s(limit_s, deadline_ns)
            await self.dialer.open(connection, patience_s)
        except BaseException as error:
            connection.abandon()  # cancelled, maybe when it had just come about
            self.forget(connection)
            if isinstance(error, EdgeError) and error.fault in _TIMEOUTS and patience_s < limit_s:
                raise self.too_late() from error
            raise
        if connection.state is not _IDLE:  # lost again, or abandoned for what it sent, before our turn came
            self.forget(connection)
            detail = f"{self.settings.url}: closed the connection before it was asked anything"
            raise EdgeError(502, Side.ORIGIN, Fault.TERMINATED, detail, retryable=True)

    def give_back(self, connection: Connection) -> None:
        """Keep an idle connection, or close the oldest when there are enough."""
        if self.closing:
            connection.close()
            return
        if self.waiting and self._hand_over(connection):
            return
        self.idle.append(connection)
        if len(self.idle) > self.settings.keepalive_connections:
            self.idle.pop(0).close()

    def forget(self, connection: Connection) -> None:
        """Its socket is gone, so its place is free."""
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self.waiting:
            self._grant()
        self._tell_if_empty()

    def adopt(self, connection: Connection) -> None:
        """Keep a connection that somebody else has opened, if it is still there."""
        if connection.state is _IDLE:
            self.connections.add(connection)
            self.give_back(connection)

    def for_upgrade(self) -> "Pool":
        """Where a connection comes from that is to be switched to another protocol."""
        return self

    def in_flight(self) -> int:
        """Requests under way or waiting."""
        return len(self.connections) - len(self.idle) + len(self.waiting)

    def sweep(self, now_ns: int) -> None:
        """Close idle connections whose time is over, fail exchanges the origin has stalled."""
        self._follow_name(now_ns)
        kept = []
        for connection in self.idle:
            if connection.retired or self._is_expired(connection, now_ns):
                connection.close()
            else:
                kept.append(connection)
        self.idle = kept
        for connection in tuple(self.connections):
            connection.overdue(now_ns)

    def close(self) -> None:
        """Keep no connection any more; those in use end with their exchange."""
        self.closing = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()

    async def wait_closed(self) -> None:
        """Wait until the last connection is gone."""
        while self.connections:
            if self._emptied is None or self._emptied.done():
                self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)  # others may wait for the same

    def too_late(self) -> EdgeError:
        """The request's whole time is over."""
        limit = f"no complete answer within {self.settings.total_timeout_s:g} s (`total_timeout`)"
        return EdgeError(504, Side.ORIGIN, Fault.RESPONSE_TIMEOUT, f"{self.settings.url}: {limit}")

    # places and the queue for them

    def _place(self) -> Connection | None:
        """A connection yet to be opened, if there may be one more and nobody waits for it."""
        if self.waiting or len(self.connections) >= self.settings.connections:
            return None
        return self._reserve()

    def _reserve(self) -> Connection:
        connection = Connection(self, asyncio.get_running_loop())
        self.connections.add(connection)
        return connection

    async def _wait(self, deadline_ns: int) -> Connection:
        """The connection, or the place for one, whose turn it is. Raises EdgeError."""
        settings = self.settings
        in_use = f"all {settings.connections} connections a worker may have are in use (`connections`)"
        if len(self.waiting) >= settings.queue:
            raise self._no_room(f"{in_use}, and {len(self.waiting)} requests wait for one (`queue`)")
        patience_s = self.patience_s(settings.queue_timeout_s, deadline_ns)
        turn: Future[Connection] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            async with asyncio.timeout(patience_s):
                return await turn
        except BaseException as error:
            self._leave(turn)
            if not isinstance(error, TimeoutError):
                raise
            if patience_s < settings.queue_timeout_s:
                raise self.too_late() from None
            limit = f"none became free within {settings.queue_timeout_s:g} s (`queue_timeout`)"
            raise self._no_room(f"{in_use}; {limit}") from None

    def _leave(self, turn: Future[Connection]) -> None:
        """Whoever waited is gone: what it got goes to the next."""
        if turn in self.waiting:
            self.waiting.remove(turn)
        elif turn.done() and not turn.cancelled():
            connection = turn.result()
            if connection.address is None:
                self.forget(connection)
            elif connection.state is _IDLE:
                self.give_back(connection)

    def _grant(self) -> None:
        """Give the place that is free to the first who waits."""
        if len(self.connections) < self.settings.connections:
            connection = self._reserve()
            if not self._hand_over(connection):
                self.connections.discard(connection)

    def _hand_over(self, connection: Connection) -> bool:
        """Give it to the first who waits; False if nobody does any more."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():  # else cancelled, and about to leave
                turn.set_result(connection)
                return True
        return False

    def patience_s(self, limit_s: float, deadline_ns: int) -> float:
        """`limit_s`, or what is left of the request's own time. Raises EdgeError when that is over."""
        if not deadline_ns:
            return limit_s
        left_s = (deadline_ns - monotonic_ns()) / 1e9
        if left_s <= 0:
            raise self.too_late()
        return min(limit_s, left_s)

    def _no_room(self, detail: str) -> EdgeError:
        detail = f"{self.settings.url}: {detail}"
        return EdgeError(503, Side.ORIGIN, Fault.CONNECTION_LIMIT, detail, retryable=True)

    # the rest

    def _follow_name(self, now_ns: int) -> None:
        """Use no connection any more whose address the origin's name has lost."""
        addresses = self.dialer.addresses(now_ns) if self.connections else ()
        if addresses:
            for connection in self.connections:
                connection.retired = connection.address is not None and connection.address not in addresses

    def _tell_if_empty(self) -> None:
        emptied = self._emptied
        if emptied is not None and not emptied.done() and not self.connections:
            emptied.set_result(None)

    def _is_expired(self, connection: Connection, now_ns: int) -> bool:
        return now_ns - connection.active_ns > (connection.idle_limit_ns or self.keepalive_ns)
