"""A writer stopped at every fault point of its work while others read what it works on.

Whatever they have pinned by then stays as it is, bytes and place.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from tests.support.churn import LARGE, churn, prepare
from tests.support.faults import let_go, stopped_at
from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, get, is_sealed, put, sealed

DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}


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
