"""The real cache as a policy: a segment whose pages have the wanted size, filled with bodies of real size."""

import os
from types import TracebackType
from typing import Self

from shmcache.core import Segment

PAGE = 65_536
BOOT_ID = b"bench"
META = bytes(60)  # about what the edge keeps of a response's head beside its fields
FOREVER_NS = 1 << 62
REQUEST_NS = 1_000_000


class Core:
    """A segment of `capacity` bytes of pages; the tables (index, entries, ghosts) come on top.

    A key is 8 bytes and each body has 60 bytes of metadata beside it: head, key and metadata come out of the
    same pages, and so does the waste of the size classes. Use it as a context manager.
    """

    def __init__(self, capacity: int, stripes: int = 0) -> None:
        self.segment = _segment_with_pages(max(capacity // PAGE, 1), stripes)
        self.now_ns = 0
        self._body = memoryview(bytes(8 << 20))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.segment.close()

    def get(self, key: int) -> bool:
        self.now_ns += REQUEST_NS
        return self.segment.cache.get(key.to_bytes(8, "little"), self.now_ns) is not None

    def put(self, key: int, size: int) -> None:
        fill = self.segment.cache.begin(
            key.to_bytes(8, "little"), META, size,
            now_ns=self.now_ns, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS,
        )  # fmt: skip
        if fill is not None and fill.write(self._body[:size]):
            fill.publish()


def _create(size_bytes: int, stripes: int) -> Segment:
    fd = os.memfd_create("hit_ratio")
    try:
        os.ftruncate(fd, size_bytes)
        segment = Segment(fd, size_bytes, create=True, boot_id=BOOT_ID, stripes=stripes)
    finally:
        os.close(fd)
    return segment


def _segment_with_pages(pages: int, stripes: int) -> Segment:
    """The smallest segment with that many pages, to within one."""
    size_bytes = pages * PAGE * 105 // 100 + (4 << 20)
    for _ in range(8):
        segment = _create(size_bytes, stripes)
        missing = pages - segment.occupancy()["pages_total"]
        if not missing:
            break
        segment.close()
        size_bytes += missing * PAGE
    else:
        segment = _create(size_bytes, stripes)
    segment.join(0, 0)
    return segment
