"""A request's body on its HTTP/2 stream: what the reader has not read, the client may not send again.

Its bound is the stream's window: nothing here pauses a connection, which other streams share.
"""

from asyncio import Future
from collections import deque
from typing import Protocol

from worker.errors import EdgeError
from worker.fields import Fields
from worker.protocol.head import bad_request
from worker.reasons import Fault

MERGED_BYTES = 1024  # smaller pieces are put together, lest a frame of one byte hold fifty


class Source(Protocol):
    """The stream a body comes from, as the body sees it."""

    def body_read(self, size: int) -> None:
        """So many bytes were read: as many more may come."""
        ...

    def body_wanted(self) -> None:
        """A reader waits for bytes that have not come."""
        ...

    def new_future(self) -> Future[None]: ...


class StreamBody:
    """A request's body (message.Stream), fed by its stream and pulled by one reader."""

    __slots__ = (
        "_error", "_limit", "_pieces", "_source", "_waiter", "closed", "ended", "length", "received",
        "trailers",
    )  # fmt: skip

    def __init__(self, source: Source, length: int | None, limit: int) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self.received = 0  # bytes of the body so far
        self.ended = False  # nothing of it is still to come: whole, or failed
        self.closed = False  # the reader wants no more
        self._source = source
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._error: EdgeError | None = None
        self._waiter: Future[None] | None = None

    @property
    def is_waited_for(self) -> bool:
        """A reader is waiting for the client."""
        return self._waiter is not None

    def feed(self, piece: bytes) -> None:
        """Some of it has come."""
        if self.ended:
            return
        self.received += len(piece)
        if self.received > self._limit:
            self.fail(bad_request(f"body of more than {self._limit} bytes", 413, Fault.BODY_TOO_LARGE))
        elif piece and not self.closed:
            pieces = self._pieces
            if pieces and len(pieces[-1]) + len(piece) <= MERGED_BYTES:
                pieces[-1] += piece
            else:
                pieces.append(piece)
            self._wake()

    def end(self, trailers: Fields | None) -> None:
        """All of it has come."""
        if self.ended:
            return
        if self.length is not None and self.received != self.length:
            self.fail(bad_request(f"body of {self.received} bytes, announced were {self.length}"))
            return
        self.ended = True
        self.trailers = trailers
        self._wake()

    def fail(self, error: EdgeError) -> None:
        """The rest will never come: the reader gets `error` behind what has arrived."""
        if not self.ended:
            self.ended = True
            self._error = error
            self._wake()

    async def read(self) -> bytes:
        """The next piece; b"" once at the end. Raises EdgeError if the client breaks off."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.ended or self.closed:
                return b""
            self._waiter = self._source.new_future()
            try:
                self._source.body_wanted()
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._source.body_read(len(piece))
        return piece

    def close(self) -> None:
        """The reader wants no more: what has come and what will come is thrown away."""
        self.closed = True
        self._pieces.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
