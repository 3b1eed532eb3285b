"""Send filter: the lifetime that clients are told, on a route that sets one (`cache.browser_ttl`).

Speaks only of what is stored here: what the origin lets nobody store keeps the origin's words.
"""

import re

from worker.context import Context
from worker.message import Response
from worker.reasons import Outcome

_STORED = frozenset({Outcome.HIT, Outcome.STALE, Outcome.REVALIDATED, Outcome.UPDATING})
_NOT_FOR_CLIENTS = re.compile(rb"(?:^|[\s,])(?:no-store|no-cache|private)(?:$|[\s,=])", re.IGNORECASE)
_MAX_AGE = re.compile(rb"\s*max-age\s*(?:=|$)", re.IGNORECASE)


class BrowserTtl:
    """Replaces max-age, and Expires, by `ttl_s` seconds from now on.

    The answer's own Age counts against max-age at the client (RFC 9111 4.2), so it is added.
    """

    def __init__(self, ttl_s: int) -> None:
        self._ttl_s = ttl_s

    def __call__(self, ctx: Context, response: Response) -> None:
        if not (ctx.stored or ctx.outcome in _STORED) or response.status == 416:
            return
        fields = response.fields
        value = fields.joined(b"cache-control") or b""
        if _NOT_FOR_CLIENTS.search(value):
            return
        kept = [part.strip() for part in value.split(b",") if part.strip() and not _MAX_AGE.match(part)]
        kept.append(b"max-age=%d" % (self._ttl_s + _age(ctx, response)))
        fields.remove(b"expires", b"cache-control")
        fields.append(b"Cache-Control", b", ".join(kept))


def _age(ctx: Context, response: Response) -> int:
    """What Age will say: ours for a stored response, else the one that came with the answer."""
    if ctx.age_s >= 0:
        return ctx.age_s
    value = response.fields.get(b"age") or b""
    return int(value) if value.isdigit() and len(value) <= 10 else 0
