"""A stored body on its way to one client: lent by the segment, handed out slice by slice.

As long as it is lent it can neither be evicted nor moved, so a client may not keep it for ever: `break_off`
puts the rest into memory of our own and gives the body back.
"""

from worker.message import Pinned

SLICE_BYTES = 256 * 1024  # per write
COPY_BYTES = 1024 * 1024  # a rest of at most this is worth copying for one slow client
PATIENCE_NS = 30_000_000_000  # how long a body may be lent without question


class Lending:
    """One lent body; `left` bytes of it are still to be handed out."""

    __slots__ = ("_at", "_base", "_body", "_rest", "_size", "since_ns")

    def __init__(self, body: Pinned, now_ns: int) -> None:
        self._body: Pinned | None = body
        self._rest = b""  # what was copied, once the body is given back
        self._base = 0  # where in the body it begins
        self._at = 0
        self._size = len(body)
        self.since_ns = now_ns

    @property
    def left(self) -> int:
        return self._size - self._at

    @property
    def is_lent(self) -> bool:
        """Is the body still the segment's?"""
        return self._body is not None

    def take(self) -> memoryview | None:
        """The next slice, None at the end."""
        start, end = self._at, min(self._at + SLICE_BYTES, self._size)
        if start == end:
            return None
        if self._body is None:
            piece = memoryview(self._rest)[start - self._base : end - self._base]
        else:
            piece = self._body.views(start, end)[0]
        self._at = start + len(piece)
        return piece

    def break_off(self) -> None:
        """Copy what is left and give the body back; what was handed out before holds it a little longer."""
        if self._body is not None:
            body, self._body = self._body, None
            self._base = self._at
            self._rest = body.copy_out(self._at)

    def end(self) -> None:
        """Give the body back, wherever it stands. Safe to call twice."""
        if self._body is not None:
            self._body.release()
        self._body = None
        self._rest = b""
        self._at = self._size
