"""What a hostile client of QUIC can do: end its own connection. Nothing raises, stays or grows."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from aioquic.buffer import encode_uint_var as number
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import QuicEdge, until
from worker.protocol.quic.transport import EXCESSIVE_LOAD

PEER = ("127.0.0.1", 9)
MANY = 1000


@pytest.fixture(autouse=True)
def no_error_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A connection that ends by an exception says so in the log."""
    yield
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("edgecluster")]


def recorded() -> list[bytes]:
    """What a client sends from its first packet to its last."""
    packets: list[bytes] = []

    async def record() -> None:
        async with QuicEdge() as edge:
            async with QuicClient(edge.address) as client:
                await client.connect()
                await client.ask(b"hello")
            packets.extend(client.sent)

    run(record())
    return packets


RECORDED = recorded()
INITIAL = RECORDED[0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=1500), max_size=5))
def test_random_bytes_leave_nothing(datagrams: list[bytes]) -> None:
    async def test() -> None:
        async with QuicEdge() as edge:
            for data in datagrams:
                edge.quic.receive(data, PEER, passed_on=False, now_s=time.monotonic())
            assert not edge.quic._routes and not edge.quic._handshakes and not edge.applications

    run(test())


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(range(len(RECORDED))),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 1500),
)
def test_changed_packets_of_a_client_leave_nothing(
    which: int, changes: list[tuple[int, int]], cut: int
) -> None:
    """Not even a byte in the clear may be another: headers are authenticated, too."""
    data = bytearray(RECORDED[which])
    for at, byte in changes:
        data[at % len(data)] = byte
    if bytes(data) == INITIAL:
        return

    async def test() -> None:
        async with QuicEdge(bounds={"handshake_s": 0}) as edge:
            edge.quic.receive(bytes(data), PEER, passed_on=False, now_s=time.monotonic())
            edge.quic.receive(bytes(data[:cut]), PEER, passed_on=False, now_s=time.monotonic())
            # Behind the packet, padding may have changed: that was a client, and it is gone by and by.
            await until(lambda: not edge.quic._routes)
            assert not edge.applications

    run(test())


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_packets_of_a_client_again_and_in_any_order_complete_nothing(order: random.Random) -> None:
    packets = RECORDED * 2
    order.shuffle(packets)

    async def test() -> None:
        async with QuicEdge() as edge:
            for data in packets:
                edge.quic.receive(data, PEER, passed_on=False, now_s=time.monotonic())
            await asyncio.sleep(0)
            assert not edge.applications  # our part of the handshake is another
            assert len(edge.quic._handshakes) == 1

    run(test())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=3))
def test_random_frames_of_a_client_end_its_connection_or_are_ignored(packets: list[bytes]) -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client, QuicClient(edge.address) as other:
            await client.connect()
            await other.connect()
            for frames in packets:
                client.send_frames(frames)
            assert await other.ask(b"hello") == b"hello"

    run(test())


STREAM_FRAME = QuicFrameType.STREAM_BASE | 4 | 2


def stream_frame(stream_id: int, offset: int, data: bytes = b"x") -> bytes:
    return number(STREAM_FRAME) + number(stream_id) + number(offset) + number(len(data)) + data


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (stream_frame(400, 0), QuicErrorCode.STREAM_LIMIT_ERROR),
        (stream_frame(0, 64 * 1024), QuicErrorCode.FLOW_CONTROL_ERROR),
        (stream_frame(3, 0), QuicErrorCode.STREAM_STATE_ERROR),
        (stream_frame(1, 0), QuicErrorCode.STREAM_STATE_ERROR),
        (stream_frame(34, 0), QuicErrorCode.STREAM_LIMIT_ERROR),  # a ninth of the one-way kind
        (number(0x06) + number(16 * 1024) + number(1) + b"x", QuicErrorCode.CRYPTO_BUFFER_EXCEEDED),
        (number(0x06) + number(0) + number(1 << 40) + b"x", QuicErrorCode.CRYPTO_BUFFER_EXCEEDED),
        (number(0x30) + b"a datagram", QuicErrorCode.PROTOCOL_VIOLATION),
        (number(0x1E), QuicErrorCode.PROTOCOL_VIOLATION),  # HANDSHAKE_DONE
        (number(0x19) + number(99), QuicErrorCode.PROTOCOL_VIOLATION),
        (number(0x3F), QuicErrorCode.FRAME_ENCODING_ERROR),
    ],
)
def test_a_client_that_goes_beyond_a_bound_is_cut_with_the_right_code(frames: bytes, code: int) -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            client.send_frames(frames)
            assert (await client.until_terminated()).error_code == code
            assert edge.applications[0].lost_by == code

    run(test())


def rapid_resets() -> Iterator[bytes]:
    for each in range(MANY):
        stream_id = 4 * (each % 100)
        yield number(0x04) + number(stream_id) + number(0) + number(0)


def stops() -> Iterator[bytes]:
    for each in range(MANY):
        yield number(0x05) + number(4 * (each % 100)) + number(0)


def path_challenges() -> Iterator[bytes]:
    for _ in range(MANY):
        yield number(0x1A) + os.urandom(8)


def retirements() -> Iterator[bytes]:
    for each in range(MANY):
        yield number(0x19) + number(1 + each % 3)


@pytest.mark.parametrize("flood", [rapid_resets, stops, path_challenges, retirements])
def test_a_flood_of_costly_frames_ends_the_connection(flood: Callable[[], Iterator[bytes]]) -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            client.hears = False  # or it would take offence first at how we answer
            frames = list(flood())
            for first in range(0, MANY, 40):
                client.send_frames(b"".join(frames[first : first + 40]))
            await until(lambda: edge.applications[0].lost_by == EXCESSIVE_LOAD)

    run(test())


def test_a_flood_of_initials_is_answered_with_retries_and_keeps_a_bounded_number() -> None:
    async def test() -> None:
        bounds = {"unproven": 5, "handshakes": 10, "handshake_s": 60.0}
        async with QuicEdge(bounds=bounds) as edge, AsyncExitStack() as clients:
            for _ in range(300):
                client = QuicClient(edge.address)
                client.hears = False
                await clients.enter_async_context(client)
            async with QuicClient(edge.address) as honest:
                await honest.connect()
                assert honest.quic._retry_count == 1
            assert len(edge.quic._handshakes) == 5 and len(edge.applications) == 1
            assert edge.quic.retries >= 296

    run(test())


def test_a_handshake_that_leads_nowhere_is_forgotten() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"handshake_s": 0.2}) as edge, QuicClient(edge.address) as client:
            client.hears = False
            await until(lambda: edge.quic._handshakes)
            await until(lambda: not edge.quic._routes)
            assert not edge.quic._handshakes and not edge.applications

    run(test())


def test_an_unproven_address_gets_at_most_three_times_what_it_sent() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"handshake_s": 1.0}) as edge, QuicClient(edge.address) as client:
            client.hears = False
            await until(lambda: edge.quic._handshakes)
            await until(lambda: not edge.quic._routes)  # with all its probes
            assert sum(map(len, client.packets)) <= 3 * sum(map(len, client.sent))

    run(test())
