"""A generation: one state of the settings and the processes that serve by it; and the posts they fill."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.process import Child, Role, State
from cluster.settings import ClusterSettings
from worker.geo import Geo
from worker.networks import NetworkMap
from worker.security.waf.judges import Judges
from worker.settings import AccessSettings, JudgeSettings

STEADY_NS = 10_000_000_000  # who lived that long did not die of its start
FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 5_000_000_000  # between two processes that never came to serve
LONGEST_READY_DELAY_NS = 400_000_000  # between two that did: the lane must be back within a second

WORKER_PLACES = 62  # members 0..61 of the segment
CONTROL_PLACE = 62
SUPERVISOR_PLACE = 63
NO_PLACE = -1


@dataclass(slots=True)
class Post:
    """A place to be filled: one lane or the control process whenever it is empty, the compiler at times."""

    role: Role
    lane: int
    child: Child | None = None
    quick_deaths: int = 0  # in a row
    restarts: int = 0
    due_ns: int = 0  # not before

    def vacate(self, child: Child, now_ns: int) -> None:
        """`child` has died: say when its successor is due.

        At once after a steady life, an end we asked for, or the first quick death; then later and later.
        """
        self.child = None
        if child.state is not State.DRAINING:
            self.restarts += 1
        if child.state is State.DRAINING or now_ns - child.started_ns >= STEADY_NS:
            self.quick_deaths = 0
        self.due_ns = now_ns + self._delay_ns(child.was_ready)
        self.quick_deaths += 1

    def _delay_ns(self, was_ready: bool) -> int:
        if not self.quick_deaths:
            return 0
        longest = LONGEST_READY_DELAY_NS if was_ready else LONGEST_DELAY_NS
        return min(FIRST_DELAY_NS << min(self.quick_deaths - 1, 10), longest)


@dataclass(frozen=True, slots=True)
class Means:
    """What was made of files and rules, once for all workers of a generation."""

    context: ssl.SSLContext | None
    geo: Geo | None
    lists: Mapping[AccessSettings, NetworkMap]
    judges: Mapping[JudgeSettings, Judges]
    certificates: tuple[tuple[bytes, bytes], ...]  # for HTTP/3: PEM, chain and key


@dataclass(slots=True)
class Generation:
    """Settings in force, and the posts of the workers that live by them."""

    number: int
    settings: ClusterSettings
    bound: ClusterSettings  # the same with the ports really bound
    means: Means
    posts: list[Post] = field(init=False)

    def __post_init__(self) -> None:
        self.posts = [Post(Role.WORKER, lane) for lane in range(self.settings.workers)]

    @property
    def is_ready(self) -> bool:
        return all(post.child is not None and post.child.was_ready for post in self.posts)

    def children(self) -> list[Child]:
        return [post.child for post in self.posts if post.child is not None]


class Places:
    """The members of the segment that workers may become."""

    def __init__(self) -> None:
        self._free = list(range(WORKER_PLACES))

    def __len__(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """The place that has been free the longest."""
        return self._free.pop(0)

    def give_back(self, member: int) -> None:
        self._free.append(member)
