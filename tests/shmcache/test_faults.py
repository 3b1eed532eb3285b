"""Death at every single store: each operation is killed at fault point 1, 2, 3... until it survives.

After each death the others find every key whole (the old body or the new one, or nothing where the
operation may remove it), the dead are reaped, and the audit counts everything exactly once.
"""

import os
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.support.segments import FOREVER_NS, NOW_NS, cache_segment, fork, get, put, sealed, was_killed

DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
SMALL, LARGE = 3_000, 150_000
SIZE = 13 << 18
CROWD = 420
VICTIM, OTHER = 1, 2

Operation = Callable[[Any], object]


def prepare(segment: Any) -> None:
    """A few of everything, with room left."""
    assert put(segment, b"small", sealed(1, SMALL))
    assert put(segment, b"large", sealed(2, LARGE))
    for number in range(4):
        put(segment, b"bystander %d" % number, sealed(10 + number, 400 + 9_000 * number))


def crowd(segment: Any) -> None:
    """No free page, and free chunks in many classes."""
    prepare(segment)
    for number in range(CROWD):
        put(segment, b"crowd %d" % number, sealed(100 + number, (number * 997) % 14_000))
    for number in range(0, CROWD, 3):
        segment.cache.delete(b"crowd %d" % number)


def fill(segment: Any, key: bytes, seed: int, size: int) -> None:
    body = sealed(seed, size)
    filling = segment.cache.begin(key, b"m", None, **DATES)
    for at in range(0, len(body), 50_000):
        assert filling.write(body[at : at + 50_000])
    assert filling.publish()


def abandon(segment: Any) -> None:
    filling = segment.cache.begin(b"left", b"m", None, **DATES)
    assert filling.write(bytes(LARGE))
    filling.abort()


def pin_and_delete(segment: Any) -> None:
    hit = segment.cache.get(b"large", NOW_NS)
    segment.cache.delete(b"large")
    hit.body.release()


def evict(segment: Any) -> None:
    for number in range(12):
        put(segment, b"late %d" % number, sealed(300 + number, 6_000 + 400 * number))


OPERATIONS: dict[str, tuple[Callable[[Any], None], Operation]] = {
    "put small": (prepare, lambda segment: put(segment, b"new", sealed(3, SMALL))),
    "put outside the lock": (prepare, lambda segment: put(segment, b"new", sealed(3, 20_000))),
    "put large": (prepare, lambda segment: put(segment, b"new", sealed(3, LARGE))),
    "put with a tail of two": (prepare, lambda segment: put(segment, b"new", sealed(3, 110_000))),
    "replace small": (prepare, lambda segment: put(segment, b"small", sealed(4, SMALL + 1))),
    "replace large": (prepare, lambda segment: put(segment, b"large", sealed(4, LARGE + 70_000))),
    "replace large by small": (prepare, lambda segment: put(segment, b"large", sealed(4, 10))),
    "delete small": (prepare, lambda segment: segment.cache.delete(b"small")),
    "delete large": (prepare, lambda segment: segment.cache.delete(b"large")),
    "fill": (prepare, lambda segment: fill(segment, b"new", 3, LARGE)),
    "fill over": (prepare, lambda segment: fill(segment, b"large", 4, LARGE)),
    "abandon": (prepare, abandon),
    "freshen small": (prepare, lambda segment: segment.cache.freshen(b"small", b"longer" * 9, **DATES)),
    "freshen large": (prepare, lambda segment: segment.cache.freshen(b"large", b"longer" * 99, **DATES)),
    "pin, delete, release": (prepare, pin_and_delete),
    "purge": (prepare, lambda segment: (segment.cache.purge_tag(b"t"), segment.cache.purge_all())),
    "evict": (crowd, evict),
    "evict for large": (crowd, lambda segment: put(segment, b"new", sealed(3, LARGE))),
}


def check(segment: Any, name: str, point: int) -> None:
    """Everything readable is whole; after reaping, everything is counted once."""
    where = f"{name}, fault point {point}"
    allowed: dict[bytes, tuple[bytes | None, ...]] = {
        b"small": (sealed(1, SMALL), sealed(4, SMALL + 1)),
        b"large": (sealed(2, LARGE), sealed(4, LARGE), sealed(4, LARGE + 70_000), sealed(4, 10)),
        b"new": (None, sealed(3, SMALL), sealed(3, 20_000), sealed(3, LARGE), sealed(3, 110_000)),
        b"left": (None,),
    }
    removes = any(word in name for word in ("delete", "evict", "purge"))
    for key, bodies in allowed.items():
        body = get(segment, key)
        assert body in bodies or (removes and body is None), f"{where}: wrong body under {key!r}"
    for number in range(4):
        body = get(segment, b"bystander %d" % number)
        assert body == sealed(10 + number, 400 + 9_000 * number) or (removes and body is None), where
    assert put(segment, b"alive", sealed(5, SMALL)), where
    segment.reap(VICTIM)
    assert segment.audit() == [], where
    assert put(segment, b"alive", sealed(6, LARGE)), where
    assert get(segment, b"alive") == sealed(6, LARGE), where


def die_at(segment: Any, module: ModuleType, member: int, point: int, operation: Operation) -> bool:
    """Run the operation as `member` in a child, armed; whether it died."""

    def child() -> None:
        segment.join(member, NOW_NS)
        module._arm_fault(point, signal.SIGKILL)
        operation(segment)

    return was_killed(fork(child))


@pytest.mark.parametrize("name", OPERATIONS)
def test_death_at_every_fault_point(faulty: ModuleType, name: str) -> None:
    before, operation = OPERATIONS[name]
    point = 0
    died = True
    while died:
        point += 1
        with cache_segment(SIZE, module=faulty, stripes=1, entries=512) as segment:
            before(segment)
            assert segment.audit() == []
            died = die_at(segment, faulty, VICTIM, point, operation)
            check(segment, name, point)
    assert point >= 3, "the operation passed no fault points: not a test"


@pytest.mark.parametrize("name", ["put small", "replace large", "evict"])
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


def test_death_while_reaping(faulty: ModuleType) -> None:
    """The reaper dies at every point; the next one finishes its work."""

    def leave_everything(segment: Any) -> None:
        hit = segment.cache.get(b"large", NOW_NS)
        segment.cache.delete(b"large")
        filling = segment.cache.begin(b"left", b"m", None, **DATES)
        assert hit and filling.write(bytes(LARGE))
        os.kill(os.getpid(), signal.SIGKILL)

    point, died = 0, True
    while died:
        point += 1
        with cache_segment(SIZE, module=faulty, stripes=1, entries=512) as segment:
            prepare(segment)
            assert die_at(segment, faulty, VICTIM, 0, leave_everything)
            died = die_at(segment, faulty, OTHER, point, lambda it: it.reap(VICTIM))
            segment.reap(OTHER)
            segment.reap(VICTIM)
            assert segment.audit() == [], f"fault point {point}"
            assert get(segment, b"small") == sealed(1, SMALL)
    assert point > 10


def test_the_core_that_ships_has_no_fault_points() -> None:
    from shmcache import core

    assert core._arm_fault(0, signal.SIGKILL) == -1  # type: ignore[attr-defined]
