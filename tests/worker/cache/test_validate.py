"""RFC 9110 13 and RFC 9111 4.3: conditions answered from the cache, questions to the origin, freshening."""

import pytest

from worker.cache.validate import (
    freshened,
    is_not_modified,
    is_same,
    matches,
    not_modified_fields,
    selects,
    validation_fields,
)
from worker.fields import Fields

OLD = b"Sun, 06 Nov 1994 08:49:37 GMT"
NEW = b"Mon, 07 Nov 1994 08:49:37 GMT"
OLD_850 = b"Sunday, 06-Nov-94 08:49:37 GMT"
TAGS = [
    (b'"a"', b'"a"', True),
    (b'W/"a"', b'"a"', True),
    (b'"a"', b'W/"a"', True),
    (b'"b", W/"a"', b'"a"', True),
    (b'"a,b"', b'"a,b"', True),
    (b'"b,"a""', b'"b"', False),
    (b'"b"', b'"a"', False),
    (b"a", b'"a"', False),
    (b"*", b'"a"', True),
    (b"*", None, True),
    (b'"a"', None, False),
    (b"", b'"a"', False),
]


@pytest.mark.parametrize(("listed", "etag", "expected"), TAGS)
def test_if_none_match_compares_weakly(listed: bytes, etag: bytes | None, expected: bool) -> None:
    assert matches(listed, etag) is expected


CONDITIONS = [  # request, etag, last modified, date -> 304?
    pytest.param({b"If-None-Match": b'"a"'}, b'"a"', None, None, True, id="same tag"),
    pytest.param({b"If-None-Match": b'"b"'}, b'"a"', None, None, False, id="another tag"),
    pytest.param({b"If-Modified-Since": OLD}, None, OLD, None, True, id="same date"),
    pytest.param({b"If-Modified-Since": NEW}, None, OLD, None, True, id="later date"),
    pytest.param({b"If-Modified-Since": OLD}, None, NEW, None, False, id="earlier date"),
    pytest.param({b"If-Modified-Since": OLD_850}, None, OLD, None, True, id="another format"),
    pytest.param({b"If-Modified-Since": b"now"}, None, OLD, None, False, id="unreadable date"),
    pytest.param({b"If-Modified-Since": NEW + b", " + NEW}, None, OLD, None, False, id="two dates"),
    pytest.param({b"If-Modified-Since": OLD}, None, None, OLD, True, id="Date stands in"),
    pytest.param({b"If-Modified-Since": OLD}, None, None, None, False, id="nothing to compare"),
    pytest.param(
        {b"If-None-Match": b'"b"', b"If-Modified-Since": NEW}, b'"a"', OLD, None, False, id="the tag decides"
    ),
    pytest.param(
        {b"If-None-Match": b'"a"', b"If-Modified-Since": OLD}, b'"a"', NEW, None, True, id="in both ways"
    ),
    pytest.param({}, b'"a"', OLD, OLD, False, id="no condition"),
]


@pytest.mark.parametrize(("request_fields", "etag", "last_modified", "date", "expected"), CONDITIONS)
def test_not_modified(
    request_fields: dict[bytes, bytes],
    etag: bytes | None,
    last_modified: bytes | None,
    date: bytes | None,
    expected: bool,
) -> None:
    lines = [(b"ETag", etag), (b"Last-Modified", last_modified), (b"Date", date)]
    fields = Fields.of((name, value) for name, value in lines if value is not None)
    assert is_not_modified(Fields.of(request_fields.items()), fields, 784111777) is expected


def test_a_304_carries_what_its_section_lists_and_no_representation_metadata() -> None:
    fields = Fields.of(
        [
            (b"Date", OLD), (b"ETag", b'"a"'), (b"Content-Type", b"text/html"),
            (b"Cache-Control", b"max-age=1"),
            (b"Content-Encoding", b"gzip"), (b"Vary", b"a"), (b"Expires", NEW), (b"Content-Location", b"/x"),
        ]
    )  # fmt: skip
    names = [name for name, _ in not_modified_fields(fields).items()]
    assert names == [b"Date", b"ETag", b"Cache-Control", b"Vary", b"Expires", b"Content-Location"]


