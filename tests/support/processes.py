"""Children made by fork, for tests of what processes share."""

import contextlib
import ctypes
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, MutableSequence
from time import monotonic, sleep
from typing import cast

PATIENCE_S = 60.0


def spawn(work: Callable[[], object]) -> int:
    """Fork a child that does `work` and exits 0, or 1 with a traceback; its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait_exit(pid: int) -> int:
    """How the child ended: its exit code, or minus the signal that killed it. Kills it when patience ends."""
    return os.waitstatus_to_exitcode(_wait(pid, 0))


def is_stopped(pid: int) -> bool:
    """Wait until the child stops itself (True) or has exited with 0 (False)."""
    status = _wait(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return True
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise RuntimeError(f"child {pid} ended with {code}")
    return False


def _wait(pid: int, options: int) -> int:
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG | options)
        if done:
            return status
        sleep(0.001)
    kill(pid)
    raise TimeoutError(f"child {pid} did not end within {PATIENCE_S:g} s")


def kill(pid: int) -> None:
    """SIGKILL a child and take its status; fine if it has ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def shared_words(count: int) -> MutableSequence[int]:
    """Zeroed 64-bit words shared with children forked later; stored whole, even by a child that dies."""
    return cast("MutableSequence[int]", (ctypes.c_uint64 * count).from_buffer(mmap.mmap(-1, count * 8)))
