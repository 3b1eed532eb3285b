"""Validation (RFC 9111 4.3, RFC 9110 13): clients' conditions, questions to origins, freshening. Pure."""

import re

from worker.cache.freshness import http_date
from worker.cache.key import vary_names
from worker.fields import IF_MODIFIED_SINCE, IF_NONE_MATCH, VARY, Fields

CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"if-range")

_ENTITY_TAG = re.compile(rb'(?:W/)?("[^"]*")')

# What a 304 carries of the stored fields (RFC 9110 15.4.5); the rest the client has.
_OF_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary"}
)
# What a 304 does not change in a stored response (RFC 9111 3.2): fields of one hop or one message, those that
# describe the stored bytes, which may be coded by us, and Vary, by which it is filed.
_KEPT_BY_FRESHENING = frozenset(
    {
        b"connection", b"content-digest", b"content-encoding", b"content-length", b"content-md5",
        b"content-range", b"digest", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info",
        b"proxy-connection", b"repr-digest", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"vary",
    }
)  # fmt: skip


def opaque_tag(etag: bytes) -> bytes:
    """The tag without its weakness: what weak comparison compares (RFC 9110 8.8.3.2)."""
    return etag.removeprefix(b"W/")


def matches(if_none_match: bytes, etag: bytes | None) -> bool:
    """Does the list name the stored representation, by weak comparison (RFC 9110 13.1.2)? `*` names any."""
    if if_none_match.strip() == b"*":
        return True
    return etag is not None and opaque_tag(etag) in _ENTITY_TAG.findall(if_none_match)


def is_not_modified(
    request_fields: Fields,
    *,
    etag: bytes | None,
    last_modified: bytes | None,
    date: bytes | None,
    now_s: float,
) -> bool:
    """May a client that has a copy be told 304 (RFC 9111 4.3.2)?

    If-None-Match decides alone where it is present; If-Modified-Since is compared with Last-Modified, or
    with Date where the response has none. A date we cannot read is no condition, nor are
    two (RFC 9110 13.1.3).
    """
    mask = request_fields.mask
    if mask & IF_NONE_MATCH:
        return matches(request_fields.joined(b"if-none-match") or b"", etag)
    if not mask & IF_MODIFIED_SINCE:
        return False
    since = request_fields.joined(b"if-modified-since") or b""
    changed = last_modified or date
    if changed is None:
        return False
    since_s = http_date(since, now_s)
    changed_s = http_date(changed, now_s)
    return since_s is not None and changed_s is not None and changed_s <= since_s


def not_modified_fields(fields: Fields) -> Fields:
    """What a 304 made from a stored or fetched 200 tells."""
    return Fields.of((name, value) for name, value in fields.items() if name.lower() in _OF_NOT_MODIFIED)


def validation_fields(etag: bytes | None, last_modified: bytes | None) -> list[tuple[bytes, bytes]]:
    """What asks an origin whether the stored response still holds (RFC 9111 4.3.1); may be empty."""
    fields: list[tuple[bytes, bytes]] = []
    if etag is not None:
        fields.append((b"If-None-Match", etag))
    if last_modified is not None:
        fields.append((b"If-Modified-Since", last_modified))
    return fields


def selects(not_modified: Fields, etag: bytes | None, last_modified: bytes | None) -> bool:
    """Does a 304 speak of the stored response (RFC 9111 4.3.4)? One that names another validator does not.

    A tag decides alone; tags compare weakly, since a coding of ours makes a strong tag weak. A 304 without
    validators answers the question it was asked.
    """
    named = not_modified.get(b"etag")
    if named is not None:
        return etag is not None and opaque_tag(named) == opaque_tag(etag)
    modified = not_modified.get(b"last-modified")
    return modified is None or last_modified is None or modified == last_modified


def varies_further(stored: Fields, update: Fields) -> bool:
    """Does an update of a stored response name a field in Vary that its own did not (RFC 9111 3.2, 4.1)?

    Then it is filed where requests would find it that may no longer have it.
    """
    return update.mask & VARY != 0 and not set(vary_names(update)) <= set(vary_names(stored))


def is_same(stored: Fields, size: int, head: Fields, length: int | None) -> bool:
    """Does the answer to HEAD speak of the stored response (RFC 9111 4.3.5)?

    `size` is that of the stored body, `length` what the answer announced (None: nothing). Tags compare weakly
    and lengths not at all where the stored body is one we have coded ourselves.
    """
    etag, named = stored.get(b"etag"), head.get(b"etag")
    if named is not None and (etag is None or opaque_tag(named) != opaque_tag(etag)):
        return False
    modified = head.get(b"last-modified")
    if modified is not None and modified != stored.get(b"last-modified"):
        return False
    same_coding = stored.joined(b"content-encoding") == head.joined(b"content-encoding")
    return length is None or length == size or not same_coding


def freshened(stored: Fields, not_modified: Fields) -> Fields:
    """The stored fields updated by those of a 304 (RFC 9111 3.2).

    ETag stays as stored where it names the same thing: our own coding may have made a strong tag weak.
    """
    fresh = stored.copy()
    etag = stored.get(b"etag")
    updates: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for name, value in not_modified.items():
        lower = name.lower()
        if lower in _KEPT_BY_FRESHENING or (lower == b"etag" and etag is not None):
            continue
        updates.setdefault(lower, []).append((name, value))
    fresh.remove(*updates)
    for lines in updates.values():
        for name, value in lines:
            fresh.append(name, value)
    return fresh
