"""What of an Upgrade is let through, and which 101 is believed (RFC 9110 7.8)."""

import pytest

from tests.support.contexts import make_context
from worker.fields import Fields
from worker.settings import OriginSettings, RouteSettings
from worker.upgrade import is_among, let_through, offered

ORIGIN = OriginSettings("http", "127.0.0.1", 80)


@pytest.mark.parametrize(
    ("lines", "protocols"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"websocket"),
        (b"Connection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\n", b"websocket"),
        (b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: a/1, b\r\nUpgrade: c\r\n", b"a/1, b, c"),
        (b"Connection: Upgrade\r\nUpgrade: ,, a , \r\n", b"a"),
        (b"Connection: keep-alive\r\nUpgrade: websocket\r\n", b""),
        (b"Connection: Upgrade\r\n", b""),
        (b"Upgrade: websocket\r\n", b""),
        (b"", b""),
    ],
)
def test_an_offer_needs_both_fields(lines: bytes, protocols: bytes) -> None:
    assert offered(Fields.trusted(lines)) == protocols


@pytest.mark.parametrize(
    ("offer", "passed", "asked"),
    [
        (b"websocket", (b"websocket",), b"websocket"),
        (b"h2c, websocket, chat/2", (b"websocket", b"chat"), b"websocket, chat/2"),
        (b"h2c", (b"websocket",), b""),
        (b"websocket", (), b""),
        (b"", (b"websocket",), b""),
    ],
)
def test_a_route_lets_through_what_it_names_in_any_version(
    offer: bytes, passed: tuple[bytes, ...], asked: bytes
) -> None:
    ctx = make_context()
    ctx.request.upgrade = offer
    ctx.route = RouteSettings("r", b"/", ORIGIN, upgrade=passed)
    assert let_through(ctx) == asked


def test_nothing_is_let_through_where_there_is_no_route() -> None:
    ctx = make_context()
    ctx.request.upgrade, ctx.route = b"websocket", None
    assert let_through(ctx) == b""


@pytest.mark.parametrize(
    ("chosen", "asked", "believed"),
    [
        (b"websocket", b"websocket", True),
        (b"WebSocket", b"websocket", True),
        (b"a/1, b", b"b, a/1, c", True),
        (b"a/2", b"a/1", False),
        (b"websocket, chat", b"websocket", False),
        (b"", b"websocket", False),
        (None, b"websocket", False),
    ],
)
def test_a_switch_is_believed_when_all_of_it_was_asked_for(
    chosen: bytes | None, asked: bytes, believed: bool
) -> None:
    assert is_among(chosen, asked) is believed
