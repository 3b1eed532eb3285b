"""How many requests a client may have under way at once, over all workers together.

Counts and says so; the counting is the shared segment's, where a dead worker's requests are given back.
"""

from collections.abc import Callable

from shmcache.core import ENTERED, OVER, Presence
from worker.context import Context
from worker.message import Response
from worker.reasons import Block

Refuse = Callable[[Context, int, Block], Response]

PREFIX = b"requests\0"  # no other presence has such keys


class ConcurrencyGate:
    """Answers 429 to a client that has `most` requests under way, of IPv6 its /64; `finish` ends one.

    A request is under way from here until its last byte was handed to the transport; a tunnel until it ends.
    """

    def __init__(self, presence: Presence, most: int, refuse: Refuse) -> None:
        self._presence = presence
        self._most = most
        self._refuse = refuse

    def __call__(self, ctx: Context) -> Response | None:
        answer = self._presence.enter(PREFIX + ctx.client.bucket_key, self._most)
        if answer == OVER:
            response = self._refuse(ctx, 429, Block.CONCURRENCY)
            response.fields.append(b"Retry-After", b"1")
            return response
        ctx.is_counted = answer == ENTERED
        return None

    def finish(self, ctx: Context) -> None:
        """An observer: the request is over."""
        if ctx.is_counted:
            ctx.is_counted = False
            self._presence.leave(PREFIX + ctx.client.bucket_key)
