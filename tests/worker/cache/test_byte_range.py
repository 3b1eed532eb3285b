"""RFC 9110 14: ranges of a stored body, If-Range, and what is ignored."""

import asyncio
from collections.abc import AsyncIterator
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cache_room import Answered, Asked, CacheRoom, Pieces, http_date, ok
from worker.cache.byte_range import MAX_RANGES, PinnedParts, StreamRange, byte_ranges, range_applies
from worker.fields import Fields
from worker.message import Response
from worker.settings import CacheSettings

RANGES = [  # of 1000 bytes
    pytest.param(b"bytes=0-0", [(0, 1)], id="the first byte"),
    pytest.param(b"bytes=2-5", [(2, 6)], id="both ends"),
    pytest.param(b"bytes=2-", [(2, 1000)], id="to the end"),
    pytest.param(b"bytes=2-9999", [(2, 1000)], id="past the end"),
    pytest.param(b"bytes=999-999", [(999, 1000)], id="the last byte"),
    pytest.param(b"bytes=-3", [(997, 1000)], id="a suffix"),
    pytest.param(b"bytes=-9999", [(0, 1000)], id="a suffix longer than the body"),
    pytest.param(b"BYTES=0-1", [(0, 2)], id="units are case-insensitive"),
    pytest.param(b"bytes= 0-1\t", [(0, 2)], id="spaces around"),
    pytest.param(b"bytes=1000-", [], id="behind the end"),
    pytest.param(b"bytes=1000-2000", [], id="all of it behind the end"),
    pytest.param(b"bytes=-0", [], id="an empty suffix"),
    pytest.param(b"bytes=5-2", [], id="backwards"),
    pytest.param(b"bytes=0-1,5-2", [], id="one of them backwards"),
    pytest.param(b"bytes=2-" + b"9" * 5000, [(2, 1000)], id="a number of any length"),
    pytest.param(b"bytes=-" + b"9" * 5000, [(0, 1000)], id="a suffix of any length"),
    pytest.param(b"bytes=" + b"9" * 5000 + b"-", [], id="a start of any length"),
    pytest.param(b"bytes=" + b"0" * 5000 + b"2-" + b"0" * 5000 + b"5", [(2, 6)], id="leading zeros"),
    pytest.param(b"bytes=-", None, id="no number"),
    pytest.param(b"bytes=a-b", None, id="letters"),
    pytest.param(b"bytes=1-2-3", None, id="three ends"),
    pytest.param(b"bytes 0-1", None, id="no equals sign"),
    pytest.param(b"bytes=", None, id="nothing asked for"),
    pytest.param(b"lines=0-1", None, id="another unit"),
    pytest.param(b"", None, id="empty"),
    pytest.param(b"bytes=0-1,500-501", [(0, 2), (500, 502)], id="two"),
    pytest.param(b"bytes=500-501, 0-1", [(500, 502), (0, 2)], id="in the order asked for"),
    pytest.param(b"bytes=0-1,,500-501,", [(0, 2), (500, 502)], id="empty members"),
    pytest.param(b"bytes=0-1,2000-,-0", [(0, 2)], id="what cannot be satisfied is left out"),
    pytest.param(b"bytes=2000-,3000-", [], id="nothing can"),
    pytest.param(b"bytes=0-1,x", None, id="one malformed member spoils it all"),
    pytest.param(b"bytes=0-99,50-149", [(0, 150)], id="overlapping ones are one"),
    pytest.param(b"bytes=0-99,100-149", [(0, 150)], id="touching ones are one"),
    pytest.param(b"bytes=0-9,50-59", [(0, 60)], id="a small gap is not worth a part"),
    pytest.param(b"bytes=900-,0-9,-200", [(800, 1000), (0, 10)], id="at the place of the first"),
    pytest.param(b"bytes=" + b",".join([b"0-"] * MAX_RANGES), [(0, 1000)], id="as many as allowed"),
    pytest.param(b"bytes=" + b",".join([b"0-"] * (MAX_RANGES + 1)), None, id="one too many"),
]


