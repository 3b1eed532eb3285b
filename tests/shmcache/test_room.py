"""A full segment evicts and keeps working; no size of body starves; what is used stays."""

import random

import pytest

from shmcache import Segment
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, get, is_sealed, put, sealed


def insist(segment: Segment, key: bytes, body: bytes) -> bool:
    """Store a body; one that is very large enters a full cache at second sight only (test_policy.py)."""
    return put(segment, key, body) or put(segment, key, body)


def fill_up(segment: Segment, name: bytes, size: int, total: int) -> int:
    """Store bodies of that size until they add up to `total`; how many were accepted."""
    return sum(insist(segment, b"%s %d" % (name, number), bytes(size)) for number in range(total // size))


def share(segment: Segment) -> float:
    """Bytes stored, of all the bytes of pages."""
    taken = segment.occupancy()
    return taken["bytes_stored"] / (taken["pages_total"] << 16)


@pytest.mark.parametrize("size", [1, 1_000, 5_000, 30_000, 33_000, 70_000, 500_000])
@pytest.mark.parametrize("stripes", [1, 4])
def test_bodies_of_one_size_replace_each_other_for_ever(size: int, stripes: int) -> None:
    with cache_segment(16 << 20, stripes=stripes) as segment:
        for number in range(max(200, (64 << 20) // max(size, 5_000))):
            assert insist(segment, b"%d" % number, bytes(size)), f"refused after {number}"
            assert get(segment, b"%d" % number) == bytes(size)
        assert segment.audit() == []
        assert segment.statistics.totals()[2] > 0, "nothing was evicted: not a test"


def test_a_full_segment_is_well_used() -> None:
    """Classes, tails and page moving waste little: measured 0.87 for one size, 0.8 for a mix."""
    sizes = random.Random(5)
    with cache_segment(64 << 20, entries=65_536) as segment:
        for number in range(60_000):
            put(segment, b"%d" % number, bytes(min(30_000, int(300 * sizes.paretovariate(0.9)))))
        assert segment.audit() == []
        assert share(segment) > 0.75


@pytest.mark.parametrize("size", [33_000, 40_000, 70_000, 90_000])
def test_tails_do_not_waste_pages(size: int) -> None:
    """A body that needs a little more than half a page, or than one, does not take the next one whole."""
    with cache_segment(32 << 20) as segment:
        fill_up(segment, b"odd", size, 64 << 20)
        assert share(segment) > 0.75


@pytest.mark.parametrize("stripes", [1, 8])
def test_a_size_that_comes_late_finds_room(stripes: int) -> None:
    """Pages cut for one size are given to another, small to large and back.

    At least the tenth of a pool that is for what is new: main keeps what came back before it.
    """
    with cache_segment(16 << 20, stripes=stripes, entries=16_384) as segment:
        for round_, size in enumerate(
            [500, 20_000, 1_000_000, 130, 33_000, 400_000, 70_000, 9_000, 250_000, 1_000]
        ):
            name = b"round %d" % round_
            total = 32 << 20
            tried = total // size
            assert fill_up(segment, name, size, total) == tried
            kept = sum(get(segment, b"%s %d" % (name, number)) is not None for number in range(tried))
            assert kept * size > (512 << 10), f"only {kept} bodies of {size} bytes kept"
            assert segment.audit() == []


def test_unused_room_is_lent_to_either_kind() -> None:
    for size in (2_000, 300_000):
        with cache_segment(32 << 20, entries=32_768) as segment:
            fill_up(segment, b"only", size, 64 << 20)
            assert share(segment) > 0.75, "one kind alone may use it all"


def test_both_kinds_hold_their_share_when_both_come() -> None:
    with cache_segment(32 << 20, entries=32_768) as segment:
        for number in range(4_000):
            assert put(segment, b"s%d" % number, bytes(8_000))
            if number % 10 == 0:
                assert put(segment, b"l%d" % number, bytes(250_000))
        small = sum(get(segment, b"s%d" % number) is not None for number in range(4_000)) * 8_000
        large = sum(get(segment, b"l%d" % number) is not None for number in range(0, 4_000, 10)) * 250_000
        assert small > 8 << 20
        assert large > 8 << 20
        assert segment.audit() == []


@pytest.mark.parametrize("size", [1_000, 200_000])
def test_what_is_asked_for_survives_a_scan(size: int) -> None:
    """One-time keys pass through; those used again and again stay."""
    with cache_segment(16 << 20, entries=16_384) as segment:
        hot = [b"hot %d" % number for number in range(20)]
        for key in hot:
            assert put(segment, key, bytes(size))
        lost = 0
        for number in range((64 << 20) // size):
            assert insist(segment, b"once %d" % number, bytes(size))
            lost += get(segment, hot[number % 20]) is None
        assert lost == 0


def test_more_entries_than_there_are_places() -> None:
    with cache_segment(16 << 20, stripes=1, entries=256) as segment:
        for number in range(5_000):
            assert put(segment, b"%d" % number, sealed(number, 200))
        assert segment.occupancy()["entries_used"] <= 256
        kept = [body for number in range(5_000) if (body := get(segment, b"%d" % number)) is not None]
        assert len(kept) > 200
        assert all(is_sealed(body) for body in kept)
        assert segment.audit() == []


def test_moved_chunks_keep_their_bytes() -> None:
    """A random mix of sizes, replaced and deleted, in a segment too small for it."""
    dice = random.Random(11)
    stored: dict[bytes, int] = {}
    with cache_segment(8 << 20, stripes=2, entries=8_192) as segment:
        for step in range(20_000):
            key = b"%d" % dice.randrange(4_000)
            if dice.random() < 0.1:
                segment.cache.delete(key)
                stored.pop(key, None)
            else:
                size = min(400_000, int(150 * dice.paretovariate(0.7)))
                assert insist(segment, key, sealed(step, size))
                stored[key] = step
            probe = b"%d" % dice.randrange(4_000)
            body = get(segment, probe)
            if body is not None:
                assert is_sealed(body)
                assert int.from_bytes(body[:8], "big") == stored[probe]
        assert segment.audit() == []


def test_pinned_bodies_are_passed_over_and_refusals_are_counted() -> None:
    with cache_segment(4 << 20) as segment:
        limit = segment.occupancy()["pages_total"] // 8 << 16
        held = []
        for number in range(100):
            key = b"%d" % number
            if put(segment, key, bytes(limit)):
                hit = segment.cache.get(key, NOW_NS)
                assert hit is not None
                held.append(hit.body)
        assert 4 <= len(held) < 100
        refused = segment.statistics.totals()[4]
        fill = segment.cache.begin(
            b"f", b"", None, now_ns=0, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS
        )
        assert fill is not None
        assert refused > 0 or not fill.write(bytes(limit))
        del held, hit, fill
        assert insist(segment, b"again", bytes(limit))
        assert segment.audit() == []
