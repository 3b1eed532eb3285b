"""The listening sockets: per address one SO_REUSEPORT TCP socket for every lane, and for HTTP/3 a UDP one.

The supervisor owns them and no worker's death closes one, so connections that wait in a lane's queue
find its successor. Knows nothing of TLS or HTTP.
"""

import contextlib
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from cluster import steering
from cluster.binding import TCP, bind, probe, refusal
from cluster.datagrams import Datagrams, Key
from cluster.errors import BootError
from worker.settings import ListenerSettings
from worker.start import UdpListening

BACKLOG = 4096  # the kernel cuts it down to net.core.somaxconn
PORTS_TRIED = 16  # for one that is free for TCP and UDP alike

_TCP_INFO_UNACKED = 24  # of a listening socket: connections that wait to be accepted


@dataclass(slots=True)
class Group:
    """All lanes of one address, in lane order, which is also their order in the kernel's group."""

    listener: ListenerSettings  # with the port really bound
    lanes: list[socket.socket] = field(default_factory=list)


class Sockets:
    """Every listening socket of the cluster."""

    def __init__(self) -> None:
        self.groups: dict[Key, Group] = {}
        self.datagrams = Datagrams()

    def open(
        self,
        listeners: Collection[ListenerSettings],
        lanes: int,
        *,
        patience_s: float = 0.0,
        http3: bool = False,
    ) -> None:
        """Have `lanes` sockets for each address; what is open already stays as it is.

        Port 0 is chosen by the kernel once and shared by all lanes. With `http3`, each https address has
        as many UDP sockets on the same port. A port somebody else has is refused, after trying again for
        `patience_s` seconds. Raises BootError having closed what this call opened.
        """
        before = {key: len(group.lanes) for key, group in self.groups.items()}
        datagrams_before = self.datagrams.lengths()
        try:
            for listener in listeners:
                with_udp = http3 and listener.may_have_http3
                if with_udp:
                    self._open_both(listener, lanes, patience_s)
                else:
                    self._open(listener, lanes, patience_s)
        except BaseException:
            for key in list(self.groups):
                self._cut(key, before.get(key, 0))
            self.datagrams.restore(datagrams_before)
            raise

    def _open(self, listener: ListenerSettings, lanes: int, patience_s: float) -> None:
        key = _key(listener)
        if key not in self.groups:
            probe(listener, TCP, patience_s)
            self.groups[key] = Group(listener)
        group = self.groups[key]
        while len(group.lanes) < lanes:
            _extend(group)

    def _open_both(self, listener: ListenerSettings, lanes: int, patience_s: float) -> None:
        """On one port; if the kernel chose one for TCP that is taken for UDP, on another."""
        key = _key(listener)
        tries = 1 if listener.port or key in self.groups else PORTS_TRIED
        while True:
            self._open(listener, lanes, patience_s)
            try:
                self.datagrams.open(key, self.bound(listener), lanes, patience_s=patience_s)
                return
            except BootError:
                tries -= 1
                if not tries:
                    raise
                self._cut(key, 0)

    def of(self, listener: ListenerSettings, lane: int) -> socket.socket:
        """The socket of one lane; `listener` as configured."""
        return self.groups[_key(listener)].lanes[lane]

    def bound(self, listener: ListenerSettings) -> ListenerSettings:
        """`listener` with the port the kernel chose where port 0 was asked for."""
        return replace(listener, port=self.groups[_key(listener)].listener.port)

    def udp(self, listener: ListenerSettings, lane: int) -> UdpListening:
        """What HTTP/3 needs on one lane; `listener` as configured."""
        return self.datagrams.of(_key(listener), lane)

    def has_udp(self, listener: ListenerSettings) -> bool:
        return _key(listener) in self.datagrams.groups

    def read_by(self, listener: ListenerSettings, lane: int, member: int) -> None:
        """From now on it is `member` that reads the UDP socket of `lane`: others stop when they drain."""
        self.datagrams.groups[_key(listener)].readers[lane] = member

    def keep(self, listeners: Collection[ListenerSettings]) -> None:
        """Close the TCP sockets of every other address."""
        kept = {_key(listener) for listener in listeners}
        for key in list(self.groups):
            if key not in kept:
                self._cut(key, 0)

    def steer(self, lanes: int) -> None:
        """Send new connections to the first `lanes` lanes only, evenly.

        Lanes above keep what already waits in their queues. Used while a generation comes or goes:
        a lane nobody accepts on yet, or nobody soon, must not be given connections.
        """
        for group in self.groups.values():
            steering.attach(group.lanes[0], steering.to_any(lanes))
        self.datagrams.steer(lanes)

    def release(self) -> None:
        """End `steer`: the kernel's own hash picks among all lanes again, where TCP is concerned."""
        for group in self.groups.values():
            with contextlib.suppress(FileNotFoundError):  # nothing was attached
                steering.detach(group.lanes[0])

    def prune(self, listeners: Collection[ListenerSettings], lanes: int, *, http3: bool) -> None:
        """Close the UDP sockets that these settings do not need: no process has them open any more."""
        kept = {_key(listener) for listener in listeners if http3 and listener.may_have_http3}
        self.datagrams.keep(kept, lanes)

    def queued(self, lane: int) -> int:
        """Connections that wait to be accepted on that lane, all addresses together."""
        return sum(_queued(group.lanes[lane]) for group in self.groups.values() if lane < len(group.lanes))

    def shrink(self, lanes: int) -> None:
        """Close the TCP lanes from `lanes` on, and with them whatever waits in their queues."""
        for key in list(self.groups):
            self._cut(key, lanes)

    def filenos(self) -> set[int]:
        tcp = {lane.fileno() for group in self.groups.values() for lane in group.lanes}
        return tcp | self.datagrams.filenos()

    def close(self) -> None:
        self.shrink(0)
        self.datagrams.close()

    def _cut(self, key: Key, lanes: int) -> None:
        # From the highest down: the kernel fills a gap with the last socket, which would permute the lanes.
        group = self.groups[key]
        while len(group.lanes) > lanes:
            group.lanes.pop().close()
        if not group.lanes:
            del self.groups[key]


def _key(listener: ListenerSettings) -> Key:
    # Two listeners may both ask for "any port": only then does the scheme tell them apart.
    return listener.host, listener.port, "" if listener.port else listener.scheme


def _queued(listening: socket.socket) -> int:
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    waiting: int = struct.unpack_from("=I", info, _TCP_INFO_UNACKED)[0]
    return waiting


def _extend(group: Group) -> None:
    try:
        lane = bind(group.listener, TCP, shared=True)
    except OSError as error:
        raise refusal(group.listener, TCP, error) from None
    lane.listen(BACKLOG)
    group.lanes.append(lane)
    if not group.listener.port:
        group.listener = replace(group.listener, port=lane.getsockname()[1])
