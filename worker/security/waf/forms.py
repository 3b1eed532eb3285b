"""The forms of values after transformations, each made once while a request is looked at.

Shared by those who ask beforehand and by the rules themselves, because what costs in a long body is
transforming it.
"""

from time import thread_time_ns

from worker.security.waf.operators import Match
from worker.security.waf.pcre import Groups
from worker.security.waf.transformations import TRANSFORMATIONS, Transformation

Names = tuple[str, ...]

LONG = 1024  # bytes of a value from which on remembering an answer is cheaper than asking again


CLOCK_BYTES = 4096  # looked at between two looks at the clock
LOOK_BYTES = 64  # what a look costs besides, in bytes looked at


class TooCostlyError(Exception):
    """A request takes longer to look at than is granted."""


class Step:
    """One transformation at the end of others. There is one object for every chain, made by `step`."""

    __slots__ = ("before", "transform")

    def __init__(self, before: "Step | None", transform: Transformation) -> None:
        self.before = before  # None: the value itself
        self.transform = transform


_steps: dict[Names, Step | None] = {(): None}


def step(names: Names) -> Step | None:
    """The last step of a chain of transformations; None if there is nothing to do."""
    if names not in _steps:
        _steps[names] = Step(step(names[:-1]), TRANSFORMATIONS[names[-1]])
    return _steps[names]


Known = dict[Step | None, bytes]  # forms of one value by the last step that led to them


class Forms:
    """Remembers until `clear`, which is called between requests, and holds looks to `budget_ns` of CPU."""

    def __init__(self, budget_ns: int = 1 << 62) -> None:
        self._budget_ns = budget_ns
        self._end_ns = 0
        self._work = 0
        self._by_value: dict[bytes, Known] = {}
        self._answers: dict[tuple[Match, bytes], Groups | None] = {}

    def clear(self) -> None:
        self._by_value.clear()
        self._answers.clear()
        self._end_ns = 0
        self._work = 0

    def spend(self, value: bytes) -> None:
        """Before a look at a value. Raises TooCostlyError when the time is used up."""
        self._work += len(value) + LOOK_BYTES
        if self._work < CLOCK_BYTES:
            return
        self._work = 0
        if self._end_ns == 0:
            self.begin()
        elif thread_time_ns() >= self._end_ns:
            raise TooCostlyError

    def begin(self) -> None:
        """The time runs from here on; without this, from the first look at something long."""
        self._end_ns = thread_time_ns() + self._budget_ns

    def answer(self, match: Match, value: bytes) -> Groups | None:
        """What `match` says of a value."""
        if len(value) < LONG:
            return match(value)
        key = (match, value)
        if key not in self._answers:
            self._answers[key] = match(value)
        return self._answers[key]

    def of(self, value: bytes) -> Known:
        """The known forms of a value; pass it to `form` for others."""
        forms = self._by_value.get(value)
        if forms is None:
            forms = self._by_value[value] = {None: value}
        return forms

    def transformed(self, value: bytes, names: Names) -> bytes:
        """The value after these transformations."""
        return form(self.of(value), step(names)) if names else value


def form(forms: Known, last: Step | None) -> bytes:
    """One form of a value of which others are known; every step on the way is kept too."""
    found = forms.get(last)
    if found is None:
        assert last is not None  # the value itself is known
        found = forms[last] = last.transform(form(forms, last.before))
    return found
