"""What a value says once its encodings are undone, and where that ends."""

import base64

import pytest

from worker.security.detect.views import DEPTH, VIEWS, views

HIDDEN = b"<script>alert(1)</script>?~?"
PICTURE = base64.b64encode(bytes(range(256)))


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        pytest.param(b"%3Cscript%3E", b"<script>", id="percent"),
        pytest.param(b"%253Cscript%253E", b"<script>", id="percent-twice"),
        pytest.param(b"%u003Cscript%u003E", b"<script>", id="percent-u"),
        pytest.param(b"&lt;script&#62;", b"<script>", id="entities"),
        pytest.param(b"&#x3c;script&#0000062", b"<script>", id="entities-without-end"),
        pytest.param(rb"\u003cscript\x3e", b"<script>", id="escapes"),
        pytest.param(rb"\u{3c}script>", b"<script>", id="long-escapes"),
        pytest.param(rb"a\r\nb", b"a\r\nb", id="line-breaks"),
        pytest.param(b"..%u2215etc", b"../etc", id="look-alike-slash"),
        pytest.param("＜script＞".encode(), b"<script>", id="full-width"),
        pytest.param(
            base64.b64encode(b"<script>alert(1)</script>"), b"<script>alert(1)</script>", id="base64"
        ),
        pytest.param(
            base64.urlsafe_b64encode(b"<a onclick=x()>?~?").rstrip(b"="),
            b"<a onclick=x()>?~?",
            id="base64url",
        ),
        pytest.param(b"1'+or+'7'='7", b"1' or '7'='7", id="plus"),
        pytest.param(b"%26lt%3Bscript%26gt%3B", b"<script>", id="entities-in-percent"),
    ],
)
def test_encodings_are_undone(value: bytes, hidden: bytes) -> None:
    found = views(value)
    assert found[0] == value
    assert hidden in found


@pytest.mark.parametrize(
    "value",
    [
        b"plain",
        b"100%",
        b"AT&T",
        b"a\\b",
        b"",
        base64.b64encode(bytes(range(256))),
        b"&nosuchentity;",
        b"abcdefghijklmnop",
    ],
)
def test_what_is_not_encoded_has_one_view(value: bytes) -> None:
    assert views(value)[:1] == [value]
    assert all(view.strip() for view in views(value)[1:])
    assert len(views(value)) <= 2


def test_depth_and_number_are_bounded() -> None:
    value = b"<"
    for _ in range(DEPTH + 1):
        value = value.replace(b"%", b"%25").replace(b"<", b"%3C")
    assert b"<" not in views(value)
    assert len(views(b"%26%23x25%3B&#x25;\\u0025" * 10)) <= VIEWS
