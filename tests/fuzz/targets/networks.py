"""Lists of networks: what is read finds what the standard library finds, and a line that is none is told by
its number. Fields that say where a client is lead to an address or to none.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tests.fuzz.take import Take
from worker.networks import NetworkError, NetworkMap
from worker.security.client_address import ClientAddressGate

SEEDS = (
    b"\0\0192.0.2.0/24\n2001:db8::/32 # x\n\n10.0.0.1;y\n::ffff:10.0.0.0/104\n0.0.0.0/0\n",
    b"\1\1::/0\r\n192.0.2.1/32\n192.0.2.0/25\n192.0.2.1/31",
    b'\2\0for=192.0.2.1;by=x, for="[::1]:80"',
    b"\0\0" + b"01.2.3.4\n1.2.3.4/33\n",
)
WORDS = (
    b"192.0.2.", b"10.0.0.0/8", b"::ffff:", b"::", b"/", b"/0", b"/32", b"/128", b"\n", b"\r\n", b"#", b";",
    b" ", b"\t", b"fe80::1%eth0", b"for=", b'"', b"[", b"]", b":80", b",", b"0", b"255", b"256", b"ffff",
    b"\0",
)  # fmt: skip
MAX_BYTES = 512

GATES = [ClientAddressGate([ip_network("192.0.2.0/24")], field) for field in ("x-forwarded-for", "forwarded")]


def check(data: bytes) -> None:
    take = Take(data)
    first = take.below(256)
    text = take.rest()
    for gate in GATES:
        believed = gate._believed(text)
        assert believed is None or ip_address(str(believed)) == believed
    try:
        networks = NetworkMap([(text, 7)])
    except NetworkError as error:
        assert error.source == 0 and 1 <= error.line <= text.count(b"\n") + text.count(b"\r") + 1
        assert error.args[0]
        return
    known = [network for line in text.split(b"\n") if (network := _network(line)) is not None]
    assert networks.count == len(known)
    for packed in (bytes((first, 0, 2, first)), bytes(4), bytes(15) + bytes((first,)), b"\xff" * 16):
        assert networks.find(packed) == (7 if _within(packed, known) else 0)
    for network in known:
        for address in (network.network_address, network.broadcast_address):
            assert networks.find(address.packed) == (7 if _within(address.packed, known) else 0)


def _network(line: bytes) -> IPv4Network | IPv6Network | None:
    text = line.partition(b"#")[0].partition(b";")[0].decode("ascii").strip()
    return ip_network(text, strict=False) if text else None


def _plain(packed: bytes) -> bytes:
    """An address of IPv4 as such, wherever it stands."""
    mapped = IPv6Address(packed).ipv4_mapped if len(packed) == 16 else None
    return packed if mapped is None else mapped.packed


def _within(packed: bytes, known: Sequence[IPv4Network | IPv6Network]) -> bool:
    packed = _plain(packed)
    if len(packed) == 16:
        return any(isinstance(network, IPv6Network) and IPv6Address(packed) in network for network in known)
    mapped = IPv6Address(bytes(10) + b"\xff\xff" + packed)
    return any(
        IPv4Address(packed) in network
        if network.version == 4
        else mapped in network and network.prefixlen >= 96
        for network in known
    )
