"""RFC 9110 14: one range of a stored body, If-Range, and what is ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cache_room import Asked, CacheRoom, http_date, ok
from worker.cache.byte_range import byte_range, range_applies
from worker.fields import Fields
from worker.message import Response

RANGES = [  # of 10 bytes
    (b"bytes=0-0", (0, 1)),
    (b"bytes=2-5", (2, 6)),
    (b"bytes=2-", (2, 10)),
    (b"bytes=2-99", (2, 10)),
    (b"bytes=9-9", (9, 10)),
    (b"bytes=-3", (7, 10)),
    (b"bytes=-99", (0, 10)),
    (b"BYTES=0-1", (0, 2)),
    (b"bytes=10-", (10, 10)),
    (b"bytes=10-20", (10, 10)),
    (b"bytes=-0", (10, 10)),
    (b"bytes=5-2", None),
    (b"bytes=-", None),
    (b"bytes=a-b", None),
    (b"bytes=0-1,3-4", None),
    (b"bytes 0-1", None),
    (b"lines=0-1", None),
    (b"", None),
]


@pytest.mark.parametrize(("value", "expected"), RANGES)
def test_ranges(value: bytes, expected: tuple[int, int] | None) -> None:
    assert byte_range(value, 10) == expected


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_range_is_the_slice_it_names(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    found = byte_range(b"bytes=%d-%d" % (first, last), size)
    if last < first:
        assert found is None
    else:
        assert found is not None
        assert body[slice(*found)] == body[first : last + 1]


DATE = http_date(700_000_000).encode()
IF_RANGES = [
    (None, True),
    (b'"a"', True),
    (b'"b"', False),
    (b'W/"a"', False),
    (DATE, True),
    (http_date(700_000_001).encode(), False),
]


@pytest.mark.parametrize(("validator", "expected"), IF_RANGES)
def test_if_range(validator: bytes | None, expected: bool) -> None:
    fields = Fields.of([] if validator is None else [(b"If-Range", validator)])
    assert range_applies(fields, etag=b'"a"', last_modified=DATE) is expected


def test_a_weak_tag_never_allows_a_range_by_if_range() -> None:
    fields = Fields.of([(b"If-Range", b'W/"a"')])
    assert not range_applies(fields, etag=b'W/"a"', last_modified=None)


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_part_of_a_stored_body(size: int) -> None:
    body = bytes(range(250)) * (size // 250)

    async def handler(asked: Asked) -> Response:
        return ok(body, cache_control="max-age=60", etag='"a"')

    with CacheRoom(handler) as room:
        first = room.ask(fields=[(b"Range", b"bytes=1-3")])  # fetched whole, answered in part
        assert (first.status, first.body) == (206, body[1:4])
        part = room.ask(fields=[(b"Range", b"bytes=100-%d" % (size - 2))])
        assert (part.status, part.body, part.length) == (206, body[100:-1], size - 101)
        assert part.fields.get(b"content-range") == b"bytes 100-%d/%d" % (size - 2, size)
        whole = room.ask(fields=[(b"Range", b"bytes=0-1"), (b"If-Range", b'"b"')])
        assert (whole.status, whole.body) == (200, body)
        none = room.ask(fields=[(b"Range", b"bytes=%d-" % size)])
        assert (none.status, none.body) == (416, b"")
        assert none.fields.get(b"content-range") == b"bytes */%d" % size
        same = room.ask(fields=[(b"Range", b"bytes=0-1"), (b"If-None-Match", b'"a"')])
        assert same.status == 304
        assert room.ask(fields=[(b"Range", b"bytes=0-1")], method=b"HEAD").status == 200
        assert len(room.asked) == 1
