"""What is done in a segment while somebody dies, and what must hold afterwards.

Every operation begins in a segment of known content; `check` is what the living may find after it broke off.
"""

from collections.abc import Callable
from typing import Any

from shmcache.core import FAILED, PUBLISHED
from tests.support.segments import FOREVER_NS, NOW_NS, get, put, sealed

DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
SMALL, LARGE = 3_000, 150_000
SOFT_NS = NOW_NS + 1
DIRECTORY, LONG = b"http://h/d/", b"l" * 600
SIZE = 13 << 18
CROWD = 420
VICTIM = 1
LEASE_NS = 1 << 40

Operation = Callable[[Any], object]


def prepare(segment: Any) -> None:
    """A few of everything, with room left."""
    assert put(segment, b"small", sealed(1, SMALL))
    assert put(segment, b"large", sealed(2, LARGE))
    for number in range(4):
        put(segment, b"bystander %d" % number, sealed(10 + number, 400 + 9_000 * number))


def crowd(segment: Any) -> None:
    """No free page, and free chunks in many classes."""
    prepare(segment)
    for number in range(CROWD):
        put(segment, b"crowd %d" % number, sealed(100 + number, (number * 997) % 14_000))
    for number in range(0, CROWD, 3):
        segment.cache.delete(b"crowd %d" % number)


def fill(segment: Any, key: bytes, seed: int, size: int) -> None:
    body = sealed(seed, size)
    filling = segment.cache.begin(key, b"m", None, **DATES)
    for at in range(0, len(body), 50_000):
        assert filling.write(body[at : at + 50_000])
    assert filling.publish()


def abandon(segment: Any) -> None:
    filling = segment.cache.begin(b"left", b"m", None, **DATES)
    assert filling.write(bytes(LARGE))
    filling.abort()


def pin_and_delete(segment: Any) -> None:
    hit = segment.cache.get(b"large", NOW_NS)
    segment.cache.delete(b"large")
    hit.body.release()


def evict(segment: Any) -> None:
    for number in range(12):
        put(segment, b"late %d" % number, sealed(300 + number, 6_000 + 400 * number))


def labelled(segment: Any) -> None:
    """Entries for every kind of purge to hit."""
    prepare(segment)
    for number, key in enumerate((DIRECTORY + b"x", LONG)):
        assert segment.cache.put(key, b"m", sealed(20 + number, 60_000 * number), tags=(b"t",), **DATES)


def expired_and_purged(segment: Any) -> None:
    labelled(segment)
    for number in range(3):
        dates = {"now_ns": NOW_NS, "fresh_until_ns": NOW_NS, "keep_until_ns": NOW_NS + 1}
        assert segment.cache.put(b"old %d" % number, b"m", sealed(30, 40_000 * number), **dates)
    segment.cache.purge_tag(b"t")
    segment.cache.purge_prefix(b"bystander 3", SOFT_NS)


def softened(segment: Any) -> None:
    prepare(segment)
    segment.cache.purge_all(SOFT_NS)


def share(segment: Any, key: bytes, size: int = LARGE) -> tuple[Any, int]:
    """A fill of the key that others may follow, all its bytes written; the ticket of its lease."""
    _, ticket = segment.leases.claim(key, NOW_NS, LEASE_NS)
    filling = segment.cache.begin(key, b"m", None, **DATES)
    body = sealed(3, size)
    assert filling.write(body[:100]) and filling.share(ticket)
    for at in range(100, len(body), 60_000):
        assert filling.write(body[at : at + 60_000])
    return filling, ticket


def follow(segment: Any) -> None:
    filling, ticket = share(segment, b"new")
    following = segment.cache.follow(b"new", ticket, NOW_NS)
    assert filling.publish()
    following.release()
    segment.leases.release(ticket, PUBLISHED)


def follow_what_is_abandoned(segment: Any) -> None:
    filling, ticket = share(segment, b"left")
    following = segment.cache.follow(b"left", ticket, NOW_NS)
    filling.abort()
    following.release()
    segment.leases.release(ticket, FAILED)


def follow_what_is_purged(segment: Any) -> None:
    filling, ticket = share(segment, b"left")
    following = segment.cache.follow(b"left", ticket, NOW_NS)
    segment.cache.purge_prefix(b"left")
    assert not filling.publish()
    following.release()


