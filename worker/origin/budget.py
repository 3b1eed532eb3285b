"""The retry budget of a group: retries are a share of its requests, so that they do not multiply an overload.

Whether a request may be asked again at all is for others to know.
"""

from typing import Final

from shmcache.core import Score
from worker.origin.recent import Recent
from worker.settings import RetrySettings

WINDOW_S: Final = 10.0
_COUNTS: Final = 5  # and 6: the words of a group's cell with requests and retries


class RetryBudget:
    """Retries of one group over the last ten seconds, exact over all processes."""

    __slots__ = ("_least", "_recent", "_share")

    def __init__(self, score: Score, settings: RetrySettings) -> None:
        self._share = settings.budget
        self._least = settings.least
        self._recent = Recent(score, _COUNTS, WINDOW_S)

    def note_request(self, now_ns: int) -> None:
        """One request more that retries may be a share of."""
        self._recent.add(False, now_ns)

    def take(self, now_ns: int) -> bool:
        """Takes one retry, if there is one."""
        return self._recent.mark(now_ns, self._least, self._share)
