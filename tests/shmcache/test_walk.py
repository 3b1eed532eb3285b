"""Walking over what is stored: everything once, nothing that is gone, and in pieces of any size."""

from types import ModuleType
from typing import Any

import pytest

from shmcache import Entry
from shmcache.core import EXPIRED, FRESH, STALE_IF_ERROR, STALE_WHILE_REVALIDATE
from tests.support.faults import let_go, stopped_at
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, put, sealed

KEYS = [b"https://h/%d/%d" % (number % 3, number) for number in range(60)]
SECOND_NS = 1_000_000_000


def walk(segment: Any, limit: int = 4096, now_ns: int = NOW_NS, prefix: bytes = b"") -> list[Entry]:
    """All of it, a piece at a time."""
    seen: list[Entry] = []
    after = 0
    while True:
        some, after = segment.cache.entries(after, limit, now_ns, prefix)
        assert len(some) <= limit
        seen += some
        if not after:
            return seen


def keys(segment: Any, **how: Any) -> list[bytes]:
    return sorted(entry.key for entry in walk(segment, **how))


def test_nothing_stored_nothing_seen() -> None:
    with cache_segment() as segment:
        assert segment.cache.entries(0, 10, NOW_NS) == ([], 0)


@pytest.mark.parametrize("limit", [1, 7, 60, 4096])
@pytest.mark.parametrize("stripes", [1, 4])
def test_everything_is_seen_once_in_pieces_of_any_size(limit: int, stripes: int) -> None:
    with cache_segment(stripes=stripes, entries=1024) as segment:
        for number, key in enumerate(KEYS):
            assert put(segment, key, sealed(number, number * 3_000))
        assert keys(segment, limit=limit) == sorted(KEYS)
        assert keys(segment, limit=limit, prefix=b"https://h/1/") == sorted(KEYS[1::3])


def test_keys_that_fill_the_room_of_one_call_are_left_to_the_next() -> None:
    with cache_segment() as segment:
        long = [b"k%d" % number + b"x" * 30_000 for number in range(20)]
        for key in long:
            assert put(segment, key, b"")
        some, after = segment.cache.entries(0, 4096, NOW_NS)
        assert 0 < len(some) < len(long)
        assert after
        assert keys(segment) == sorted(long)


def test_an_entry_tells_sizes_dates_flags_and_tags() -> None:
    with cache_segment() as segment:
        key = b"https://h/a/b"
        dates = {"fresh_until_ns": 5 * SECOND_NS, "keep_until_ns": 100 * SECOND_NS}
        windows = {"swr_ns": 10 * SECOND_NS, "sie_ns": 20 * SECOND_NS}
        assert segment.cache.put(
            key, b"meta", b"body!", now_ns=NOW_NS, **dates, **windows, flags=8, tags=[b"one", b"two"]
        )
        [entry] = walk(segment)
        assert (entry.key, entry.size, entry.stored_bytes) == (key, 5, len(key) + 4 + 5)
        assert (entry.fresh_until_ns, entry.keep_until_ns) == (5 * SECOND_NS, 100 * SECOND_NS)
        assert (entry.swr_ns, entry.sie_ns) == (10 * SECOND_NS, 20 * SECOND_NS)
        assert (entry.flags, entry.tags) == (8, 2)
        verdicts = {4: FRESH, 5: STALE_WHILE_REVALIDATE, 15: STALE_IF_ERROR, 25: EXPIRED}
        for now_s, verdict in verdicts.items():
            assert [one.verdict for one in walk(segment, now_ns=now_s * SECOND_NS)] == [verdict]
        assert walk(segment, now_ns=100 * SECOND_NS) == []


def test_what_was_purged_is_not_seen_and_what_was_purged_softly_is_stale() -> None:
    with cache_segment() as segment:
        for key in KEYS:
            assert put(segment, key, b"x")
        segment.cache.purge_prefix(b"https://h/0/")
        segment.cache.purge_prefix(b"https://h/1/", NOW_NS)
        segment.cache.delete(KEYS[2])
        seen = walk(segment, now_ns=NOW_NS + 1)
        assert {entry.key for entry in seen} == {*KEYS[1::3], *KEYS[5::3]}
        assert {entry.key for entry in seen if entry.verdict != FRESH} == set(KEYS[1::3])
        assert {entry.fresh_until_ns for entry in seen} == {NOW_NS, FOREVER_NS}


def test_what_is_being_stored_is_not_seen() -> None:
    with cache_segment() as segment:
        dates = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
        fill = segment.cache.begin(b"key", b"", 3, **dates)
        assert fill is not None
        assert fill.write(b"ab")
        assert walk(segment) == []
        assert fill.write(b"c")
        assert fill.publish()
        assert keys(segment) == [b"key"]


@pytest.mark.parametrize(("after", "limit"), [(0, 0), (0, 4097), (1 << 31, 1)])
def test_what_cannot_be_meant_is_refused(after: int, limit: int) -> None:
    with cache_segment() as segment, pytest.raises(ValueError, match="entries"):
        segment.cache.entries(after, limit, NOW_NS)


def test_a_stripe_that_a_stopped_process_keeps_locked_is_passed_over(faulty: ModuleType) -> None:
    with cache_segment(module=faulty, stripes=2, entries=256) as segment:
        for key in KEYS:
            assert put(segment, key, b"x")
        pid = stopped_at(segment, faulty, 1, lambda: segment.cache.crawl(NOW_NS, 64))
        assert pid is not None
        seen = keys(segment)
        let_go(pid)
        assert 0 < len(seen) < len(KEYS)
        assert segment.statistics.core()["lock_timeouts"] > 0
        assert keys(segment) == sorted(KEYS)
