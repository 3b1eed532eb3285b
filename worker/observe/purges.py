"""Purges that somebody asked for: counted by kind, and told in the log with whom they came from."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.observe.counters import PURGE_KINDS, PURGES
from worker.reasons import PurgeKind

if TYPE_CHECKING:
    from shmcache.core import Statistics

log = logging.getLogger("edgecluster.purge")

SHOWN = 5  # targets of one request that the log names


class Purges:
    """Notes what was purged, once per request for it."""

    def __init__(self, statistics: "Statistics") -> None:
        self._add = statistics.add

    def __call__(self, kind: PurgeKind, targets: Sequence[str], *, soft: bool, by: str) -> None:
        """`targets` were purged; none of "all". `by`: who asked."""
        count = len(targets) or 1
        self._add(PURGES + PURGE_KINDS.index(kind), count)
        named = " ".join(targets[:SHOWN]) or "everything"
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        log.info("purged%s by %s, asked by %s: %s%s", " softly" if soft else "", kind, by, named, more)
