"""The circuit breaker of a group: when too many of its requests fail, the rest fail at once for a while.

Closed, it counts. Open, nobody is let through until a deadline. Then one request tries, and what holds the
others back meanwhile is another deadline, not a flag: a worker that dies with it blocks nobody.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shmcache.core import Score
from worker.origin.recent import Recent
from worker.settings import BreakerSettings

TRIES: Final = 16
_MS: Final = 1_000_000

# The words of a group's cell that are the breaker's.
_BREAKER: Final = 0  # 0: closed, else {deadline, ms 62 | a request tries 1 | 1}
_OPENED: Final = 1  # ns, when it last opened from closed
_OPENINGS: Final = 2  # how often
_COUNTS: Final = 3  # and 4: requests and failed ones
_OPEN: Final = 1
_TRYING: Final = 2
_DEADLINE: Final = 2  # where it begins


class BreakerState(StrEnum):
    """The words of metrics and `edgecluster status`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"  # a request tries, or the next one will


@dataclass(frozen=True, slots=True)
class BreakerReport:
    """The breaker as operators see it."""

    state: BreakerState
    since_ns: int  # when it opened; 0 while it is closed
    openings: int  # so far


class Breaker:
    """The shared breaker of one group."""

    __slots__ = ("_open_ns", "_recent", "_requests", "_score", "_share")

    def __init__(self, score: Score, settings: BreakerSettings) -> None:
        self._score = score
        self._share = settings.share
        self._requests = settings.requests
        self._open_ns = round(settings.open_s * 1e9)
        self._recent = Recent(score, _COUNTS, settings.window_s)

    def may_ask(self, now_ns: int) -> bool:
        """One load while it is closed."""
        word = self._score.load(_BREAKER)
        if not word:
            return True
        if word >> _DEADLINE > now_ns // _MS:
            return False
        return self._score.swap(_BREAKER, word, self._until(now_ns) | _TRYING)

    def note(self, failed: bool, now_ns: int) -> bool:
        """Count what became of a request; True if that opened the breaker, or closed it."""
        word = self._score.load(_BREAKER)
        if word & _TRYING:
            return self._end_trial(failed, word, now_ns)
        if word:
            return False
        self._recent.add(failed, now_ns)
        return failed and self._is_too_much(now_ns) and self._open(now_ns)

    def _is_too_much(self, now_ns: int) -> bool:
        requests, failed = self._recent.counts(now_ns)
        return requests >= self._requests and failed >= self._share * requests

    def _open(self, now_ns: int) -> bool:
        if not self._score.swap(_BREAKER, 0, self._until(now_ns)):
            return False
        self._score.store(_OPENED, now_ns)
        self._score.add(_OPENINGS, 1)
        return True

    def _end_trial(self, failed: bool, word: int, now_ns: int) -> bool:
        """Any answer that comes meanwhile decides: an origin that answers is back, whoever asked it."""
        if failed:
            self._score.swap(_BREAKER, word, self._until(now_ns))
            return False
        self._recent.forget()  # before anyone counts again: what failed then is no reason to open now
        return self._score.swap(_BREAKER, word, 0)

    def _until(self, now_ns: int) -> int:
        return (now_ns + self._open_ns) // _MS << _DEADLINE | _OPEN

    def report(self, now_ns: int) -> BreakerReport:
        word, openings = self._score.load(_BREAKER), self._score.load(_OPENINGS)
        if not word:
            return BreakerReport(BreakerState.CLOSED, 0, openings)
        waits = word >> _DEADLINE > now_ns // _MS and not word & _TRYING
        state = BreakerState.OPEN if waits else BreakerState.HALF_OPEN
        return BreakerReport(state, self._score.load(_OPENED), openings)
