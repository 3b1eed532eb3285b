"""The named shared segment and its doorbells: there before the first fork, removed after the last child.

Knows the name, the size and the room there is; what lies inside is `shmcache`'s. A supervisor that dies
leaves the segment behind. The next one takes it over, if it is whole and nobody lives in it, or else starts
with an empty one.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import stat
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import posix_ipc
import psutil

from cluster.errors import BootError
from cluster.settings import ClusterSettings
from cluster.tenants import KILLED_S, kill, tenants
from shmcache.core import MEMBERS, Segment
from shmcache.errors import SegmentError
from worker.cache.entry import FORMAT
from worker.settings import CacheSettings

log = logging.getLogger("edgecluster.supervisor")

SHM = Path("/dev/shm")
MIB = 1024**2
TENANT_PATIENCE_S = 3.0  # for the workers of a dead supervisor to finish
_LOOK_S = 0.05
_STEP = 256 * MIB  # reserve in steps, so that a signal does not make the kernel start all over


def largest_object(cache_bytes: int) -> int:
    """About how many bytes one stored object may have: an eighth of the pages (`shmcache/fill.h`)."""
    return cache_bytes // 8


def too_large_objects(settings: ClusterSettings) -> str | None:
    """What to tell of routes whose `max_object` is beyond that; None if there are none.

    The default is no wish of anybody's, so nothing is said about it.
    """
    largest = largest_object(settings.cache_bytes)
    default = CacheSettings().max_object_bytes
    routes = [route for site in settings.worker.sites for route in site.routes]
    beyond = [
        route.cache.max_object_bytes
        for route in routes
        if route.cache.enabled and largest < route.cache.max_object_bytes != default
    ]
    if not beyond:
        return None
    wanted, enough = max(beyond) / MIB, 8 * max(beyond) / MIB
    return (
        f"max_object of {wanted:g} MiB: one object may have an eighth of the cache memory at most, "
        f"{largest / MIB:g} MiB, and larger ones are not stored; set cache memory to {enough:g} MiB "
        f"or more, or max_object lower"
    )


def segment_name(state_dir: Path) -> str:
    """The POSIX name of the segment of that state directory, the same at every start."""
    digest = hashlib.blake2b(os.fsencode(state_dir.resolve()), digest_size=8).hexdigest()
    return f"/edgecluster-{digest}"


def left_bytes(state_dir: Path) -> int:
    """Memory of the segment of that state directory, which the next start takes over or gives back."""
    try:
        return os.stat(f"{SHM}{segment_name(state_dir)}").st_blocks * 512
    except FileNotFoundError:
        return 0


def boot_id() -> bytes:
    """16 bytes that change with every boot of the kernel."""
    return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes


def identity() -> bytes:
    """What a segment must carry to be taken over: whose clock it uses, and the format of what is stored."""
    return boot_id() + bytes([FORMAT])


def open_doorbells() -> list[int]:
    """One eventfd per member, inherited by every process so that anyone can ring anyone."""
    return [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(MEMBERS)]


@dataclass(frozen=True, slots=True)
class CacheStart:
    """How a cache began: warm, with what a supervisor before us had left, or empty; and why so."""

    is_warm: bool
    reason: str
    objects: int = 0  # kept
    damaged: int = 0  # dropped, for they were no longer what had been stored


def end_tenants(state_dir: Path) -> None:
    """Let the processes of a dead supervisor of that directory finish, and end those that do not.

    The caller holds the directory's lock. They may hold UDP ports besides: HTTP/3 is finished through the
    socket that it came in by.
    """
    try:
        fd = posix_ipc.SharedMemory(segment_name(state_dir)).fd
    except (posix_ipc.Error, OSError):  # nothing is there, or nothing of ours
        return
    try:
        with contextlib.suppress(Unfit):
            _be_alone(fd)
    finally:
        os.close(fd)


class Unfit(Exception):
    """Why the segment that was left cannot be taken over."""


class NamedSegment:
    """Our segment under its name in /dev/shm."""

    def __init__(self, state_dir: Path, size_bytes: int, *, drop: str = "") -> None:
        """Take over what a supervisor of the same state directory left, or make an empty segment.

        `drop`: why it is to be empty in any case. Every page is reserved now: too little memory is a
        BootError here, never a SIGBUS later. The caller holds the state directory's lock, so no other
        supervisor lives in the segment; the workers of a dead one may, and are ended. Forked processes
        keep `fd` open as long as they use the segment: its lock is how the next supervisor knows of them.
        """
        self.name = segment_name(state_dir)
        self.size_bytes = size_bytes
        self.fd = -1
        self.doorbells: list[int] = []
        try:
            self.doorbells = open_doorbells()
            self.start = self._take_over(drop)
            if not self.start.is_warm:
                self._make()
        except (posix_ipc.Error, OSError) as error:
            self._close_handles()
            raise BootError(
                f"cannot make the shared segment {SHM}{self.name}: {error}; {SHM} must be a tmpfs we may "
                "write to, and a file of that name must be ours"
            ) from error
        except BaseException:
            self._close_handles()
            raise

    def close(self, *, keep: bool = False) -> None:
        """Remove the name, unless the next start shall find it, and our handles.

        Without a name, the memory goes when the last process that maps it is gone.
        """
        if keep:
            log.info("the cache stays in %s%s for the next start", SHM, self.name)
        else:
            _unlink(self.name)
        self._close_handles()

    def _close_handles(self) -> None:
        for fd in (self.fd, *self.doorbells):
            if fd >= 0:
                os.close(fd)
        self.fd, self.doorbells = -1, []

    def _take_over(self, drop: str) -> CacheStart:
        """Keep what was left if that is possible; otherwise remove it, and say so."""
        try:
            self.fd = posix_ipc.SharedMemory(self.name).fd
        except posix_ipc.ExistentialError:
            return CacheStart(False, "nothing was left to take over")
        try:
            if not drop:
                return self._adopt()
        except Unfit as unfit:
            drop = str(unfit)
        log.warning("the cache starts empty; the segment %s that was left is removed: %s", self.name, drop)
        _unlink(self.name)
        os.close(self.fd)  # the memory must be free before it is asked for again
        self.fd = -1
        return CacheStart(False, drop)

    def _adopt(self) -> CacheStart:
        _check_file(self.fd, self.size_bytes)
        _be_alone(self.fd)
        began_s = time.monotonic()
        try:
            _allocate(self.fd, self.size_bytes)
            segment = self._map(create=False)
            try:
                kept = segment.adopt(time.monotonic_ns())
                faults = segment.audit()
                if faults:
                    raise Unfit(f"{len(faults)} faults found in it, the first: {faults[0]}")
            except BaseException:
                segment.close()
                raise
        except (SegmentError, OSError) as error:
            raise Unfit(str(error)) from error
        self.segment = segment
        start = CacheStart(True, "the last supervisor left it whole", kept["objects"], kept["damaged"])
        if start.damaged:
            start = replace(start, reason="the last supervisor left it, damaged in places")
        log.info(
            "the cache starts warm: %d objects kept, %d damaged ones dropped, in %.2f s",
            start.objects, start.damaged, time.monotonic() - began_s,
        )  # fmt: skip
        return start

    def _make(self) -> None:
        _check_room(self.size_bytes)
        self.fd = posix_ipc.SharedMemory(self.name, posix_ipc.O_CREX, mode=0o600).fd
        try:
            _lock(self.fd, 0)
            _reserve(self.fd, self.size_bytes)
            self.segment = self._map(create=True)
        except SegmentError as error:
            _unlink(self.name)
            raise BootError(f"the cache of {self.size_bytes} bytes cannot be laid out: {error}") from error
        except BaseException:
            _unlink(self.name)
            raise

    def _map(self, *, create: bool) -> Segment:
        return Segment(self.fd, self.size_bytes, create=create, boot_id=identity(), doorbells=self.doorbells)


def _check_file(fd: int, size_bytes: int) -> None:
    """Ours alone, since /dev/shm is everybody's, and of our size. Raises Unfit."""
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Unfit("it belongs to another user, or others may write to it")
    if found.st_size != size_bytes:
        raise Unfit(f"it has {found.st_size} bytes and the cache is to have {size_bytes}")


