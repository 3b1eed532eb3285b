"""A body read from the segment while another request's fetch, here or in another worker, still writes it."""

from collections.abc import Awaitable, Callable

from shmcache.core import BROKEN, NOT_STORABLE, RUNNING, Following
from worker.cache.collapse import Flight
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Stream
from worker.reasons import Fault, Side

PIECE_BYTES = 256 * 1024  # most that one read copies out


Rest = Callable[[int], Awaitable[Stream | None]]


class FollowedBody:
    """Implements worker.message.Stream. Holds the stored body pinned until it is closed.

    `rest` fetches what comes after so many bytes, or says that it cannot: asked where the fetch goes on but
    its body proves one that cannot be stored.
    """

    def __init__(self, following: Following, flight: Flight, at: int = 0, rest: Rest | None = None) -> None:
        self.length = following.size
        self.trailers: Fields | None = None
        self._following: Following | None = following
        self._flight = flight
        self._at = at
        self._broken = False
        self._fetch_rest = rest
        self._rest: Stream | None = None  # where the body is read from on

    async def read(self) -> bytes:
        """The next piece; b"" at the end. Raises EdgeError if the fetch breaks off."""
        if self._rest is not None:
            return await self._rest.read()
        piece = await self.next()
        if piece or not self._broken:
            return piece
        if self._fetch_rest is not None and await self._flight.wait_landed() == NOT_STORABLE:
            self._rest = await self._fetch_rest(self._at)
        if self._rest is None:
            raise EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, "the fetch this request shared broke off")
        return await self._rest.read()

    async def next(self) -> bytes:
        """The next piece; b"" when no more will come, whether or not that is the end of the body."""
        while self._following is not None:
            state, filled = self._following.look()
            if self._at < filled:
                return self._take(self._following, min(filled, self._at + PIECE_BYTES))
            self._broken = state == BROKEN
            if state != RUNNING:
                break
            # Ask to be rung first and look once more: what came in between rings nobody.
            self._flight.listen()
            if self._following.look() == (state, filled):
                await self._flight.wait_progress()
        return b""

    def close(self) -> None:
        """Let go of the stored body."""
        following, self._following = self._following, None
        if following is not None:
            following.release()
        if self._rest is not None:
            self._rest.close()

    def _take(self, following: Following, end: int) -> bytes:
        piece = b"".join(following.views(self._at, end))
        self._at = end
        return piece
