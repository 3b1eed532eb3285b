"""The crawler: room comes back unasked, all processes share the work, and nothing is passed over."""

import os
import signal
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from shmcache import Segment
from shmcache.core import EXPIRED, STALE_WHILE_REVALIDATE
from tests.support.faults import die_at, stopped_at
from tests.support.segments import FOREVER_NS, NOW_NS, get, sealed, was_killed, whole
from tests.support.shared_memory import another_handle, distinct_segment

LATER_NS = NOW_NS + 1_000_000_000
TICK_NS = 10_000_000
ENTRIES, STRIPES = 256, 2
KEYS = [b"https://h/a/%d" % number for number in range(40)]


@pytest.fixture
def opened() -> Iterator[tuple[Segment, int]]:
    with distinct_segment(keys=KEYS[:1], tags=[b"red"], stripes=STRIPES, entries=ENTRIES) as (segment, fd):
        yield segment, fd
        assert segment.audit() == []


def fill(segment: Any, keep_until_ns: int = FOREVER_NS, keys: list[bytes] = KEYS) -> None:
    """Bodies of all sizes under the keys, with a tag."""
    for number, key in enumerate(keys):
        body = sealed(number, (number * 7_919) % 90_000)
        dates = {"now_ns": NOW_NS, "fresh_until_ns": NOW_NS, "keep_until_ns": keep_until_ns}
        assert segment.cache.put(key, b"m", body, tags=(b"red",), swr_ns=10 * TICK_NS, **dates)


def objects(segment: Any) -> int:
    return int(segment.occupancy()["objects"])


def counted(segment: Any, *names: str) -> list[int]:
    core = segment.statistics.core()
    return [core[name] for name in names]


def test_what_expired_gives_its_room_back(opened: tuple[Segment, int]) -> None:
    segment, _ = opened
    fill(segment, LATER_NS, KEYS[:30])
    fill(segment, FOREVER_NS, KEYS[30:])
    assert segment.cache.crawl(LATER_NS - 1, ENTRIES) == 0
    assert objects(segment) == len(KEYS)
    assert segment.cache.crawl(LATER_NS, ENTRIES) == 30
    assert objects(segment) == len(KEYS) - 30
    assert counted(segment, "expired", "purged", "crawled") == [30, 0, 2 * ENTRIES]
    fill(segment, LATER_NS, KEYS)
    assert segment.cache.crawl(LATER_NS, ENTRIES) == len(KEYS)
    assert segment.occupancy()["pages_used"] == 0


Purge = Callable[[Any], object]
PURGES: dict[str, Purge] = {
    "tag": lambda cache: cache.purge_tag(b"red"),
    "directory": lambda cache: cache.purge_prefix(b"https://h/a/"),
    "rule": lambda cache: cache.purge_prefix(b"https://h/a"),
    "everything": lambda cache: cache.purge_all(),
}
each_purge = pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)


@each_purge
def test_what_was_purged_gives_its_room_back(
    opened: tuple[Segment, int], purge: Callable[[Any], object]
) -> None:
    segment, _ = opened
    fill(segment)
    purge(segment.cache)
    fill(segment, keys=[b"later %d" % number for number in range(5)])
    assert objects(segment) == len(KEYS) + 5, "nobody looked yet"
    assert segment.cache.crawl(NOW_NS, ENTRIES) == len(KEYS)
    assert objects(segment) == 5
    assert counted(segment, "expired", "purged") == [0, len(KEYS)]


def test_what_is_lent_gives_its_room_back_when_it_is_returned(opened: tuple[Segment, int]) -> None:
    segment, fd = opened
    fill(segment, LATER_NS)
    with another_handle(fd, 1) as second:
        hits = [second.cache.get(key, NOW_NS) for key in KEYS]
        assert segment.cache.crawl(LATER_NS, ENTRIES) == len(KEYS)
        bodies = [whole(hit.body) for hit in hits if hit is not None]
        assert bodies == [sealed(number, (number * 7_919) % 90_000) for number in range(len(KEYS))]
        assert segment.occupancy()["pages_used"] > 0
        hits.clear()
        assert segment.occupancy()["pages_used"] == 0


