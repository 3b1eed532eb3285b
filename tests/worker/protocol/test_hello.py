"""Decisions upon a ClientHello: their order, what each may say, and what they can read."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.support.tls_pair import client_context, write_pair
from worker.protocol.hello import GO_ON, REFUSED, TAKEN, Alert, asked_name, decide, extension
from worker.protocol.tls import make_context

ALPN = 16


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    return make_context(*write_pair(authority, tmp_path))


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost") -> None:
    """A whole handshake in memory. Raises what the client makes of the server's answer."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname = name is not None
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    done = [False, False]
    while not all(done):
        for index, end in enumerate((near, far)):
            try:
                end.do_handshake()
                done[index] = True
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                if end is near:
                    raise


def saying(said: int, told: list[str], name: str) -> Callable[[int, Alert], int]:
    def decision(_connection: int, alert: Alert) -> int:
        told.append(name)
        if said == REFUSED:
            alert[0] = 112
        return said

    return decision


@pytest.mark.parametrize(
    ("middle", "told"), [(GO_ON, ["first", "middle", "last"]), (TAKEN, ["first", "middle"])]
)
def test_they_are_taken_in_order_until_one_is_enough(
    server: ssl.SSLContext, authority: trustme.CA, middle: int, told: list[str]
) -> None:
    order: list[str] = []
    decide(server, saying(middle, order, "middle"))
    decide(server, saying(GO_ON, order, "last"))
    decide(server, saying(GO_ON, order, "first"), first=True)
    shake_hands(server, client_context(authority))
    assert order == told


def test_a_refusal_is_an_alert_and_the_last_word(server: ssl.SSLContext, authority: trustme.CA) -> None:
    order: list[str] = []
    decide(server, saying(REFUSED, order, "refusing"))
    decide(server, saying(GO_ON, order, "never"))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized[ _]name"):
        shake_hands(server, client_context(authority))
    assert order == ["refusing"]


@pytest.mark.parametrize("name", ["localhost", None])
def test_what_the_client_asks_for_can_be_read(
    server: ssl.SSLContext, authority: trustme.CA, name: str | None
) -> None:
    read: list[object] = []

    def decision(connection: int, _alert: Alert) -> int:
        read.extend((asked_name(connection), extension(connection, ALPN), extension(connection, 0xFFFE)))
        return GO_ON

    decide(server, decision)
    shake_hands(server, client_context(authority, "h2", "http/1.1"), name)
    assert read == [name, b"\x00\x0c\x02h2\x08http/1.1", None]
