"""Ports for servers that cannot be told to take any, or that come back on the one they had.

"Any" port, and that of every connection, is from the kernel's ephemeral range: one of those that is free now
may be somebody else's a moment later. These lie outside of it, and an abstract Unix socket per port tells
whoever else runs these tests on this machine that it is taken, until this process ends.
"""

import atexit
import random
import socket
from contextlib import suppress
from pathlib import Path

FIRST, LAST = 10_000, 65_535

_random = random.SystemRandom()  # of its own: hypothesis sets the seed of the module's


def free_port() -> int:
    """A port of 127.0.0.1 nobody has, for TCP and UDP; no other test gets it while this process lives."""
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    outside = [port for port in range(FIRST, LAST + 1) if not lowest <= port <= highest]
    _random.shuffle(outside)
    for port in outside:
        with suppress(OSError):
            _hold(port)
            return port
    raise RuntimeError(
        f"no port of {FIRST} to {LAST} is free outside of ip_local_port_range, {lowest} to {highest}"
    )


def _hold(port: int) -> None:
    """OSError if somebody has it."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0edgecluster-test-port-{port}")
        with socket.create_server(("127.0.0.1", port)), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        raise
    atexit.register(holder.close)
