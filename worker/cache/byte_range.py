"""Ranges of a stored whole body (RFC 9110 14): 206 for one or several, 416 where there is nothing to send.

Pure but for the lent body, which a partial answer gives back as the whole one would.
"""

import os
import re
from collections.abc import Sequence
from typing import cast

from shmcache.core import COPY_BYTES
from worker.cache.collapse import give_back
from worker.cache.freshness import http_date
from worker.fields import IF_RANGE, Fields
from worker.message import Body, Pinned, Response, Stream

MAX_RANGES = 16  # asked for at once; more get the whole body (RFC 9110 14.2 calls them egregious)
_PART_OVERHEAD_BYTES = 100  # about what a part costs beside its bytes: smaller gaps are sent (15.3.7.2)

_ONE_RANGE = re.compile(rb"bytes=(\d{1,18})-(\d{1,18})", re.IGNORECASE)
_RANGES = re.compile(rb"bytes=(.*)", re.IGNORECASE)
_RANGE = re.compile(rb"(\d+)-(\d*)|-(\d+)")
_FAR = 10**18  # past the end of every body: numbers may have any length (RFC 9110 14.1.2)

Range = tuple[int, int]  # start, and stop past the last byte


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


class PinnedParts:
    """Ready-made bytes and ranges of a lent body in turn; implements worker.message.Pinned."""

    __slots__ = ("_pieces", "_size", "_whole")

    def __init__(self, whole: Pinned, pieces: Sequence[bytes | Range]) -> None:
        self._whole = whole
        self._pieces = pieces
        self._size = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)

    def __len__(self) -> int:
        return self._size

    def views(self, start: int = 0, stop: int | None = None) -> Sequence[memoryview]:
        stop = self._size if stop is None else min(stop, self._size)
        found: list[memoryview] = []
        at = 0  # where in all of it the piece begins
        for piece in self._pieces:
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            first, last = max(start - at, 0), min(stop - at, size)
            at += size
            if first >= last:
                continue
            if isinstance(piece, bytes):
                found.append(memoryview(piece)[first:last])
            else:
                found += self._whole.views(piece[0] + first, piece[0] + last)
        return found

    def copy_out(self, start: int = 0, stop: int | None = None) -> bytes:
        copied = b"".join(self.views(start, stop))
        self.release()
        return copied

    def release(self) -> None:
        self._whole.release()


class StreamRange:
    """Part of a body that is still arriving, read no further than that; implements worker.message.Stream."""

    def __init__(self, whole: Stream, start: int, stop: int) -> None:
        self.length: int | None = stop - start
        self.trailers: Fields | None = None  # those of the whole, which this is not
        self._whole = whole
        self._skip = start
        self._left = stop - start
        if hasattr(whole, "skip"):  # a file: what is not wanted need not be read
            whole.skip(start)
            self._skip = 0

    async def read(self) -> bytes:
        while self._left:
            piece = await self._whole.read()
            if not piece:
                break
            wanted = piece[self._skip : self._skip + self._left]
            self._skip = max(self._skip - len(piece), 0)
            self._left -= len(wanted)
            if not self._left:
                self._whole.close()
            if wanted:
                return wanted
        return b""

    def close(self) -> None:
        self._left = 0
        self._whole.close()


def byte_ranges(value: bytes, size: int) -> list[Range] | None:
    """The parts of a body of `size` bytes that a Range field asks for, in its order (RFC 9110 14.1.2).

    Those that overlap or nearly touch are one. None: to be ignored, because it is malformed, of another unit,
    asks for more than MAX_RANGES, or there is no body. Empty: nothing of it can be satisfied, or one of them
    ends before it begins (416).
    """
    one = _ONE_RANGE.fullmatch(value)
    if one is not None and size:  # what most clients ask for
        start, stop = int(one[1]), int(one[2]) + 1
        return [(start, min(stop, size))] if start < min(stop, size) else []
    match = _RANGES.fullmatch(value)
    if match is None or not size:
        return None
    asked = [spec for part in match[1].split(b",") if (spec := part.strip(b" \t"))]
    if not asked or len(asked) > MAX_RANGES:
        return None
    found = [_range(spec, size) for spec in asked]
    ranges = [one for one in found if one is not None]
    if len(ranges) < len(found):
        return None
    if any(stop < start for start, stop in ranges):
        return []
    return _coalesced([one for one in ranges if one[0] < one[1]])


def _range(spec: bytes, size: int) -> Range | None:
    """One range-spec; empty if it cannot be satisfied, backward if it is asked for so, None if malformed."""
    match = _RANGE.fullmatch(spec)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(size - _number(suffix), 0), size
    start, stop = _number(first), _number(last) + 1 if last else _FAR + 1
    if stop <= start:
        return start, start - 1
    return min(start, size), min(stop, size)


