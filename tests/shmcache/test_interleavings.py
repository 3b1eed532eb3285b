"""A reader stopped at every fault point of its work while another process works on the same entries.

What it gets after it was let go on is always one whole version.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.support.churn import BYSTANDERS, LARGE, SMALL, churn, prepare
from tests.support.faults import let_go, stopped_at
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, is_sealed, put, sealed, whole

DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}


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
