"""The forms of values after transformations, each made once while a request is looked at.

Shared by those who ask beforehand and by the rules themselves, because what costs in a long body is
transforming it.
"""

from worker.security.waf.operators import Match
from worker.security.waf.pcre import Groups
from worker.security.waf.transformations import TRANSFORMATIONS

Names = tuple[str, ...]

LONG = 1024  # bytes of a value from which on remembering an answer is cheaper than asking again


class Forms:
    """Remembers until `clear`, which is called between requests."""

    def __init__(self) -> None:
        self._by_value: dict[bytes, dict[Names, bytes]] = {}
        self._answers: dict[tuple[Match, bytes], Groups | None] = {}

    def clear(self) -> None:
        self._by_value.clear()
        self._answers.clear()

    def answer(self, match: Match, value: bytes) -> Groups | None:
        """What `match` says of a value."""
        if len(value) < LONG:
            return match(value)
        key = (match, value)
        if key not in self._answers:
            self._answers[key] = match(value)
        return self._answers[key]

    def of(self, value: bytes) -> dict[Names, bytes]:
        """The known forms of a value; pass it to `form` for others."""
        forms = self._by_value.get(value)
        if forms is None:
            forms = self._by_value[value] = {(): value}
        return forms

    def transformed(self, value: bytes, names: Names) -> bytes:
        """The value after these transformations."""
        return form(self.of(value), names) if names else value


def form(forms: dict[Names, bytes], names: Names) -> bytes:
    """One form of a value of which others are known; every step on the way is kept too."""
    found = forms.get(names)
    if found is None:
        found = forms[names] = TRANSFORMATIONS[names[-1]](form(forms, names[:-1]))
    return found