def _number(digits: bytes) -> int:
    """Their value, at most _FAR; digits in any number, which `int` alone would refuse."""
    significant = digits.lstrip(b"0")
    return _FAR if len(significant) > 18 else int(significant or b"0")


def _coalesced(ranges: list[Range]) -> list[Range]:
    """The ranges with those united that overlap or nearly touch, each at the place of its first one."""
    united: list[tuple[int, int, int]] = []  # start, stop, place
    for start, stop, place in sorted((start, stop, place) for place, (start, stop) in enumerate(ranges)):
        if united and start <= united[-1][1] + _PART_OVERHEAD_BYTES:
            first, last, earliest = united[-1]
            united[-1] = first, max(last, stop), min(earliest, place)
        else:
            united.append((start, stop, place))
    return [(start, stop) for start, stop, _ in sorted(united, key=lambda one: one[2])]


def range_applies(request_fields: Fields, fields: Fields, now_s: float) -> bool:
    """Does If-Range, if any, name exactly this representation (RFC 9110 13.1.5)? `fields` are the response's.

    Tags compare strongly; a date must be the very one the origin sent, and a strong validator: so long before
    Date that nothing can have changed in the same second (8.8.2.2).
    """
    if not request_fields.mask & IF_RANGE:
        return True
    validator = request_fields.joined(b"if-range") or b""
    if validator.startswith(b'"'):
        return validator == fields.get(b"etag")
    if validator.startswith(b"W/") or validator != fields.get(b"last-modified"):
        return False
    modified_s, date_s = http_date(validator, now_s), http_date(fields.get(b"date") or b"", now_s)
    return modified_s is not None and date_s is not None and modified_s < date_s


def ranged(request_fields: Fields, response: Response, now_s: float) -> Response:
    """`response`, a 200 with a whole body, or the parts of it that the request's Range asks for.

    Of a body that is still arriving one part, if its size is known.
    """
    body, size = response.body, response.length
    if body is None or size is None or not range_applies(request_fields, response.fields, now_s):
        return response
    ranges = byte_ranges(request_fields.joined(b"range") or b"", size)
    if ranges is None:
        return response
    if not ranges:
        give_back(body)
        partial = Response(416, Fields.of([(b"Content-Range", b"bytes */%d" % size)]), None, 0)
    elif len(ranges) == 1:
        partial = _one_part(response.fields.copy(), cast(bytes | Pinned | Stream, body), size, *ranges[0])
    elif isinstance(body, bytes) or hasattr(body, "views"):
        partial = _parts(response.fields.copy(), cast(bytes | Pinned, body), ranges)
    else:
        return response
    partial.settled = True
    return partial


def _one_part(fields: Fields, body: bytes | Pinned | Stream, size: int, start: int, stop: int) -> Response:
    fields.remove(b"content-range")
    fields.append(b"Content-Range", b"bytes %d-%d/%d" % (start, stop - 1, size))
    part: Body
    if isinstance(body, bytes):
        part = body[start:stop]
    elif not hasattr(body, "views"):
        part = StreamRange(body, start, stop)
    elif stop - start <= COPY_BYTES:  # as a whole body of that size is
        part = _copied(cast(Pinned, body), start, stop)
    else:
        part = PinnedRange(cast(Pinned, body), start, stop)
    return Response(206, fields, part, stop - start)


def _copied(whole: Pinned, start: int, stop: int) -> bytes:
    """The bytes of a part, the whole given back."""
    copied = b"".join(whole.views(start, stop))
    whole.release()
    return copied


def _parts(fields: Fields, body: bytes | Pinned, ranges: list[Range]) -> Response:
    """All ranges in one multipart/byteranges body (RFC 9110 14.6)."""
    boundary = os.urandom(12).hex().encode()  # cannot be guessed, so nobody has put it into the body
    media = fields.get(b"content-type")
    about = b"" if media is None else b"Content-Type: %b\r\n" % media
    pieces: list[bytes | Range] = []
    for start, stop in ranges:
        line = b"bytes %d-%d/%d" % (start, stop - 1, len(body))
        pieces.append(b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n" % (boundary, about, line))
        pieces.append((start, stop))
    pieces.append(b"\r\n--%b--\r\n" % boundary)
    fields.remove(b"content-type", b"content-range")
    fields.append(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    if isinstance(body, bytes):
        whole = b"".join(piece if isinstance(piece, bytes) else body[slice(*piece)] for piece in pieces)
        return Response(206, fields, whole, len(whole))
    parts = PinnedParts(body, pieces)
    return Response(206, fields, parts, len(parts))
