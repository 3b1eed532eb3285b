"""A request's body between the connection that feeds it and the one reader who pulls it (message.Stream).

Owns the pieces that have come and the waiting for more; what bounds them is the business of who feeds it.
"""

from asyncio import Future
from collections import deque
from typing import Protocol

from worker.errors import EdgeError
from worker.fields import Fields
from worker.protocol.pace import Pace
from worker.settings import Limits


class Source(Protocol):
    """Where a body comes from, as the body sees it."""

    def body_wanted(self) -> None:
        """A reader waits for bytes that have not come: let the client send."""
        ...

    def new_future(self) -> Future[None]: ...


class PulledBody:
    """The reading half of a body, and how it ends."""

    __slots__ = (
        "_error", "_limit", "_pace", "_pieces", "_source", "_waiter", "closed", "ended", "length", "received",
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
        self._pace: Pace | None = None  # since it was first looked at

    @property
    def is_waited_for(self) -> bool:
        """A reader is waiting for the client."""
        return self._waiter is not None

    def keeps_pace(self, limits: Limits, now_ns: int) -> bool:
        """Has the client sent enough of late, as far as it was waited for? To be asked once a second."""
        if not limits.body_rate:
            return True
        if self._pace is None:
            self._pace = Pace(limits.body_rate, limits.body_timeout_s, self.received, now_ns)
            return True
        return self._pace.keeps(self.received, now_ns, is_waited_for=self.is_waited_for or self.closed)

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
        self._pulled(piece)
        return piece

    def _pulled(self, piece: bytes) -> None:
        """The reader has that piece: as much more may come."""
        raise NotImplementedError

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
