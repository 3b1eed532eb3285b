"""The named shared segment and its doorbells: made before the first fork, removed after the last child.

Knows the name, the size and the room there is; what lies inside is `shmcache`'s.
"""

import hashlib
import logging
import os
import uuid
from pathlib import Path

import posix_ipc
import psutil

from cluster.errors import BootError
from shmcache.core import MEMBERS, Segment
from shmcache.errors import SegmentError

log = logging.getLogger("edgecluster.supervisor")

SHM = Path("/dev/shm")
MIB = 1024**2
_STEP = 256 * MIB  # reserve in steps, so that a signal does not make the kernel start all over


def segment_name(state_dir: Path) -> str:
    """The POSIX name of the segment of that state directory, the same at every start."""
    digest = hashlib.blake2b(os.fsencode(state_dir.resolve()), digest_size=8).hexdigest()
    return f"/edgecluster-{digest}"


def boot_id() -> bytes:
    """16 bytes that change with every boot of the kernel."""
    return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes


def open_doorbells() -> list[int]:
    """One eventfd per member, inherited by every process so that anyone can ring anyone."""
    return [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(MEMBERS)]


class NamedSegment:
    """Our segment under its name in /dev/shm."""

    def __init__(self, state_dir: Path, size_bytes: int) -> None:
        """Create, reserve and lay out `size_bytes`.

        Every page is reserved now: too little memory is a BootError here, never a SIGBUS later. What a
        dead supervisor of the same state directory left under our name is removed first; the caller
        holds that directory's lock, so nobody lives in it.
        """
        self.name = segment_name(state_dir)
        try:
            if _unlink(self.name):
                log.warning(
                    "removed the segment %s left by a supervisor that died; the cache starts empty", self.name
                )
            _check_room(size_bytes)
            self.fd: int = posix_ipc.SharedMemory(self.name, posix_ipc.O_CREX, mode=0o600).fd
        except (posix_ipc.Error, OSError) as error:
            raise BootError(
                f"cannot make the shared segment {SHM}{self.name}: {error}; {SHM} must be a tmpfs we may "
                "write to, and a file of that name must be ours"
            ) from error
        self.doorbells: list[int] = []
        try:
            _reserve(self.fd, size_bytes)
            self.doorbells = open_doorbells()
            self.segment = Segment(
                self.fd, size_bytes, create=True, boot_id=boot_id(), doorbells=self.doorbells
            )
        except SegmentError as error:
            self.close()
            raise BootError(f"the cache of {size_bytes} bytes cannot be laid out: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the name and our handles. The memory goes when the last process that maps it is gone."""
        _unlink(self.name)
        for fd in (self.fd, *self.doorbells):
            os.close(fd)
        self.doorbells = []

    def filenos(self) -> set[int]:
        return {self.fd, *self.doorbells}


def _unlink(name: str) -> bool:
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        return False
    return True


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
    for start in range(0, size_bytes, _STEP):
        try:
            os.posix_fallocate(fd, start, min(_STEP, size_bytes - start))
        except OSError as error:
            os.ftruncate(fd, 0)
            raise _no_room(size_bytes, _available_bytes()) from error