def test_what_was_purged_softly_stays_and_remembers_since_when(opened: tuple[Segment, int]) -> None:
    segment, _ = opened
    segment.cache.put(KEYS[0], b"m", b"x", now_ns=NOW_NS, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS,
                      swr_ns=10 * TICK_NS, tags=(b"red",))  # fmt: skip
    segment.cache.purge_tag(b"red", LATER_NS)
    assert segment.cache.crawl(LATER_NS, ENTRIES) == 0
    segment.cache.purge_tag(b"red", LATER_NS + 10 * TICK_NS)
    verdicts = []
    for now_ns in (LATER_NS + 10 * TICK_NS - 1, LATER_NS + 10 * TICK_NS):
        hit = segment.cache.get(KEYS[0], now_ns)
        assert hit is not None
        verdicts.append(hit.verdict)
    assert verdicts == [STALE_WHILE_REVALIDATE, EXPIRED]


@pytest.mark.parametrize("entries", [0, 1, 63, 64, 65, 128, 200, ENTRIES, ENTRIES + 1, 5 * ENTRIES + 7])
def test_a_call_looks_at_exactly_as_many_as_it_was_told(opened: tuple[Segment, int], entries: int) -> None:
    segment, _ = opened
    for calls in range(1, 8):
        segment.cache.crawl(NOW_NS, entries)
        assert counted(segment, "crawled") == [calls * entries]


@pytest.mark.parametrize("step", [1, 7, 16, 100])
def test_members_share_the_work(opened: tuple[Segment, int], step: int) -> None:
    """In turn, they look at each entry once in a round."""
    segment, fd = opened
    fill(segment, LATER_NS)
    with another_handle(fd, 1) as second:
        dropped = [0, 0]
        looked = 0
        while looked < ENTRIES:
            count = min(step, ENTRIES - looked)
            member = looked // step % 2
            dropped[member] += (segment, second)[member].cache.crawl(LATER_NS, count)
            looked += count
    assert sum(dropped) == len(KEYS) and objects(segment) == 0
    assert min(dropped) > 0


def test_a_stripe_that_a_stopped_process_holds_is_not_waited_for(faulty: ModuleType) -> None:
    """The others are looked at meanwhile."""
    with distinct_segment(8 << 20, module=faulty, stripes=2, entries=128) as (segment, _):
        fill(segment, LATER_NS, KEYS[:20])
        pid = stopped_at(segment, faulty, 2, lambda: segment.cache.crawl(LATER_NS, 64))
        assert pid is not None
        waits = counted(segment, "lock_waits")
        dropped = segment.cache.crawl(LATER_NS, 64)
        assert 0 < dropped < 20
        assert segment.cache.crawl(LATER_NS, 64) == 0
        assert objects(segment) == 20 - dropped
        assert counted(segment, "lock_waits") == waits
        os.kill(pid, signal.SIGCONT)
        assert not was_killed(pid)
        assert objects(segment) == 0


@pytest.mark.parametrize("purged", [False, True])
def test_a_member_that_died_in_the_middle_leaves_its_work_to_the_others(
    faulty: ModuleType, purged: bool
) -> None:
    """Nothing is passed over, so no rule is forgotten while it has something to hit."""
    point, died = 0, True
    while died:
        point += 1
        with distinct_segment(4 << 20, module=faulty, stripes=1, entries=64) as (segment, _):
            fill(segment, FOREVER_NS if purged else LATER_NS, KEYS[:3])
            fill(segment, FOREVER_NS, [b"kept 0", b"kept 1"])
            if purged:
                segment.cache.purge_prefix(b"https://h/a")
            died = die_at(segment, faulty, 1, point, lambda it: it.cache.crawl(LATER_NS, 100))
            segment.cache.purge_prefix(b"https://another")
            assert [segment.cache.get(key, LATER_NS) for key in KEYS[:3]] == [None] * 3
            segment.reap(1)
            assert segment.audit() == []
            segment.cache.crawl(LATER_NS, 128)
            assert objects(segment) == 2
            assert get(segment, b"kept 0") == sealed(0, 0)
    assert point > 20
