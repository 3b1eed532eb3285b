"""What a hostile or slow client of HTTP/3 can do: little, and not for long. And how connections end."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support import h3_raw as raw
from tests.support.h1_edge import Lent, Pieces, run, text
from tests.support.h3_client import H3Client
from tests.support.h3_edge import H3Edge
from tests.support.h3_raw import control, frame, head, post
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.protocol.h3 import codes
from worker.protocol.h3.outlet import LEAST_BYTES, STREAM_BYTES, TOTAL_BYTES
from worker.settings import Limits

CALM = codes.EXCESSIVE_LOAD
MANY = 3000  # more than any limit
ALL_REQUESTS = 2**62 - 4


def rapid_reset(client: H3Client) -> Iterator[None]:
    for _ in range(300):
        client.reset(client.open_request(head()))
        yield


def rapid_stop(client: H3Client) -> Iterator[None]:
    for _ in range(300):
        client.quic.stop_stream(client.open_request(head()), codes.REQUEST_CANCELLED)
        client.flush()
        yield


def malformed_heads(client: H3Client) -> Iterator[None]:
    for _ in range(300):
        client.open_request(head([*raw.GET, (b"connection", b"close")]), end=True)
        yield


def incomplete_requests(client: H3Client) -> Iterator[None]:
    for _ in range(300):
        client.open_request(b"", end=True)
        yield


def empty_data(client: H3Client) -> Iterator[None]:
    stream = client.open_request(post())
    for _ in range(MANY // 100):
        client.send(stream, frame(raw.DATA) * 100)
        yield


def unknown_frames(client: H3Client) -> Iterator[None]:
    stream = client.open_request(post())
    for _ in range(MANY // 100):
        client.send(stream, frame(raw.GREASE, b"x") * 100)
        yield


def control_frames(client: H3Client) -> Iterator[None]:
    for _ in range(MANY // 100):
        client.send(2, frame(raw.MAX_PUSH_ID, b"\7") * 100)
        yield


FLOODS = [
    rapid_reset, rapid_stop, malformed_heads, incomplete_requests, empty_data, unknown_frames, control_frames,
]  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_ends_its_connection_with_excessive_load(flood: object) -> None:
    async def fetch(ctx: Context) -> Response:
        if ctx.request.body is not None:
            await ctx.request.body.read()
        await asyncio.sleep(3600)
        raise AssertionError

    async def test() -> None:
        async with H3Edge(lambda ctx: None, fetch) as edge, await edge.client(speaks=False) as client:
            client.open_uni(control())
            for _ in flood(client):  # type: ignore[operator]
                await asyncio.sleep(0)
                if client.closed:
                    break
            await client.until_closed()
            assert client.closed_by == CALM
            await edge.until(lambda: not edge.server.connections and not edge.tasks)

    run(test())


def test_resets_are_forgiven_second_by_second() -> None:
    async def test() -> None:
        edge = H3Edge(lambda ctx: None, lambda ctx: asyncio.sleep(3600), limits=Limits(resets=10))
        async with edge, await edge.client() as client:
            for number in range(50):
                stream = client.begin()
                await edge.until(lambda: edge.tasks)
                client.reset(stream)
                await edge.until(lambda: not edge.tasks)
                if number % 5 == 0:
                    edge.after(0)
            assert not client.closed

    run(test())


def test_streams_above_the_limit_are_rejected_and_others_answered() -> None:
    async def test() -> None:
        go = asyncio.Event()

        async def fetch(ctx: Context) -> Response:
            await go.wait()
            return text(ctx)

        async with (
            H3Edge(lambda ctx: None, fetch, limits=Limits(streams=10)) as edge,
            await edge.client() as client,
        ):
            streams = [client.begin() for _ in range(15)]
            for stream in streams[10:]:
                assert (await client.answer(stream)).reset == codes.REQUEST_REJECTED
            go.set()
            for stream in streams[:10]:
                assert (await client.answer(stream)).status == 200

    run(test())


def test_what_waits_for_acknowledgement_is_bounded_per_stream_and_connection() -> None:
    body = b"x" * 500_000

    async def test() -> None:
        async with (
            H3Edge(lambda ctx: Response(200, Fields.of(), body, len(body))) as edge,
            await edge.client(reading=False, window=20_000) as client,
        ):
            streams = [client.begin() for _ in range(20)]
            await client.until(lambda: all(client.is_full(stream) for stream in streams))
            link = edge.link
            assert link.most_waiting <= STREAM_BYTES + 1000  # and a head
            total = sum(link.waiting(stream) for stream in streams)
            assert total <= TOTAL_BYTES + len(streams) * (LEAST_BYTES + 1000)
            client.read_on()
            for stream in streams:
                assert len((await client.answer(stream)).body) == len(body)
            assert link.most_waiting <= STREAM_BYTES + 1000

    run(test())


def test_a_client_that_opens_no_window_loses_its_stream() -> None:
    lent = Lent(b"x" * 2_000_000)

    async def test() -> None:
        edge = H3Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)))
        async with edge, await edge.client(reading=False, window=1000) as client:
            stream = client.begin()
            await client.until(lambda: client.is_full(stream))
            edge.after(0)
            edge.after(edge.limits.send_timeout_s - 1)
            await asyncio.sleep(0.05)
            assert client.answers[stream].reset is None
            edge.after(edge.limits.send_timeout_s + 1)
            assert (await client.answer(stream)).reset == codes.REQUEST_CANCELLED
            assert lent.released == 1
            assert not client.closed

    run(test())


def test_a_whole_answer_that_is_not_taken_is_reset_as_well() -> None:
    async def test() -> None:
        body = b"x" * 10_000
        edge = H3Edge(lambda ctx: Response(200, Fields.of(), body, len(body)))
        async with edge, await edge.client(reading=False, window=1000) as client:
            stream = client.begin()
            await client.until(lambda: client.is_full(stream))
            assert len(edge.finished) == 1 and edge.link.waiting(stream)
            edge.after(0)
            edge.after(edge.limits.send_timeout_s - 1)
            edge.after(edge.limits.send_timeout_s + 1)
            assert (await client.answer(stream)).reset == codes.REQUEST_CANCELLED

    run(test())


def test_a_stored_body_is_copied_for_a_client_that_is_slow_for_long() -> None:
    lent = Lent(b"x" * 500_000)

    async def test() -> None:
        edge = H3Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)))
        async with edge, await edge.client(reading=False, window=1000) as client:
            stream = client.begin()
            await client.until(lambda: client.is_full(stream))
            edge.after(0)
            edge.after(31)
            assert (lent.copied, lent.released) == (1, 1)
            client.read_on()
            assert len((await client.answer(stream)).body) == 500_000

    run(test())


def test_an_idle_connection_is_ended_in_order() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            await client.ask()
            await edge.until(lambda: not edge.link.waiting(0))  # acknowledged
            edge.after(30)
            edge.after(edge.limits.idle_timeout_s + 1)
            await client.until_closed()
            assert client.closed_by == codes.NO_ERROR
            await edge.until(lambda: not edge.server.connections)

    run(test())


def test_half_a_head_is_not_waited_for_longer_than_the_header_timeout() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            stream = client.open_request(head()[:-1])
            await edge.until(lambda: edge.server.active)
            edge.after(edge.limits.header_timeout_s - 1)
            edge.after(edge.limits.header_timeout_s + 2)
            await client.until(lambda: client.answers[stream].reset is not None)
            assert client.answers[stream].reset == codes.REQUEST_CANCELLED
            assert (await client.ask()).status == 200

    run(test())


def test_a_connection_is_told_of_when_it_comes_and_goes() -> None:
    async def test() -> None:
        async with H3Edge() as edge:
            async with await edge.client() as client:
                await client.ask()
                assert edge.tally.told == ["opened"]
            await edge.until(lambda: not edge.server.connections)
            assert edge.tally.told == ["opened", "closed"]

    run(test())


def test_draining_says_goaway_twice_and_finishes_what_runs() -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            return Response(200, Fields.of(), Pieces(b"abc", go, b"def"))

        async with H3Edge(lambda ctx: None if ctx.request.path == b"/" else text(ctx), fetch) as edge:
            async with await edge.client() as client:
                running = client.begin("/")
                await client.until(lambda: client.answers[running].body)
                edge.server.drain()
                await client.until(lambda: client.goaways)
                assert client.goaways == [ALL_REQUESTS]
                late = client.begin("/late")  # it was on its way
                assert (await client.answer(late)).status == 200
                await client.until(lambda: len(client.goaways) == 2)
                assert client.goaways[1] == late + 4
                too_late = await client.answer(client.begin("/too late"))
                assert too_late.reset == codes.REQUEST_REJECTED
                go.set_result(None)
                assert (await client.answer(running)).body == b"abcdef"
                await client.until_closed()
                assert client.closed_by == codes.NO_ERROR
            await edge.until(lambda: not edge.server.connections)

    run(test())


def test_a_drained_connection_stays_until_its_last_answer_has_arrived() -> None:
    async def test() -> None:
        body = b"x" * 100_000
        edge = H3Edge(lambda ctx: Response(200, Fields.of(), body, len(body)))
        async with edge, await edge.client(reading=False, window=1000) as client:
            stream = client.begin()
            await client.until(lambda: client.is_full(stream))
            edge.server.drain()
            await client.until(lambda: len(client.goaways) == 2)
            assert not edge.server.active and not client.closed
            client.read_on()
            assert len((await client.answer(stream)).body) == 100_000
            await client.until_closed()

    run(test())


def test_an_idle_connection_drains_by_itself() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            await client.ask()
            edge.server.drain()
            await client.until_closed()
            assert client.goaways == [ALL_REQUESTS, 4]
            assert client.closed_by == codes.NO_ERROR

    run(test())
