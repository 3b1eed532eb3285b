"""Handing a lent body out, and taking it from clients that keep it too long."""

import asyncio
import socket

import pytest

from tests.support.h1_edge import WAIT_S, H1Edge, Lent, run
from worker.fields import Fields
from worker.message import Response
from worker.protocol.lending import COPY_BYTES, PATIENCE_NS, SLICE_BYTES, Lending

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = bytes(range(251)) * 100_000  # 25 MB: more than sockets hold


def taken(lending: Lending) -> bytes:
    pieces = []
    while (piece := lending.take()) is not None:
        pieces.append(bytes(piece))
    return b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES * 3 + 7])
@pytest.mark.parametrize("slices", [0, 1, 2])
def test_the_slices_are_the_body_wherever_it_is_broken_off(size: int, slices: int) -> None:
    lent = Lent(BODY[:size])
    lending = Lending(lent, 0)
    before = b"".join(bytes(lending.take() or b"") for _ in range(slices))
    assert lending.left == size - len(before)
    lending.break_off()
    assert not lending.is_lent
    assert before + taken(lending) == BODY[:size]
    lending.end()
    lending.end()
    assert (lent.copied, lent.released) == (1, 1)


def test_a_body_is_given_back_once_at_the_end() -> None:
    lent = Lent(BODY)
    lending = Lending(lent, 0)
    assert taken(lending) == BODY
    lending.end()
    lending.break_off()
    assert (lent.copied, lent.released) == (0, 1)


async def stalled(edge: H1Edge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has asked and takes nothing."""
    reader, writer = await edge.connect(limit=65_536)
    await edge.until(lambda: edge.server.connections)
    transport = edge.connection._transport
    assert transport is not None
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    writer.write(GET)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    await edge.until(lambda: edge.connection._paused)
    return reader, writer


def test_a_small_rest_is_copied_for_a_slow_client_that_then_gets_it_all() -> None:
    async def test() -> None:
        lent = Lent(BODY)
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, len(BODY))) as edge:
            reader, _writer = await stalled(edge)
            lending = edge.connection._lending
            assert lending is not None
            edge.server.sweep(lending.since_ns + PATIENCE_NS)
            assert lent.copied == 0, "too much is left to copy it"
            body = b""
            while lending.left > COPY_BYTES or not edge.connection._paused:
                body += await asyncio.wait_for(reader.read(65_536), WAIT_S)
            edge.server.sweep(lending.since_ns + PATIENCE_NS - 1)
            assert lent.copied == 0, "it is not late yet"
            edge.server.sweep(lending.since_ns + PATIENCE_NS)
            assert (lent.copied, lent.released) == (1, 1)
            body += await asyncio.wait_for(reader.readexactly(len(BODY) - len(body)), WAIT_S)
            assert body == BODY
            await edge.until(lambda: edge.finished)
            assert lent.released == 1

    run(test())


def test_a_slow_client_is_cut_off_where_too_much_is_lent() -> None:
    async def test() -> None:
        lent = Lent(BODY)
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, len(BODY))) as edge:
            reader, _writer = await stalled(edge)
            lending = edge.connection._lending
            assert lending is not None
            edge.server.lends_too_much = True
            edge.server.sweep(lending.since_ns + PATIENCE_NS - 1)
            assert lent.released == 0
            edge.server.sweep(lending.since_ns + PATIENCE_NS)
            await edge.until(lambda: edge.finished)
            assert (lent.copied, lent.released) == (0, 1)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await asyncio.wait_for(reader.readexactly(len(BODY)), WAIT_S)

    run(test())
