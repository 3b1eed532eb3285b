"""How fast a client moves the bytes that it is waited for: a stated least, over any stated time.

A timeout between two bytes is no bound: who sends or takes one byte before each of them ends holds a
connection for as long as he likes. Asks no clock; whoever sweeps says what time it is.
"""

import socket
import struct
from typing import Any

LONGEST_NS = 2_000_000_000

_TCP_INFO_BYTES = 136
_ACKED = struct.Struct("=Q")
_ACKED_AT = 120  # tcpi_bytes_acked of struct tcp_info, since Linux 4.1


class Pace:
    """Allows `rate` bytes per second; `patience_s` of that may be saved up, and is there at the beginning."""

    __slots__ = ("_left", "_most", "_moved", "_now_ns", "_rate")

    def __init__(self, rate: int, patience_s: float, moved: int, now_ns: int) -> None:
        """`moved`: bytes so far."""
        self._rate = rate
        self._most = self._left = rate * patience_s
        self._moved = moved
        self._now_ns = now_ns

    def keeps(self, moved: int, now_ns: int, *, is_waited_for: bool = True) -> bool:
        """Whether the client has moved enough until now; the time counts only if it was waited for.

        To be asked about once a second: what lies between two calls counts for LONGEST_NS at most, since
        nobody knows whether the client was waited for all the while.
        """
        self._left = min(self._most, self._left + moved - self._moved)
        if is_waited_for:
            self._left -= self._rate * min(now_ns - self._now_ns, LONGEST_NS) * 1e-9
        self._moved, self._now_ns = moved, now_ns
        return self._left >= 0


def bytes_taken(transport: Any) -> int:
    """Bytes that the other end of a TCP connection has acknowledged."""
    info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return int(_ACKED.unpack_from(info, _ACKED_AT)[0]) if len(info) == _TCP_INFO_BYTES else 0
