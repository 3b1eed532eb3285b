"""Purges by key, tag, prefix and of everything, hard and soft: what they hit, and what they leave alone."""

import mmap
import os
import signal
import struct
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as generated
from hypothesis import strategies as st

from shmcache import Segment
from shmcache.core import EXPIRED, FRESH, STALE_IF_ERROR, STALE_WHILE_REVALIDATE
from tests.support.faults import die_at, let_go, stopped_at
from tests.support.processes import spawn
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, sealed, was_killed, whole
from tests.support.shared_memory import another_handle, directories, distinct_segment

RULES = 256
RULE_BYTES = 480
TICK_NS = 10_000_000
SOFT_NS = NOW_NS + 5 * TICK_NS
KEY = b"https://shop.example/a/b/" + b"c" * 600
OTHER = b"https://shop.example/b/" + b"c" * 600
DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
WINDOWS = {"swr_ns": 10 * TICK_NS, "sie_ns": 30 * TICK_NS}

Purge = Callable[[Any, int], object]
PURGES: dict[str, Purge] = {
    "key": lambda cache, soft_ns: cache.delete(KEY, soft_ns),
    "tag": lambda cache, soft_ns: cache.purge_tag(b"red", soft_ns),
    "directory": lambda cache, soft_ns: cache.purge_prefix(b"https://shop.example/a/", soft_ns),
    "rule": lambda cache, soft_ns: cache.purge_prefix(b"https://shop.example/a/b/cc", soft_ns),
    "sweep": lambda cache, soft_ns: cache.purge_prefix(KEY[: RULE_BYTES + 1], soft_ns),
    "everything": lambda cache, soft_ns: cache.purge_all(soft_ns),
}
SIZES = {"small": 700, "outside the lock": 20_000, "large": 150_000}
each_purge = pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)
each_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
each_hardness = pytest.mark.parametrize("soft_ns", [0, SOFT_NS], ids=["hard", "soft"])


@pytest.fixture
def opened() -> Iterator[tuple[Segment, int]]:
    with distinct_segment(keys=[KEY, OTHER], tags=[b"red", b"blue"], stripes=2) as (segment, fd):
        yield segment, fd
        assert segment.audit() == []


def put(segment: Any, key: bytes, seed: int, size: int, tags: tuple[bytes, ...] = (), born: int = 0) -> bool:
    return bool(segment.cache.put(key, b"m", sealed(seed, size), tags=tags, born=born, **WINDOWS, **DATES))


def prepare(segment: Any, size: int) -> None:
    assert put(segment, KEY, 1, size, (b"red", b"violet"))
    assert put(segment, OTHER, 2, size, (b"blue",))


def verdict(segment: Any, key: bytes, now_ns: int = SOFT_NS) -> int | None:
    hit = segment.cache.get(key, now_ns)
    return None if hit is None else hit.verdict


def concerns_all(purge: Purge) -> bool:
    return purge is PURGES["everything"]


@each_purge
@each_size
def test_a_hard_purge_hides_what_it_hits_from_every_process(
    opened: tuple[Segment, int], purge: Purge, size: int
) -> None:
    segment, fd = opened
    prepare(segment, size)
    with another_handle(fd, 1) as second:
        assert verdict(second, KEY) == verdict(segment, KEY) == FRESH
        purge(segment.cache, 0)
        assert verdict(second, KEY) is None and verdict(segment, KEY) is None
        other = None if concerns_all(purge) else FRESH
        assert verdict(second, OTHER) == verdict(segment, OTHER) == other
        assert put(segment, KEY, 3, size, (b"red",))
        assert verdict(second, KEY) == FRESH, "what is fetched after the purge is not hit by it"


