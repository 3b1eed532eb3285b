"""Back-pressure on what clients send: a request body that holds a bounded number of bytes."""

from typing import Protocol

from worker.protocol import pulled_body
from worker.protocol.chunked import ChunkedReader, ChunkError
from worker.protocol.head import bad_request
from worker.protocol.pulled_body import PulledBody
from worker.reasons import Fault

HIGH_WATER_BYTES = 256 * 1024  # a body that holds more stops the reading of its connection ...
LOW_WATER_BYTES = 64 * 1024  # ... until its reader has emptied it to this
DISCARD_BYTES = 256 * 1024  # how much of a body nobody wants is read, to keep the connection


class Source(pulled_body.Source, Protocol):
    """The connection a body comes from, as the body sees it. `body_wanted`: ask for it (Expect), read on."""

    def body_closed(self) -> None:
        """The reader wants no more."""
        ...


class RequestBody(PulledBody):
    """A request's body, fed by its connection. Holds at most HIGH_WATER_BYTES and one read of it."""

    __slots__ = ("_chunked", "_left", "discarded", "held")

    _source: Source

    def __init__(self, source: Source, length: int | None, limit: int, max_trailers: int) -> None:
        super().__init__(source, length, limit)
        self.held = 0  # bytes that have come and are not yet read
        self.discarded = 0  # bytes thrown away because nobody wants them
        self._left = length or 0
        self._chunked = ChunkedReader(max_trailers) if length is None else None

    @property
    def left(self) -> int | None:
        """Bytes still to come; None when the client did not say how many."""
        return None if self._chunked is not None else self._left

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

    def _pulled(self, piece: bytes) -> None:
        self.held -= len(piece)
        if self.held <= LOW_WATER_BYTES and not self.ended:
            self._source.body_wanted()

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