def _be_alone(fd: int) -> None:
    """Leave nobody else in the segment. Raises Unfit when that does not succeed.

    The lock tells, for whoever has the segment inherited its descriptor; the maps of processes only tell whom
    to end, and are not ours to read where a container forbids it.
    """
    if _lock(fd, 0):
        return
    log.warning(
        "processes of the supervisor that died still use the cache (%s): they have %g s to finish",
        _list(tenants(fd)), TENANT_PATIENCE_S,
    )  # fmt: skip
    if _lock(fd, TENANT_PATIENCE_S):
        return
    late = tenants(fd)
    log.warning("killing those that have not finished: %s", _list(late))
    gone = [kill(fd, pid) for pid in late]
    if not all(gone) or not _lock(fd, KILLED_S):
        raise Unfit("processes that cannot be ended use it")


def _lock(fd: int, patience_s: float) -> bool:
    """Take the segment for us and those we fork; whether nobody else has it."""
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_S)
        else:
            return True


def _list(pids: set[int]) -> str:
    return ", ".join(map(str, sorted(pids))) or "none that we may see"


def _unlink(name: str) -> None:
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        return


def _available_bytes() -> int:
    """What /dev/shm still takes: the file system's limit or the machine's free memory, whichever is less."""
    shm = os.statvfs(SHM)
    return min(shm.f_bavail * shm.f_frsize, psutil.virtual_memory().available)


def _no_room(size_bytes: int, available: int) -> BootError:
    return BootError(
        f"no memory for the cache: {size_bytes} bytes ({size_bytes // MIB} MiB) asked for, {available} bytes "
        f"({available // MIB} MiB) available in {SHM}; choose a smaller cache memory or enlarge {SHM} "
        "(mount -o remount,size=...)"
    )


def _check_room(size_bytes: int) -> None:
    available = _available_bytes()
    if size_bytes > available:
        raise _no_room(size_bytes, available)


def _reserve(fd: int, size_bytes: int) -> None:
    os.ftruncate(fd, size_bytes)
    try:
        _allocate(fd, size_bytes)
    except OSError as error:
        os.ftruncate(fd, 0)
        raise _no_room(size_bytes, _available_bytes()) from error


def _allocate(fd: int, size_bytes: int) -> None:
    """Give every page of the file its memory; those that have it keep it."""
    for start in range(0, size_bytes, _STEP):
        os.posix_fallocate(fd, start, min(_STEP, size_bytes - start))
