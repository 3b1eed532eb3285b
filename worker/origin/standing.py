"""How one server stands: by active checks, by what became of requests, and since when.

One word of the scoreboard says whether it may be asked, so that asking that and noting a success are one
load. It knows of other servers only what its group tells it: whether it may be ejected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shmcache.core import Score
from worker.reasons import Fault
from worker.settings import EjectionSettings, GroupSettings

TRIES: Final = 16  # to change a word that others change too; who gives up loses one count
LEAST_SHARE: Final = 0.01  # of its weight, when slow start begins
_MS: Final = 1_000_000

# The words of a server's cell.
_STANDING: Final = 0  # see below
_SINCE: Final = 1  # ns, when active checks last changed their mind
_EJECTED: Final = 2  # ns, when it was last ejected
_EJECTIONS: Final = 3  # how often
_FAULT: Final = 4  # of the last active check that failed: {status 16 | number in Fault 16}
_REQUESTS: Final = 5  # so far, of which
_FAILED: Final = 6  # failed

# {ejected until, ms 40 | level 4 | unproven 1 | failures 8 | active checks 2 | results against that 8}
_AGAINST: Final = 0xFF
_CHECKS: Final = 8  # where each begins
_FAILURES: Final = 10
_UNPROVEN: Final = 18
_LEVEL: Final = 19
_UNTIL: Final = 23
_COUNT_MAX: Final = 0xFF
_LEVEL_MAX: Final = 0xF
_CHECKS_MASK: Final = 3 << _CHECKS
_FAILURES_MASK: Final = _COUNT_MAX << _FAILURES
_UNPROVEN_BIT: Final = 1 << _UNPROVEN  # let back after an ejection, and no success since
_TROUBLE: Final = _FAILURES_MASK | _UNPROVEN_BIT  # what a success clears

# What active checks say.
_UNKNOWN: Final = 0 << _CHECKS
_UP: Final = 1 << _CHECKS  # from the first check on
_DOWN: Final = 2 << _CHECKS
_UP_AGAIN: Final = 3 << _CHECKS

_FAULTS: Final = tuple(Fault)


class ServerState(StrEnum):
    """Why a server is asked or not; the words of log, metrics and `edgecluster status`."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # by active checks
    EJECTED = "ejected"  # by what became of requests


@dataclass(frozen=True, slots=True)
class ServerReport:
    """A server as operators see it."""

    url: str
    backup: bool
    state: ServerState
    reason: str  # why it is not healthy; "" if it is
    since_ns: int  # of `state`; 0: since before anything was known
    until_ns: int  # end of its ejection; 0: not ejected
    share: float  # of its weight that counts: below 1 during slow start
    ejections: int  # so far
    requests: int  # so far: those it answered, and those that failed
    failed: int


