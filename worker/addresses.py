"""IP addresses: what their spelling means, how they count and in which networks they are, for all stages."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from worker.networks import NetworkMap
from worker.settings import Network

Address = IPv4Address | IPv6Address


def read_address(text: str) -> Address:
    """The address `text` spells; an IPv4 one within IPv6 (RFC 4291 2.5.5.2), as a socket for both has it, is
    the IPv4 one it is. ValueError if it is none."""
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def bucket_key(address: Address) -> bytes:
    """By what a client at that address is counted: all of an IPv4 one, the /64 of an IPv6 one."""
    return address.packed[:8]


class Networks:
    """Some networks, to look addresses up in."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._map = NetworkMap([("\n".join(map(str, networks)).encode(), 1)])

    def __contains__(self, address: Address) -> bool:
        return self._map.find(address.packed) != 0
