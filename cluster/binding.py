"""Binding an address for TCP or UDP, and the words for why that cannot be.

Knows families, options and errors; which sockets there are and who owns them is not its business.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Iterable, Iterator

import psutil

from cluster.errors import BootError
from worker.settings import ListenerSettings

TCP = socket.SOCK_STREAM
UDP = socket.SOCK_DGRAM


def bind(listener: ListenerSettings, kind: socket.SocketKind, *, shared: bool) -> socket.socket:
    """A bound socket, non-blocking; `shared` lets further lanes bind the same address. Raises OSError."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if kind == TCP:  # between UDP sockets it would share the port
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


def probe(listener: ListenerSettings, kind: socket.SocketKind, patience_s: float) -> None:
    """Make sure nobody else has that port: SO_REUSEPORT alone would let us join another edge's group.

    Tries again for `patience_s` seconds. Raises BootError.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            bind(listener, kind, shared=False).close()
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                raise refusal(listener, kind, error) from None
        time.sleep(0.05)


def refusal(listener: ListenerSettings, kind: socket.SocketKind, error: OSError) -> BootError:
    """What to tell the operator about a bind that failed."""
    what, way_out = f"cannot listen on {listener.url}", "listen on another port"
    if kind == UDP:
        what += f" for HTTP/3 (UDP port {listener.port})"
        way_out += ", or set http3 to false"
    if error.errno == errno.EADDRINUSE:
        holders = ", ".join(_holders(listener.port, kind)) or "another process"
        return BootError(f"{what}: the port is in use by {holders}; stop it or {way_out}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BootError(
            f"{what}: permission denied; ports below net.ipv4.ip_unprivileged_port_start need root or "
            "CAP_NET_BIND_SERVICE, or listen on a higher port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return BootError(f"{what}: no network interface has this address; use one that `ip address` shows")
    return BootError(f"{what}: {error.strerror or error}")


def _holders(port: int, kind: socket.SocketKind) -> Iterator[str]:
    """Who has that port, as far as we are allowed to see."""
    try:
        connections: Iterable[psutil._ntuples.sconn] = psutil.net_connections("tcp" if kind == TCP else "udp")
    except psutil.Error:
        return
    state = psutil.CONN_LISTEN if kind == TCP else psutil.CONN_NONE
    pids = {c.pid for c in connections if c.status == state and c.laddr and c.laddr.port == port}
    for pid in sorted(pid for pid in pids if pid):
        with contextlib.suppress(psutil.Error):
            yield f"{psutil.Process(pid).name()} (pid {pid})"
