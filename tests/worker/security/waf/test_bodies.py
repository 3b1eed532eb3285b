"""Forms, JSON and XML as arguments: names, values, and bounds."""

import pytest

from worker.security.waf.arguments import pairs
from worker.security.waf.json_body import JsonError, arguments
from worker.security.waf.xml_body import XmlText


@pytest.mark.parametrize(
    ("text", "found", "broken"),
    [
        (b"a=1&b=2", [(b"a", b"1"), (b"b", b"2")], False),
        (b"a=1=2&b", [(b"a", b"1=2"), (b"b", b"")], False),
        (b"a%26b=%3d+x", [(b"a&b", b"= x")], False),
        (b"a=%zz%4", [(b"a", b"%zz%4")], True),
        (b"a&&b&", [(b"a", b""), (b"", b""), (b"b", b"")], False),
        (b"", [], False),
    ],
)
def test_forms_are_split_first_and_decoded_after(
    text: bytes, found: list[tuple[bytes, bytes]], broken: bool
) -> None:
    assert pairs(text) == (found, broken)


MANY = b"[" + b"1," * 100 + b"1]"


def values(body: bytes, depth: int = 5, count: int = 100) -> list[tuple[bytes, bytes]]:
    return arguments(body, max_depth=depth, max_values=count)


def test_json_values_are_named_by_their_path() -> None:
    body = b'{"a": {"b": 1.50, "b": null}, "l": [true, {"x": "y"}, [2]], "e": {}, "u": "\\ud800"}'
    assert values(body) == [
        (b"json.a.b", b"1.50"),
        (b"json.a.b", b""),
        (b"json.l.array_0", b"true"),
        (b"json.l.array_1.x", b"y"),
        (b"json.l.array_2.array_0", b"2"),
        (b"json.u", b"?"),
    ]


@pytest.mark.parametrize(
    "body",
    [b"{", b"{'a': 1}", b"[NaN]", b"[1] 2", b'["\xff"]', b"[[[[[[1]]]]]]", b"[" * 100_000, MANY],
)
def test_what_is_no_json_or_too_much_of_it_is_an_error(body: bytes) -> None:
    with pytest.raises(JsonError):
        values(body)


def test_xml_is_its_text_and_its_attributes() -> None:
    document = XmlText(b'<a xmlns="u" x="1"><b y="&lt;">t&amp;</b>u<![CDATA[<v>]]></a>', max_depth=5)
    assert (document.text, document.attributes) == (b"t&u<v>", [b"1", b"<"])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", b""),
        (b"<a>x", b"x"),
        (b"text", b""),
        (b"<a>1<b>2<c>3<d>4</d></c></b></a>", b"123"),
        (b'<?xml version="1.0" encoding="none"?><a/>', b""),
        (b'<?xml version="1.0" encoding="big5"?><a/>', b""),
    ],
)
def test_what_is_no_xml_or_too_deep_is_an_error_behind_what_was_read(body: bytes, text: bytes) -> None:
    document = XmlText(body, max_depth=3)
    assert document.error is not None
    assert document.text == text


def test_entities_cannot_fetch_or_explode() -> None:
    outside = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'
    assert XmlText(outside, max_depth=3).text == b""
    levels = b"".join(b'<!ENTITY l%d "%b">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    bomb = b'<!DOCTYPE a [<!ENTITY l0 "lol">' + levels + b"]><a>&l9;</a>"
    error = XmlText(bomb, max_depth=3).error
    assert error is not None
    assert "amplification" in error
