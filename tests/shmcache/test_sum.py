"""A bit that turned over in the segment is found at the next hit that is checked, and never served."""

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from shmcache import Segment
from tests.support.faults import let_go, stopped_at
from tests.support.segments import FOREVER_NS, NOW_NS, get, put, sealed, whole
from tests.support.shared_memory import Memory, another_handle, distinct_segment, layout

KEY, META = b"the key of the damaged", b"the meta of the damaged"
DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
SMALL, LARGE, HUGE = 700, 2 * 65_536 + 45_000, 1_300_000
CHECK_EVERY = 1_024

Place = Callable[[Memory], int]


def in_head(field: str) -> Place:
    return lambda memory: memory.head(KEY) + layout()[f"head.{field}"][0]


def in_entry(field: str) -> Place:
    return lambda memory: memory.entry(KEY) + layout()[f"entry.{field}"][0]


def in_body(at: int) -> Place:
    return lambda memory: memory.find(BODY[at : at + 12])


def in_tail(which: int) -> Place:
    """Its first byte, after the chunk's header; the page it came from still holds a copy."""
    return lambda memory: (memory.read(memory.entry(KEY), "entry.tail") >> 32 * which & 0xFFFFFFFF) * 64 + 8


BODY = random.Random(99).randbytes(HUGE)
TAG: Place = lambda memory: memory.head(KEY) + layout()["head.bytes"][1] + 1  # noqa: E731

