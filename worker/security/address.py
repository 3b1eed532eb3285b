"""Addresses of clients as bytes."""

from ipaddress import ip_address


def packed_address(address: str) -> bytes:
    """4 or 16 bytes in network order, without a zone (%eth0). Raises ValueError for what is no address."""
    return ip_address(address.partition("%")[0]).packed
