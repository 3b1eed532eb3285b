"""A body on its way to two readers: the segment and the client whose request fetched it.

The fetching side offers pieces one at a time and waits until the client took each, so a slow client slows
the origin instead of filling memory. A client that leaves does not end the fetch.
"""

import asyncio

from worker.fields import Fields


class Tee:
    """The client's end; implements worker.message.Stream. Holds at most one piece."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self._piece = b""
        self._ended = False
        self._left = False
        self._error: Exception | None = None
        self._changed: asyncio.Future[None] | None = None  # the last one waited for

    async def read(self) -> bytes:
        """The next piece; b"" at the end. Raises what the fetch raised, after all that came before it."""
        while not self._piece:
            if self._error is not None:
                raise self._error
            if self._ended or self._left:
                return b""
            await self._wait()
        piece, self._piece = self._piece, b""
        self._wake()
        return piece

    def close(self) -> None:
        """The client wants no more."""
        self._left = True
        self._piece = b""
        self._wake()

    async def offer(self, piece: bytes) -> bool:
        """Hand over one piece, which must not be empty; False once the client has left."""
        while self._piece and not self._left:
            await self._wait()
        if self._left:
            return False
        self._piece = piece
        self._wake()
        return True

    def end(self, trailers: Fields | None) -> None:
        """The body is complete."""
        self.trailers = trailers
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body breaks off here."""
        self._error = error
        self._wake()

    async def _wait(self) -> None:
        # The other side may already wait on a newer future when this one resumes, so it clears nothing.
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
