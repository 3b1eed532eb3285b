"""The order in which bodies leave: as good as the design that was simulated, and its rules one by one."""

import random
from collections.abc import Iterator, Sequence

import pytest

from bench.hit_ratio.core import Core
from bench.hit_ratio.policies import Lru, Policy, TwoPools
from shmcache import Segment
from tests.support.segments import FOREVER_NS, cache_segment, get

Trace = Sequence[tuple[int, int]]

# Over 12 seeds of trace and segment the core missed at most 0.15 points more requests, and 0.91 more bytes.
OBJECTS_MARGIN, BYTES_MARGIN = 0.005, 0.015


def zipf_trace(requests: int, catalogue: int, alpha: float, seed: int) -> list[tuple[int, int]]:
    """Key and size of each request; every fifth key is never asked for again. Sizes as at a web edge."""
    dice = random.Random(seed)
    weights = [rank**-alpha for rank in range(1, catalogue + 1)]
    ranks = dice.choices(range(catalogue), weights, k=requests)
    keys = [catalogue + at if dice.random() < 0.2 else rank for at, rank in enumerate(ranks)]
    sizes: dict[int, int] = {}
    for key in keys:
        if key not in sizes:
            median, spread = dice.choices(
                [(700, 0.8), (6_000, 0.9), (35_000, 1.0), (250_000, 0.8)], [6, 6, 7, 1]
            )[0]
            sizes[key] = min(2_000_000, max(100, int(median * dice.lognormvariate(0, spread))))
    return [(key, sizes[key]) for key in keys]


def missed(cache: Policy, trace: Trace) -> tuple[float, float]:
    """Parts of the requests and of the bytes that the cache could not answer."""
    misses = [size for key, size in trace if not hit_or_put(cache, key, size)]
    return len(misses) / len(trace), sum(misses) / sum(size for _, size in trace)


def hit_or_put(cache: Policy, key: int, size: int) -> bool:
    hit = cache.get(key)
    if not hit:
        cache.put(key, size)
    return hit


@pytest.fixture(scope="module")
def trace() -> Trace:
    return zipf_trace(requests=80_000, catalogue=30_000, alpha=0.9, seed=1)


@pytest.mark.parametrize("percent", [2, 6])
def test_it_misses_no_more_than_the_simulated_design_and_less_than_lru(trace: Trace, percent: int) -> None:
    capacity = sum(dict(trace).values()) * percent // 100
    with Core(capacity) as core:
        objects, bytes_ = missed(core, trace)
        assert core.segment.audit() == []
    design_objects, design_bytes = missed(TwoPools(capacity), trace)
    lru_objects, lru_bytes = missed(Lru(capacity), trace)
    assert objects < design_objects + OBJECTS_MARGIN
    assert bytes_ < design_bytes + BYTES_MARGIN
    assert objects < lru_objects - 0.05
    assert bytes_ < lru_bytes


# --- ghosts ---


