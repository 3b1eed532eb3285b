"""The forms of values after transformations, each made once while a request is looked at.

Shared by those who ask beforehand and by the rules themselves, because what costs in a long body is
transforming it.
"""

from time import thread_time_ns

from worker.security.waf.kinds import kinds
from worker.security.waf.operators import Match
from worker.security.waf.pcre import Groups
from worker.security.waf.transformations import TRANSFORMATIONS, Transformation

Names = tuple[str, ...]

LONG = 1024  # bytes of a value from which on remembering an answer is cheaper than asking again


CLOCK_BYTES = 4096  # looked at between two looks at the clock
LOOK_BYTES = 24  # what a look costs besides, in bytes looked at


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


_NOT_SEARCHED: list[int] = []


class Form:
    """A value as it is after some transformations, with what is found out about it once."""

    __slots__ = ("candidates", "further", "held", "searched_by", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.held = kinds(text)
        self.searched_by: object = None  # the prefilter that named the candidates
        self.candidates = _NOT_SEARCHED
        self.further: dict[Step, Form] | None = None  # what became of it, by the last step that led there


class Forms:
    """Remembers until `clear`, which is called between requests, and holds looks to `budget_ns` of CPU."""

    def __init__(self, budget_ns: int = 1 << 62) -> None:
        self._budget_ns = budget_ns
        self._end_ns = 0
        self._work = 0
        self._by_value: dict[bytes, Form] = {}
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

    def of(self, value: bytes) -> Form:
        """The value itself; its other forms come from `after`. Of what is not long nothing is kept here."""
        found = self._by_value.get(value)
        if found is None:
            found = Form(value)
            if len(value) >= LONG:
                self._by_value[value] = found
        return found

    def after(self, whole: Form, last: Step | None) -> Form:
        """A value after steps; it keeps every form on the way. Raises TooCostlyError."""
        if last is None:
            return whole
        if whole.further is None:
            whole.further = {}
        found = whole.further.get(last)
        if found is None:
            before = self.after(whole, last.before)
            self.spend(before.text)
            text = last.transform(before.text)
            found = whole.further[last] = before if text == before.text else Form(text)
        return found

    def transformed(self, value: bytes, names: Names) -> bytes:
        """The value after these transformations; kept, because rules ask again and again."""
        if not names:
            return value
        whole = self._by_value.get(value)
        if whole is None:
            whole = self._by_value[value] = Form(value)
        return self.after(whole, step(names)).text
