"""Back-pressure on what clients send: a request body that holds a bounded number of bytes."""

from asyncio import Future
from collections import deque
from typing import Protocol

from worker.errors import EdgeError
from worker.fields import Fields
from worker.protocol.chunked import ChunkedReader, ChunkError
from worker.protocol.head import bad_request
from worker.reasons import Fault

HIGH_WATER_BYTES = 256 * 1024  # a body that holds more stops the reading of its connection ...
LOW_WATER_BYTES = 64 * 1024  # ... until its reader has emptied it to this
DISCARD_BYTES = 256 * 1024  # how much of a body nobody wants is read, to keep the connection


class Source(Protocol):
    """The connection a body comes from, as the body sees it."""

    def body_wanted(self) -> None:
        """A reader waits for bytes that have not come: let the client send (Expect), read on."""
        ...

    def body_closed(self) -> None:
        """The reader wants no more."""
        ...

    def new_future(self) -> Future[None]: ...


class RequestBody:
    """A request's body (message.Stream), fed by its connection and pulled by one reader.

    Holds at most HIGH_WATER_BYTES and one read of the transport.
    """

    __slots__ = (
        "_chunked", "_error", "_left", "_limit", "_pieces", "_source", "_waiter", "closed", "discarded",
        "ended", "held", "length", "received", "trailers",
    )  # fmt: skip

    def __init__(self, source: Source, length: int | None, limit: int, max_trailers: int) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self.received = 0  # bytes of the body so far
        self.held = 0  # of those, not yet read
        self.discarded = 0  # of those, thrown away because nobody wants them
        self.ended = False  # nothing of it is still to come: whole, or failed
        self.closed = False  # the reader wants no more
        self._source = source
        self._left = length or 0
        self._limit = limit
        self._chunked = ChunkedReader(max_trailers) if length is None else None
        self._pieces: deque[bytes] = deque()
        self._error: EdgeError | None = None
        self._waiter: Future[None] | None = None

    @property
    def left(self) -> int | None:
        """Bytes still to come; None when the client did not say how many."""
        return None if self._chunked is not None else self._left

    @property
    def is_waited_for(self) -> bool:
        """A reader is waiting for the client."""
        return self._waiter is not None

    def feed(self, data: bytes) -> bytes:
        """Take the body's share of `data`; returns what lies behind it. Raises EdgeError if it is bad."""
        chunked = self._chunked
        if chunked is None:
            piece = data if len(data) <= self._left else data[: self._left]
            rest = data[len(piece) :]
            self._left -= len(piece)
            self._take(piece)
            self.ended = self._left == 0
        else:
            try:
                self._take(b"".join(chunked.feed(data)))
            except ChunkError as error:
                raise bad_request(error.args[0]) from None
            rest = chunked.rest
            self.ended = chunked.ended
            self.trailers = chunked.trailers
        if self._pieces or self.ended:
            self._wake()
        return rest

    def _take(self, piece: bytes) -> None:
        self.received += len(piece)
        if self.received > self._limit:
            raise bad_request(f"body of more than {self._limit} bytes", 413, Fault.BODY_TOO_LARGE)
        if self.closed:
            self.discarded += len(piece)
        elif piece:
            self.held += len(piece)
            self._pieces.append(piece)

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
        self.held -= len(piece)
        if self.held <= LOW_WATER_BYTES and not self.ended:
            self._source.body_wanted()
        return piece

    def close(self) -> None:
        """The reader wants no more: what has come and what will come is thrown away."""
        if self.closed:
            return
        self.closed = True
        self.discarded += self.held
        self.held = 0
        self._pieces.clear()
        self._wake()
        if not self.ended:
            self._source.body_closed()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
