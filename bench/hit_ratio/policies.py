"""The design that the core must match, as a simulation: two pools of S3-FIFO, without memory or concurrency.

Bodies up to 64 KiB get half of the bytes, in independent stripes by key; larger ones get the other half, in
one queue. Sizes count as they are: nothing is charged for keys, headers, size classes or tables, and no room
is lent between the pools. S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

No dependencies: the test of the core's policy uses it too.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Protocol

LARGE = 65_536  # bytes; up to here a body is small
STRIPES = 64
FREQUENCY_MAX = 3
PROMOTE_AT = 2
NEW_SHARE = 10  # one part in ten is for what is new


class Policy(Protocol):
    """A cache as the replay sees it."""

    def get(self, key: int) -> bool:
        """Whether the key is there; counts as a use of it."""

    def put(self, key: int, size: int) -> None:
        """Take in a key that was just missed."""


class Lru:
    """Least recently used, by bytes."""

    def __init__(self, capacity: int) -> None:
        self.room = capacity
        self.sizes: OrderedDict[int, int] = OrderedDict()

    def get(self, key: int) -> bool:
        if key not in self.sizes:
            return False
        self.sizes.move_to_end(key)
        return True

    def put(self, key: int, size: int) -> None:
        self.sizes[key] = size
        self.room -= size
        while self.room < 0:
            self.room += self.sizes.popitem(last=False)[1]


@dataclass(slots=True)
class _Entry:
    size: int
    frequency: int = 0


class S3Fifo:
    """One S3-FIFO by bytes; bodies over nine tenths of it are never taken."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.new_capacity = capacity // NEW_SHARE
        self.entries: dict[int, _Entry] = {}
        self.new: deque[int] = deque()
        self.main: deque[int] = deque()
        self.new_bytes = self.main_bytes = 0
        self.ghosts: OrderedDict[int, None] = OrderedDict()

    def get(self, key: int) -> bool:
        entry = self.entries.get(key)
        if entry is None:
            return False
        entry.frequency = min(entry.frequency + 1, FREQUENCY_MAX)
        return True

    def put(self, key: int, size: int) -> None:
        if size > self.capacity - self.new_capacity:
            return
        while self.new_bytes + self.main_bytes + size > self.capacity:
            self._evict()
        self.entries[key] = _Entry(size)
        if key in self.ghosts:
            del self.ghosts[key]
            self.main.append(key)
            self.main_bytes += size
        else:
            self.new.append(key)
            self.new_bytes += size

    def _evict(self) -> None:
        if self.new and (self.new_bytes >= self.new_capacity or not self.main):
            self._evict_new()
        else:
            self._evict_main()

    def _evict_new(self) -> None:
        """The oldest of the new queue leaves, or moves to main if it was used enough."""
        key = self.new.popleft()
        entry = self.entries[key]
        self.new_bytes -= entry.size
        if entry.frequency >= PROMOTE_AT:
            entry.frequency = 0
            self.main.append(key)
            self.main_bytes += entry.size
            return
        del self.entries[key]
        self.ghosts[key] = None
        while len(self.ghosts) > max(len(self.entries), 8):
            self.ghosts.popitem(last=False)

    def _evict_main(self) -> None:
        """The oldest of the main queue leaves, or goes round once more for each use."""
        key = self.main.popleft()
        entry = self.entries[key]
        if entry.frequency:
            entry.frequency -= 1
            self.main.append(key)
            return
        self.main_bytes -= entry.size
        del self.entries[key]


class TwoPools:
    """The design: small bodies in striped S3-FIFOs, large ones in a single one."""

    def __init__(self, capacity: int) -> None:
        self.small = [S3Fifo(capacity // 2 // STRIPES) for _ in range(STRIPES)]
        self.large = S3Fifo(capacity - capacity // 2)

    def _stripe(self, key: int) -> S3Fifo:
        return self.small[(key * 0x9E3779B97F4A7C15 >> 40) % STRIPES]

    def get(self, key: int) -> bool:
        return self._stripe(key).get(key) or self.large.get(key)

    def put(self, key: int, size: int) -> None:
        (self._stripe(key) if size <= LARGE else self.large).put(key, size)