# What the sums cover: a hit is compared and refused.
EVERYWHERE: dict[str, Place] = {
    "meta": lambda memory: memory.find(META),
    "end of meta": lambda memory: memory.find(META) + len(META) - 1,
    "length of meta": in_head("meta_len"),
    "tag": TAG,
    "flags": in_head("flags"),
    "end of freshness": in_head("fresh_until_ns"),
    "end of keeping": in_head("keep_until_ns"),
    "first stale window": in_head("swr"),
    "second stale window": in_head("sie"),
    "sum of the head": lambda memory: memory.head(KEY) + 4,
    "size": in_entry("size"),
    "sum of the body": in_entry("body_sum"),
    "kind of body": in_entry("large"),
    "body": in_body(0),
    "middle of the body": in_body(SMALL // 2),
}
LARGE_ONLY: dict[str, Place] = {
    "last page": in_body(65_536 + 9),
    "first tail": in_tail(0),
    "second tail": in_tail(1),
    "how many pages": in_entry("npages"),
    "list of pages": in_entry("list"),
    "name of a tail": in_entry("tail"),
    "a page's number": lambda memory: memory.read(memory.entry(KEY), "entry.list") * 64 + 8,
}
# What a lookup goes by: damage to it makes the key unknown.
UNFINDABLE: dict[str, Place] = {
    "key": lambda memory: memory.find(KEY),
    "end of the key": lambda memory: memory.find(KEY) + len(KEY) - 1,
    "length of the key": in_head("key_len"),
    "how many tags": in_head("tags"),
    "name of the head": in_entry("head"),
    "hash": in_entry("hash_lo"),
    "state": lambda memory: memory.entry(KEY),
}
FOUND = [(name, SMALL, place, bit) for name, place in EVERYWHERE.items() for bit in (0, 5)]
FOUND += [(name, LARGE, place, bit) for name, place in (EVERYWHERE | LARGE_ONLY).items() for bit in (0, 5)]
FOUND.remove(("kind of body", LARGE, EVERYWHERE["kind of body"], 5))  # any bit of it means a large one


def prepare(segment: Any, size: int) -> None:
    for number in range(8):
        assert put(segment, b"bystander %d" % number, sealed(number, size))
    assert segment.cache.put(KEY, META, BODY[:size], tags=(b"red",), **DATES)


def damaged(segment: Any) -> int:
    return int(segment.statistics.core()["damaged"])


@pytest.mark.parametrize(
    ("size", "place", "bit"),
    [case[1:] for case in FOUND],
    ids=[f"{case[0]}, {case[1]}, {case[3]}" for case in FOUND],
)
def test_damage_is_found_at_the_first_hit_that_is_checked(size: int, place: Place, bit: int) -> None:
    with distinct_segment(6 << 20, stripes=1, entries=64) as (segment, fd):
        prepare(segment, size)
        memory = Memory(fd)
        memory.flip(place(memory), bit)
        with another_handle(fd, 1) as fresh:
            assert fresh.cache.get(KEY, NOW_NS) is None
            assert (damaged(segment), segment.occupancy()["objects"]) == (1, 8)
            assert fresh.cache.get(KEY, NOW_NS) is None and damaged(segment) == 1
            assert put(fresh, KEY, BODY[:size])
            assert get(fresh, KEY) == BODY[:size]
            for number in range(8):
                assert get(fresh, b"bystander %d" % number) == sealed(number, size)
            assert segment.audit() == []


@pytest.mark.parametrize("bit", [0, 5])
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("name", UNFINDABLE)
def test_what_no_longer_has_its_key_is_not_served(name: str, size: int, bit: int) -> None:
    with distinct_segment(6 << 20, stripes=1, entries=64) as (segment, fd):
        prepare(segment, size)
        memory = Memory(fd)
        memory.flip(UNFINDABLE[name](memory), bit)
        for number in range(8):
            assert get(segment, b"bystander %d" % number) == sealed(number, size)
        assert segment.cache.get(KEY, NOW_NS) is None


@pytest.mark.parametrize("bit", range(64))
@pytest.mark.parametrize("size", [SMALL, LARGE, HUGE])
def test_no_wrong_size_is_served_at_the_first_hit(size: int, bit: int) -> None:
    with distinct_segment(16 << 20, stripes=1, entries=64) as (segment, fd):
        assert segment.cache.put(KEY, META, BODY[:size], **DATES)
        memory = Memory(fd)
        memory.flip(memory.entry(KEY) + layout()["entry.size"][0] + bit // 8, bit % 8)
        with another_handle(fd, 1) as fresh:
            assert fresh.cache.get(KEY, NOW_NS) is None
        assert damaged(segment) == 1
        assert segment.audit() == []


def test_a_small_body_is_never_copied_from_beyond_its_chunk() -> None:
    """Not even when the hit is none of those whose sums are checked."""
    with distinct_segment(6 << 20, stripes=1, entries=64) as (segment, fd):
        prepare(segment, SMALL)
        assert get(segment, KEY) == BODY[:SMALL]
        memory = Memory(fd)
        memory.flip(memory.entry(KEY) + layout()["entry.size"][0] + 2, 0)
        assert segment.cache.get(KEY, NOW_NS) is None
        assert damaged(segment) == 1


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_one_hit_in_1024_is_checked(size: int) -> None:
    with distinct_segment(6 << 20, stripes=1, entries=64) as (segment, fd):
        prepare(segment, size)
        assert get(segment, KEY) == BODY[:size]
        memory = Memory(fd)
        memory.flip(memory.find(META))
        for _ in range(CHECK_EVERY - 1):
            assert segment.cache.get(KEY, NOW_NS) is not None
        assert segment.cache.get(KEY, NOW_NS) is None
        assert damaged(segment) == 1


def test_a_damaged_body_that_is_lent_stays_until_it_is_given_back() -> None:
    with distinct_segment(6 << 20, stripes=1, entries=64) as (segment, fd), another_handle(fd, 1) as second:
        prepare(segment, LARGE)
        hit = second.cache.get(KEY, NOW_NS)
        assert hit is not None
        memory = Memory(fd)
        memory.flip(memory.find(META))
        assert segment.cache.get(KEY, NOW_NS) is None
        used = segment.occupancy()["pages_used"]
        for number in range(200):
            put(segment, b"churn %d" % number, sealed(number, 20_000))
        assert whole(hit.body) == BODY[:LARGE]
        assert segment.audit() == []
        for number in range(200):
            segment.cache.delete(b"churn %d" % number)
        hit.body.release()
        assert segment.occupancy()["pages_used"] < used
        assert segment.audit() == []


def test_freshening_at_any_step_of_a_check_is_no_damage(faulty: ModuleType) -> None:
    point = 0
    pid: int | None = 0
    while pid is not None:
        point += 1
        with distinct_segment(4 << 20, module=faulty, stripes=1, entries=64) as (segment, _):
            prepare(segment, LARGE)

            def read(segment: Segment = segment) -> None:
                hit = segment.cache.get(KEY, NOW_NS)
                assert hit is not None and whole(hit.body) == BODY[:LARGE]

            pid = stopped_at(segment, faulty, point, read)
            if pid is not None:
                for version in (b"a longer meta" * 30, META, b"", META * 3):
                    segment.cache.freshen(KEY, version, **DATES)
                let_go(pid)
            assert damaged(segment) == 0
    assert point > 8


def test_a_body_freshened_all_the_while_is_never_taken_for_damaged() -> None:
    """Both handles in turn, checks of one falling between freshenings of the other."""
    with distinct_segment(6 << 20, stripes=1, entries=64) as (segment, fd), another_handle(fd, 1) as second:
        prepare(segment, LARGE)
        for version in range(3 * CHECK_EVERY):
            assert segment.cache.freshen(KEY, b"meta" * (version % 90), **DATES)
            hit = second.cache.get(KEY, NOW_NS)
            assert hit is not None and hit.meta == b"meta" * (version % 90)
        assert damaged(segment) == 0
