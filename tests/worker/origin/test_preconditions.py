"""Conditions and ranges as an origin judges them."""

import pytest

from worker.fields import Fields
from worker.origin.preconditions import byte_range, refused

ETAG = b'"abc"'
MODIFIED_S = 784111777
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE, AFTER = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"


def fields(*lines: str) -> Fields:
    return Fields.of(tuple(part.strip().encode() for part in line.split(":", 1)) for line in lines)  # type: ignore[misc]


CONDITIONS = [
    ([], None),
    (['If-None-Match: "abc"'], 304),
    (['If-None-Match: W/"abc"'], 304),
    (['If-None-Match: "x", "abc"'], 304),
    (["If-None-Match: *"], 304),
    (['If-None-Match: "x"'], None),
    (["If-None-Match: abc"], None),
    (['If-None-Match: "x"', f"If-Modified-Since: {AFTER}"], None),
    ([f"If-Modified-Since: {MODIFIED}"], 304),
    ([f"If-Modified-Since: {AFTER}"], 304),
    ([f"If-Modified-Since: {BEFORE}"], None),
    (["If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT"], 304),
    (["If-Modified-Since: Sun Nov  6 08:49:37 1994"], 304),
    (["If-Modified-Since: yesterday"], None),
    (["If-Modified-Since: "], None),
    (["If-Modified-Since: Sun, 06 Nov 99999999999999994 08:49:37 GMT"], None),
    (['If-Match: "abc"'], None),
    (['If-Match: W/"abc"'], 412),
    (['If-Match: "x"'], 412),
    (["If-Match: *"], None),
    (['If-Match: "abc"', 'If-None-Match: "abc"'], 304),
    ([f"If-Unmodified-Since: {BEFORE}"], 412),
    ([f"If-Unmodified-Since: {MODIFIED}"], None),
    (["If-Unmodified-Since: yesterday"], None),
    (['If-Match: "abc"', f"If-Unmodified-Since: {BEFORE}"], None),
]


@pytest.mark.parametrize(("lines", "status"), CONDITIONS, ids=lambda value: str(value))
def test_conditions(lines: list[str], status: int | None) -> None:
    assert refused(fields(*lines), ETAG, MODIFIED_S) == status


RANGES = [
    ([], None),
    (["Range: bytes=0-9"], (0, 10)),
    (["Range: bytes=90-"], (90, 100)),
    (["Range: bytes=-10"], (90, 100)),
    (["Range: bytes=-1000"], (0, 100)),
    (["Range: bytes=90-1000"], (90, 100)),
    (["Range: bytes=99-99"], (99, 100)),
    (["Range: BYTES= 0-9 "], (0, 10)),
    (["Range: bytes=100-"], (100, 100)),
    (["Range: bytes=-0"], (100, 100)),
    (["Range: bytes=9-8"], None),
    (["Range: bytes=0-1,3-4"], None),
    (["Range: bytes=-"], None),
    (["Range: lines=0-9"], None),
    (["Range: bytes=0-9999999999999999999999"], None),
    (["Range: bytes=0-9", 'If-Range: "abc"'], (0, 10)),
    (["Range: bytes=0-9", 'If-Range: W/"abc"'], None),
    (["Range: bytes=0-9", 'If-Range: "x"'], None),
    (["Range: bytes=0-9", f"If-Range: {MODIFIED}"], None),
]


@pytest.mark.parametrize(("lines", "part"), RANGES, ids=lambda value: str(value))
def test_ranges(lines: list[str], part: tuple[int, int] | None) -> None:
    assert byte_range(fields(*lines), ETAG, 100) == part
