"""The connections of one worker to one origin: who is idle, how many there may be, how a new one is made."""

import asyncio
import errno
import socket
import ssl
from typing import cast

import aiofastnet

from worker.errors import EdgeError
from worker.origin.connection import Connection, State
from worker.origin.tls import client_context
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

# How long a closing TLS connection waits for the other side's close_notify.
TLS_SHUTDOWN_S = 2.0

# Our own want of descriptors, ports or memory, not the origin's failure.
_OUR_WANT = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN)
)


_IDLE = State.IDLE  # looking a member up in its enum takes longer than all other tests on the way


class Pool:
    """Idle connections are taken last in, first out: the warmest is used, the others can expire."""

    def __init__(self, settings: OriginSettings) -> None:
        self.settings = settings
        self.idle: list[Connection] = []  # oldest first
        self.connections: set[Connection] = set()  # all that have a socket
        self.connecting = 0
        self.closing = False
        self.keepalive_ns = int(settings.keepalive_s * 1e9)
        self.tls = client_context(settings)
        self._emptied: asyncio.Future[None] | None = None

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

    async def connect(self) -> Connection:
        """A new connection. Raises a retryable EdgeError: nothing of any request was sent."""
        settings = self.settings
        if len(self.connections) + self.connecting >= settings.connections:
            detail = f"all {settings.connections} connections a worker may have are in use (`connections`)"
            raise self._error(503, Fault.CONNECTION_LIMIT, detail)
        loop = asyncio.get_running_loop()
        connection = Connection(self, loop)
        self.connecting += 1
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await self._open(loop, connection)
        except OSError as error:
            raise self._connect_error(error) from error
        except ExceptionGroup as group:  # one per address that was tried
            last = group.exceptions[-1]
            raise self._connect_error(last if isinstance(last, OSError) else OSError(str(last))) from group
        except BaseException:
            connection.abandon()  # cancelled, maybe when it had just come about
            raise
        finally:
            self.connecting -= 1
            self._tell_if_empty()
        self.connections.add(connection)
        return connection

    async def _open(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        settings = self.settings

        def factory() -> asyncio.Protocol:
            return cast(asyncio.Protocol, connection)  # all but the name: its class is compiled

        if self.tls is None:
            await loop.create_connection(factory, settings.host, settings.port)
        else:
            await aiofastnet.create_connection(
                loop,
                factory,
                settings.host,
                settings.port,
                ssl=self.tls,
                server_hostname=settings.server_name or settings.host,
                ssl_handshake_timeout=settings.connect_timeout_s,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S,
                all_errors=True,
            )

    def give_back(self, connection: Connection) -> None:
        """Keep an idle connection, or close the oldest when there are enough."""
        if self.closing:
            connection.close()
            return
        self.idle.append(connection)
        if len(self.idle) > self.settings.keepalive_connections:
            self.idle.pop(0).close()

    def forget(self, connection: Connection) -> None:
        """Its socket is gone."""
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self._tell_if_empty()

    def sweep(self, now_ns: int) -> None:
        """Close idle connections whose time is over, fail exchanges the origin has stalled."""
        kept = []
        for connection in self.idle:
            if self._is_expired(connection, now_ns):
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
        while self.connections or self.connecting:
            if self._emptied is None or self._emptied.done():
                self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)  # others may wait for the same

    def _tell_if_empty(self) -> None:
        emptied = self._emptied
        if emptied is not None and not emptied.done() and not self.connections and not self.connecting:
            emptied.set_result(None)

    def _is_expired(self, connection: Connection, now_ns: int) -> bool:
        return now_ns - connection.active_ns > (connection.idle_limit_ns or self.keepalive_ns)

    def _connect_error(self, error: OSError) -> EdgeError:
        """What kept us from connecting, in the words of RFC 9209."""
        said = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            detail = f"no connection within {self.settings.connect_timeout_s} s"
            return self._error(504, Fault.CONNECT_TIMEOUT, detail)
        if isinstance(error, socket.gaierror):
            return self._error(502, Fault.DNS, f"cannot resolve {self.settings.host}: {said}")
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._error(502, Fault.TLS_CERTIFICATE, f"its certificate is not accepted: {said}")
        if isinstance(error, ssl.SSLError):
            return self._error(502, Fault.TLS, said)
        if isinstance(error, ConnectionRefusedError):
            return self._error(502, Fault.CONNECT_REFUSED, "connection refused")
        if error.errno in _OUR_WANT:
            return EdgeError(503, Side.EDGE, Fault.OVERLOAD, f"{self.settings.url}: {said}", retryable=True)
        if self.tls is not None and isinstance(error, ConnectionError):
            return self._error(502, Fault.TLS, f"closed the connection during the handshake: {said}")
        return self._error(502, Fault.UNAVAILABLE, said)

    def _error(self, status: int, fault: Fault, detail: str) -> EdgeError:
        return EdgeError(status, Side.ORIGIN, fault, f"{self.settings.url}: {detail}", retryable=True)
