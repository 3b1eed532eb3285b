"""Removing stored responses by key: for the admin API, and for unsafe methods that succeed (RFC 9111 4.4).

What is removed leaves a small mark with its time, so that a fetch begun before cannot store afterwards what
the purge was meant to remove. All variants of a key go with the record that leads to them.
"""

import time
from collections.abc import Callable
from urllib.parse import urljoin

from shmcache.core import Cache
from worker.cache.entry import HIT_FOR_MISS, PURGED, SECOND_NS, encode_moment
from worker.cache.key import cache_key, key_of_url, request_of_url
from worker.fields import Fields
from worker.message import Request

# Longer than a fetch usually takes from its beginning to the last byte of its body.
_REMEMBERED_NS = 600 * SECOND_NS
SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})  # RFC 9110 9.2.1


def purge_key(cache: Cache, key: bytes, now_ns: int) -> bool:
    """Remove what lies under a primary key, every variant of it; True if a response was there."""
    hit = cache.get(key, now_ns)
    cache.delete(key)
    until_ns = now_ns + _REMEMBERED_NS
    cache.put(
        key, encode_moment(now_ns), b"",
        now_ns=now_ns, fresh_until_ns=until_ns, keep_until_ns=until_ns, flags=PURGED,
    )  # fmt: skip
    return hit is not None and not hit.flags & (PURGED | HIT_FOR_MISS)


def purge_url(
    cache: Cache,
    url: str,
    *,
    normalize: Callable[[Request], None] | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
) -> bool:
    """Remove the response stored for an absolute URL, every variant of it; True if one was there.

    `normalize` is the normalise gate, so that any spelling of the URL finds the key that requests for it
    find. Raises ValueError (or what the gate raises) for what no request could ask for.
    """
    request = request_of_url(url)
    if normalize is not None:
        normalize(request)
    return purge_key(cache, cache_key(request), clock())


def invalidate(cache: Cache, request: Request, status: int, fields: Fields, now_ns: int) -> None:
    """After an unsafe method: forget its target, and Location and Content-Location of the same origin.

    Only a non-error answer (2xx, 3xx) invalidates (RFC 9111 4.4).
    """
    if request.method in SAFE_METHODS or not 200 <= status < 400:
        return
    purge_key(cache, cache_key(request), now_ns)
    origin = request.scheme + b"://" + request.host + b"/"
    for name in (b"location", b"content-location"):
        value = fields.get(name)
        if value is None:
            continue
        try:
            key = key_of_url(urljoin(cache_key(request), value).decode("ascii"))
        except ValueError:  # not a URL we could have stored anything for
            continue
        if key.startswith(origin):
            purge_key(cache, key, now_ns)
