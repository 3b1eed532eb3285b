"""RFC 8941: dictionaries, read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cache.structured import Value, dictionary

ROWS = [
    pytest.param(b"a", {b"a": True}, id="no value is true"),
    pytest.param(b"a=?1, b=?0", {b"a": True, b"b": False}, id="booleans"),
    pytest.param(b"a=1", {b"a": 1}, id="an integer"),
    pytest.param(b"a=-1", {b"a": -1}, id="a negative integer"),
    pytest.param(b"a=007", {b"a": 7}, id="leading zeros"),
    pytest.param(b"a=999999999999999", {b"a": 999999999999999}, id="fifteen digits"),
    pytest.param(b"a=1000000000000000", None, id="sixteen digits"),
    pytest.param(b"a=1.5", {b"a": None}, id="a decimal"),
    pytest.param(b"a=1.", None, id="a decimal without fraction"),
    pytest.param(b"a=1.2345", None, id="a decimal with four places"),
    pytest.param(b"a=1.2.3", None, id="two points"),
    pytest.param(b'a="x, \\"y\\" \\\\"', {b"a": b'x, "y" \\'}, id="a string"),
    pytest.param(b'a="x', None, id="a string without end"),
    pytest.param(b'a="\\x"', None, id="an escape that is none"),
    pytest.param(b'a="\xc3\xa4"', None, id="a string beyond ASCII"),
    pytest.param(b"a=tok/en:1", {b"a": None}, id="a token"),
    pytest.param(b"a=:aGk=:", {b"a": None}, id="a byte sequence"),
    pytest.param(b'a=(1 2;x "y")', {b"a": None}, id="an inner list"),
    pytest.param(b"a=()", {b"a": None}, id="an empty inner list"),
    pytest.param(b"a=(1", None, id="an inner list without end"),
    pytest.param(b'a=1;x;y=2; z="q", b', {b"a": 1, b"b": True}, id="parameters are dropped"),
    pytest.param(b"a;x=1", {b"a": True}, id="parameters without a value before"),
    pytest.param(b"a=1;", None, id="a parameter without a name"),
    pytest.param(b"a=1;X=1", None, id="a parameter in upper case"),
    pytest.param(b"a=1, b=2, a=3", {b"a": 3, b"b": 2}, id="the last of two"),
    pytest.param(b"a=1 ,\tb=2", {b"a": 1, b"b": 2}, id="spaces around the comma"),
    pytest.param(b"  a  ", {b"a": True}, id="spaces around it all"),
    pytest.param(b"a=1,", None, id="a comma at the end"),
    pytest.param(b",a=1", None, id="a comma at the start"),
    pytest.param(b"a=1,,b=2", None, id="two commas"),
    pytest.param(b"a=", None, id="an equals sign and nothing"),
    pytest.param(b"a =1", None, id="a space before the equals sign"),
    pytest.param(b"a= 1", None, id="a space behind it"),
    pytest.param(b"A=1", None, id="a key in upper case"),
    pytest.param(b"1=1", None, id="a key that begins with a digit"),
    pytest.param(b"a=1; b=2 c", None, id="something behind a member"),
    pytest.param(b"a=@1", None, id="a date is no type of RFC 8941"),
    pytest.param(b"", None, id="empty"),
    pytest.param(b"{}", None, id="another language"),
]


@pytest.mark.parametrize(("value", "members"), ROWS)
def test_dictionaries(value: bytes, members: dict[bytes, Value] | None) -> None:
    assert dictionary(value) == members


KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]*", fullmatch=True).map(str.encode)
STRINGS = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.encode)
VALUES = st.booleans() | st.integers(-(10**15) + 1, 10**15 - 1) | STRINGS


def written(value: bool | int | bytes) -> bytes:
    if isinstance(value, bool):
        return b"?%d" % value
    if isinstance(value, int):
        return b"%d" % value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_what_is_written_is_read_back(members: dict[bytes, bool | int | bytes]) -> None:
    assert dictionary(b", ".join(key + b"=" + written(value) for key, value in members.items())) == members


@given(st.binary())
def test_whatever_comes_is_answered(value: bytes) -> None:
    members = dictionary(value)
    assert members is None or members
