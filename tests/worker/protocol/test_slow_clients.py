"""Clients that are slower than any network, and the room they take from others."""

import asyncio
import socket

import pytest

from tests.support.h1_edge import SECOND, WAIT_S, H1Edge, Lent, read_response, run, text
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.protocol.pace import LONGEST_NS, Pace
from worker.reasons import Fault, TurnedAway
from worker.settings import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
LARGE = b"x" * 50_000_000


@pytest.mark.parametrize(
    ("moves", "keeps_until"),
    [
        ([0] * 20, 10),  # nothing: what was there at the beginning is used up
        ([1] * 200, 11),
        ([9] * 200, 91),
        ([10] * 200, 200),
        ([0] * 9 + [1000] + [0] * 20, 19),  # no more can be saved up
    ],
)
def test_a_pace_is_kept_over_any_time(moves: list[int], keeps_until: int) -> None:
    pace, moved = Pace(10, 10.0, 0, 0), 0
    kept = 0
    for second, more in enumerate(moves, 1):
        moved += more
        if not pace.keeps(moved, second * SECOND):
            break
        kept = second
    assert kept == keeps_until


def test_time_in_which_nobody_waits_does_not_count() -> None:
    pace = Pace(10, 10.0, 0, 0)
    assert all(pace.keeps(0, second * SECOND, is_waited_for=False) for second in range(1, 100))
    assert pace.keeps(0, 100 * SECOND + 50 * LONGEST_NS)


async def whole(ctx: Context) -> Response:
    body = ctx.request.body
    assert body is not None
    while await body.read():
        pass
    return text(ctx)


async def seconds(edge: H1Edge, count: int) -> None:
    """Sweep once for every second of so many."""
    start_ns = edge.server.now_ns
    for second in range(1, count + 1):
        edge.server.sweep(start_ns + second * SECOND)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("bytes_a_second", "status"), [(99, 408), (200, 200)])
def test_a_body_that_drips_is_answered_408(bytes_a_second: int, status: int) -> None:
    async def test() -> None:
        limits = Limits(body_timeout_s=10, body_rate=150)
        async with H1Edge(lambda _: None, whole, limits=limits) as edge:
            reader, writer = await edge.connect()
            writer.write(PUT)
            await edge.until(lambda: edge.server.connections and edge.connection._body is not None)
            body = edge.connection._body
            assert body is not None
            for _ in range(40):
                await edge.until(lambda: body.is_waited_for or body.ended)
                await seconds(edge, 1)
                if body.ended:
                    break
                before = body.received
                writer.write(b"x" * bytes_a_second)
                await edge.until(lambda: body.received > before)  # noqa: B023
            else:
                writer.write(b"x" * (100_000 - body.received))
            assert (await read_response(reader))[0] == status
            if status == 408:
                assert edge.finished[0].error is not None
                assert edge.finished[0].error.fault is Fault.REQUEST_TIMEOUT

    run(test())


def test_who_takes_an_answer_in_drops_is_cut_off() -> None:
    async def test() -> None:
        limits = Limits(send_timeout_s=5, send_rate=10_000_000)
        lent = Lent(LARGE)
        response = lambda _: Response(200, Fields.of([]), lent, len(LARGE))  # noqa: E731
        async with H1Edge(response, limits=limits) as edge:
            with socket.create_connection(("127.0.0.1", edge.port)) as client:
                client.setblocking(False)
                client.send(GET)
                await edge.until(lambda: edge.server.connections and edge.connection._paused)
                for _ in range(10):
                    loop = asyncio.get_running_loop()
                    await asyncio.wait_for(loop.sock_recv(client, 100_000), WAIT_S)  # less than it should
                    await seconds(edge, 1)
                    if not edge.server.connections:
                        break
                await edge.until(lambda: not edge.server.connections)
            assert lent.released

    run(test())


def test_when_there_are_too_many_connections_idle_ones_make_room() -> None:
    async def test() -> None:
        async with H1Edge(limits=Limits(connections=3)) as edge:
            idle, _ = await edge.connect()
            await edge.until(lambda: len(edge.server.connections) == 1)
            edge.server.tick(edge.server.now_ns + SECOND)
            for _ in range(2):
                await edge.connect()
            await edge.until(lambda: len(edge.server.connections) == 3)
            assert b"200 OK" in await edge.exchange(b"GET / HTTP/1.0\r\n\r\n")
            assert await asyncio.wait_for(idle.read(), WAIT_S) == b""  # the oldest
            assert edge.tally.told.count(TurnedAway.CROWDED) == 1
            assert "refused" not in edge.tally.told

    run(test())


def test_connections_at_work_make_no_room() -> None:
    async def test() -> None:
        waiting = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await waiting
            return text(ctx)

        async with H1Edge(lambda _: None, fetch, limits=Limits(connections=2)) as edge:
            busy = [await edge.connect() for _ in range(2)]
            for _, writer in busy:
                writer.write(GET)
            await edge.until(lambda: edge.server.active == 2)
            assert await edge.exchange(b"") == b""
            assert "refused" in edge.tally.told
            waiting.set_result(None)
            for reader, _ in busy:
                assert (await read_response(reader))[0] == 200

    run(test())


def test_of_many_addresses_the_one_with_most_connections_makes_room() -> None:
    async def test() -> None:
        async with H1Edge(limits=Limits(connections=9)) as edge:
            good = socket.create_connection(("127.0.0.1", edge.port), source_address=("127.0.0.2", 0))
            await edge.until(lambda: len(edge.server.connections) == 1)
            for _ in range(8):
                await edge.connect()
            await edge.until(lambda: len(edge.server.connections) == 9)
            for _ in range(6):
                await edge.connect()
            await edge.until(lambda: edge.tally.told.count(TurnedAway.CROWDED) == 6)
            with good:
                good.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(good, GET)
                assert (await asyncio.wait_for(loop.sock_recv(good, 100), WAIT_S)).startswith(b"HTTP/1.1 200")

    run(test())
