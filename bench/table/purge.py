"""100,000 objects with one tag: what the call that purges them takes, and that no worker serves one then."""

import os
import time

from bench.table import stores
from shmcache.core import Segment

OBJECTS, WORKERS, TAG = 100_000, 4, b"everything of this product"
TARGET_NS = 10_000


def key_of(number: int) -> bytes:
    """A key as long as a request's."""
    return f"https://example.org/static/{number:06}.js".encode()


def hits(segment: Segment, member: int) -> int:
    """How many of the objects a worker gets, however fresh."""
    segment.join(member, stores.NOW_NS)
    return sum(segment.cache.get(key_of(number), stores.NOW_NS) is not None for number in range(OBJECTS))


def hits_of_workers(segment: Segment) -> list[int]:
    """The same, asked by WORKERS processes at once."""
    reports = []
    for member in range(1, WORKERS + 1):
        reading, writing = os.pipe()
        if not os.fork():
            os.write(writing, str(hits(segment, member)).encode())
            os._exit(0)
        os.close(writing)
        reports.append(reading)
    found = []
    for report in reports:
        with os.fdopen(report, "rb") as pipe:
            found.append(int(pipe.read()))
        os.wait()
    return found


def fill(segment: Segment) -> None:
    """Store the objects, and one that does not carry the tag."""
    for number in range(OBJECTS):
        if not segment.cache.put(key_of(number), b"", bytes(300), tags=(TAG,), **stores.DATES):
            raise RuntimeError("not stored")
    segment.cache.put(b"another", b"", b"body", tags=(b"another product",), **stores.DATES)


def timed_purge(segment: Segment, tag: bytes) -> int:
    """Nanoseconds by the clock."""
    begun_ns = time.perf_counter_ns()
    segment.cache.purge_tag(tag)
    return time.perf_counter_ns() - begun_ns


def run() -> None:
    """Measure and print; RuntimeError when a purged object is served or another is not."""
    with stores.segment(entries=2 * OBJECTS) as segment:
        fill(segment)
        timed_purge(segment, b"a tag of nobody")
        before = hits_of_workers(segment)
        if before != [OBJECTS] * WORKERS:
            raise RuntimeError(f"only {before} of {OBJECTS} objects are there")
        timed_purge(segment, b"a tag of nobody")  # forking left every page of this process to be copied
        spent_ns = timed_purge(segment, TAG)
        after = hits_of_workers(segment)
        if any(after) or segment.cache.get(b"another", stores.NOW_NS) is None:
            raise RuntimeError(f"after the purge the workers got {after} objects")
    verdict = "met" if spent_ns <= TARGET_NS else "missed"
    print(f"purge of a tag on {OBJECTS} objects: one call of {spent_ns / 1000:.2f} us")
    print(f"at most {TARGET_NS / 1000:.0f} us: {verdict}")
    print(f"hits of {WORKERS} workers that ask for all of them: {before} before, {after} after")
