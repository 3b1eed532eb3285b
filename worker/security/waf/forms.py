"""The forms of values after transformations, each made once while a request is looked at.

Shared by those who ask beforehand and by the rules themselves, because what costs in a long body is
transforming it.
"""

from worker.security.waf.transformations import TRANSFORMATIONS

Names = tuple[str, ...]


class Forms:
    """Remembers until `clear`, which is called between requests."""

    def __init__(self) -> None:
        self._by_value: dict[bytes, dict[Names, bytes]] = {}

    def clear(self) -> None:
        self._by_value.clear()

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
