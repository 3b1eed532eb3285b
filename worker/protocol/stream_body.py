"""A request's body on its stream (h2, h3): what the reader has not read, the client may not send again.

Its bound is the stream's window: nothing here pauses a connection, which other streams share.
"""

from typing import Protocol

from worker.fields import Fields
from worker.protocol import pulled_body
from worker.protocol.head import bad_request
from worker.protocol.pulled_body import PulledBody
from worker.reasons import Fault

MERGED_BYTES = 1024  # smaller pieces are put together, lest a frame of one byte hold fifty


class Source(pulled_body.Source, Protocol):
    """The stream a body comes from, as the body sees it."""

    def body_read(self, size: int) -> None:
        """So many bytes were read: as many more may come."""
        ...


class StreamBody(PulledBody):
    """A request's body, fed by its stream.

    One that is announced to be empty, while its stream goes on, has no `length`: the origin would be given a
    whole request before anybody knows whether this is one.
    """

    __slots__ = ("_announced",)

    _source: Source

    def __init__(self, source: Source, announced: int | None, limit: int) -> None:
        super().__init__(source, announced or None, limit)
        self._announced = announced

    def feed(self, piece: bytes) -> None:
        """Some of it has come."""
        if self.ended:
            return
        self.received += len(piece)
        if self.received > self._limit:
            self.fail(bad_request(f"body of more than {self._limit} bytes", 413, Fault.BODY_TOO_LARGE))
        elif self._announced is not None and self.received > self._announced:
            self.fail(bad_request(f"body of more than the {self._announced} bytes that were announced"))
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
        if self._announced is not None and self.received != self._announced:
            self.fail(bad_request(f"body of {self.received} bytes, announced were {self._announced}"))
            return
        self.ended = True
        self.trailers = trailers
        self._wake()

    def close(self) -> None:
        """The reader wants no more: what has come and what will come is thrown away."""
        self.closed = True
        self._pieces.clear()
        self._wake()

    def _pulled(self, piece: bytes) -> None:
        self._source.body_read(len(piece))