@each_purge
@each_size
def test_a_soft_purge_makes_what_it_hits_stale_from_that_moment(
    opened: tuple[Segment, int], purge: Purge, size: int
) -> None:
    segment, fd = opened
    prepare(segment, size)
    with another_handle(fd, 1) as second:
        purge(segment.cache, SOFT_NS)
        for it in (second, segment, second):
            hit = it.cache.get(KEY, SOFT_NS)
            assert hit is not None and whole(hit.body) == sealed(1, size)
            assert (hit.verdict, hit.fresh_until_ns) == (STALE_WHILE_REVALIDATE, SOFT_NS)
            del hit
            assert verdict(it, KEY, SOFT_NS + 10 * TICK_NS) == STALE_IF_ERROR
            assert verdict(it, KEY, SOFT_NS + 30 * TICK_NS) == EXPIRED
            assert verdict(it, OTHER) == (STALE_WHILE_REVALIDATE if concerns_all(purge) else FRESH)
        assert segment.cache.freshen(KEY, b"fresher", **WINDOWS, **DATES)
        assert verdict(second, KEY) == FRESH, "the origin said that it is still good"
        assert verdict(second, KEY) == FRESH
        assert put(segment, OTHER, 3, size)
        assert verdict(second, OTHER) == FRESH


@each_purge
def test_a_soft_purge_does_not_make_the_stale_fresh(opened: tuple[Segment, int], purge: Purge) -> None:
    segment, _ = opened
    dates = {"now_ns": 0, "fresh_until_ns": NOW_NS, "keep_until_ns": FOREVER_NS}
    assert segment.cache.put(KEY, b"m", b"x", tags=(b"red",), **WINDOWS, **dates)
    purge(segment.cache, SOFT_NS)
    hit = segment.cache.get(KEY, SOFT_NS)
    assert hit is not None and (hit.verdict, hit.fresh_until_ns) == (STALE_WHILE_REVALIDATE, NOW_NS)


@each_purge
def test_a_hard_purge_after_a_soft_one_still_hides(opened: tuple[Segment, int], purge: Purge) -> None:
    segment, _ = opened
    prepare(segment, 700)
    purge(segment.cache, SOFT_NS)
    purge(segment.cache, 0)
    assert verdict(segment, KEY) is None
    prepare(segment, 700)
    purge(segment.cache, 0)
    purge(segment.cache, SOFT_NS)
    assert verdict(segment, KEY) is None, "and so it does before one"


@each_purge
def test_the_first_of_two_soft_purges_counts_once_somebody_looked(
    opened: tuple[Segment, int], purge: Purge
) -> None:
    segment, _ = opened
    prepare(segment, 700)
    purge(segment.cache, SOFT_NS)
    assert verdict(segment, KEY, SOFT_NS) == STALE_WHILE_REVALIDATE
    purge(segment.cache, SOFT_NS + 20 * TICK_NS)
    assert verdict(segment, KEY, SOFT_NS + 20 * TICK_NS) == STALE_IF_ERROR


# --- prefixes -----------------------------------------------------------------------------------------------

DEEP = b"https://h/" + b"".join(b"%d/" % level for level in range(12))
PREFIX_KEYS = [
    b"", b"/", b"h", b"https:", b"https://h", b"https://h/", b"https://h/a", b"https://h/a/", b"https://h/a/b",
    b"https://h/ab/", b"https://h/a//", b"https://h/a//b", b"https://h//a/", b"https://h/a?/", b"https://h/a?b/c",
    b"https://h/a/?x=/y/", b"https://h/a:/b", b"https://h/a:b/c", b"https://h:8443/a/", b"https://hh/a/", b"http://h/a/",
    DEEP, DEEP[:-1], DEEP[:-5], b"https://h/" + b"n" * 600, b"https://h/" + b"n" * 600 + b"/m",
]  # fmt: skip
PREFIXES = [
    *PREFIX_KEYS, b"ht", b"https://", b"https://h/a/b/",
    b"https://h/0/1/2/3/4/5/6/", b"https://h/0/1/2/3/4/5/6/7/",
    b"https://h/0/1/2/3/4/5/6/7/8/", b"https://h/0/1/2/3/4/5/6/7/8/9", b"https://h/a/?", b"https://h/a?",
    b"x", PREFIX_KEYS[-1][:RULE_BYTES], PREFIX_KEYS[-1][: RULE_BYTES + 1], PREFIX_KEYS[-1] + b"/",
]  # fmt: skip