PURGES: dict[str, Callable[[Any, int], object]] = {
    "by key": lambda cache, soft_ns: cache.delete(b"large", soft_ns),
    "by tag": lambda cache, soft_ns: cache.purge_tag(b"t", soft_ns),
    "by directory": lambda cache, soft_ns: cache.purge_prefix(DIRECTORY, soft_ns),
    "by rule": lambda cache, soft_ns: cache.purge_prefix(b"bystand", soft_ns),
    "by sweep": lambda cache, soft_ns: cache.purge_prefix(LONG[:500], soft_ns),
    "of everything": lambda cache, soft_ns: cache.purge_all(soft_ns),
}


def purging(purge: Callable[[Any, int], object], soft_ns: int) -> Operation:
    return lambda segment: purge(segment.cache, soft_ns)


OPERATIONS: dict[str, tuple[Callable[[Any], None], Operation]] = {
    "put small": (prepare, lambda segment: put(segment, b"new", sealed(3, SMALL))),
    "put outside the lock": (prepare, lambda segment: put(segment, b"new", sealed(3, 20_000))),
    "put large": (prepare, lambda segment: put(segment, b"new", sealed(3, LARGE))),
    "put with a tail of two": (prepare, lambda segment: put(segment, b"new", sealed(3, 110_000))),
    "replace small": (prepare, lambda segment: put(segment, b"small", sealed(4, SMALL + 1))),
    "replace large": (prepare, lambda segment: put(segment, b"large", sealed(4, LARGE + 70_000))),
    "replace large by small": (prepare, lambda segment: put(segment, b"large", sealed(4, 10))),
    "delete small": (prepare, lambda segment: segment.cache.delete(b"small")),
    "delete large": (prepare, lambda segment: segment.cache.delete(b"large")),
    "fill": (prepare, lambda segment: fill(segment, b"new", 3, LARGE)),
    "fill over": (prepare, lambda segment: fill(segment, b"large", 4, LARGE)),
    "abandon": (prepare, abandon),
    "freshen small": (prepare, lambda segment: segment.cache.freshen(b"small", b"longer" * 9, **DATES)),
    "freshen large": (prepare, lambda segment: segment.cache.freshen(b"large", b"longer" * 99, **DATES)),
    "pin, delete, release": (prepare, pin_and_delete),
    **{f"purge {name}": (labelled, purging(purge, 0)) for name, purge in PURGES.items()},
    **{f"soften {name}": (labelled, purging(purge, SOFT_NS)) for name, purge in PURGES.items()},
    "crawl": (expired_and_purged, lambda segment: segment.cache.crawl(NOW_NS + 1, 512)),
    "share and follow": (prepare, follow),
    "follow what is abandoned": (prepare, follow_what_is_abandoned),
    "follow what is purged": (prepare, follow_what_is_purged),
    "freshen softened small": (softened, lambda segment: segment.cache.freshen(b"small", b"m" * 9, **DATES)),
    "freshen softened large": (softened, lambda segment: segment.cache.freshen(b"large", b"m" * 99, **DATES)),
    "evict": (crowd, evict),
    "evict for large": (crowd, lambda segment: put(segment, b"new", sealed(3, LARGE))),
}


def check(segment: Any, name: str, point: int) -> None:
    """Everything readable is whole; after reaping, everything is counted once."""
    where = f"{name}, fault point {point}"
    allowed: dict[bytes, tuple[bytes | None, ...]] = {
        b"small": (sealed(1, SMALL), sealed(4, SMALL + 1)),
        b"large": (sealed(2, LARGE), sealed(4, LARGE), sealed(4, LARGE + 70_000), sealed(4, 10)),
        b"new": (None, sealed(3, SMALL), sealed(3, 20_000), sealed(3, LARGE), sealed(3, 110_000)),
        b"left": (None,),
        DIRECTORY + b"x": (None, sealed(20, 0)),
        LONG: (None, sealed(21, 60_000)),
        **{b"old %d" % number: (None, sealed(30, 40_000 * number)) for number in range(3)},
    }
    removes = any(word in name for word in ("delete", "evict", "purge"))
    for key, bodies in allowed.items():
        body = get(segment, key)
        assert body in bodies or (removes and body is None), f"{where}: wrong body under {key!r}"
    for number in range(4):
        body = get(segment, b"bystander %d" % number)
        assert body == sealed(10 + number, 400 + 9_000 * number) or (removes and body is None), where
    assert put(segment, b"alive", sealed(5, SMALL)), where
    segment.reap(VICTIM)
    assert segment.audit() == [], where
    assert put(segment, b"alive", sealed(6, LARGE)), where
    assert get(segment, b"alive") == sealed(6, LARGE), where
