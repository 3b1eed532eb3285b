"""Addresses: what a spelling means, how they count, which networks they are in."""

from ipaddress import ip_network

import pytest

from worker.addresses import Networks, bucket_key, read_address

SOME = ("192.0.2.0/25", "203.0.113.7/32", "2001:db8:1::/48", "::ffff:198.51.100.0/120")


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        ("192.0.2.127", True),
        ("192.0.2.128", False),
        ("::ffff:192.0.2.1", True),  # as a socket for both versions has it
        ("203.0.113.7", True),
        ("203.0.113.8", False),
        ("2001:db8:1:ffff::1", True),
        ("2001:db8:2::1", False),
        ("198.51.100.1", True),  # a network may be spelled so, too
    ],
)
def test_an_address_is_in_the_networks_that_hold_it(address: str, is_in: bool) -> None:
    assert (read_address(address) in Networks(map(ip_network, SOME))) == is_in
    assert read_address(address) not in Networks(())


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_ipv6_addresses_count_by_their_64(one: str, other: str, together: bool) -> None:
    assert (bucket_key(read_address(one)) == bucket_key(read_address(other))) == together
