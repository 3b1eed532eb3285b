"""What all processes know of the servers of a group: who may be asked, and what became of those who were.

The state lies in the segment's scoreboard, so that a server that fails in one worker is left out by all, and
what the control process finds out by probing reaches every worker at once.
"""

from enum import StrEnum

from worker.settings import GroupSettings


class ServerState(StrEnum):
    """Why a server is asked or not; the words of log, metrics and `edgecluster status`."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # by active checks
    EJECTED = "ejected"  # by what became of requests


class GroupHealth:
    """The shared state of one group; servers are numbered as in `settings.servers`.

    Every call is a few atomic words, waits for nothing and survives the death of any process.
    """

    def __init__(self, board: "Scoreboard", settings: GroupSettings) -> None: ...

    def state(self, server: int, now_ns: int) -> ServerState: ...

    def is_available(self, server: int, now_ns: int) -> bool:
        """May it be asked?"""

    def share(self, server: int, now_ns: int) -> float:
        """What part of its weight counts: rises from near 0 to 1 during slow start."""

    def note_success(self, server: int, now_ns: int) -> None:
        """It answered."""

    def note_failure(self, server: int, now_ns: int) -> bool:
        """It did not, or with a status that counts as a failure; True if that ejected it."""

    def note_probe(self, server: int, passed: bool, now_ns: int) -> bool:
        """Result of an active check (control process only); True if its state changed."""

    # circuit breaker of the group

    def may_ask(self, now_ns: int) -> bool:
        """False while the breaker is open; True for one request at a time when it may close again."""

    def note_request(self, failed: bool, now_ns: int) -> None:
        """What became of a request of the group, for breaker and retry budget."""

    # retry budget of the group

    def may_retry(self, now_ns: int) -> bool:
        """Takes one retry from the budget, if there is one."""