@pytest.mark.parametrize(("value", "expected"), RANGES)
def test_ranges(value: bytes, expected: list[tuple[int, int]] | None) -> None:
    assert byte_ranges(value, 1000) == expected


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_range_is_the_slice_it_names(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    found = byte_ranges(b"bytes=%d-%d" % (first, last), size)
    if not size:
        assert found is None
    elif last < first:
        assert found == []
    else:
        assert found is not None
        assert b"".join(body[slice(*one)] for one in found) == body[first : last + 1]


SPECS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 400)), min_size=1, max_size=MAX_RANGES)


@given(SPECS)
def test_what_is_sent_covers_what_was_asked_and_nothing_twice(specs: list[tuple[int, int]]) -> None:
    size = 2500
    value = b"bytes=" + b",".join(b"%d-%d" % (first, first + length) for first, length in specs)
    found = byte_ranges(value, size)
    assert found is not None
    sent = [byte for start, stop in found for byte in range(start, stop)]
    assert len(sent) == len(set(sent))
    assert {byte for first, length in specs for byte in range(first, min(first + length + 1, size))} <= set(
        sent
    )
    assert len(found) <= len(specs)


DATE = http_date(700_000_000).encode()
NEXT = http_date(700_000_001).encode()
IF_RANGES = [  # If-Range, Date of the response -> does the range apply?
    pytest.param(None, NEXT, True, id="no condition"),
    pytest.param(b'"a"', NEXT, True, id="the same tag"),
    pytest.param(b'"b"', NEXT, False, id="another tag"),
    pytest.param(b'W/"a"', NEXT, False, id="a weak tag"),
    pytest.param(b'"a", "b"', NEXT, False, id="a list is no tag"),
    pytest.param(DATE, NEXT, True, id="the same date"),
    pytest.param(NEXT, NEXT, False, id="another date, if later"),
    pytest.param(DATE, DATE, False, id="changed in the second it was sent"),
    pytest.param(DATE, None, False, id="a date that cannot be strong"),
    pytest.param(b"yesterday", NEXT, False, id="neither"),
]


@pytest.mark.parametrize(("validator", "date", "expected"), IF_RANGES)
def test_if_range(validator: bytes | None, date: bytes | None, expected: bool) -> None:
    asked = Fields.of([] if validator is None else [(b"If-Range", validator)])
    lines = [(b"ETag", b'"a"'), (b"Last-Modified", DATE)]
    stored = Fields.of(lines if date is None else [*lines, (b"Date", date)])
    assert range_applies(asked, stored, 800_000_000) is expected


def test_a_weak_tag_never_allows_a_range_by_if_range() -> None:
    fields = Fields.of([(b"If-Range", b'W/"a"')])
    assert not range_applies(fields, Fields.of([(b"ETag", b'W/"a"')]), 0)


class Lent:
    """A lent body of two views."""

    def __init__(self, body: bytes) -> None:
        self.body, self.released = body, 0

    def __len__(self) -> int:
        return len(self.body)

    def views(self, start: int = 0, stop: int | None = None) -> list[memoryview]:
        view = memoryview(self.body)[start:stop]
        return [view[: len(view) // 2], view[len(view) // 2 :]]

    def copy_out(self, start: int = 0, stop: int | None = None) -> bytes:
        self.release()
        return self.body[start:stop]

    def release(self) -> None:
        self.released += 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_any_slice_of_the_parts_of_a_lent_body(start: int, stop: int) -> None:
    lent = Lent(bytes(range(100)))
    parts = PinnedParts(lent, [b"head", (10, 20), b"", b"middle", (0, 5), b"end"])
    whole = b"head" + lent.body[10:20] + b"middle" + lent.body[:5] + b"end"
    assert len(parts) == len(whole)
    assert b"".join(parts.views(start, stop)) == whole[start:stop]
    assert b"".join(parts.views()) == whole
    assert lent.released == 0
    assert parts.copy_out(start, stop) == whole[start:stop]
    assert lent.released == 1


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=8), st.integers(0, 40), st.integers(1, 40))
def test_any_part_of_a_body_that_arrives_in_pieces(pieces: list[bytes], start: int, size: int) -> None:
    async def read() -> bytes:
        source = Pieces(*pieces)
        part = StreamRange(source, start, start + size)
        read = [piece async for piece in iterate(part)]
        assert b"" not in read
        assert source.closed is (sum(map(len, read)) == size)
        return b"".join(read)

    async def iterate(part: StreamRange) -> AsyncIterator[bytes]:
        while piece := await part.read():
            yield piece

    assert asyncio.run(read()) == b"".join(pieces)[start : start + size]


