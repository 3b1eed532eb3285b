"""When whom to wake, for thousands of owners: a heap in which a deadline that moves later costs nothing.

Knows no clock and no loop; times are monotonic seconds.
"""

from heapq import heappop, heappush
from typing import Protocol


class Owner(Protocol):
    """Somebody with a deadline."""

    def wake(self, now_s: float) -> None:
        """The time has come, or a little earlier: look whether it has."""
        ...


class Alarm:
    """The place of one owner in the heap. It has several entries there only when each was to be earlier."""

    __slots__ = ("owner", "times")

    def __init__(self, owner: Owner) -> None:
        self.owner: Owner | None = owner
        self.times: list[float] = []  # of its entries, the earliest last

    def cancel(self) -> None:
        """Never wake it; its entries vanish in their own time."""
        self.owner = None


class Deadlines:
    """All alarms of one worker."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_s(self) -> float | None:
        """When the first wants to be woken."""
        return self._heap[0][0] if self._heap else None

    def set(self, alarm: Alarm, at_s: float) -> None:
        """Wake its owner at `at_s` or before."""
        if alarm.times and alarm.times[-1] <= at_s:
            return
        alarm.times.append(at_s)
        self._count += 1
        heappush(self._heap, (at_s, self._count, alarm))

    def wake_due(self, now_s: float) -> None:
        """Wake everyone whose time has come; each sets its alarm anew itself."""
        heap = self._heap
        while heap and heap[0][0] <= now_s:
            _, _, alarm = heappop(heap)
            alarm.times.pop()
            if alarm.owner is not None:
                alarm.owner.wake(now_s)
