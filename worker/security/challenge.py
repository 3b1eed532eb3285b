"""The gate that proves to a certification authority that we are who answers for a name (RFC 8555 8.3).

Before every other gate: the authority asks from anywhere, over plain http, and must not be redirected,
refused or counted. What we do not know may belong to an ACME client behind us, and goes on.
"""

import time

from shmcache.core import Cache
from worker.context import Context
from worker.fields import Fields
from worker.message import Response

PREFIX = b"/.well-known/acme-challenge/"
KEEP_S = 600
_KEY = b"\0acme/"  # no request's key begins like this
_FIELDS = b"Content-Type: application/octet-stream\r\nCache-Control: no-store\r\n"


def publish(cache: Cache, token: bytes, answer: bytes) -> bool:
    """Let every worker answer for `token`, for ten minutes; whether there was room."""
    now_ns = time.monotonic_ns()
    end_ns = now_ns + KEEP_S * 1_000_000_000
    return cache.put(_KEY + token, b"", answer, now_ns=now_ns, fresh_until_ns=end_ns, keep_until_ns=end_ns)


def withdraw(cache: Cache, token: bytes) -> None:
    """The challenge is over."""
    cache.delete(_KEY + token)


class ChallengeGate:
    """Answers for the tokens that were published."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __call__(self, ctx: Context) -> Response | None:
        path = ctx.request.path
        if not path.startswith(PREFIX) or ctx.request.method not in (b"GET", b"HEAD"):
            return None
        found = self._cache.get(_KEY + path[len(PREFIX) :], time.monotonic_ns())
        if found is None:
            return None
        body = bytes(found.body) if isinstance(found.body, bytes) else found.body.copy_out()
        return Response(200, Fields.trusted(_FIELDS), body, len(body))
