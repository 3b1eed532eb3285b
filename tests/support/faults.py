"""Children that die, or are stopped, at a fault point of the core built with them."""

import os
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.support.processes import spawn
from tests.support.segments import NOW_NS, was_killed


def die_at(
    segment: Any, module: ModuleType, member: int, point: int, operation: Callable[[Any], object]
) -> bool:
    """Run the operation as `member` in a child, armed; whether it died."""

    def child() -> None:
        segment.join(member, NOW_NS)
        module._arm_fault(point, signal.SIGKILL)
        operation(segment)

    return was_killed(spawn(child))


def stopped_at(segment: Any, faulty: ModuleType, point: int, work: Callable[[], object]) -> int | None:
    """A child (member 1) stopped at that fault point of its work; None if it came to its end instead."""

    def child() -> None:
        segment.join(1, NOW_NS)
        faulty._arm_fault(point, signal.SIGSTOP)
        work()

    pid = spawn(child)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return pid
    assert os.waitstatus_to_exitcode(status) == 0
    return None


def let_go(pid: int) -> None:
    """Let a stopped child go on to its end."""
    os.kill(pid, signal.SIGCONT)
    assert not was_killed(pid), "what it read was wrong: see its output"
