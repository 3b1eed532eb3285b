"""The rate limit: a token bucket per client address, one for all workers.

Decides and says so; the counting is the shared segment's.
"""

import logging
from collections.abc import Callable
from hashlib import blake2b
from math import ceil

from shmcache.core import TokenBuckets
from worker.context import Context
from worker.message import Response
from worker.reasons import Block
from worker.settings import RateLimitSettings

log = logging.getLogger("edgecluster.ratelimit")

Refuse = Callable[[Context, int, Block], Response]

NS = 1_000_000_000
LOG_PAUSE_NS = NS  # one line per second and worker tells enough of a flood


class RateLimitGate:
    """Answers 429 when the client's bucket is empty; with the action "log" it only says that it would.

    N workers grant together what one would: at most `burst` at once and `burst + rate * seconds` over any
    time. The refusal carries Retry-After (RFC 9110 10.2.3) and RateLimit, RateLimit-Policy
    (draft-ietf-httpapi-ratelimit-headers-09).
    """

    def __init__(self, limit: RateLimitSettings, buckets: TokenBuckets, refuse: Refuse) -> None:
        self._take = buckets.take
        self._refuse = refuse
        self._name = limit.name
        self._blocks = limit.action == "block"
        # Two limits never share a bucket, and a client address cannot be chosen to look like another limit.
        self._prefix = blake2b(limit.name.encode(), digest_size=8).digest()
        self._interval_ns = max(1, ceil(NS / limit.rate))  # rounded up: never faster than configured
        self._burst = limit.burst
        self._label = structured_string(limit.name)
        window_s = max(1, ceil(limit.burst / limit.rate))
        self._policy = b"%b;q=%d;w=%d" % (self._label, limit.burst, window_s)
        self._unlogged = 0
        self._next_log_ns = 0

    def __call__(self, ctx: Context) -> Response | None:
        wait_ns = self._take(self._prefix + ctx.client.bucket_key, ctx.now_ns, self._interval_ns, self._burst)
        if not wait_ns:
            return None
        if self._blocks:
            return self._answer(ctx, wait_ns)
        self._log(ctx)
        return None

    def _answer(self, ctx: Context, wait_ns: int) -> Response:
        wait_s = max(1, -(-wait_ns // NS))
        response = self._refuse(ctx, 429, Block.RATE)
        response.fields.append(b"Retry-After", b"%d" % wait_s)
        response.fields.append(b"RateLimit", b"%b;r=0;t=%d" % (self._label, wait_s))
        response.fields.append(b"RateLimit-Policy", self._policy)
        return response

    def _log(self, ctx: Context) -> None:
        self._unlogged += 1
        if ctx.now_ns < self._next_log_ns:
            return
        log.warning(
            "rate limit %r would have refused %d requests, the last from %s; action block would enforce it",
            self._name,
            self._unlogged,
            ctx.client.address,
        )
        self._unlogged = 0
        self._next_log_ns = ctx.now_ns + LOG_PAUSE_NS


def structured_string(text: str) -> bytes:
    """`text` as a structured field string (RFC 8941 3.3.3); what it cannot hold becomes "?"."""
    printable = "".join(char if " " <= char <= "~" else "?" for char in text)
    return b'"%b"' % printable.replace("\\", "\\\\").replace('"', '\\"').encode()
