"""Ranges of a stored whole body (RFC 9110 14): one range is answered with 206, several with the whole.

Pure but for the lent body, which a partial answer gives back as the whole one would.
"""

import re
from collections.abc import Sequence
from typing import cast

from worker.fields import IF_RANGE, Fields
from worker.message import Pinned, Response

_ONE_RANGE = re.compile(rb"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*", re.IGNORECASE)


class PinnedRange:
    """Part of a lent body; implements worker.message.Pinned."""

    __slots__ = ("_start", "_stop", "_whole")

    def __init__(self, whole: Pinned, start: int, stop: int) -> None:
        self._whole = whole
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    def views(self, start: int = 0, stop: int | None = None) -> Sequence[memoryview]:
        end = self._stop if stop is None else min(self._start + stop, self._stop)
        return self._whole.views(min(self._start + start, end), end)

    def copy_out(self, start: int = 0, stop: int | None = None) -> bytes:
        end = self._stop if stop is None else min(self._start + stop, self._stop)
        return self._whole.copy_out(min(self._start + start, end), end)

    def release(self) -> None:
        self._whole.release()


def byte_range(value: bytes, size: int) -> tuple[int, int] | None:
    """(start, stop) of a Range field in a body of `size` bytes, stop past the last byte.

    None: to be ignored, because it is malformed, of another unit, or asks for several ranges (RFC 9110 14.2
    lets a server choose). Empty (start == stop): it cannot be satisfied (416).
    """
    match = _ONE_RANGE.fullmatch(value)
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


def range_applies(request_fields: Fields, *, etag: bytes | None, last_modified: bytes | None) -> bool:
    """Does If-Range, if any, name exactly this representation (RFC 9110 13.1.5)?

    Tags compare strongly; a date must be the very one the origin sent.
    """
    if not request_fields.mask & IF_RANGE:
        return True
    validator = request_fields.get(b"if-range")
    if validator is None or validator.startswith(b"W/"):
        return False
    return validator == (etag if validator.startswith(b'"') else last_modified)


def ranged(request_fields: Fields, response: Response) -> Response:
    """`response`, a 200 with a whole body, or the part of it that the request's Range asks for."""
    if not isinstance(response.body, bytes) and not hasattr(response.body, "views"):
        return response  # nothing, or a stream
    body = cast(bytes | Pinned, response.body)
    fields = response.fields
    if not range_applies(
        request_fields, etag=fields.get(b"etag"), last_modified=fields.get(b"last-modified")
    ):
        return response
    size = len(body)
    found = byte_range(request_fields.get(b"range") or b"", size)
    if found is None:
        return response
    start, stop = found
    if start == stop:
        if not isinstance(body, bytes):
            body.release()
        refused = Response(416, Fields.of([(b"Content-Range", b"bytes */%d" % size)]), None, 0)
        refused.settled = True
        return refused
    fields = fields.copy()
    fields.set(b"Content-Range", b"bytes %d-%d/%d" % (start, stop - 1, size))
    part = body[start:stop] if isinstance(body, bytes) else PinnedRange(body, start, stop)
    partial = Response(206, fields, part, stop - start)
    partial.settled = True
    return partial
