"""PURGE requests: the method by which sites tell the cache in front of them to forget a URL.

Asked last of all gates, so that a hit pays nothing for it, and never passed on: an origin behind could be
another cache, which would believe us.
"""

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from shmcache.core import Cache
from worker.addresses import Networks, read_address
from worker.cache.key import cache_key
from worker.cache.purge import KeyOf, purge_key
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.reasons import Block, Outcome, PurgeKind
from worker.settings import Network

Refuse = Callable[[Context, int, Block], Response]


class Note(Protocol):
    """Hears of purges."""

    def __call__(self, kind: PurgeKind, targets: Sequence[str], *, soft: bool, by: str) -> None: ...


SOFT = b"edgecluster-soft-purge"  # request field: 1 makes stale instead of removing


class PurgeGate:
    """Carries out PURGE requests from the networks `allowed`; everyone else gets 403.

    `key_of` makes the route's primary keys, `note` hears of every purge. The answer is 200 with what
    `POST /purge` of the admin API says of a purge by URL, whether there was something or not.
    """

    def __init__(
        self, allowed: Sequence[Network], cache: Cache, key_of: KeyOf, refuse: Refuse, note: Note
    ) -> None:
        self._allowed = Networks(allowed)
        self._cache = cache
        self._key_of = key_of
        self._refuse = refuse
        self._note = note

    def __call__(self, ctx: Context) -> Response | None:
        request = ctx.request
        if request.method != b"PURGE":
            return None
        ctx.outcome, ctx.forward = Outcome.NONE, None
        if not self.is_allowed(ctx.client.address):
            return self._refuse(ctx, 403, Block.ACCESS)
        soft = request.fields.get(SOFT) == b"1"
        found = purge_key(self._cache, self._key_of(request), ctx.now_ns, soft=soft)
        url = cache_key(request).decode("ascii", "backslashreplace")
        self._note(PurgeKind.URL, [url], soft=soft, by=ctx.client.address)
        said = {"purged": found, "soft": soft, "generation": self._cache.generation()}
        body = json.dumps(said).encode() + b"\n"
        fields = Fields.of([(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")])
        return Response(200, fields, body, len(body))

    def is_allowed(self, address: str) -> bool:
        """Whether a client of this address may purge."""
        return read_address(address) in self._allowed