@pytest.fixture(scope="module")
def prefixed() -> Iterator[Segment]:
    with distinct_segment(64 << 20, keys=PREFIX_KEYS, stripes=4) as (segment, _):
        yield segment
        assert segment.audit() == []


@each_hardness
@pytest.mark.parametrize("prefix", PREFIXES, ids=range(len(PREFIXES)))
def test_a_prefix_hits_exactly_the_keys_that_begin_with_it(
    prefixed: Segment, prefix: bytes, soft_ns: int
) -> None:
    for seed, key in enumerate(PREFIX_KEYS):
        assert put(prefixed, key, seed, 10)
    assert prefixed.cache.purge_prefix(prefix, soft_ns) == prefixed.cache.generation()
    for key in PREFIX_KEYS:
        hit_by_it = STALE_WHILE_REVALIDATE if soft_ns else None
        assert verdict(prefixed, key) == (hit_by_it if key.startswith(prefix) else FRESH), key


SCRAPS = st.lists(st.sampled_from([b"/", b"/", b"//", b":", b"?", b"a", b"bc", b"https://h/"]), max_size=24)


@generated(max_examples=300, deadline=None)
@given(scraps=SCRAPS, length=st.integers(0, 60), soft_ns=st.sampled_from([0, SOFT_NS]))
def test_no_key_escapes_the_purge_of_its_beginning(
    prefixed: Segment, scraps: list[bytes], length: int, soft_ns: int
) -> None:
    key = b"".join(scraps)
    assert put(prefixed, key, 1, 10)
    prefixed.cache.purge_prefix(key[:length], soft_ns)
    assert verdict(prefixed, key) == (STALE_WHILE_REVALIDATE if soft_ns else None)


