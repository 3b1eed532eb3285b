"""Removing stored responses: by URL, prefix, host, tag or all, and after unsafe methods (RFC 9111 4.4).

A hard purge removes; a soft one makes stale from now on, so that what may be served stale still is, while the
origin is asked. Either takes effect in all workers at once, and wins over fetches begun before it: they are
answered, but not stored, or stored as stale.

No mark is left under a purged key: the segment refuses fetches of a deleted key that began before, and so the
record that would lead to a variant. Should a fetch begun after the purge have written a record already, then
its generation refuses the variants that are older than it (`store.Store`). What a record cannot tell,
softness, and what has no record, the keys of a route with more parts than the URL, is reached by the URL's
own tag (`tags.url_tag`). It is not used for nothing: after a purge by tag, every entry is looked at again at
its next hit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

from shmcache.core import Cache
from worker.cache.entry import HIT_FOR_MISS, VARY
from worker.cache.key import cache_key, host_of, request_of_url
from worker.cache.tags import url_tag
from worker.fields import Fields
from worker.message import Request
from worker.reasons import PurgeKind

KeyOf = Callable[[Request], bytes]

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})  # RFC 9110 9.2.1
SCHEMES = (b"http", b"https")


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did."""

    kind: PurgeKind
    target: str  # as it was asked for; "" of all
    soft: bool
    generation: int  # of the cache, after it
    found: bool | None = None  # of a URL: was something stored? None: nobody looked


class Purge:
    """Purges for whoever may ask, from outside any request.

    `key_of` gives the primary key of a request as its route makes it, `normalize` is the normalise gate: so
    any spelling of a URL finds the key that requests for it find. What cannot be meant raises ValueError, or
    what the gate raises; then nothing was purged.
    """

    def __init__(
        self,
        cache: Cache,
        key_of: KeyOf = cache_key,
        normalize: Callable[[Request], None] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._cache = cache
        self._key_of = key_of
        self._normalize = normalize
        self._clock = clock

    def url(self, url: str, *, soft: bool = False) -> Purged:
        """Every variant of one absolute URL."""
        key = self.key(url)
        now_ns = self._clock()
        found = purge_key(self._cache, key, now_ns, soft=soft)
        return Purged(PurgeKind.URL, url, soft, self._cache.generation(), found)

    def prefix(self, prefix: str, *, soft: bool = False) -> Purged:
        """Every URL that begins like this one, which has at least a host and a slash.

        The path is taken in its normal form, the query as it is.
        """
        return Purged(
            PurgeKind.PREFIX, prefix, soft, self._cache.purge_prefix(self.beginning(prefix), self._ns(soft))
        )

    def host(self, host: str, *, soft: bool = False) -> Purged:
        """Every URL of a host, of both schemes; with the port that is named, or with none."""
        for beginning in self.beginnings(host):
            generation = self._cache.purge_prefix(beginning, self._ns(soft))
        return Purged(PurgeKind.HOST, host, soft, generation)

    def tag(self, tag: str, *, soft: bool = False) -> Purged:
        """Every response that its origin gave this tag."""
        return Purged(PurgeKind.TAG, tag, soft, self._cache.purge_tag(self.label(tag), self._ns(soft)))

    def everything(self, *, soft: bool = False) -> Purged:
        """All that is stored."""
        return Purged(PurgeKind.ALL, "", soft, self._cache.purge_all(self._ns(soft)))

    def key(self, url: str) -> bytes:
        """The primary key of a request for an absolute URL that has no fields."""
        return self._key_of(self._request(url))

    def beginning(self, prefix: str) -> bytes:
        """The beginning that the keys of all URLs under `prefix` have."""
        return cache_key(self._request(prefix))

    def beginnings(self, host: str) -> list[bytes]:
        """The beginnings that the keys of a host's URLs have."""
        return [scheme + b"://" + host_of(host, scheme) + b"/" for scheme in SCHEMES]

    def label(self, tag: str) -> bytes:
        """A tag as stored responses carry it."""
        raw = tag.strip().encode()
        if not raw or b"," in raw or any(byte < 0x20 or byte == 0x7F for byte in raw):
            raise ValueError(f"{tag!r} is no tag: tags are not empty and have no comma or control character")
        return raw

    def _request(self, url: str) -> Request:
        request = request_of_url(url)
        if self._normalize is not None:
            self._normalize(request)
        return request

    def _ns(self, soft: bool) -> int:
        return self._clock() if soft else 0


def purge_key(cache: Cache, key: bytes, now_ns: int, *, soft: bool = False) -> bool | None:
    """Purge what lies under the URL of a primary key, whatever the key's other parts; was something there?

    None: not known without looking at every entry, because the key has other parts.
    """
    soft_ns = now_ns if soft else 0
    url, parts, _ = key.partition(b"\0")
    hit = cache.get(url, now_ns)
    cache.delete(url, soft_ns)
    if soft or parts or (hit is not None and hit.flags & VARY):
        cache.purge_tag(url_tag(url), soft_ns)
    if hit is not None and not hit.flags & HIT_FOR_MISS:
        return True
    return None if parts else False


def invalidate(
    cache: Cache, request: Request, status: int, fields: Fields, now_ns: int, key_of: KeyOf = cache_key
) -> None:
    """After an unsafe method: forget its target, and Location and Content-Location of the same origin.

    Only a non-error answer (2xx, 3xx) invalidates (RFC 9111 4.4).
    """
    if request.method in SAFE_METHODS or not 200 <= status < 400:
        return
    purge_key(cache, key_of(request), now_ns)
    for name in (b"location", b"content-location"):
        value = fields.get(name)
        if value is None:
            continue
        try:
            other = request_of_url(urljoin(cache_key(request), value).decode("ascii"))
        except ValueError:  # not a URL we could have stored anything for
            continue
        if (other.scheme, other.host) == (request.scheme, request.host):
            purge_key(cache, key_of(other), now_ns)