def test_the_origin_is_asked_with_every_validator() -> None:
    assert validation_fields(b'"a"', OLD) == [(b"If-None-Match", b'"a"'), (b"If-Modified-Since", OLD)]
    assert validation_fields(None, None) == []


SELECTIONS = [  # of a 304: tag, date; of the stored response: tag, date
    pytest.param(None, None, b'"a"', OLD, True, id="no validator answers what was asked"),
    pytest.param(b'"a"', None, b'W/"a"', None, True, id="the same tag"),
    pytest.param(b'"b"', None, b'"a"', None, False, id="another tag"),
    pytest.param(b'"b"', None, None, None, False, id="a tag where there was none"),
    pytest.param(b'"a"', NEW, b'"a"', OLD, True, id="the tag decides"),
    pytest.param(None, OLD, None, OLD, True, id="the same date"),
    pytest.param(None, NEW, None, OLD, False, id="another date"),
    pytest.param(None, NEW, b'"a"', None, True, id="a date where there was none"),
]


@pytest.mark.parametrize(("named", "modified", "etag", "last_modified", "expected"), SELECTIONS)
def test_a_304_selects_what_its_validators_name(
    named: bytes | None,
    modified: bytes | None,
    etag: bytes | None,
    last_modified: bytes | None,
    expected: bool,
) -> None:
    lines = [(b"ETag", named), (b"Last-Modified", modified)]
    fields = Fields.of((name, value) for name, value in lines if value is not None)
    assert selects(fields, etag, last_modified) is expected


SAME = [  # of a stored response with 10 bytes, the tag "a" and a date
    pytest.param([], 10, True, id="the same length"),
    pytest.param([], None, True, id="no length"),
    pytest.param([], 11, False, id="another length"),
    pytest.param([(b"ETag", b'"a"')], 10, True, id="the same tag"),
    pytest.param([(b"ETag", b'W/"a"')], 10, True, id="the same tag, weakened by a coding of ours"),
    pytest.param([(b"ETag", b'"b"')], 10, False, id="another tag"),
    pytest.param([(b"Last-Modified", OLD)], 10, True, id="the same date"),
    pytest.param([(b"Last-Modified", NEW)], 10, False, id="another date"),
    pytest.param([(b"Content-Encoding", b"gzip")], 11, True, id="lengths of two codings do not compare"),
]


@pytest.mark.parametrize(("lines", "length", "expected"), SAME)
def test_head_speaks_of_the_stored_response(
    lines: list[tuple[bytes, bytes]], length: int | None, expected: bool
) -> None:
    stored = Fields.of([(b"ETag", b'"a"'), (b"Last-Modified", OLD)])
    assert is_same(stored, 10, Fields.of(lines), length) is expected


def test_a_tag_the_stored_response_does_not_have_is_another() -> None:
    assert not is_same(Fields.of(()), 10, Fields.of([(b"ETag", b'"a"')]), 10)


def test_freshening_updates_all_but_what_describes_the_stored_bytes() -> None:
    stored = Fields.of(
        [
            (b"Date", OLD), (b"Content-Type", b"text/html"), (b"Content-Encoding", b"br"),
            (b"ETag", b'W/"a"'),
            (b"Vary", b"Accept-Encoding"), (b"X-A", b"1"), (b"X-A", b"2"), (b"X-B", b"kept"),
        ]
    )  # fmt: skip
    told = Fields.of(
        [
            (b"Date", NEW), (b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip"),
            (b"ETag", b'"a"'),
            (b"Vary", b"Cookie"), (b"X-A", b"3"), (b"X-C", b"new"), (b"Content-Length", b"0"),
        ]
    )  # fmt: skip
    fresh = freshened(stored, told)
    assert fresh.get_all(b"date") == [NEW]
    assert fresh.get_all(b"x-a") == [b"3"]
    assert (fresh.get(b"x-b"), fresh.get(b"x-c")) == (b"kept", b"new")
    assert fresh.get_all(b"content-encoding") == [b"br"]
    assert fresh.get_all(b"content-type") == [b"text/plain"]
    assert fresh.get_all(b"etag") == [b'W/"a"']
    assert fresh.get_all(b"vary") == [b"Accept-Encoding"]
    assert b"content-length" not in fresh
    assert stored.get(b"date") == OLD
