"""Forking one process: what it inherits, how it says that it serves, what its exit code means."""

import ctypes
import gc
import logging
import os
import pwd
import signal
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cluster.errors import BootError
from cluster.settings import ClusterSettings
from shmcache.core import Segment
from worker.networks import SharedNetworks
from worker.security.waf.counts import RuleCounts
from worker.start import Exit, WorkerStart, tell_failure, tell_ready

__all__ = [
    "Child",
    "ControlStart",
    "Exit",
    "Role",
    "State",
    "User",
    "WorkerStart",
    "fork",
    "tell_failure",
    "tell_ready",
]

log = logging.getLogger("edgecluster.supervisor")

_PR_SET_PDEATHSIG = 1


class Role(StrEnum):
    """What a forked process is for."""

    WORKER = "worker"
    CONTROL = "control"
    COMPILER = "compiler"  # of the WAF's patterns, before a reload


class State(StrEnum):
    """Where a forked process is in its life."""

    STARTING = "starting"
    READY = "ready"
    WORKING = "working"  # it has one thing to do, and ends
    LEAVING = "leaving"  # its lane gets no new connections; it still takes those that wait there
    DRAINING = "draining"  # told to finish and exit
    KILLED = "killed"  # told so in a way it cannot refuse


@dataclass(frozen=True, slots=True)
class ControlStart:
    """Everything the supervisor hands to the control process.

    `cluster.control.run(start) -> int` is called once in the forked process. It joins the segment as
    `member` before it uses it, calls `tell_ready(ready)` once it serves (or `tell_failure` and returns
    `Exit.COULD_NOT_BOOT`), ends on SIGTERM and returns `Exit.DRAINED`. SIGINT, SIGHUP and SIGUSR1 are
    ignored already.
    """

    settings: ClusterSettings  # listener ports as really bound
    segment: Segment
    member: int
    supervisor_socket: Path  # of cluster.wire
    admin_socket: Path  # to be made by the control process, and removed at its end
    admin_listener: socket.socket | None  # bound, listening, non-blocking; it stays the supervisor's
    ready: int  # write end of its readiness pipe
    bans: SharedNetworks  # which it alone publishes
    rule_counts: RuleCounts | None = None


@dataclass(slots=True)
class Child:
    """One forked process as the supervisor sees it."""

    role: Role
    lane: int  # -1 for all that are no workers
    member: int  # -1 for who has no business in the segment
    generation: int
    pid: int
    pipe: int  # read end of its readiness pipe; -1 once it is closed
    started_ns: int
    state: State = State.STARTING
    was_ready: bool = False
    told: bytes = b""  # what came through the pipe
    since_ns: int = 0  # when `state` last changed
    is_hurried: bool = False  # told that its drain is over
    kill_ns: int = 0  # SIGKILL if it still lives then; 0: never

    def __str__(self) -> str:
        return f"{self.role} {self.lane}" if self.role is Role.WORKER else str(self.role)


@dataclass(frozen=True, slots=True)
class User:
    """Whom the workers run as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def find(cls, name: str | None) -> "User | None":
        """The user to become, None when we stay who we are: not configured, or not root."""
        if name is None or os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise BootError(
                f"the user {name!r} that workers shall run as does not exist; create it or name another"
            ) from None
        return cls(name, entry.pw_uid, entry.pw_gid)

    def become(self) -> None:
        os.initgroups(self.name, self.gid)
        os.setgid(self.gid)
        os.setuid(self.uid)


def fork(body: Callable[[int], int], *, close: Collection[int], user: User | None = None) -> tuple[int, int]:
    """Fork a process that runs `body(ready)` and exits with what that returns.

    `close`: the supervisor's descriptors that are none of its business. Returns its pid and the read end
    of its readiness pipe, non-blocking. Raises OSError when the kernel has no room for another process.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # no collection in a child writes into the pages all of them share
    # A signal between fork and the child's own handlers would run ours in the child, and wake the supervisor.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    supervisor = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _child(lambda: body(writing), {reading, *close}, supervisor, user)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        gc.unfreeze()
    os.set_blocking(reading, False)
    return pid, reading


def _child(body: Callable[[], int], close: Collection[int], supervisor: int, user: User | None) -> None:
    """The forked process, from its first instruction to its last; does not return."""
    code = 1
    try:
        _reset_signals()
        for fd in close:
            os.close(fd)
        if user is not None:
            user.become()
        _die_with(supervisor)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = body()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        log.exception("process %d failed", os.getpid())
    finally:
        try:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # A terminal sends these to the whole process group: they are the supervisor's to act upon.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _die_with(supervisor: int) -> None:
    """Drain when the supervisor dies. After the change of user, which clears this wish."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != supervisor:  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)
