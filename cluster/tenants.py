"""Who still has a file mapped, and the end of those.

The workers of a dead supervisor drain for a while; whoever takes over their segment must be alone in it.
Processes are told by the device and inode in their maps, so that a namesake is never meant.
"""

import contextlib
import os
import re
import select
import signal
from pathlib import Path

_PROC = Path("/proc")
KILLED_S = 5.0  # for the kernel to bury a process after SIGKILL


def tenants(fd: int) -> set[int]:
    """Pids of the other processes that have this file mapped, as far as we may see."""
    pattern = _mapping_of(fd)
    pids = (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdecimal())
    return {pid for pid in pids if pid != os.getpid() and _maps(pid, pattern)}


def kill(fd: int, pid: int) -> bool:
    """End this process if it still has the file mapped; whether it is gone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not _maps(pid, _mapping_of(fd)):  # looked at again: the number may have passed to another process
            return True
        signal.pidfd_send_signal(process, signal.SIGKILL)
        return bool(select.select([process], [], [], KILLED_S)[0])
    except OSError:
        return False
    finally:
        os.close(process)


def _mapping_of(fd: int) -> re.Pattern[bytes]:
    """The part of a line of /proc/PID/maps that names this file: device and inode (proc(5))."""
    stat = os.fstat(fd)
    device = b"%02x:%02x" % (os.major(stat.st_dev), os.minor(stat.st_dev))
    return re.compile(rb" %b %d( |$)" % (re.escape(device), stat.st_ino), re.MULTILINE)


def _maps(pid: int, pattern: re.Pattern[bytes]) -> bool:
    with contextlib.suppress(OSError):  # gone meanwhile, a kernel thread, or another user's
        return pattern.search((_PROC / str(pid) / "maps").read_bytes()) is not None
    return False