class Standing:
    """The shared state of one server. Without a cell it is healthy and stays so.

    What the settings do not ask for does not count, whatever an earlier configuration has left in the cell.
    """

    __slots__ = ("_ejection", "_failures", "_probe", "_score", "_slow_start_ns")

    def __init__(self, score: Score | None, settings: GroupSettings) -> None:
        self._score = score
        self._probe = settings.probe
        self._ejection = settings.ejection
        self._failures = min(settings.ejection.failures, _COUNT_MAX)
        self._slow_start_ns = round(settings.slow_start_s * 1e9)

    def is_available(self, now_ns: int) -> bool:
        """Neither unhealthy nor ejected."""
        if self._score is None:
            return True
        word = self._score.load(_STANDING)
        return not self._is_down(word) and not self._is_out(word, now_ns)

    def is_ejected(self, now_ns: int) -> bool:
        return self._score is not None and self._is_out(self._score.load(_STANDING), now_ns)

    def state(self, now_ns: int) -> ServerState:
        if self._score is None:
            return ServerState.HEALTHY
        return self._state(self._score.load(_STANDING), now_ns)

    def share(self, now_ns: int) -> float:
        """Rises linearly from LEAST_SHARE to 1 over the slow start after it came back."""
        if self._score is None or not self._slow_start_ns:
            return 1.0
        back_ns = self._back_ns(self._score.load(_STANDING))
        if not back_ns:
            return 1.0
        return min(1.0, max(LEAST_SHARE, (now_ns - back_ns) / self._slow_start_ns))

    # what became of requests

    def note_success(self, now_ns: int) -> None:
        """Its failures are no longer in a row. One load beside the count, if there are none."""
        if self._score is None:
            return
        self._score.add(_REQUESTS, 1)
        for _ in range(TRIES):
            word = self._score.load(_STANDING)
            if not word & _TROUBLE or self._is_out(word, now_ns):
                return
            if self._score.swap(_STANDING, word, word & ~_TROUBLE):
                return

    def note_failure(self, now_ns: int, may_eject: Callable[[], bool]) -> bool:
        """True if that ejected it.

        `may_eject` is what the others allow. It is asked once more after the ejection: when several are
        ejected at the same moment, those that were too many take it back.
        """
        if self._score is None:
            return False
        self._score.add(_REQUESTS, 1)
        self._score.add(_FAILED, 1)
        if not self._failures:
            return False
        for _ in range(TRIES):
            word = self._score.load(_STANDING)
            if self._is_out(word, now_ns):
                return False
            failures = min(((word & _FAILURES_MASK) >> _FAILURES) + 1, self._failures)
            counted = word & ~_FAILURES_MASK | failures << _FAILURES
            if failures == self._failures and may_eject():
                ejected = self._ejected(word, now_ns)
                if self._score.swap(_STANDING, word, ejected):
                    return self._settle(ejected, counted, now_ns, may_eject)
            elif counted == word or self._score.swap(_STANDING, word, counted):
                return False
        return False

    def _settle(self, ejected: int, counted: int, now_ns: int, may_eject: Callable[[], bool]) -> bool:
        """Stay ejected, unless that was one too many."""
        assert self._score is not None
        if not may_eject() and self._score.swap(_STANDING, ejected, counted):
            return False
        self._score.store(_EJECTED, now_ns)
        self._score.add(_EJECTIONS, 1)
        return True

    def _ejected(self, word: int, now_ns: int) -> int:
        """The word of a server that is ejected now."""
        level = self._level(word, now_ns)
        until_ms = (now_ns + self._ejection_ns(level)) // _MS
        level = min(level + 1, _LEVEL_MAX)
        return until_ms << _UNTIL | level << _LEVEL | _UNPROVEN_BIT | word & (_CHECKS_MASK | _AGAINST)

    def _level(self, word: int, now_ns: int) -> int:
        """How many ejections still count: each is forgotten after as long as it lasted, if it answers."""
        level = word >> _LEVEL & _LEVEL_MAX
        if word & _UNPROVEN_BIT:
            return level
        left_ns = now_ns - (word >> _UNTIL) * _MS
        while level and left_ns >= self._ejection_ns(level - 1):
            level -= 1
            left_ns -= self._ejection_ns(level)
        return level

    def _ejection_ns(self, level: int) -> int:
        """How long an ejection lasts after that many others."""
        settings: EjectionSettings = self._ejection
        return round(min(settings.time_s * 2.0**level, settings.max_time_s) * 1e9)

    # active checks

    def note_probe(self, passed: bool, now_ns: int, fault: Fault | None = None, status: int = 0) -> bool:
        """True if it was healthy and is not, or the other way round. The first check decides alone.

        `fault` or `status` says why it did not pass.
        """
        if self._score is None or self._probe is None:
            return False
        if not passed:
            self._score.store(_FAULT, status << 16 | (0 if fault is None else _FAULTS.index(fault)))
        for _ in range(TRIES):
            word = self._score.load(_STANDING)
            checked = self._checked(word, passed, now_ns)
            if checked == word or self._score.swap(_STANDING, word, checked):
                return self._is_down(word) != self._is_down(checked)
        return False

    def _checked(self, word: int, passed: bool, now_ns: int) -> int:
        """The word after a check. When the state changes, the time of that is stored first."""
        assert self._score is not None and self._probe is not None
        checks, against = word & _CHECKS_MASK, word & _AGAINST
        is_up = checks != _DOWN
        rest = word & ~(_CHECKS_MASK | _AGAINST)
        if checks == _UNKNOWN:
            self._score.store(_SINCE, now_ns)
            return rest | (_UP if passed else _DOWN)
        if passed == is_up:
            return rest | checks
        against += 1
        if against < min(self._probe.failures if is_up else self._probe.passes, _COUNT_MAX):
            return rest | checks | against
        self._score.store(_SINCE, now_ns)
        return rest | (_DOWN if is_up else _UP_AGAIN)

    # what the word says

    def _is_down(self, word: int) -> bool:
        return word & _CHECKS_MASK == _DOWN and self._probe is not None

    def _is_out(self, word: int, now_ns: int) -> bool:
        return word >> _UNTIL > now_ns // _MS and self._failures != 0

    def _state(self, word: int, now_ns: int) -> ServerState:
        if self._is_down(word):
            return ServerState.UNHEALTHY
        return ServerState.EJECTED if self._is_out(word, now_ns) else ServerState.HEALTHY

    def _back_ns(self, word: int) -> int:
        """When it was last let back; 0: it was never away."""
        back_ns = (word >> _UNTIL) * _MS if self._failures else 0
        if word & _CHECKS_MASK == _UP_AGAIN and self._probe is not None and self._score is not None:
            back_ns = max(back_ns, self._score.load(_SINCE))
        return back_ns

    # what operators see

    def report(self, url: str, backup: bool, now_ns: int) -> ServerReport:
        if self._score is None:
            return ServerReport(url, backup, ServerState.HEALTHY, "", 0, 0, 1.0, 0, 0, 0)
        word = self._score.load(_STANDING)
        state = self._state(word, now_ns)
        since_ns, until_ns, reason = self._back_ns(word), 0, ""
        if state is ServerState.UNHEALTHY:
            since_ns, reason = self._score.load(_SINCE), self._why_down()
        elif state is ServerState.EJECTED:
            since_ns, until_ns = self._score.load(_EJECTED), (word >> _UNTIL) * _MS
            reason = f"{self._failures} requests failed in a row"
        ejections, requests, failed = map(self._score.load, (_EJECTIONS, _REQUESTS, _FAILED))
        share = self.share(now_ns)
        return ServerReport(
            url, backup, state, reason, since_ns, until_ns, share, ejections, requests, failed
        )

    def _why_down(self) -> str:
        assert self._score is not None
        status, fault = divmod(self._score.load(_FAULT), 1 << 16)
        return f"status {status}" if status else str(_FAULTS[fault])
