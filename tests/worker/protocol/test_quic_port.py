"""The plain port: what it takes and gives, and what becomes of what it cannot take at once."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import QuicEdge, pattern
from worker.protocol.quic.link import Address
from worker.protocol.quic.port import BATCH, SocketPort
from worker.protocol.quic.server import MOST_UNSENT


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[SocketPort, socket.socket]]:
    """A port, and a socket that is bound beside it."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as ours, socket.socket(family, socket.SOCK_DGRAM) as other:
        ours.bind((request.param, 0))
        other.bind((request.param, 0))
        other.connect(ours.getsockname())
        yield SocketPort(ours), other


def test_datagrams_come_with_their_sender_in_order(pair: tuple[SocketPort, socket.socket]) -> None:
    port, other = pair
    assert port.receive() == []
    for data in (b"one", b"", b"x" * 1500):
        other.send(data)
    sender = other.getsockname()[:2]
    assert port.receive() == [(b"one", sender), (b"", sender), (b"x" * 1500, sender)]
    assert port.receive() == []


def test_no_more_than_a_batch_is_taken_at_a_time(pair: tuple[SocketPort, socket.socket]) -> None:
    port, other = pair
    for _ in range(BATCH + 1):
        other.send(b"x")
    assert len(port.receive()) == BATCH
    assert len(port.receive()) == 1


def test_datagrams_go_to_whom_they_are_for(pair: tuple[SocketPort, socket.socket]) -> None:
    port, other = pair
    peer = other.getsockname()[:2]
    assert port.send([(b"one", peer), (b"two", peer)]) == 0
    assert (other.recv(100), other.recv(100)) == (b"one", b"two")


def test_one_that_cannot_be_sent_is_lost_and_no_other(pair: tuple[SocketPort, socket.socket]) -> None:
    port, other = pair
    peer = other.getsockname()[:2]
    assert port.send([(bytes(70_000), peer), (b"after", peer)]) == 0
    assert other.recv(100) == b"after"


class Narrow(SocketPort):
    """Takes only a few datagrams at a time, as a socket does whose buffer is nearly full."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.most_offered = 0

    def send(self, datagrams: list[tuple[bytes, Address]]) -> int:
        self.most_offered = max(self.most_offered, len(datagrams))
        return super().send(datagrams[:3]) + max(len(datagrams) - 3, 0)


def test_what_a_port_does_not_take_waits_bounded_and_is_sent_later() -> None:
    ports: list[Narrow] = []

    def narrow(sock: socket.socket) -> Narrow:
        ports.append(Narrow(sock))
        return ports[0]

    async def test() -> None:
        async with QuicEdge(make_port=narrow) as edge, QuicClient(edge.address) as client:
            await client.connect()
            asked = [client.ask(b"GIVE 200000") for _ in range(5)]
            assert await asyncio.gather(*asked) == [pattern(0, 200_000)] * 5
        assert 3 < ports[0].most_offered < MOST_UNSENT

    run(test())
