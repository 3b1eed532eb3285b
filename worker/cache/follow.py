"""A body read from the segment while another request's fetch, here or in another worker, still writes it."""

from shmcache.core import BROKEN, RUNNING, Following
from worker.cache.collapse import Flight
from worker.errors import EdgeError
from worker.fields import Fields
from worker.reasons import Fault, Side

PIECE_BYTES = 256 * 1024  # most that one read copies out


class FollowedBody:
    """Implements worker.message.Stream. Holds the stored body pinned until it is closed."""

    def __init__(self, following: Following, flight: Flight, at: int = 0) -> None:
        self.length = following.size
        self.trailers: Fields | None = None
        self._following: Following | None = following
        self._flight = flight
        self._at = at
        self._broken = False

    async def read(self) -> bytes:
        """The next piece; b"" at the end. Raises EdgeError if the fetch breaks off."""
        piece = await self.next()
        if self._broken and not piece:
            raise EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, "the fetch this request shared broke off")
        return piece

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

    def _take(self, following: Following, end: int) -> bytes:
        piece = b"".join(following.views(self._at, end))
        self._at = end
        return piece
