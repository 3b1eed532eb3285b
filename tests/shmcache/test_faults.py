"""Death at every single store: each operation is killed at fault point 1, 2, 3... until it survives.

After each death the others find every key whole (the old body or the new one, or nothing where the
operation may remove it), the dead are reaped, and the audit counts everything exactly once.
"""

import mmap
import os
import signal
import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from shmcache.core import BROKEN, RUNNING, WHOLE
from tests.support.faults import die_at
from tests.support.interrupted import LARGE, OPERATIONS, SIZE, VICTIM, check, prepare, share
from tests.support.processes import spawn
from tests.support.segments import NOW_NS, cache_segment, get, put, sealed, was_killed


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


ENDS: dict[str, tuple[Callable[[Any], object], int]] = {
    "published": (lambda filling: filling.publish(), WHOLE),
    "abandoned": (lambda filling: filling.abort(), BROKEN),
    "written": (lambda filling: filling.write(bytes(200_000)), BROKEN),
}


@pytest.mark.parametrize("name", ENDS)
def test_death_at_every_fault_point_while_another_follows(faulty: ModuleType, name: str) -> None:
    """Who follows keeps right bytes all the while, and learns once the dead is reaped how it ended."""
    end, ending = ENDS[name]
    body = sealed(3, LARGE)
    point, died = 0, True
    endings = set()
    while died:
        point += 1
        with cache_segment(SIZE, module=faulty, stripes=1, entries=128) as segment:
            prepare(segment)
            pid, ticket = stopped_filler(segment, faulty, point, end)
            following = segment.cache.follow(b"new", ticket, NOW_NS)
            os.kill(pid, signal.SIGCONT)
            died = was_killed(pid)
            for _ in range(2):
                state, filled = following.look()
                followed = b"".join(following.views(0, len(body)))
                assert filled >= len(body) and followed == body, f"fault point {point}"
                segment.reap(VICTIM)
            assert state != RUNNING
            endings.add(state)
            assert segment.audit() == [], f"fault point {point}"
            assert get(segment, b"new") in (None, body)
            following.release()
            assert segment.audit() == [], f"fault point {point}"
            assert put(segment, b"alive", sealed(6, LARGE))
    assert point > 3 and ending in endings


def stopped_filler(
    segment: Any, faulty: ModuleType, point: int, end: Callable[[Any], object]
) -> tuple[int, int]:
    """A process that stopped before it ends a fill of "new", armed; and the ticket of its lease."""
    told = mmap.mmap(-1, 8)

    def child() -> None:
        segment.join(VICTIM, NOW_NS)
        filling, ticket = share(segment, b"new")
        told[:] = struct.pack("<Q", ticket)
        os.kill(os.getpid(), signal.SIGSTOP)
        faulty._arm_fault(point, signal.SIGKILL)
        end(filling)

    pid = spawn(child)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return pid, struct.unpack("<Q", told[:])[0]


def test_the_core_that_ships_has_no_fault_points() -> None:
    from shmcache import core

    assert core._arm_fault(0, signal.SIGKILL) == -1  # type: ignore[attr-defined]
