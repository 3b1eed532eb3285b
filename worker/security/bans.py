"""Bans: addresses that somebody shut out while the edge runs, known to all workers at once.

Who is banned, since when and until when is the control process's business; here are the networks it has
published.
"""

from collections.abc import Callable

from worker.context import Context
from worker.message import Response
from worker.networks import SharedNetworks
from worker.reasons import Block
from worker.security.address import packed_address

Refuse = Callable[[Context, int, Block], Response]

MAX_BANS = 65_536


class BanGate:
    """Answers 403 to banned clients, also on connections they have open.

    A client that was let in is looked up again once the bans have changed: a request costs one comparison.
    """

    def __init__(self, bans: SharedNetworks, refuse: Refuse) -> None:
        self._bans = bans
        self._refuse = refuse

    def __call__(self, ctx: Context) -> Response | None:
        client = ctx.client
        version = self._bans.load_version()
        if client.bans_seen == version:
            return None
        if self._bans.find(packed_address(client.address)):
            return self._refuse(ctx, 403, Block.BAN)
        client.bans_seen = version  # of before the look-up: a change in between is looked at next time
        return None
