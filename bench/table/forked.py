"""CPU time per operation of several forked processes that do the same at once."""

import gc
import os
import struct
import time
import traceback
from collections.abc import Callable, Sequence

from bench.measure import cpu_ns

Pass = Callable[[], int]
"""Do the operations once; how many they were."""

REPORT = struct.Struct("=QQ")  # ns, operations


def _work(make: Callable[[int], Pass], member: int, budget_ns: int, started: int, report: int) -> None:
    """The child: one pass to warm up and to see how long it takes, then as many as the budget holds."""
    once = make(member)
    gc.disable()
    begun = time.process_time_ns()
    once()
    passes = max(1, budget_ns // max(1, time.process_time_ns() - begun))
    os.write(report, b".")
    os.read(started, 1)  # its end: everybody starts
    operations = 0
    begun = time.process_time_ns()
    for _ in range(passes):
        operations += once()
    os.write(report, REPORT.pack(time.process_time_ns() - begun, operations))


def _fork(
    make: Callable[[int], Pass], member: int, budget_ns: int, start: tuple[int, int]
) -> tuple[int, int]:
    """A child and the pipe it reports through."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(start[1])
        os.sched_setaffinity(0, {member % (os.cpu_count() or 1)})
        _work(make, member, budget_ns, start[0], writing)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ns_per_operation(
    make: Callable[[int], Pass], processes: int, *, budget_ns: int, servers: Sequence[int] = ()
) -> float:
    """CPU nanoseconds per operation, the `servers`' share included.

    `make(member)` runs in the child (members count from 1) and gives what one pass is. Each process spends
    about `budget_ns` of CPU time, though it makes at least one pass.
    """
    start = os.pipe()
    children = [_fork(make, number + 1, budget_ns, start) for number in range(processes)]
    os.close(start[0])
    ready = [os.read(report, 1) for _, report in children]
    before = cpu_ns(servers)
    os.close(start[1])
    reports = [os.read(report, REPORT.size) for _, report in children]
    served = cpu_ns(servers) - before
    for pid, report in children:
        os.close(report)
        os.waitpid(pid, 0)
    if b"" in ready or any(len(report) < REPORT.size for report in reports):
        raise RuntimeError("a measured process failed; what went wrong stands above")
    spent, operations = (sum(column) for column in zip(*map(REPORT.unpack, reports), strict=True))
    return float((spent + served) / operations)
