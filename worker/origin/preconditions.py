"""What a request says about the copy its sender has: conditions and one range (RFC 9110 13 and 14).

For an origin of our own that has the representation before it. Pure.
"""

import re
from email.utils import parsedate_to_datetime

from worker.fields import (
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    Fields,
)

_CONDITIONS = IF_MATCH | IF_UNMODIFIED_SINCE | IF_NONE_MATCH | IF_MODIFIED_SINCE
_ENTITY_TAG = re.compile(rb'(W/)?("[^"]*")')
_ONE_RANGE = re.compile(rb"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*", re.IGNORECASE)


def refused(fields: Fields, etag: bytes, modified_s: int) -> int | None:
    """304 or 412 where a condition of a GET or HEAD says so, in the order of RFC 9110 13.2.2; else None.

    `etag` is strong. A date that cannot be read is no condition.
    """
    mask = fields.mask
    if not mask & _CONDITIONS:
        return None
    if mask & IF_MATCH:
        if not _names(fields.joined(b"if-match"), etag, weakly=False):
            return 412
    elif mask & IF_UNMODIFIED_SINCE and _is_before(fields.get(b"if-unmodified-since"), modified_s):
        return 412
    if mask & IF_NONE_MATCH:
        return 304 if _names(fields.joined(b"if-none-match"), etag, weakly=True) else None
    since_s = _seconds(fields.get(b"if-modified-since"))
    return 304 if since_s is not None and modified_s <= since_s else None


def byte_range(fields: Fields, etag: bytes, size: int) -> tuple[int, int] | None:
    """Start and stop of the one range a GET asks for; None: all of it is to be sent.

    Empty if it begins past the end (416). Of several ranges none is heeded, nor one beside an If-Range that
    is not `etag`: a file can change twice in the second that a date names (RFC 9110 8.8.2.2).
    """
    if not fields.mask & RANGE:
        return None
    if fields.mask & IF_RANGE and fields.get(b"if-range") != etag:
        return None
    match = _ONE_RANGE.fullmatch(fields.joined(b"range") or b"")
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(size - int(suffix), 0), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return size, size
    return start, min(int(last) + 1, size) if last else size


def _names(value: bytes | None, etag: bytes, *, weakly: bool) -> bool:
    if value is None or value.strip() == b"*":
        return True
    return any(tag == etag and (weakly or not weak) for weak, tag in _ENTITY_TAG.findall(value))


def _is_before(value: bytes | None, modified_s: int) -> bool:
    seconds = _seconds(value)
    return seconds is not None and seconds < modified_s


def _seconds(value: bytes | None) -> int | None:
    try:
        return int(parsedate_to_datetime((value or b"").decode("ascii")).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None
