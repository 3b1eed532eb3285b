"""What the cache promises to one process."""

import random

import pytest

from shmcache import COPY_BYTES, PinnedBody, Segment
from shmcache.core import EXPIRED, FRESH, STALE_IF_ERROR, STALE_WHILE_REVALIDATE
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, get, put, sealed, whole

SIZES = [0, 1, 7, 8, 4_095, 4_097, COPY_BYTES - 1, COPY_BYTES, COPY_BYTES + 1, 40_000, 65_535, 65_536, 65_537]
SIZES += [98_304, 98_305, 130_000, 131_072, 1_000_000, 2_031_616, 2_500_001]


@pytest.fixture(scope="module")
def segment() -> object:
    with cache_segment(64 << 20) as made:
        yield made


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_any_size_comes_back_as_it_was(segment: Segment, size: int) -> None:
    body = random.Random(size).randbytes(size)
    assert put(segment, b"whole", body, b"its meta")
    hit = segment.cache.get(b"whole", NOW_NS)
    assert hit is not None
    assert (hit.meta, hit.size, whole(hit.body)) == (b"its meta", size, body)
    assert isinstance(hit.body, bytes) == (size <= COPY_BYTES)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_filled_in_pieces_comes_back_as_it_was(segment: Segment, size: int, announced: bool) -> None:
    pieces = random.Random(size)
    body = pieces.randbytes(size)
    key = b"filled %d" % announced
    fill = segment.cache.begin(
        key,
        b"m",
        size if announced else None,
        now_ns=NOW_NS,
        fresh_until_ns=FOREVER_NS,
        keep_until_ns=FOREVER_NS,
    )
    assert fill is not None
    at = 0
    while at < size:
        piece = memoryview(body)[at : at + pieces.randrange(1, 100_000)]
        assert fill.write(piece)
        at += len(piece)
    assert fill.filled == size
    before = get(segment, key)
    assert before is None or len(before) != size, "visible before it was published"
    assert fill.publish()
    assert get(segment, key) == body
    assert segment.audit() == []
    segment.cache.delete(key)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 0), (5, 5), (65_530, 65_540), (100_000, None), (-7, None)]
)
def test_views_are_the_bytes_of_a_slice(segment: Segment, start: int, stop: int | None) -> None:
    body = random.Random(1).randbytes(300_123)
    assert put(segment, b"ranges", body)
    hit = segment.cache.get(b"ranges", NOW_NS)
    assert hit is not None and isinstance(hit.body, PinnedBody)
    views = hit.body.views(start, stop)
    assert b"".join(views) == body[start:stop]
    assert all(view.readonly for view in views)


TICK_NS = 10_000_000  # what stale windows are counted in


def test_a_key_is_compared_whole(segment: Segment) -> None:
    assert put(segment, b"abc", b"1")
    assert put(segment, b"abcd", b"2")
    assert put(segment, b"", b"3")
    assert [get(segment, key) for key in (b"abc", b"abcd", b"ab", b"")] == [b"1", b"2", None, b"3"]


def test_a_new_body_replaces_the_old_at_once(segment: Segment) -> None:
    for version in range(50):
        body = sealed(version, version * 3_000)
        assert put(segment, b"replaced", body)
        assert get(segment, b"replaced") == body
    assert segment.audit() == []


@pytest.mark.parametrize(
    ("ticks", "verdict"),
    [
        (99, FRESH),
        (100, STALE_WHILE_REVALIDATE),
        (109, STALE_WHILE_REVALIDATE),
        (110, STALE_IF_ERROR),
        (149, STALE_IF_ERROR),
        (150, EXPIRED),
        (999, EXPIRED),
        (1_000, None),
    ],
)
def test_an_entry_grows_stale_by_the_clock(segment: Segment, ticks: int, verdict: int | None) -> None:
    segment.cache.put(
        b"dated",
        b"",
        b"x",
        now_ns=0,
        fresh_until_ns=100 * TICK_NS,
        keep_until_ns=1_000 * TICK_NS,
        swr_ns=10 * TICK_NS,
        sie_ns=50 * TICK_NS,
        flags=255,
    )
    hit = segment.cache.get(b"dated", ticks * TICK_NS)
    assert (None if hit is None else hit.verdict) == verdict
    if hit is not None:
        assert (hit.flags, hit.fresh_until_ns) == (255, 100 * TICK_NS)


