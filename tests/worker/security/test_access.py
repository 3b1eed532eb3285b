"""The access list: the most specific network decides, a deny beats an equal allow."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from tests.support.contexts import make_context
from worker.reasons import Block
from worker.response.error_page import ErrorPage
from worker.security.access import AccessGate
from worker.settings import AccessSettings, Network

refuse = ErrorPage("edge").refuse


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def gate(*, allow: Sequence[str] = (), deny: Sequence[str] = (), default: bool = True) -> AccessGate:
    return AccessGate(AccessSettings(networks(allow), networks(deny), default), refuse)


def is_served(access: AccessGate, address: str) -> bool:
    ctx = make_context(address=address)
    response = access(ctx)
    assert (response is None) == (ctx.block is None)
    return response is None


@pytest.mark.parametrize(
    ("allow", "deny", "default", "address", "served"),
    [
        pytest.param([], [], True, "192.0.2.1", True, id="empty-list-default-allow"),
        pytest.param([], [], False, "192.0.2.1", False, id="empty-list-default-deny"),
        pytest.param(["192.0.2.0/24"], [], False, "192.0.2.1", True, id="allowed"),
        pytest.param(["192.0.2.0/24"], [], False, "192.0.3.1", False, id="outside-falls-to-default"),
        pytest.param([], ["192.0.2.0/24"], True, "192.0.2.255", False, id="denied"),
        pytest.param([], ["192.0.2.0/24"], True, "192.0.3.0", True, id="next-to-denied"),
        pytest.param(["192.0.2.7/32"], ["192.0.2.0/24"], True, "192.0.2.7", True, id="specific-allow-wins"),
        pytest.param(["192.0.2.0/24"], ["192.0.2.7/32"], False, "192.0.2.7", False, id="specific-deny-wins"),
        pytest.param(["192.0.2.0/24"], ["192.0.2.0/24"], True, "192.0.2.7", False, id="equal-deny-wins"),
        pytest.param(
            ["10.0.0.0/8", "10.1.2.0/24"], ["10.1.0.0/16"], False, "10.1.2.3", True, id="three-levels"
        ),
        pytest.param(
            ["10.0.0.0/8", "10.1.2.0/24"], ["10.1.0.0/16"], False, "10.1.3.3", False, id="middle-level"
        ),
        pytest.param([], ["0.0.0.0/0"], True, "203.0.113.9", False, id="everything-v4"),
        pytest.param([], ["0.0.0.0/0"], True, "2001:db8::1", True, id="v4-says-nothing-of-v6"),
        pytest.param([], ["::/0"], True, "2001:db8::1", False, id="everything-v6"),
        pytest.param([], ["::/0"], True, "192.0.2.1", True, id="v6-says-nothing-of-v4"),
        pytest.param(["2001:db8:1::/48"], ["2001:db8::/32"], True, "2001:db8:1::9", True, id="v6-specific"),
        pytest.param([], ["192.0.2.0/24"], True, "::ffff:192.0.2.1", False, id="v4-on-a-v6-socket"),
        pytest.param([], ["fe80::/10"], True, "fe80::1%eth0", False, id="zone"),
    ],
)
def test_the_list_decides(
    allow: list[str], deny: list[str], default: bool, address: str, served: bool
) -> None:
    assert is_served(gate(allow=allow, deny=deny, default=default), address) is served


def test_a_denied_client_gets_a_403_that_says_why_to_the_log() -> None:
    ctx = make_context(address="192.0.2.1")
    response = gate(deny=["192.0.2.1/32"])(ctx)
    assert response is not None
    assert (response.status, ctx.block) == (403, Block.ACCESS)
    assert isinstance(response.body, bytes)
    assert ctx.request_id in response.body


def test_the_verdict_is_remembered_on_the_connection() -> None:
    for access, served in ((gate(), True), (gate(default=False), False)):
        ctx = make_context(address="192.0.2.1")
        first, memo = access(ctx), ctx.client.access
        assert memo is not None
        ctx.client.address = "not looked at again"
        second = access(ctx)
        assert [first is None, second is None] == [served, served]
        assert ctx.client.access is memo


def test_gates_of_two_routes_do_not_believe_each_others_memo() -> None:
    opened, closed, other_closed = gate(), gate(default=False), gate(default=False)
    ctx = make_context(address="192.0.2.1")
    for _ in range(2):
        assert opened(ctx) is None
        assert closed(ctx) is not None
        assert other_closed(ctx) is not None
        assert opened(ctx) is None


def test_what_is_no_address_is_an_error_and_never_let_in() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        gate()(make_context(address="nonsense"))
