"""A body on its way to two readers: the segment and the client whose request fetched it.

The fetching side offers pieces one at a time and waits until the client took each, so a slow client slows
the origin instead of filling memory. Once others read along from the segment, so does this client: it holds
up nobody then. A client that leaves does not end the fetch.
"""

import asyncio

from worker.cache.follow import FollowedBody
from worker.fields import Fields


class Tee:
    """The client's end; implements worker.message.Stream. Holds at most one piece."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self._at = 0  # bytes of the body the client has
        self._piece = b""
        self._piece_at = 0  # where in the body it begins
        self._followed: FollowedBody | None = None
        self._ended = False
        self._left = False
        self._error: Exception | None = None
        self._changed: asyncio.Future[None] | None = None  # the last one waited for

    @property
    def is_following(self) -> bool:
        """Does the client read what is stored?"""
        return self._followed is not None

    async def read(self) -> bytes:
        """The next piece; b"" at the end. Raises what the fetch raised, after all that came before it."""
        while not self._left:
            if self._piece and self._piece_at <= self._at:
                piece = self._take()
            elif self._followed is not None:
                piece = await self._follow(self._followed)
            elif self._error is not None:
                raise self._error
            elif self._ended:
                break
            else:
                await self._wait()
                continue
            if piece:
                self._at += len(piece)
                return piece
        return b""

    def close(self) -> None:
        """The client wants no more."""
        self._left = True
        self._piece = b""
        if self._followed is not None:
            self._followed.close()
        self._wake()

    async def offer(self, piece: bytes, at: int) -> bool:
        """Hand over one piece, which must not be empty and begins at `at`; False once the client has left."""
        while self._piece and not self._left:
            await self._wait()
        if self._left:
            return False
        self._piece = piece
        self._piece_at = at
        self._wake()
        return True

    def follow(self, followed: FollowedBody) -> None:
        """Read on from the segment, behind what was offered so far."""
        if self._left:
            followed.close()
        else:
            self._followed = followed
        self._wake()

    def end(self, trailers: Fields | None) -> None:
        """The body is complete."""
        self.trailers = trailers
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body breaks off here."""
        self._error = error
        self._wake()

    def _take(self) -> bytes:
        """The piece, without what the client has had from the segment."""
        piece, self._piece = self._piece[self._at - self._piece_at :], b""
        self._wake()
        return piece

    async def _follow(self, followed: FollowedBody) -> bytes:
        """What the segment has next; b"" when no more will come from there."""
        piece = await followed.next()
        if not piece:
            followed.close()
            self._followed = None
        return piece

    async def _wait(self) -> None:
        # The other side may already wait on a newer future when this one resumes, so it clears nothing.
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
