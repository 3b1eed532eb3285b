"""Bans: in force at once, also on connections that were let in before, and over with their end."""

from tests.support.contexts import make_context
from worker.networks import NetworkMap, SharedNetworks
from worker.reasons import Block
from worker.response.error_page import ErrorPage
from worker.security.bans import BanGate


def publish(bans: SharedNetworks, text: bytes) -> None:
    bans.publish(NetworkMap([(text, 1)]))


def test_who_was_let_in_is_shut_out_with_the_next_request_and_let_in_again() -> None:
    bans = SharedNetworks(8)
    gate, ctx = BanGate(bans, ErrorPage("edge").refuse), make_context(address="192.0.2.1")
    assert gate(ctx) is None
    publish(bans, b"192.0.2.0/24")
    response = gate(ctx)
    assert response is not None
    assert (response.status, ctx.block) == (403, Block.BAN)
    publish(bans, b"198.51.100.0/24")
    assert gate(ctx) is None


def test_who_is_not_banned_is_looked_up_once_for_each_change() -> None:
    bans = SharedNetworks(8)
    gate, ctx = BanGate(bans, ErrorPage("edge").refuse), make_context(address="192.0.2.1")
    assert gate(ctx) is None
    ctx.client.address = "not looked at again"
    assert gate(ctx) is None
    publish(bans, b"")
    ctx.client.address = "2001:db8::1"
    assert gate(ctx) is None
