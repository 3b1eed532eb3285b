"""What a connection has given to its link and the client has not acknowledged: bounded, and not for ever.

Each stream may have STREAM_BYTES on the way and all together TOTAL_BYTES, but every one LEAST_BYTES, so that
none waits for a stream that its client does not read.
"""

from collections.abc import Container

from worker.protocol.h3.codes import REQUEST_CANCELLED
from worker.protocol.quic.link import Link

STREAM_BYTES = 256 * 1024
TOTAL_BYTES = 1024 * 1024
LEAST_BYTES = 16 * 1024
MANY = 256


class Outlet:
    """The bytes of a connection's answers on their way."""

    __slots__ = ("_bytes", "_has_moved", "_link", "_most", "_seen")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._bytes = 0  # on the way, at most: acknowledged ones are noticed by `recount`
        self._has_moved = False  # since they were counted
        self._seen: dict[int, tuple[int, int]] = {}  # streams with some: how many when last swept, since when
        self._most = MANY  # of them, before those are sought that have none any more

    def give(self, stream_id: int, data: bytes, end: bool) -> None:
        """Put `data` behind what was given for that stream."""
        if stream_id not in self._seen:
            if len(self._seen) >= self._most:
                self.recount()
                self._most = max(MANY, 2 * len(self._seen))
            self._seen[stream_id] = (-1, 0)
        self._bytes += len(data)
        self._link.send(stream_id, data, end)

    def room(self, stream_id: int) -> int:
        """Bytes that may be given for that stream now; may be negative."""
        if self._has_moved and self._bytes > TOTAL_BYTES - STREAM_BYTES:
            self.recount()
        waiting = self._link.waiting(stream_id)
        left = TOTAL_BYTES - self._bytes
        return min(STREAM_BYTES - waiting, max(left, LEAST_BYTES - waiting))

    def moved(self) -> None:
        """The client may have acknowledged some."""
        self._has_moved = True

    def recount(self) -> None:
        """See what has been acknowledged."""
        self._has_moved = False
        waiting = self._link.waiting
        left = {stream_id: waiting(stream_id) for stream_id in self._seen}
        self._seen = {stream_id: self._seen[stream_id] for stream_id, size in left.items() if size}
        self._bytes = sum(left.values())

    @property
    def is_empty(self) -> bool:
        """All that was given is acknowledged."""
        self.recount()
        return not self._seen

    def forget(self, stream_id: int) -> None:
        """The stream was reset: nothing of it waits."""
        self._seen.pop(stream_id, None)

    def sweep(self, now_ns: int, patience_ns: int, busy: Container[int]) -> None:
        """Reset the streams whose client takes nothing of what is left, but for `busy` ones."""
        self.recount()
        for stream_id, (size, since_ns) in tuple(self._seen.items()):
            waiting = self._link.waiting(stream_id)
            if waiting != size:
                self._seen[stream_id] = (waiting, now_ns)
            elif now_ns - since_ns > patience_ns and stream_id not in busy:
                self._link.reset(stream_id, REQUEST_CANCELLED)
                del self._seen[stream_id]
