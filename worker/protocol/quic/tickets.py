"""Where session tickets lie, so that any worker can resume what another began (RFC 8446 4.6.1).

In the cache that all workers share, each under a name that only the client knows. Taking a ticket deletes it,
and of several who try at once exactly one gets it: so early data is safe from replay (RFC 8446 8.1).
"""

import time
from typing import Protocol

from shmcache.core import Cache, SegmentError

LIFETIME_S = 2 * 3600  # most returns come soon; each ticket takes room from what is cached
_KEY = b"\0quic/"  # no request's key begins like this


class Tickets(Protocol):
    """A store of small secrets."""

    def keep(self, name: bytes, value: bytes) -> None:
        """Have `value` ready under `name`, for some time; it may be lost."""
        ...

    def take(self, name: bytes) -> bytes | None:
        """What was kept under `name`, at most once."""
        ...


class SegmentTickets:
    """Tickets in the segment."""

    def __init__(self, cache: Cache, lifetime_s: float = LIFETIME_S) -> None:
        self._cache = cache
        self._lifetime_ns = int(lifetime_s * 1e9)

    def keep(self, name: bytes, value: bytes) -> None:
        now_ns = time.monotonic_ns()
        end_ns = now_ns + self._lifetime_ns
        self._cache.put(_KEY + name, b"", value, now_ns=now_ns, fresh_until_ns=end_ns, keep_until_ns=end_ns)

    def take(self, name: bytes) -> bytes | None:
        key = _KEY + name
        found = self._cache.get(key, time.monotonic_ns())
        try:
            if found is None or not self._cache.delete(key):  # another worker was faster
                return None
        except SegmentError:  # nobody knows whether another will get it
            return None
        return bytes(found.body) if isinstance(found.body, bytes) else found.body.copy_out()
