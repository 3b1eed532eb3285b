"""IP addresses: what their spelling means, for every stage alike."""

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def read_address(text: str) -> Address:
    """The address `text` spells; an IPv4 one within IPv6 (RFC 4291 2.5.5.2), as a socket for both has it, is
    the IPv4 one it is. ValueError if it is none."""
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
