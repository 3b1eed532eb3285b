"""A request's body that can be sent once more, as long as little of it has been read and nobody has answered.

An origin that closes an HTTP/2 connection says which requests it has not begun with. Their bodies may be on
their way already, so their beginnings are kept until the answer has begun.
"""

from worker.fields import Fields
from worker.message import Stream

KEPT_BYTES = 64 * 1024


class Repeatable:
    """A `message.Stream` around another. Behind a `rewind` it is read from its beginning."""

    __slots__ = ("_at", "_body", "_kept", "_size", "length", "trailers")

    def __init__(self, body: Stream) -> None:
        self.length = body.length
        self.trailers: Fields | None = None
        self._body = body
        self._kept: list[bytes] | None = []  # None: more was read than is kept
        self._size = 0
        self._at = 0  # the next of the kept pieces to be read

    async def read(self) -> bytes:
        kept = self._kept
        if kept is not None and self._at < len(kept):
            self._at += 1
            return kept[self._at - 1]
        piece = await self._body.read()
        if not piece:
            self.trailers = self._body.trailers
        kept = self._kept
        if kept is not None:
            self._size += len(piece)
            if self._size > KEPT_BYTES:
                self._kept = None
            else:
                kept.append(piece)
                self._at += 1
        return piece

    def rewind(self) -> bool:
        """Begin again; False if that is not possible any more."""
        self._at = 0
        return self._kept is not None

    def forget(self) -> None:
        """It will not be sent again."""
        if self._kept is not None and self._at == len(self._kept):
            self._kept = None

    def close(self) -> None:
        self._body.close()
