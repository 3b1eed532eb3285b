"""Where datagrams come from and go to: one UDP socket, by plain system calls.

Knows nothing of what is in them. A datagram that the system refuses for good is lost, as on any way.
"""

import socket
from contextlib import suppress
from typing import Protocol

from worker.protocol.quic.link import Address

BATCH = 64  # datagrams taken at a time


class Port(Protocol):
    """A non-blocking UDP socket."""

    def receive(self) -> list[tuple[bytes, Address]]:
        """What has come, up to BATCH datagrams; [] when there is nothing."""
        ...

    def send(self, datagrams: list[tuple[bytes, Address]]) -> int:
        """How many at the end of the list are left, to be sent once the socket is writable."""
        ...

    def fileno(self) -> int: ...


class SocketPort:
    """A port by one call of the system for each datagram."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def receive(self) -> list[tuple[bytes, Address]]:
        found: list[tuple[bytes, Address]] = []
        with suppress(OSError):  # nothing more, or an error that a datagram of ours came back with
            while len(found) < BATCH:
                data, peer = self._sock.recvfrom(65536)
                found.append((data, peer[:2]))
        return found

    def send(self, datagrams: list[tuple[bytes, Address]]) -> int:
        for sent, (data, peer) in enumerate(datagrams):
            try:
                self._sock.sendto(data, peer)
            except BlockingIOError:
                return len(datagrams) - sent
            except OSError:  # no way to that address
                continue
        return 0

    def fileno(self) -> int:
        return self._sock.fileno()
