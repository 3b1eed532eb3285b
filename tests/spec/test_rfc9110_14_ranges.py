"""RFC 9110 14 and 15.3.7: parts of a stored whole body, through a whole edge."""

from email.parser import BytesParser

import pytest

from tests.support.caching_edge import BODY, CachingEdge, is_hit

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
STORED = ("Cache-Control: max-age=60", 'ETag: "a"', f"Last-Modified: {DATE}", "Content-Type: text/plain")

ONE = [  # request -> status, Content-Range, body
    pytest.param(["Range: bytes=2-4"], 206, "bytes 2-4/1000", BODY[2:5], id="both ends"),
    pytest.param(["Range: bytes=998-"], 206, "bytes 998-999/1000", BODY[998:], id="to the end"),
    pytest.param(["Range: bytes=-2"], 206, "bytes 998-999/1000", BODY[-2:], id="a suffix"),
    pytest.param(["Range: bytes=2-4,3-9"], 206, "bytes 2-9/1000", BODY[2:10], id="two that are one"),
    pytest.param(["Range: bytes=1000-"], 416, "bytes */1000", b"", id="behind the end"),
    pytest.param(["Range: bytes=4-2"], 416, "bytes */1000", b"", id="backwards"),
    pytest.param(["Range: bytes=2-%s" % ("9" * 50)], 206, "bytes 2-999/1000", BODY[2:], id="a large number"),
    pytest.param(["Range: bytes=4"], 200, None, BODY, id="malformed"),
    pytest.param(["Range: lines=1-2"], 200, None, BODY, id="another unit"),
    pytest.param(["Range: bytes=0-1", 'If-Range: "a"'], 206, "bytes 0-1/1000", BODY[:2], id="the same tag"),
    pytest.param(["Range: bytes=0-1", 'If-Range: "b"'], 200, None, BODY, id="another tag"),
    pytest.param(["Range: bytes=0-1", 'If-Range: W/"a"'], 200, None, BODY, id="a weak tag"),
    pytest.param(
        ["Range: bytes=0-1", f"If-Range: {DATE}"], 206, "bytes 0-1/1000", BODY[:2], id="the same date"
    ),
    pytest.param(["Range: bytes=1000-", 'If-Range: "b"'], 200, None, BODY, id="If-Range before 416"),
]


@pytest.mark.parametrize(("fields", "status", "content_range", "body"), ONE)
def test_one_part(
    edge: CachingEdge, fields: list[str], status: int, content_range: str | None, body: bytes
) -> None:
    path = edge.serve(*STORED)
    edge.ask(path)
    found = edge.ask(path, *fields)
    assert (found.status, found.fields.get("content-range"), found.body) == (status, content_range, body)
    assert is_hit(found)
    assert len(edge.asked(path)) == 1
    if status == 206:
        whole = edge.ask(path).fields
        kept = ("date", "cache-control", "etag", "last-modified", "content-type")
        assert [found.fields[name] for name in kept] == [whole[name] for name in kept]


@pytest.mark.parametrize("size", [1000, 200_000])
def test_several_parts(edge: CachingEdge, size: int) -> None:
    body = BODY * (size // 1000)
    path = edge.serve(*STORED, body=body)
    edge.ask(path)
    found = edge.ask(path, "Range: bytes=0-2,-3,500-504")
    assert (found.status, found.whole) == (206, True)
    head = f"Content-Type: {found.fields['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + found.body)
    assert message.get_content_type() == "multipart/byteranges"
    parts = [
        (part["content-range"], part["content-type"], part.get_payload(decode=True))
        for part in message.walk()
        if not part.is_multipart()
    ]
    assert parts == [
        (f"bytes 0-2/{size}", "text/plain", b"012"),
        (f"bytes {size - 3}-{size - 1}/{size}", "text/plain", b"789"),
        (f"bytes 500-504/{size}", "text/plain", b"01234"),
    ]


@pytest.mark.parametrize("size", [1000, 2_000_000])
def test_a_range_that_misses_fetches_the_whole_for_everybody(edge: CachingEdge, size: int) -> None:
    body = BODY * (size // 1000)
    path = edge.serve(*STORED, body=body)
    part = edge.ask(path, f"Range: bytes={size // 2}-{size - 2}")
    assert (part.status, part.whole, part.body) == (206, True, body[size // 2 : -1])
    assert "range" not in edge.asked(path)[0].headers
    whole = edge.ask(path)
    assert whole.body == body
    assert len(edge.asked(path)) == 1


def test_a_range_says_nothing_to_head(edge: CachingEdge) -> None:
    path = edge.serve(*STORED)
    edge.ask(path)
    assert edge.ask(path, "Range: bytes=0-1", method="HEAD").status == 200


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=-5"])
def test_a_range_of_nothing_is_ignored(edge: CachingEdge, asked: str) -> None:
    path = edge.serve(*STORED, body=b"")
    edge.ask(path)
    found = edge.ask(path, f"Range: {asked}")
    assert (found.status, found.body, is_hit(found)) == (200, b"", True)
