"""Accepting connections that begin with something else than HTTP: TLS, or a proxy's word for who comes.

TLS is aiofastnet's transport: about two thirds of the cost of uvloop's per request. An acceptor of our own
rather than aiofastnet's server, which (1.2.0) fails when file descriptors run out, may take thousands of
connections in one turn of the loop, and cuts handshakes under way when it is closed.
"""

import asyncio
import errno
import logging
import ssl
import struct
from asyncio import AbstractEventLoop, AbstractServer, Task, TimerHandle
from collections import Counter
from socket import SO_LINGER, SOL_SOCKET, socket

from worker.context import Client
from worker.protocol import plain_http
from worker.protocol.proxy_protocol import ProxyError, read_source
from worker.protocol.server import ConnectionServer
from worker.protocol.transport import shake_hands
from worker.reasons import TurnedAway

BACKLOG = 4096
ACCEPTS = 16  # connections taken before the loop gets its turn: each begins a handshake, which is costly
HANDSHAKES = 2048  # at a time; above, slow ones are cut, and where none is connections wait in the backlog
HANDSHAKE_TIMEOUT_S = 10.0  # from the connection to the end of its handshake, or `header_timeout` if shorter
SILENT_S = 0.25  # without a byte of TLS: slow, when there are too many
SLOW_S = 2.0  # under way for so long: slow as well
CUT = 64  # of the slow ones at once
RETRY_S = 0.5  # before accepting again when the system has no more file descriptors or memory

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, which leaves nothing behind

log = logging.getLogger("edgecluster.protocol")


class Arrival:
    """A connection that has not got as far as HTTP."""

    __slots__ = ("client", "is_silent", "since_s", "task")

    def __init__(self, client: Client, since_s: float) -> None:
        self.client = client
        self.since_s = since_s
        self.is_silent = True  # no byte of TLS yet
        self.task: Task[None] | None = None

    def is_slow(self, now_s: float) -> bool:
        return now_s - self.since_s >= (SILENT_S if self.is_silent else SLOW_S)


class Acceptor(AbstractServer):
    """Accepts on one listening socket, which it owns. `close` stops accepting and lets handshakes finish."""

    def __init__(
        self, loop: AbstractEventLoop, sock: socket, context: ssl.SSLContext | None, server: ConnectionServer
    ) -> None:
        self._loop = loop
        self._sock: socket | None = sock
        self._context = context
        self._server = server
        self._arrivals: dict[Arrival, None] = {}  # oldest first
        self._retry: TimerHandle | None = None
        self._full = False  # not accepting, because there are too many handshakes
        sock.setblocking(False)
        sock.listen(BACKLOG)
        loop.add_reader(sock, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            if self._sock is None:
                return
            if len(self._arrivals) >= HANDSHAKES and not self._make_room():
                self._full = True
                self._pause(SILENT_S)
                return
            try:
                connection, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.warning("accepting pauses for %s s: %s", RETRY_S, error)
                self._server.make_room()
                self._pause(RETRY_S)
                return
            self._receive(connection, address)

    def _receive(self, connection: socket, address: tuple[str, int]) -> None:
        """Let a connection begin, unless it is refused for its address."""
        server = self._server
        client = server.client_at(address)
        if server.is_proxied:
            is_welcome = client.trusted
            if not is_welcome:
                server.tally.turned_away(TurnedAway.PROXY)
        else:
            is_welcome = server.welcome(client)
        if not is_welcome:
            _refuse(connection)
            return
        connection.setblocking(False)
        arrival = Arrival(client, self._loop.time())
        arrival.task = self._loop.create_task(self._bring_in(arrival, connection))
        self._arrivals[arrival] = None

    def _make_room(self) -> bool:
        """Cut slow handshakes, the oldest of the address that has most of them; False where none is slow."""
        now_s = self._loop.time()
        slow = [arrival for arrival in self._arrivals if arrival.is_slow(now_s)]
        if not slow:
            return False
        ((largest, _),) = Counter(arrival.client.bucket_key for arrival in slow).most_common(1)
        for arrival in [one for one in slow if one.client.bucket_key == largest][:CUT]:
            del self._arrivals[arrival]
            self._server.tally.turned_away(TurnedAway.CROWDED)
            self._server.part(arrival.client)  # here as well: a task may be cancelled before its first step
            if arrival.task is not None:
                arrival.task.cancel()
        return True

    def _pause(self, seconds: float) -> None:
        assert self._sock is not None
        self._loop.remove_reader(self._sock)
        self._retry = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._full = False
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._accept)

    async def _bring_in(self, arrival: Arrival, connection: socket) -> None:
        is_served = False
        try:
            is_served = await self._begin(arrival, connection)
        except OSError as error:  # what is no TLS, fails or takes too long: the transport is closed already
            log.debug("no connection came of one from %s: %s", arrival.client.address, error)
            connection.close()
            if isinstance(error, ProxyError):
                self._server.tally.turned_away(TurnedAway.PROXY)
            elif self._context is not None:
                self._server.tally.handshake(False)
        except asyncio.CancelledError:
            connection.close()
            raise
        else:
            if is_served and self._context is not None:
                self._server.tally.handshake(True)
        finally:
            if not is_served:
                self._server.part(arrival.client)
            self._arrivals.pop(arrival, None)
            if self._full:
                self._resume()

    async def _begin(self, arrival: Arrival, connection: socket) -> bool:
        """From the first byte to a protocol that has a transport; False if it was refused. Raises OSError."""
        loop, server = self._loop, self._server
        since_ns = int(arrival.since_s * 1e9)
        until_s = arrival.since_s + min(HANDSHAKE_TIMEOUT_S, server.limits.header_timeout_s)
        if server.is_proxied and not await self._learn_client(arrival, connection, until_s):
            _refuse(connection)
            return False
        client = arrival.client
        if self._context is None:
            await loop.connect_accepted_socket(lambda: server.factory(client, since_ns), connection)
            return True
        first = await plain_http.first_bytes(loop, connection, until_s - loop.time())
        arrival.is_silent = False
        if plain_http.may_be_http(first):
            await plain_http.answer(loop, connection)
            raise ConnectionAbortedError("the client speaks no TLS")
        protocol = server.factory(client, since_ns)
        await shake_hands(loop, protocol, self._context, connection, until_s - loop.time())
        return True

    async def _learn_client(self, arrival: Arrival, connection: socket, until_s: float) -> bool:
        """Let the proxy at the other end say for whom it speaks; False if that client may not connect."""
        try:
            async with asyncio.timeout_at(until_s):
                source = await read_source(self._loop, connection)
        except TimeoutError:
            raise ProxyError("no PROXY head in time") from None
        if source is not None:
            arrival.client = self._server.client_at(source)
        return self._server.welcome(arrival.client)

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    async def start_serving(self) -> None:
        """It serves from the beginning."""

    async def serve_forever(self) -> None:
        """Until the caller is cancelled, which closes it."""
        try:
            await self._loop.create_future()
        finally:
            self.close()

    async def wait_closed(self) -> None:
        """Until no handshake is under way."""
        while tasks := [arrival.task for arrival in self._arrivals if arrival.task is not None]:
            await asyncio.wait(tasks)

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._sock is not None


def _refuse(connection: socket) -> None:
    """Close at once: nothing is sent, nothing waits for the other side."""
    try:
        connection.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
    finally:
        connection.close()
