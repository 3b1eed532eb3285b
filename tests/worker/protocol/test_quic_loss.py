"""Over a way that loses, reorders and doubles datagrams, every byte arrives once and in its place."""

import asyncio
from typing import Any

import pytest

from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import QuicEdge, pattern
from tests.support.quic_relay import BadWay

WAYS: list[dict[str, Any]] = [
    {"lost": 0.05},
    {"lost": 0.2, "seed": 1},
    {"late": 0.3, "seed": 2},
    {"doubled": 0.3, "seed": 3},
    {"lost": 0.05, "late": 0.1, "doubled": 0.1, "seed": 4},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_bad_way_delivers_the_right_bytes(way: dict[str, Any]) -> None:
    async def test() -> None:
        async with (
            QuicEdge() as edge,
            BadWay(edge.address, **way) as relay,
            QuicClient(relay.address) as client,
        ):
            await client.connect()
            up = pattern(0, 150_000)
            down, echoed = await asyncio.gather(client.ask(b"GIVE 400000"), client.ask(up))
            assert down == pattern(0, 400_000) and echoed == up
            if "lost" in way:
                assert relay.dropped

    run(test())


def test_many_clients_get_through_a_lossy_way() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, BadWay(edge.address, lost=0.05, late=0.05, seed=5) as relay:

            async def visit(number: int) -> None:
                async with QuicClient(relay.address) as client:
                    await client.connect()
                    assert await client.ask(b"%d" % number * 1000) == b"%d" % number * 1000

            await asyncio.gather(*(visit(number) for number in range(50)))

    run(test())
