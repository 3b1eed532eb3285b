"""An answer's body on its way from the origin: decoded, bounded, pulled by its reader.

Knows no socket: the connection feeds bytes, and is told through `Tap` when to stop and go on.
"""

import asyncio
from typing import Protocol

from httptools import HttpParserError, HttpResponseParser

from worker.errors import EdgeError
from worker.fields import FieldError, Fields
from worker.origin.hop_by_hop import forwardable_trailers
from worker.origin.response_head import CHUNKED

# Above this reading stops, below the other it goes on: a slow client holds this much of a body plus one read.
HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024

# A chunk's frame, its extensions and the trailer section: bytes that bring the body no further.
OVERHEAD_BYTES = 64 * 1024

# One tiny write downstream costs more than copying a piece of this size into a larger one.
JOIN_BYTES = 64 * 1024

_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


class BodyError(ValueError):
    """A body that breaks its framing; `args[0]` says how."""


class TooLargeError(BodyError):
    """A body that turns out to be larger than it may be."""


class Tap(Protocol):
    """The connection a body comes from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abandon(self) -> None: ...


class Chunks:
    """Decoder of the chunked transfer coding (RFC 9112 7.1).

    httptools reads the chunks behind a head of our own making, so that its per-field callback sees nothing
    but trailers. "Connection: close" makes it refuse whatever follows the end.
    """

    __slots__ = ("complete", "overhead", "parser", "pieces", "surplus", "trailers")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.overhead = 0
        self.complete = False
        self.surplus = False
        self.parser = HttpResponseParser(self)
        self.parser.feed_data(_CHUNKED_HEAD)
        self.trailers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.trailers.append((name, value))

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True

    def feed(self, data: bytes) -> list[bytes]:
        """Decoded pieces of `data`. Raises BodyError."""
        self.pieces = []
        try:
            self.parser.feed_data(data)
        except HttpParserError as error:
            if not self.complete:
                raise BodyError(f"broken chunked coding: {error}") from None
            self.surplus = True
        self.overhead = 0 if self.pieces else self.overhead + len(data)
        if self.overhead > OVERHEAD_BYTES and not self.complete:
            raise BodyError(f"more than {OVERHEAD_BYTES} bytes of chunk extensions or trailers")
        return self.pieces


class Body:
    """A `message.Stream` with a bounded buffer between its connection and its reader."""

    __slots__ = (
        "buffered", "chunks", "complete", "error", "left", "length", "pieces", "room", "surplus", "tap",
        "trailers", "waiter",
    )  # fmt: skip

    def __init__(self, tap: Tap, size: int, length: int | None, limit: int = 0) -> None:
        """`limit`: the most bytes a body of unknown size may have, 0 for any number."""
        self.tap = tap
        self.length = length
        self.trailers: Fields | None = None
        self.left = size  # bytes still to come; CHUNKED; UNTIL_CLOSE
        self.room = limit if limit and size < 0 else -1  # bytes it may still have; -1: any number
        self.chunks = Chunks() if size == CHUNKED else None
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.complete = False
        self.surplus = False  # the origin sent more than it announced
        self.error: EdgeError | None = None
        self.waiter: asyncio.Future[None] | None = None

    # what the connection calls

    def feed(self, data: bytes) -> None:
        """Take bytes as they came. Sets `complete` when they end the body. Raises BodyError."""
        if self.chunks is not None:
            self._feed_chunks(self.chunks, data)
        elif self.left >= 0:
            self._feed_counted(data)
        else:
            self._push(data)
        if self.buffered > HIGH_WATER_BYTES and not self.complete:
            self.tap.pause()
        self._wake()

    def finish(self) -> None:
        """The connection's orderly end is the end of the body."""
        self.complete = True
        self._wake()

    def fail(self, error: EdgeError) -> None:
        """No more will come; the reader learns it after what is buffered."""
        self.error = error
        self._wake()

    def take_all(self) -> bytes:
        """Everything buffered."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.pieces = []
        self.buffered = 0
        return data

    def _feed_counted(self, data: bytes) -> None:
        if len(data) > self.left:
            self.surplus = True
            data = data[: self.left]
        self.left -= len(data)
        self._push(data)
        self.complete = self.left == 0

    def _feed_chunks(self, chunks: Chunks, data: bytes) -> None:
        for piece in chunks.feed(data):
            self._push(piece)
        if chunks.complete:
            self.complete = True
            self.surplus = chunks.surplus
            if chunks.trailers:
                try:
                    self.trailers = forwardable_trailers(Fields.of(chunks.trailers))
                except FieldError as error:
                    raise BodyError(f"trailers: {error}") from None

    def _push(self, data: bytes) -> None:
        if data:
            if self.room >= 0:
                self._measure(data)
            self.pieces.append(data)
            self.buffered += len(data)

    def _measure(self, data: bytes) -> None:
        if len(data) > self.room:
            raise TooLargeError("the body has")
        self.room -= len(data)

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done() and (self.pieces or self.complete or self.error):
            waiter.set_result(None)

    # what the reader calls

    async def read(self) -> bytes:
        """The next piece; b"" once at the end. Raises EdgeError if the origin broke off."""
        while not self.pieces:
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        if len(self.pieces) == 1 or len(self.pieces[0]) >= JOIN_BYTES:
            piece = self.pieces.pop(0)
            self.buffered -= len(piece)
        else:
            piece = self.take_all()
        if self.buffered <= LOW_WATER_BYTES and not self.complete:
            self.tap.resume()
        return piece

    def close(self) -> None:
        """Release the connection; one whose answer has not ended is closed, for nobody reads the rest."""
        self.pieces.clear()
        self.buffered = 0
        if not self.complete:
            self.tap.abandon()