class Clocked:
    """Puts and gets whose time moves, so that bodies have an order in all stripes together."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.now_ns = 0

    def put(self, key: bytes, size: int) -> bool:
        self.now_ns += 1_000
        return self.segment.cache.put(
            key, b"", bytes(size), now_ns=self.now_ns, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS
        )

    def scan(self, name: bytes, size: int, count: int) -> None:
        """Bodies that are asked for once."""
        for number in range(count):
            self.put(b"%s %d" % (name, number), size)


@pytest.fixture(params=[1, 4], ids=["1 stripe", "4 stripes"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Clocked]:
    with cache_segment(16 << 20, stripes=request.param, entries=8_192) as segment:
        yield Clocked(segment)
        assert segment.audit() == []


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_key_that_comes_back_soon_outlives_a_scan(clocked: Clocked, size: int) -> None:
    room = (16 << 20) // size
    clocked.put(b"back", size)
    clocked.scan(b"before", size, room)
    while get(clocked.segment, b"back") is None:
        clocked.put(b"back", size)
    clocked.scan(b"after", size, 3 * room)
    assert get(clocked.segment, b"back") is not None


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_key_that_comes_back_too_late_is_new(clocked: Clocked, size: int) -> None:
    """A ghost is worth something for as many evictions as there are entries, however large the table is."""
    room = (16 << 20) // size
    clocked.put(b"back", size)
    clocked.scan(b"before", size, 3 * room)
    clocked.put(b"back", size)
    clocked.scan(b"after", size, 2 * room)
    assert get(clocked.segment, b"back") is None


def test_large_bodies_leave_in_one_order_whatever_their_stripes() -> None:
    with cache_segment(32 << 20, stripes=8) as segment:
        clocked = Clocked(segment)
        for number in range(400):
            assert clocked.put(b"%d" % number, 150_000)
        kept = [number for number in range(400) if get(segment, b"%d" % number) is not None]
        assert 100 < len(kept) < 300
        assert kept == list(range(400 - len(kept), 400))


# --- very large bodies ---


@pytest.fixture
def full() -> Iterator[Clocked]:
    """Nothing is free; a hundredth of all pages are some 160 KiB."""
    with cache_segment(16 << 20, stripes=2) as segment:
        clocked = Clocked(segment)
        clocked.scan(b"filling", 100_000, 200)
        assert segment.statistics.core()["evicted_large"] > 0
        yield clocked
        assert segment.audit() == []


def test_a_very_large_body_enters_at_once_while_there_is_room() -> None:
    with cache_segment(16 << 20) as segment:
        assert Clocked(segment).put(b"k", 1_000_000)


def test_a_very_large_body_enters_a_full_cache_at_second_sight(full: Clocked) -> None:
    assert not full.put(b"k", 1_000_000)
    assert get(full.segment, b"k") is None
    assert full.segment.statistics.core()["not_admitted"] == 1
    assert full.put(b"k", 1_000_000)
    assert full.put(b"k", 1_200_000), "what is stored may be replaced"
    assert get(full.segment, b"k") == bytes(1_200_000)
    assert full.segment.statistics.core()["not_admitted"] == 1


def test_a_very_large_body_of_unknown_size_enters_at_second_sight(full: Clocked) -> None:
    def fill() -> bool:
        filling = full.segment.cache.begin(
            b"k", b"", None, now_ns=full.now_ns, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS
        )
        assert filling is not None
        return all(filling.write(bytes(50_000)) for _ in range(20)) and filling.publish()

    assert not fill()
    assert fill()
    assert get(full.segment, b"k") == bytes(1_000_000)


def test_a_body_that_is_only_large_enters_at_once(full: Clocked) -> None:
    assert full.put(b"k", 130_000)


# --- counters ---


@pytest.mark.parametrize(("size", "pool"), [(20_000, "small"), (57_344, "small"), (57_345, "large")])
def test_the_size_of_a_body_decides_its_pool(size: int, pool: str) -> None:
    with cache_segment(8 << 20, stripes=1) as segment:
        Clocked(segment).scan(b"one size", size, 600)
        counts = segment.statistics.core()
        assert counts["evictions"] == counts[f"evicted_{pool}"] > 0


def test_evictions_are_counted_by_their_reason() -> None:
    dice = random.Random(3)
    with cache_segment(8 << 20, stripes=1, entries=512) as segment:
        clocked = Clocked(segment)
        for number in range(4_000):
            clocked.put(b"%d" % number, dice.choice([200, 9_000, 30_000, 80_000]))
        counts = segment.statistics.core()
        by_reason = [counts[f"evicted_{reason}"] for reason in ("small", "large", "index")]
        assert sum(by_reason) == counts["evictions"]
        assert min(by_reason[:2]) > 0
        assert counts["relocated"] > 0
        assert (
            counts["stores_small"] + counts["stores_large"] - counts["evictions"]
            == segment.occupancy()["objects"]
        )
