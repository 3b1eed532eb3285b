"""What all processes know of the servers of a group: who may be asked, and what became of those who were.

The state lies in the segment's scoreboard, so that a server that fails in one worker is left out by all, and
what the control process finds out by probing reaches every worker at once. Whom to ask of those who may be
asked is not decided here.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from shmcache.core import Score, Scoreboard
from worker.origin.breaker import Breaker, BreakerReport, BreakerState
from worker.origin.budget import RetryBudget
from worker.origin.standing import ServerReport, ServerState, Standing
from worker.reasons import Fault
from worker.settings import GroupSettings

__all__ = [
    "BreakerReport",
    "BreakerState",
    "GroupHealth",
    "GroupReport",
    "ServerReport",
    "ServerState",
]

log = logging.getLogger("edgecluster.origin")


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group as operators see it."""

    name: str
    servers: tuple[ServerReport, ...]
    breaker: BreakerReport | None  # None: the settings ask for none


class GroupHealth:
    """The shared state of one group; servers are numbered as in `settings.servers`.

    Every call is a few atomic words, waits for nothing and survives the death of any process. The cells are
    keyed by the names of group and server, so that the state outlives a reload. When the scoreboard is full,
    what has no cell counts as healthy.
    """

    __slots__ = ("_breaker", "_budget", "_ejected_max", "_settings", "_standings")

    def __init__(self, board: Scoreboard, settings: GroupSettings) -> None:
        self._settings = settings
        group = settings.name.encode()
        scores = [
            board.claim(b"server\0%b\0%b" % (group, server.url.encode())) for server in settings.servers
        ]
        own = board.claim(b"group\0" + group)
        _tell_if_full(settings, [own, *scores])
        self._standings = [Standing(score, settings) for score in scores]
        self._ejected_max = max(1, int(settings.ejection.max_share * len(scores)))
        has_breaker, has_budget = settings.breaker.share > 0, settings.retry.attempts > 0
        self._breaker = Breaker(own, settings.breaker) if own is not None and has_breaker else None
        self._budget = RetryBudget(own, settings.retry) if own is not None and has_budget else None

    def state(self, server: int, now_ns: int) -> ServerState:
        return self._standings[server].state(now_ns)

    def is_available(self, server: int, now_ns: int) -> bool:
        """May it be asked?"""
        return self._standings[server].is_available(now_ns)

    def share(self, server: int, now_ns: int) -> float:
        """What part of its weight counts: rises from near 0 to 1 during slow start."""
        return self._standings[server].share(now_ns)

    def note_success(self, server: int, now_ns: int) -> None:
        """It answered."""
        self._standings[server].note_success(now_ns)

    def note_failure(self, server: int, now_ns: int) -> bool:
        """It did not, or with a status that counts as a failure; True if that ejected it."""
        return self._standings[server].note_failure(now_ns, lambda: self._may_eject(server, now_ns))

    def note_probe(
        self, server: int, passed: bool, now_ns: int, *, fault: Fault | None = None, status: int = 0
    ) -> bool:
        """Result of an active check (control process only); True if its state changed.

        The first check of a server decides at once. `fault` or `status` says why it did not pass.
        """
        return self._standings[server].note_probe(passed, now_ns, fault, status)

    def _may_eject(self, server: int, now_ns: int) -> bool:
        """The share allows one more with the others ejected now, and another is left that may be asked."""
        others = [standing for number, standing in enumerate(self._standings) if number != server]
        ejected = sum(standing.is_ejected(now_ns) for standing in others)
        return ejected < self._ejected_max and any(standing.is_available(now_ns) for standing in others)

    # circuit breaker of the group

    def may_ask(self, now_ns: int) -> bool:
        """False while the breaker is open; True for one request at a time when it may close again."""
        return self._breaker is None or self._breaker.may_ask(now_ns)

    def note_request(self, failed: bool, now_ns: int) -> bool:
        """What became of a request of the group, for breaker and retry budget.

        True if that opened the breaker, or closed it.
        """
        if self._budget is not None:
            self._budget.note_request(now_ns)
        return self._breaker is not None and self._breaker.note(failed, now_ns)

    # retry budget of the group

    def may_retry(self, now_ns: int) -> bool:
        """Takes one retry from the budget, if there is one. Without a cell to count in there always is."""
        return self._budget is None or self._budget.take(now_ns)

    def report(self, now_ns: int) -> GroupReport:
        """All of it, for operators."""
        servers = tuple(
            standing.report(server.url, server.backup, now_ns)
            for standing, server in zip(self._standings, self._settings.servers, strict=True)
        )
        breaker = None if self._breaker is None else self._breaker.report(now_ns)
        return GroupReport(self._settings.name, servers, breaker)


def _tell_if_full(settings: GroupSettings, scores: Sequence[Score | None]) -> None:
    without = sum(score is None for score in scores)
    if without:
        log.warning(
            "group %r: no room to keep its health, %d cells are missing, so that what they are for counts as "
            "healthy; all groups share the table, those of earlier configurations too: restart the edge",
            settings.name, without,
        )  # fmt: skip
