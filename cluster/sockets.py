"""The listening sockets: per address one SO_REUSEPORT TCP socket for every lane.

The supervisor owns them and no worker's death closes one, so connections that wait in a lane's queue
find its successor. Knows nothing of TLS or HTTP.
"""

import contextlib
import ctypes
import errno
import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import psutil

from cluster.errors import BootError
from worker.settings import ListenerSettings

BACKLOG = 4096  # the kernel cuts it down to net.core.somaxconn

# Linux constants the socket module does not name (asm-generic/socket.h, linux/filter.h).
_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68
_LOAD_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)  # BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM
_MODULO = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_RETURN_A = (0x16, 0, 0, 0)
_TCP_INFO_UNACKED = 24  # of a listening socket: connections that wait to be accepted

Key = tuple[str, int, str]


@dataclass(slots=True)
class Group:
    """All lanes of one address, in lane order, which is also their order in the kernel's group."""

    listener: ListenerSettings  # with the port really bound
    lanes: list[socket.socket] = field(default_factory=list)


class Sockets:
    """Every listening socket of the cluster."""

    def __init__(self) -> None:
        self.groups: dict[Key, Group] = {}

    def open(self, listeners: Collection[ListenerSettings], lanes: int, *, patience_s: float = 0.0) -> None:
        """Have `lanes` sockets for each address; what is open already stays as it is.

        Port 0 is chosen by the kernel once and shared by all lanes. A port somebody else listens on
        is refused, after trying again for `patience_s` seconds. Raises BootError having closed what
        this call opened.
        """
        before = {key: len(group.lanes) for key, group in self.groups.items()}
        try:
            for listener in listeners:
                key = _key(listener)
                if key not in self.groups:
                    _probe(listener, patience_s)
                    self.groups[key] = Group(listener)
                group = self.groups[key]
                while len(group.lanes) < lanes:
                    _extend(group)
        except BaseException:
            for key in list(self.groups):
                self._cut(key, before.get(key, 0))
            raise

    def of(self, listener: ListenerSettings, lane: int) -> socket.socket:
        """The socket of one lane; `listener` as configured."""
        return self.groups[_key(listener)].lanes[lane]

    def bound(self, listener: ListenerSettings) -> ListenerSettings:
        """`listener` with the port the kernel chose where port 0 was asked for."""
        return replace(listener, port=self.groups[_key(listener)].listener.port)

    def keep(self, listeners: Collection[ListenerSettings]) -> None:
        """Close the sockets of every other address."""
        kept = {_key(listener) for listener in listeners}
        for key in list(self.groups):
            if key not in kept:
                self._cut(key, 0)

    def steer(self, lanes: int) -> None:
        """Send new connections to the first `lanes` lanes only, evenly.

        Lanes above keep what already waits in their queues. Used while a generation comes or goes:
        a lane nobody accepts on yet, or nobody soon, must not be given connections.
        """
        program = b"".join(
            struct.pack("=HBBI", *code) for code in (_LOAD_RANDOM, (_MODULO, 0, 0, lanes), _RETURN_A)
        )
        code = ctypes.create_string_buffer(program)
        option = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(code))
        for group in self.groups.values():
            group.lanes[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)

    def release(self) -> None:
        """End `steer`: the kernel's own hash picks among all lanes again."""
        for group in self.groups.values():
            with contextlib.suppress(FileNotFoundError):  # nothing was attached
                group.lanes[0].setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)

    def queued(self, lane: int) -> int:
        """Connections that wait to be accepted on that lane, all addresses together."""
        return sum(_queued(group.lanes[lane]) for group in self.groups.values() if lane < len(group.lanes))

    def shrink(self, lanes: int) -> None:
        """Close the lanes from `lanes` on, and with them whatever waits in their queues."""
        for key in list(self.groups):
            self._cut(key, lanes)

    def filenos(self) -> set[int]:
        return {lane.fileno() for group in self.groups.values() for lane in group.lanes}

    def close(self) -> None:
        self.shrink(0)

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


def _bind(listener: ListenerSettings, *, shared: bool) -> socket.socket:
    """A bound TCP socket; `shared` lets further lanes bind the same address. Raises OSError."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((listener.host, listener.port))
    except BaseException:
        bound.close()
        raise
    return bound


def _probe(listener: ListenerSettings, patience_s: float) -> None:
    """Make sure nobody else listens there: SO_REUSEPORT alone would let us join another edge's group."""
    until = time.monotonic() + patience_s
    while True:
        try:
            _bind(listener, shared=False).close()
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                raise _refusal(listener, error) from None
        time.sleep(0.05)


def _extend(group: Group) -> None:
    try:
        lane = _bind(group.listener, shared=True)
    except OSError as error:
        raise _refusal(group.listener, error) from None
    lane.listen(BACKLOG)
    group.lanes.append(lane)
    if not group.listener.port:
        group.listener = replace(group.listener, port=lane.getsockname()[1])


def _refusal(listener: ListenerSettings, error: OSError) -> BootError:
    what = f"cannot listen on {listener.url}"
    if error.errno == errno.EADDRINUSE:
        holders = ", ".join(_holders(listener.port)) or "another process"
        return BootError(f"{what}: the port is in use by {holders}; stop it or listen on another port")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BootError(
            f"{what}: permission denied; ports below net.ipv4.ip_unprivileged_port_start need root or "
            "CAP_NET_BIND_SERVICE, or listen on a higher port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return BootError(f"{what}: no network interface has this address; use one that `ip address` shows")
    return BootError(f"{what}: {error.strerror or error}")


def _holders(port: int) -> Iterator[str]:
    """Who listens on that port, as far as we are allowed to see."""
    try:
        connections: Iterable[psutil._ntuples.sconn] = psutil.net_connections("tcp")
    except psutil.Error:
        return
    pids = {c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port}
    for pid in sorted(pid for pid in pids if pid):
        with contextlib.suppress(psutil.Error):
            yield f"{psutil.Process(pid).name()} (pid {pid})"
