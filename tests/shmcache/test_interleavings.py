"""One process stopped at every fault point of its operation while another one works on the same entries.

What a reader gets after it was let go on, and what another reads meanwhile, is always one whole version.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from tests.support.faults import let_go, stopped_at
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, get, is_sealed, put, sealed, whole

DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
SMALL, LARGE = 3_000, 150_000
BYSTANDERS = 60


def prepare(segment: Any) -> None:
    for number in range(BYSTANDERS):
        put(segment, b"before %d" % number, sealed(1_000 + number, SMALL))
    assert put(segment, b"small", sealed(1, SMALL))
    assert put(segment, b"large", sealed(2, LARGE))
    for number in range(BYSTANDERS):
        put(segment, b"after %d" % number, sealed(2_000 + number, SMALL))


def churn(segment: Any) -> None:
    """Every chunk and page that is given back is written over, and what is asked for is moved."""
    for number in range(600):
        put(segment, b"churn %d" % number, sealed(3_000 + number % 50, (number * 997) % 14_000))
        segment.cache.get(b"small", NOW_NS)
        segment.cache.get(b"large", NOW_NS)


def replace(segment: Any) -> None:
    assert put(segment, b"small", sealed(3, SMALL))
    assert put(segment, b"large", sealed(4, LARGE))
    churn(segment)


def delete(segment: Any) -> None:
    segment.cache.delete(b"small")
    segment.cache.delete(b"large")
    churn(segment)


def move(segment: Any) -> None:
    """Leave its page nearly empty, so that it is moved to another."""
    for number in range(0, BYSTANDERS):
        segment.cache.delete(b"before %d" % number)
        if number % 5:
            segment.cache.delete(b"after %d" % number)
    churn(segment)


def freshen(segment: Any) -> None:
    assert segment.cache.freshen(b"small", b"meta" * 100, **DATES)
    assert segment.cache.freshen(b"large", b"meta" * 100, **DATES)
    churn(segment)


@pytest.mark.parametrize("meanwhile", [replace, delete, move, freshen])
@pytest.mark.parametrize("key", [b"small", b"large"])
def test_a_reader_stopped_anywhere_reads_one_whole_version(
    faulty: ModuleType, key: bytes, meanwhile: Callable[[Any], None]
) -> None:
    point = 1
    while True:
        with cache_segment(3 << 20, module=faulty, stripes=1, entries=512) as segment:
            prepare(segment)

            def read() -> None:
                hit = segment.cache.get(key, NOW_NS)
                if hit is None:
                    return
                assert is_sealed(whole(hit.body)), "torn or foreign body"
                assert hit.meta == b"meta" * (len(hit.meta) // 4), "torn meta"

            pid = stopped_at(segment, faulty, point, read)
            if pid is None:
                break
            meanwhile(segment)
            let_go(pid)
            segment.reap(1)
            assert segment.audit() == []
        point += 1
    assert point > 4, "the reader passed no fault points: not a test"


def fill_with_holes(segment: Any) -> list[bytes]:
    """No free page, but half the chunks of many pages free; the keys that are left."""
    prepare(segment)
    keys = [b"holed %d" % number for number in range(80)]
    for number, key in enumerate(keys):
        assert put(segment, key, sealed(100 + number, 33_800))
        assert get(segment, b"large") is not None, "it is asked for, so it stays"
    stored = [key for key in keys if get(segment, key) is not None]
    left = [key for number, key in enumerate(stored) if number % 3 == 0]
    for key in set(stored) - set(left):
        segment.cache.delete(key)
    while segment.occupancy()["pages_used"] < segment.occupancy()["pages_total"]:
        assert put(segment, b"page %d" % segment.occupancy()["pages_used"], bytes(65_000))
    return [b"large", *left]


WRITERS: dict[str, Callable[[Any], object]] = {
    "move": lambda segment: put(segment, b"new", sealed(5, 9_000)),
    "replace": lambda segment: put(segment, b"large", sealed(4, LARGE)),
    "delete": lambda segment: segment.cache.delete(b"large"),
    "freshen": lambda segment: segment.cache.freshen(b"large", b"meta" * 100, **DATES),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_body_pinned_while_a_writer_stands_anywhere_stays(faulty: ModuleType, name: str) -> None:
    """Whatever step of moving, evicting or replacing the writer is in, a body pinned at that moment stays."""
    point, pinned = 1, 0
    while True:
        with cache_segment(3 << 20, module=faulty, stripes=1, entries=512) as segment:
            keys = fill_with_holes(segment)
            pid = stopped_at(segment, faulty, point, partial(WRITERS[name], segment))
            if pid is None:
                break
            held = [hit.body for key in keys if (hit := segment.cache.get(key, NOW_NS)) is not None]
            views = [body.views() for body in held]
            let_go(pid)
            churn(segment)
            pinned += len(held)
            assert all(is_sealed(b"".join(runs)) for runs in views), (
                f"changed under its pin (fault point {point})"
            )
            views.clear()
            held.clear()
            del hit
            segment.reap(1)
            assert segment.audit() == []
        point += 1
    assert pinned > 10
