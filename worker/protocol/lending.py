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

    __slots__ = ("_at", "_body", "_size", "_views", "since_ns")

    def __init__(self, body: Pinned, now_ns: int) -> None:
        self._body: Pinned | None = body
        self._views: list[memoryview] = []  # of the next slice, last first
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
        """The next slice, or what of it lies in one piece; None at the end."""
        if not self._views:
            if self._body is None or not self.left:
                return None
            self._views = [*reversed(self._body.views(self._at, min(self._at + SLICE_BYTES, self._size)))]
        piece = self._views.pop()
        self._at += len(piece)
        return piece

    def break_off(self) -> None:
        """Copy what is left and give the body back; what was handed out before holds it a little longer."""
        if self._body is not None:
            body, self._body = self._body, None
            rest = memoryview(body.copy_out(self._at))
            self._views = [rest[at : at + SLICE_BYTES] for at in range(0, len(rest), SLICE_BYTES)][::-1]

    def end(self) -> None:
        """Give the body back, wherever it stands. Safe to call twice."""
        if self._body is not None:
            self._body.release()
        self._body = None
        self._views = []
        self._at = self._size