@pytest.mark.parametrize("size", [10, 20_000, 100_000])
def test_freshening_keeps_the_body(segment: Segment, size: int) -> None:
    body = sealed(1, size)
    cache = segment.cache
    assert cache.put(b"aged", b"old", body, now_ns=0, fresh_until_ns=10, keep_until_ns=1_000, tags=(b"t",))
    assert cache.freshen(
        b"aged", b"a longer meta" * 20, now_ns=20, fresh_until_ns=500, keep_until_ns=2_000, flags=3
    )
    hit = cache.get(b"aged", 400)
    assert hit is not None
    assert (hit.verdict, hit.meta, hit.flags, whole(hit.body)) == (FRESH, b"a longer meta" * 20, 3, body)
    del hit
    assert segment.audit() == []
    cache.purge_tag(b"t")
    assert cache.get(b"aged", 400) is None, "it keeps its tags"
    assert not cache.freshen(b"aged", b"m", now_ns=20, fresh_until_ns=500, keep_until_ns=2_000)


@pytest.mark.parametrize("size", [10, 20_000, 100_000])
@pytest.mark.parametrize("tags", [(), (b"new",), (b"new", b"newer", b"u")], ids=len)
def test_freshening_may_bring_new_tags(segment: Segment, size: int, tags: tuple[bytes, ...]) -> None:
    cache = segment.cache
    body = sealed(1, size)
    cache.put(b"aged", b"old", body, now_ns=0, fresh_until_ns=10, keep_until_ns=1_000, tags=(b"t", b"u"))
    assert cache.freshen(b"aged", b"m", now_ns=20, fresh_until_ns=500, keep_until_ns=2_000, tags=tags)
    cache.purge_tag(b"t")
    hit = cache.get(b"aged", 400)
    assert hit is not None
    assert (hit.meta, whole(hit.body)) == (b"m", body)
    del hit
    assert segment.audit() == []
    for tag in tags:
        assert cache.freshen(b"aged", b"m", now_ns=20, fresh_until_ns=500, keep_until_ns=2_000, tags=tags)
        cache.purge_tag(tag)
        assert cache.get(b"aged", 400) is None
        cache.put(b"aged", b"old", body, now_ns=0, fresh_until_ns=10, keep_until_ns=1_000)


@pytest.mark.parametrize("tag", [b"old", b"new"])
def test_a_purge_since_the_question_refuses_new_tags_as_well(segment: Segment, tag: bytes) -> None:
    cache = segment.cache
    cache.put(b"aged", b"", b"x", now_ns=0, fresh_until_ns=10, keep_until_ns=1_000, tags=(b"old",))
    born = cache.generation()
    cache.purge_tag(tag)
    assert not cache.freshen(
        b"aged", b"m", now_ns=20, fresh_until_ns=500, keep_until_ns=2_000, tags=(b"new",), born=born
    )


def test_what_a_fetch_brings_is_refused_after_a_purge_that_hits_it(segment: Segment) -> None:
    cache = segment.cache
    born = cache.generation()
    cache.delete(b"other")
    cache.purge_tag(b"u")
    cache.purge_tag(b"t", 10)
    assert not cache.purged_since(b"http://a/b", born, (b"t",))
    assert cache.purged_since(b"http://a/b", born, (b"t", b"u"))
    cache.purge_prefix(b"http://a/")
    assert cache.purged_since(b"http://a/b", born)
    assert not cache.purged_since(b"http://a/b", cache.generation())
    born = cache.generation()
    cache.delete(b"http://a/b")
    assert cache.purged_since(b"http://a/b", born)


def test_what_is_not_there_can_be_neither_freshened_nor_deleted(segment: Segment) -> None:
    assert not segment.cache.freshen(b"nowhere", b"m", now_ns=0, fresh_until_ns=1, keep_until_ns=1)
    assert not segment.cache.delete(b"nowhere")


def test_a_deleted_key_is_gone(segment: Segment) -> None:
    assert put(segment, b"deleted", b"x")
    assert segment.cache.delete(b"deleted")
    assert get(segment, b"deleted") is None


def test_purging_everything_hides_it_and_only_it(segment: Segment) -> None:
    assert put(segment, b"before", b"x")
    generation = segment.cache.purge_all()
    assert generation == segment.cache.generation()
    assert get(segment, b"before") is None
    assert put(segment, b"after", b"x")
    assert get(segment, b"after") == b"x"


def test_a_tag_takes_all_that_carry_it(segment: Segment) -> None:
    cache = segment.cache
    for number, tags in enumerate([(b"red",), (b"red", b"blue"), (b"blue",), ()]):
        cache.put(
            b"tagged %d" % number,
            b"",
            b"x",
            now_ns=0,
            fresh_until_ns=FOREVER_NS,
            keep_until_ns=FOREVER_NS,
            tags=tags,
        )
    cache.purge_tag(b"red")
    left = [get(segment, b"tagged %d" % number) for number in range(4)]
    assert left == [None, None, b"x", b"x"]
    assert get(segment, b"tagged 2") == b"x", "and again, once it was found valid"
    cache.purge_tag(b"blue")
    assert get(segment, b"tagged 2") is None


