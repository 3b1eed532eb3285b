"""Death of those who clean up after the dead: in the repair of a stripe, and in giving back what one held."""

import mmap
import os
import signal
import struct
from types import ModuleType
from typing import Any

import pytest

from shmcache.core import BROKEN
from tests.support.faults import die_at
from tests.support.interrupted import (
    DATES,
    LARGE,
    OPERATIONS,
    SIZE,
    SMALL,
    SOFT_NS,
    VICTIM,
    check,
    prepare,
    share,
)
from tests.support.segments import NOW_NS, cache_segment, get, picture, sealed

OTHER = 2
SHARES = 8  # of some 2,000 fault points, so that each test has but a few hundred children

REPAIRED = ["put small", "replace large", "evict", "crawl", "purge by sweep", "share and follow"]


@pytest.mark.parametrize("name", [*REPAIRED, "freshen softened large"])
def test_death_inside_repair(faulty: ModuleType, name: str) -> None:
    """A second process dies while it rebuilds the stripe in which the first one died."""
    before, operation = OPERATIONS[name]
    repairs = 0
    for first in range(1, 40, 13):
        for second in range(1, 2_000, 97):
            with cache_segment(SIZE, module=faulty, stripes=1, entries=512) as segment:
                before(segment)
                if not die_at(segment, faulty, VICTIM, first, operation):
                    break
                died = die_at(segment, faulty, OTHER, second, lambda it: it.cache.delete(b"nothing"))
                segment.reap(OTHER)
                repairs += died
                check(segment, name, first)
                if not died:
                    break
    assert repairs > 10


@pytest.mark.parametrize("first", range(1, SHARES + 1))
def test_death_while_reaping(faulty: ModuleType, first: int) -> None:
    """The reaper dies at every point, a share of which is this test's; the next one finishes its work."""

    def leave_everything(segment: Any) -> None:
        hit = segment.cache.get(b"large", NOW_NS)
        segment.cache.delete(b"large")
        filling = segment.cache.begin(b"left", b"m", None, **DATES)
        assert hit and filling.write(bytes(LARGE))
        shared, ticket = share(segment, b"shared")
        following = segment.cache.follow(b"shared", ticket, NOW_NS)
        told[:] = struct.pack("<Q", ticket)
        assert shared and following
        segment.cache.purge_prefix(b"bystander", SOFT_NS)
        os.kill(os.getpid(), signal.SIGKILL)

    def die(segment: Any) -> None:
        prepare(segment)
        assert die_at(segment, faulty, VICTIM, 0, leave_everything)

    told = mmap.mmap(-1, 8)
    left = picture(die, SIZE, module=faulty, stripes=1, entries=512)
    ticket = struct.unpack("<Q", told[:])[0]
    point, died = first, True
    while died:
        with cache_segment(SIZE, module=faulty, content=left) as segment:
            following = segment.cache.follow(b"shared", ticket, NOW_NS)
            died = die_at(segment, faulty, OTHER, point, lambda it: it.reap(VICTIM))
            segment.reap(OTHER)
            segment.reap(VICTIM)
            assert segment.audit() == [], f"fault point {point}"
            assert get(segment, b"small") == sealed(1, SMALL)
            assert following.look() == (BROKEN, LARGE + 8)
            assert b"".join(following.views()) == sealed(3, LARGE), f"fault point {point}"
            following.release()
            assert segment.audit() == [], f"fault point {point}"
        point += SHARES
    assert point > 1000
