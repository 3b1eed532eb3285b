"""The door: who may connect at all, decided by the address alone, before a byte is read.

What a refusal costs here is an accept and a close; behind it stands a TLS handshake. Knows addresses and
numbers of connections, and no request: the gates of the pipeline look at the clients that proxies speak for.
"""

from collections.abc import Callable
from math import ceil
from typing import Protocol

from shmcache.core import ENTERED, OVER, Presence, TokenBuckets
from worker.context import Client, Context
from worker.message import Response
from worker.networks import SharedNetworks
from worker.reasons import Block, TurnedAway
from worker.security.address import packed_address
from worker.settings import Limits

PREFIX = b"connections\0"  # no other presence has such keys
RATE_PREFIX = b"connection rate\0"  # and no other bucket

NS = 1_000_000_000

Refuse = Callable[[Context, int, Block], Response]


class AccessList(Protocol):
    """What the door asks of the list that stands before the whole edge."""

    def is_allowed(self, client: Client) -> bool: ...


class Door:
    """Says of each new connection whether it may be; counts those of one address over all workers together.

    Trusted proxies pass: they have many connections, and their clients are looked at request by request.
    Everyone else is refused who is banned, is denied by the edge's access list, comes faster than
    `connection_rate` or has `connections_per_address` open, of IPv6 all of a /64 together.
    """

    def __init__(
        self,
        limits: Limits,
        presence: Presence,
        buckets: TokenBuckets,
        *,
        bans: SharedNetworks | None = None,
        access: AccessList | None = None,
    ) -> None:
        self._most = limits.connections_per_address
        self._interval_ns = max(1, ceil(NS / limits.connection_rate)) if limits.connection_rate else 0
        self._burst = limits.connection_burst
        self._presence = presence
        self._buckets = buckets
        self._bans = bans
        self._access = access

    def keeps_out(self, client: Client) -> TurnedAway | None:
        """Why this address may not connect whatever else it does; counts nothing."""
        if client.trusted:
            return None
        if self._bans is not None:
            key = client.bucket_key  # of IPv4 the address itself, which need not be read again
            if self._bans.find(key if len(key) == 4 else packed_address(client.address)):
                return TurnedAway.BAN
        if self._access is not None and not self._access.is_allowed(client):
            return TurnedAway.ACCESS
        return None

    def enter(self, client: Client, now_ns: int) -> TurnedAway | None:
        """None: it may connect, and `leave` must follow. Otherwise why not."""
        if client.trusted:
            return None
        refusal = self.keeps_out(client)
        if refusal is not None:
            return refusal
        key = client.bucket_key
        if self._interval_ns:
            if self._buckets.take(RATE_PREFIX + key, now_ns, self._interval_ns, self._burst):
                return TurnedAway.RATE
        if self._most:
            answer = self._presence.enter(PREFIX + key, self._most)
            if answer == OVER:
                return TurnedAway.CONNECTIONS
            client.is_counted = answer == ENTERED
        return None

    def leave(self, client: Client) -> None:
        """A connection that came in is gone; once more changes nothing."""
        if client.is_counted:
            client.is_counted = False
            self._presence.leave(PREFIX + client.bucket_key)


class ProxiedAccessGate:
    """Answers 403 by the edge's access list to clients that proxies speak for: the door saw only those."""

    def __init__(self, access: AccessList, refuse: Refuse) -> None:
        self._access = access
        self._refuse = refuse

    def __call__(self, ctx: Context) -> Response | None:
        if ctx.client is ctx.peer or self._access.is_allowed(ctx.client):
            return None
        return self._refuse(ctx, 403, Block.ACCESS)
