"""How often each rule has matched, over all workers and generations.

Shared memory made before the first fork: a row per member, written by its owner alone, a column per rule. The
names of the columns are the supervisor's, who adds those of new settings before it forks for them.
"""

import mmap
from collections.abc import Callable, Iterable

from shmcache.core import MEMBERS

RULES = 1024  # columns; the rules for which none is left share the last
OTHERS = "other"


class RuleCounts:
    """Counts by rule."""

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, MEMBERS * RULES * 8)).cast("Q")
        self._columns: dict[str, int] = {}

    def add_rules(self, names: Iterable[str]) -> None:
        """Give columns to rules that have none. For the supervisor, before it forks."""
        for name in names:
            if len(self._columns) < RULES - 1:
                self._columns.setdefault(name, len(self._columns))

    def of(self, member: int) -> Callable[[str], None]:
        """What counts a match in that member's row."""
        counts, columns, row = self._counts, self._columns, member * RULES

        def count(rule: str) -> None:
            counts[row + columns.get(rule, RULES - 1)] += 1

        return count

    def totals(self) -> dict[str, int]:
        """Matches by rule; only rules that have any."""
        every = self._counts.tolist()
        names = [(name, column) for name, column in self._columns.items()] + [(OTHERS, RULES - 1)]
        sums = ((name, sum(every[column::RULES])) for name, column in names)
        return {name: total for name, total in sums if total}
