"""An answer's body on its HTTP/2 stream: what the reader has not read, the origin may not send again.

Its bound is the stream's window: nothing here pauses a connection, which other streams share.
"""

from asyncio import Future, get_running_loop
from typing import Protocol

from worker.errors import EdgeError
from worker.fields import Fields


class Source(Protocol):
    """The stream a body comes from, as the body sees it."""

    def body_read(self, size: int) -> None:
        """So many bytes were read: as many more may come."""
        ...

    def abandon(self) -> None:
        """Nobody reads the rest."""
        ...


class StreamBody:
    """An answer's body (message.Stream), fed by its stream and pulled by one reader."""

    __slots__ = ("_error", "_pieces", "_size", "_source", "_waiter", "complete", "length", "trailers")

    def __init__(self, source: Source, length: int | None) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self.complete = False
        self._source = source
        self._pieces: list[bytes] = []
        self._size = 0  # of the pieces
        self._error: EdgeError | None = None
        self._waiter: Future[None] | None = None

    @property
    def is_waited_for(self) -> bool:
        """A reader is waiting for the origin."""
        return self._waiter is not None

    # what the stream calls

    def feed(self, piece: bytes) -> None:
        """Some of it has come."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._wake()

    def end(self, trailers: Fields | None) -> None:
        """All of it has come."""
        self.complete = True
        self.trailers = trailers
        self._wake()

    def fail(self, error: EdgeError) -> None:
        """No more will come; the reader learns it after what is here."""
        self._error = error
        self._wake()

    def take_all(self) -> bytes:
        """Everything that is here."""
        pieces = self._pieces
        self._pieces = []
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what the reader calls

    async def read(self) -> bytes:
        """All that has come since; b"" once at the end. Raises EdgeError if the origin broke off."""
        while not self._pieces:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            self._waiter = get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self.take_all()
        self._source.body_read(len(piece))
        return piece

    def close(self) -> None:
        """Release the stream; one whose answer has not ended is reset, for nobody reads the rest."""
        self._pieces.clear()
        self._size = 0
        if not self.complete and self._error is None:
            self._source.abandon()
