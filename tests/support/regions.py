"""Segments for tests of leases, buckets and statistics, and their C compiled with fault points."""

import ctypes
import mmap
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import shmcache
from shmcache.core import MEMBERS, Segment

SOURCES = Path(shmcache.__file__).parent
TESTS = Path(__file__).parents[1] / "shmcache"
FAULT_POINT, HAMMER = TESTS / "fault_point.c", TESTS / "hammer.c"
BOOT_ID = b"a boot"
SEGMENT_BYTES = 16 * 1024**2


@contextmanager
def open_segment(size_bytes: int = SEGMENT_BYTES) -> Iterator[tuple[Segment, list[int]]]:
    """A fresh segment and its doorbells, one per member; not joined, all gone at the end."""
    with doorbells() as bells:
        fd = os.memfd_create("segment")
        try:
            os.ftruncate(fd, size_bytes)
            segment = Segment(fd, size_bytes, create=True, boot_id=BOOT_ID, doorbells=bells)
        finally:
            os.close(fd)
        try:
            yield segment, bells
        finally:
            segment.close()


@contextmanager
def doorbells() -> Iterator[list[int]]:
    """One eventfd per member."""
    bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(MEMBERS)]
    try:
        yield bells
    finally:
        for bell in bells:
            os.close(bell)


def is_rung(bell: int) -> bool:
    """Whether the doorbell rang since the last look."""
    try:
        return os.eventfd_read(bell) > 0
    except BlockingIOError:
        return False


def compile_c(target: Path, sources: Sequence[Path], *flags: str) -> None:
    """Compile C files of the package for a test; skips the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc): install gcc to run this test")
    machine = ["-mcx16"] if platform.machine() == "x86_64" else []
    command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", *machine, f"-I{SOURCES}", *flags]
    subprocess.run([*command, *map(str, sources), "-lpthread", "-o", str(target)], check=True)


def compile_hammer(target: Path, *flags: str) -> None:
    """Compile tests/shmcache/hammer.c."""
    tested = ("bucket", "window", "score", "presence", "lease", "counter")
    compile_c(target, [HAMMER, *(SOURCES / f"{name}.c" for name in tested)], "-DSHM_FAULTS", *flags)


class LeaseTable(ctypes.Structure):
    """struct lease_table of lease.h."""

    _fields_ = (
        ("region", ctypes.c_void_p),
        ("cells", ctypes.c_size_t),
        ("doorbells", ctypes.POINTER(ctypes.c_int)),
        ("member", ctypes.c_int),
        ("epoch", ctypes.c_uint32),
        ("statistics", ctypes.c_void_p),
    )


class FaultyLeases:
    """lease.c with fault points, over memory shared with forked children. One bucket of four cells."""

    CELLS = 4
    STATISTICS_AT = 4096

    def __init__(self, directory: Path, bells: Sequence[int]) -> None:
        library = directory / "faulty.so"
        if not library.exists():
            sources = [SOURCES / "lease.c", SOURCES / "counter.c", FAULT_POINT]
            compile_c(library, sources, "-DSHM_FAULTS", "-shared", "-fPIC")
        self.c = ctypes.CDLL(str(library))
        self.c.lease_reap.restype = self.c.counter_region_bytes.restype = ctypes.c_size_t
        self._memory = mmap.mmap(-1, self.STATISTICS_AT + self.c.counter_region_bytes())
        self._bells = (ctypes.c_int * MEMBERS)(*bells)
        region = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.table = LeaseTable(region, self.CELLS, self._bells, -1, 1, region + self.STATISTICS_AT)
        self.clear()

    def clear(self) -> None:
        self.c.lease_init(ctypes.c_void_p(self.table.region), ctypes.c_size_t(self.CELLS))

    def become(self, member: int) -> None:
        self.table.member = member

    def claim(self, key: int, now_ns: int = 0, lease_ns: int = 10**9) -> tuple[int, int]:
        ticket = ctypes.c_uint64()
        answer = self.c.lease_claim(
            ctypes.byref(self.table),
            ctypes.c_uint64(key),
            ctypes.c_uint64(now_ns),
            ctypes.c_uint64(lease_ns),
            ctypes.byref(ticket),
        )
        return answer, ticket.value

    def ending(self, ticket: int, now_ns: int = 0) -> int:
        return int(
            self.c.lease_ending(ctypes.byref(self.table), ctypes.c_uint64(ticket), ctypes.c_uint64(now_ns))
        )

    def renew(self, ticket: int, now_ns: int, lease_ns: int) -> bool:
        return self._did(self.c.lease_renew, ticket, ctypes.c_uint64(now_ns), ctypes.c_uint64(lease_ns))

    def announce(self, ticket: int, note: int) -> bool:
        return self._did(self.c.lease_announce, ticket, ctypes.c_uint64(note))

    def note(self, ticket: int) -> int | None:
        note = ctypes.c_uint64()
        return note.value if self._did(self.c.lease_note, ticket, ctypes.byref(note)) else None

    def progress(self, ticket: int) -> bool:
        return self._did(self.c.lease_progress, ticket)

    def release(self, ticket: int, ending: int) -> bool:
        return self._did(self.c.lease_release, ticket, ctypes.c_int(ending))

    def _did(self, function: Callable[..., int], ticket: int, *arguments: object) -> bool:
        return bool(function(ctypes.byref(self.table), ctypes.c_uint64(ticket), *arguments) & 0xFF)

    def reap(self, member: int, epoch: int = 1) -> int:
        return int(self.c.lease_reap(ctypes.byref(self.table), member, ctypes.c_uint32(epoch)))

    def raise_at(self, point: int, number: signal.Signals) -> None:
        """Get that signal at the point-th fault point from now on."""
        self.c.fault_arm(ctypes.c_long(point), ctypes.c_int(number))
