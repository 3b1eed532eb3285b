"""Fields that a route changes on answers."""

import pytest

from tests.support.contexts import make_context
from worker.fields import Fields
from worker.message import Response
from worker.response.header_rules import HeaderRules
from worker.settings import HeaderSettings

HSTS = b"max-age=31536000"


def changed(
    rules: HeaderSettings, hsts: bytes | None = None, scheme: bytes = b"http", forwarded: bool = False
) -> list[tuple[bytes, bytes]]:
    stored = b"server: x\r\nX-A: 1\r\nx-a: 2\r\nStrict-Transport-Security: old\r\n"
    response = Response(200, Fields.trusted(stored), b"", 0)
    ctx = make_context((b"X-Forwarded-Proto", b"https"))
    ctx.request.scheme, ctx.client.trusted = scheme, forwarded
    HeaderRules(rules, hsts)(ctx, response)
    return response.fields.items()


OLD = [(b"server", b"x"), (b"X-A", b"1"), (b"x-a", b"2"), (b"Strict-Transport-Security", b"old")]
CHANGES = [
    pytest.param(HeaderSettings(), OLD, id="nothing"),
    pytest.param(HeaderSettings(set=((b"X-a", b"3"),)), [OLD[0], OLD[3], (b"X-a", b"3")], id="set"),
    pytest.param(HeaderSettings(add=((b"X-A", b"3"),)), [*OLD, (b"X-A", b"3")], id="add"),
    pytest.param(HeaderSettings(remove=(b"server", b"x-b")), OLD[1:], id="remove"),
]


@pytest.mark.parametrize(("rules", "lines"), CHANGES)
def test_changes(rules: HeaderSettings, lines: list[tuple[bytes, bytes]]) -> None:
    assert changed(rules) == lines


def test_hsts_is_said_over_https_only_and_once() -> None:
    """RFC 6797 7.1 and 7.2."""
    said = (b"Strict-Transport-Security", HSTS)
    assert changed(HeaderSettings(), HSTS, b"https") == [*OLD[:3], said]
    assert changed(HeaderSettings(), HSTS, b"http") == OLD[:3]
    assert changed(HeaderSettings(), HSTS, b"http", forwarded=True) == [*OLD[:3], said]
