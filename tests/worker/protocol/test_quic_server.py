"""QUIC over real UDP sockets: aioquic's client against our dispatcher, with an application that echoes."""

import asyncio

from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import QuicEdge, pattern


def test_a_client_shakes_hands_and_gets_back_what_it_sends() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            assert await client.ask(b"hello") == b"hello"
            (application,) = edge.applications
            assert application.is_confirmed and not application.early
            assert application.link.cipher == "TLS_AES_128_GCM_SHA256"
            assert application.link.peer == client.sock.getsockname()

    run(test())


def test_long_bodies_pass_whole_both_ways() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            up = pattern(0, 700_001)
            assert await client.ask(up) == up
            assert await client.ask(b"GIVE 3000000") == pattern(0, 3_000_000)

    run(test())


def test_many_streams_at_a_time_are_kept_apart() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            sent = [b"%d " % number * 500 for number in range(100)]
            assert await asyncio.gather(*(client.ask(each) for each in sent)) == sent
            sent.reverse()  # the streams of the first hundred may be followed by as many
            assert await asyncio.gather(*(client.ask(each) for each in sent)) == sent

    run(test())
