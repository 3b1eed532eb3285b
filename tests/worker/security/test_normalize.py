"""One spelling per path: a table, and properties that must hold for any path."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request
from worker.security.normalize import Normalizer

normalizer = Normalizer()


def normal(path: bytes, query: bytes | None = None, method: bytes = b"GET") -> bytes:
    request = Request(method, b"http", b"a", path, path, query, b"1.1", Fields.of())
    normalizer(request)
    assert request.query == query
    return request.path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # its own normal form
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/b/", b"/a/b/"),
        (b"/a.b/c..d", b"/a.b/c..d"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/...", b"/..."),
        (b"/a/..b", b"/a/..b"),
        (b"/a;p=1,2/b:c@d", b"/a;p=1,2/b:c@d"),
        (b"/a|b^c[d]", b"/a|b^c[d]"),
        (b"/%C3%A9", b"/%C3%A9"),
        (b"/%20", b"/%20"),
        # RFC 3986 5.2.4 and 5.4
        (b"/a/b/c/./../../g", b"/a/g"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/../..", b"/"),
        (b"/../g", b"/g"),
        (b"/b/c/.", b"/b/c/"),
        (b"/b/c/..", b"/b/"),
        (b"/b/c/../", b"/b/"),
        (b"/b/c/../../../g", b"/g"),
        (b"/b/./g/.", b"/b/g/"),
        (b"/a/./", b"/a/"),
        # RFC 3986 6.2.2
        (b"/%7euser", b"/~user"),
        (b"/%41%5a%61%7A%30%39%2D%2e%5F", b"/AZaz09-._"),
        (b"/%c3%a9", b"/%C3%A9"),
        (b"/%2e%2E/x", b"/x"),
        (b"/a/%2e%2e/b", b"/b"),
        (b"/a/%2e", b"/a/"),
        (b"/%252e%252e/x", b"/%252e%252e/x"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%3Fb%23c", b"/a%3Fb%23c"),
        # slashes
        (b"//", b"/"),
        (b"//a///b//", b"/a/b/"),
        (b"/a//../b", b"/b"),
        (b"/a/%2e%2e//b", b"/b"),
    ],
)
def test_a_path_has_one_spelling(path: bytes, expected: bytes) -> None:
    assert normal(path) == expected
    assert normal(expected) == expected


@pytest.mark.parametrize(
    "path",
    [
        b"/%00",
        b"/a%00.html",
        b"/a\x00b",
        b"/a\\b",
        b"/a%5cb",
        b"/a%5C..%5Cb",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/a%2",
        b"/%u0041",
        b"/%%41",
        b"/caf\xc3\xa9",
        b"/a b",
        b"/a\tb",
        b"/a\x7f",
        b"/a#b",
        b"/..%2fetc/passwd",
        b"/a/..%2F..%2Fb",
        b"/a%2F..",
        b"/a%2f%2e%2e",
        b"/a%2F./b",
        b"",
        b"*",
        b"a/b",
    ],
)
def test_a_path_with_no_safe_spelling_is_refused(path: bytes) -> None:
    with pytest.raises(EdgeError) as caught:
        normal(path)
    assert caught.value.status == 400
    assert caught.value.detail.startswith("path with ")


def test_the_asterisk_is_for_options() -> None:
    assert normal(b"*", method=b"OPTIONS") == b"*"


@pytest.mark.parametrize("query", [b"", b"a=b&c", b"a=%zz", b"a=/../b//\\", b"?" * 3])
def test_a_query_stays_as_sent(query: bytes) -> None:
    assert normal(b"/", query) == b"/"


@pytest.mark.parametrize("query", [b"a b", b"a\x00", b"a\r\n", b"caf\xc3\xa9", b"a#b"])
def test_a_query_that_is_none_is_refused(query: bytes) -> None:
    with pytest.raises(EdgeError) as caught:
        normal(b"/", query)
    assert caught.value.status == 400


def test_slashes_can_be_left_alone() -> None:
    request = Request(b"GET", b"http", b"a", b"//a//../b", b"//a//../b", None, b"1.1", Fields.of())
    Normalizer(merge_slashes=False)(request)
    assert request.path == b"//a/b"


PARTS = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b"a",
        b"B",
        b"~",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%2F",
        b"%41",
        b"%7e",
        b"%25",
        b"%c3",
        b";",
    ]
)


@given(st.lists(PARTS, max_size=12))
def test_a_normal_path_is_stable_and_has_nothing_left_to_resolve(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    try:
        once = normal(path)
    except EdgeError:
        return
    assert normal(once) == once
    assert once.startswith(b"/")
    assert b"//" not in once
    assert not {b".", b".."} & set(once.split(b"/"))
    # Neither can an origin that decodes everything, and only then looks for dot segments, leave the path.
    assert not {b".", b".."} & set(unquote_to_bytes(once).split(b"/"))


@given(st.binary(max_size=40))
def test_any_bytes_are_either_refused_or_become_visible_ascii(data: bytes) -> None:
    try:
        path = normal(b"/" + data)
    except EdgeError:
        return
    assert all(0x21 <= byte <= 0x7E for byte in path)
    assert b"\\" not in path and b"#" not in path and b"\x00" not in unquote_to_bytes(path)
    assert normal(path) == path
