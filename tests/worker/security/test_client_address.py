"""Whom a trusted proxy speaks for: what is believed, where belief ends, and what nobody may forge."""

from ipaddress import ip_network

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.security.client_address import ClientAddressGate

PROXIES = tuple(ip_network(text) for text in ("10.0.0.0/8", "2001:db8:1::/48"))


def asked(field: str, *lines: tuple[bytes, bytes], trusted: bool = True) -> Context:
    ctx = make_context(*lines, address="10.0.0.1")
    ctx.peer.trusted = trusted
    assert ClientAddressGate(PROXIES, field)(ctx) is None
    return ctx


@pytest.mark.parametrize(
    ("said", "address"),
    [
        pytest.param("203.0.113.9", "203.0.113.9", id="one"),
        pytest.param(
            "198.51.100.1, 203.0.113.9", "203.0.113.9", id="what-its-own-client-said-counts-for-nothing"
        ),
        pytest.param("198.51.100.1, 203.0.113.9, 10.1.1.1", "203.0.113.9", id="two-proxies"),
        pytest.param("198.51.100.1,203.0.113.9 ,\t10.1.1.1", "203.0.113.9", id="spaces"),
        pytest.param("10.3.3.3, 10.2.2.2", "10.3.3.3", id="only-proxies"),
        pytest.param("unknown, 10.2.2.2", "10.2.2.2", id="no-address-ends-the-list"),
        pytest.param("203.0.113.9, unknown", "10.0.0.1", id="nobody-vouches"),
        pytest.param("203.0.113.9:4711", "203.0.113.9", id="port"),
        pytest.param("2001:db8:2::1", "2001:db8:2::1", id="v6"),
        pytest.param("[2001:db8:2::1]:443", "2001:db8:2::1", id="v6-with-port"),
        pytest.param("203.0.113.9, 2001:db8:1::5", "203.0.113.9", id="v6-proxy"),
        pytest.param("::ffff:203.0.113.9", "203.0.113.9", id="v4-in-v6"),
        pytest.param("203.0.113.999", "10.0.0.1", id="no-address"),
        pytest.param("", "10.0.0.1", id="empty"),
        pytest.param(",", "10.0.0.1", id="empty-elements"),
        pytest.param(", ".join(["203.0.113.9"] + ["10.9.9.9"] * 500), "10.9.9.9", id="endless-chain"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_is_the_clients(said: str, address: str) -> None:
    assert asked("x-forwarded-for", (b"X-Forwarded-For", said.encode())).client.address == address


@pytest.mark.parametrize(
    ("said", "address"),
    [
        pytest.param("for=203.0.113.9", "203.0.113.9", id="one"),
        pytest.param(
            'for=198.51.100.1, For="203.0.113.9:47011";proto=https;by=10.1.1.1', "203.0.113.9", id="quoted"
        ),
        pytest.param('proto=http;for="[2001:db8:2::1]:80"', "2001:db8:2::1", id="v6"),
        pytest.param("for=203.0.113.9, for=10.1.1.1;proto=http", "203.0.113.9", id="two-proxies"),
        pytest.param("for=203.0.113.9, for=_hidden", "10.0.0.1", id="obfuscated"),
        pytest.param("proto=https", "10.0.0.1", id="nobody-named"),
        pytest.param('by="for=203.0.113.9"', "10.0.0.1", id="not-a-parameter"),
    ],
)
def test_forwarded_elements_are_read_where_they_are_chosen(said: str, address: str) -> None:
    assert asked("forwarded", (b"Forwarded", said.encode())).client.address == address


def test_the_lines_of_a_list_are_one_list() -> None:
    lines = (b"X-Forwarded-For", b"203.0.113.9"), (b"X-Forwarded-For", b"10.1.1.1")
    assert asked("x-forwarded-for", *lines).client.address == "203.0.113.9"


def test_a_stranger_is_who_it_is() -> None:
    ctx = asked("x-forwarded-for", (b"X-Forwarded-For", b"203.0.113.9"), trusted=False)
    assert ctx.client is ctx.peer


def test_the_field_that_was_not_chosen_is_not_believed() -> None:
    assert asked("x-forwarded-for", (b"Forwarded", b"for=203.0.113.9")).client.address == "10.0.0.1"
    assert asked("forwarded", (b"X-Forwarded-For", b"203.0.113.9")).client.address == "10.0.0.1"


def test_a_client_is_known_again_and_its_own_proxy_is_not_taken_for_it() -> None:
    gate = ClientAddressGate(PROXIES, "x-forwarded-for")
    seen = []
    for _ in range(2):
        ctx = make_context((b"X-Forwarded-For", b"203.0.113.9"), address="10.0.0.1")
        ctx.peer.trusted = True
        gate(ctx)
        seen.append(ctx)
    assert seen[0].client is seen[1].client
    assert (seen[0].client.bucket_key, seen[0].client.trusted) == (b"\xcb\0q\t", False)
    assert seen[0].peer is not seen[0].client
