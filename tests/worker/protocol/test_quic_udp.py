"""Batched datagrams over real sockets: what one port sends is what a plain socket gets, and vice versa."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.protocol.quic.udp import UdpPort

ROOT = Path(__file__).parents[3]

SO_NO_CHECK = 11  # asm-generic/socket.h
UDP_LITE = 136  # RFC 3828

Datagrams = list[tuple[bytes, tuple[str, int]]]


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    if request.param == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    name: str = request.param
    return name


def bound(host: str, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except OSError as error:
        pytest.skip(f"no such sockets here: {error}")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    made.bind((host, 0))
    made.setblocking(False)
    return made


@pytest.fixture
def ours(host: str) -> Iterator[socket.socket]:
    with bound(host) as made:
        yield made


@pytest.fixture
def theirs(host: str) -> Iterator[socket.socket]:
    with bound(host) as made:
        yield made


def address(sock: socket.socket) -> tuple[str, int]:
    name = sock.getsockname()
    return name[0], name[1]


def plain(sock: socket.socket) -> Datagrams:
    """All that waits, by recvfrom."""
    found: Datagrams = []
    while True:
        try:
            data, peer = sock.recvfrom(65536)
        except BlockingIOError:
            return found
        found.append((data, (peer[0], peer[1])))


def batched(port: UdpPort) -> Datagrams:
    found: Datagrams = []
    while some := port.receive():
        assert len(some) <= 64
        found += some
    return found


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_what_a_plain_socket_sends_is_received_in_order(
    ours: socket.socket, theirs: socket.socket, count: int
) -> None:
    sent = [os.urandom(random.Random(i).randint(1, 2048)) for i in range(count)]
    for data in sent:
        theirs.sendto(data, address(ours))
    assert batched(UdpPort(ours)) == [(data, address(theirs)) for data in sent]


def test_several_peers_are_told_apart(ours: socket.socket, host: str) -> None:
    port = UdpPort(ours)
    peers = [bound(host) for _ in range(5)]
    try:
        for turn in range(3):
            for peer in peers:
                peer.sendto(b"%d from %d" % (turn, address(peer)[1]), address(ours))
        received = batched(port)
        assert len(received) == 15
        assert all(data.endswith(b" %d" % peer[1]) for data, peer in received)
        assert port.send([(data.upper(), peer) for data, peer in received]) == 0
        for peer in peers:
            answers = [data for data, _ in plain(peer)]
            assert answers == [b"%d FROM %d" % (turn, address(peer)[1]) for turn in range(3)]
    finally:
        for peer in peers:
            peer.close()


SIZES = {
    "one": [1200],
    "equal": [1200] * 150,
    "the last is shorter": [1200] * 10 + [7],
    "a shorter one in the middle": [1200] * 5 + [100] + [1200] * 5,
    "growing": [100, 200, 300, 400],
    "falling": [400, 300, 200, 100],
    "empty ones": [0, 5, 0, 0, 5, 5, 0],
    "more bytes than one message holds": [1452] * 130,
    "largest of all": [65000, 65000, 10],
    "more than one call takes": [50] * 1500,
    "many small runs": [50, 49] * 300,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_what_is_sent_arrives_as_it_was_given_in_order(
    ours: socket.socket, theirs: socket.socket, sizes: list[int]
) -> None:
    port = UdpPort(ours)
    assert port.segments
    assert_sent(port, ours, theirs, sizes)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_where_the_kernel_cannot_segment_it_arrives_all_the_same(sizes: list[int]) -> None:
    # All that matters of UDP-Lite: the kernel refuses to segment for it, as for some devices (EIO).
    with bound("127.0.0.1", protocol=UDP_LITE) as ours, bound("127.0.0.1", protocol=UDP_LITE) as theirs:
        port = UdpPort(ours)
        assert port.send([(b"x" * 10, address(theirs))] * 2) == 0
        assert [data for data, _ in plain(theirs)] == [b"x" * 10] * 2
        assert not port.segments
        assert_sent(port, ours, theirs, sizes)


def test_a_run_that_the_kernel_does_not_segment_goes_datagram_by_datagram() -> None:
    with bound("127.0.0.1") as ours, bound("127.0.0.1") as theirs:
        ours.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # no segments without checksums: EINVAL
        port = UdpPort(ours)
        assert_sent(port, ours, theirs, [100] * 5 + [200] * 70 + [3])
        assert port.segments


def assert_sent(port: UdpPort, ours: socket.socket, theirs: socket.socket, sizes: list[int]) -> None:
    given: Datagrams = [(os.urandom(size), address(theirs)) for size in sizes]
    got: Datagrams = []
    for begin in range(0, len(given), 500):  # the receiver's buffer holds so many
        assert port.send(given[begin : begin + 500]) == 0
        got += plain(theirs)
    assert got == [(data, address(ours)) for data, _ in given]


def test_runs_of_several_peers_do_not_mix(ours: socket.socket, host: str) -> None:
    peers = [bound(host) for _ in range(4)]
    port, rng = UdpPort(ours), random.Random(7)
    try:
        given: Datagrams = []
        for _ in range(200):
            peer = address(rng.choice(peers))
            given += [(os.urandom(100), peer) for _ in range(rng.randint(1, 5))]
        assert port.send(given) == 0
        for peer in peers:
            wanted = [data for data, to in given if to == address(peer)]
            assert [data for data, _ in plain(peer)] == wanted
    finally:
        for peer in peers:
            peer.close()


def test_a_datagram_that_is_too_large_to_be_quics_is_dropped_and_no_other(
    ours: socket.socket, theirs: socket.socket
) -> None:
    for size in (2048, 2049, 10):
        theirs.sendto(b"x" * size, address(ours))
    assert [len(data) for data, _ in batched(UdpPort(ours))] == [2048, 10]


def test_nothing_there_is_an_empty_list(ours: socket.socket) -> None:
    assert UdpPort(ours).receive() == []


def test_a_peer_that_cannot_be_reached_loses_its_own_datagrams_only(
    ours: socket.socket, theirs: socket.socket
) -> None:
    nowhere = ("255.255.255.255" if ours.family == socket.AF_INET else "ff02::1", 9)  # not allowed, no route
    given: Datagrams = [
        (b"a", address(theirs)),
        (b"lost", nowhere),
        (b"lost", nowhere),
        (b"b", address(theirs)),
    ]
    assert UdpPort(ours).send(given) == 0
    assert [data for data, _ in plain(theirs)] == [b"a", b"b"]


@pytest.mark.parametrize("name", ["edge.test", "127.0.0.300", "::g", "1" * 80 + "::%1", ""])
def test_a_name_is_no_address(ours: socket.socket, name: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        UdpPort(ours).send([(b"x", (name, 1))])


def test_on_a_wildcard_address_the_answer_comes_from_the_one_that_was_asked() -> None:
    # All of 127.0.0.0/8 is ours; a socket left to itself would answer from 127.0.0.1.
    with bound("0.0.0.0") as wild, bound("127.0.0.1") as client:
        port = UdpPort(wild)
        for asked in ("127.0.0.9", "127.7.7.7", "127.0.0.1"):
            client.sendto(b"hello", (asked, address(wild)[1]))
            assert port.receive() == [(b"hello", address(client))]
            assert port.send([(b"one", address(client)), (b"two", address(client))]) == 0
            assert plain(client) == [(data, (asked, address(wild)[1])) for data in (b"one", b"two")]


def test_on_the_ipv6_wildcard_address_peers_are_answered() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with bound("::") as wild, bound("::1") as client:
        port = UdpPort(wild)
        client.sendto(b"hello", ("::1", address(wild)[1]))
        assert port.receive() == [(b"hello", address(client))]
        assert port.send([(b"one", address(client))]) == 0
        assert plain(client) == [(b"one", ("::1", address(wild)[1]))]


# A network of its own: a neighbour that never answers keeps what is for it in the socket's send buffer, and
# link-local addresses need their scope.
NETWORK = """
ip link add v0 type veth peer name v1
ip addr add 10.9.9.1/24 dev v0
ip link set lo up; ip link set v0 up; ip link set v1 up
ip addr add fe80::1/64 dev v0 nodad
"""


def in_own_network(script: str) -> str:
    """Run Python there; what it prints."""
    setup = f"set -e{NETWORK}exec {sys.executable} -c '{script}'"
    ran = subprocess.run(
        ["unshare", "--net", "--map-root-user", "sh", "-c", setup], capture_output=True, text=True, cwd=ROOT
    )
    if ran.returncode and ("unshare" in ran.stderr or "not found" in ran.stderr):
        pytest.skip(f"no network namespaces here: {ran.stderr}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_full_socket_says_how_many_are_left() -> None:
    said = in_own_network(
        """
import socket
from worker.protocol.quic.udp import UdpPort
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
sock.bind(("10.9.9.1", 0))
port = UdpPort(sock)
print(port.send([(b"x" * (900 + i % 2), ("10.9.9.2", 9)) for i in range(50)]))
print(port.send([(b"x", ("10.9.9.2", 9))]))
"""
    )
    first, second = map(int, said.split())
    assert 0 < first < 50
    assert second == 1


def test_a_link_local_peer_is_answered_through_its_interface() -> None:
    said = in_own_network(
        """
import socket
from worker.protocol.quic.udp import UdpPort
sockets = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in "ab"]
for sock in sockets:
    sock.bind(("fe80::1", 0, 0, socket.if_nametoindex("v0")))
ours, theirs = sockets
theirs.sendto(b"hello", ours.getsockname())
((data, peer),) = UdpPort(ours).receive()
fresh = UdpPort(ours)
assert fresh.send([(data, ("fe80::1", 9)), (data, peer)]) == 0
assert theirs.recv(99) == b"hello"
print(peer[0] == "fe80::1%" + str(socket.if_nametoindex("v0")))
"""
    )
    assert said == "True\n"
