"""All rules behind one hyperscan database: one look at a text tells which rules are worth a second one."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from worker.reasons import Leak
from worker.security import prefilter
from worker.security.leaks import cards, databases, listings, secrets, sources, traces
from worker.security.leaks.rule import Rule, compiled

RULES: tuple[Rule, ...] = (
    *traces.RULES,
    *databases.RULES,
    *listings.RULES,
    *sources.RULES,
    *secrets.RULES,
    *cards.RULES,
)


class Finder:
    """The rules for some kinds. Keeps nothing of the texts it sees."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._always = [rule for rule in rules if not rule.sign]
        self._by_sign: list[list[Rule]] = []
        numbers: dict[prefilter.Pattern, int] = {}
        for rule in rules:
            if not rule.sign:
                continue
            number = numbers.setdefault(prefilter.Pattern(rule.sign), len(numbers))
            if number == len(self._by_sign):
                self._by_sign.append([])
            self._by_sign[number].append(rule)
            compiled(rule.begin)
            if rule.more is not None:
                compiled(rule.more)
        self._prefilter = prefilter.compiled((number, pattern) for pattern, number in numbers.items())

    def candidates(self, text: bytes) -> Iterator[Rule]:
        """The rules that may find something in `text`."""
        yield from self._always
        for number in self._prefilter.candidates(text):
            yield from self._by_sign[number]


@lru_cache
def finder(kinds: frozenset[Leak]) -> Finder:
    """The finder for these kinds, made once per process."""
    return Finder([rule for rule in RULES if rule.kind in kinds])
