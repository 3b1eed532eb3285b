"""The bytes of a segment, for tests that look behind its face: read, damage, foresee where hashes fall."""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import xxhash

from shmcache import core
from shmcache.core import Segment
from tests.support.regions import compile_c
from tests.support.segments import BOOT_ID, NOW_NS

SOFT_SHARE = 8
LEVELS = 8

_PROBE = """
#include <stdio.h>
#include "layout.h"
#define SAY(what, field) printf(#what "." #field " %zu %zu\\n", offsetof(struct what, field), \\
                                sizeof(((struct what *)0)->field))
int main(void) {
    SAY(header, seed); SAY(header, tags); SAY(header, stripes); SAY(header, per_stripe);
    printf("header.entries %zu 8\\n", offsetof(struct header, region) + 8 * REGION_ENTRIES);
    SAY(entry, ctl); SAY(entry, size); SAY(entry, head); SAY(entry, list); SAY(entry, tail);
    SAY(entry, npages); SAY(entry, large); SAY(entry, hash_lo); SAY(entry, pins); SAY(entry, body_sum);
    SAY(head, chunk); SAY(head, meta_len); SAY(head, key_len); SAY(head, tags); SAY(head, flags);
    SAY(head, fresh_until_ns); SAY(head, keep_until_ns); SAY(head, swr); SAY(head, sie);
    printf("entry.bytes 0 %zu\\nhead.bytes 0 %zu\\n", sizeof(struct entry), sizeof(struct head));
    printf("unit.bytes 0 %d\\n", SHM_UNIT);
    return 0;
}
"""


@cache
def layout() -> dict[str, tuple[int, int]]:
    """Offset and size of the fields of layout.h, as the compiler laid them out."""
    with tempfile.TemporaryDirectory() as directory:
        source, program = Path(directory) / "probe.c", Path(directory) / "probe"
        source.write_text(_PROBE)
        compile_c(program, [source])
        told = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    fields = (line.split() for line in told.splitlines())
    return {name: (int(offset), int(size)) for name, offset, size in fields}


class Memory:
    """The segment behind a descriptor. Fields are named as in layout.h: "entry.size"."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, at: int, field: str) -> int:
        """The field of the struct that lies at `at`, an unsigned number."""
        offset, size = layout()[field]
        return int.from_bytes(os.pread(self.fd, size, at + offset), "little")

    def flip(self, at: int, bit: int = 0) -> None:
        """Turn over one bit of the byte at `at`."""
        (byte,) = os.pread(self.fd, 1, at)
        os.pwrite(self.fd, bytes([byte ^ 1 << bit]), at)

    def entry(self, key: bytes) -> int:
        """Where the entry of the key lies that was stored last."""
        first, size = self.read(0, "header.entries"), layout()["entry.bytes"][1]
        count = self.read(0, "header.stripes") * self.read(0, "header.per_stripe")
        hash_lo = xxhash.xxh3_128_intdigest(key, self.read(0, "header.seed")) & (1 << 64) - 1
        here = [
            at
            for at in range(first, first + count * size, size)
            if self.read(at, "entry.hash_lo") == hash_lo and self.read(at, "entry.ctl") & 0xFF == 2
        ]
        (at,) = here
        return at

    def head(self, key: bytes) -> int:
        """Where the head chunk of that entry lies."""
        return self.read(self.entry(key), "entry.head") * layout()["unit.bytes"][1]

    def find(self, needle: bytes) -> int:
        """Where these bytes lie, once in the whole segment."""
        data = os.pread(self.fd, os.fstat(self.fd).st_size, 0)
        assert data.count(needle) == 1
        return data.index(needle)


def directories(key: bytes) -> list[bytes]:
    """The prefixes of a key that purge.h takes for its directories."""
    path = key.partition(b"?")[0]
    ends = [at for at in range(1, len(path)) if path[at : at + 1] == b"/" and path[at - 1] not in b"/:"]
    return [key[: at + 1] for at in ends[:LEVELS]]


def _slots(seed: int, count: int, keys: Iterable[bytes], tags: Iterable[bytes]) -> list[int]:
    """Which of `count` purge marks are those of these keys, their directories and these tags."""
    wholes = [xxhash.xxh3_128_intdigest(key, seed) for key in set(keys)]
    levels = {level for key in keys for level in directories(key)}
    slots = [(whole & (1 << 64) - 1) >> 16 ^ whole >> 64 for whole in wholes]
    slots += [xxhash.xxh3_64_intdigest(level, seed ^ 0x646972) for level in levels]
    slots += [xxhash.xxh3_64_intdigest(tag, seed ^ 0x746167) for tag in set(tags)]
    return [slot % count for slot in slots]


@cache
def _distinct_seed(count: int, keys: tuple[bytes, ...], tags: tuple[bytes, ...]) -> int:
    """The first seed under which no two of these names share a mark, hard or soft."""
    seed = 1
    while len(marks := [slot // SOFT_SHARE for slot in _slots(seed, count, keys, tags)]) > len(set(marks)):
        seed += 1
    return seed


@contextmanager
def distinct_segment(
    size_bytes: int = 16 << 20,
    *,
    keys: Sequence[bytes] = (),
    tags: Sequence[bytes] = (),
    module: Any = core,
    doorbells: Sequence[int] = (),
    **sizes: int,
) -> Iterator[tuple[Segment, int]]:
    """A segment, joined as member 0, and its descriptor; no two of these names share a purge mark in it.

    Its secret is no random one, so that what is done with it can be done again.
    """
    fd = os.memfd_create("segment")
    try:
        os.ftruncate(fd, size_bytes)
        segment = module.Segment(fd, size_bytes, create=True, boot_id=BOOT_ID, doorbells=doorbells, **sizes)
        seed = _distinct_seed(Memory(fd).read(0, "header.tags"), tuple(keys), tuple(tags))
        os.pwrite(fd, seed.to_bytes(8, "little"), layout()["header.seed"][0])
        try:
            segment.join(0, NOW_NS)
            yield segment, fd
        finally:
            segment.close()
    finally:
        os.close(fd)


@contextmanager
def another_handle(
    fd: int, member: int, module: Any = core, doorbells: Sequence[int] = ()
) -> Iterator[Segment]:
    """The same segment mapped once more, joined as another member: what another process would see."""
    size_bytes = os.fstat(fd).st_size
    segment = module.Segment(fd, size_bytes, create=False, boot_id=BOOT_ID, doorbells=doorbells)
    try:
        segment.join(member, NOW_NS)
        yield segment
    finally:
        segment.close()