def test_a_purge_during_the_fetch_wins(segment: Segment) -> None:
    cache = segment.cache
    dates = {"now_ns": 0, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
    born = cache.generation()
    fill = cache.begin(b"slow", b"", None, tags=(b"green",), born=born, **dates)
    assert fill is not None and fill.write(bytes(100_000))
    cache.purge_tag(b"green")
    assert not fill.publish()
    assert not cache.put(b"slow", b"", b"x", tags=(b"green",), born=born, **dates)
    assert cache.put(b"other", b"", b"x", tags=(b"violet",), born=born, **dates), (
        "another tag is not concerned"
    )
    cache.delete(b"gone")
    assert not cache.put(b"gone", b"", b"x", born=born, **dates), "deleting a key ends fetches of it"
    assert cache.put(b"gone", b"", b"x", born=cache.generation(), **dates)
    cache.purge_all()
    assert not cache.put(b"any", b"", b"x", born=born, **dates)
    assert segment.audit() == []


@pytest.mark.parametrize("pieces", [[10], [10, 20, 5], [40_000], [40_000, 60_001]])
def test_a_fill_of_another_length_than_announced_is_not_published(
    segment: Segment, pieces: list[int]
) -> None:
    fill = segment.cache.begin(
        b"short", b"", 100_000, now_ns=0, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS
    )
    assert fill is not None
    written = [fill.write(bytes(piece)) for piece in pieces]
    assert written[-1] == (sum(pieces) <= 100_000)
    assert not fill.publish()
    assert not fill.write(b"more")
    assert get(segment, b"short") is None
    assert segment.audit() == []


def test_a_fill_stops_at_its_limit(segment: Segment) -> None:
    dates = {"now_ns": 0, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
    fill = segment.cache.begin(b"limited", b"", None, max_bytes=50_000, **dates)
    assert fill is not None
    assert fill.write(bytes(50_000))
    assert not fill.write(b"x")
    assert not fill.publish()
    assert segment.cache.begin(b"limited", b"", 50_001, max_bytes=50_000, **dates) is None
    assert segment.audit() == []


def test_an_abandoned_fill_gives_everything_back(segment: Segment) -> None:
    used = segment.occupancy()["pages_used"]
    fill = segment.cache.begin(b"left", b"", None, now_ns=0, fresh_until_ns=1, keep_until_ns=1)
    assert fill is not None and fill.write(bytes(1_000_000))
    assert segment.occupancy()["pages_used"] > used
    del fill
    assert segment.occupancy()["pages_used"] <= used
    fill = segment.cache.begin(b"left", b"", None, now_ns=0, fresh_until_ns=1, keep_until_ns=1)
    assert fill is not None and fill.write(bytes(1_000_000))
    fill.abort()
    fill.abort()
    assert not fill.publish()
    assert segment.audit() == []


def test_what_can_never_fit_is_refused(segment: Segment) -> None:
    assert not put(segment, b"k" * 40_000, b"x")
    assert not put(segment, b"k", b"x", b"m" * 40_000)
    assert not put(segment, b"k", bytes(10 << 20))
    assert get(segment, b"k" * 40_000) is None
    assert segment.audit() == []


def test_wrong_arguments_are_told(segment: Segment) -> None:
    dates = {"now_ns": 0, "fresh_until_ns": 1, "keep_until_ns": 1}
    with pytest.raises(OverflowError):
        segment.cache.put(b"k", b"", b"", flags=256, **dates)
    with pytest.raises(TypeError):
        segment.cache.put(b"k", b"", b"", tags=("text",), **dates)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="5000 tags"):
        segment.cache.put(b"k", b"", b"", tags=[b"t"] * 5_000, **dates)


def test_what_was_stored_is_counted(segment: Segment) -> None:
    with cache_segment(4 << 20) as fresh:
        assert put(fresh, b"key", bytes(100), b"meta")
        assert put(fresh, b"key", bytes(200), b"meta")
        taken = fresh.occupancy()
        assert (taken["objects"], taken["entries_used"], taken["pages_used"]) == (1, 1, 1)
        assert taken["bytes_stored"] == 3 + 4 + 200
        assert fresh.cache.delete(b"key")
        assert fresh.occupancy()["pages_used"] == fresh.occupancy()["bytes_stored"] == 0
