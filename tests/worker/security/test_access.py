"""The access list: the most specific network decides, a deny beats an equal allow."""

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.support.contexts import make_context
from worker.reasons import Block
from worker.response.error_page import ErrorPage
from worker.security.access import AccessGate
from worker.security.lists import ListError, read_networks
from worker.settings import AccessSettings, Network

refuse = ErrorPage("edge").refuse


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def gate(*, allow: Sequence[str] = (), deny: Sequence[str] = (), default: bool = True) -> AccessGate:
    settings = AccessSettings(networks(allow), networks(deny), default_allow=default)
    return AccessGate(settings, read_networks(settings), refuse)


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


ASNS = {"198.51.100.1": 64500, "198.51.100.2": 64501, "203.0.113.1": 64500}
COUNTRIES = {"198.51.100.1": b"DE", "198.51.100.2": b"DE", "203.0.113.1": b"FR"}


@pytest.mark.parametrize(
    ("settings", "address", "served"),
    [
        pytest.param({"deny_countries": (b"DE",)}, "198.51.100.1", False, id="country-denied"),
        pytest.param({"deny_countries": (b"DE",)}, "203.0.113.1", True, id="another-country"),
        pytest.param({"deny_countries": (b"DE",)}, "192.0.2.1", True, id="country-unknown"),
        pytest.param(
            {"allow_countries": (b"DE",), "default_allow": False}, "198.51.100.1", True, id="country-allowed"
        ),
        pytest.param(
            {"allow_countries": (b"DE",), "default_allow": False}, "192.0.2.1", False, id="nobody-knows-where"
        ),
        pytest.param({"deny_asns": (64500,)}, "203.0.113.1", False, id="system-denied"),
        pytest.param(
            {"deny_countries": (b"DE",), "allow_asns": (64501,)},
            "198.51.100.2",
            True,
            id="system-over-country",
        ),
        pytest.param(
            {"deny_asns": (64500,), "allow": ("198.51.100.0/24",)},
            "198.51.100.1",
            True,
            id="network-over-system",
        ),
        pytest.param(
            {"deny_asns": (64500,), "allow_asns": (64500,)}, "203.0.113.1", False, id="deny-over-allow"
        ),
    ],
)
def test_networks_then_systems_then_countries_decide(
    settings: dict[str, Any], address: str, served: bool
) -> None:
    if "allow" in settings:
        settings = {**settings, "allow": networks(settings["allow"])}
    access = AccessSettings(**settings)
    asked = AccessGate(
        access,
        read_networks(access),
        refuse,
        asn_of=lambda client: ASNS.get(client.address, 0),
        country_of=lambda client: COUNTRIES.get(client.address, b""),
    )
    assert is_served(asked, address) is served


def test_files_of_networks_count_as_those_in_the_settings(tmp_path: Path) -> None:
    allowed, denied = tmp_path / "allowed.txt", tmp_path / "denied.txt"
    allowed.write_text("192.0.2.7 # a friend\n")
    denied.write_text("; drop list\n192.0.2.0/24 ; SBL1\n2001:db8::/32\n")
    access = AccessSettings(allow_files=(str(allowed),), deny_files=(str(denied),))
    found = read_networks(access)
    asked = AccessGate(access, found, refuse)
    served = [is_served(asked, one) for one in ("192.0.2.7", "192.0.2.8", "2001:db8::1", "198.51.100.1")]
    assert served == [True, False, False, True]


def test_a_file_that_cannot_be_used_is_told_with_the_line_at_fault(tmp_path: Path) -> None:
    denied = tmp_path / "denied.txt"
    denied.write_text("192.0.2.0/24\n192.0.2.1/24\n")
    with pytest.raises(
        ListError, match=r"denied\.txt:2: the address has bits.*'192\.0\.2\.1/24'; expected one"
    ):
        read_networks(AccessSettings(deny_files=(str(denied),)))
    with pytest.raises(ListError, match=r"cannot read .*missing: No such file"):
        read_networks(AccessSettings(deny_files=(str(tmp_path / "missing"),)))
