"""Segments for tests of the cache core, children that die in it, and the core built with fault points."""

import importlib.util
import os
import platform
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shmcache import core
from shmcache.core import Segment

ROOT = Path(core.__file__).parents[1]
BOOT_ID = b"the boot of this test"
NOW_NS = 1_000
FOREVER_NS = 1 << 60


def regions_of(header: bytes) -> dict[str, int]:
    """Where each region of layout.h begins, by the first bytes of a segment."""
    text = (ROOT / "shmcache/layout.h").read_text()
    names = re.findall(r"^    REGION_(\w+),", text, re.MULTILINE)
    return dict(zip(names, struct.unpack_from(f"<{len(names)}Q", header, 136), strict=True))


@contextmanager
def cache_segment(
    size_bytes: int = 16 << 20, *, module: Any = core, content: bytes = b"", **sizes: int
) -> Iterator[Segment]:
    """A fresh segment, or one that begins with a `picture` of another, joined as member 0, gone at the end.

    `sizes`: stripes, entries.
    """
    fd = os.memfd_create("segment")
    try:
        os.write(fd, content)
        os.ftruncate(fd, size_bytes)
        segment = module.Segment(fd, size_bytes, create=not content, boot_id=BOOT_ID, **sizes)
    finally:
        os.close(fd)
    try:
        segment.join(0, NOW_NS)
        yield segment
    finally:
        segment.close()


def picture(work: Callable[[Segment], object], size_bytes: int, *, module: Any = core, **sizes: int) -> bytes:
    """All bytes of a segment in which `work` has been done: any number of others can begin with them."""
    fd = os.memfd_create("picture")
    try:
        os.ftruncate(fd, size_bytes)
        segment = module.Segment(fd, size_bytes, create=True, boot_id=BOOT_ID, **sizes)
        segment.join(0, NOW_NS)
        work(segment)
        segment.close()
        return os.pread(fd, size_bytes, 0)
    finally:
        os.close(fd)


def put(segment: Segment, key: bytes, body: bytes, meta: bytes = b"meta") -> bool:
    """Store with deadlines far away."""
    return segment.cache.put(
        key, meta, body, now_ns=NOW_NS, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS
    )


def whole(body: Any) -> bytes:
    """The bytes of a Hit's body, copied out of the segment when it was pinned."""
    return body if isinstance(body, bytes) else b"".join(body.views())


def get(segment: Segment, key: bytes) -> bytes | None:
    """The stored body as bytes."""
    hit = segment.cache.get(key, NOW_NS)
    return None if hit is None else whole(hit.body)


@lru_cache(maxsize=1_000)
def sealed(seed: int, size: int) -> bytes:
    """A body of that size which `is_sealed` recognises as whole, different for every seed."""
    return seed.to_bytes(8, "big") + random.Random(seed).randbytes(size)


def is_sealed(body: bytes) -> bool:
    """Whether these are exactly the bytes `sealed` made."""
    return body == sealed(int.from_bytes(body[:8], "big"), len(body) - 8)


def was_killed(pid: int) -> bool:
    """Wait for a child: True if SIGKILL ended it, False if it came to its end; anything else is an error."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def build_faulty_core(directory: Path) -> None:
    """Compile shmcache.core with fault points."""
    compiler = shutil.which("cc")
    if compiler is None or importlib.util.find_spec("Cython") is None:
        pytest.skip(
            "fault points need a C compiler and Cython: apt-get install gcc; pip install 'Cython>=3.1'"
        )
    files = [str(source) for source in sorted((ROOT / "shmcache").glob("*.c"))]
    generated, library = directory / "core.c", directory / "core.so"
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", "shmcache.core", "-o", str(generated)]
    subprocess.run([*cython, str(ROOT / "shmcache/core.pyx")], check=True, cwd=ROOT)
    flags = ["-shared", "-fPIC", "-O0", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-DSHM_FAULTS"]
    flags += ["-mcx16"] if platform.machine() == "x86_64" else []
    include = [f"-I{sysconfig.get_path('include')}", f"-I{ROOT / 'shmcache'}"]
    subprocess.run(
        [compiler, *flags, *include, str(generated), *files, "-lpthread", "-o", str(library)], check=True
    )


def load_faulty_core(directory: Path) -> ModuleType:
    """What was built there, as a module of its own beside the real one."""
    spec = importlib.util.spec_from_file_location("faulty.core", directory / "core.so")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