def test_purging_a_directory_takes_no_rule_and_no_sweep(opened: tuple[Segment, int]) -> None:
    segment, _ = opened
    for key in PREFIX_KEYS:
        for directory in directories(key):
            for _ in range(RULES // 8):
                segment.cache.purge_prefix(directory)
    assert segment.statistics.core()["prefix_sweeps"] == 0


# --- purges and fetches -------------------------------------------------------------------------------------


def fetch_whole(segment: Any, born: int, size: int) -> bool:
    return put(segment, KEY, 3, size, (b"red",), born)


def fetch_in_pieces(segment: Any, born: int, size: int) -> bool:
    body = sealed(3, size)
    fill = segment.cache.begin(KEY, b"m", None, tags=(b"red",), born=born, **WINDOWS, **DATES)
    for at in range(0, len(body), 50_000):
        if fill is None or not fill.write(body[at : at + 50_000]):
            return False
    return bool(fill.publish())


def revalidate(segment: Any, born: int, size: int) -> bool:
    return bool(segment.cache.freshen(KEY, b"fresher", born=born, **WINDOWS, **DATES))


WAYS = {"whole": fetch_whole, "in pieces": fetch_in_pieces, "not modified": revalidate}
each_way = pytest.mark.parametrize("fetch", WAYS.values(), ids=WAYS)


@each_purge
@each_way
@each_size
@each_hardness
def test_a_purge_during_a_fetch_wins_over_what_was_fetched(
    opened: tuple[Segment, int], purge: Purge, fetch: Callable[..., bool], size: int, soft_ns: int
) -> None:
    segment, _ = opened
    prepare(segment, size)
    born = segment.cache.generation()
    purge(segment.cache, soft_ns)
    refused = not soft_ns or purge is PURGES["sweep"]  # a sweep refuses all fetches
    assert fetch(segment, born, size) == (not refused)
    if soft_ns:
        assert verdict(segment, KEY, SOFT_NS) == STALE_WHILE_REVALIDATE
        assert verdict(segment, KEY, SOFT_NS + 40 * TICK_NS) == EXPIRED
    else:
        assert verdict(segment, KEY) is None
        assert put(segment, KEY, 4, size)
    assert fetch(segment, segment.cache.generation(), size)
    assert verdict(segment, KEY) == FRESH, "a fetch that began after the purge is not hit by it"


@each_purge
@each_size
@each_hardness
def test_a_purge_while_the_body_comes_wins(
    opened: tuple[Segment, int], purge: Purge, size: int, soft_ns: int
) -> None:
    segment, _ = opened
    body = sealed(3, size)
    fill = segment.cache.begin(KEY, b"m", len(body), tags=(b"red",), **WINDOWS, **DATES)
    assert fill is not None and fill.write(body[: size // 2])
    purge(segment.cache, soft_ns)
    assert fill.write(body[size // 2 :])
    assert fill.publish() == (soft_ns != 0 and purge is not PURGES["sweep"])
    expected = STALE_WHILE_REVALIDATE if soft_ns and purge is not PURGES["sweep"] else None
    assert verdict(segment, KEY) == expected


@pytest.mark.parametrize("purge", [PURGES["key"], PURGES["tag"], PURGES["directory"], PURGES["rule"]])
@each_hardness
def test_a_fetch_of_something_else_is_not_concerned(
    opened: tuple[Segment, int], purge: Purge, soft_ns: int
) -> None:
    segment, _ = opened
    born = segment.cache.generation()
    purge(segment.cache, soft_ns)
    assert put(segment, OTHER, 2, 700, (b"blue",), born)
    assert verdict(segment, OTHER) == FRESH


@each_purge
@each_hardness
def test_every_purge_is_a_new_generation(opened: tuple[Segment, int], purge: Purge, soft_ns: int) -> None:
    segment, fd = opened
    with another_handle(fd, 1) as second:
        before = segment.cache.generation()
        told = purge(segment.cache, soft_ns)
        assert second.cache.generation() == segment.cache.generation() == before + 1
        assert told == before + 1 or purge is PURGES["key"]


def test_what_a_purge_dropped_is_counted_once(opened: tuple[Segment, int]) -> None:
    segment, _ = opened
    prepare(segment, 700)
    segment.cache.purge_tag(b"red")
    for _ in range(3):
        assert verdict(segment, KEY) is None
    assert segment.statistics.core()["purged"] == 1
    assert segment.occupancy()["objects"] == 1


# --- rules --------------------------------------------------------------------------------------------------


def sweeps(segment: Any) -> int:
    return int(segment.statistics.core()["prefix_sweeps"])


def take_all_rules(segment: Any) -> None:
    before = sweeps(segment)
    for number in range(RULES):
        segment.cache.purge_prefix(b"https://shop.example/rule %d" % number)
    assert sweeps(segment) == before


def crawl_a_round(segment: Any) -> None:
    """Two, since one may be half done."""
    segment.cache.crawl(NOW_NS, 2 * segment.occupancy()["entries_total"] + 512)


@each_hardness
def test_with_all_rules_taken_every_entry_is_looked_at(opened: tuple[Segment, int], soft_ns: int) -> None:
    segment, fd = opened
    prepare(segment, 700)
    take_all_rules(segment)
    born = segment.cache.generation()
    generation = segment.cache.purge_prefix(b"https://shop.example/a/b/cc", soft_ns)
    assert generation == segment.cache.generation() and sweeps(segment) == 1
    with another_handle(fd, 1) as second:
        assert verdict(second, KEY) == (STALE_WHILE_REVALIDATE if soft_ns else None)
        assert verdict(second, OTHER) == FRESH
        assert not put(second, KEY, 3, 700, born=born)
        assert not put(second, b"any key", 3, 700, born=born), "it cannot be seen, so it is refused"
        assert put(second, KEY, 3, 700)
        assert verdict(second, KEY) == FRESH
    taken = [verdict(segment, b"https://shop.example/rule %d/" % number) for number in (0, 100, RULES - 1)]
    assert taken == [None] * 3


def test_rules_keep_working_while_all_are_taken(opened: tuple[Segment, int]) -> None:
    segment, _ = opened
    keys = [b"https://shop.example/rule %d" % number for number in range(0, RULES, 17)]
    born = segment.cache.generation()
    for key in keys:
        assert put(segment, key, 1, 10)
    take_all_rules(segment)
    segment.cache.purge_prefix(b"https://shop.example/another")
    assert [verdict(segment, key) for key in keys] == [None] * len(keys)
    assert not any(put(segment, key, 1, 10, born=born) for key in keys)


def test_rules_are_forgotten_after_a_round_of_the_crawler_and_older_fetches_stay_refused(
    opened: tuple[Segment, int],
) -> None:
    segment, _ = opened
    prepare(segment, 700)
    born = segment.cache.generation()
    segment.cache.purge_prefix(b"https://shop.example/a/b/cc")
    for number in range(RULES - 1):
        segment.cache.purge_prefix(b"https://shop.example/rule %d" % number)
    crawl_a_round(segment)
    later = segment.cache.generation()
    take_all_rules(segment)
    assert sweeps(segment) == 0, "as many rules again, so the first were forgotten"
    assert verdict(segment, KEY) is None
    assert not put(segment, KEY, 3, 700, born=born)
    assert verdict(segment, OTHER) == FRESH
    assert put(segment, KEY, 3, 700, born=later)


def test_a_round_that_began_before_the_purge_forgets_nothing(opened: tuple[Segment, int]) -> None:
    segment, _ = opened
    segment.cache.crawl(NOW_NS, segment.occupancy()["entries_total"] // 2 - 64)
    take_all_rules(segment)
    segment.cache.crawl(NOW_NS, segment.occupancy()["entries_total"] // 2)
    segment.cache.purge_prefix(b"https://shop.example/another")
    assert sweeps(segment) == 1
    crawl_a_round(segment)
    segment.cache.purge_prefix(b"https://shop.example/another")
    assert sweeps(segment) == 1


def test_a_fetch_that_is_stored_while_its_rule_is_forgotten_is_refused(faulty: ModuleType) -> None:
    """Its publication stands anywhere while the rule, crawled for by now, gives its place to another."""
    point = 0
    pid: int | None = 0
    while pid is not None:
        point += 1
        with cache_segment(4 << 20, module=faulty, stripes=1, entries=64) as segment:
            pid = stopped_at(segment, faulty, 0, partial(publish_after_purge, segment, faulty, point))
            if pid is not None:
                segment.cache.purge_prefix(b"https://shop.example/other")
                let_go(pid)
            assert verdict(segment, KEY) is None
    assert point > 3


def publish_after_purge(segment: Any, faulty: ModuleType, point: int) -> None:
    fill = segment.cache.begin(KEY, b"m", None, **DATES)
    assert fill.write(sealed(3, 150_000))
    segment.cache.purge_prefix(b"https://shop.example/a/b/cc")
    segment.cache.crawl(NOW_NS, 200)
    faulty._arm_fault(point, signal.SIGSTOP)
    assert not fill.publish()


# --- several processes --------------------------------------------------------------------------------------


@each_purge
@each_hardness
def test_a_purge_that_died_half_way_blocks_nothing_and_loses_no_later_one(
    faulty: ModuleType, purge: Purge, soft_ns: int
) -> None:
    point, died = 0, True
    while died:
        point += 1
        with distinct_segment(
            4 << 20, keys=[KEY, OTHER], tags=[b"red", b"violet"], module=faulty, stripes=1, entries=64
        ) as (segment, _):
            prepare(segment, 700)

            died = die_at(segment, faulty, 1, point, lambda it: purge(it.cache, soft_ns))
            where = f"fault point {point}"
            born = segment.cache.generation()
            assert put(segment, KEY, 3, 700, (b"red",), born), where
            assert verdict(segment, KEY) == FRESH, where
            purge(segment.cache, soft_ns)
            assert verdict(segment, KEY) == (STALE_WHILE_REVALIDATE if soft_ns else None), where
            again = put(segment, KEY, 4, 700, (b"red",), born)
            assert again == (soft_ns != 0 and purge is not PURGES["sweep"]), where
            assert put(segment, KEY, 5, 700, (b"red",)), where
            assert verdict(segment, KEY) == FRESH, where
            for other in PURGES.values():
                assert put(segment, KEY, 6, 700, (b"red",)), where
                other(segment.cache, 0)
                assert verdict(segment, KEY) is None, where
            segment.reap(1)
            assert segment.audit() == [], where
    assert point > 2


@each_purge
@each_hardness
def test_a_purge_that_stands_anywhere_still_hits_what_others_read_and_store_meanwhile(
    faulty: ModuleType, purge: Purge, soft_ns: int
) -> None:
    """They may find it valid as long as the purge has not returned, but not note that on the entry."""
    point = 0
    while True:
        point += 1
        with distinct_segment(
            4 << 20, keys=[KEY], tags=[b"red", b"blue"], module=faulty, stripes=1, entries=64
        ) as (segment, _):
            prepare(segment, 700)
            born = segment.cache.generation()
            segment.cache.purge_tag(b"blue")
            pid = stopped_at(segment, faulty, point, partial(purge, segment.cache, soft_ns))
            if pid is None:
                break
            verdict(segment, KEY)
            put(segment, KEY + b"c", 3, 700, (b"red",), born)
            let_go(pid)
            expected = STALE_WHILE_REVALIDATE if soft_ns else None
            assert verdict(segment, KEY) == expected
            assert purge is PURGES["key"] or verdict(segment, KEY + b"c") in (expected, None)
            segment.reap(1)
            assert segment.audit() == []
    assert point > 2


def test_a_reader_that_stands_anywhere_does_not_take_the_stale_for_fresh(faulty: ModuleType) -> None:
    """Another reader notes the soft purge on the entry meanwhile, which spares later ones the search."""
    point = 0
    while True:
        point += 1
        with cache_segment(4 << 20, module=faulty, stripes=1, entries=64) as segment:
            prepare(segment, 700)
            segment.cache.purge_tag(b"red", SOFT_NS)

            def read() -> None:
                assert verdict(segment, KEY) == STALE_WHILE_REVALIDATE

            pid = stopped_at(segment, faulty, point, read)
            if pid is None:
                break
            read()
            let_go(pid)
    assert point > 4


@each_purge
@each_hardness
def test_once_a_purge_returned_no_process_gets_the_purged(
    opened: tuple[Segment, int], purge: Purge, soft_ns: int
) -> None:
    """One process stores and purges as fast as it can, and tells which version is purged; another reads."""
    segment, fd = opened
    told = mmap.mmap(-1, 16)  # the version purged last; not 0: enough

    def store_and_purge() -> None:
        version = 0
        with another_handle(fd, 1) as mine:
            while not told[8]:
                version += 1
                if version % 100 == 0:  # so that rules are forgotten
                    mine.cache.crawl(NOW_NS, 2 * mine.occupancy()["entries_total"] + 512)
                born = mine.cache.generation()
                assert put(mine, KEY, version, 700, (b"red",), born)
                purge(mine.cache, soft_ns)
                told[:8] = struct.pack("<Q", version)
                stale_again = put(mine, KEY, version, 700, (b"red",), born)
                assert stale_again == (soft_ns != 0 and purge is not PURGES["sweep"])

    pid = spawn(store_and_purge)
    reads, seen = 0, set()
    try:
        while reads < 3_000 or len(seen) < 3:
            assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            (purged,) = struct.unpack("<Q", told[:8])
            hit = segment.cache.get(KEY, SOFT_NS)
            reads += 1
            if hit is None:
                continue
            version = int.from_bytes(whole(hit.body)[:8], "big")
            seen.add(version)
            assert version > purged or (soft_ns and hit.verdict != FRESH)
    finally:
        told[8] = 1
        assert not was_killed(pid)
    segment.reap(1)
