"""Ranges of a body: whatever is asked, what is sent lies within the body, each part once, and is what was
asked for.
"""

import re

from tests.fuzz.take import Take
from worker.cache.byte_range import MAX_RANGES, byte_ranges, range_applies, ranged
from worker.fields import FieldError, Fields
from worker.message import Response

SEEDS = (
    b"\0\x05bytes=0-1",
    b"\0\xffbytes=0-0,200-, -5 ,\t7-9",
    b"\3\x10Bytes=5-2,1-999999999999999999999999",
    b"\0\0bytes=0-",
    b"\1\1bytes=,,",
)
WORDS = (
    b"bytes=",
    b"-",
    b",",
    b"0-",
    b"-0",
    b"9" * 18,
    b"9" * 30,
    b"0" * 30,
    b" ",
    b"\t",
    b"1-1,",
    b"300-",
    b"=",
)
MAX_BYTES = 512
ETAG = b'"e"'


def check(data: bytes) -> None:
    take = Take(data)
    size = take.below(8) * 256 + take.below(256)
    value = take.rest()
    found = byte_ranges(value, size)
    if found is None:
        return
    assert size and len(found) <= MAX_RANGES
    places: set[int] = set()
    for start, stop in found:
        assert 0 <= start < stop <= size
        assert places.isdisjoint(range(start, stop))
        places.update(range(start, stop))
    assert _asked(value, size) <= places or not found
    _send(value, size, found)


def _asked(value: bytes, size: int) -> set[int]:
    """The bytes that the field names, by the letter."""
    asked: set[int] = set()
    for spec in value.partition(b"=")[2].split(b","):
        match = re.fullmatch(rb"[ \t]*([0-9]*)-([0-9]*)[ \t]*", spec)
        if match is None:
            continue
        first, last = match.groups()
        if first:
            stop = min(int(last) + 1 if last else size, size)
            asked.update(range(int(first[-30:]), stop) if len(first.lstrip(b"0")) < 30 else ())
        elif last:
            asked.update(range(max(size - int(last), 0), size))
    return asked


def _send(value: bytes, size: int, found: list[tuple[int, int]]) -> None:
    try:
        asked = Fields.of([(b"range", value), (b"if-range", ETAG)])
    except FieldError:
        return
    body = bytes(range(256)) * 8
    whole = Response(200, Fields.of([(b"etag", ETAG), (b"content-type", b"a/b")]), body[:size], size)
    assert range_applies(asked, whole.fields, 0.0)
    partial = ranged(asked, whole, 0.0)
    assert partial.status == (206 if found else 416)
    if not found:
        return
    assert isinstance(partial.body, bytes) and len(partial.body) == partial.length
    if len(found) == 1:
        assert partial.body == body[slice(*found[0])]
        assert partial.fields.get(b"content-range") == b"bytes %d-%d/%d" % (
            found[0][0],
            found[0][1] - 1,
            size,
        )
    for start, stop in found:
        assert body[start:stop] in partial.body
