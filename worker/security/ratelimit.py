"""Rate limits: a token bucket or a sliding window per client, or whatever a rule names; one for all workers.

Decides and says so; the counting is the shared segment's.
"""

import logging
from collections.abc import Callable
from hashlib import blake2b
from math import ceil

from shmcache.core import SlidingWindows, TokenBuckets
from worker.context import Context
from worker.message import Response
from worker.pipeline import LATER
from worker.reasons import Block
from worker.settings import RateLimitSettings

log = logging.getLogger("edgecluster.ratelimit")

Refuse = Callable[[Context, int, Block], Response]
KeyOf = Callable[[Context], bytes]

NS = 1_000_000_000
LOG_PAUSE_NS = NS  # one line per second and worker tells enough of a flood
DELAYED = 1024  # requests of one rule that may wait in one worker; more are refused


class RateLimitGate:
    """Answers 429 when nothing is left for the request; with the action "log" it only says that it would,
    with "delay" it lets the request wait for its turn.

    N workers grant together what one would: of a bucket at most `burst` at once and `burst + rate * seconds`
    over any time, of a window at most its limit. The refusal carries Retry-After (RFC 9110 10.2.3) and
    RateLimit, RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-09).

    A rule with statuses counts answers in place of requests (`count`): whoever has had too many of those
    statuses is refused before it is answered again.
    """

    def __init__(
        self,
        limit: RateLimitSettings,
        buckets: TokenBuckets,
        windows: SlidingWindows,
        refuse: Refuse,
        key_of: KeyOf | None = None,
    ) -> None:
        """`key_of`: what is limited together; None: the client's address, of IPv6 its /64."""
        counters = windows if limit.window_s else buckets
        self._take, self._peek = counters.take, counters.peek
        self._refuse = refuse
        self._key_of = key_of
        self._name = limit.name
        self._blocks = limit.action != "log"
        self._delay_ns = ceil(limit.longest_delay_s * NS) if limit.action == "delay" else 0
        self._delayed: list[int] = []  # when those that wait will go on
        # Two limits never share a key, and what a client chooses cannot look like another limit's.
        self._prefix = blake2b(limit.name.encode(), digest_size=8).digest()
        # What one token takes to come back, rounded up: never faster than configured. Or the window.
        self._span = limit.window_s or max(1, ceil(NS / limit.rate))
        self._most = limit.burst
        self._methods = limit.methods
        self._costs = dict(limit.costs)
        self._statuses = limit.statuses
        self._label = structured_string(limit.name)
        window_s = limit.window_s or max(1, ceil(limit.burst / limit.rate))
        self._policy = b"%b;q=%d;w=%d" % (self._label, limit.burst, window_s)
        self._unlogged = 0
        self._next_log_ns = 0

    @property
    def counts_answers(self) -> bool:
        """Does `count` have to see every answer?"""
        return bool(self._statuses)

    def __call__(self, ctx: Context) -> Response | None:
        if self._methods and ctx.request.method not in self._methods:
            return None
        key, now_ns = self._key(ctx), ctx.now_ns
        if self._statuses:
            wait_ns = self._peek(key, now_ns, self._span, self._most)
        else:
            wait_ns = self._take(key, now_ns, self._span, self._most, self._cost(ctx))
        if not wait_ns:
            return None
        if not self._blocks:
            self._log(ctx)
            return None
        if self._delay_ns and wait_ns <= self._delay_ns and self._may_wait(now_ns):
            return self._let_wait(ctx, key)
        return self._answer(ctx, wait_ns)

    def count(self, ctx: Context) -> None:
        """An observer: counts the answer against the client, if it is one of the rule's."""
        if ctx.block is not None or (self._methods and ctx.request.method not in self._methods):
            return
        if any(first <= ctx.status <= last for first, last in self._statuses):
            self._take(self._key(ctx), ctx.now_ns, self._span, self._most, self._cost(ctx))

    def _key(self, ctx: Context) -> bytes:
        return self._prefix + (ctx.client.bucket_key if self._key_of is None else self._key_of(ctx))

    def _cost(self, ctx: Context) -> int:
        return self._costs.get(ctx.request.method, 1) if self._costs else 1

    # A delay takes its turn from a bucket that is larger by what comes back meanwhile. So those that wait are
    # granted no more than `burst + rate * seconds` either: each goes on when the bucket proper would let it.

    def _may_wait(self, now_ns: int) -> bool:
        self._delayed = [due_ns for due_ns in self._delayed if due_ns > now_ns]
        return len(self._delayed) < DELAYED

    def _let_wait(self, ctx: Context, key: bytes) -> Response:
        longer = self._most + self._delay_ns // self._span
        beyond_ns = self._take(key, ctx.now_ns, self._span, longer, self._cost(ctx))
        if beyond_ns:
            return self._answer(ctx, self._delay_ns + beyond_ns)
        # Its turn is when the bucket proper would not be overdrawn: one token before another would fit.
        wait_ns = max(0, self._peek(key, ctx.now_ns, self._span, self._most) - self._span)
        self._delayed.append(ctx.now_ns + wait_ns)
        ctx.delay_ns = wait_ns
        return LATER

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
