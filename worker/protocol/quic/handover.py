"""Datagrams on their way from the worker that received them to the one whose connection they belong to.

Every place of a worker has an inbox, a pair of Unix datagram sockets that the supervisor made before the
forks: all may write to it, its owner reads. Nothing here waits: an inbox that is full, or whose owner is
dead, loses what comes, as a network would. Knows nothing of QUIC but that others name a member.
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from worker.protocol.quic.link import Address

INBOX_BYTES = 1024 * 1024  # as the kernel counts them: some 400 datagrams, 60 ms of what a worker can take in
AT_ONCE = 16  # frames taken before the loop gets its turn
FRAME_BYTES = 4096  # more than any of QUIC's datagrams; what is larger is cut, which its cipher finds out

_SO_SNDBUFFORCE = 32
_HEADER = Struct("!HHI16s")  # listener, port, scope, address (an IPv4 one mapped into IPv6: RFC 4291 2.5.5.2)
_MAPPED = b"\0" * 10 + b"\xff\xff"

Frame = tuple[int, bytes, Address]  # number of the listener, datagram, where it came from


def make_inbox() -> tuple[socket.socket, socket.socket]:
    """The two ends of an inbox, to be read and to be written, non-blocking.

    Between the two ends of a pair the kernel bounds bytes alone (unix(7)): by the writing end's buffer,
    which all writers share.
    """
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        writing.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, INBOX_BYTES)
    except PermissionError:  # net.core.wmem_max bounds what we may have without CAP_NET_ADMIN
        writing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_BYTES)
    return reading, writing


def pack(listener: int, data: bytes, peer: Address) -> bytes:
    """One datagram as it crosses. Raises ValueError if `peer` is no numeric address."""
    host, _, scope = peer[0].partition("%")
    if ":" in host:
        return _HEADER.pack(listener, peer[1], int(scope or 0), IPv6Address(host).packed) + data
    return _HEADER.pack(listener, peer[1], 0, _MAPPED + IPv4Address(host).packed) + data


def unpack(frame: bytes) -> Frame:
    """What `pack` was given."""
    listener, port, scope, packed = _HEADER.unpack_from(frame)
    if packed.startswith(_MAPPED):
        host = str(IPv4Address(packed[len(_MAPPED) :]))
    else:
        host = f"{IPv6Address(packed)}%{scope}" if scope else str(IPv6Address(packed))
    return listener, frame[_HEADER.size :], (host, port)


class Handover:
    """One worker's side: its own inbox, and the way into everybody's."""

    def __init__(
        self, inbox: socket.socket, outboxes: Sequence[socket.socket], is_alive: Callable[[int], bool]
    ) -> None:
        """`outboxes` by member; `is_alive(member)`: a process has that place."""
        self._inbox = inbox
        self._outboxes = outboxes
        self._is_alive = is_alive
        self.handed_over = 0  # datagrams
        self.dropped = 0  # for living members whose inbox was full

    def fileno(self) -> int:
        """The inbox, to wait until there is something."""
        return self._inbox.fileno()

    def pass_on(self, listener: int, member: int, data: bytes, peer: Address) -> bool:
        """Give a datagram to `member`; False when there is no such process. It may be lost on the way."""
        if member >= len(self._outboxes) or not self._is_alive(member):
            return False
        try:
            self._outboxes[member].send(pack(listener, data, peer))
        except (BlockingIOError, ConnectionError):  # full; or its last reader has just gone
            self.dropped += 1
        else:
            self.handed_over += 1
        return True

    def receive(self) -> list[Frame]:
        """What others have given us, up to 16 datagrams; [] when there is nothing."""
        frames: list[Frame] = []
        while len(frames) < AT_ONCE:
            try:
                frames.append(unpack(self._inbox.recv(FRAME_BYTES)))
            except BlockingIOError:
                break
        return frames

    def empty(self) -> None:
        """Drop what was meant for a former owner of this place."""
        while self.receive():
            pass
