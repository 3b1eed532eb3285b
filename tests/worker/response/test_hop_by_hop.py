"""Store filter: hop-by-hop fields go, everything else stays."""

import pytest

from tests.support.contexts import make_context
from worker.fields import Fields
from worker.message import Response
from worker.response.hop_by_hop import HOP_BY_HOP, OURS, drop_hop_by_hop


def left(*lines: tuple[bytes, bytes], status: int = 200) -> list[tuple[bytes, bytes]]:
    response = Response(status, Fields.of(lines))
    drop_hop_by_hop(make_context(), response)
    return response.fields.items()


@pytest.mark.parametrize("name", [name for name in (*HOP_BY_HOP, *OURS) if name != b"transfer-encoding"])
def test_fields_of_one_hop_are_dropped(name: bytes) -> None:
    assert left((b"Content-Type", b"text/plain"), (name.title(), b"x")) == [(b"Content-Type", b"text/plain")]


def test_what_connection_names_is_dropped_whatever_its_spelling() -> None:
    lines = [
        (b"Connection", b"X-Trace , close"),
        (b"x-trace", b"1"),
        (b"Connection", b"X-OTHER"),
        (b"X-Other", b"2"),
        (b"X-Third", b"3"),
    ]
    assert left(*lines) == [(b"X-Third", b"3")]


def test_end_to_end_fields_keep_their_order_and_repetitions() -> None:
    lines = [(b"Set-Cookie", b"a=1"), (b"Via", b"1.1 other"), (b"Set-Cookie", b"b=2"), (b"Trailer", b"X-Sum")]
    assert left(*lines) == lines


def test_switching_protocols_keeps_the_upgrade_field() -> None:
    lines = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert left(*lines, status=101) == [(b"Upgrade", b"websocket")]
    assert left(*lines, status=426) == []
