"""Maps of networks: against a plain model of them, shared by processes, and replaced while others read."""

import os
import random
import signal
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from worker.networks import NetworkError, NetworkMap, SharedNetworks

Network = IPv4Network | IPv6Network


def a_network(chance: random.Random) -> Network:
    """Few bits differ, so that many networks lie within, beside or upon each other."""
    if chance.random() < 0.5:
        prefix = chance.choice([0, 1, 7, 8, 16, 24, 30, 31, 32])
        address = chance.getrandbits(32) if chance.random() < 0.3 else (10 << 24) | chance.getrandbits(10)
        return ip_network((address >> (32 - prefix) << (32 - prefix), prefix))
    prefix = chance.choice([0, 1, 3, 64, 100, 120, 127, 128])
    address = (0x2001 << 112) | chance.getrandbits(9)
    return ip_network((address >> (128 - prefix) << (128 - prefix), prefix))


def edges(network: Network) -> list[bytes]:
    """The first and last address of a network, and those beside them."""
    first, last, most = int(network[0]), int(network[-1]), (1 << network.max_prefixlen) - 1
    kind = type(network[0])
    return [kind(number).packed for number in (max(0, first - 1), first, last, min(most, last + 1))]


@pytest.mark.parametrize("seed", range(40))
def test_the_most_specific_network_decides(seed: int) -> None:
    chance = random.Random(seed)
    networks = [(a_network(chance), chance.randint(1, 3)) for _ in range(chance.randint(0, 120))]
    found = NetworkMap([(str(network).encode(), value) for network, value in networks])
    assert found.count == len(networks)
    asked = [packed for network, _ in networks for packed in edges(network)]
    asked += [chance.randbytes(4) for _ in range(50)] + [chance.randbytes(16) for _ in range(50)]
    for packed in asked:
        address = ip_address(packed)
        if address.version == 6 and address.ipv4_mapped is not None:
            continue  # asked for as such below
        holding = [
            (network.prefixlen, value)
            for network, value in networks
            if network.version == address.version and address in network
        ]
        assert found.find(packed) == max(holding, default=(0, 0))[1], address


TEXT = b"""# a list
10.0.0.0/8
  192.0.2.1 ; an address alone\t
2001:db8::/32\r

::ffff:198.51.100.0/120
198.51.100.9"""


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("10.1.2.3", 7), ("11.0.0.0", 0), ("192.0.2.1", 7), ("192.0.2.2", 0), ("2001:db8::1", 7),
        ("2001:db9::", 0), ("198.51.100.200", 7), ("::ffff:10.0.0.1", 7), ("::ffff:11.0.0.1", 0), ("::", 0),
    ],
)  # fmt: skip
def test_a_list_is_read_line_by_line(address: str, value: int) -> None:
    assert NetworkMap([(TEXT, 7)]).find(ip_address(address).packed) == value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"10.0.0.0/8\nnonsense", 2, "no address"),
        (b"10.0.0.1/8", 1, "bits beyond"),
        (b"\n\n10.0.0.0/33", 3, "no prefix length"),
        (b"2001:db8::/129", 1, "no prefix length"),
        (b"10.0.0.0/", 1, "no prefix length"),
        (b"10.0.0.0/+8", 1, "no prefix length"),
        (b"10.0.0.0 10.0.0.1", 1, "no address"),
        (b"010.0.0.1", 1, "no address"),
        (b"10.0.0.1\0", 1, "no address"),
        (b"1" * 100, 1, "no address"),
    ],
)
def test_what_is_no_network_is_told_with_its_line(text: bytes, line: int, words: str) -> None:
    with pytest.raises(NetworkError, match=words) as told:
        NetworkMap([(b"192.0.2.1", 1), (text, 1)])
    assert (told.value.source, told.value.line) == (1, line)


def test_an_address_has_four_or_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="4 or 16 bytes, not 5"):
        NetworkMap([]).find(b"12345")


def test_many_networks_are_found_each() -> None:
    networks = [ip_network((0x0A000000 + number * 2, 32)) for number in range(100_000)]
    found = NetworkMap([("\n".join(map(str, networks)).encode(), 1)])
    assert all(found.find(network[0].packed) == 1 for network in networks)
    assert not any(found.find((network[0] + 1).packed) for network in networks)
    assert found.bytes_used < 36 * len(networks)


ONE, OTHER = b"\n\0\0\1", bytes.fromhex("20010db8000000000000000000000001")


def test_what_one_process_publishes_all_see() -> None:
    shared = SharedNetworks(8)
    assert (shared.find(ONE), shared.load_version()) == (0, 0)
    pid = os.fork()
    if pid == 0:
        shared.publish(NetworkMap([(b"10.0.0.0/8\n2001:db8::/32", 3)]))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (shared.find(ONE), shared.find(OTHER), shared.load_version()) == (3, 3, 1)
    shared.publish(NetworkMap([]))
    assert (shared.find(ONE), shared.find(OTHER), shared.load_version()) == (0, 0, 2)


def test_more_than_there_is_room_for_is_refused_and_changes_nothing() -> None:
    shared = SharedNetworks(4)
    shared.publish(NetworkMap([(b"10.0.0.1\n10.0.0.3\n10.0.0.5\n2001:db8::1", 1)]))
    with pytest.raises(ValueError, match="too many"):
        shared.publish(NetworkMap([("\n".join(f"10.0.0.{2 * n}" for n in range(100)).encode(), 1)]))
    assert (shared.find(ONE), shared.load_version()) == (1, 1)


def test_a_reader_sees_one_map_or_the_other_however_often_and_suddenly_the_writer_dies() -> None:
    """Both maps hold both addresses with one value: two values for one version would be a torn map."""
    shared = SharedNetworks(2000)
    lines = b"\n".join(b"10.%d.%d.1" % divmod(number, 250) for number in range(1500)) + b"\n2001:db8::1"
    maps = [NetworkMap([(lines, value)]) for value in (1, 2)]
    shared.publish(maps[0])
    chance = random.Random(1)
    for _ in range(30):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            while True:
                for one in maps:
                    shared.publish(one)
                    os.write(writing, b".")
        os.close(writing)
        os.read(reading, 1 + chance.randrange(20))
        for _ in range(300):
            before = shared.load_version()
            seen = shared.find(ONE), shared.find(OTHER), shared.find(b"\n\5\xf9\1")
            if shared.load_version() == before:
                assert seen in [(1, 1, 1), (2, 2, 2)]
            assert set(seen) <= {1, 2}
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        assert (shared.find(ONE), shared.find(OTHER)) in [(1, 1), (2, 2)]
