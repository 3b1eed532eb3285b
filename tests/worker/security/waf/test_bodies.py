"""Bodies as the values that are looked at: read by their type, codings undone, bounded in everything."""

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from worker.fields import Fields
from worker.security.waf.bodies import ARGUMENTS, Body, Kind, kind_of, read_body

LIMIT = 128 * 1024


def read(
    raw: bytes, content_type: bytes = b"", coding: bytes = b"", *, is_cut: bool = False, limit: int = LIMIT
) -> Body:
    lines = [(b"Content-Type", content_type)] if content_type else []
    lines += [(b"Content-Encoding", coding)] if coding else []
    return read_body(Fields.of(lines), raw, limit, is_cut=is_cut)


def rules(body: Body) -> list[str]:
    return [rule for rule, _, _ in body.faults]


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        (b"application/x-www-form-urlencoded; charset=UTF-8", Kind.FORM),
        (b"Multipart/Form-Data; boundary=x", Kind.MULTIPART),
        (b"application/json", Kind.JSON),
        (b"application/ld+json;profile=x", Kind.JSON),
        (b"application/x-ndjson", Kind.JSON_LINES),
        (b"text/xml", Kind.XML),
        (b"application/soap+xml", Kind.XML),
        (b"text/plain", Kind.TEXT),
        (b"multipart/mixed; boundary=x", Kind.TEXT),
        (b"", Kind.TEXT),
        (b"application/grpc+proto", Kind.OPAQUE),
        (b"application/octet-stream", Kind.OPAQUE),
        (b"image/png", Kind.OPAQUE),
    ],
)
def test_the_content_type_says_how_a_body_is_read(content_type: bytes, kind: Kind) -> None:
    assert kind_of(Fields.of([(b"Content-Type", content_type)] if content_type else [])) is kind


def test_json_has_names_and_texts() -> None:
    body = read(b'\xef\xbb\xbf{"a": {"b": ["x y", 1, null, {"c": "a/b"}]}, "a": "word"}', b"application/json")
    assert [pair for pair in body.arguments if pair[1]] == [(b"json.a.b", b"x y"), (b"json.a.b.c", b"a/b")]
    names = [name for name, value in body.arguments if not value]
    assert names == [b"json.a", b"json.a.b", b"json.a.b.c"]
    assert not body.faults


CODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", CODERS)
def test_codings_are_undone(coding: bytes) -> None:
    body = read(CODERS[coding](b"a=1&b=2"), b"application/x-www-form-urlencoded", coding)
    assert (body.arguments, body.faults) == ([(b"a", b"1"), (b"b", b"2")], [])


@pytest.mark.parametrize("coding", CODERS)
def test_what_cannot_be_unpacked_is_malformed(coding: bytes) -> None:
    assert rules(read(b"a=1&b=2", b"", coding)) == ["malformed"]


@pytest.mark.parametrize("coding", CODERS)
def test_a_bomb_is_unpacked_to_the_limit_and_no_further(coding: bytes) -> None:
    body = read(CODERS[coding](bytes(20_000_000)), b"text/plain", coding)
    assert (len(body.content), rules(body)) == (LIMIT, ["excess"])


@pytest.mark.parametrize("coding", CODERS)
def test_a_long_text_is_no_bomb(coding: bytes) -> None:
    text = b"".join(b"%d," % (number * number) for number in range(60_000))
    body = read(CODERS[coding](text), b"text/plain", coding)
    assert (body.content, body.faults) == (text[:LIMIT], [])


def test_codings_lie_around_each_other_to_a_bounded_depth() -> None:
    raw = b"a=1"
    for depth in (1, 2, 3):
        raw = gzip.compress(raw)
        body = read(raw, b"application/x-www-form-urlencoded", b", ".join([b"gzip"] * depth))
        assert rules(body) == ([] if depth < 3 else ["excess"])
        assert (body.arguments == [(b"a", b"1")]) is (depth < 3)


def test_every_member_of_a_gzip_body_is_unpacked() -> None:
    raw = gzip.compress(b"a=1") + gzip.compress(b"&b=2")
    assert read(raw, b"application/x-www-form-urlencoded", b"gzip").content == b"a=1&b=2"
    assert rules(read(gzip.compress(b"") * 1000, b"", b"gzip")) == ["malformed"]


def test_a_coding_nobody_knows_leaves_the_body_as_it_is() -> None:
    body = read(b"a=1", b"application/x-www-form-urlencoded", b"aws-chunked")
    assert (body.arguments, body.faults) == ([(b"a", b"1")], [])


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="one"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="two"; filename="f"\r\n\r\n' + b"x" * 100
)


@pytest.mark.parametrize("size", range(60, len(MULTIPART), 7))
def test_wherever_a_multipart_body_is_cut_its_first_parts_are_read(size: int) -> None:
    body = read(MULTIPART[:size], b"multipart/form-data; boundary=b", is_cut=True)
    name, value = body.arguments[0]
    assert (name, value[:1]) == (b"one", b"1")
    assert not body.faults


@pytest.mark.parametrize("size", range(12, 40, 3))
def test_wherever_json_is_cut_its_texts_are_read(size: int) -> None:
    whole = b'{"a": "text\\u0021", "b": ["other", "x"]}'
    body = read(whole[:size], b"application/json", is_cut=True)
    assert body.arguments[0] == (b"json", b"a")
    assert body.arguments[1][1].startswith(b"text")
    assert not body.faults


@pytest.mark.parametrize(
    ("content_type", "content", "rule"),
    [
        (b"application/x-www-form-urlencoded", b"a=1&" * (ARGUMENTS + 1), "excess"),
        (b"application/json", b"[" * 65 + b"]" * 65, "excess"),
        (b"application/json", b"[" * 60_000, "excess"),
        (b"application/json", b'["", ' + b'"",' * 20_000 + b'""]', "excess"),
        (b"application/json", b"{", "malformed"),
        (b"application/json", '{"a": 1}'.encode("utf-16"), "malformed"),
        (b"application/xml", b"<a>" * 65 + b"</a>" * 65, "excess"),
        (b"application/xml", b"<a>", "malformed"),
        (b"multipart/form-data", b"--b", "malformed"),
        (b"text/plain; charset=utf-7", b"a", "malformed"),
    ],
)
def test_too_much_of_something_and_what_is_broken_is_told(
    content_type: bytes, content: bytes, rule: str
) -> None:
    assert rules(read(content, content_type)) == [rule]
