"""What the cache holds, as plain data for people and programs to look at. Changes nothing.

Looking at everything takes a while (20 ms measured for 700,000 objects of which few match): call it from a
thread.
"""

from contextlib import suppress
from typing import Any

from shmcache.core import EXPIRED, FRESH, STALE_IF_ERROR, STALE_WHILE_REVALIDATE, Entry, Segment
from worker.cache.entry import HIT_FOR_MISS, NO_CACHE, SECOND_NS, VARY, DamagedEntry, decode, decode_record

LOOKED_AT = 1024  # entries asked for at once

VERDICTS = {
    FRESH: "fresh",
    STALE_WHILE_REVALIDATE: "stale-while-revalidate",
    STALE_IF_ERROR: "stale-if-error",
    EXPIRED: "stale",
}


def listed(segment: Segment, prefix: bytes, limit: int, now_ns: int) -> tuple[list[dict[str, Any]], bool]:
    """At most `limit` stored responses whose keys begin with `prefix`, by URL; whether there are more."""
    found: list[Entry] = []
    after = 0
    while len(found) <= limit:
        some, after = segment.cache.entries(after, LOOKED_AT, now_ns, prefix)
        # A key that begins with NUL is no URL's.
        found += (
            entry for entry in some
            if not entry.flags & (VARY | HIT_FOR_MISS) and not entry.key.startswith(b"\0")
        )  # fmt: skip
        if not after:
            break
    shown = [outline(entry, now_ns) for entry in found[:limit]]
    return sorted(shown, key=lambda entry: str(entry["url"])), len(found) > limit


def outline(entry: Entry, now_ns: int) -> dict[str, Any]:
    """One stored response as a list shows it."""
    url, parts, _ = entry.key.partition(b"\0")
    return {
        "url": url.decode("latin-1"),
        "variant": bool(parts),  # one of several that the URL may have
        "size": entry.size,
        "stored_bytes": entry.stored_bytes,
        # What has to be validated for every request is never fresh.
        "verdict": "stale" if entry.flags & NO_CACHE else VERDICTS[entry.verdict],
        "ttl_s": (entry.fresh_until_ns - now_ns) // SECOND_NS,
        "keep_s": (entry.keep_until_ns - now_ns) // SECOND_NS,
        "tags": entry.tags - bool(parts),  # one is the URL's own
    }


def of_url(segment: Segment, url: bytes, now_ns: int) -> dict[str, Any]:
    """All that is stored under the URL of a key: responses, the fields they vary by, whether it is known that
    what the origin sends cannot be shared."""
    entries: list[Entry] = []
    after = 0
    while True:
        some, after = segment.cache.entries(after, LOOKED_AT, now_ns, url)
        entries += (entry for entry in some if entry.key == url or entry.key.startswith(url + b"\0"))
        if not after:
            break
    responses = [
        told for entry in entries if not entry.flags & (VARY | HIT_FOR_MISS)
        if (told := _response(segment, entry, now_ns)) is not None
    ]  # fmt: skip
    vary: set[str] = set()
    for entry in entries:
        record = segment.cache.get(entry.key, now_ns) if entry.flags & VARY else None
        if record is not None and record.flags & VARY:
            with suppress(DamagedEntry):
                vary.update(name.decode("latin-1") for name in decode_record(record.meta).names)
    hit_for_miss = any(entry.flags & HIT_FOR_MISS for entry in entries)
    return {"vary": sorted(vary), "hit_for_miss": hit_for_miss, "responses": responses}


def _response(segment: Segment, entry: Entry, now_ns: int) -> dict[str, Any] | None:
    """The outline and what only the stored fields tell; None when it is gone meanwhile, or damaged."""
    hit = segment.cache.get(entry.key, now_ns)
    if hit is None or hit.flags & (VARY | HIT_FOR_MISS):
        return None
    try:
        stored = decode(hit.meta)
    except DamagedEntry:  # a request for it will drop it
        return None
    return outline(entry, now_ns) | {
        "status": stored.status,
        "age_s": (now_ns - stored.birth_ns) // SECOND_NS,
        "stale_while_revalidate_s": entry.swr_ns // SECOND_NS,
        "stale_if_error_s": stored.stale_if_error_ns // SECOND_NS,
        "etag": stored.etag and stored.etag.decode("latin-1"),
    }
