"""Observer: counts every finished request in the shared statistics.

Counting is a handful of native adds to this process's own page, without a lock, and one scrape is the truth
for all workers. What the numbers mean is in `counters`, how they are printed in `exposition`.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.context import Context
from worker.judgement import Judgement
from worker.observe.counters import (
    BLOCKED,
    BLOCKS,
    BYTES_IN,
    BYTES_OUT,
    DURATION_BOUNDS_NS,
    FAILED,
    FAULTS,
    FROM_EDGE,
    FROM_ORIGIN,
    NOT_STORED,
    ORIGIN_CONNECTS,
    ORIGIN_REQUESTS,
    ORIGIN_RETRIES,
    ORIGIN_WAIT_US,
    OUTCOMES,
    PROTOCOLS,
    REASONS,
    STALL_BOUNDS_NS,
    STALL_MAX_US,
    STALL_US,
    STALLS,
    STATUSES,
    WAF_MATCHED,
    WAF_REFUSABLE,
    request_counter,
    status_counter,
)
from worker.observe.exposition import prometheus, summary
from worker.reasons import Outcome

if TYPE_CHECKING:
    from shmcache.core import Statistics

__all__ = ["LoopStalls", "Metrics", "prometheus", "summary"]

_HIT = Outcome.HIT  # looking a member up in its enum costs more than a count
_FROM_EDGE = (Outcome.HIT, Outcome.STALE, Outcome.NONE)


class Metrics:
    """Counts finished requests; `count_rule` the rules of the WAF that matched, each once per request."""

    def __init__(self, statistics: "Statistics", count_rule: Callable[[str], None] | None = None) -> None:
        self._statistics = statistics
        self._count_rule = count_rule
        self._requests = {
            version.encode(): {
                outcome: (
                    request_counter(version.encode(), outcome),
                    FROM_EDGE if outcome in _FROM_EDGE else FROM_ORIGIN,
                )
                for outcome in OUTCOMES
            }
            for version in PROTOCOLS
        }
        self._statuses = {status: status_counter(status) for status in STATUSES}
        self._blocks = {block: BLOCKED + number for number, block in enumerate(BLOCKS)}
        self._faults = {fault: FAILED + number for number, fault in enumerate(FAULTS)}
        self._reasons = {reason: NOT_STORED + number for number, reason in enumerate(REASONS)}

    def __call__(self, ctx: Context) -> None:
        outcome = ctx.outcome
        if ctx.status == 101:  # the life of a tunnel is no answer's duration: what counts is the wait for it
            duration_ns = ctx.connect_ns + ctx.first_byte_ns
        else:
            duration_ns = ctx.ended_ns - ctx.started_ns
        counter, group = self._requests[ctx.request.version][outcome]
        statistics = self._statistics
        statistics.add(counter)
        statistics.add(group, duration_ns // 1000)
        statistics.add(group + 1 + bisect_left(DURATION_BOUNDS_NS, duration_ns))
        statistics.add(self._statuses.get(ctx.status) or status_counter(ctx.status))
        statistics.add(BYTES_OUT, ctx.bytes_out)
        if outcome is not _HIT or ctx.error is not None or ctx.bytes_in:
            self._add_the_rest(ctx)
        if ctx.waf is not None:
            self._add_rules(ctx.waf)

    def _add_the_rest(self, ctx: Context) -> None:
        """What a plain hit has none of."""
        statistics = self._statistics
        if ctx.bytes_in:
            statistics.add(BYTES_IN, ctx.bytes_in)
        if ctx.block is not None:
            statistics.add(self._blocks[ctx.block])
        if ctx.error is not None:
            statistics.add(self._faults[ctx.error.fault])
        if ctx.not_storable is not None:
            statistics.add(self._reasons[ctx.not_storable])
        if ctx.origin:
            statistics.add(ORIGIN_REQUESTS, 1 + ctx.retries)
            statistics.add(ORIGIN_RETRIES, ctx.retries)
            statistics.add(ORIGIN_WAIT_US, ctx.first_byte_ns // 1000)
            if ctx.connect_ns:
                statistics.add(ORIGIN_CONNECTS)

    def _add_rules(self, judgement: Judgement) -> None:
        self._statistics.add(WAF_MATCHED)
        if judgement.refuses:
            self._statistics.add(WAF_REFUSABLE)
        if self._count_rule is not None:
            for rule in judgement.rules:
                self._count_rule(rule)


class LoopStalls:
    """Counts how long the worker's loop could not attend to anybody."""

    def __init__(self, statistics: "Statistics") -> None:
        self._statistics = statistics
        self._longest_us = 0

    def __call__(self, stall_ns: int) -> None:
        """A timer came `stall_ns` later than it was set for."""
        stall_us = max(0, stall_ns) // 1000
        self._statistics.add(STALLS + bisect_left(STALL_BOUNDS_NS, stall_ns))
        self._statistics.add(STALL_US, stall_us)
        if stall_us > self._longest_us:
            self._statistics.add(
                STALL_MAX_US, stall_us - self._longest_us
            )  # a maximum, told by a counter that only grows
            self._longest_us = stall_us
