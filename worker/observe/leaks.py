"""Leaks in answers of origins: counted by kind, and told in the log by request id, never what they are."""

import logging
from typing import TYPE_CHECKING

from worker.context import Context
from worker.observe.counters import LEAK_KINDS, LEAKS, LEAKS_MISSED
from worker.reasons import Leak

if TYPE_CHECKING:
    from shmcache.core import Statistics

log = logging.getLogger("edgecluster.leaks")

_QUIET_NS = 1_000_000_000  # between two lines about leaks of a kind: the access log has them all


class Leaks:
    """Notes what was found, once per answer and kind."""

    def __init__(self, statistics: "Statistics") -> None:
        self._add = statistics.add
        self._told_ns: dict[Leak, int] = {}  # when the log was told last

    def __call__(self, ctx: Context, leak: Leak, mode: str) -> None:
        """The origin's answer has a leak of that kind, which is dealt with as `mode` says."""
        self._add(LEAKS + LEAK_KINDS.index(leak))
        if ctx.now_ns - self._told_ns.get(leak, -_QUIET_NS) < _QUIET_NS:
            return
        self._told_ns[leak] = ctx.now_ns
        where = (ctx.request.host + ctx.request.path).decode("latin-1")[:200]
        log.warning(
            "request %s: %s in the answer of the origin for %r: %s",
            ctx.request_id.decode(),
            leak,
            where,
            mode,
        )

    def missed(self) -> None:
        """An answer could not be looked at."""
        self._add(LEAKS_MISSED)
