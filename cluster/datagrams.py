"""The UDP sockets HTTP/3 comes in by: per https address one SO_REUSEPORT socket for every lane.

A lane's number is its socket's place in the kernel's group, which is what the kernel steers by: so a socket
may only be closed once no process has it open any more, and only from the highest lane down. Knows nothing
of QUIC beyond that.
"""

import contextlib
import itertools
import logging
import mmap
import socket
from collections.abc import Collection
from dataclasses import dataclass, field

from cluster import steering
from cluster.binding import UDP, bind, probe, refusal
from worker.settings import ListenerSettings
from worker.start import UdpListening

log = logging.getLogger("edgecluster.supervisor")

BUFFER_BYTES = 4 * 1024 * 1024  # each way: about a quarter of a second of what one worker can take in

# Linux constants the socket module does not name (asm-generic/socket.h, linux/in.h, linux/in6.h).
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3

Key = tuple[str, int, str]


@dataclass(slots=True)
class Group:
    """All lanes of one address, in lane order, which is also their order in the kernel's group."""

    listener: ListenerSettings  # with the port really bound
    number: int  # never used again
    readers: mmap.mmap  # by lane: the member that reads it; shared with the workers
    lanes: list[socket.socket] = field(default_factory=list)


class Datagrams:
    """Every UDP socket of the cluster."""

    def __init__(self) -> None:
        self.groups: dict[Key, Group] = {}
        self._numbers = itertools.count()
        self._steers = True  # the kernel takes our program

    def open(self, key: Key, listener: ListenerSettings, lanes: int, *, patience_s: float = 0.0) -> None:
        """Have `lanes` sockets for an address; what is open already stays as it is.

        `listener` has the port really bound for TCP. Raises BootError; what this call has opened stays then.
        """
        if key in self.groups and self.groups[key].listener.port != listener.port:
            self._cut(key, 0)  # "any port" has become another one
        if key not in self.groups:
            probe(listener, UDP, patience_s)
            self.groups[key] = Group(listener, next(self._numbers), mmap.mmap(-1, mmap.PAGESIZE))
        group = self.groups[key]
        is_new = not group.lanes
        while len(group.lanes) < lanes:
            try:
                group.lanes.append(_tuned(bind(group.listener, UDP, shared=True)))
            except OSError as error:
                raise refusal(group.listener, UDP, error) from None
        if is_new:
            self._attach(group, lanes)

    def of(self, key: Key, lane: int) -> UdpListening:
        """What the worker of one lane needs."""
        group = self.groups[key]
        return UdpListening(group.lanes[lane], group.number, group.readers)

    def steer(self, lanes: int) -> None:
        """Give datagrams of new connections to the first `lanes` lanes only.

        Those of connections that belong to lanes above come to one of these, too, which hands them over.
        """
        for group in self.groups.values():
            self._attach(group, lanes)

    def lengths(self) -> dict[Key, int]:
        """How many lanes each address has."""
        return {key: len(group.lanes) for key, group in self.groups.items()}

    def restore(self, lengths: dict[Key, int]) -> None:
        """Close what was opened since `lengths` was so."""
        for key in list(self.groups):
            self._cut(key, lengths.get(key, 0))

    def keep(self, keys: Collection[Key], lanes: int) -> None:
        """Close the other addresses and the lanes from `lanes` on: no process has them any more."""
        self.restore(dict.fromkeys(keys, lanes))

    def filenos(self) -> set[int]:
        return {lane.fileno() for group in self.groups.values() for lane in group.lanes}

    def close(self) -> None:
        self.restore({})

    def _cut(self, key: Key, lanes: int) -> None:
        # From the highest down: the kernel fills a gap with the last socket, which would permute the lanes.
        group = self.groups[key]
        while len(group.lanes) > lanes:
            group.lanes.pop().close()
        if not group.lanes:
            group.readers.close()
            del self.groups[key]

    def _attach(self, group: Group, lanes: int) -> None:
        if not self._steers:
            return
        try:
            steering.attach(group.lanes[0], steering.by_connection_id(lanes))
        except OSError as error:
            self._steers = False
            log.warning(
                "the kernel does not steer QUIC by connection ID (%s): it goes by addresses and ports, and "
                "workers hand over what is another's, which costs more",
                error.strerror,
            )


def _tuned(bound: socket.socket) -> socket.socket:
    """Large buffers, as far as we may; datagrams are never cut into fragments (RFC 9000 14)."""
    for forced, polite in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            bound.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except PermissionError:  # it takes CAP_NET_ADMIN; net.core.rmem_max and wmem_max bound the rest
            bound.setsockopt(socket.SOL_SOCKET, polite, BUFFER_BYTES)
    with contextlib.suppress(OSError):
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    return bound
