"""Accepting TLS connections, by aiofastnet's transport: about two thirds of the cost of uvloop's per request.

An acceptor of our own rather than aiofastnet's server, which (1.2.0) fails when file descriptors run out,
may take thousands of connections in one turn of the loop, and cuts handshakes under way when it is closed.
"""

import asyncio
import errno
import logging
import ssl
from asyncio import AbstractEventLoop, AbstractServer, Task, TimerHandle
from collections.abc import Callable
from socket import socket

from worker.protocol import plain_http
from worker.protocol.tally import Tally
from worker.protocol.transport import HANDSHAKE_TIMEOUT_S, shake_hands

BACKLOG = 4096
ACCEPTS = 16  # connections taken before the loop gets its turn: each begins a handshake, which is costly
HANDSHAKES = 2048  # at a time; above, connections wait in the backlog
RETRY_S = 0.5  # before accepting again when the system has no more file descriptors or memory

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger("edgecluster.protocol")


class TlsServer(AbstractServer):
    """Accepts on one listening socket, which it owns. `close` stops accepting and lets handshakes finish."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: socket,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        tally: Tally,
    ) -> None:
        self._loop = loop
        self._sock: socket | None = sock
        self._context = context
        self._make_protocol = make_protocol
        self._tally = tally
        self._handshakes: set[Task[None]] = set()
        self._retry: TimerHandle | None = None
        self._full = False  # not accepting, because there are too many handshakes
        sock.setblocking(False)
        sock.listen(BACKLOG)
        loop.add_reader(sock, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            if self._sock is None:
                return
            if len(self._handshakes) >= HANDSHAKES:
                self._full = True
                self._loop.remove_reader(self._sock)
                return
            try:
                connection, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.warning("accepting pauses for %s s: %s", RETRY_S, error)
                self._loop.remove_reader(self._sock)
                self._retry = self._loop.call_later(RETRY_S, self._resume)
                return
            task = self._loop.create_task(self._shake_hands(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._shaken)

    def _resume(self) -> None:
        self._retry = None
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._accept)

    def _shaken(self, task: Task[None]) -> None:
        self._handshakes.discard(task)
        if self._full:
            self._full = False
            self._resume()

    async def _shake_hands(self, connection: socket) -> None:
        try:
            await self._begin(connection)
        except OSError as error:  # what is no TLS, fails or takes too long: the transport is closed already
            log.debug("TLS handshake failed: %s", error)
            connection.close()
            self._tally.handshake(False)
        else:
            self._tally.handshake(True)

    async def _begin(self, connection: socket) -> None:
        first = await plain_http.first_bytes(self._loop, connection, HANDSHAKE_TIMEOUT_S)
        if plain_http.may_be_http(first):
            await plain_http.answer(self._loop, connection)
            raise ConnectionAbortedError("the client speaks no TLS")
        await shake_hands(self._loop, self._make_protocol(), self._context, connection)

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
        while self._handshakes:
            await asyncio.wait(self._handshakes)

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._sock is not None
