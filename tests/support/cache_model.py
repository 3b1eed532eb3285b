"""What the shared segment promises, as plain dictionaries and exact numbers, for tests to compare it with.

Nothing here is shared, locked, evicted or hashed. The cache may miss what this model holds only where the
model says `may_refuse`; it may never answer with other bytes, nor call anything fresher than the model does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from shmcache.core import EXPIRED, FRESH, PENDING, PUBLISHED, STALE_IF_ERROR, STALE_WHILE_REVALIDATE, TOO_SLOW

NEVER = (1 << 63) - 1
SECOND_NS = 1_000_000_000
REUSED_AFTER = 2  # claims after which the cell of an ended lease may be another's


@dataclass
class Softened:
    """Since when soft purges made it stale. Of several by one mark the last counts, until someone looks."""

    earliest: int = NEVER
    last: dict[object, int] = field(default_factory=dict)

    def add(self, mark: object, ns: int) -> None:
        self.earliest = min(self.earliest, ns)
        self.last[mark] = ns

    def settle(self, ns: int) -> None:
        """Somebody looked and saw that moment."""
        self.earliest = ns
        self.last = {"seen": ns}

    @property
    def latest(self) -> int:
        return min(self.last.values(), default=NEVER)


@dataclass
class Stored:
    """An entry."""

    name: int  # tells it from every other; freshening keeps it
    body: bytes
    meta: bytes
    tags: tuple[bytes, ...]
    fresh_until_ns: int
    keep_until_ns: int
    swr_ns: int
    sie_ns: int
    flags: int
    softened: Softened = field(default_factory=Softened)

    def verdict(self, now_ns: int, fresh_until_ns: int) -> int:
        stale_ns = now_ns - fresh_until_ns
        if stale_ns < 0:
            return FRESH
        if stale_ns < self.swr_ns:
            return STALE_WHILE_REVALIDATE
        return STALE_IF_ERROR if stale_ns < self.sie_ns else EXPIRED

    def may_be_fresh_until(self, fresh_until_ns: int) -> bool:
        """Whether the cache may say so, given the soft purges."""
        return (
            min(self.fresh_until_ns, self.softened.earliest)
            <= fresh_until_ns
            <= min(self.fresh_until_ns, self.softened.latest)
        )


@dataclass(frozen=True)
class Purge:
    """One purge. `kind`: key, tag, directory, rule, sweep or everything; soft_ns 0: hard."""

    generation: int
    kind: str
    mark: object
    soft_ns: int
    hits: Callable[[bytes, tuple[bytes, ...]], bool]

    @property
    def is_noted(self) -> bool:
        """It writes on the entries themselves, so that the first of several counts."""
        return self.kind in ("key", "rule", "sweep")


class CacheModel:
    """Entries by key, and every purge there was."""

    def __init__(self) -> None:
        self.stored: dict[bytes, Stored] = {}
        self.purges: list[Purge] = []

    def purge(self, purge: Purge) -> None:
        self.purges.append(purge)
        for key, stored in list(self.stored.items()):
            if not purge.hits(key, stored.tags):
                continue
            if purge.soft_ns:
                stored.softened.add(purge.generation if purge.is_noted else purge.mark, purge.soft_ns)
            else:
                del self.stored[key]

    def since(self, born: int) -> list[Purge]:
        return [purge for purge in self.purges if purge.generation > born]

    def refuses(self, key: bytes, tags: tuple[bytes, ...], born: int) -> bool:
        """Whether a fetch that began at that generation must not be stored."""
        return any(
            purge.kind == "sweep" or (not purge.soft_ns and purge.hits(key, tags))
            for purge in self.since(born)
        )

    def may_refuse(self, born: int) -> bool:
        """Whether it may be refused though no purge hit it: a rule since then may be forgotten."""
        return any(purge.kind in ("rule", "sweep") for purge in self.since(born))

    def softened(self, key: bytes, tags: tuple[bytes, ...], born: int) -> Softened:
        """What the soft purges since then make of a fetch."""
        softened = Softened()
        for purge in self.since(born):
            if purge.soft_ns and purge.hits(key, tags):
                softened.add(purge.generation if purge.kind == "rule" else purge.mark, purge.soft_ns)
        return softened


@dataclass
class Lease:
    """The right to fetch, while it lasts and after."""

    owner: int
    ticket: int
    deadline_ns: int
    ending: int = PENDING
    note: object = None
    claims_since: int = 0

    def is_running(self, now_ns: int) -> bool:
        return self.ending == PENDING and now_ns < self.deadline_ns

    def endings(self, now_ns: int) -> int:
        return TOO_SLOW if self.ending == PENDING and now_ns >= self.deadline_ns else self.ending

    @property
    def may_be_forgotten(self) -> bool:
        return self.ending != PENDING and self.claims_since >= REUSED_AFTER

    @property
    def tells(self) -> bool:
        """Whether its note may still be read."""
        return self.ending in (PENDING, PUBLISHED)


@dataclass
class Bucket:
    """A token bucket, in exact tokens."""

    interval_ns: int
    burst: int
    full_at: Fraction = Fraction(0)  # in tokens' worth of time

    def wait_ns(self, now_ns: int, cost: int) -> int:
        """0 when `cost` tokens are there, otherwise when they will be."""
        missing = max(self.full_at - now_ns, Fraction(0)) / self.interval_ns
        tokens = self.burst - missing
        return int(max(cost - tokens, 0) * self.interval_ns)

    def take(self, now_ns: int, cost: int) -> None:
        self.full_at = max(self.full_at, Fraction(now_ns)) + cost * self.interval_ns


@dataclass
class Window:
    """A sliding window, in exact counts."""

    window_s: int
    limit: int
    start_s: int = -1 << 40  # long over
    previous: int = 0
    current: int = 0

    def at(self, now_ns: int) -> "Window":
        now_s = now_ns // SECOND_NS
        if now_s < self.start_s + self.window_s:
            return self
        if now_s < self.start_s + 2 * self.window_s:
            return Window(self.window_s, self.limit, self.start_s + self.window_s, self.current, 0)
        return Window(self.window_s, self.limit, now_s, 0, 0)

    def grants(self, now_ns: int, cost: int) -> bool:
        it = self.at(now_ns)
        left = Fraction((it.start_s + it.window_s) * SECOND_NS - now_ns, it.window_s * SECOND_NS)
        return it.previous * left + it.current + cost <= it.limit

    def take(self, now_ns: int, cost: int) -> "Window":
        it = self.at(now_ns)
        return Window(it.window_s, it.limit, it.start_s, it.previous, it.current + cost)