@pytest.mark.parametrize("asked", ["bytes=100-149999", "bytes=-5", "bytes=299999-", "bytes=300000-"])
def test_a_part_of_a_body_that_is_still_to_come_while_all_of_it_is_stored(asked: str) -> None:
    body = bytes(range(250)) * 1200

    async def handler(asked: Asked) -> Response:
        pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
        return ok(Pieces(*pieces, length=len(body)), cache_control="max-age=60")

    with CacheRoom(handler) as room:
        for outcome in ("miss", "hit"):
            part = room.ask(fields=[(b"Range", asked.encode())])
            ranges = byte_ranges(asked.encode(), len(body))
            assert ranges is not None
            assert part.status == (206 if ranges else 416)
            assert part.body == b"".join(body[slice(*one)] for one in ranges)
            assert part.length == len(part.body)
            assert part.ctx.outcome == outcome
        assert room.ask().body == body
        assert len(room.asked) == 1


def test_what_is_too_large_to_be_stored_is_cut_on_its_way() -> None:
    body = bytes(range(250)) * 400

    async def handler(asked: Asked) -> Response:
        return ok(Pieces(body[:60_000], body[60_000:], length=len(body)), cache_control="max-age=60")

    with CacheRoom(handler, CacheSettings(max_object_bytes=1000)) as room:
        part = room.ask(fields=[(b"Range", b"bytes=59999-60001")])
        assert (part.status, part.body, part.ctx.stored) == (206, body[59_999:60_002], False)


def parts_of(answered: Answered) -> list[tuple[str, str, bytes]]:
    """(Content-Type, Content-Range, bytes) of each part, as a mail program reads them."""
    media = answered.fields.get(b"content-type")
    assert media is not None
    message = BytesParser().parsebytes(b"Content-Type: " + media + b"\r\n\r\n" + answered.body)
    assert message.get_content_type() == "multipart/byteranges"
    parts = []
    for part in message.get_payload():
        body = part.get_payload(decode=True)
        parts.append((part["content-type"], part["content-range"], body))
    return parts


@pytest.mark.parametrize("size", [1000, 300_000])
def test_several_parts_of_a_stored_body(size: int) -> None:
    body = b"abcdefghij" * (size // 10)

    async def handler(asked: Asked) -> Response:
        return ok(body, cache_control="max-age=60", content_type="text/plain", etag='"a"')

    with CacheRoom(handler) as room:
        for _ in range(2):  # fetched, and stored
            answered = room.ask(fields=[(b"Range", b"bytes=-5, 2-4,400-449")])
            assert answered.status == 206
            assert answered.length == len(answered.body)
            assert b"content-range" not in answered.fields
            assert answered.fields.get(b"etag") == b'"a"'
            assert parts_of(answered) == [
                ("text/plain", f"bytes {size - 5}-{size - 1}/{size}", b"fghij"),
                ("text/plain", f"bytes 2-4/{size}", b"cde"),
                ("text/plain", f"bytes 400-449/{size}", b"abcdefghij" * 5),
            ]
        assert len(room.asked) == 1


def test_too_many_ranges_get_the_whole() -> None:
    async def handler(asked: Asked) -> Response:
        return ok(b"x" * 1000, cache_control="max-age=60")

    with CacheRoom(handler) as room:
        room.ask()
        many = b",".join([b"0-"] * (MAX_RANGES + 1))
        assert room.ask(fields=[(b"Range", b"bytes=" + many)]).status == 200
        assert room.ask(fields=[(b"Range", b"bytes=0-998,1-,-1")]).status == 206


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
