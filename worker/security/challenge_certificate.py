"""The certificates that prove to an authority that a name is ours (RFC 8737), on their way to the workers.

The control process puts them into the segment, any worker finds them. They are good for one challenge and for
nothing else, and so are their keys.
"""

import time

from shmcache.core import Cache
from worker.security.challenge import KEEP_S

_KEY = b"\0acme-tls/"  # no request's key begins like this


def publish_certificate(cache: Cache, name: str, certificate: bytes, key: bytes) -> bool:
    """Let every worker show `certificate` (DER, and so is `key`) for `name`; whether there was room."""
    now_ns = time.monotonic_ns()
    end_ns = now_ns + KEEP_S * 1_000_000_000
    both = len(certificate).to_bytes(4, "big") + certificate + key
    return cache.put(
        _KEY + name.encode(), b"", both, now_ns=now_ns, fresh_until_ns=end_ns, keep_until_ns=end_ns
    )


def withdraw_certificate(cache: Cache, name: str) -> None:
    """The challenge is over."""
    cache.delete(_KEY + name.encode())


def find_certificate(cache: Cache, name: str) -> tuple[bytes, bytes] | None:
    """Certificate and key that were put down for `name`."""
    found = cache.get(_KEY + name.encode(), time.monotonic_ns())
    if found is None:
        return None
    both = bytes(found.body) if isinstance(found.body, bytes) else found.body.copy_out()
    end = 4 + int.from_bytes(both[:4], "big")
    return both[4:end], both[end:]
